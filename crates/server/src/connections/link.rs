//! One connection: what it is doing, in figures that its own task writes and the sweep over all connections reads, and the rule
//! that says when it has to end.
//!
//! Timers of its own would cost a connection memory and every request a reset; a coarse clock that one task moves costs
//! nothing. Not here: the socket (`wire`), what is said over it (`talk`), the list of all connections (`connections`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use tokio::sync::Notify;

use super::Connections;

/// A connection as all its layers see it.
#[derive(Debug)]
pub struct Link {
    /// Its place in the list of all.
    pub id: u64,
    /// Who is at the other end.
    pub peer: SocketAddr,
    home: Arc<Connections>,
    /// Moments of the coarse clock in milli-seconds; 0 where it is not so now.
    idle_since: AtomicU64,
    head_since: AtomicU64,
    stalled_since: AtomicU64,
    lingering_since: AtomicU64,
    sent_at: AtomicU64,
    /// Requests whose response is not yet handed over, and those of them whose response has begun.
    in_flight: AtomicU32,
    answering: AtomicU32,
    is_h2: AtomicBool,
    must_linger: AtomicBool,
    received: AtomicU64,
    sent: AtomicU64,
    ending: AtomicU8,
    wake: Notify,
}

/// How a connection is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Once the requests it carries are answered.
    Finish,
    /// At once.
    Drop,
}

/// Why a connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was asked for long enough.
    Idle,
    /// A request's head does not get complete.
    SlowHead,
    /// The client does not take its answer.
    WriteStalled,
    /// The rest of a refused body was thrown away for long enough.
    Lingered,
}

impl Fault {
    /// How the connection ends.
    pub fn ending(self) -> Ending {
        match self {
            // A request that arrives at this very moment is still answered.
            Fault::Idle => Ending::Finish,
            Fault::SlowHead | Fault::WriteStalled | Fault::Lingered => Ending::Drop,
        }
    }
}

/// What the rule looks at. Moments are milli-seconds of the coarse clock, 0 where it is not so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Requests being answered.
    pub in_flight: u32,
    /// Of these, responses that have begun.
    pub answering: u32,
    /// Since when no request is being answered.
    pub idle_since: u64,
    /// Since when a request's head is incomplete (HTTP/1.1).
    pub head_since: u64,
    /// Since when the socket takes no byte.
    pub stalled_since: u64,
    /// Since when what the client still sends is thrown away.
    pub lingering_since: u64,
    /// When the last byte was sent.
    pub sent_at: u64,
    /// Whether it speaks HTTP/2, where a client can stop reading one response without stopping the socket.
    pub is_h2: bool,
}

/// How long a connection may be what it is, in milli-seconds.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Without a request.
    pub idle_ms: u64,
    /// For the head of a request.
    pub head_ms: u64,
    /// For a client to take the next bytes.
    pub write_stall_ms: u64,
    /// For throwing away what a refused client still sends.
    pub linger_ms: u64,
}

/// What is wrong with a connection at `now`.
pub fn fault(facts: &Facts, patience: &Patience, now: u64) -> Option<Fault> {
    let lasted = |since: u64, limit: u64| since > 0 && now.saturating_sub(since) >= limit;
    if lasted(facts.lingering_since, patience.linger_ms) {
        return Some(Fault::Lingered);
    }
    let is_unread = facts.is_h2 && facts.answering > 0 && lasted(facts.sent_at, patience.write_stall_ms);
    if is_unread || lasted(facts.stalled_since, patience.write_stall_ms) {
        return Some(Fault::WriteStalled);
    }
    if facts.in_flight > 0 || facts.lingering_since > 0 {
        return None;
    }
    if facts.head_since > 0 {
        return lasted(facts.head_since, patience.head_ms).then_some(Fault::SlowHead);
    }
    lasted(facts.idle_since, patience.idle_ms).then_some(Fault::Idle)
}

impl Link {
    pub(super) fn new(id: u64, peer: SocketAddr, home: Arc<Connections>) -> Self {
        let now = home.now();
        Link {
            id,
            peer,
            home,
            idle_since: AtomicU64::new(now),
            head_since: AtomicU64::new(0),
            stalled_since: AtomicU64::new(0),
            lingering_since: AtomicU64::new(0),
            sent_at: AtomicU64::new(now),
            in_flight: AtomicU32::new(0),
            answering: AtomicU32::new(0),
            is_h2: AtomicBool::new(false),
            must_linger: AtomicBool::new(false),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            ending: AtomicU8::new(0),
            wake: Notify::new(),
        }
    }

    /// All connections.
    pub fn home(&self) -> &Arc<Connections> {
        &self.home
    }

    /// What it is doing.
    pub fn facts(&self) -> Facts {
        Facts {
            in_flight: self.in_flight.load(Relaxed),
            answering: self.answering.load(Relaxed),
            idle_since: self.idle_since.load(Relaxed),
            head_since: self.head_since.load(Relaxed),
            stalled_since: self.stalled_since.load(Relaxed),
            lingering_since: self.lingering_since.load(Relaxed),
            sent_at: self.sent_at.load(Relaxed),
            is_h2: self.is_h2.load(Relaxed),
        }
    }

