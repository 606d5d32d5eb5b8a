//! Rows being put into columns: typing of single values, limits, roll-back of bad rows, the report of what was wrong.
//!
//! Not here: the syntax of any format.

use tidewater_columns::RowBatch;
use tidewater_model::limits::{FUTURE_US_MAX, MAP_KEYS_MAX, STRING_BYTES_MAX, STRINGS_ELEMENTS_MAX};
use tidewater_model::money::{self, MoneyError};
use tidewater_model::names::excerpt;
use tidewater_model::schema::{ColumnId, ColumnType, Dataset};
use tidewater_model::time::{TimeError, Timestamp, parse_timestamp_utc};

use crate::builder::ColumnBuilder;
use crate::error::codes;
use crate::mapping::{Target, Targets, resolve_name};
use crate::number::{IntError, Number};
use crate::{DecodeError, Decoded, Options, ROW_ERRORS_MAX, RowError};

/// Bytes of a refused row that are kept to be looked at.
const EXCERPT_BYTES_MAX: usize = 256;

pub(crate) struct Rows<'a> {
    pub targets: Targets<'a>,
    dataset: &'a Dataset,
    options: Options<'a>,
    /// By column id; made at the first value.
    columns: Vec<Option<ColumnBuilder>>,
    /// Good rows so far; the row in progress gets this number.
    rows: usize,
    /// Good and bad rows so far.
    index: u32,
    row_index: Vec<u32>,
    /// What is wrong with the row in progress.
    failure: Option<Failure>,
    /// Map columns that hold entries of the row in progress.
    open_maps: Vec<ColumnId>,
    /// The mapping's values for rows that have none.
    constants: Vec<(Target, &'a str)>,
    rejected: u64,
    errors: Vec<RowError>,
    unknown_ignored: u64,
}

struct Failure {
    field: Option<String>,
    code: &'static str,
    message: String,
}

impl<'a> Rows<'a> {
    pub fn new(dataset: &'a Dataset, options: &Options<'a>) -> Result<Self, DecodeError> {
        let constants = options.mapping.constants.iter();
        let constants: Result<_, DecodeError> =
            constants.map(|(name, text)| Ok((resolve_name(dataset, name)?, text.as_str()))).collect();
        Ok(Rows {
            constants: constants?,
            targets: Targets::new(dataset, options.unknown, options.mapping)?,
            dataset,
            options: *options,
            columns: (0..dataset.columns.len()).map(|_| None).collect(),
            rows: 0,
            index: 0,
            row_index: Vec::new(),
            failure: None,
            open_maps: Vec::new(),
            rejected: 0,
            errors: Vec::new(),
            unknown_ignored: 0,
        })
    }

    /// Whether the row in progress will be left out; its other values need not be looked at.
    pub fn is_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// The type of a column.
    #[inline]
    pub fn kind(&self, id: ColumnId) -> ColumnType {
        self.dataset.column(id).kind
    }

    /// Marks the row in progress as bad; only the first reason counts.
    #[cold]
    pub fn fail(&mut self, field: Option<String>, code: &'static str, message: impl FnOnce() -> String) {
        if self.failure.is_none() {
            // Beyond the rows that are described nobody reads the words.
            let is_described = self.errors.len() < ROW_ERRORS_MAX;
            let message = if is_described { message() } else { String::new() };
            self.failure = Some(Failure { field, code, message });
        }
    }

    /// Like [`Self::fail`], about a column.
    #[cold]
    pub fn fail_column(&mut self, id: ColumnId, code: &'static str, message: impl FnOnce() -> String) {
        let name = self.targets.name(id).to_owned();
        self.fail(Some(name), code, message);
    }

    /// A value of the wrong type.
    #[cold]
    pub fn fail_type(&mut self, id: ColumnId, found: &str) {
        let expected = match self.kind(id) {
            ColumnType::Time => "a time (RFC 3339 or a number)",
            ColumnType::String => "a string",
            ColumnType::Int => "a whole number",
            ColumnType::Float => "a number",
            ColumnType::Bool => "true or false",
            ColumnType::Money => "a decimal number",
            ColumnType::Strings => "a list of strings",
            ColumnType::Map => "an object",
        };
        self.fail_column(id, codes::INVALID_TYPE, || format!("expected {expected}, found {found}"));
    }

    /// A member no column has the name of and that the caller did not ask to ignore.
    #[cold]
    pub fn fail_unknown(&mut self, name: &str) {
        if self.failure.is_none() {
            let is_described = self.errors.len() < ROW_ERRORS_MAX;
            let message = if is_described { self.targets.refusal(name) } else { String::new() };
            self.fail(Some(excerpt(name)), codes::UNKNOWN_COLUMN, || message);
        }
    }

