//! The flush: frozen rows become segments with their sidecars in one catalog transaction, then their log goes.
//!
//! Order matters: files first and durable, then the catalog, then the snapshot, then removal of the log. A crash before the
//! catalog's commit leaves files nobody names, which start-up removes, and a log that is replayed; after it, log records
//! at or below the flushed LSN, which replay leaves out.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use hashbrown::HashMap;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{Dataset, DatasetId};

use crate::catalog::{CatalogChange, RunRow, TombstoneRow};
use crate::chunk::Chunk;
use crate::dedup::{Dedup, Run};
use crate::disk::Disk;
use crate::error::{StoreError, StoreResult};
use crate::maintenance::Stop;
use crate::os;
use crate::paths;
use crate::segment::{Segment, Unsorted, write_segments};
use crate::shared::Shared;
use crate::sidecar::Written;
use crate::state::State;
use crate::tombstone::Tombstone;
use crate::version::Lsn;
use crate::writer::FlushJob;

/// Wait between attempts of a flush that failed: the disk may have room again.
const RETRY_WAIT: Duration = Duration::from_secs(2);

/// Runs until the committer ends. A flush that fails before the catalog is touched loses nothing: who waits for it hears of
/// it, and it is tried until it works or the store ends.
pub fn run_flusher(shared: &Arc<Shared>, jobs: &Receiver<FlushJob>, stop: &Stop) {
    os::lower_thread_priority(os::NICE_FLUSH);
    while let Ok(mut job) = jobs.recv() {
        while let Err(error) = flush_and_tidy(shared, &job) {
            shared.counters.flushed(false);
            answer(&mut job, Err(&error));
            if shared.health.poisoned().is_some() || stop.is_stopped() {
                break;
            }
            tracing::error!(
                error = error.chain(),
                "a flush failed and is tried again; rows stay in memory and log"
            );
            stop.sleep(RETRY_WAIT);
        }
        answer(&mut job, Ok(()));
        shared.queue.set_flushing(false);
    }
}

fn answer(job: &mut FlushJob, outcome: Result<(), &StoreError>) {
    for waiter in job.waiters.drain(..) {
        waiter(outcome.map_err(|error| StoreError::Flush { cause: Arc::from(error.chain()) }));
    }
}

fn flush_and_tidy(shared: &Shared, job: &FlushJob) -> StoreResult<()> {
    shared.health.check()?;
    flush(shared, job)?;
    shared.counters.flushed(true);
    let removed = remove_log(shared.disk.as_ref(), &shared.config.data_dir, job.through);
    if let Err(error) = removed {
        tracing::warn!(error = error.chain(), "flushed log files stay until the next flush or start");
    }
    Ok(())
}

/// One dataset's part of a flush.
struct Part {
    id: DatasetId,
    dataset: Arc<Dataset>,
    chunks: Vec<Arc<Chunk>>,
    tombstones: Vec<Arc<Tombstone>>,
    /// About how many bytes a row takes in a segment, as far as there are any.
    row_bytes: Option<f64>,
}

/// Writes the frozen rows and what belongs to them. The log stays.
pub fn flush(shared: &Shared, job: &FlushJob) -> StoreResult<()> {
    let mut written = Vec::new();
    let runs = write_files(shared, job, &mut written);
    let outcome = runs.and_then(|runs| commit(shared, job, &written, runs));
    if outcome.is_err() && shared.health.poisoned().is_none() {
        for segments in written {
            segments.iter().for_each(|segment| segment.mark_replaced());
        }
    }
    outcome
}

fn write_files(
    shared: &Shared,
    job: &FlushJob,
    written: &mut Vec<Vec<Arc<Segment>>>,
) -> StoreResult<Vec<Arc<Run>>> {
    // Taken first: in the head of the loop the lock would be held until its end, and every commit would wait for the flush.
    let parts = parts(&shared.state());
    for part in parts {
        let next_id = || shared.take_segment_id();
        let unsorted = Unsorted {
            dataset_id: part.id,
            dataset: &part.dataset,
            chunks: &part.chunks,
            tombstones: &part.tombstones,
            row_bytes: part.row_bytes,
            forecasts: &shared.forecasts,
        };
        let units = write_segments(&shared.files, &unsorted, &next_id)?;
        let open = |unit: Written| unit.open(&shared.files, &part.dataset);
        written.push(units.into_iter().map(open).collect::<StoreResult<_>>()?);
    }
    write_runs(shared, job)
}

