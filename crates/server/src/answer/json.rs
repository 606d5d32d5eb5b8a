//! Answers as JSON, written by hand: an answer of ten thousand rows is mostly numbers, and those go straight from their
//! cells into the buffer.

use std::collections::VecDeque;
use std::io::Write as _;
use std::ops::Range;

use serde::Serialize;
use serde_json::{Value, json};
use tidewater_engine::QueryReply;
use tidewater_model::money;
use tidewater_model::query::{Format, Numbers, normalised};
use tidewater_model::time::{Timestamp, Zone, format_rfc3339};
use tidewater_query::{AnswerRow, AnswerRows, Cell, Explain, SourceCost};
use xxhash_rust::xxh3::Xxh3;

use super::parts::{List, Part, Parts, RowForm};
use super::{OTHERS, column_names, others};

/// How cells are written.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Large numbers as numbers or as text.
    pub numbers: Numbers,
    /// The zone of instants.
    pub zone: Zone,
}

/// The parts of an answer without its end: see [`end`].
pub(super) fn answer(reply: &QueryReply) -> Parts {
    let writer = JsonRows::new(reply, Separator::Comma, reply.request.format);
    let others = others(reply);
    let mut parts = VecDeque::from([Part::Text(b"{\"results\":[".to_vec()), Part::Rows(List::Page, 0)]);
    let mut text = Vec::new();
    let is_empty = reply.page.rows.is_empty();
    writer.others(others.as_ref().map(|(row, _)| row), is_empty, &mut text);
    text.push(b']');
    if let Some(totals) = &reply.facts.totals {
        text.extend_from_slice(b",\"totals\":");
        writer.totals(totals, reply.query.dimensions.len(), &mut text);
    }
    if reply.page.comparison.is_some() {
        text.extend_from_slice(b",\"comparison\":[");
        parts.extend([Part::Text(std::mem::take(&mut text)), Part::Rows(List::Comparison, 0)]);
        writer.others(others.as_ref().and_then(|(_, row)| row.as_ref()), is_empty, &mut text);
        text.push(b']');
    }
    parts.push_back(Part::Text(text));
    Parts::new(RowForm::Json(writer), parts)
}

/// The question as understood.
pub(super) fn question(reply: &QueryReply) -> String {
    normalised(&reply.query).to_string()
}

/// The end of an answer, which tells about it and may differ though the answer is the same.
pub(super) fn end(reply: &QueryReply) -> Vec<u8> {
    let mut out = Vec::new();
    about(reply, &question(reply), &mut out);
    out
}

/// Writes how an answer came about, and the question.
pub(super) fn about(reply: &QueryReply, question: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"meta\":");
    out.extend_from_slice(meta(reply).to_string().as_bytes());
    out.extend_from_slice(b",\"query\":");
    out.extend_from_slice(question.as_bytes());
    out.push(b'}');
}

/// What names an answer: the question, the version of its rows, and the text of its content, or of a part of it.
pub(super) fn hash(reply: &QueryReply, content: &[u8], question: &str) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(content);
    hash.update(question.as_bytes());
    hash.update(reply.version.to_string().as_bytes());
    hash.update(&reply.facts.total_rows.to_le_bytes());
    hash.digest128()
}

/// One object a line.
pub(super) fn lines(reply: &QueryReply) -> Parts {
    let writer = JsonRows::new(reply, Separator::LineEnd, Format::Objects);
    let mut text = Vec::new();
    writer.others(others(reply).as_ref().map(|(row, _)| row), reply.page.rows.is_empty(), &mut text);
    Parts::new(RowForm::Json(writer), [Part::Rows(List::Page, 0), Part::Text(text)])
}

fn meta(reply: &QueryReply) -> Value {
    let facts = &reply.facts;
    let include = reply.query.include;
    let mut meta = json!({
        "version": reply.version.to_string(),
        "as_of": reply.as_of.to_string(),
        "next_cursor": reply.next_cursor,
        "exact": facts.quality.iter().map(|quality| quality.exact).collect::<Vec<_>>(),
        "relative_error": facts.quality.iter().map(|quality| number(quality.relative_error)).collect::<Vec<_>>(),
        "source": facts.source,
        "rows_scanned": facts.rows_scanned,
        "bytes_scanned": facts.bytes_scanned,
        "elapsed_ms": milliseconds(reply.elapsed),
    });
    let Some(members) = meta.as_object_mut() else { return meta };
    if include.total_rows {
        members.insert("total_rows".to_owned(), Value::from(facts.total_rows));
    }
    if let Some(from) = facts.covered_from {
        members.insert("covered_from".to_owned(), Value::from(from.to_string()));
    }
    if include.explain {
        members.insert("explain".to_owned(), explained(&facts.explain));
    }
    meta
}

