//! A rendered page of an answer: what the wire formats are written from.
//!
//! It is cut from an answer in memory or from one that was spilled, and looks the same.

use std::sync::Arc;
use std::time::Duration;

use tidewater_model::query::{Query, QueryRequest};
use tidewater_model::time::Timestamp;
use tidewater_query::{Answer, AnswerRow, Cell, Explain, MetricQuality};
use tidewater_store::Version;

/// What holds for every page of one answer.
#[derive(Clone, Debug)]
pub struct AnswerFacts {
    /// Totals, where asked for.
    pub totals: Option<Vec<Cell>>,
    /// Rows of all pages together.
    pub total_rows: u64,
    /// One per metric.
    pub quality: Vec<MetricQuality>,
    /// Where the numbers came from.
    pub source: String,
    /// Rows read.
    pub rows_scanned: u64,
    /// Bytes of decoded columns looked at.
    pub bytes_scanned: u64,
    /// How it was done, where asked for.
    pub explain: Option<Explain>,
    /// From when on rows were still there, for a partial answer.
    pub covered_from: Option<Timestamp>,
}

impl AnswerFacts {
    pub(crate) fn of(answer: &Answer) -> Self {
        AnswerFacts {
            totals: answer.totals().map(<[Cell]>::to_vec),
            total_rows: answer.total_rows(),
            quality: answer.quality().to_vec(),
            source: answer.source().to_owned(),
            rows_scanned: answer.rows_scanned(),
            bytes_scanned: answer.bytes_scanned(),
            explain: answer.explain().cloned(),
            covered_from: answer.covered_from(),
        }
    }
}

/// Rows of one page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PageRows {
    /// In final order.
    pub rows: Vec<AnswerRow>,
    /// One entry per row, where the question compares.
    pub comparison: Option<Vec<AnswerRow>>,
}

impl PageRows {
    pub(crate) fn of(answer: &Answer, offset: u64, limit: u32) -> Self {
        PageRows { rows: answer.page(offset, limit), comparison: answer.comparison(offset, limit) }
    }
}

/// A reply to a question.
#[derive(Clone, Debug)]
pub struct QueryReply {
    /// The page.
    pub page: PageRows,
    /// What holds for the whole answer.
    pub facts: Arc<AnswerFacts>,
    /// The question as asked.
    pub request: QueryRequest,
    /// The question as resolved.
    pub query: Arc<Query>,
    /// The state of the project's rows in the dataset that it was answered from: the last record that touched them. Other
    /// projects' rows do not change it.
    pub version: Version,
    /// When the snapshot was taken.
    pub as_of: Timestamp,
    /// Continues this page; `None` on the last one.
    pub next_cursor: Option<String>,
    /// From the request's arrival to the answer.
    pub elapsed: Duration,
}
