//! The answer to a question: all its rows in final order, held columnar; only the asked page is rendered.

mod rows;

use std::fmt;
use std::time::Duration;

use tidewater_model::time::Timestamp;

use crate::aggregation::CacheUse;
use crate::costs::SourceCost;
use crate::order::Ranking;
use crate::table::Table;
use tidewater_aggregate::Cell;

pub use rows::{AnswerRow, AnswerRows};

/// How good a metric's numbers are, over every group and the totals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricQuality {
    /// True where no group was estimated.
    pub exact: bool,
    /// Bound of the relative error; 0 where exact.
    pub relative_error: f64,
}

/// What the question cost and how it was done: what `include.explain` shows, and what is kept of slow questions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explain {
    /// Units (segments and chunks in memory) whose spans touch the range.
    pub units: u64,
    /// Units left out because their spans do not touch it.
    pub units_skipped: u64,
    /// Pieces the scan was done in.
    pub morsels: u64,
    /// Columns read, by the names a user writes.
    pub columns: Vec<String>,
    /// Aggregates computed, each once however many metrics use it.
    pub measures: Vec<String>,
    /// How groups are found: `none`, `array` or `hash`.
    pub grouping: &'static str,
    /// Pieces of units that the answer is put together from.
    pub pieces: u64,
    /// Groups before having.
    pub groups: u64,
    /// Worker threads used at most.
    pub threads: usize,
    /// Passes over the rows: 2 where exact quantiles need a second one.
    pub passes: u32,
    /// Time of one core that reading was expected to take; 0 where nothing was read.
    pub estimated: Duration,
    /// What was read, by source.
    pub sources: Vec<SourceCost>,
    /// Time to plan and to open the scan.
    pub plan_time: Duration,
    /// Time to read and aggregate.
    pub scan_time: Duration,
    /// Time to merge the threads' parts.
    pub merge_time: Duration,
    /// Time for fill, having, order and totals.
    pub finish_time: Duration,
    /// Bytes of memory held at the most.
    pub memory_bytes_peak: usize,
}

/// A finished answer. Whoever keeps it can render any page of it.
pub struct Answer {
    pub(crate) table: Table,
    /// Groups in final order, after having.
    pub(crate) ranking: Ranking,
    pub(crate) comparison: Option<Comparison>,
    pub(crate) totals: Option<Vec<Cell>>,
    pub(crate) others: Option<Others>,
    pub(crate) quality: Vec<MetricQuality>,
    pub(crate) rows_scanned: u64,
    pub(crate) bytes_scanned: u64,
    pub(crate) cache_use: CacheUse,
    pub(crate) source: String,
    pub(crate) explain: Explain,
    pub(crate) covered_from: Option<Timestamp>,
}

/// One more row: every group that is neither on the page asked for nor before it, merged, those that `having` removed included.
#[derive(Clone, Debug, PartialEq)]
pub struct Others {
    /// One cell per metric.
    pub metrics: Vec<Cell>,
    /// Those of all groups of the compared range that no row shown has for its counterpart; all null where there are none. `None`
    /// where the question has no comparison.
    pub comparison: Option<Vec<Cell>>,
}

/// The metrics of the compared range.
pub(crate) struct Comparison {
    pub table: Table,
    /// For each group of the answer its group there; [`Comparison::ABSENT`] for none.
    pub groups: Vec<u32>,
}

impl Comparison {
    /// No such group in the compared range.
    pub const ABSENT: u32 = Table::ABSENT;
}

impl Answer {
    /// The rows `offset .. offset + limit` of the final order.
    pub fn page(&self, offset: u64, limit: u32) -> AnswerRows {
        AnswerRows::of(&self.table, self.ranking.page(&self.table, offset, limit))
    }

    /// The comparison's entries for the same rows: same dimensions, metrics of the same bucket of the compared range; `None` where
    /// the question has no comparison.
    pub fn comparison(&self, offset: u64, limit: u32) -> Option<AnswerRows> {
        let comparison = self.comparison.as_ref()?;
        let groups = self.ranking.page(&self.table, offset, limit);
        let compared: Vec<u32> = groups.iter().map(|group| comparison.groups[*group as usize]).collect();
        let metrics = |metric| comparison.table.page(metric, &compared);
        Some(AnswerRows::with_metrics(&self.table, groups, metrics))
    }

    /// Rows after having (and after `max_points`).
    pub fn total_rows(&self) -> u64 {
        self.ranking.len() as u64
    }

    /// Metrics over every row that passes range and filters, where asked for.
    pub fn totals(&self) -> Option<&[Cell]> {
        self.totals.as_deref()
    }

    /// All groups past the page asked for as one row, where asked for and where there are any.
    pub fn others(&self) -> Option<&Others> {
        self.others.as_ref()
    }

    /// One per metric.
    pub fn quality(&self) -> &[MetricQuality] {
        &self.quality
    }

    /// Where the numbers came from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Rows of the project and range that were read.
    pub fn rows_scanned(&self) -> u64 {
        self.rows_scanned
    }

    /// Bytes of decoded columns looked at.
    pub fn bytes_scanned(&self) -> u64 {
        self.bytes_scanned
    }

    /// How much of it came from the partial cache.
    pub fn cache_use(&self) -> CacheUse {
        self.cache_use
    }

    /// How it was done.
    pub fn explain(&self) -> &Explain {
        &self.explain
    }

    /// The instant from which on rows were still there, where the question allowed a partial answer and got one.
    pub fn covered_from(&self) -> Option<Timestamp> {
        self.covered_from
    }

    /// Bytes it holds, for whoever keeps it for cursors.
    pub fn memory_bytes(&self) -> usize {
        let comparison = self.comparison.as_ref().map_or(0, |comparison| {
            comparison.table.memory_bytes() + comparison.groups.capacity() * size_of::<u32>()
        });
        self.table.memory_bytes() + self.ranking.memory_bytes() + comparison
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut answer = f.debug_struct("Answer");
        answer
            .field("rows", &self.total_rows())
            .field("totals", &self.totals)
            .field("quality", &self.quality);
        answer.finish_non_exhaustive()
    }
}
