//! The façade: everything the layers above may ask of a store.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidewater_aggregate::derived_for;
use tidewater_columns::codec;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{Dataset, DatasetDefinition, DatasetId};

use crate::backup;
use crate::catalog::{CatalogChange, DatasetRow};
use crate::clock::Clock;
use crate::config::StoreConfig;
use crate::dedup;
use crate::disk::DiskRef;
use crate::error::{StoreError, StoreResult};
use crate::flush::run_flusher;
use crate::log::DeleteRecord;
use crate::maintenance::{self, RollupStatus, Stop, days_in_parts, next_compaction, run_maintenance, settle};
use crate::paths;
use crate::recovery::{LockGuard, Recovered, recover};
use crate::shared::{CommitHook, Shared};
use crate::snapshot::Snapshot;
use crate::state::DatasetState;
use crate::stats::StoreStats;
use crate::verify::{VerifyReport, verify_shared};
use crate::version::{Lsn, StoreId};
use crate::writer::{Append, Delete, Done, Preparer, Refused, RowsSubmission, Submission, run_committer};

/// An open store. Clones share it; the last one to go stops its threads without a flush, which loses nothing.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    threads: Arc<Threads>,
}

/// The store's threads and the lock of its folder.
struct Threads {
    shared: Arc<Shared>,
    stop: Arc<Stop>,
    handles: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<LockGuard>>,
}

impl Store {
    /// Opens the store in `config.data_dir`, or makes one: lock, recovery, then the threads.
    pub fn open(config: StoreConfig, disk: DiskRef, clock: Arc<dyn Clock>) -> StoreResult<Store> {
        let Recovered { shared, log, lock } = recover(config, disk, clock)?;
        let stop = Arc::new(Stop::default());
        let (flusher, jobs) = mpsc::channel();
        let preparer = Preparer::new(Arc::clone(&shared), log);
        let (committing, flushing, tidying) = (Arc::clone(&shared), Arc::clone(&shared), Arc::clone(&shared));
        let (stopping, ending) = (Arc::clone(&stop), Arc::clone(&stop));
        let handles = vec![
            spawn("store-prepare", move || preparer.run())?,
            spawn("store-commit", move || run_committer(&committing, &flusher))?,
            spawn("store-flush", move || run_flusher(&flushing, &jobs, &ending))?,
            spawn("store-tidy", move || run_maintenance(&tidying, &stopping))?,
        ];
        let threads = Threads {
            shared: Arc::clone(&shared),
            stop,
            handles: Mutex::new(handles),
            lock: Mutex::new(Some(lock)),
        };
        Ok(Store { shared, threads: Arc::new(threads) })
    }

    /// Hands in rows. Encoding happens in the caller's thread; the outcome comes through `append.done`.
    pub fn submit(&self, append: Append) {
        match self.encode(append) {
            Ok(submission) => self.push(submission),
            Err((error, done)) => done(Err(error)),
        }
    }

    fn encode(&self, append: Append) -> Result<Submission, (StoreError, Done)> {
        let Append { dataset: id, project, batch, token, extra, in_background, done } = append;
        if let Err(error) = self.check_writable() {
            return Err((error, done));
        }
        let snapshot = self.shared.snapshot();
        let Some(view) = snapshot.view(id) else { return Err((StoreError::UnknownDataset, done)) };
        let seed = self.shared.dedup_seed;
        let ids = view.dataset.id.and_then(|column| batch.column(column));
        let ids = ids.map_or_else(Vec::new, |ids| dedup::hash_ids(seed, id, &project, ids));
        let token = token.map(|token| crate::log::Token {
            token_hash: dedup::hash_token(seed, id, &project, token.token_hash),
            ..token
        });
        let mut payload = Vec::new();
        codec::encode(&batch, &mut payload);
        let submitted = Instant::now();
        let rows = RowsSubmission {
            dataset: id,
            project,
            batch,
            ids,
            token,
            extra,
            payload,
            in_background,
            submitted,
            done,
        };
        Ok(Submission::Rows(Box::new(rows)))
    }

