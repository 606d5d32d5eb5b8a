//! Answers that several callers share: those kept from earlier questions, and those being computed.
//!
//! An answer is a pure function of its question's meaning and of the state of one project's rows, which has a version. So nothing
//! is invalidated: an answer serves while version and meaning are the same, and every caller within one tick gets the same
//! one whatever arrives meanwhile, except past a delete or a changed definition, which show at once. Not here: the rules of what
//! moves with the clock (`holds`), the map (`cache`), waiting for one computation (`flights`)
//! or for others to go with (`gather`), the steps of a question (`ask`).

mod cache;
mod currency;
mod flights;
mod gather;
mod holds;
mod key;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidewater_model::query::Query;
use tidewater_model::time::Timestamp;
use tidewater_store::{DatasetView, Snapshot};

use crate::compute::{Job, Lane};
use crate::page::{AnswerFacts, CacheUse, PageRows};
use crate::questions::QuestionHandle;

pub use cache::AnswerCache;
pub(crate) use currency::{Currency, Moment};
use flights::Flights;
pub(crate) use gather::Entrance;
use gather::Gatherings;
pub(crate) use holds::holds_until;
pub(crate) use key::QuestionKey;

/// What an answer is about and how current it is.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub query: Arc<Query>,
    /// The canonical text of the question with every word resolved.
    pub meaning: Arc<str>,
    pub currency: Arc<Currency>,
    /// From when on the answer may differ though its rows do not.
    pub holds_until: Timestamp,
}

impl Subject {
    pub fn new(
        snapshot: &Snapshot,
        view: &DatasetView,
        query: Arc<Query>,
        meaning: Arc<str>,
        moment: Moment,
        holds_until: Timestamp,
    ) -> Self {
        let holds = (query.now, holds_until);
        let currency = Arc::new(Currency::new(snapshot, view, &query.project, moment, holds));
        Subject { query, meaning, currency, holds_until }
    }

    /// Whether a later question means the same, beyond its instant too.
    pub fn means_the_same(&self, asked: &Subject) -> bool {
        let (known, now) = (&self.query, asked.query.now);
        self.holds_until > known.now
            && asked.holds_until > now
            && self.meaning == asked.meaning
            && holds::still_holds(known, &asked.query)
    }
}

/// A kept answer: one page of it, and what holds for all pages.
#[derive(Debug)]
pub(crate) struct Kept {
    pub subject: Subject,
    pub page: Arc<PageRows>,
    pub facts: Arc<AnswerFacts>,
    pub as_of: Timestamp,
    /// The pinned answer behind later pages, and where the next one begins. The token is each caller's own: it is bound to
    /// the question as that caller wrote it.
    pub cursor: Option<(u64, u64)>,
    pub elapsed: Duration,
    /// What its own computation found in caches.
    pub computed: CacheUse,
    /// Counts those who get it without a computation.
    pub recorded: QuestionHandle,
}

impl Kept {
    /// Counts one who gets it without a computation.
    pub fn serve(&self) {
        self.recorded.answered();
        self.subject.currency.serve();
    }

    /// Bytes it holds.
    pub fn memory_bytes(&self) -> usize {
        /// The question as resolved, totals, figures, how it was done: small, and of no use to measure to the byte.
        const FIXED_BYTES: usize = 3 << 10;
        FIXED_BYTES + self.page.memory_bytes() + self.subject.meaning.len()
    }
}

/// The right to send a reply again to someone who asks with the same words, for as long as [`crate::Engine::still_answers`] says.
#[derive(Clone, Debug)]
pub struct Lease {
    pub(crate) currency: Arc<Currency>,
    pub(crate) staleness_us: u64,
    pub(crate) cursor: Option<u64>,
    pub(crate) recorded: QuestionHandle,
}

impl Lease {
    /// Counts one who gets the reply again.
    pub(crate) fn serve(&self) {
        self.recorded.answered();
        self.currency.serve();
    }
}

/// What the answer cache has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerStats {
    /// Questions answered without a computation of their own.
    pub hits: u64,
    /// Questions computed.
    pub misses: u64,
    /// Of the hits, those that waited for another caller's computation.
    pub shared: u64,
    /// Answers pushed out by others.
    pub evictions: u64,
    /// Bytes of answers.
    pub bytes: u64,
}

/// All shared answers of a store.
pub(crate) struct Answers {
    pub cache: AnswerCache<QuestionKey, Arc<Kept>>,
    pub flights: Flights<QuestionKey, Subject, Kept>,
    pub gatherings: Gatherings<Lane, Job>,
    tick: Duration,
    started: Instant,
    changes: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    shared: AtomicU64,
}

impl Answers {
    pub fn new(bytes_max: u64, tick: Duration) -> Self {
        Answers {
            cache: AnswerCache::new(bytes_max),
            flights: Flights::default(),
            gatherings: Gatherings::default(),
            tick,
            started: Instant::now(),
            changes: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            shared: AtomicU64::new(0),
        }
    }

    /// Now, to be read before the snapshot it is told with.
    pub fn moment(&self) -> Moment {
        // Changes first: one between the two reads makes the moment too old, never too new.
        let changes = self.changes.load(Ordering::Acquire);
        Moment { elapsed_us: self.started.elapsed().as_micros() as u64, changes }
    }

    /// How old a shared answer may be where the question does not say, in micro-seconds.
    pub fn tick_us(&self) -> u64 {
        self.tick.as_micros() as u64
    }

    /// Notes that something has become visible that every answer from now on must show.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Whether the kept answer to a question, fresh or not, has served others than the one it was computed for.
    pub fn is_in_demand(&self, key: &QuestionKey) -> bool {
        self.cache.with(key, |kept| kept.subject.currency.is_in_demand()).unwrap_or(false)
    }

    pub fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub fn missed(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer that came from a computation, another caller's or one of its own.
    pub fn computed(&self, is_shared: bool) {
        if is_shared {
            self.hit();
            self.shared.fetch_add(1, Ordering::Relaxed);
        } else {
            self.missed();
        }
    }

    pub fn stats(&self) -> AnswerStats {
        AnswerStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            shared: self.shared.load(Ordering::Relaxed),
            evictions: self.cache.evictions(),
            bytes: self.cache.bytes(),
        }
    }
}
