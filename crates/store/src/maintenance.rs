//! Background work at low priority: compaction, retention, back-building of roll-ups, merging of history, merging and forgetting
//! of deduplication runs.
//!
//! What to do is decided by pure functions elsewhere; here it is done, one catalog transaction at a time.

mod expire;
mod rest;
mod rollups;
mod swap;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tidewater_aggregate::derived_for;
use tidewater_model::schema::{Dataset, DatasetId};

use crate::catalog::{CatalogChange, RunRow};
use crate::compaction::{CompactionJob, merge_segments, plan_compaction, plan_settling, settling_pending};
use crate::dedup::{RunFacts, RunLimits, expired_runs, merge_runs, plan_run_merge};
use crate::error::{StoreError, StoreResult};
use crate::os;
use crate::paths;
use crate::segment::{Segment, SegmentId, SegmentMeta};
use crate::shared::Shared;
use crate::sidecar::{Sidecar, Written};
use crate::tombstone::Tombstone;
use crate::version::Lsn;

pub use rollups::{RollupStatus, status};

use expire::expire;
use rest::Rest;
use rollups::{build_once, merge_history_once};
use swap::{Swap, swap};

/// Tells the maintenance thread to stop, and lets it sleep.
#[derive(Debug, Default)]
pub struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Stops the thread at its next look.
    pub fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether to stop.
    pub fn is_stopped(&self) -> bool {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits so long, or until stopped.
    pub fn sleep(&self, time: Duration) {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        // A wake-up too early only means one look more.
        drop(self.changed.wait_timeout_while(stopped, time, |stopped| !*stopped));
    }
}

/// Runs until it is stopped.
pub fn run_maintenance(shared: &Arc<Shared>, stop: &Stop) {
    os::lower_thread_priority(os::NICE_BACKGROUND);
    os::lower_disk_priority();
    let interval = Duration::from_millis(shared.config.maintenance_interval_ms);
    while !stop.is_stopped() {
        shared.look_at_disk();
        let worked = shared.health.poisoned().is_none() && round(shared, stop);
        if !worked {
            stop.sleep(interval);
        }
    }
}

/// Does all there is to do now, in the caller's thread.
pub fn settle(shared: &Shared) -> StoreResult<()> {
    let _maintenance = shared.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
    let throttle = || ControlFlow::Continue(());
    while expire(shared)?
        || tidy_runs(shared)?
        || compact_once(shared, &throttle)?
        || build_once(shared, &throttle)?
        || merge_history_once(shared, &throttle)?
        || settle_once(shared, &throttle)?
    {}
    Ok(())
}

/// One look at everything; true when there may be more to do at once.
fn round(shared: &Shared, stop: &Stop) -> bool {
    let _maintenance = shared.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
    let throttle = || if stop.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let steps: [(&str, StoreResult<bool>); 5] = [
        ("retention", expire(shared)),
        ("the tidying of deduplication runs", tidy_runs(shared)),
        ("compaction", compact_once(shared, &throttle)),
        ("the building of roll-ups", build_once(shared, &throttle)),
        ("the merging of history", merge_history_once(shared, &throttle)),
    ];
    let mut worked = false;
    for (name, outcome) in steps {
        worked |= note(name, outcome);
    }
    // Days at rest can wait for everything else.
    worked || note("the settling of days", settle_once(shared, &throttle))
}

fn note(name: &str, outcome: StoreResult<bool>) -> bool {
    outcome.unwrap_or_else(|error| {
        tracing::error!(error = error.chain(), "{name} failed and is tried again later");
        false
    })
}

/// Everything about one dataset that planning needs.
struct Facts {
    id: DatasetId,
    dataset: Arc<Dataset>,
    segments: Vec<Arc<Segment>>,
    history: Vec<Arc<Sidecar>>,
    tombstones: Vec<Arc<Tombstone>>,
    rest: Rest,
    /// The hash of what the dataset declares today.
    derived_for: u64,
}

