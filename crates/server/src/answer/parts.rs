//! An answer in the order in which it is written: texts, and rows a few hundred at a time. A small answer is written whole, a large
//! one while it is sent, so that nobody holds all of its text.
//!
//! Not here: what the parts of a format look like (`json`, `csv`), headers (`answer`).

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use http_body::Frame;
use tidewater_engine::QueryReply;
use tidewater_query::AnswerRows;

use super::csv::CsvRows;
use super::json::JsonRows;

/// Rows written at once: a fraction of a milli-second.
const ROWS_AT_ONCE: usize = 512;
/// A chunk on the wire is at least so long, but for the last.
const CHUNK_BYTES_MIN: usize = 64 << 10;
/// From so many values on an answer is sent while it is written: its text has a megabyte and more, and is too large to be worth keeping.
const STREAMED_CELLS_MIN: usize = 100_000;

/// One part.
pub(super) enum Part {
    /// Ready.
    Text(Vec<u8>),
    /// The rows of a list from a place on.
    Rows(List, usize),
}

/// Which rows of a page.
#[derive(Clone, Copy, Debug)]
pub(super) enum List {
    /// The answer's.
    Page,
    /// Those it is compared with.
    Comparison,
}

impl List {
    /// `None` where the question has no comparison.
    fn of(self, reply: &QueryReply) -> Option<&AnswerRows> {
        match self {
            List::Page => Some(&reply.page.rows),
            List::Comparison => reply.page.comparison.as_ref(),
        }
    }
}

/// How rows are written.
pub(super) enum RowForm {
    /// As JSON.
    Json(JsonRows),
    /// As CSV.
    Csv(CsvRows),
}

impl RowForm {
    fn write(&self, rows: &AnswerRows, range: Range<usize>, out: &mut Vec<u8>) {
        match self {
            RowForm::Json(json) => json.rows(rows, range, out),
            RowForm::Csv(csv) => csv.rows(rows, range, out),
        }
    }
}

/// What is left of an answer.
pub(super) struct Parts {
    form: RowForm,
    parts: VecDeque<Part>,
}

impl Parts {
    pub fn new(form: RowForm, parts: impl Into<VecDeque<Part>>) -> Self {
        Parts { form, parts: parts.into() }
    }

    /// Writes the next part, or some rows of it; false where nothing was left.
    pub fn write_next(&mut self, reply: &QueryReply, out: &mut Vec<u8>) -> bool {
        match self.parts.pop_front() {
            None => return false,
            Some(Part::Text(text)) => out.extend_from_slice(&text),
            Some(Part::Rows(list, from)) => {
                let Some(rows) = list.of(reply) else { return true };
                let to = rows.len().min(from + ROWS_AT_ONCE);
                self.form.write(rows, from..to, out);
                if to < rows.len() {
                    self.parts.push_front(Part::Rows(list, to));
                }
            }
        }
        true
    }

    /// Adds a text behind all others.
    pub fn push_text(&mut self, text: Vec<u8>) {
        self.parts.push_back(Part::Text(text));
    }

    /// Writes everything but the rows between the first and the last of each list, and takes nothing away.
    pub fn write_ends(&self, reply: &QueryReply, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Rows(list, _) => {
                    let Some(rows) = list.of(reply) else { continue };
                    self.form.write(rows, 0..rows.len().min(1), out);
                    self.form.write(rows, rows.len().saturating_sub(1).max(1)..rows.len(), out);
                }
            }
        }
    }

    /// Writes all that is left.
    pub fn write_all(&mut self, reply: &QueryReply, out: &mut Vec<u8>) {
        while self.write_next(reply, out) {}
    }
}

/// Values in an answer's page.
pub(super) fn cells(reply: &QueryReply) -> usize {
    let columns = reply.query.dimensions.len() + reply.query.metrics.len();
    let rows = reply.page.rows.len() + reply.page.comparison.as_ref().map_or(0, AnswerRows::len);
    rows * columns
}

/// Whether so many values are sent while they are written.
pub(super) fn is_large(cells: usize) -> bool {
    cells >= STREAMED_CELLS_MIN
}

/// A response's body of one answer or several, written as it is sent.
#[derive(Default)]
pub struct Sheet {
    items: VecDeque<Item>,
    cells: usize,
}

enum Item {
    Text(Vec<u8>),
    Answer(Box<QueryReply>, Parts),
}

impl Sheet {
    /// Adds a text.
    pub fn text(&mut self, text: impl Into<Vec<u8>>) {
        self.items.push_back(Item::Text(text.into()));
    }

    pub(super) fn push(&mut self, reply: QueryReply, parts: Parts) {
        self.cells += cells(&reply);
        self.items.push_back(Item::Answer(Box::new(reply), parts));
    }

    /// Whether it is too large to be written before it is sent.
    pub fn is_large(&self) -> bool {
        is_large(self.cells)
    }

    /// All of it.
    pub fn whole(mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.write_next(&mut out) {}
        out
    }

    fn write_next(&mut self, out: &mut Vec<u8>) -> bool {
        match self.items.front_mut() {
            None => return false,
            Some(Item::Text(text)) => {
                out.append(text);
                self.items.pop_front();
            }
            Some(Item::Answer(reply, parts)) => {
                if !parts.write_next(reply, out) {
                    self.items.pop_front();
                }
            }
        }
        true
    }
}

impl HttpBody for Sheet {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES_MIN * 2);
        while chunk.len() < CHUNK_BYTES_MIN && self.write_next(&mut chunk) {}
        Poll::Ready((!chunk.is_empty()).then(|| Ok(Frame::data(Bytes::from(chunk)))))
    }

    fn is_end_stream(&self) -> bool {
        self.items.is_empty()
    }
}
