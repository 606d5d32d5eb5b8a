//! What can be wrong with a body as a whole, and with one row of it.

/// The body cannot be read at all: nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Nothing was sent.
    #[error("the body is empty: send at least one row")]
    Empty,
    /// Longer than allowed, before or after decompression.
    #[error("the body is longer than {limit_bytes} bytes (decompressed): send fewer rows at a time")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// More rows than one request may hold.
    #[error("the body holds more than {limit_rows} rows: send fewer at a time")]
    TooManyRows {
        /// The limit.
        limit_rows: usize,
    },
    /// The compressed body is damaged or cut short.
    #[error("the body is no valid {encoding}: it is damaged or cut short")]
    Decompress {
        /// Its declared encoding.
        encoding: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The body is no JSON.
    #[error("malformed JSON at line {line}, column {column}: {reason}")]
    MalformedJson {
        /// Counted from 1.
        line: usize,
        /// In bytes, counted from 1.
        column: usize,
        /// What was expected.
        reason: &'static str,
    },
    /// The header row of a CSV body cannot be used.
    #[error("malformed CSV header: {reason}")]
    MalformedCsv {
        /// What is wrong.
        reason: String,
    },
    /// A column of a CSV or Parquet body that the dataset does not have.
    #[error("{message}")]
    UnknownColumn {
        /// Its name.
        name: String,
        /// With the nearest known name.
        message: String,
    },
    /// Two columns of a CSV or Parquet body stand for the same column.
    #[error("column '{name}' is there twice")]
    DuplicateColumn {
        /// Its name.
        name: String,
    },
    /// The body is no Parquet file, or not all of one.
    #[error("the body is no complete Parquet file")]
    MalformedParquet {
        /// Why.
        #[source]
        source: Option<parquet::errors::ParquetError>,
    },
    /// A Parquet column holds what the dataset's column cannot.
    #[error("column '{name}' is of Parquet type {found}, which does not fit type {expected}")]
    UnsupportedType {
        /// Its name in the file.
        name: String,
        /// The file's type.
        found: String,
        /// The dataset's type.
        expected: &'static str,
    },
    /// A mapping does not fit the dataset.
    #[error("{message}")]
    InvalidMapping {
        /// What is wrong.
        message: String,
    },
}

impl DecodeError {
    /// The stable word for it.
    pub fn code(&self) -> &'static str {
        match self {
            DecodeError::Empty => "empty_body",
            DecodeError::TooLarge { .. } => "body_too_large",
            DecodeError::TooManyRows { .. } => "too_many_rows",
            DecodeError::Decompress { .. } => "malformed_encoding",
            DecodeError::MalformedJson { .. } => codes::MALFORMED_JSON,
            DecodeError::MalformedCsv { .. } => codes::MALFORMED_CSV,
            DecodeError::UnknownColumn { .. } => codes::UNKNOWN_COLUMN,
            DecodeError::DuplicateColumn { .. } => codes::DUPLICATE_FIELD,
            DecodeError::MalformedParquet { .. } => "malformed_parquet",
            DecodeError::UnsupportedType { .. } => codes::INVALID_TYPE,
            DecodeError::InvalidMapping { .. } => "invalid_mapping",
        }
    }

    /// Whether it is too much (HTTP 413) rather than wrong (400).
    pub fn is_too_large(&self) -> bool {
        matches!(self, DecodeError::TooLarge { .. } | DecodeError::TooManyRows { .. })
    }

    /// The column it is about, if it is about one.
    pub fn field(&self) -> Option<&str> {
        match self {
            DecodeError::UnknownColumn { name, .. }
            | DecodeError::DuplicateColumn { name }
            | DecodeError::UnsupportedType { name, .. } => Some(name),
            _ => None,
        }
    }
}

/// Why one row was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// Its index in the body, counted from 0 over good and bad rows (blank lines do not count).
    pub index: u32,
    /// The member that is wrong, if it is one.
    pub field: Option<String>,
    /// A stable word, one of [`codes`].
    pub code: &'static str,
    /// For people: which value, and what would be right.
    pub message: String,
    /// The first bytes of the row as it was sent.
    pub excerpt: String,
}

/// The words a [`RowError`] can carry.
pub mod codes {
    /// A value of another type than its column's.
    pub const INVALID_TYPE: &str = "invalid_type";
    /// A number beyond what its column holds.
    pub const OUT_OF_RANGE: &str = "out_of_range";
    /// Money with more than nine fraction digits.
    pub const MONEY_PRECISION: &str = "money_precision";
    /// A time that is none.
    pub const INVALID_TIME: &str = "invalid_time";
    /// A time more than an hour ahead of the clock.
    pub const TIME_IN_FUTURE: &str = "time_in_future";
    /// A string past `limits::STRING_BYTES_MAX`.
    pub const TOO_LONG: &str = "too_long";
    /// Values nested too deeply.
    pub const TOO_DEEP: &str = "too_deep";
    /// Too many members, elements or keys.
    pub const LIMIT_EXCEEDED: &str = "limit_exceeded";
    /// Bytes, or escapes, that are no Unicode text.
    pub const INVALID_UTF8: &str = "invalid_utf8";
    /// A column the dataset does not have.
    pub const UNKNOWN_COLUMN: &str = "unknown_column";
    /// A column that is there twice.
    pub const DUPLICATE_FIELD: &str = "duplicate_field";
    /// A line that is no JSON object.
    pub const MALFORMED_JSON: &str = "malformed_json";
    /// A CSV row with a quote that is out of place.
    pub const MALFORMED_CSV: &str = "malformed_csv";
    /// A CSV row with more or fewer fields than the header.
    pub const RAGGED_ROW: &str = "ragged_row";
}