impl Facts {
    fn segment(&self, id: SegmentId) -> Option<&Arc<Segment>> {
        self.segments.iter().find(|segment| segment.meta().id == id)
    }

    /// A segment's sidecar is what would be derived today, deletes included.
    fn is_current(&self, segment: &Segment) -> bool {
        let meta = segment.meta();
        let applied = segment.sidecar_entry().map_or(Lsn(0), |sidecar| sidecar.tombstones_applied());
        segment.derived_for() == self.derived_for
            && !self
                .tombstones
                .iter()
                .any(|tombstone| tombstone.lsn > applied && tombstone.is_pending_in(meta))
    }

    fn metas(&self) -> Vec<SegmentMeta> {
        self.segments.iter().map(|segment| segment.meta().clone()).collect()
    }
}

fn facts(shared: &Shared) -> Vec<Facts> {
    let state = shared.state();
    let datasets = state.datasets();
    datasets
        .map(|(id, dataset)| Facts {
            id,
            dataset: Arc::clone(&dataset.dataset),
            segments: dataset.segments.clone(),
            history: dataset.history.clone(),
            derived_for: derived_for(&dataset.dataset),
            tombstones: dataset.tombstones.clone(),
            rest: Rest::of(dataset, shared.opened),
        })
        .collect()
}

fn metas(facts: &[Facts]) -> Vec<SegmentMeta> {
    facts.iter().flat_map(Facts::metas).collect()
}

/// The next compaction over all datasets.
pub fn next_compaction(shared: &Shared) -> Option<CompactionJob> {
    let facts = facts(shared);
    let metas = metas(&facts);
    let tombstones: Vec<(DatasetId, Arc<Tombstone>)> = facts
        .iter()
        .flat_map(|facts| facts.tombstones.iter().map(|tombstone| (facts.id, Arc::clone(tombstone))))
        .collect();
    plan_compaction(&metas, &tombstones, &shared.config.compaction)
}

/// How many days wait to become one segment.
pub fn days_in_parts(shared: &Shared) -> u64 {
    settling_pending(&metas(&facts(shared)), &shared.config.compaction)
}

/// Does the next compaction, if there is one.
fn compact_once(shared: &Shared, throttle: &dyn Fn() -> ControlFlow<()>) -> StoreResult<bool> {
    let Some(job) = next_compaction(shared) else { return forget_tombstones(shared) };
    compact(shared, job, throttle)
}

/// Makes one segment of a day at rest, if there is one and nothing else to compact.
fn settle_once(shared: &Shared, throttle: &dyn Fn() -> ControlFlow<()>) -> StoreResult<bool> {
    if next_compaction(shared).is_some() {
        return Ok(false);
    }
    let facts = facts(shared);
    let rests: BTreeMap<DatasetId, &Rest> = facts.iter().map(|facts| (facts.id, &facts.rest)).collect();
    let now_us = shared.clock.now().0;
    let Some(job) = plan_settling(&metas(&facts), &rests, now_us, &shared.config.compaction) else {
        return Ok(false);
    };
    compact(shared, job, throttle)
}

fn compact(shared: &Shared, job: CompactionJob, throttle: &dyn Fn() -> ControlFlow<()>) -> StoreResult<bool> {
    let Some(facts) = facts(shared).into_iter().find(|facts| facts.id == job.dataset) else {
        return Ok(false);
    };
    let inputs: Vec<Arc<Segment>> =
        facts.segments.iter().filter(|segment| job.inputs.contains(&segment.meta().id)).cloned().collect();
    let next_id = || shared.take_segment_id();
    let merged =
        merge_segments(&shared.files, &facts.dataset, &inputs, &facts.tombstones, &next_id, throttle)?;
    let Some(units) = merged else { return Ok(false) };
    let open = |unit: Written| unit.open(&shared.files, &facts.dataset);
    let new = units.into_iter().map(open).collect::<StoreResult<Vec<_>>>()?;
    swap(shared, job.dataset, Swap { old: job.inputs, new, ..Swap::default() })?;
    shared.counters.compacted();
    forget_tombstones(shared)?;
    Ok(true)
}

