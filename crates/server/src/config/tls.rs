//! `[tls]`: encryption of connections.

use serde::{Deserialize, Serialize};

/// Encryption of connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// File with the certificate and those between it and its authority, in PEM. Default empty: no TLS. A changed file is taken
    /// without a restart. `TIDEWATER_TLS__CERT`.
    pub cert: String,
    /// File with the certificate's private key, in PEM. `TIDEWATER_TLS__KEY`.
    pub key: String,
    /// Oldest version of TLS that is spoken: `1.2` or `1.3`. Default 1.2. `TIDEWATER_TLS__MIN_VERSION`.
    pub min_version: TlsVersion,
    /// Milli-seconds between two looks at the files; SIGHUP looks at once. Default 5,000. `TIDEWATER_TLS__CHECK_MS`.
    pub check_ms: u64,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V1_3,
}

impl Default for TlsConfig {
    fn default() -> Self {
        TlsConfig { cert: String::new(), key: String::new(), min_version: TlsVersion::V1_2, check_ms: 5_000 }
    }
}
