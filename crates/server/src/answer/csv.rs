//! Answers as CSV (RFC 4180): a header row, then the page's rows. Null is an empty field. Where the row of all other groups was asked
//! for, a last column says which row it is.

use tidewater_engine::QueryReply;
use tidewater_model::money;
use tidewater_model::time::{Zone, format_rfc3339};
use tidewater_query::{AnswerRow, Cell};

use super::{OTHERS, column_names, others};
use crate::problem::Problem;

pub(super) fn table(reply: &QueryReply) -> Result<Vec<u8>, Problem> {
    let mut writer = csv::Writer::from_writer(Vec::with_capacity(reply.page.rows.len() * 32));
    let written = write(reply, &mut writer);
    written.map_err(|error| Problem::internal(&error))?;
    writer.into_inner().map_err(|error| Problem::internal(&error))
}

fn write(reply: &QueryReply, writer: &mut csv::Writer<Vec<u8>>) -> Result<(), csv::Error> {
    let is_marked = reply.query.include.others;
    let mark = |is_others: bool| is_marked.then(|| is_others.to_string());
    writer
        .write_record(column_names(&reply.query).into_iter().chain(is_marked.then(|| OTHERS.to_owned())))?;
    let mut write_row = |row: &AnswerRow, is_others: bool| {
        let cells = row.dimensions.iter().chain(&row.metrics).map(|cell| field(cell, &reply.query.zone));
        writer.write_record(cells.chain(mark(is_others)))
    };
    for row in &reply.page.rows {
        write_row(row, false)?;
    }
    others(reply).map_or(Ok(()), |(row, _)| write_row(&row, true))
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