    /// Counts a dropped member.
    pub fn ignore_unknown(&mut self) {
        self.unknown_ignored += 1;
    }

    /// The column's builder, ready for the row in progress; `None` (and a failure) if the row has a value there already.
    #[inline]
    fn place(&mut self, id: ColumnId) -> Option<&mut ColumnBuilder> {
        let kind = self.dataset.columns[id.index()].kind;
        let rows = self.rows;
        let builder = self.columns[id.index()].get_or_insert_with(|| ColumnBuilder::new(kind));
        let is_free = builder.make_room(rows);
        if !is_free {
            self.fail_column(id, codes::DUPLICATE_FIELD, || {
                "the column is there twice in one row".to_owned()
            });
            return None;
        }
        self.columns[id.index()].as_mut()
    }

    /// Puts a string where a string, a time or money is expected.
    #[inline]
    pub fn put_text(&mut self, id: ColumnId, text: &str) {
        if text.len() > STRING_BYTES_MAX {
            return self.fail_length(id, text.len());
        }
        match self.kind(id) {
            ColumnType::String => {
                if let Some(ColumnBuilder::Text(column)) = self.place(id) {
                    column.push(text);
                }
            }
            ColumnType::Time => match parse_timestamp_utc(text.as_bytes()) {
                Ok(time) => self.put_time(id, time),
                Err(error) => self.fail_time(id, &error),
            },
            ColumnType::Money => match money::parse_decimal(text) {
                Ok(units) => self.put_int(id, units),
                Err(error) => self.fail_money(id, text, error),
            },
            _ => self.fail_type(id, &format!("the string \"{}\"", excerpt(text))),
        }
    }

    /// Puts a number where a number or a time is expected.
    #[inline]
    pub fn put_number(&mut self, id: ColumnId, number: Number<'_>) {
        match self.kind(id) {
            ColumnType::Int => match number.to_int() {
                Ok(value) => self.put_int(id, value),
                Err(IntError::Fraction) => self.fail_type(id, &excerpt(number.raw)),
                Err(IntError::OutOfRange) => self.fail_range(id, number.raw, "64-bit integers"),
            },
            ColumnType::Float => match number.to_float() {
                Some(value) => self.put_float(id, value),
                None => self.fail_range(id, number.raw, "64-bit floats"),
            },
            ColumnType::Money => match number.to_money() {
                Ok(units) => self.put_int(id, units),
                Err(error) => self.fail_money(id, number.raw, error),
            },
            ColumnType::Time => match number.to_time() {
                Ok(time) => self.put_time(id, time),
                Err(error) => self.fail_time(id, &error),
            },
            _ => self.fail_type(id, &format!("the number {}", excerpt(number.raw))),
        }
    }

    /// Puts a truth value.
    #[inline]
    pub fn put_bool(&mut self, id: ColumnId, value: bool) {
        if self.kind(id) != ColumnType::Bool {
            return self.fail_type(id, if value { "true" } else { "false" });
        }
        if let Some(ColumnBuilder::Bools(column)) = self.place(id) {
            column.push(value);
        }
    }

    /// Puts an integer that is no text: a whole number, an amount or a time, as the column has it.
    pub fn put_integer(&mut self, id: ColumnId, value: i64) {
        match self.kind(id) {
            ColumnType::Int => self.put_int(id, value),
            _ => match Number::parse(&value.to_string()) {
                Some(number) => self.put_number(id, number),
                None => self.fail_type(id, "a number"),
            },
        }
    }

    /// Puts a double that is no text. As money it is rounded to nine fraction digits: a binary fraction has no exact ones.
    pub fn put_double(&mut self, id: ColumnId, value: f64) {
        match self.kind(id) {
            _ if !value.is_finite() => {
                self.fail_column(id, codes::OUT_OF_RANGE, || format!("{value} is not a finite number"));
            }
            ColumnType::Float => self.put_float(id, value),
            ColumnType::Money => self.put_text(id, &format!("{value:.9}")),
            _ => match Number::parse(&format!("{value}")) {
                Some(number) => self.put_number(id, number),
                None => self.fail_type(id, "a number"),
            },
        }
    }

    /// Puts an instant into a time column, or refuses one too far ahead.
    pub fn put_time(&mut self, id: ColumnId, time: Timestamp) {
        if time.0 > self.options.now.0.saturating_add(FUTURE_US_MAX) {
            return self.fail_column(id, codes::TIME_IN_FUTURE, || {
                format!("{time} lies more than an hour ahead of the server's clock")
            });
        }
        self.put_int(id, time.0);
    }

