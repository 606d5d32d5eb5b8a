//! When keys were last used: noted in memory by requests, stored now and then. A crash may lose the last minute of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tidewater_model::time::Timestamp;

/// A use is noted again only after this long, in micro-seconds, so that requests on all cores do not write the same cache line.
const STEP_US: i64 = 1_000_000;

/// When a key was last used; shared by all its secrets.
#[derive(Clone, Default)]
pub(super) struct LastUse(Arc<AtomicI64>);

impl LastUse {
    /// As stored; 0 is never.
    pub fn of(stored_us: Option<i64>) -> Self {
        LastUse(Arc::new(AtomicI64::new(stored_us.unwrap_or(0))))
    }

    /// Notes a use.
    pub fn note(&self, now: Timestamp) {
        // Two requests at once may both write; either time is right.
        if now.0 - self.0.load(Ordering::Relaxed) >= STEP_US {
            self.0.store(now.0, Ordering::Relaxed);
        }
    }

    /// The time noted last, to the second.
    pub fn get(&self) -> Option<Timestamp> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            us => Some(Timestamp(us)),
        }
    }
}

/// Times by key id, in micro-seconds, as stored: one record for all keys, so that storing them is one transaction.
pub(super) type Stored = BTreeMap<String, i64>;