/// How an answer was computed, as `include.explain` and the performance pages show it.
pub fn explained(explain: &Explain) -> Value {
    json!({
        "units": explain.units,
        "units_skipped": explain.units_skipped,
        "pieces": explain.pieces,
        "morsels": explain.morsels,
        "columns": explain.columns,
        "measures": explain.measures,
        "grouping": explain.grouping,
        "groups": explain.groups,
        "threads": explain.threads,
        "passes": explain.passes,
        "sources": explain.sources.iter().map(source_cost).collect::<Vec<_>>(),
        "estimated_ms": milliseconds(explain.estimated),
        "plan_ms": milliseconds(explain.plan_time),
        "scan_ms": milliseconds(explain.scan_time),
        "merge_ms": milliseconds(explain.merge_time),
        "finish_ms": milliseconds(explain.finish_time),
        "memory_bytes_peak": explain.memory_bytes_peak,
    })
}

fn source_cost(cost: &SourceCost) -> Value {
    json!({
        "source": cost.source,
        "parts": cost.parts,
        "rows": cost.rows,
        "bytes": cost.bytes,
        "busy_ms": milliseconds(cost.busy),
    })
}

fn milliseconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Whole numbers without a fraction: an error bound of 0 reads better than 0.0.
fn number(value: f64) -> Value {
    if value == 0.0 { Value::from(0) } else { Value::from(value) }
}

/// What stands between rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Separator {
    Comma,
    /// Behind each row.
    LineEnd,
}

/// Writes the rows of one answer.
pub(super) struct JsonRows {
    shape: Shape,
    separator: Separator,
    format: Format,
    /// Names of all columns as JSON strings.
    names: Vec<String>,
}

impl JsonRows {
    fn new(reply: &QueryReply, separator: Separator, format: Format) -> Self {
        JsonRows {
            shape: Shape { numbers: reply.request.numbers, zone: reply.query.zone.clone() },
            separator,
            format,
            names: column_names(&reply.query).iter().map(|name| string(name)).collect(),
        }
    }

    /// Writes some rows of a list.
    pub fn rows(&self, rows: &AnswerRows, range: Range<usize>, out: &mut Vec<u8>) {
        let mut row = AnswerRow::default();
        for index in range {
            rows.read(index, &mut row);
            self.begin(index == 0, out);
            self.row(&row, out);
            self.end(out);
        }
    }

    /// A row with a mark, since its dimensions are null as those of an ordinary row may be.
    fn others(&self, row: Option<&AnswerRow>, is_first: bool, out: &mut Vec<u8>) {
        let Some(row) = row else { return };
        self.begin(is_first, out);
        self.row(row, out);
        out.pop();
        put(out, format_args!(",\"{OTHERS}\":true}}"));
        self.end(out);
    }

    fn begin(&self, is_first: bool, out: &mut Vec<u8>) {
        if self.separator == Separator::Comma && !is_first {
            out.push(b',');
        }
    }

    fn end(&self, out: &mut Vec<u8>) {
        if self.separator == Separator::LineEnd {
            out.push(b'\n');
        }
    }

    fn row(&self, row: &AnswerRow, out: &mut Vec<u8>) {
        match self.format {
            Format::Rows => {
                out.extend_from_slice(b"{\"dimensions\":");
                self.list(&row.dimensions, out);
                out.extend_from_slice(b",\"metrics\":");
                self.list(&row.metrics, out);
                out.push(b'}');
            }
            Format::Objects => self.object(&self.names, row.dimensions.iter().chain(&row.metrics), out),
        }
    }

    fn totals(&self, totals: &[Cell], dimensions: usize, out: &mut Vec<u8>) {
        match self.format {
            Format::Rows => self.list(totals, out),
            Format::Objects => self.object(&self.names[dimensions..], totals.iter(), out),
        }
    }

    fn list(&self, cells: &[Cell], out: &mut Vec<u8>) {
        out.push(b'[');
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_cell(cell, &self.shape, out);
        }
        out.push(b']');
    }

    fn object<'c>(&self, names: &[String], cells: impl Iterator<Item = &'c Cell>, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, (name, cell)) in names.iter().zip(cells).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            write_cell(cell, &self.shape, out);
        }
        out.push(b'}');
    }
}

