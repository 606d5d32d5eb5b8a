//! `[server]`: the HTTP side.

use serde::{Deserialize, Serialize};

use crate::limits::Proxies;

/// The HTTP side.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Where to listen, `HOST:PORT`; port 0 takes a free one. Default `127.0.0.1:8321`: reachable from this machine only.
    /// `TIDEWATER_SERVER__LISTEN`, flag `--listen`.
    pub listen: String,
    /// Largest request body in bytes, counted after decompression. Default 16 MiB. `TIDEWATER_SERVER__BODY_BYTES_MAX`.
    pub body_bytes_max: u64,
    /// Longest pause in a request body, in milli-seconds, before the request is given up. Default 30,000: slow senders must not
    /// hold memory for ever. `TIDEWATER_SERVER__BODY_IDLE_MS`.
    pub body_idle_ms: u64,
    /// How long running requests may go on after SIGTERM, in milli-seconds. Default 10,000.
    /// `TIDEWATER_SERVER__DRAIN_MS`.
    pub drain_ms: u64,
    /// Whether `GET /metrics` needs no credential. Default true; false asks for an admin key.
    /// `TIDEWATER_SERVER__METRICS_PUBLIC`.
    pub metrics_public: bool,
    /// Threads that serve HTTP. Default 0: one per core. `TIDEWATER_SERVER__THREADS`.
    pub threads: usize,
    /// Proxies whose `X-Forwarded-For` is believed, as addresses and networks like `127.0.0.1, 10.0.0.0/8`. Default empty: limits
    /// count the address of the connection. `TIDEWATER_SERVER__TRUSTED_PROXIES`.
    pub trusted_proxies: Proxies,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            listen: "127.0.0.1:8321".to_owned(),
            body_bytes_max: 16 << 20,
            body_idle_ms: 30_000,
            drain_ms: 10_000,
            metrics_public: true,
            threads: 0,
            trusted_proxies: Proxies::default(),
        }
    }
}
