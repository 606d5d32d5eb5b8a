//! Figures of questions and ingest requests as the server sees them: whole times, what was found in caches, the stages that are its own.
//!
//! Atomics only: recording takes no lock. Not here: the stages inside the engine (`engine::Counters`), requests (`metrics`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidewater_engine::CacheUse;
use tidewater_store::Histogram;

/// See the module.
#[derive(Debug)]
pub struct Work {
    /// Time of questions in the server.
    pub query_durations: Histogram,
    /// Time to write replies.
    pub rendering: Histogram,
    /// Time of ingest requests in the server.
    pub ingest_durations: Histogram,
    /// Time to read bodies of rows from the network.
    pub reading: Histogram,
    /// Questions that got a problem.
    pub query_failures: AtomicU64,
    /// Questions that took at least the threshold.
    pub slow_queries: AtomicU64,
    hits: AtomicU64,
    partials: AtomicU64,
    misses: AtomicU64,
    slow: Duration,
}

impl Work {
    /// Nothing yet. Questions are slow from `slow` on; zero means never.
    pub fn new(slow: Duration) -> Self {
        Work {
            query_durations: Histogram::of_durations(),
            rendering: Histogram::of_durations(),
            ingest_durations: Histogram::of_durations(),
            reading: Histogram::of_durations(),
            query_failures: AtomicU64::new(0),
            slow_queries: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            partials: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            slow,
        }
    }

    /// Counts a question; `None` is one that got a problem. Tells whether it was slow.
    pub fn asked(&self, cache: Option<CacheUse>, elapsed: Duration) -> bool {
        let counter = match cache {
            None => &self.query_failures,
            Some(CacheUse::Hit) => &self.hits,
            Some(CacheUse::Partial) => &self.partials,
            Some(CacheUse::Miss) => &self.misses,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.query_durations.add_duration(elapsed);
        let is_slow = self.is_slow(elapsed);
        if is_slow {
            self.slow_queries.fetch_add(1, Ordering::Relaxed);
        }
        is_slow
    }

    /// Whether a question of that duration is slow.
    pub fn is_slow(&self, elapsed: Duration) -> bool {
        !self.slow.is_zero() && elapsed >= self.slow
    }

    /// Questions answered, by the value of `X-Cache`.
    pub fn queries_by_cache(&self) -> [(&'static str, u64); 3] {
        let get = |use_: CacheUse, counter: &AtomicU64| (use_.name(), counter.load(Ordering::Relaxed));
        [
            get(CacheUse::Hit, &self.hits),
            get(CacheUse::Partial, &self.partials),
            get(CacheUse::Miss, &self.misses),
        ]
    }
}
