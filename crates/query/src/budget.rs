//! Memory that all questions share, and the part of it one question holds.
//!
//! Counts are kept by the operator itself once per batch, so a question may pass its bound by what one batch adds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::ExecuteError;

/// The memory of all running questions, in bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Budget { used: AtomicUsize::new(0), max })
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Adds or, where that passes the bound, adds nothing.
    fn grow(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.max;
        if !fits {
            self.shrink(bytes);
        }
        fits
    }

    fn shrink(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The memory of one question, over all its threads.
#[derive(Debug)]
pub(crate) struct QueryBudget {
    all: Arc<Budget>,
    used: AtomicUsize,
    peak: AtomicUsize,
    max: usize,
}

impl QueryBudget {
    pub fn new(all: &Arc<Budget>, max: usize) -> Arc<Self> {
        let max = max.min(all.max);
        Arc::new(QueryBudget {
            all: Arc::clone(all),
            used: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            max,
        })
    }

    /// The most it may hold.
    pub fn max(&self) -> usize {
        self.max
    }

    /// The most that was held at one time.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Nothing held yet; what is held is given back on drop.
    pub fn reserve(self: &Arc<Self>) -> Reservation {
        Reservation { budget: Arc::clone(self), bytes: 0 }
    }

    fn grow(&self, bytes: usize) -> Result<(), ExecuteError> {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let outcome = if used > self.max {
            Err(ExecuteError::Memory { needed: used, limit: self.max })
        } else if !self.all.grow(bytes) {
            Err(ExecuteError::Busy { limit: self.all.max })
        } else {
            self.peak.fetch_max(used, Ordering::Relaxed);
            return Ok(());
        };
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        outcome
    }

    fn shrink(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.all.shrink(bytes);
    }
}

/// Bytes one part of a question holds.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<QueryBudget>,
    bytes: usize,
}

impl Reservation {
    /// Changes what is held to `bytes`.
    pub fn resize(&mut self, bytes: usize) -> Result<(), ExecuteError> {
        if bytes > self.bytes {
            self.budget.grow(bytes - self.bytes)?;
        } else {
            self.budget.shrink(self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// What is held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds at least so much.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), ExecuteError> {
        self.resize(bytes.max(self.bytes))
    }

    /// Fails, without holding anything, where `bytes` more would not fit.
    pub fn check(&mut self, bytes: usize) -> Result<(), ExecuteError> {
        let held = self.bytes;
        self.resize(held.saturating_add(bytes))?;
        self.resize(held)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_bounded_by_itself_and_by_all() {
        let all = Budget::new(100);
        let one = QueryBudget::new(&all, 60);
        let two = QueryBudget::new(&all, 60);
        let (mut a, mut b) = (one.reserve(), two.reserve());
        a.resize(50).expect("fits");
        assert!(matches!(a.resize(61), Err(ExecuteError::Memory { needed: 61, limit: 60 })));
        b.resize(50).expect("fits");
        assert!(matches!(b.resize(51), Err(ExecuteError::Busy { limit: 100 })));
        a.resize(10).expect("shrinks");
        b.resize(51).expect("fits now");
        assert_eq!(all.used(), 61);
        drop((a, b));
        assert_eq!((all.used(), one.peak()), (0, 50));
    }
}
