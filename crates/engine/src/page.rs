//! A rendered page of an answer: what the wire formats are written from.
//!
//! It is cut from an answer in memory or from one that was spilled, and looks the same.

use std::sync::Arc;
use std::time::Duration;

use tidewater_model::query::{Query, QueryRequest};
use tidewater_model::time::Timestamp;
use tidewater_query::{Answer, AnswerRows, Cell, Explain, MetricQuality, Others};
use tidewater_store::Version;

use crate::answers::Lease;

/// What holds for every page of one answer.
#[derive(Clone, Debug)]
pub struct AnswerFacts {
    /// Totals, where asked for.
    pub totals: Option<Vec<Cell>>,
    /// All groups past the first page as one row, where asked for and where there are any. No part of pages that continue it: those
    /// show the same groups one by one.
    pub others: Option<Others>,
    /// Rows of all pages together.
    pub total_rows: u64,
    /// One per metric.
    pub quality: Vec<MetricQuality>,
    /// Where the numbers came from.
    pub source: String,
    /// Rows read by the run that made the answer. What an earlier run had read, which was given up because it cost too much for its
    /// place, is in the server's counters only.
    pub rows_scanned: u64,
    /// Bytes of decoded columns looked at.
    pub bytes_scanned: u64,
    /// How it was done, whether the question asks to be told or not.
    pub explain: Arc<Explain>,
    /// Time from the question's arrival until its computation began: resolving, gathering, waiting for a place.
    pub waited: Duration,
    /// From when on rows were still there, for a partial answer.
    pub covered_from: Option<Timestamp>,
}

impl AnswerFacts {
    pub(crate) fn of(answer: &Answer, waited: Duration) -> Self {
        AnswerFacts {
            totals: answer.totals().map(<[Cell]>::to_vec),
            others: answer.others().cloned(),
            total_rows: answer.total_rows(),
            quality: answer.quality().to_vec(),
            source: answer.source().to_owned(),
            rows_scanned: answer.rows_scanned(),
            bytes_scanned: answer.bytes_scanned(),
            explain: Arc::new(answer.explain().clone()),
            waited,
            covered_from: answer.covered_from(),
        }
    }
}

/// Rows of one page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PageRows {
    /// In final order.
    pub rows: AnswerRows,
    /// One entry per row, where the question compares.
    pub comparison: Option<AnswerRows>,
}

impl PageRows {
    pub(crate) fn of(answer: &Answer, offset: u64, limit: u32) -> Self {
        PageRows { rows: answer.page(offset, limit), comparison: answer.comparison(offset, limit) }
    }

    /// Bytes it holds, where no two cells share a text.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes() + self.comparison.as_ref().map_or(0, AnswerRows::memory_bytes)
    }
}

/// How much of an answer was there before the question came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheUse {
    /// Nothing.
    #[default]
    Miss,
    /// Some of the partial results.
    Partial,
    /// All of it, or another caller was just computing it.
    Hit,
}

impl CacheUse {
    /// Of a computation that used partial results.
    pub(crate) fn of(partials: tidewater_query::CacheUse) -> Self {
        match partials {
            tidewater_query::CacheUse::None => CacheUse::Miss,
            tidewater_query::CacheUse::Part | tidewater_query::CacheUse::All => CacheUse::Partial,
        }
    }

    /// The value of `X-Cache`.
    pub fn name(self) -> &'static str {
        match self {
            CacheUse::Miss => "miss",
            CacheUse::Partial => "partial",
            CacheUse::Hit => "hit",
        }
    }
}

/// A reply to a question.
#[derive(Clone, Debug)]
pub struct QueryReply {
    /// The page.
    pub page: Arc<PageRows>,
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
    /// Time the computation took, from the question's arrival on.
    pub elapsed: Duration,
    /// Whether it came from a cache.
    pub cache: CacheUse,
    /// For keeping the reply in its written form; `None` where it is nobody else's.
    pub lease: Option<Lease>,
}
