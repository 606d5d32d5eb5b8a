//! Cursors of questions: an answer with more rows than its page is pinned, so that later pages continue the same answer
//! whatever arrives meanwhile.
//!
//! Pinned answers live in memory within a budget. Past it the oldest are let go where they can be computed again from the rows up to
//! their version, which few are ever asked for; the others move to a file without a name (`spill`), and past that file's budget
//! new cursors are refused. What is left of those that were let go counts too: where it alone is over the budget, the oldest cursors end
//! before their time, since ten thousand new ones a minute are a flood that nobody pages through. Not here: computing again (`ask`), cursors of raw rows, which need no memory (`rows`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidewater_model::names::ProjectName;
use tidewater_model::query::Query;
use tidewater_model::schema::DatasetId;
use tidewater_model::time::Timestamp;
use tidewater_query::Answer;
use tidewater_store::Version;

use crate::error::{EngineError, EngineResult};
use crate::page::{AnswerFacts, PageRows};
use crate::spill::SpilledRows;
use crate::token;

/// Seconds after which a client may find room for a new cursor.
const RETRY_AFTER_S: u64 = 30;
/// How long a delete is remembered: far longer than a question may run and its answer be kept unused.
const DELETES_KEPT: Duration = Duration::from_secs(3_600);

/// What every page of a pinned answer shares.
#[derive(Clone, Debug)]
pub(crate) struct Pinned {
    /// A dataset that was dropped and made anew has the name but not the rows.
    pub dataset: DatasetId,
    pub facts: Arc<AnswerFacts>,
    pub query: Arc<Query>,
    pub version: Version,
    pub as_of: Timestamp,
    /// The rows it was made of stay for longer than it is kept, so it can be made again.
    pub is_repeatable: bool,
}

#[derive(Clone)]
enum Rows {
    Memory(Arc<Answer>),
    Spilled(Arc<SpilledRows>),
    /// To be computed again.
    LetGo,
}

/// What an answer takes beside its rows, also when these were let go: its question and totals.
const ENTRY_BYTES: u64 = 4 << 10;

struct Entry {
    pinned: Pinned,
    rows: Rows,
    /// Bytes in memory or on disk.
    bytes: u64,
    last_used: Instant,
    /// A thread is writing it to disk.
    is_spilling: bool,
}

/// All pinned answers.
pub(crate) struct Cursors {
    folder: PathBuf,
    memory_bytes_max: u64,
    spill_bytes_max: u64,
    ttl: Duration,
    next: AtomicU64,
    // Held for map operations only; answers are rendered and spilled outside it.
    entries: Mutex<BTreeMap<u64, Entry>>,
    ended_early: AtomicU64,
    deletes: Mutex<Vec<DeletedRows>>,
}

/// A delete that answers computed before it must not survive.
struct DeletedRows {
    at: Instant,
    project: ProjectName,
    dataset: String,
    version: Version,
}

/// A cursor as read from its token.
pub(crate) struct Position {
    id: u64,
    pub offset: u64,
}

/// A pinned answer and how to cut pages from it.
pub(crate) struct Found {
    pub pinned: Pinned,
    rows: Rows,
}

impl Found {
    /// A page; `None` where the answer has to be computed again first.
    pub fn page(&self, offset: u64, limit: u32) -> EngineResult<Option<PageRows>> {
        match &self.rows {
            Rows::Memory(answer) => Ok(Some(PageRows::of(answer, offset, limit))),
            Rows::Spilled(rows) => rows.page(offset, limit).map(Some),
            Rows::LetGo => Ok(None),
        }
    }
}

impl Cursors {
    /// `seed` is random: it makes ids of this process differ from those of earlier ones, whose tokens clients may still hold.
    pub fn new(
        folder: PathBuf,
        memory_bytes_max: u64,
        spill_bytes_max: u64,
        ttl: Duration,
        seed: u32,
    ) -> Self {
        let entries = Mutex::new(BTreeMap::new());
        // Ids count up, so the order of ids is the order of age.
        let next = AtomicU64::new(u64::from(seed) << 32);
        let (ended_early, deletes) = (AtomicU64::new(0), Mutex::default());
        Cursors { folder, memory_bytes_max, spill_bytes_max, ttl, next, entries, ended_early, deletes }
    }

    /// Keeps an answer; the id goes into tokens.
    pub fn pin(&self, answer: Arc<Answer>, pinned: Pinned) -> EngineResult<u64> {
        let bytes = answer.memory_bytes() as u64 + ENTRY_BYTES;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = Entry {
            pinned,
            rows: Rows::Memory(answer),
            bytes,
            last_used: Instant::now(),
            is_spilling: false,
        };
        {
            let mut entries = self.lock();
            self.expire(&mut entries);
            let kept: u64 = entries.values().map(|entry| entry.bytes).sum();
            if kept + bytes > self.memory_bytes_max + self.spill_bytes_max {
                let what = "too many answers are open; read them to their end, or ask for less";
                return Err(EngineError::Overloaded { what, retry_after_s: RETRY_AFTER_S });
            }
            entries.insert(id, entry);
        }
        self.make_room()?;
        Ok(id)
    }

    /// Takes an answer back that was let go.
    pub fn put_back(&self, id: u64, answer: &Arc<Answer>) -> EngineResult<()> {
        if let Some(entry) = self.lock().get_mut(&id) {
            entry.bytes = answer.memory_bytes() as u64 + ENTRY_BYTES;
            entry.rows = Rows::Memory(Arc::clone(answer));
        }
        self.make_room()
    }

