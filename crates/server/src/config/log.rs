//! `[log]`: log lines on standard error.

use serde::{Deserialize, Serialize};

/// Log lines.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or a filter like `info,tidewater_store=debug`. Default
    /// `info`. `TIDEWATER_LOG__LEVEL`.
    pub level: String,
    /// Questions that take at least so many milli-seconds are slow: counted, and logged with what they did. Default 100; 0 means that
    /// none is. `TIDEWATER_LOG__SLOW_QUERY_MS`.
    pub slow_query_ms: u64,
    /// How. Default `auto`. `TIDEWATER_LOG__FORMAT`.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { level: "info".to_owned(), slow_query_ms: 100, format: LogFormat::Auto }
    }
}
