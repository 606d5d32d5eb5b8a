//! What is known about how current an answer is, and the decision whether a caller may have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tidewater_model::names::ProjectName;
use tidewater_model::schema::{Dataset, DatasetId};
use tidewater_model::time::Timestamp;
use tidewater_store::{DatasetView, Lsn, Snapshot, Version};

/// A point in the life of this process, read before the snapshot it is told with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Micro-seconds on the monotonic clock.
    pub elapsed_us: u64,
    /// How many changes have happened that every answer shows at once: deletes, and definitions of datasets.
    pub changes: u64,
}

/// How current one answer is. Shared by all who keep a form of it; the more is learnt, the longer it serves.
///
/// Each figure alone says "the answer was right then", and each only grows, so no lock holds them together.
#[derive(Debug)]
pub(crate) struct Currency {
    project: ProjectName,
    dataset: DatasetId,
    definition: Arc<Dataset>,
    version: Version,
    elapsed_us: AtomicU64,
    changes: AtomicU64,
    lsn: AtomicI64,
    holds_from_us: i64,
    holds_until_us: AtomicI64,
    is_superseded: AtomicBool,
    is_in_demand: AtomicBool,
}

impl Currency {
    /// Of an answer from `snapshot`, taken after `moment`, to a question asked at `now`.
    pub fn new(
        snapshot: &Snapshot,
        view: &DatasetView,
        project: &ProjectName,
        moment: Moment,
        holds: (Timestamp, Timestamp),
    ) -> Self {
        Currency {
            project: project.clone(),
            dataset: view.id,
            definition: Arc::clone(&view.dataset),
            version: snapshot.data_version(project, view.id),
            elapsed_us: AtomicU64::new(moment.elapsed_us),
            changes: AtomicU64::new(moment.changes),
            lsn: AtomicI64::new(snapshot.version().lsn.0),
            holds_from_us: holds.0.0,
            holds_until_us: AtomicI64::new(holds.1.0),
            is_superseded: AtomicBool::new(false),
            is_in_demand: AtomicBool::new(false),
        }
    }

    /// The state of the project's rows it was computed from.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether it was right less than `staleness_us` ago and nothing has happened that must show at once.
    pub fn is_fresh(&self, moment: Moment, staleness_us: u64) -> bool {
        let age_us = moment.elapsed_us.saturating_sub(self.elapsed_us.load(Ordering::Relaxed));
        age_us < staleness_us
            && self.changes.load(Ordering::Relaxed) == moment.changes
            && !self.is_superseded.load(Ordering::Relaxed)
    }

    /// How long before a moment it was last known to be right.
    pub fn age(&self, moment: Moment) -> Duration {
        Duration::from_micros(moment.elapsed_us.saturating_sub(self.elapsed_us.load(Ordering::Relaxed)))
    }

    /// Of two answers to one question the one of the later state serves from now on, so that no caller sees time go back within
    /// a tick. Returns whether that is `self`; answers of one state are equally good.
    pub fn supersede(&self, earlier: &Currency) -> bool {
        let order = self.version.lsn.cmp(&earlier.version.lsn);
        match order {
            std::cmp::Ordering::Greater => earlier.is_superseded.store(true, Ordering::Relaxed),
            std::cmp::Ordering::Less => self.is_superseded.store(true, Ordering::Relaxed),
            std::cmp::Ordering::Equal => {}
        }
        order.is_ge()
    }

    /// Whether it is known to include a record.
    pub fn includes(&self, lsn: Lsn) -> bool {
        self.lsn.load(Ordering::Relaxed) >= lsn.0
    }

    /// Whether its rows and their definition are still the ones of a snapshot.
    pub fn is_of(&self, snapshot: &Snapshot) -> bool {
        snapshot.view(self.dataset).is_some_and(|view| {
            Arc::ptr_eq(&view.dataset, &self.definition)
                && view.latest(&self.project) == self.version.lsn
                && snapshot.version().store == self.version.store
        })
    }

    /// Whether the question means the same at an instant as when it was computed.
    pub fn holds_at(&self, now: Timestamp) -> bool {
        (self.holds_from_us..self.holds_until_us.load(Ordering::Relaxed)).contains(&now.0)
    }

    /// Whether it has served others than the one it was computed for.
    pub fn is_in_demand(&self) -> bool {
        self.is_in_demand.load(Ordering::Relaxed)
    }

    /// Notes that it serves another one.
    pub fn serve(&self) {
        // Written once, so that cores which serve it do not take the line from each other.
        if !self.is_in_demand() {
            self.is_in_demand.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that it is right for a snapshot taken after `moment`.
    pub fn confirm(&self, moment: Moment, lsn: Lsn) {
        self.lsn.fetch_max(lsn.0, Ordering::Relaxed);
        self.changes.fetch_max(moment.changes, Ordering::Relaxed);
        self.elapsed_us.fetch_max(moment.elapsed_us, Ordering::Relaxed);
    }

    /// Notes that it means the same up to a later instant.
    pub fn prolong(&self, holds_until: Timestamp) {
        self.holds_until_us.fetch_max(holds_until.0, Ordering::Relaxed);
    }
}
