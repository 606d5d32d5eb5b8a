//! `[cache]`: answers that callers share.

use serde::{Deserialize, Serialize};

/// Answers that callers share.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Bytes of kept answers, half of it for their written form. Default 24 MiB; 0 keeps none.
    /// `TIDEWATER_CACHE__ANSWERS_BYTES_MAX`.
    pub answers_bytes_max: u64,
    /// How old a shared answer may be where the question has no `max_staleness_ms`, in milli-seconds. Default 100.
    /// `TIDEWATER_CACHE__TICK_MS`.
    pub tick_ms: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        CacheConfig { answers_bytes_max: 24 << 20, tick_ms: 100 }
    }
}
