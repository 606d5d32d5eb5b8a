//! `[cache]`: answers that callers share, and what is kept ready for questions.

use serde::{Deserialize, Serialize};

/// Answers that callers share, and what is kept ready for questions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Bytes of kept answers, half of it for their written form. Default 24 MiB; 0 keeps none.
    /// `TIDEWATER_CACHE__ANSWERS_BYTES_MAX`.
    pub answers_bytes_max: u64,
    /// Bytes of grouped data that is kept for later questions: that of files and of rows in memory, alone and joined. Default 64 MiB;
    /// 0 keeps none. `TIDEWATER_CACHE__PARTIALS_BYTES_MAX`.
    pub partials_bytes_max: usize,
    /// How old a shared answer may be where the question has no `max_staleness_ms`, in milli-seconds. Default 100.
    /// `TIDEWATER_CACHE__TICK_MS`.
    pub tick_ms: u64,
    /// How long a question may wait, beside one that is being computed, for others on the same rows, in milli-seconds. Default 10.
    /// `TIDEWATER_CACHE__GATHER_MS`.
    pub gather_ms: u64,
    /// Kinds of questions that are recorded for warming and for the advisor, over all projects. Default 1,024 (about 2 MB); 0
    /// records none. `TIDEWATER_CACHE__QUESTIONS_MAX`.
    pub questions_max: usize,
    /// How often the recorded questions are stored, in milli-seconds. Default 30,000: what a crash may lose of them.
    /// `TIDEWATER_CACHE__QUESTIONS_SAVE_MS`.
    pub questions_save_ms: u64,
    /// Recorded questions that are computed once after a start, so that it is not cold. Default 32; 0 computes none.
    /// `TIDEWATER_CACHE__WARM_QUESTIONS_MAX`.
    pub warm_questions_max: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        CacheConfig {
            answers_bytes_max: 24 << 20,
            partials_bytes_max: 64 << 20,
            tick_ms: 100,
            gather_ms: 10,
            questions_max: 1_024,
            questions_save_ms: 30_000,
            warm_questions_max: 32,
        }
    }
}
