//! What stands between a running question and the rest of the server: cancellation, deadline, progress.
//!
//! Not here: memory (`budget`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::ExecuteError;
use crate::turns::Share;

/// Asks a question to stop; it does so within one batch of rows.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Stops the question.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once [`Self::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How far a question has come; readable while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    rows: AtomicU64,
    rows_total: AtomicU64,
    bytes: AtomicU64,
    share: Arc<Share>,
}

impl Progress {
    /// Rows read so far.
    pub fn rows_scanned(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Rows that will be read at most, as far as the plan could tell.
    pub fn rows_total(&self) -> u64 {
        self.rows_total.load(Ordering::Relaxed)
    }

    /// Bytes of decoded columns looked at so far.
    pub fn bytes_scanned(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Time that threads of the pool have spent on it.
    pub fn served(&self) -> Duration {
        self.share.served()
    }

    /// Its part of the pool.
    pub(crate) fn share(&self) -> &Arc<Share> {
        &self.share
    }

    pub(crate) fn expect(&self, rows: u64) {
        self.rows_total.fetch_add(rows, Ordering::Relaxed);
    }

    pub(crate) fn scanned(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The bounds of one question.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// When to give up.
    pub deadline: Option<Instant>,
    /// Stops it early.
    pub cancel: CancelToken,
    /// Bytes this question may hold; `None` for the executor's own bound per question.
    pub memory_bytes_max: Option<usize>,
    /// What one question's reading may be estimated to cost, as time of one core, before anything is read; `None` for no bound.
    pub cost_max: Option<Duration>,
    /// What all reading may really take of the pool's threads; `None` for no bound. An estimate may be wrong.
    pub served_max: Option<Duration>,
    /// Counters for whoever watches.
    pub progress: Arc<Progress>,
}

impl Control {
    /// Called once per batch.
    pub(crate) fn check(&self) -> Result<(), ExecuteError> {
        if self.cancel.is_cancelled() {
            return Err(ExecuteError::Cancelled);
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(ExecuteError::Deadline);
        }
        let served = self.progress.served();
        match self.served_max {
            Some(max) if served > max => Err(ExecuteError::Costly { cost: served }),
            _ => Ok(()),
        }
    }

    /// Holds what reading for one question is expected to cost against its bound.
    pub(crate) fn check_cost(&self, cost: Duration) -> Result<(), ExecuteError> {
        match self.cost_max {
            Some(max) if cost > max => Err(ExecuteError::Costly { cost }),
            _ => Ok(()),
        }
    }
}
