//! What the threads of one store share, and the few operations on it that several of them need.
//!
//! Lock order, outermost first: `maintenance`, `changes`, `dedup`, `state`, `snapshot`. The queue's lock is never held beside another.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hashbrown::HashSet;
use tidewater_model::time::Timestamp;

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::StoreConfig;
use crate::dedup::Dedup;
use crate::disk::DiskRef;
use crate::error::{StoreError, StoreResult};
use crate::health::Health;
use crate::log::DeleteRecord;
use crate::segment::{SegmentFiles, SegmentId};
use crate::sidecar::Forecasts;
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::stats::Counters;
use crate::tombstone::Tombstone;
use crate::version::{Lsn, StoreId};
use crate::writer::{self, Queue};

/// Called after a commit with its last record.
pub type CommitHook = Arc<dyn Fn(Lsn) + Send + Sync>;

/// One store's parts.
pub struct Shared {
    /// Settings.
    pub config: StoreConfig,
    /// The disk.
    pub disk: DiskRef,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// When the store was opened.
    pub opened: Timestamp,
    /// The store's identity.
    pub store_id: StoreId,
    /// Seed of id hashes.
    pub dedup_seed: u64,
    /// The catalog.
    pub catalog: Catalog,
    /// What all segments share.
    pub files: Arc<SegmentFiles>,
    /// Which tiers of roll-ups pay.
    pub forecasts: Forecasts,
    /// Submissions and groups.
    pub queue: Queue,
    /// Whether writing goes on.
    pub health: Health,
    /// Counters.
    pub counters: Counters,
    /// Held by whoever changes catalog and state together: flush, compaction, retention, datasets, backup.
    pub changes: Mutex<()>,
    /// Held by whoever compacts: one at a time, since two would pick the same segments.
    pub maintenance: Mutex<()>,
    /// Segments whose roll-ups could not be made, since their file is damaged: they are answered from what can be read, and not
    /// tried again until the next start, so that the others have their turn.
    pub unbuildable: Mutex<HashSet<SegmentId>>,
    /// Free bytes on the disk, as last looked at.
    pub disk_free_bytes: AtomicU64,
    /// Bytes of the disk, as last looked at; 0 while unknown.
    pub disk_total_bytes: AtomicU64,
    /// The least dataset id that no dataset ever had; changed under `changes`.
    pub next_dataset: AtomicU32,
    /// Seconds the replay took (as bits of an `f64`), and its rows.
    pub replay: (AtomicU64, AtomicU64),
    dedup: Mutex<Dedup>,
    state: Mutex<State>,
    snapshot: RwLock<Arc<Snapshot>>,
    durable: AtomicI64,
    active_bytes: AtomicU64,
    visible: (Mutex<Lsn>, Condvar),
    next_segment: AtomicU64,
    hook: RwLock<Option<CommitHook>>,
}

/// What [`Shared::new`] takes beside the parts that start empty.
pub struct Parts {
    /// Settings.
    pub config: StoreConfig,
    /// The disk.
    pub disk: DiskRef,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// The store's identity.
    pub store_id: StoreId,
    /// Seed of id hashes.
    pub dedup_seed: u64,
    /// The catalog.
    pub catalog: Catalog,
    /// What all segments share.
    pub files: Arc<SegmentFiles>,
    /// Ids and tokens.
    pub dedup: Dedup,
    /// Datasets, segments, deletes.
    pub state: State,
    /// The least segment number not in use.
    pub next_segment: u64,
    /// The least dataset id that no dataset ever had.
    pub next_dataset: u32,
}

