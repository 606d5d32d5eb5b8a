//! What the engine counts, for `/metrics`. Plain atomics: the hot path adds to them without a lock.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidewater_query::Explain;
use tidewater_store::Histogram;

/// Counters since the start of the process.
#[derive(Debug, Default)]
pub struct Counters {
    /// Rows stored.
    pub rows_accepted: AtomicU64,
    /// Rows left out because their id was known.
    pub rows_duplicate: AtomicU64,
    /// Values of unknown columns dropped by `unknown=ignore`.
    pub values_ignored: AtomicU64,
    /// Bytes of bodies, decompressed.
    pub bytes: AtomicU64,
    /// Requests refused because a budget was full.
    pub overloaded: AtomicU64,
    /// Recorded questions computed after the start.
    pub warmed: AtomicU64,
    /// Rows, raw ones and those of roll-ups, that computations read.
    pub rows_scanned: AtomicU64,
    /// Bytes of decoded columns that computations looked at.
    pub bytes_scanned: AtomicU64,
    /// What computations spent their time on.
    pub stages: QueryStages,
    /// Time to decompress and decode bodies of rows.
    pub decoding: DurationHistogram,
    // Touched only by requests with refused rows.
    rows_rejected: Mutex<BTreeMap<String, u64>>,
}

/// A histogram of durations that begins empty.
#[derive(Debug)]
pub struct DurationHistogram(pub Histogram);

impl Default for DurationHistogram {
    fn default() -> Self {
        DurationHistogram(Histogram::of_durations())
    }
}

/// The stages of a computation. What several questions did together counts for each of them.
#[derive(Debug, Default)]
pub struct QueryStages {
    /// From the question's arrival until its computation began.
    pub wait: DurationHistogram,
    /// Planning and opening what is read.
    pub plan: DurationHistogram,
    /// Reading and grouping.
    pub scan: DurationHistogram,
    /// Merging the threads' parts and what was kept.
    pub merge: DurationHistogram,
    /// Fill, having, order, totals.
    pub finish: DurationHistogram,
}

impl QueryStages {
    pub(crate) fn add(&self, waited: Duration, explain: &Explain) {
        self.wait.0.add_duration(waited);
        self.plan.0.add_duration(explain.plan_time);
        self.scan.0.add_duration(explain.scan_time);
        self.merge.0.add_duration(explain.merge_time);
        self.finish.0.add_duration(explain.finish_time);
    }
}

impl Counters {
    /// Counts refused rows by reason.
    pub(crate) fn rejected(&self, code: &str, rows: u64) {
        let mut reasons = self.rows_rejected.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match reasons.get_mut(code) {
            Some(count) => *count += rows,
            None => {
                reasons.insert(code.to_owned(), rows);
            }
        }
    }

    /// Refused rows by reason.
    pub fn rows_rejected(&self) -> BTreeMap<String, u64> {
        self.rows_rejected.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        if count > 0 {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }
}
