//! `[query]`: questions.

use serde::{Deserialize, Serialize};

/// Questions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueryConfig {
    /// Longest time a question may wait and run, in milli-seconds. Default 30,000. `TIDEWATER_QUERY__TIMEOUT_MS`.
    pub timeout_ms: u64,
    /// Questions computed at once; the next ones wait. Default 4: each already uses all threads.
    /// `TIDEWATER_QUERY__RUNNING_MAX`.
    pub running_max: usize,
    /// Of these, heavy ones; the other places are for light questions only. Default 2. `TIDEWATER_QUERY__HEAVY_RUNNING_MAX`.
    pub heavy_running_max: usize,
    /// Time of one core, in milli-seconds, from which on reading for a question is heavy: estimated from what it would read. Default 50:
    /// about a million raw rows. `TIDEWATER_QUERY__HEAVY_FROM_MS`.
    pub heavy_from_ms: u64,
    /// Questions that may wait; past it 503. One project may hold as many as are left for others, so alone half of them. Default
    /// 256. `TIDEWATER_QUERY__WAITING_MAX`.
    pub waiting_max: usize,
    /// Longest wait for a place, in milli-seconds; past it 503. Default 5,000: whoever asked has gone by then, or does better to ask
    /// again. `TIDEWATER_QUERY__WAIT_MAX_MS`.
    pub wait_max_ms: u64,
    /// Threads that compute. Default 0: one per core. `TIDEWATER_QUERY__THREADS`.
    pub threads: usize,
    /// Bytes that all questions together may hold. Default 96 MiB. `TIDEWATER_QUERY__MEMORY_BYTES_MAX`.
    pub memory_bytes_max: usize,
    /// Bytes that one question may hold. Default 64 MiB. `TIDEWATER_QUERY__MEMORY_BYTES_PER_QUERY_MAX`.
    pub memory_bytes_per_query_max: usize,
    /// Longest wait for `min_version`, in milli-seconds. Default 1,000. `TIDEWATER_QUERY__VERSION_WAIT_MS`.
    pub version_wait_ms: u64,
    /// How long the answer behind a cursor is kept after its last page, in milli-seconds. Default 90,000, at least 60,000.
    /// `TIDEWATER_QUERY__CURSOR_TTL_MS`.
    pub cursor_ttl_ms: u64,
    /// Bytes of such answers in memory; older ones go to disk. Default 24 MiB. `TIDEWATER_QUERY__CURSOR_BYTES_MAX`.
    pub cursor_bytes_max: u64,
    /// Bytes of such answers on disk; past both budgets new cursors are refused. Default 1 GiB.
    /// `TIDEWATER_QUERY__CURSOR_SPILL_BYTES_MAX`.
    pub cursor_spill_bytes_max: u64,
}

impl Default for QueryConfig {
    fn default() -> Self {
        QueryConfig {
            timeout_ms: 30_000,
            running_max: 4,
            heavy_running_max: 2,
            heavy_from_ms: 50,
            waiting_max: 256,
            wait_max_ms: 5_000,
            threads: 0,
            memory_bytes_max: 96 << 20,
            memory_bytes_per_query_max: 64 << 20,
            version_wait_ms: 1_000,
            cursor_ttl_ms: 90_000,
            cursor_bytes_max: 24 << 20,
            cursor_spill_bytes_max: 1 << 30,
        }
    }
}
