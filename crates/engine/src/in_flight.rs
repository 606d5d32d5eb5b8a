//! A budget of bytes that are in memory on behalf of requests. Taking from it never waits: a full server says so at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The shared budget.
#[derive(Clone, Debug)]
pub struct InFlight {
    used: Arc<AtomicU64>,
    max: u64,
}

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Bytes taken from the budget; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    budget: InFlight,
    bytes: u64,
}

impl InFlight {
    /// A budget of `max` bytes.
    pub fn new(max: u64) -> Self {
        InFlight { used: Arc::new(AtomicU64::new(0)), max }
    }

    /// Takes bytes, or nothing where they do not fit.
    pub fn take(&self, bytes: u64) -> Result<Permit, Full> {
        let mut permit = Permit { budget: self.clone(), bytes: 0 };
        permit.grow(bytes)?;
        Ok(permit)
    }

    /// Bytes there are.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Bytes taken now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

impl Permit {
    /// Takes more bytes.
    pub fn grow(&mut self, more: u64) -> Result<(), Full> {
        let used = self.budget.used.fetch_add(more, Ordering::Relaxed);
        // One request alone may always proceed: its size is bounded by the limit on bodies.
        if used.saturating_add(more) > self.budget.max && used > self.bytes {
            self.budget.used.fetch_sub(more, Ordering::Relaxed);
            return Err(Full);
        }
        self.bytes += more;
        Ok(())
    }

    /// Makes sure that at least `bytes` are taken in all.
    pub fn cover(&mut self, bytes: u64) -> Result<(), Full> {
        if bytes > self.bytes { self.grow(bytes - self.bytes) } else { Ok(()) }
    }

    /// Gives back all but `bytes`.
    pub fn shrink(&mut self, bytes: u64) {
        let back = self.bytes.saturating_sub(bytes);
        self.budget.used.fetch_sub(back, Ordering::Relaxed);
        self.bytes -= back;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_past_the_budget_and_takes_back() {
        let budget = InFlight::new(100);
        let first = budget.take(60).expect("fits");
        assert_eq!(budget.take(60).map(|_| ()), Err(Full));
        let mut second = budget.take(40).expect("fits");
        assert_eq!(second.cover(41), Err(Full));
        drop(first);
        assert_eq!(second.cover(90), Ok(()));
        drop(second);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn one_request_alone_always_fits() {
        let budget = InFlight::new(10);
        let permit = budget.take(50);
        assert!(permit.is_ok());
    }
}
