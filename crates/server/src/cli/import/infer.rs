//! `--create`: a dataset's definition from the first rows of a file.
//!
//! Pure: rows in, definition out. A guess is made of what the values are, and of names only where several columns could be the
//! time. It is said aloud, so that a wrong one is seen.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tidewater_decode::{Format, Mapping};
use tidewater_model::time::parse_timestamp_utc;

use super::split::Piece;

/// Names that a time column has more often than not, most likely first.
const TIME_NAMES: [&str; 9] =
    ["ts", "time", "timestamp", "@timestamp", "datetime", "created_at", "event_time", "date", "at"];
/// Numbers from here on can be a time: 1973 in seconds.
const EPOCH_NUMBER_MIN: f64 = 1e8;
/// Longest column name, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What a column's values are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Guess {
    /// Only nulls so far.
    Empty,
    Bool,
    Int,
    Float,
    Money,
    /// Text that reads as a time.
    Time,
    Text,
    List,
    Map,
}

impl Guess {
    /// What holds both.
    fn or(self, other: Guess) -> Guess {
        match (self, other) {
            (a, b) if a == b => a,
            (Guess::Empty, other) | (other, Guess::Empty) => other,
            (Guess::Int, Guess::Float) | (Guess::Float, Guess::Int) => Guess::Float,
            _ => Guess::Text,
        }
    }

    /// The type's name in a definition; a dataset has one time column, others are kept as text.
    fn type_name(self) -> &'static str {
        match self {
            Guess::Bool => "bool",
            Guess::Int => "int",
            Guess::Float => "float",
            Guess::Money => "money",
            Guess::Empty | Guess::Time | Guess::Text => "string",
            Guess::List => "strings",
            Guess::Map => "map",
        }
    }
}

/// A column of the file.
struct Seen {
    name: String,
    guess: Guess,
    /// Whether every value could be a time as a number.
    is_epoch: bool,
}

/// A definition and how the file's names become its names.
pub struct Inferred {
    /// For `PUT /api/v1/datasets/NAME`.
    pub definition: Value,
    /// The user's mapping, and one for every name that is no column name as it stands.
    pub mapping: Mapping,
    /// The time column's name in the file.
    pub time_source: String,
}

/// Guesses from the rows of one piece.
pub fn infer(piece: &Piece, mapping: &Mapping, time: Option<&str>) -> anyhow::Result<Inferred> {
    let seen = match piece.format {
        Format::Json | Format::Ndjson => from_lines(&piece.body)?,
        Format::Csv => from_csv(&piece.body, b',')?,
        Format::Tsv => from_csv(&piece.body, b'\t')?,
        Format::Parquet => from_parquet(piece)?,
    };
    let time_source = match time {
        Some(time) => time.to_owned(),
        None => guess_time(&seen)?,
    };
    let mut mapping = mapping.clone();
    let mut used: BTreeSet<String> = mapping.fields.values().cloned().collect();
    let mut columns = BTreeMap::new();
    let mut order = Vec::new();
    let mut time_name = mapping.fields.get(&time_source).cloned();
    for column in &seen {
        let target = match mapping.fields.get(&column.name) {
            Some(target) => target.clone(),
            None => free_name(&column.name, &mut used),
        };
        if target != column.name {
            mapping.fields.insert(column.name.clone(), target.clone());
        }
        if column.name == time_source {
            time_name = Some(target);
            continue;
        }
        let (name, type_name) = match target.split_once('.') {
            Some((map, _)) => (map.to_owned(), "map"),
            None => (target, column.guess.type_name()),
        };
        if columns.insert(name.clone(), type_name).is_none() {
            order.push(name);
        }
    }
    let Some(time_name) = time_name else { bail!("the file has no column '{time_source}'") };
    for (name, value) in &mapping.constants {
        let name = name.split_once('.').map_or(name.as_str(), |(map, _)| map);
        if name != time_name && columns.insert(name.to_owned(), of_text(value).type_name()).is_none() {
            order.push(name.to_owned());
        }
    }
    let columns: serde_json::Map<String, Value> =
        order.into_iter().map(|name| (name.clone(), json!(columns[&name]))).collect();
    let definition = json!({"time": time_name, "columns": columns, "metrics": {"rows": {"agg": "count"}}});
    Ok(Inferred { definition, mapping, time_source })
}