    #[inline]
    fn put_int(&mut self, id: ColumnId, value: i64) {
        if let Some(ColumnBuilder::Ints(column)) = self.place(id) {
            column.push(value);
        }
    }

    #[inline]
    fn put_float(&mut self, id: ColumnId, value: f64) {
        if let Some(ColumnBuilder::Floats(column)) = self.place(id) {
            column.push(value);
        }
    }

    /// Begins a list; false if there is no place for it.
    pub fn open_list(&mut self, id: ColumnId) -> bool {
        self.place(id).is_some()
    }

    /// Adds an element to the list begun last.
    pub fn push_element(&mut self, id: ColumnId, text: &str) {
        if text.len() > STRING_BYTES_MAX {
            return self.fail_length(id, text.len());
        }
        let Some(ColumnBuilder::Lists(column)) = &mut self.columns[id.index()] else { return };
        if column.open_elements() == STRINGS_ELEMENTS_MAX {
            return self.fail_column(id, codes::LIMIT_EXCEEDED, || {
                format!("a list holds at most {STRINGS_ELEMENTS_MAX} elements")
            });
        }
        column.push_element(text);
    }

    /// Ends a list.
    pub fn close_list(&mut self, id: ColumnId) {
        if let Some(ColumnBuilder::Lists(column)) = &mut self.columns[id.index()] {
            column.close();
        }
    }

    /// Says that the row has a map, even if no entry follows.
    pub fn open_map(&mut self, id: ColumnId) {
        if !self.open_maps.contains(&id) && self.place(id).is_some() {
            self.open_maps.push(id);
        }
    }

    /// Adds an entry to the row's map.
    pub fn push_entry(&mut self, id: ColumnId, key: &str, value: &str) {
        let longest = key.len().max(value.len());
        if longest > STRING_BYTES_MAX {
            return self.fail_length(id, longest);
        }
        self.open_map(id);
        let Some(ColumnBuilder::Maps(column)) = &mut self.columns[id.index()] else { return };
        if column.open_entries() == MAP_KEYS_MAX {
            return self.fail_column(id, codes::LIMIT_EXCEEDED, || {
                format!("a map holds at most {MAP_KEYS_MAX} keys")
            });
        }
        column.push_entry(key, value);
    }

