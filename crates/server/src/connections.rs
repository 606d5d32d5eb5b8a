//! The server's connections: taking them, HTTP/1.1 and HTTP/2 on one port, their limits, and their end.
//!
//! Everything a connection may hold has a bound: how many there are, how long a head may take, how long one may be idle, how long a client
//! may leave its answer unread. One task sweeps over all of them and applies `link::fault`. Not here: requests (`router`), bodies'
//! own limits (`body`).

mod accept;
mod figures;
mod files;
mod link;
mod requests;
mod talk;
mod tls;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::config::ServerConfig;

pub use accept::listen;
use link::{Ending, Fault, Link, Patience};
pub use tls::Tls;

/// How often connections are looked at, and so how exact their time limits are.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);
/// How long what a refused client still sends is thrown away: a body of the size limit takes less on any usual line.
const LINGER_MS: u64 = 10_000;
/// The oldest connections that are looked at for an idle one when all places are taken.
const EVICTION_LOOKS_MAX: usize = 64;
/// A connection that was idle for so long makes room for a new one; one that was just used is about to be used again.
const EVICTION_IDLE_MS: u64 = 1_000;

/// What bounds connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections_max: usize,
    /// Bytes of a request line and headers.
    pub head_bytes_max: usize,
    /// Headers of a request.
    pub headers_max: usize,
    /// Requests at once on one HTTP/2 connection.
    pub h2_streams_max: u32,
    /// How long each state may last.
    pub patience: Patience,
}

impl Limits {
    /// Those of the configuration. A limit of 0 is taken as the smallest that works.
    pub fn of(config: &ServerConfig) -> Self {
        Limits {
            connections_max: config.connections_max.max(1),
            // The HTTP library works with no less.
            head_bytes_max: config.head_bytes_max.max(8 << 10),
            headers_max: config.headers_max.max(1),
            h2_streams_max: config.h2_streams_max.max(1),
            patience: Patience {
                idle_ms: config.idle_ms.max(1),
                head_ms: config.head_ms.max(1),
                write_stall_ms: config.write_stall_ms.max(1),
                linger_ms: LINGER_MS,
            },
        }
    }
}

/// Why a connection or its request did not reach a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// All places are taken.
    Full,
    /// What came is not HTTP.
    Malformed,
    /// Request line and headers are over their limit.
    HeadTooLarge,
    /// The handshake failed, or took too long.
    Tls,
}

/// All connections.
#[derive(Debug)]
pub struct Connections {
    limits: Limits,
    /// None: connections are not encrypted.
    tls: Option<Arc<Tls>>,
    started: Instant,
    /// Milli-seconds since the start, as of the last sweep. Begins with 1, because 0 stands for never.
    clock_ms: AtomicU64,
    open: Mutex<Open>,
    /// Tasks that serve one.
    served: AtomicUsize,
    none_served: Notify,
    accepted: AtomicU64,
    refused: [AtomicU64; 4],
    ended: [AtomicU64; 4],
}

#[derive(Debug, Default)]
struct Open {
    next_id: u64,
    /// Oldest first.
    links: BTreeMap<u64, Arc<Link>>,
    /// Bytes of connections that are gone.
    received: u64,
    sent: u64,
}

impl Connections {
    /// None yet.
    pub fn new(limits: Limits, tls: Option<Arc<Tls>>) -> Arc<Self> {
        Arc::new(Connections {
            limits,
            tls,
            started: Instant::now(),
            clock_ms: AtomicU64::new(1),
            open: Mutex::default(),
            served: AtomicUsize::new(0),
            none_served: Notify::new(),
            accepted: AtomicU64::new(0),
            refused: Default::default(),
            ended: Default::default(),
        })
    }

    /// What bounds them.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The coarse clock in milli-seconds.
    pub fn now(&self) -> u64 {
        self.clock_ms.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Whoever panicked left no half-made change: each is one call.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection; none where all are taken and nobody is idle. An idle connection is closed to make room, so
    /// that many of them keep nobody out.
    fn admit(self: &Arc<Self>, peer: SocketAddr) -> Option<Arc<Link>> {
        let mut open = self.lock();
        if open.links.len() >= self.limits.connections_max && !self.evict(&open) {
            self.count(Refusal::Full);
            return None;
        }
        let id = open.next_id;
        open.next_id += 1;
        let link = Arc::new(Link::new(id, peer, Arc::clone(self)));
        open.links.insert(id, Arc::clone(&link));
        self.accepted.fetch_add(1, Relaxed);
        Some(link)
    }

    fn evict(&self, open: &Open) -> bool {
        let patience = Patience { idle_ms: EVICTION_IDLE_MS, ..self.limits.patience };
        let mut oldest = open.links.values().take(EVICTION_LOOKS_MAX);
        oldest.any(|link| {
            let is_idle = link::fault(&link.facts(), &patience, self.now()) == Some(Fault::Idle);
            is_idle && self.end(link, Fault::Idle)
        })
    }

    /// Ends a connection and counts why, if it was not asked before.
    fn end(&self, link: &Link, fault: Fault) -> bool {
        let is_new = link.end(fault.ending());
        if is_new {
            self.ended[fault as usize].fetch_add(1, Relaxed);
        }
        is_new
    }

    /// Takes a connection off the list.
    fn remove(&self, link: &Link) {
        let mut open = self.lock();
        if open.links.remove(&link.id).is_some() {
            let (received, sent) = link.bytes();
            open.received += received;
            open.sent += sent;
        }
    }

    /// Counts a refusal.
    pub fn count(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Relaxed);
    }

    /// Moves the clock and ends what has lasted too long.
    fn sweep(&self) {
        let now = self.started.elapsed().as_millis() as u64 + 1;
        self.clock_ms.store(now, Relaxed);
        for link in self.lock().links.values() {
            if let Some(fault) = link::fault(&link.facts(), &self.limits.patience, now) {
                self.end(link, fault);
            }
        }
    }

    /// Asks every connection to end.
    fn end_all(&self, ending: Ending) {
        for link in self.lock().links.values() {
            link.end(ending);
        }
    }

    /// Waits until no connection is served any more.
    async fn idle(&self) {
        while self.served.load(Relaxed) > 0 {
            self.none_served.notified().await;
        }
    }
}

/// Counts a task that serves a connection.
struct Served(Arc<Connections>);

impl Served {
    fn one(home: &Arc<Connections>) -> Self {
        home.served.fetch_add(1, Relaxed);
        Served(Arc::clone(home))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.0.served.fetch_sub(1, Relaxed) == 1 {
            self.0.none_served.notify_one();
        }
    }
}
