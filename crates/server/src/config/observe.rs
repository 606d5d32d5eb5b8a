//! `[observe]`: what the server keeps about its own work.

use serde::{Deserialize, Serialize};

/// What the server keeps about its own work.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObserveConfig {
    /// Shapes of questions that `GET /api/v1/performance/queries` tells apart; the others count together. Default 256: about 2 MB.
    /// `TIDEWATER_OBSERVE__SHAPES_MAX`.
    pub shapes_max: usize,
    /// Whether requests, questions and ingest requests are recorded in the dataset `_tidewater` of the project `_system`. Default true.
    /// `TIDEWATER_OBSERVE__RECORDS`.
    pub records: bool,
    /// How long records wait for others before they are stored together, in milli-seconds. Default 10,000.
    /// `TIDEWATER_OBSERVE__RECORDS_INTERVAL_MS`.
    pub records_interval_ms: u64,
    /// Records stored a second, at most; past it they are a random sample with weights. Default 10: a week of them takes about
    /// 250 MB. `TIDEWATER_OBSERVE__RECORDS_PER_SECOND_MAX`.
    pub records_per_second_max: u32,
    /// Days that single records are kept; sums by 5 minutes stay 30 days, by hour 90 days, by day three years. Default 7.
    /// `TIDEWATER_OBSERVE__RECORDS_RETENTION_DAYS`.
    pub records_retention_days: u32,
}

impl Default for ObserveConfig {
    fn default() -> Self {
        ObserveConfig {
            shapes_max: 256,
            records: true,
            records_interval_ms: 10_000,
            records_per_second_max: 10,
            records_retention_days: 7,
        }
    }
}
