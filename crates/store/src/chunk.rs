//! A chunk: acknowledged rows of one dataset in memory, in arrival order.
//!
//! Not here: when chunks are coalesced or flushed (`memtable`, `flush`).

use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::{ArrayRef, Int32Array, Int64Array};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use hashbrown::HashMap;
use tidewater_columns::RowBatch;
use tidewater_model::names::ProjectName;

use crate::memtable::{CHUNK_BYTES_SETTLED, CHUNK_ROWS_SETTLED};
use crate::version::Lsn;

/// Consecutive rows that came with one log record. A row's `_pos` is its place in its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Whose rows.
    pub project: ProjectName,
    /// The record.
    pub lsn: Lsn,
    /// Number of rows; at least one.
    pub rows: u32,
}

/// What a unit holds of one project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProjectSpan {
    /// Number of rows, tombstoned ones included.
    pub rows: u64,
    /// Least time, micro-seconds since the epoch.
    pub min_us: i64,
    /// Greatest time.
    pub max_us: i64,
}

/// Immutable rows with their identity.
#[derive(Debug)]
pub struct Chunk {
    id: u64,
    batch: RowBatch,
    runs: Vec<Run>,
    spans: HashMap<ProjectName, ProjectSpan>,
}

impl Chunk {
    /// Wraps rows; the runs cover them in order.
    ///
    /// # Panics
    /// When the runs do not cover the batch: the writer builds both from the same records.
    pub fn new(batch: RowBatch, runs: Vec<Run>) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let covered: usize = runs.iter().map(|run| run.rows as usize).sum();
        assert_eq!(covered, batch.rows(), "runs cover the batch");
        let spans = spans(batch.times(), &runs);
        Chunk { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), batch, runs, spans }
    }

    /// Unique within the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The rows.
    pub fn batch(&self) -> &RowBatch {
        &self.batch
    }

    /// Their origin, in row order.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// What it holds of a project.
    pub fn span(&self, project: &ProjectName) -> Option<ProjectSpan> {
        self.spans.get(project).copied()
    }

    /// The last record with rows of a project.
    pub fn latest(&self, project: &ProjectName) -> Option<Lsn> {
        self.spans.get(project)?;
        self.runs.iter().rev().find(|run| run.project == *project).map(|run| run.lsn)
    }

    /// Every project in it.
    pub fn projects(&self) -> impl Iterator<Item = (&ProjectName, &ProjectSpan)> {
        self.spans.iter()
    }

    /// Bytes of all buffers, for budgets.
    pub fn memory_bytes(&self) -> usize {
        self.batch.memory_bytes() + self.runs.len() * size_of::<Run>()
    }

    /// Whether it is large enough that it is never merged with others: it stays as it is until it is flushed.
    pub fn is_settled(&self) -> bool {
        self.batch.rows() >= CHUNK_ROWS_SETTLED || self.memory_bytes() >= CHUNK_BYTES_SETTLED
    }

    /// The `_lsn` and `_pos` of every row.
    pub fn identity(&self) -> (ArrayRef, ArrayRef) {
        let mut lsns = Vec::with_capacity(self.batch.rows());
        let mut positions = Vec::with_capacity(self.batch.rows());
        for run in &self.runs {
            lsns.extend(std::iter::repeat_n(run.lsn.0, run.rows as usize));
            positions.extend((0..run.rows).map(|position| position as i32));
        }
        (std::sync::Arc::new(Int64Array::from(lsns)), std::sync::Arc::new(Int32Array::from(positions)))
    }

    /// Which rows belong to `project`, lie in `[from_us, to_us)` and satisfy `keep` on their record; `None` for all rows.
    pub fn select(
        &self,
        project: &ProjectName,
        from_us: i64,
        to_us: i64,
        keep: impl Fn(Lsn) -> bool,
    ) -> Option<BooleanBuffer> {
        let span = self.span(project)?;
        let in_time = span.min_us >= from_us && span.max_us < to_us;
        if in_time && self.runs.iter().all(|run| run.project == *project && keep(run.lsn)) {
            return None;
        }
        let times = self.batch.times();
        let mut bits = BooleanBufferBuilder::new(times.len());
        let mut first = 0;
        for run in &self.runs {
            let rows = run.rows as usize;
            if run.project != *project || !keep(run.lsn) {
                bits.append_n(rows, false);
            } else if in_time {
                bits.append_n(rows, true);
            } else {
                let times = &times[first..first + rows];
                bits.append_buffer(&BooleanBuffer::collect_bool(rows, |row| {
                    times[row] >= from_us && times[row] < to_us
                }));
            }
            first += rows;
        }
        Some(bits.finish())
    }

    /// The earliest record among its rows.
    pub fn min_lsn(&self) -> Lsn {
        self.runs.iter().map(|run| run.lsn).min().unwrap_or_default()
    }
}

fn spans(times: &[i64], runs: &[Run]) -> HashMap<ProjectName, ProjectSpan> {
    let mut spans: HashMap<ProjectName, ProjectSpan> = HashMap::new();
    let mut first = 0;
    for run in runs {
        let rows = &times[first..first + run.rows as usize];
        first += rows.len();
        let empty = ProjectSpan { rows: 0, min_us: i64::MAX, max_us: i64::MIN };
        let span = spans.entry_ref(&run.project).or_insert(empty);
        span.rows += rows.len() as u64;
        span.min_us = rows.iter().copied().fold(span.min_us, i64::min);
        span.max_us = rows.iter().copied().fold(span.max_us, i64::max);
    }
    spans
}