impl Shared {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { config, disk, clock, store_id, dedup_seed, catalog, files, dedup, .. } = parts;
        let Parts { mut state, next_segment, next_dataset, .. } = parts;
        let visible = state.visible();
        let opened = clock.now();
        let snapshot = Arc::new(state.snapshot(opened));
        Arc::new(Shared {
            config,
            disk,
            clock,
            opened,
            store_id,
            dedup_seed,
            catalog,
            files,
            forecasts: Forecasts::default(),
            queue: Queue::default(),
            health: Health::default(),
            counters: Counters::default(),
            changes: Mutex::new(()),
            maintenance: Mutex::new(()),
            unbuildable: Mutex::default(),
            disk_free_bytes: AtomicU64::new(u64::MAX),
            disk_total_bytes: AtomicU64::new(0),
            next_dataset: AtomicU32::new(next_dataset),
            replay: (AtomicU64::new(0), AtomicU64::new(0)),
            dedup: Mutex::new(dedup),
            state: Mutex::new(state),
            snapshot: RwLock::new(snapshot),
            durable: AtomicI64::new(visible.0),
            active_bytes: AtomicU64::new(0),
            visible: (Mutex::new(visible), Condvar::new()),
            next_segment: AtomicU64::new(next_segment),
            hook: RwLock::new(None),
        })
    }

    /// The state in memory. A panic while it was held cannot leave it half changed where it matters: what is shown is
    /// the snapshot.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ids and tokens.
    pub fn dedup(&self) -> MutexGuard<'_, Dedup> {
        self.dedup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to change catalog and state together.
    pub fn change(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows a state. The caller holds the state's lock, so snapshots appear in order. Returns the snapshot before: dropping
    /// it may unlink the files of replaced segments, which is better done without that lock.
    pub fn publish(&self, state: &mut State) -> Arc<Snapshot> {
        let snapshot = Arc::new(state.snapshot(self.clock.now()));
        self.durable.store(state.visible().0, Ordering::Release);
        self.active_bytes.store(state.active_bytes(), Ordering::Release);
        let mut place = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *place, snapshot)
    }

    /// Bytes of the rows in memory that came since the last freeze, as last shown.
    pub fn active_bytes(&self) -> u64 {
        self.active_bytes.load(Ordering::Acquire)
    }

    /// Every record up to here is durable.
    pub fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// Wakes who waits for a version, and tells the hook.
    pub fn committed(&self, through: Lsn) {
        let mut visible = self.visible.0.lock().unwrap_or_else(PoisonError::into_inner);
        *visible = (*visible).max(through);
        drop(visible);
        self.visible.1.notify_all();
        let hook = self.hook.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hook) = hook {
            hook(through);
        }
    }

    /// Waits until a record is visible; false when the time is over.
    pub fn wait_for(&self, lsn: Lsn, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut visible = self.visible.0.lock().unwrap_or_else(PoisonError::into_inner);
        while *visible < lsn {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            visible = self.visible.1.wait_timeout(visible, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Sets the hook that is called after every commit, on the committer's thread.
    pub fn set_hook(&self, hook: CommitHook) {
        *self.hook.write().unwrap_or_else(PoisonError::into_inner) = Some(hook);
    }

    /// A number for a new segment.
    pub fn take_segment_id(&self) -> SegmentId {
        SegmentId(self.next_segment.fetch_add(1, Ordering::Relaxed))
    }

    /// The least segment number not in use.
    pub fn next_segment(&self) -> u64 {
        self.next_segment.load(Ordering::Relaxed)
    }

    /// Ends all writing, and logs why.
    pub fn poison(&self, error: &StoreError) {
        if self.health.poison(error) {
            tracing::error!(error = error.chain(), "the store takes no more writes until it is restarted");
        }
        self.queue.poke();
    }

    /// A delete made ready to hide rows.
    pub fn tombstone(&self, lsn: Lsn, record: &DeleteRecord) -> StoreResult<Arc<Tombstone>> {
        let dataset = self.state().dataset(record.dataset).map(|dataset| Arc::clone(&dataset.dataset));
        let dataset = dataset.ok_or(StoreError::UnknownDataset)?;
        writer::tombstone(&dataset, lsn, record)
    }

    /// Looks at the disk's free space.
    pub fn look_at_disk(&self) {
        match self.disk.space(&self.config.data_dir) {
            Ok(space) => {
                self.disk_free_bytes.store(space.free_bytes, Ordering::Relaxed);
                self.disk_total_bytes.store(space.total_bytes, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "the disk's free space is unknown"),
        }
    }
}