    /// Bytes that came and went over the wire.
    pub fn bytes(&self) -> (u64, u64) {
        (self.received.load(Relaxed), self.sent.load(Relaxed))
    }

    /// The socket gave bytes.
    pub fn received(&self, bytes: usize) {
        // Only the connection's own task writes, so that a load and a store do.
        self.received.store(self.received.load(Relaxed) + bytes as u64, Relaxed);
    }

    /// The socket took bytes.
    pub fn sent(&self, bytes: usize) {
        self.sent.store(self.sent.load(Relaxed) + bytes as u64, Relaxed);
        self.sent_at.store(self.home.now(), Relaxed);
        if self.stalled_since.load(Relaxed) > 0 {
            self.stalled_since.store(0, Relaxed);
        }
    }

    /// The socket takes no more bytes for now.
    pub fn stalled(&self) {
        if self.stalled_since.load(Relaxed) == 0 {
            self.stalled_since.store(self.home.now(), Relaxed);
        }
    }

    /// The client said that it speaks HTTP/2.
    pub fn speaks_h2(&self) {
        self.is_h2.store(true, Relaxed);
        self.head_since.store(0, Relaxed);
    }

    /// Whether it speaks HTTP/2.
    pub fn is_h2(&self) -> bool {
        self.is_h2.load(Relaxed)
    }

    /// Bytes came while no request was being answered: a head has begun.
    pub fn heard(&self) {
        if self.in_flight.load(Relaxed) == 0 && self.head_since.load(Relaxed) == 0 && !self.is_h2() {
            self.head_since.store(self.home.now(), Relaxed);
        }
    }

    /// A request's head is complete. The request is over when the guard is dropped.
    pub fn request(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        self.head_since.store(0, Relaxed);
        InFlight { link: Arc::clone(self), is_answering: false }
    }

    /// A body was refused before its end: the client is to read why before the socket goes.
    pub fn left_unread(&self) {
        self.must_linger.store(true, Relaxed);
    }

    /// Whether the rest of what the client sends has to be thrown away before the socket is closed.
    pub fn must_linger(&self) -> bool {
        self.must_linger.load(Relaxed)
    }

    /// That has begun.
    pub fn lingers(&self) {
        if self.lingering_since.load(Relaxed) == 0 {
            self.lingering_since.store(self.home.now(), Relaxed);
        }
    }

    /// Asks the connection to end; false where it was asked that much before.
    pub fn end(&self, ending: Ending) -> bool {
        let code = ending as u8 + 1;
        let is_new = self.ending.fetch_max(code, Relaxed) < code;
        if is_new {
            self.wake.notify_one();
        }
        is_new
    }

    /// Waits until the connection is asked to end.
    pub async fn ending(&self) -> Ending {
        self.wake.notified().await;
        if self.ending.load(Relaxed) > Ending::Finish as u8 + 1 { Ending::Drop } else { Ending::Finish }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct InFlight {
    link: Arc<Link>,
    is_answering: bool,
}

impl InFlight {
    /// The connection it came over.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// The response's head is ready.
    pub fn answers(&mut self) {
        self.is_answering = true;
        self.link.answering.fetch_add(1, Relaxed);
        // How long the answer took is not the client's fault.
        self.link.sent_at.store(self.link.home.now(), Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.is_answering {
            self.link.answering.fetch_sub(1, Relaxed);
        }
        if self.link.in_flight.fetch_sub(1, Relaxed) == 1 {
            self.link.idle_since.store(self.link.home.now(), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_has_its_patience() {
        let patience = Patience { idle_ms: 100, head_ms: 20, write_stall_ms: 50, linger_ms: 10 };
        let idle = Facts { idle_since: 1_000, ..Facts::default() };
        let head = Facts { head_since: 1_000, ..idle };
        let busy = Facts { in_flight: 1, answering: 1, sent_at: 1_000, ..idle };
        let stalled = Facts { stalled_since: 1_000, ..busy };
        let lingering = Facts { lingering_since: 1_000, ..idle };
        for (facts, now, expected) in [
            (idle, 1_099, None),
            (idle, 1_100, Some(Fault::Idle)),
            (head, 1_019, None),
            (Facts { idle_since: 1, ..head }, 1_019, None),
            (head, 1_020, Some(Fault::SlowHead)),
            // A body that arrives and an answer that is computed have their own limits.
            (Facts { in_flight: 1, ..head }, 9_000, None),
            (busy, 9_000, None),
            (Facts { is_h2: true, ..busy }, 1_050, Some(Fault::WriteStalled)),
            (Facts { is_h2: true, answering: 0, ..busy }, 9_000, None),
            (stalled, 1_049, None),
            (stalled, 1_050, Some(Fault::WriteStalled)),
            (lingering, 1_009, None),
            (lingering, 1_010, Some(Fault::Lingered)),
        ] {
            assert_eq!(fault(&facts, &patience, now), expected, "{facts:?} at {now}");
        }
    }
}