    /// The token that continues answer `id` at `offset`.
    pub fn token(id: u64, offset: u64, binding: u64) -> String {
        token::encode([id, offset, binding])
    }

    /// Reads a token; it must be bound to the same question and project.
    pub fn read(text: &str, binding: u64) -> EngineResult<Position> {
        match token::decode::<3>(text) {
            Some([id, offset, bound]) if bound == binding => Ok(Position { id, offset }),
            _ => Err(EngineError::InvalidCursor),
        }
    }

    /// The answer behind a cursor; using it keeps it.
    pub fn find(&self, position: &Position) -> EngineResult<(u64, Found)> {
        let mut entries = self.lock();
        self.expire(&mut entries);
        let entry = entries.get_mut(&position.id).ok_or(EngineError::CursorExpired)?;
        if self.holds_deleted_rows(&entry.pinned) {
            entries.remove(&position.id);
            return Err(EngineError::CursorExpired);
        }
        entry.last_used = Instant::now();
        Ok((position.id, Found { pinned: entry.pinned.clone(), rows: entry.rows.clone() }))
    }

    /// Keeps an answer for as long again, for another caller that gets its first page; false where it is gone.
    pub fn keep(&self, id: u64) -> bool {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(&id) else { return false };
        let is_kept = entry.last_used.elapsed() < self.ttl && !self.holds_deleted_rows(&entry.pinned);
        if is_kept {
            entry.last_used = Instant::now();
        }
        is_kept
    }

    /// Notes a delete: from now on no page is cut from an answer of an earlier state of those rows.
    pub fn deleted(&self, project: ProjectName, dataset: String, version: Version) {
        let mut deletes = self.deletes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        deletes.retain(|delete| delete.at.elapsed() < DELETES_KEPT);
        deletes.push(DeletedRows { at: Instant::now(), project, dataset, version });
    }

    fn holds_deleted_rows(&self, pinned: &Pinned) -> bool {
        let deletes = self.deletes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        deletes.iter().any(|delete| {
            delete.project == pinned.query.project
                && *delete.dataset == *pinned.query.dataset.name
                && pinned.version.lsn < delete.version.lsn
        })
    }

    /// Answers kept, bytes of them in memory, bytes on disk.
    pub fn usage(&self) -> (usize, u64, u64) {
        let mut entries = self.lock();
        self.expire(&mut entries);
        (entries.len(), used(&entries, false), used(&entries, true))
    }

    fn expire(&self, entries: &mut BTreeMap<u64, Entry>) {
        let ttl = self.ttl;
        entries.retain(|_, entry| entry.last_used.elapsed() < ttl);
    }

    /// Lets the oldest answers go, or spills them, until the rest fits.
    fn make_room(&self) -> EngineResult<()> {
        while let Some((id, answer)) = self.choose() {
            let spilled = SpilledRows::write(&self.folder, &answer);
            let mut entries = self.lock();
            let Some(entry) = entries.get_mut(&id) else { continue };
            match spilled {
                Ok(rows) => {
                    entry.bytes = rows.bytes();
                    entry.rows = Rows::Spilled(Arc::new(rows));
                }
                // Memory is bounded before answers are kept: one that cannot be spilled goes.
                Err(error) => {
                    entries.remove(&id);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn choose(&self) -> Option<(u64, Arc<Answer>)> {
        let mut entries = self.lock();
        let in_memory = entries.values().filter(|entry| !entry.is_spilling);
        let in_memory = in_memory.filter(|entry| !matches!(entry.rows, Rows::Spilled(_)));
        let mut held: u64 = in_memory.map(|entry| entry.bytes).sum();
        for (id, entry) in entries.iter_mut().filter(|(_, entry)| !entry.is_spilling) {
            if held <= self.memory_bytes_max {
                break;
            }
            match &entry.rows {
                Rows::Memory(_) if entry.pinned.is_repeatable => {
                    held -= entry.bytes - ENTRY_BYTES;
                    (entry.rows, entry.bytes) = (Rows::LetGo, ENTRY_BYTES);
                }
                Rows::Memory(answer) => {
                    entry.is_spilling = true;
                    return Some((*id, Arc::clone(answer)));
                }
                Rows::Spilled(_) | Rows::LetGo => {}
            }
        }
        self.end_oldest(&mut entries);
        None
    }

    /// Ends the oldest of the answers that were let go, where these take more than half of the budget.
    fn end_oldest(&self, entries: &mut BTreeMap<u64, Entry>) {
        let is_let_go = |entry: &Entry| matches!(entry.rows, Rows::LetGo);
        let mut let_go: u64 =
            entries.values().filter(|entry| is_let_go(entry)).map(|entry| entry.bytes).sum();
        while let_go > (self.memory_bytes_max / 2).max(ENTRY_BYTES) {
            let oldest = entries.iter().find(|(_, entry)| is_let_go(entry)).map(|(id, _)| *id);
            let Some(entry) = oldest.and_then(|id| entries.remove(&id)) else { break };
            let_go = let_go.saturating_sub(entry.bytes);
            self.ended_early.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Cursors that ended before their time, since the start.
    pub fn ended_early(&self) -> u64 {
        self.ended_early.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn used(entries: &BTreeMap<u64, Entry>, on_disk: bool) -> u64 {
    // An answer that was let go takes memory too, if little.
    let counted = entries.values().filter(|entry| matches!(entry.rows, Rows::Spilled(_)) == on_disk);
    counted.map(|entry| entry.bytes).sum()
}
