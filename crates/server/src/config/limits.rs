//! `[limits]`: how much one caller, one project and one address may ask of the server. 0 switches a limit off.

use serde::{Deserialize, Serialize};

/// How much one caller, one project and one address may ask of the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Requests a minute of one caller of the role admin; ingest is limited by rows and bytes instead. Default 100,000.
    /// `TIDEWATER_LIMITS__ADMIN_PER_MINUTE`.
    pub admin_per_minute: u64,
    /// Requests at once after a pause. Default 120,000. `TIDEWATER_LIMITS__ADMIN_BURST`.
    pub admin_burst: u64,
    /// The same for the role developer. Default 10,000. `TIDEWATER_LIMITS__DEVELOPER_PER_MINUTE`.
    pub developer_per_minute: u64,
    /// Default 12,000. `TIDEWATER_LIMITS__DEVELOPER_BURST`.
    pub developer_burst: u64,
    /// The same for the role viewer. Default 1,000. `TIDEWATER_LIMITS__VIEWER_PER_MINUTE`.
    pub viewer_per_minute: u64,
    /// Default 1,200. `TIDEWATER_LIMITS__VIEWER_BURST`.
    pub viewer_burst: u64,
    /// The same for the role billing. Default 1,000. `TIDEWATER_LIMITS__BILLING_PER_MINUTE`.
    pub billing_per_minute: u64,
    /// Default 1,200. `TIDEWATER_LIMITS__BILLING_BURST`.
    pub billing_burst: u64,
    /// Searches a minute of one caller that is no admin, for routes that search. Default 100. `TIDEWATER_LIMITS__SEARCH_PER_MINUTE`.
    pub search_per_minute: u64,
    /// Exports a minute of one caller that is no admin, for routes that export. Default 10. `TIDEWATER_LIMITS__EXPORT_PER_MINUTE`.
    pub export_per_minute: u64,
    /// Computed questions with `compare` a minute of one caller that is no admin; those answered from a cache are free.
    /// Default 50. `TIDEWATER_LIMITS__COMPARISON_PER_MINUTE`.
    pub comparison_per_minute: u64,
    /// Rows a minute that one key may send, refused ones included. Default 0: no limit. `TIDEWATER_LIMITS__INGEST_ROWS_PER_MINUTE`.
    pub ingest_rows_per_minute: u64,
    /// Bytes of rows a minute, decompressed, that one key may send. Default 0: no limit.
    /// `TIDEWATER_LIMITS__INGEST_BYTES_PER_MINUTE`.
    pub ingest_bytes_per_minute: u64,
    /// Rows that one project may store in a UTC day. Default 0: no limit. `TIDEWATER_LIMITS__PROJECT_ROWS_PER_DAY`.
    pub project_rows_per_day: u64,
    /// Bytes of rows, decompressed, that one project may store in a UTC day. Default 0: no limit.
    /// `TIDEWATER_LIMITS__PROJECT_BYTES_PER_DAY`.
    pub project_bytes_per_day: u64,
    /// How often what projects have stored today is made durable, in milli-seconds. Default 10,000: what a crash may lose of it.
    /// `TIDEWATER_LIMITS__USAGE_SAVE_MS`.
    pub usage_save_ms: u64,
    /// Requests a minute from one address, before its credential is looked at (health checks are free); of IPv6 a /64 counts as
    /// one. Default 3,000,000: more than one honest client sends. `TIDEWATER_LIMITS__ADDRESS_PER_MINUTE`.
    pub address_per_minute: u64,
    /// As how many requests one with a wrong credential counts. Default 5,000, which makes 600 of them a minute.
    /// `TIDEWATER_LIMITS__FAILED_CREDENTIAL_COST`.
    pub failed_credential_cost: u64,
    /// Callers, and as many addresses, that are counted at once; those not seen for longest are forgotten. Default 100,000, at
    /// least 64: about 25 MB each when full. `TIDEWATER_LIMITS__TRACKED_MAX`.
    pub tracked_max: u64,
    /// How old an answer may be that a caller over its limit gets instead of 429, and anyone instead of 503 while the server is full, in milli-seconds.
    /// Default 60,000; 0 gives none.
    /// `TIDEWATER_LIMITS__CACHED_AGE_MAX_MS`.
    pub cached_age_max_ms: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        LimitsConfig {
            admin_per_minute: 100_000,
            admin_burst: 120_000,
            developer_per_minute: 10_000,
            developer_burst: 12_000,
            viewer_per_minute: 1_000,
            viewer_burst: 1_200,
            billing_per_minute: 1_000,
            billing_burst: 1_200,
            search_per_minute: 100,
            export_per_minute: 10,
            comparison_per_minute: 50,
            ingest_rows_per_minute: 0,
            ingest_bytes_per_minute: 0,
            project_rows_per_day: 0,
            project_bytes_per_day: 0,
            usage_save_ms: 10_000,
            address_per_minute: 3_000_000,
            failed_credential_cost: 5_000,
            tracked_max: 100_000,
            cached_age_max_ms: 60_000,
        }
    }
}