fn parts(state: &State) -> Vec<Part> {
    let frozen = state.datasets().filter(|(_, dataset)| !dataset.frozen.is_empty());
    frozen
        .map(|(id, dataset)| Part {
            id,
            dataset: Arc::clone(&dataset.dataset),
            chunks: dataset.frozen.clone(),
            tombstones: dataset.tombstones.clone(),
            row_bytes: row_bytes(&dataset.segments),
        })
        .collect()
}

fn row_bytes(segments: &[Arc<Segment>]) -> Option<f64> {
    let rows: u64 = segments.iter().map(|segment| segment.meta().rows).sum();
    let bytes: u64 = segments.iter().map(|segment| segment.meta().bytes).sum();
    (rows > 0).then(|| bytes as f64 / rows as f64)
}

/// Writes the frozen ids and tokens, and makes them and the runs before them durable. Returns the new ones.
fn write_runs(shared: &Shared, job: &FlushJob) -> StoreResult<Vec<Arc<Run>>> {
    let data_dir = &shared.config.data_dir;
    let next_run = || {
        let id = shared.dedup().take_run_id();
        (paths::run_path(data_dir, id), id)
    };
    let mut runs = Vec::new();
    if job.dedup.ids.len() > 0 {
        runs.extend(Dedup::write_ids(&shared.disk, next_run(), &job.dedup.ids, shared.config.ids_max)?);
    }
    if !job.dedup.tokens.is_empty() {
        let (path, id) = next_run();
        runs.push(job.dedup.tokens.write(&shared.disk, path, id)?);
    }
    let runs: Vec<Arc<Run>> = runs.into_iter().map(Arc::new).collect();
    let all = runs.iter().chain(&job.dedup.runs);
    let mut any = false;
    for run in all {
        run.sync()?;
        any = true;
    }
    if any {
        let dir = paths::run_dir(data_dir);
        shared.disk.sync_dir(&dir).map_err(StoreError::io("sync", &dir))?;
    }
    Ok(runs)
}

fn commit(
    shared: &Shared,
    job: &FlushJob,
    written: &[Vec<Arc<Segment>>],
    runs: Vec<Arc<Run>>,
) -> StoreResult<()> {
    let _change = shared.change();
    let live: Vec<Arc<Segment>> = {
        let state = shared.state();
        let segments = written.iter().flatten().cloned();
        // A dataset that was dropped meanwhile takes its new segments along.
        segments.filter(|segment| state.dataset(segment.meta().dataset).is_some()).collect()
    };
    let mut change = CatalogChange {
        flushed: Some(job.through),
        next_segment: Some(shared.next_segment()),
        next_run: Some(shared.dedup().next_run_id()),
        add_segments: live.iter().map(|segment| segment.meta().clone()).collect(),
        add_sidecars: live
            .iter()
            .filter_map(|segment| Some(segment.sidecar_entry()?.meta().clone()))
            .collect(),
        add_runs: runs.iter().chain(&job.dedup.runs).map(|run| RunRow::of(run.facts())).collect(),
        ..CatalogChange::default()
    };
    let settled = describe_tombstones(&shared.state(), &live, job.through, &mut change);
    change.latest = latest(&shared.state(), job.through);
    shared.catalog.apply(&change).inspect_err(|error| shared.poison(error))?;
    shared.dedup().thaw(&runs);
    show(shared, job.through, &live, &settled, &change.latest);
    for segment in written.iter().flatten().filter(|segment| !is_in(&live, segment)) {
        segment.mark_replaced();
    }
    Ok(())
}

fn is_in(segments: &[Arc<Segment>], segment: &Arc<Segment>) -> bool {
    segments.iter().any(|other| Arc::ptr_eq(other, segment))
}