    /// Hides rows from every later snapshot; they leave the disk with the next compaction of their segments.
    pub fn delete(&self, delete: Delete) {
        let Delete { dataset, project, from_us, to_us, filter, done } = delete;
        let Some(view) = self.shared.snapshot().view(dataset).cloned() else {
            return done(Err(StoreError::UnknownDataset));
        };
        let filter: Arc<str> =
            Arc::from(tidewater_model::filter::to_json(&filter, &view.dataset).to_string());
        let record = DeleteRecord { dataset, project, accepted_us: 0, from_us, to_us, filter };
        // Compiled once more by the writer, with its LSN; here it is only checked before it waits in the queue.
        match crate::writer::tombstone(&view.dataset, Lsn(0), &record) {
            Ok(_) => self.push(Submission::Delete(record, done)),
            Err(error) => done(Err(error)),
        }
    }

    fn push(&self, submission: Submission) {
        let Err(refused) = self.shared.queue.push(submission, self.shared.config.queue_bytes_max) else {
            return;
        };
        let Refused { error, submission } = *refused;
        if matches!(error, StoreError::Full) {
            self.shared.counters.refused_full();
        }
        match submission {
            Submission::Rows(rows) => (rows.done)(Err(error)),
            Submission::Delete(_, done) => done(Err(error)),
            Submission::Flush(waiter) => waiter(Err(error)),
        }
    }

    /// Rows are accepted: not poisoned, and the disk has more than its reserve.
    pub fn check_writable(&self) -> StoreResult<()> {
        self.shared.health.check()?;
        let free_bytes = self.shared.disk_free_bytes.load(Ordering::Relaxed);
        let min_bytes = self.shared.config.disk_free_min_bytes;
        if free_bytes < min_bytes {
            self.shared.counters.refused_disk();
            return Err(StoreError::DiskFull { free_bytes, min_bytes });
        }
        Ok(())
    }

