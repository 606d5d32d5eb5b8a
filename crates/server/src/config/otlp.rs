//! `[otlp]`: export of the server's own traces and metrics.

use serde::{Deserialize, Serialize};

/// Export of the server's own traces and metrics to an OpenTelemetry collector, over HTTP with JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpConfig {
    /// Address of the collector, like `http://127.0.0.1:4318`; `/v1/traces` and `/v1/metrics` are appended. Default empty: nothing is
    /// exported. `TIDEWATER_OTLP__ENDPOINT`.
    pub endpoint: String,
    /// Headers of every export, as `NAME=VALUE,NAME=VALUE`, for credentials. Default none. `TIDEWATER_OTLP__HEADERS`.
    pub headers: String,
    /// How often is exported, in milli-seconds. Default 10,000. `TIDEWATER_OTLP__INTERVAL_MS`.
    pub interval_ms: u64,
    /// Share of the traces that begin here which is exported, from 0 to 1. Default 0.1. A trace whose caller records it always is.
    /// `TIDEWATER_OTLP__SAMPLE_RATIO`.
    pub sample_ratio: f64,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        OtlpConfig { endpoint: String::new(), headers: String::new(), interval_ms: 10_000, sample_ratio: 0.1 }
    }
}
