//! Answers as CSV (RFC 4180): a header row, then the page's rows. Null is an empty field. Where the row of all other groups was asked
//! for, a last column says which row it is.

use std::ops::Range;

use tidewater_engine::QueryReply;
use tidewater_model::money;
use tidewater_model::time::{Zone, format_rfc3339};
use tidewater_query::{AnswerRow, AnswerRows, Cell};

use super::parts::{List, Part, Parts, RowForm};
use super::{OTHERS, column_names, others};

pub(super) fn table(reply: &QueryReply) -> Parts {
    let is_marked = reply.query.include.others;
    let rows = CsvRows { zone: reply.query.zone.clone(), is_marked };
    let (mut header, mut last) = (Vec::new(), Vec::new());
    let names = column_names(&reply.query).into_iter().chain(is_marked.then(|| OTHERS.to_owned()));
    write_records(std::iter::once(names.collect()), &mut header);
    if let Some((row, _)) = others(reply) {
        write_records(std::iter::once(rows.record(&row, true)), &mut last);
    }
    Parts::new(RowForm::Csv(rows), [Part::Text(header), Part::Rows(List::Page, 0), Part::Text(last)])
}

/// Writes the rows of one answer.
pub(super) struct CsvRows {
    zone: Zone,
    /// Whether a last column says which row is that of all other groups.
    is_marked: bool,
}

impl CsvRows {
    /// Writes some rows of a list.
    pub fn rows(&self, rows: &AnswerRows, range: Range<usize>, out: &mut Vec<u8>) {
        write_records(range.map(|row| self.record(&rows.get(row), false)), out);
    }

    fn record(&self, row: &AnswerRow, is_others: bool) -> Vec<String> {
        let cells = row.dimensions.iter().chain(&row.metrics).map(|cell| field(cell, &self.zone));
        cells.chain(self.is_marked.then(|| is_others.to_string())).collect()
    }
}

fn write_records(records: impl Iterator<Item = Vec<String>>, out: &mut Vec<u8>) {
    // The length of records is not the writer's to check: each part of a table is written by a writer of its own.
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(out);
    for record in records {
        writer.write_record(record).expect("writing to a Vec cannot fail");
    }
    writer.flush().expect("writing to a Vec cannot fail");
}

fn field(cell: &Cell, zone: &Zone) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Bool(value) => value.to_string(),
        Cell::Int(value) => value.to_string(),
        Cell::Float(value) => format!("{value:?}"),
        Cell::Money(units) => money::format(*units),
        Cell::Text(text) | Cell::Bucket(_, text) => text.to_string(),
        Cell::Time(time) => format_rfc3339(*time, zone),
        Cell::List(items) => items.join(";"),
        Cell::Map(entries) => {
            entries.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(";")
        }
    }
}