/// Forgets deletes that no segment, no history and no row in memory needs any more.
fn forget_tombstones(shared: &Shared) -> StoreResult<bool> {
    let _change = shared.change();
    let mut settled: Vec<(DatasetId, Lsn)> = Vec::new();
    {
        let state = shared.state();
        for (id, dataset) in state.datasets() {
            let old = dataset.tombstones.iter().filter(|tombstone| tombstone.lsn <= state.flushed());
            let done = old.filter(|tombstone| {
                !dataset.segments.iter().any(|segment| tombstone.is_pending_in(segment.meta()))
                    && !dataset.history.iter().any(|sidecar| sidecar.is_pending(tombstone))
            });
            settled.extend(done.map(|tombstone| (id, tombstone.lsn)));
        }
    }
    if settled.is_empty() {
        return Ok(false);
    }
    let remove_tombstones = settled.iter().map(|(_, lsn)| *lsn).collect();
    let change = CatalogChange { remove_tombstones, ..CatalogChange::default() };
    shared.catalog.apply(&change).inspect_err(|error| shared.poison(error))?;
    let mut state = shared.state();
    for (id, lsn) in settled {
        if let Some(dataset) = state.dataset_mut(id) {
            dataset.tombstones.retain(|tombstone| tombstone.lsn != lsn);
        }
    }
    shared.publish(&mut state);
    Ok(false)
}

/// Forgets runs outside the window, then merges neighbours once.
fn tidy_runs(shared: &Shared) -> StoreResult<bool> {
    let config = &shared.config;
    let limits = RunLimits {
        window_us: config.dedup_window_us,
        ids_max: config.ids_max,
        tokens_max: config.tokens_max,
    };
    let listed = listed_runs(shared);
    let expired = expired_runs(&listed, &limits, shared.clock.now().0);
    if !expired.is_empty() {
        swap_runs(shared, &expired, None)?;
        return Ok(true);
    }
    let Some(inputs) = plan_run_merge(&listed, &limits) else { return Ok(false) };
    let (id, runs) = {
        let mut dedup = shared.dedup();
        let find = |id: &u64| dedup.runs().find(|run| run.facts().id == *id).cloned();
        let runs: Vec<_> = inputs.iter().filter_map(find).collect();
        (dedup.take_run_id(), runs)
    };
    let path = paths::run_path(&config.data_dir, id);
    let merged = merge_runs(&shared.disk, path, id, &runs, config.ids_max)?;
    let dir = paths::run_dir(&config.data_dir);
    shared.disk.sync_dir(&dir).map_err(StoreError::io("sync", &dir))?;
    swap_runs(shared, &inputs, Some(Arc::new(merged)))?;
    Ok(true)
}

/// Runs the catalog names: those of unflushed records are not ours to touch.
fn listed_runs(shared: &Shared) -> Vec<RunFacts> {
    let dedup = shared.dedup();
    dedup.listed_runs().map(|run| *run.facts()).collect()
}

fn swap_runs(shared: &Shared, old: &[u64], merged: Option<Arc<crate::dedup::Run>>) -> StoreResult<()> {
    let _change = shared.change();
    let change = CatalogChange {
        next_run: Some(shared.dedup().next_run_id()),
        add_runs: merged.iter().map(|run| RunRow::of(run.facts())).collect(),
        remove_runs: old.to_vec(),
        ..CatalogChange::default()
    };
    shared.catalog.apply(&change).inspect_err(|error| shared.poison(error))?;
    shared.dedup().replace(old, merged);
    for id in old {
        let path = paths::run_path(&shared.config.data_dir, *id);
        if let Err(error) = shared.disk.remove(&path) {
            tracing::warn!(path = %path.display(), %error, "a replaced run stays until the next start");
        }
    }
    Ok(())
}
