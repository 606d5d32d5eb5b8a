//! What handlers tell about their work, and the buffer it waits in: pushing is all that a request pays for.
//!
//! Not here: what is made of it (`performance`, `records`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewater_engine::{AnswerFacts, CacheUse};
use tidewater_model::names::ProjectName;
use tidewater_model::time::Timestamp;
use tokio::sync::Notify;

use super::RequestId;
use crate::metrics::RouteId;
use crate::shards::{self, SHARDS};

/// Events that one part takes; what comes while it is full is counted and dropped.
const SHARD_EVENTS_MAX: usize = 8_192;
/// Events of one part from which on it is worth to sum them up at once. Few enough that what they hold is still in the core's own
/// cache, and given back to the thread that it came from.
const SHARD_EVENTS_DUE: usize = 128;

/// An answered request.
#[derive(Clone, Debug)]
pub struct RequestEvent {
    /// When it was answered.
    pub at: Timestamp,
    /// Its id, trace and caller.
    pub id: RequestId,
    /// Its route.
    pub route: RouteId,
    /// Its method.
    pub method: &'static str,
    /// The answer's status.
    pub status: u16,
    /// From its head to the head of the answer, in micro-seconds.
    pub elapsed_us: u64,
    /// Bytes of its body, where they were declared.
    pub received_bytes: Option<u64>,
    /// Bytes of the answer's body, where they were known at its beginning.
    pub sent_bytes: Option<u64>,
}

/// What a question was about. Shared by all that ask it with the same bytes.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct About {
    /// Whose rows.
    pub project: ProjectName,
    /// Which dataset.
    pub dataset: Arc<str>,
    /// What it computed, without values of filters.
    pub shape: Box<str>,
}

impl About {
    /// Bytes it holds.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.project.as_str().len() + self.dataset.len() + self.shape.len()
    }
}

/// An answered question.
#[derive(Clone, Debug)]
pub struct QuestionEvent {
    /// When it was answered.
    pub at: Timestamp,
    /// The request it came with.
    pub id: RequestId,
    /// What it was about; `None` where it did not read.
    pub about: Option<Arc<About>>,
    /// What was found in caches; `None` for a question that got a problem.
    pub cache: Option<CacheUse>,
    /// The problem's status and code.
    pub problem: Option<(u16, &'static str)>,
    /// Time in the server, in micro-seconds.
    pub elapsed_us: u64,
    /// Whether that is slow.
    pub is_slow: bool,
    /// How it was computed, where it was for this caller.
    pub facts: Option<Arc<AnswerFacts>>,
}

/// What became of the rows of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Stored.
    pub accepted: u64,
    /// Refused.
    pub rejected: u64,
    /// Left out because their id was known.
    pub duplicates: u64,
}

/// Rows that were sent.
#[derive(Clone, Debug)]
pub struct RowsEvent {
    /// When the reply was ready.
    pub at: Timestamp,
    /// The request they came with.
    pub id: RequestId,
    /// Whose.
    pub project: ProjectName,
    /// Where to.
    pub dataset: Arc<str>,
    /// Time in the server, in micro-seconds.
    pub elapsed_us: u64,
    /// What became of them.
    pub rows: RowCounts,
    /// The status of the answer.
    pub status: u16,
}

/// Anything handlers tell.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request.
    Request(RequestEvent),
    /// A question.
    Question(QuestionEvent),
    /// Rows.
    Rows(RowsEvent),
}

/// Events on their way to whoever sums them up.
#[derive(Debug, Default)]
pub struct Buffer {
    shards: [Shard; SHARDS],
    dropped: AtomicU64,
    /// Somebody was told that there is something.
    is_told: AtomicBool,
    arrived: Notify,
}

/// The events of one part. Alone on its cache lines, so that threads do not disturb each other.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Vec<Event>>);

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes its events. The room that the next ones need is most likely what these have needed.
    fn take(&self) -> Vec<Event> {
        let mut events = self.lock();
        let room = Vec::with_capacity(events.len().min(SHARD_EVENTS_DUE));
        std::mem::replace(&mut *events, room)
    }
}

impl Buffer {
    /// Adds an event; drops it where there is no room. True where the part of this thread has enough to be summed up.
    pub fn push(&self, event: Event) -> bool {
        let count = {
            let mut events = self.shards[shards::own()].lock();
            if events.len() >= SHARD_EVENTS_MAX {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return true;
            }
            events.push(event);
            events.len()
        };
        if !self.is_told.load(Ordering::Relaxed) && !self.is_told.swap(true, Ordering::AcqRel) {
            self.arrived.notify_one();
        }
        count >= SHARD_EVENTS_DUE
    }

    /// Takes the events of this thread's part.
    pub fn take_own(&self) -> Vec<Event> {
        self.shards[shards::own()].take()
    }

    /// Waits until there is something. A quiet server wakes nobody.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes all events. The order is kept within a thread.
    pub fn take(&self) -> Vec<Event> {
        self.is_told.store(false, Ordering::Release);
        self.shards.iter().flat_map(Shard::take).collect()
    }

    /// Events dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Event {
        let project = ProjectName::new("p").expect("a name");
        let rows = RowCounts::default();
        let (at, id) = (Timestamp(0), RequestId::any());
        Event::Rows(RowsEvent { at, id, project, dataset: Arc::from("d"), elapsed_us: 1, rows, status: 200 })
    }

    #[test]
    fn a_full_buffer_drops_and_counts() {
        let buffer = Buffer::default();
        (0..SHARD_EVENTS_MAX + 3).for_each(|_| _ = buffer.push(rows()));
        assert_eq!((buffer.take().len(), buffer.dropped()), (SHARD_EVENTS_MAX, 3));
        buffer.push(rows());
        assert_eq!((buffer.take().len(), buffer.dropped()), (1, 3));
    }

    #[test]
    fn a_part_is_due_before_it_is_full() {
        let buffer = Buffer::default();
        let due = (1..).find(|_| buffer.push(rows()));
        assert_eq!(due, Some(SHARD_EVENTS_DUE));
        assert_eq!((buffer.take_own().len(), buffer.take().len()), (SHARD_EVENTS_DUE, 0));
        assert!(!buffer.push(rows()));
    }
}
