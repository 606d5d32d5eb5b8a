//! What the engine counts, for `/metrics`. Plain atomics: the hot path adds to them without a lock.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

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
    // Touched only by requests with refused rows.
    rows_rejected: Mutex<BTreeMap<String, u64>>,
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
