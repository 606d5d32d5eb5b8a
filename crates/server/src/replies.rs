//! Replies to questions in their written form, found by the bytes of the request: a dashboard that asks the same again costs no
//! parsing, no resolving and no writing.
//!
//! Not here: whether a reply still answers (`engine` says so for its lease), and answers shared by questions that are
//! written differently (`engine`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use tidewater_engine::{AnswerCache, Engine, Lease, Visibility};

use crate::answer::{Coding, Wanted, Wire, Written};
use crate::auth::Caller;
use crate::observe::About;

/// Everything in a request that decides the reply's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey {
    is_post: bool,
    wire: Wire,
    coding: Coding,
    visibility: Visibility,
    query_projects: Vec<String>,
    header_project: Option<String>,
    text: Bytes,
}

impl RequestKey {
    /// Of a question in a body.
    pub fn post(caller: &Caller, wanted: &Wanted, body: Bytes) -> Self {
        RequestKey::new(true, caller, wanted, body)
    }

    /// Of a question in a URL.
    pub fn get(caller: &Caller, wanted: &Wanted, query: String) -> Self {
        RequestKey::new(false, caller, wanted, Bytes::from(query))
    }

    fn new(is_post: bool, caller: &Caller, wanted: &Wanted, text: Bytes) -> Self {
        let (visibility, query, header) = caller.scope();
        RequestKey {
            is_post,
            wire: wanted.wire,
            coding: wanted.coding,
            visibility,
            query_projects: query.to_vec(),
            header_project: header.map(str::to_owned),
            text,
        }
    }

    /// The body, or the query string.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    fn memory_bytes(&self) -> usize {
        let names = self.query_projects.iter().map(String::len).sum::<usize>();
        size_of::<Self>() + self.text.len() + names + self.header_project.as_ref().map_or(0, String::len)
    }
}

#[derive(Clone)]
struct Reply {
    written: Arc<Written>,
    about: Arc<About>,
    lease: Arc<Lease>,
}

/// All written replies.
pub struct Replies {
    cache: AnswerCache<RequestKey, Reply>,
    bytes_max: u64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What written replies have done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyStats {
    /// Requests answered with one.
    pub hits: u64,
    /// Requests that had to be read.
    pub misses: u64,
    /// Replies pushed out by others.
    pub evictions: u64,
    /// Bytes held.
    pub bytes: u64,
}

impl Replies {
    /// None yet, and at most `bytes_max` bytes of them.
    pub fn new(bytes_max: u64) -> Self {
        Replies {
            cache: AnswerCache::new(bytes_max),
            bytes_max,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The reply to the same request, where it still answers.
    pub fn find(&self, engine: &Engine, key: &RequestKey) -> Option<(Arc<Written>, Arc<About>)> {
        let found = self.cache.get(key);
        let found = found.filter(|reply| engine.still_answers(&reply.lease));
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found.map(|reply| (reply.written, reply.about))
    }

    /// The reply to the same request where it was right less than `age_max` ago, with its age: for callers over a limit.
    pub fn find_aged(
        &self,
        engine: &Engine,
        key: &RequestKey,
        age_max: Duration,
    ) -> Option<(Arc<Written>, Arc<About>, Duration)> {
        let reply = self.cache.get(key)?;
        let age = engine.answered_within(&reply.lease, age_max)?;
        Some((reply.written, reply.about, age))
    }

    /// Keeps a reply.
    pub fn keep(&self, mut key: RequestKey, written: Arc<Written>, about: Arc<About>, lease: Lease) {
        // The request's bytes may be a part of a larger buffer of the connection.
        key.text = Bytes::copy_from_slice(&key.text);
        let bytes = key.memory_bytes() + written.memory_bytes() + about.memory_bytes() + size_of::<Lease>();
        self.cache.insert(key, Reply { written, about, lease: Arc::new(lease) }, bytes as u64);
    }

    /// Bytes it may hold.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// What it has done.
    pub fn stats(&self) -> ReplyStats {
        ReplyStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            evictions: self.cache.evictions(),
            bytes: self.cache.bytes(),
        }
    }
}
