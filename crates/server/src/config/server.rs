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
    /// Slowest arrival of a request body on average, in bytes per second, after a first `body_idle_ms`. Default 1,024: a client that
    /// sends a byte now and then is given up too. 0: none. `TIDEWATER_SERVER__BODY_BYTES_PER_S_MIN`.
    pub body_bytes_per_s_min: u64,
    /// Open connections, after which an idle one is closed for a new one, or the new one gets 503. Default 10,240: about 3 KiB of
    /// memory each before its first request, 28 KiB after it. `TIDEWATER_SERVER__CONNECTIONS_MAX`.
    pub connections_max: usize,
    /// Longest time for the head of a request to get complete, in milli-seconds. Default 10,000.
    /// `TIDEWATER_SERVER__HEAD_MS`.
    pub head_ms: u64,
    /// Largest request line with headers, in bytes. Default 64 KiB, at least 8 KiB. `TIDEWATER_SERVER__HEAD_BYTES_MAX`.
    pub head_bytes_max: usize,
    /// Headers of a request. Default 100. `TIDEWATER_SERVER__HEADERS_MAX`.
    pub headers_max: usize,
    /// How long a connection may be without a request, in milli-seconds. Default 75,000: longer than most clients keep one.
    /// `TIDEWATER_SERVER__IDLE_MS`.
    pub idle_ms: u64,
    /// How long a client may leave the bytes of an answer unread, in milli-seconds. Default 30,000.
    /// `TIDEWATER_SERVER__WRITE_STALL_MS`.
    pub write_stall_ms: u64,
    /// Requests at once on one HTTP/2 connection. Default 128. `TIDEWATER_SERVER__H2_STREAMS_MAX`.
    pub h2_streams_max: u32,
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
    /// Bytes of resident memory from which on freed memory is given back to the system at once instead of after ten seconds, which
    /// costs processor time. Default 420 MiB: bulk loads stay below it for most of the time; 0: always.
    /// `TIDEWATER_SERVER__LEAN_FROM_BYTES`.
    pub lean_from_bytes: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            listen: "127.0.0.1:8321".to_owned(),
            body_bytes_max: 16 << 20,
            body_idle_ms: 30_000,
            body_bytes_per_s_min: 1_024,
            connections_max: 10_240,
            head_ms: 10_000,
            head_bytes_max: 64 << 10,
            headers_max: 100,
            idle_ms: 75_000,
            write_stall_ms: 30_000,
            h2_streams_max: 128,
            drain_ms: 10_000,
            metrics_public: true,
            threads: 0,
            trusted_proxies: Proxies::default(),
            lean_from_bytes: 420 << 20,
        }
    }
}
