//! Figures of connections for `/metrics`.

use std::sync::atomic::Ordering::Relaxed;

use super::Connections;
use crate::metrics::{Families, Kind};

/// In the order of `Refusal`.
const REFUSALS: [&str; 4] = ["full", "malformed", "headers_too_large", "tls"];
/// In the order of `Fault`; the last one is the end of a refusal that was counted already.
const FAULTS: [&str; 4] = ["idle", "slow_head", "write_stalled", "lingered"];

impl Connections {
    /// Adds what all connections did since the start.
    pub fn collect(&self, out: &mut Families) {
        let (count, received, sent) = {
            let open = self.lock();
            let running = open.links.values().map(|link| link.bytes());
            let (received, sent) =
                running.fold((open.received, open.sent), |sum, of| (sum.0 + of.0, sum.1 + of.1));
            (open.links.len(), received, sent)
        };
        let help = "Bytes that came from clients, with heads, framing and encryption.";
        out.single("tidewater_network_receive_bytes_total", Kind::Counter, help, received);
        let help = "Bytes that went to clients, with heads, framing and encryption.";
        out.single("tidewater_network_transmit_bytes_total", Kind::Counter, help, sent);
        out.single("tidewater_connections", Kind::Gauge, "Open connections.", count as u64);
        let help = "Connections that may be open.";
        out.single("tidewater_connections_limit", Kind::Gauge, help, self.limits.connections_max as u64);
        let help = "Connections taken since the start.";
        out.single("tidewater_connections_accepted_total", Kind::Counter, help, self.accepted.load(Relaxed));
        let refused = out.family(
            "tidewater_connections_refused_total",
            Kind::Counter,
            "Connections that were refused, by reason: full (server.connections_max), malformed (not HTTP), headers_too_large, tls (no handshake).",
        );
        for (reason, count) in REFUSALS.into_iter().zip(&self.refused) {
            refused.add(&[("reason", reason)], count.load(Relaxed));
        }
        let ended = out.family(
            "tidewater_connections_ended_total",
            Kind::Counter,
            "Connections that the server ended, by reason: idle, slow_head (a request's head did not get complete), write_stalled \
             (the client did not take its answer), lingered (a refused client went on sending).",
        );
        for (reason, count) in FAULTS.into_iter().zip(&self.ended) {
            ended.add(&[("reason", reason)], count.load(Relaxed));
        }
        if let Some(tls) = &self.tls {
            tls.collect(out);
        }
    }
}
