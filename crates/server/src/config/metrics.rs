//! `[metrics]`: what monitoring systems fetch.

use serde::{Deserialize, Serialize};

/// What monitoring systems fetch.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Whether `GET /metrics` is there. Default true. `TIDEWATER_METRICS__ENABLED`.
    pub enabled: bool,
    /// A bearer token that opens `GET /metrics` and nothing else. Default empty: `server.metrics_public` decides. Where one is set,
    /// it or a key with the permission `operate` is needed. `TIDEWATER_METRICS__TOKEN`.
    pub token: String,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        MetricsConfig { enabled: true, token: String::new() }
    }
}