/// The likeliest time column: text that reads as times, by name or else the first; then numbers, by name only.
fn guess_time(seen: &[Seen]) -> anyhow::Result<String> {
    let by_name = |fits: &dyn Fn(&Seen) -> bool| {
        TIME_NAMES.iter().find_map(|name| {
            seen.iter().find(|column| column.name.eq_ignore_ascii_case(name) && fits(column))
        })
    };
    let is_time = |column: &Seen| column.guess == Guess::Time;
    let found = by_name(&is_time).or_else(|| seen.iter().find(|column| is_time(column)));
    let found = found.or_else(|| by_name(&|column| column.is_epoch));
    let names = || seen.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = found.with_context(|| {
        format!("no column looks like a time; name it with --time (there are: {})", names())
    })?;
    Ok(found.name.clone())
}

/// A column name as near to `name` as the rules allow, and not used yet.
fn free_name(name: &str, used: &mut BTreeSet<String>) -> String {
    let mut clean: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .skip_while(|c| *c == '_')
        .collect();
    clean.truncate(clean.trim_end_matches('_').len());
    if !clean.starts_with(|c: char| c.is_ascii_alphabetic()) {
        clean.insert_str(0, "c_");
        clean.truncate(clean.trim_end_matches('_').len());
    }
    // A valid name with a trailing '_' stays as it is.
    let is_valid = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let mut clean = if is_valid { name.to_owned() } else { clean };
    clean.truncate(NAME_BYTES_MAX - 4);
    let free = std::iter::once(clean.clone()).chain((2..).map(|n| format!("{clean}_{n}")));
    let free = free.into_iter().find(|name| !used.contains(name)).unwrap_or(clean);
    used.insert(free.clone());
    free
}

/// Columns in the order they were first seen.
#[derive(Default)]
struct Columns {
    places: BTreeMap<String, usize>,
    seen: Vec<Seen>,
}

impl Columns {
    fn add(&mut self, name: &str, guess: Guess, number: Option<f64>) {
        let place = *self.places.entry(name.to_owned()).or_insert_with(|| {
            self.seen.push(Seen { name: name.to_owned(), guess: Guess::Empty, is_epoch: true });
            self.seen.len() - 1
        });
        let column = &mut self.seen[place];
        column.guess = column.guess.or(guess);
        column.is_epoch &= guess == Guess::Empty || number.is_some_and(|number| number >= EPOCH_NUMBER_MIN);
    }

    fn finish(self) -> anyhow::Result<Vec<Seen>> {
        if self.seen.is_empty() {
            bail!("the first rows have no columns to make a dataset of");
        }
        Ok(self.seen)
    }
}

fn from_lines(body: &[u8]) -> anyhow::Result<Vec<Seen>> {
    let mut columns = Columns::default();
    for line in body.split(|byte| *byte == b'\n') {
        // A bad row is refused later and does not decide about columns.
        let Ok(Value::Object(row)) = serde_json::from_slice(line) else { continue };
        for (name, value) in &row {
            let guess = match value {
                Value::Null => Guess::Empty,
                Value::Bool(_) => Guess::Bool,
                Value::Number(number) if number.is_i64() => Guess::Int,
                Value::Number(_) => Guess::Float,
                Value::String(text) if parse_timestamp_utc(text.as_bytes()).is_ok() => Guess::Time,
                Value::String(_) => Guess::Text,
                Value::Array(items) if items.iter().all(Value::is_string) => Guess::List,
                Value::Array(_) => Guess::Text,
                Value::Object(_) => Guess::Map,
            };
            columns.add(name, guess, value.as_f64());
        }
    }
    columns.finish()
}

fn from_csv(body: &[u8], delimiter: u8) -> anyhow::Result<Vec<Seen>> {
    let mut builder = csv::ReaderBuilder::new();
    // Fields of tab-separated files have no quotes, as in `decode`.
    let mut reader = builder.delimiter(delimiter).quoting(delimiter == b',').flexible(true).from_reader(body);
    let header = reader.byte_headers()?.clone();
    let names: Vec<String> = header.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    let mut columns = Columns::default();
    for name in &names {
        columns.add(name, Guess::Empty, None);
    }
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).unwrap_or(false) {
        for (name, field) in names.iter().zip(&record) {
            let text = String::from_utf8_lossy(field);
            columns.add(name, of_text(&text), text.parse().ok());
        }
    }
    columns.finish()
}