    /// Ends the row in progress: keeps it, or takes it back and reports it. `source` yields its bytes.
    pub fn finish_row<'b>(&mut self, source: impl FnOnce() -> &'b [u8]) -> Result<(), DecodeError> {
        if self.index as usize >= self.options.rows_max {
            return Err(DecodeError::TooManyRows { limit_rows: self.options.rows_max });
        }
        if !self.constants.is_empty() {
            self.put_constants();
        }
        if !self.open_maps.is_empty() {
            self.close_maps();
        }
        match self.failure.take() {
            Some(failure) => self.reject(failure, source()),
            None => {
                if self.columns[0].as_ref().is_none_or(|times| times.len() == self.rows) {
                    self.put_int(ColumnId::TIME, self.options.now.0);
                }
                self.row_index.push(self.index);
                self.rows += 1;
            }
        }
        self.index += 1;
        Ok(())
    }

    fn put_constants(&mut self) {
        let constants = std::mem::take(&mut self.constants);
        for (target, text) in &constants {
            let is_missing = match target {
                Target::Column(id) => {
                    self.columns[id.index()].as_ref().is_none_or(|column| column.len() <= self.rows)
                }
                Target::Key(id, key) => !self.open_maps.contains(id) || !self.has_key(*id, key),
                Target::Inside | Target::Ignored | Target::Refused => false,
            };
            if is_missing {
                self.put_field_at(target, text);
            }
        }
        self.constants = constants;
    }

    fn has_key(&self, id: ColumnId, key: &str) -> bool {
        matches!(&self.columns[id.index()], Some(ColumnBuilder::Maps(column)) if column.has_open_key(key))
    }

    fn close_maps(&mut self) {
        for id in std::mem::take(&mut self.open_maps) {
            let Some(ColumnBuilder::Maps(column)) = &mut self.columns[id.index()] else { continue };
            let repeated = column.repeated_key().map(excerpt);
            column.close();
            if let Some(key) = repeated {
                self.fail_column(id, codes::DUPLICATE_FIELD, || format!("the key '{key}' is there twice"));
            }
        }
    }

    #[cold]
    fn reject(&mut self, failure: Failure, source: &[u8]) {
        self.columns.iter_mut().flatten().for_each(|column| column.truncate(self.rows));
        self.rejected += 1;
        if self.errors.len() < ROW_ERRORS_MAX {
            let Failure { field, code, message } = failure;
            let excerpt = lossy_excerpt(source);
            self.errors.push(RowError { index: self.index, field, code, message, excerpt });
        }
    }

    /// All rows of the body.
    pub fn finish(self) -> Decoded {
        let rows = self.rows;
        let mut columns: Vec<_> =
            self.columns.into_iter().map(|column| column.and_then(|column| column.finish(rows))).collect();
        if columns[0].is_none() {
            columns[0] = ColumnBuilder::new(ColumnType::Time).finish(0);
        }
        Decoded {
            batch: RowBatch::new(columns),
            row_index: self.row_index,
            rejected: self.rejected,
            errors: self.errors,
            unknown_ignored: self.unknown_ignored,
        }
    }

    #[cold]
    fn fail_length(&mut self, id: ColumnId, bytes: usize) {
        self.fail_column(id, codes::TOO_LONG, || {
            format!("a string of {bytes} bytes is too long: at most {STRING_BYTES_MAX} are kept")
        });
    }

    #[cold]
    fn fail_range(&mut self, id: ColumnId, raw: &str, what: &str) {
        self.fail_column(id, codes::OUT_OF_RANGE, || {
            format!("{} is beyond the range of {what}", excerpt(raw))
        });
    }

    #[cold]
    fn fail_money(&mut self, id: ColumnId, raw: &str, error: MoneyError) {
        let code = match error {
            MoneyError::Malformed => codes::INVALID_TYPE,
            MoneyError::Precision => codes::MONEY_PRECISION,
            MoneyError::OutOfRange => codes::OUT_OF_RANGE,
        };
        self.fail_column(id, code, || format!("'{}' is no amount of money: {error}", excerpt(raw)));
    }

    #[cold]
    fn fail_time(&mut self, id: ColumnId, error: &TimeError) {
        self.fail_column(id, codes::INVALID_TIME, || error.to_string());
    }

    /// Puts a CSV field: text that is read as the column's type. Lists and maps are the JSON module's.
    pub fn put_field(&mut self, id: ColumnId, text: &str) {
        let trimmed = text.trim();
        match self.kind(id) {
            ColumnType::Int | ColumnType::Float => match Number::parse(trimmed) {
                Some(number) => self.put_number(id, number),
                None => self.put_odd_number(id, trimmed),
            },
            ColumnType::Bool => match trimmed.to_ascii_lowercase().as_str() {
                "true" | "1" => self.put_bool(id, true),
                "false" | "0" => self.put_bool(id, false),
                _ => self.fail_type(id, &format!("'{}'", excerpt(text))),
            },
            ColumnType::Time => match Number::parse(trimmed) {
                Some(number) => self.put_number(id, number),
                None => self.put_text(id, trimmed),
            },
            ColumnType::Money => self.put_text(id, trimmed),
            ColumnType::String | ColumnType::Strings | ColumnType::Map => self.put_text(id, text),
        }
    }

    /// Numbers outside JSON's grammar that files have: `.5`, `5.`, `007`. Not `NaN` and `inf`: they are no values.
    fn put_odd_number(&mut self, id: ColumnId, text: &str) {
        let is_number =
            text.bytes().any(|byte| byte.is_ascii_digit()) && !text.contains(['x', 'X', 'n', 'N']);
        match (self.kind(id), text.parse::<i64>(), text.parse::<f64>()) {
            (ColumnType::Int, Ok(value), _) => self.put_int(id, value),
            (ColumnType::Float, _, Ok(value)) if value.is_finite() => self.put_float(id, value),
            (ColumnType::Float, _, Ok(_)) if is_number => self.fail_range(id, text, "64-bit floats"),
            (ColumnType::Float, _, Ok(_)) => {
                self.fail_column(id, codes::OUT_OF_RANGE, || {
                    format!("{} is not a finite number", excerpt(text))
                });
            }
            _ => self.fail_type(id, &format!("'{}'", excerpt(text))),
        }
    }

    /// Puts a CSV field where its header points to.
    pub fn put_field_at(&mut self, target: &Target, text: &str) {
        match target {
            Target::Column(id) => match self.kind(*id) {
                ColumnType::Strings | ColumnType::Map => crate::json::put_nested_text(self, *id, text),
                _ => self.put_field(*id, text),
            },
            Target::Key(id, key) => self.push_entry(*id, key, text),
            Target::Ignored => self.ignore_unknown(),
            Target::Inside | Target::Refused => {}
        }
    }
}

fn lossy_excerpt(source: &[u8]) -> String {
    let head = &source[..source.len().min(EXCERPT_BYTES_MAX)];
    let mut text = String::from_utf8_lossy(head).trim_end().to_owned();
    if source.len() > EXCERPT_BYTES_MAX {
        text.push('…');
    }
    text
}
