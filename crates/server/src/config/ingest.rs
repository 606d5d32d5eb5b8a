//! `[ingest]`: rows coming in.

use serde::{Deserialize, Serialize};

/// Rows coming in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestConfig {
    /// Bytes of request bodies in memory at once, decompressed forms included. Default 48 MiB; past it ingest answers 503.
    /// `TIDEWATER_INGEST__IN_FLIGHT_BYTES_MAX`.
    pub in_flight_bytes_max: u64,
    /// Bodies up to this many bytes are decoded where they arrive, larger ones on another thread. Default 16 KiB.
    /// `TIDEWATER_INGEST__INLINE_BODY_BYTES_MAX`.
    pub inline_body_bytes_max: u64,
    /// Bytes of refused rows kept for `GET /api/v1/ingest/rejects`, per project. Default 256 KiB.
    /// `TIDEWATER_INGEST__REJECTS_BYTES_MAX`.
    pub rejects_bytes_max: usize,
    /// Keep refused rows without their values. Default false. `TIDEWATER_INGEST__REJECTS_REDACTED`.
    pub rejects_redacted: bool,
}

impl Default for IngestConfig {
    fn default() -> Self {
        IngestConfig {
            in_flight_bytes_max: 48 << 20,
            inline_body_bytes_max: 16 << 10,
            rejects_bytes_max: 256 << 10,
            rejects_redacted: false,
        }
    }
}