/// What a text is in a file without types. A number with a leading zero is a code, not a number.
fn of_text(text: &str) -> Guess {
    let digits = text.trim_start_matches('-');
    let is_code = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    match text {
        "" => Guess::Empty,
        "true" | "false" => Guess::Bool,
        _ if is_code || text.starts_with('+') => Guess::Text,
        _ if text.parse::<i64>().is_ok() => Guess::Int,
        _ if text.parse::<f64>().is_ok_and(f64::is_finite) => Guess::Float,
        _ if parse_timestamp_utc(text.as_bytes()).is_ok() => Guess::Time,
        _ => Guess::Text,
    }
}

fn from_parquet(piece: &Piece) -> anyhow::Result<Vec<Seen>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(piece.body.clone())?;
    let mut columns = Columns::default();
    for field in builder.schema().fields() {
        columns.add(field.name(), of_type(field.data_type()), None);
    }
    columns.finish()
}

fn of_type(data_type: &DataType) -> Guess {
    match data_type {
        DataType::Boolean => Guess::Bool,
        data_type if data_type.is_integer() => Guess::Int,
        data_type if data_type.is_floating() => Guess::Float,
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale)
            if *scale <= 9 =>
        {
            Guess::Money
        }
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Guess::Time,
        DataType::List(_) | DataType::LargeList(_) => Guess::List,
        DataType::Map(..) | DataType::Struct(_) => Guess::Map,
        DataType::Dictionary(_, value) => of_type(value),
        _ => Guess::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer_from(format: Format, body: &str) -> anyhow::Result<Inferred> {
        let piece = Piece { body: body.to_owned().into(), format, places: Vec::new() };
        infer(&piece, &Mapping::default(), None)
    }

    #[test]
    fn types_follow_the_values() {
        let csv = "TIMESTAMP,zip code,n,share,ok,name\n2023-11-16 18:17:03.9799600,01234,1,1,true,a\n\
                   2023-11-16 18:17:04,99999,2,0.5,false,\n";
        let inferred = infer_from(Format::Csv, csv).expect("a definition");
        let expected = json!({"time": "TIMESTAMP", "metrics": {"rows": {"agg": "count"}},
            "columns": {"zip_code": "string", "n": "int", "share": "float", "ok": "bool", "name": "string"}});
        assert_eq!(inferred.definition, expected);
        assert_eq!(inferred.mapping.fields, BTreeMap::from([("zip code".to_owned(), "zip_code".to_owned())]));
    }

    #[test]
    fn members_of_rows_are_put_together() {
        let rows = "{\"@timestamp\":\"2026-01-01T00:00:00Z\",\"a\":null,\"tags\":[\"x\"]}\nnot json\n\
                    {\"@timestamp\":\"2026-01-01T00:00:01Z\",\"a\":1,\"props\":{\"k\":1},\"b\":2.5}\n";
        let inferred = infer_from(Format::Ndjson, rows).expect("a definition");
        let columns = json!({"a": "int", "tags": "strings", "props": "map", "b": "float"});
        assert_eq!(
            (&inferred.definition["time"], &inferred.definition["columns"]),
            (&json!("timestamp"), &columns)
        );
    }

    #[test]
    fn numbers_are_a_time_only_by_name() {
        let by_name = infer_from(Format::Csv, "id,time\n1500000000,1500000000\n").expect("a definition");
        assert_eq!(by_name.definition["time"], "time");
        for text in ["id,n\n1500000000,1\n", "timestamp,n\n0,1\n"] {
            let error = infer_from(Format::Csv, text).map(|_| ()).expect_err("refused").to_string();
            assert!(error.contains("--time"), "{error}");
        }
    }

    #[test]
    fn names_become_valid_and_stay_apart() {
        let mut used = BTreeSet::new();
        let names = ["isRobot", "@timestamp", "a b", "a-b", "9lives", "größe", "___"]
            .map(|name| free_name(name, &mut used));
        assert_eq!(names, ["isRobot", "timestamp", "a_b", "a_b_2", "c_9lives", "gr__e", "c"]);
    }
}
