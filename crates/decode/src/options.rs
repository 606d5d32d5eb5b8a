//! What a caller can choose.

use tidewater_model::time::Timestamp;

use crate::Mapping;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One object, or an array of objects.
    Json,
    /// One object per line.
    Ndjson,
    /// RFC 4180 with a header row.
    Csv,
    /// As CSV, with tabs for commas.
    Tsv,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// The format of a `Content-Type` header, parameters ignored; `None` if it is another.
    pub fn from_media_type(media_type: &str) -> Option<Self> {
        let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Some(Format::Json),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Format::Ndjson),
            "text/csv" => Some(Format::Csv),
            "text/tab-separated-values" => Some(Format::Tsv),
            "application/vnd.apache.parquet" => Some(Format::Parquet),
            _ => None,
        }
    }

    /// The format of a file name without its `.gz` or `.zst`; `None` if the name does not tell.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "json" => Some(Format::Json),
            "ndjson" | "jsonl" => Some(Format::Ndjson),
            "csv" => Some(Format::Csv),
            "tsv" => Some(Format::Tsv),
            "parquet" => Some(Format::Parquet),
            _ => None,
        }
    }
}

/// What happens to members no column has the name of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// The row is refused.
    #[default]
    Reject,
    /// They are dropped and counted.
    Ignore,
    /// They become keys of the map column `props`; refused where the dataset has none.
    Props,
}

/// Settings of one call.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The time of rows that name none, and the base for refusing times in the future.
    pub now: Timestamp,
    /// Members without a column.
    pub unknown: Unknown,
    /// Most rows, good and bad, see `limits::BATCH_ROWS_MAX`.
    pub rows_max: usize,
    /// Most bytes a Parquet body may unpack to; other formats were unpacked before.
    pub bytes_max: usize,
    /// Other names for columns, and constants; `Mapping::default()` for none.
    pub mapping: &'a Mapping,
}