/// Deletes up to the flushed record go into the catalog while rows they hide are left in segments or history; the others are
/// returned, to be forgotten.
fn describe_tombstones(
    state: &State,
    new: &[Arc<Segment>],
    through: Lsn,
    change: &mut CatalogChange,
) -> Vec<(DatasetId, Lsn)> {
    let mut settled = Vec::new();
    for (id, dataset) in state.datasets() {
        for tombstone in dataset.tombstones.iter().filter(|tombstone| tombstone.lsn <= through) {
            let new = new.iter().filter(|segment| segment.meta().dataset == id);
            let mut segments = dataset.segments.iter().chain(new);
            let is_pending = segments.any(|segment| tombstone.is_pending_in(segment.meta()))
                || dataset.history.iter().any(|sidecar| sidecar.is_pending(tombstone));
            if is_pending {
                change.add_tombstones.push((tombstone.lsn, TombstoneRow::of(id, tombstone)));
            } else {
                settled.push((id, tombstone.lsn));
            }
        }
    }
    change.remove_tombstones = settled.iter().map(|(_, lsn)| *lsn).collect();
    settled
}

/// The latest record per dataset and project among those that are flushed.
fn latest(state: &State, through: Lsn) -> Vec<(DatasetId, ProjectName, Lsn)> {
    let mut latest: HashMap<(DatasetId, ProjectName), Lsn> = HashMap::new();
    let mut note = |id: DatasetId, project: &ProjectName, lsn: Lsn| {
        let known = latest.entry((id, project.clone())).or_default();
        *known = (*known).max(lsn);
    };
    for (id, dataset) in state.datasets() {
        for chunk in &dataset.frozen {
            for (project, _) in chunk.projects() {
                note(id, project, chunk.latest(project).unwrap_or_default());
            }
        }
        for tombstone in dataset.tombstones.iter().filter(|tombstone| tombstone.lsn <= through) {
            note(id, &tombstone.project, tombstone.lsn);
        }
    }
    latest.into_iter().map(|((id, project), lsn)| (id, project, lsn)).collect()
}

fn show(
    shared: &Shared,
    through: Lsn,
    new: &[Arc<Segment>],
    settled: &[(DatasetId, Lsn)],
    latest: &[(DatasetId, ProjectName, Lsn)],
) {
    let now = shared.clock.now();
    let mut state = shared.state();
    let ids: Vec<DatasetId> = state.datasets().map(|(id, _)| id).collect();
    for id in ids {
        let Some(dataset) = state.dataset_mut(id) else { continue };
        dataset.frozen.clear();
        let own = new.iter().filter(|segment| segment.meta().dataset == id);
        dataset.day_flushed.extend(own.clone().map(|segment| (segment.meta().day, now)));
        dataset.segments.extend(own.cloned());
        dataset.tombstones.retain(|tombstone| !settled.contains(&(id, tombstone.lsn)));
        let mine: Vec<_> = latest.iter().filter(|(dataset, _, _)| *dataset == id).collect();
        if !mine.is_empty() {
            let known = Arc::make_mut(&mut dataset.latest);
            for (_, project, lsn) in mine {
                let place = known.entry(project.clone()).or_default();
                *place = (*place).max(*lsn);
            }
        }
    }
    state.set_flushed(through);
    shared.publish(&mut state);
}

/// Removes log files whose every record is flushed: each freeze begins a new file, so those that begin at or before it.
pub fn remove_log(disk: &dyn Disk, data_dir: &Path, flushed: Lsn) -> StoreResult<()> {
    let dir = paths::log_dir(data_dir);
    let mut removed = false;
    for path in disk.list(&dir).map_err(StoreError::io("list", &dir))? {
        if paths::log_first_lsn(&path).is_some_and(|first| first <= flushed) {
            disk.remove(&path).map_err(StoreError::io("remove", &path))?;
            removed = true;
        }
    }
    if removed {
        disk.sync_dir(&dir).map_err(StoreError::io("sync", &dir))?;
    }
    Ok(())
}