/// Writes one value.
pub fn write_cell(cell: &Cell, shape: &Shape, out: &mut Vec<u8>) {
    let as_text = shape.numbers == Numbers::String;
    match cell {
        Cell::Null => out.extend_from_slice(b"null"),
        Cell::Bool(true) => out.extend_from_slice(b"true"),
        Cell::Bool(false) => out.extend_from_slice(b"false"),
        Cell::Int(value) => quoted(as_text, out, |out| match i64::try_from(*value) {
            Ok(value) => number_into(value, out),
            Err(_) => put(out, format_args!("{value}")),
        }),
        // The shortest form that reads back, which is without an exponent here.
        Cell::Float(value) if (1e-4..1e15).contains(&value.abs()) => number_into(*value, out),
        Cell::Float(value) if value.is_finite() => put(out, format_args!("{value:?}")),
        Cell::Float(_) => out.extend_from_slice(b"null"),
        Cell::Money(units) => {
            quoted(as_text, out, |out| out.extend_from_slice(money::format(*units).as_bytes()))
        }
        Cell::Text(text) => write_string(text, out),
        Cell::Time(time) => write_time(*time, &shape.zone, out),
        Cell::Bucket(_, label) => write_string(label, out),
        Cell::List(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(item, out);
            }
            out.push(b']');
        }
        Cell::Map(entries) => {
            out.push(b'{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                write_string(value, out);
            }
            out.push(b'}');
        }
    }
}

fn write_time(time: Timestamp, zone: &Zone, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(format_rfc3339(time, zone).as_bytes());
    out.push(b'"');
}

fn quoted(as_text: bool, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if as_text {
        out.push(b'"');
    }
    write(out);
    if as_text {
        out.push(b'"');
    }
}

/// Most of most answers: the JSON writer's numbers are several times faster than formatted ones.
fn number_into(value: impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, &value).expect("a finite number is JSON, and writing to a Vec cannot fail");
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a Vec cannot fail");
}

fn string(text: &str) -> String {
    Value::from(text).to_string()
}

/// Writes a JSON string.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(string(text).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn cells_keep_every_digit() {
        let text = |value: &str| Cell::Text(Arc::from(value));
        let cases: &[(Cell, &str, &str)] = &[
            (Cell::Null, "null", "null"),
            (Cell::Bool(true), "true", "true"),
            (Cell::Int(-7), "-7", "\"-7\""),
            (Cell::Int(i128::from(i64::MAX) * 10), "92233720368547758070", "\"92233720368547758070\""),
            (Cell::Float(0.1), "0.1", "0.1"),
            (Cell::Float(0.0), "0.0", "0.0"),
            (Cell::Float(-123_456.75), "-123456.75", "-123456.75"),
            (Cell::Float(1e-4), "0.0001", "0.0001"),
            (Cell::Float(999_999_999_999_999.9), "999999999999999.9", "999999999999999.9"),
            (Cell::Float(1e300), "1e300", "1e300"),
            (Cell::Float(-2.5e-9), "-2.5e-9", "-2.5e-9"),
            (Cell::Float(f64::NAN), "null", "null"),
            (Cell::Money(12_345_678_901_234_567_891), "12345678901.234567891", "\"12345678901.234567891\""),
            (text("plain"), "\"plain\"", "\"plain\""),
            (text("a\"b\\\n\u{1}é"), "\"a\\\"b\\\\\\n\\u0001é\"", "\"a\\\"b\\\\\\n\\u0001é\""),
            (Cell::Time(Timestamp(0)), "\"1970-01-01T00:00:00Z\"", "\"1970-01-01T00:00:00Z\""),
            (Cell::List(vec![Arc::from("a"), Arc::from("b")]), "[\"a\",\"b\"]", "[\"a\",\"b\"]"),
            (Cell::Map(vec![(Arc::from("k"), Arc::from("v"))]), "{\"k\":\"v\"}", "{\"k\":\"v\"}"),
        ];
        for (cell, number, string) in cases {
            for (numbers, expected) in [(Numbers::Number, number), (Numbers::String, string)] {
                let mut out = Vec::new();
                write_cell(cell, &Shape { numbers, zone: Zone::utc() }, &mut out);
                assert_eq!(&String::from_utf8_lossy(&out), expected, "{cell:?}");
            }
        }
    }
}