    /// The latest state: a pointer copy.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot()
    }

    /// Waits until a record is visible; false when the time is over.
    pub fn wait_for(&self, lsn: Lsn, timeout: Duration) -> bool {
        self.shared.wait_for(lsn, timeout)
    }

    /// Calls `hook` after every commit with its last record, on the writing thread: it must be quick, and must not hold
    /// the store itself, or the store never ends.
    pub fn on_commit(&self, hook: CommitHook) {
        self.shared.set_hook(hook);
    }

    /// The store's random identity.
    pub fn id(&self) -> StoreId {
        self.shared.store_id
    }

    /// Creates a dataset, or widens the one of that name.
    pub fn put_dataset(
        &self,
        name: &str,
        definition: DatasetDefinition,
    ) -> StoreResult<(DatasetId, Arc<Dataset>)> {
        let _change = self.shared.change();
        self.shared.health.check()?;
        let known = self.dataset(name);
        let dataset = match &known {
            Some((_, dataset)) => dataset.widen(definition),
            None => Dataset::compile(name, definition),
        };
        let dataset = Arc::new(dataset.map_err(StoreError::Schema)?);
        let (id, next_dataset) = match known {
            Some((id, known)) if *known == *dataset => return Ok((id, known)),
            Some((id, _)) => (id, None),
            None => {
                let id = self.shared.next_dataset.load(Ordering::Relaxed);
                (DatasetId(id), Some(id + 1))
            }
        };
        let lost_until_us = self.shared.state().dataset(id).and_then(|known| known.lost_until_us);
        let row = DatasetRow { name: name.to_owned(), definition: dataset.definition.clone(), lost_until_us };
        let change =
            CatalogChange { put_datasets: vec![(id, row)], next_dataset, ..CatalogChange::default() };
        self.apply(&change)?;
        if let Some(next) = next_dataset {
            self.shared.next_dataset.store(next, Ordering::Relaxed);
        }
        let mut state = self.shared.state();
        match state.dataset_mut(id) {
            Some(known) => known.dataset = Arc::clone(&dataset),
            None => state.insert(id, DatasetState::new(Arc::clone(&dataset))),
        }
        self.shared.publish(&mut state);
        Ok((id, dataset))
    }

    /// Removes a dataset with all its rows; false when there is none of that name.
    pub fn drop_dataset(&self, name: &str) -> StoreResult<bool> {
        let _change = self.shared.change();
        self.shared.health.check()?;
        let mut change = CatalogChange::default();
        let id = {
            let state = self.shared.state();
            let Some((id, dataset)) = state.find(name) else { return Ok(false) };
            change.remove_datasets = vec![id];
            change.remove_segments = dataset.segments.iter().map(|segment| segment.meta().id).collect();
            let beside = dataset.segments.iter().filter_map(|segment| segment.sidecar_entry());
            let sidecars = beside.chain(&dataset.history);
            change.remove_sidecars = sidecars.map(|sidecar| sidecar.meta().id).collect();
            change.remove_tombstones = dataset.tombstones.iter().map(|tombstone| tombstone.lsn).collect();
            id
        };
        self.apply(&change)?;
        let mut state = self.shared.state();
        let removed = state.remove(id);
        self.shared.publish(&mut state);
        if let Some(dataset) = &removed {
            dataset.segments.iter().for_each(|segment| segment.mark_replaced());
            dataset.history.iter().for_each(|sidecar| sidecar.mark_replaced());
        }
        Ok(true)
    }

    /// A dataset by name.
    pub fn dataset(&self, name: &str) -> Option<(DatasetId, Arc<Dataset>)> {
        let snapshot = self.shared.snapshot();
        snapshot.view_named(name).map(|view| (view.id, Arc::clone(&view.dataset)))
    }

    /// All datasets, by id.
    pub fn datasets(&self) -> Vec<(DatasetId, Arc<Dataset>)> {
        self.shared.snapshot().views().map(|view| (view.id, Arc::clone(&view.dataset))).collect()
    }

    /// Every project that has rows, in order.
    pub fn projects(&self) -> Vec<ProjectName> {
        let snapshot = self.shared.snapshot();
        let mut projects: Vec<ProjectName> = snapshot.views().flat_map(|view| view.projects()).collect();
        projects.sort_unstable();
        projects.dedup();
        projects
    }

    /// Stores a small record of a layer above (a key, a job) durably. A space is a name of that layer.
    pub fn kv_put(&self, space: &str, key: &str, value: &[u8]) -> StoreResult<()> {
        let kv_put = vec![(space.to_owned(), key.to_owned(), value.to_vec())];
        self.apply(&CatalogChange { kv_put, ..CatalogChange::default() })
    }

    /// Stores such records of one space in one transaction.
    pub fn kv_put_many(&self, space: &str, records: Vec<(String, Vec<u8>)>) -> StoreResult<()> {
        let kv_put = records.into_iter().map(|(key, value)| (space.to_owned(), key, value)).collect();
        self.apply(&CatalogChange { kv_put, ..CatalogChange::default() })
    }

    /// Reads such a record.
    pub fn kv_get(&self, space: &str, key: &str) -> StoreResult<Option<Vec<u8>>> {
        self.shared.catalog.kv_get(space, key)
    }

    /// All records of a space, in order of their keys.
    pub fn kv_list(&self, space: &str) -> StoreResult<Vec<(String, Vec<u8>)>> {
        self.shared.catalog.kv_list(space)
    }

    /// Removes such a record.
    pub fn kv_delete(&self, space: &str, key: &str) -> StoreResult<()> {
        let kv_remove = vec![(space.to_owned(), key.to_owned())];
        self.apply(&CatalogChange { kv_remove, ..CatalogChange::default() })
    }

    fn apply(&self, change: &CatalogChange) -> StoreResult<()> {
        self.shared.health.check()?;
        self.shared.catalog.apply(change).inspect_err(|error| self.shared.poison(error))
    }

    /// Writes everything submitted so far into segments; returns when that is done.
    pub fn flush(&self) -> StoreResult<()> {
        self.begin_flush().recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Flushes, then does all compaction and retention that is due, in the caller's thread.
    pub fn settle(&self) -> StoreResult<()> {
        self.flush()?;
        settle(&self.shared)
    }

    fn begin_flush(&self) -> mpsc::Receiver<StoreResult<()>> {
        let (sender, receiver) = mpsc::channel();
        self.push(Submission::Flush(Box::new(move |outcome| {
            // The caller may have given up waiting.
            let _ = sender.send(outcome);
        })));
        receiver
    }

    /// Why nothing more is written, where that is so.
    pub fn poisoned(&self) -> Option<Arc<str>> {
        self.shared.health.poisoned()
    }

    /// Bytes submitted and not yet answered.
    pub fn queue_bytes(&self) -> u64 {
        self.shared.queue.bytes()
    }

    /// The settings.
    pub fn config(&self) -> &StoreConfig {
        &self.shared.config
    }

    /// Numbers about the store now.
    pub fn stats(&self) -> StoreStats {
        let mut stats = StoreStats::default();
        self.shared.counters.read(&mut stats);
        self.read_state(&mut stats);
        {
            let dedup = self.shared.dedup();
            stats.dedup_ids = dedup.id_count();
            stats.dedup_bytes = dedup.memory_bytes() as u64;
            stats.dedup_window_us = dedup.oldest().map(|oldest| self.shared.clock.now().0 - oldest.0);
        }
        stats.queue_bytes = self.shared.queue.bytes();
        stats.log_bytes = log_bytes(&self.shared).unwrap_or(0);
        stats.footer_bytes = self.shared.files.footer_bytes() as u64;
        stats.compaction_pending = next_compaction(&self.shared).is_some();
        stats.settling_pending = days_in_parts(&self.shared);
        stats.disk_free_bytes = self.shared.disk_free_bytes.load(Ordering::Relaxed);
        stats.disk_total_bytes = self.shared.disk_total_bytes.load(Ordering::Relaxed);
        stats.poisoned = self.poisoned().map(|cause| cause.to_string());
        stats.replay_seconds = f64::from_bits(self.shared.replay.0.load(Ordering::Relaxed));
        stats.replay_rows = self.shared.replay.1.load(Ordering::Relaxed);
        stats
    }

    fn read_state(&self, stats: &mut StoreStats) {
        let state = self.shared.state();
        let [active, frozen] = state.memory();
        (stats.memtable_rows, stats.memtable_bytes) = (active.0 + frozen.0, active.1 + frozen.1);
        (stats.visible_lsn, stats.flushed_lsn) = (state.visible().0, state.flushed().0);
        for (_, dataset) in state.datasets() {
            stats.tombstones += dataset.tombstones.len() as u64;
            let wanted = derived_for(&dataset.dataset);
            for segment in &dataset.segments {
                stats.segments += 1;
                stats.segment_bytes += segment.meta().bytes;
                stats.segment_rows += segment.meta().rows;
                stats.rollup_bytes += segment.sidecar().map_or(0, |sidecar| sidecar.meta().bytes);
                stats.rollup_segments_pending += u64::from(segment.derived_for() != wanted);
            }
            for sidecar in &dataset.history {
                stats.history_files += 1;
                stats.history_bytes += sidecar.meta().bytes;
            }
        }
    }

    /// How far every declared roll-up is built, and what it takes.
    pub fn rollup_status(&self) -> Vec<RollupStatus> {
        let state = self.shared.state();
        state.datasets().flat_map(|(_, dataset)| maintenance::status(dataset)).collect()
    }

    /// Copies the store as it is now into an empty folder, while it goes on. The copy is a store of its own.
    pub fn backup(&self, target: &Path) -> StoreResult<()> {
        self.flush()?;
        backup::backup(&self.shared, target)
    }

    /// Reads everything on disk and reports what is damaged.
    pub fn verify(&self) -> StoreResult<VerifyReport> {
        verify_shared(&self.shared)
    }

    /// Takes no more writes, writes what waits, flushes, and stops the threads. The store can still be read.
    pub fn close(&self) -> StoreResult<()> {
        let flushed = self.begin_flush();
        self.threads.end();
        match flushed.recv() {
            Ok(Err(StoreError::Closed)) | Err(_) => Ok(()),
            Ok(outcome) => outcome,
        }
    }
}

impl Threads {
    fn end(&self) {
        self.shared.queue.close();
        self.stop.stop();
        let handles = std::mem::take(&mut *self.handles.lock().unwrap_or_else(PoisonError::into_inner));
        for handle in handles {
            if handle.thread().id() != std::thread::current().id() && handle.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> StoreResult<JoinHandle<()>> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map_err(StoreError::io("start a thread for", Path::new(name)))
}

fn log_bytes(shared: &Shared) -> std::io::Result<u64> {
    let files = shared.disk.list(&paths::log_dir(&shared.config.data_dir))?;
    files.iter().map(|path| shared.disk.open_read(path)?.len()).sum()
}
