//! The answer to a question: all its rows in final order, held columnar; only the asked page is rendered.

use std::time::Duration;

use tidewater_model::time::Timestamp;

use crate::cell::Cell;

/// One row of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerRow {
    /// One cell per dimension.
    pub dimensions: Vec<Cell>,
    /// One cell per metric.
    pub metrics: Vec<Cell>,
}

/// How good a metric's numbers are, over every group and the totals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricQuality {
    /// True where no group was estimated.
    pub exact: bool,
    /// Bound of the relative error; 0 where exact.
    pub relative_error: f64,
}

/// What the question cost and how it was done (`include.explain`).
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
    /// Groups before having.
    pub groups: u64,
    /// Worker threads used at most.
    pub threads: usize,
    /// Passes over the rows: 2 where exact quantiles need a second one.
    pub passes: u32,
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

/// A finished answer.
#[derive(Debug)]
pub struct Answer {}

impl Answer {
    /// The rows `offset .. offset + limit` of the final order.
    pub fn page(&self, _offset: u64, _limit: u32) -> Vec<AnswerRow> {
        unimplemented!("follows")
    }

    /// The comparison's entries for the same rows; `None` where the question has no comparison.
    pub fn comparison(&self, _offset: u64, _limit: u32) -> Option<Vec<AnswerRow>> {
        unimplemented!("follows")
    }

    /// Rows after having.
    pub fn total_rows(&self) -> u64 {
        unimplemented!("follows")
    }

    /// Metrics over every row that passes range and filters, where asked for.
    pub fn totals(&self) -> Option<&[Cell]> {
        unimplemented!("follows")
    }

    /// One per metric.
    pub fn quality(&self) -> &[MetricQuality] {
        unimplemented!("follows")
    }

    /// Where the numbers came from: `raw`.
    pub fn source(&self) -> &str {
        unimplemented!("follows")
    }

    /// Rows read.
    pub fn rows_scanned(&self) -> u64 {
        unimplemented!("follows")
    }

    /// Bytes of decoded columns looked at.
    pub fn bytes_scanned(&self) -> u64 {
        unimplemented!("follows")
    }

    /// How it was done, where asked for.
    pub fn explain(&self) -> Option<&Explain> {
        unimplemented!("follows")
    }

    /// The instant from which on rows were still there, where the question allowed a partial answer and got one.
    pub fn covered_from(&self) -> Option<Timestamp> {
        unimplemented!("follows")
    }

    /// Bytes it holds, for whoever keeps it for cursors.
    pub fn memory_bytes(&self) -> usize {
        unimplemented!("follows")
    }
}
