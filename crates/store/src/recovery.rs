//! Opening a store: lock, catalog, stray files, segments, runs, replay of the log, in this order.
//!
//! After it the memtable holds exactly the records above the flushed LSN, and the next record begins a new log file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hashbrown::{HashMap, HashSet};
use tidewater_columns::codec;
use tidewater_model::schema::{Dataset, DatasetId};
use tidewater_model::time::Timestamp;

use crate::catalog::{Catalog, CatalogContent, TombstoneRow};
use crate::chunk::Run as RowRun;
use crate::clock::Clock;
use crate::config::StoreConfig;
use crate::dedup::{self, Dedup, DedupLimits, Run, TokenEntry};
use crate::disk::{Disk, DiskRef};
use crate::error::{StoreError, StoreResult};
use crate::flush;
use crate::log::{DeleteRecord, LogCheck, LogReader, Record, RowsRecord};
use crate::memtable::Gathered;
use crate::paths;
use crate::segment::{FOOTER_BYTES_MAX, Segment, SegmentFiles, SegmentId};
use crate::shared::{Parts, Shared};
use crate::sidecar::{Sidecar, SidecarMeta};
use crate::state::{DatasetState, State};
use crate::version::Lsn;
use crate::writer::{FlushJob, LogPosition, drop_rows};

/// Keeps other processes out while it lives.
pub type LockGuard = Box<dyn Send + Sync>;

/// An opened store before its threads start.
pub struct Recovered {
    /// Everything shared.
    pub shared: Arc<Shared>,
    /// Where the log goes on.
    pub log: LogPosition,
    /// The data folder's lock.
    pub lock: LockGuard,
}

/// Opens the folder of a store.
pub fn recover(config: StoreConfig, disk: DiskRef, clock: Arc<dyn Clock>) -> StoreResult<Recovered> {
    let started = Instant::now();
    let data_dir = config.data_dir.clone();
    for dir in
        [&data_dir, &paths::log_dir(&data_dir), &paths::run_dir(&data_dir), &paths::datasets_dir(&data_dir)]
    {
        disk.create_dir_all(dir).map_err(StoreError::io("make", dir))?;
    }
    let lock = lock(disk.as_ref(), &data_dir)?;
    let catalog = Catalog::open(&disk, &data_dir)?;
    let content = catalog.load()?;
    let files = SegmentFiles::new(Arc::clone(&disk), data_dir.clone(), FOOTER_BYTES_MAX);
    let (state, known_paths) = load_state(&content, &files)?;
    let runs = open_runs(&disk, &data_dir, &content)?;
    remove_strays(disk.as_ref(), &data_dir, &known_paths, &runs)?;
    let limits = DedupLimits {
        recent_ids_max: config.recent_ids_max,
        recent_token_bytes_max: config.recent_token_bytes_max,
        window_us: config.dedup_window_us,
        ids_max: config.ids_max,
    };
    let dedup = Dedup::new(Arc::clone(&disk), data_dir.clone(), limits, runs, content.next_run);
    let shared = Shared::new(Parts {
        config,
        disk,
        clock,
        store_id: content.store_id,
        dedup_seed: content.dedup_seed,
        catalog,
        files,
        dedup,
        state,
        next_segment: content.next_segment,
        next_dataset: content.next_dataset,
    });
    shared.look_at_disk();
    let mut replay = Replay::new(&shared);
    let check = LogReader::new(shared.disk.as_ref(), &data_dir, content.flushed)
        .read(|lsn, path, offset, bytes| replay.record(lsn, path, offset, bytes))?;
    replay.show()?;
    let (last, rows) = (replay.last, replay.rows);
    tidy_log(shared.disk.as_ref(), &data_dir, &check)?;
    let seconds = started.elapsed().as_secs_f64();
    shared.replay.0.store(seconds.to_bits(), Ordering::Relaxed);
    shared.replay.1.store(rows, Ordering::Relaxed);
    tracing::info!(records = check.records, rows, seconds, "the store is open");
    let log_bytes = check.files.iter().map(|file| file.good_bytes).sum();
    Ok(Recovered { shared, log: LogPosition::after(last, log_bytes), lock })
}

/// Takes the lock of a data folder.
pub fn lock(disk: &dyn Disk, data_dir: &Path) -> StoreResult<LockGuard> {
    let path = paths::lock_path(data_dir);
    disk.lock(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::WouldBlock => StoreError::Locked { path },
        _ => StoreError::Io { operation: "lock", path, source },
    })
}

fn load_state(
    content: &CatalogContent,
    files: &Arc<SegmentFiles>,
) -> StoreResult<(State, HashSet<std::path::PathBuf>)> {
    let mut state = State::new(content.store_id, content.flushed);
    for (id, row) in &content.datasets {
        let dataset = Dataset::compile(&row.name, row.definition.clone()).map_err(StoreError::Schema)?;
        let mut known = DatasetState::new(Arc::new(dataset));
        known.lost_until_us = row.lost_until_us;
        state.insert(*id, known);
    }
    let mut known_paths = HashSet::new();
    let mut sidecars: HashMap<SegmentId, &SidecarMeta> = HashMap::new();
    for meta in &content.sidecars {
        let Some(segment) = meta.segment else {
            let Some(dataset) = state.dataset_mut(meta.dataset) else { continue };
            let sidecar = Sidecar::open(files, &dataset.dataset, meta.clone())?;
            known_paths.extend(sidecar.path().map(Path::to_owned));
            dataset.history.push(sidecar);
            continue;
        };
        sidecars.insert(segment, meta);
    }
    for meta in &content.segments {
        let Some(dataset) = state.dataset_mut(meta.dataset) else { continue };
        let sidecar = sidecars.remove(&meta.id).cloned();
        let segment = Segment::open(files, &dataset.dataset, meta.clone(), sidecar)?;
        known_paths.insert(segment.path().to_owned());
        known_paths.extend(segment.sidecar().and_then(|sidecar| sidecar.path()).map(Path::to_owned));
        dataset.segments.push(segment);
    }
    if let Some(orphan) = sidecars.values().next() {
        let (table, key) = ("sidecars", orphan.id.to_string());
        return Err(StoreError::CatalogRow { table, key, reason: "its segment is not listed".to_owned() });
    }
    for (lsn, row) in &content.tombstones {
        let Some(dataset) = state.dataset_mut(DatasetId(row.dataset)) else { continue };
        let tombstone = crate::writer::tombstone(&dataset.dataset, *lsn, &delete_record(row)?)?;
        dataset.tombstones.push(tombstone);
    }
    let mut latest: BTreeMap<DatasetId, HashMap<_, _>> = BTreeMap::new();
    for (id, project, lsn) in &content.latest {
        latest.entry(*id).or_default().insert(project.clone(), *lsn);
    }
    for (id, map) in latest {
        if let Some(dataset) = state.dataset_mut(id) {
            dataset.latest = Arc::new(map);
        }
    }
    Ok((state, known_paths))
}

/// A stored delete in the form of the log.
pub fn delete_record(row: &TombstoneRow) -> StoreResult<DeleteRecord> {
    let project = tidewater_model::names::ProjectName::new(&row.project).map_err(|error| {
        StoreError::CatalogRow { table: "tombstones", key: row.project.clone(), reason: error.to_string() }
    })?;
    Ok(DeleteRecord {
        dataset: DatasetId(row.dataset),
        project,
        accepted_us: 0,
        from_us: row.from_us,
        to_us: row.to_us,
        filter: Arc::from(row.filter.as_str()),
    })
}

fn open_runs(disk: &DiskRef, data_dir: &Path, content: &CatalogContent) -> StoreResult<Vec<Arc<Run>>> {
    let rows = content.runs.iter();
    rows.map(|row| Run::open(disk, paths::run_path(data_dir, row.id), row.id).map(Arc::new)).collect()
}

/// Removes what a crash left: temporary files, segments, sidecars and runs the catalog does not name.
fn remove_strays(
    disk: &dyn Disk,
    data_dir: &Path,
    known: &HashSet<std::path::PathBuf>,
    runs: &[Arc<Run>],
) -> StoreResult<()> {
    let list = |dir: &Path| disk.list(dir).map_err(StoreError::io("list", dir));
    let mut strays = Vec::new();
    let is_temporary =
        |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "tmp");
    strays.extend(list(data_dir)?.into_iter().filter(is_temporary));
    for path in list(&paths::run_dir(data_dir))? {
        if !runs.iter().any(|run| run.path() == path) {
            strays.push(path);
        }
    }
    for dataset in list(&paths::datasets_dir(data_dir))? {
        for kind in ["raw", "rollup"] {
            for day in list(&dataset.join(kind))? {
                strays.extend(list(&day)?.into_iter().filter(|path| !known.contains(path)));
            }
        }
    }
    for path in strays {
        disk.remove(&path).map_err(StoreError::io("remove", &path))?;
    }
    Ok(())
}

/// Cuts torn tails and removes files without records that count, so that every later start finds whole records only.
fn tidy_log(disk: &dyn Disk, data_dir: &Path, check: &LogCheck) -> StoreResult<()> {
    let empty = check.files.iter().filter(|file| file.last < file.first).map(|file| &file.path);
    let useless: Vec<_> = check.unborn.iter().chain(&check.obsolete).chain(empty).collect();
    for path in &useless {
        disk.remove(path).map_err(StoreError::io("remove", path))?;
    }
    if !useless.is_empty() {
        let dir = paths::log_dir(data_dir);
        disk.sync_dir(&dir).map_err(StoreError::io("sync", &dir))?;
    }
    for file in check.files.iter().filter(|file| file.last >= file.first) {
        if file.torn_bytes > 0 {
            let path = file.path.display();
            tracing::warn!(%path, offset = file.good_bytes, bytes = file.torn_bytes, "cut a write that a crash tore");
        }
        let open = disk.open(&file.path).map_err(StoreError::io("open", &file.path))?;
        let is_longer = open.len().map_err(StoreError::io("open", &file.path))? > file.good_bytes;
        if is_longer {
            open.set_len(file.good_bytes).map_err(StoreError::io("cut", &file.path))?;
            open.sync_data().map_err(StoreError::io("sync", &file.path))?;
        }
    }
    Ok(())
}

/// The memtable while it is rebuilt.
struct Replay<'a> {
    shared: &'a Arc<Shared>,
    gathered: BTreeMap<DatasetId, Gathered>,
    rows: u64,
    last: Lsn,
}

impl<'a> Replay<'a> {
    fn new(shared: &'a Arc<Shared>) -> Self {
        let last = shared.state().flushed();
        Replay { shared, gathered: BTreeMap::new(), rows: 0, last }
    }

    fn record(&mut self, lsn: Lsn, path: &Path, offset: u64, content: &[u8]) -> StoreResult<()> {
        let damaged = |reason: &str| StoreError::Damaged {
            path: path.to_owned(),
            offset,
            reason: format!("record {}: {reason}", lsn.0),
        };
        let record = Record::decode(content).map_err(damaged)?;
        self.last = lsn;
        match record {
            Record::Rows(rows) => self.rows(lsn, rows).map_err(|error| match error {
                ReplayError::Codec(reason) => damaged(&reason),
                ReplayError::Store(error) => error,
            })?,
            Record::Delete(delete) => self.delete(lsn, &delete)?,
        }
        let bytes: usize = self.gathered.values().map(Gathered::memory_bytes).sum();
        if bytes as u64 >= self.shared.config.memtable_bytes_max {
            self.flush()?;
        }
        Ok(())
    }

    fn rows(&mut self, lsn: Lsn, record: RowsRecord<'_>) -> Result<(), ReplayError> {
        let head = &record.head;
        let Some(dataset) = self.shared.state().dataset(head.dataset).map(|state| Arc::clone(&state.dataset))
        else {
            return Ok(());
        };
        let accepted = Timestamp(head.accepted_us);
        if let Some(token) = head.token {
            let entry = TokenEntry {
                body_hash: token.body_hash,
                lsn,
                accepted: head.accepted,
                duplicates: head.duplicates,
                extra: record.extra.clone().into_boxed_slice(),
            };
            self.shared.dedup().remember_token(token.token_hash, entry, accepted)?;
        }
        if head.accepted == 0 {
            return Ok(());
        }
        let batch = codec::decode(record.payload).map_err(|error| ReplayError::Codec(error.to_string()))?;
        let fits = batch.rows() == head.accepted as usize + record.dropped.len();
        if !fits || record.dropped.iter().any(|position| *position as usize >= batch.rows()) {
            return Err(ReplayError::Codec("the number of rows does not add up".to_owned()));
        }
        if let Some(ids) = dataset.id.and_then(|id| batch.column(id)) {
            let ids = dedup::hash_ids(self.shared.dedup_seed, head.dataset, &head.project, ids);
            self.shared.dedup().replay_ids(ids.into_iter().flatten(), accepted)?;
        }
        let batch = drop_rows(batch, &record.dropped);
        self.rows += batch.rows() as u64;
        let run = RowRun { project: head.project.clone(), lsn, rows: batch.rows() as u32 };
        self.gathered.entry(head.dataset).or_default().push(run, batch);
        Ok(())
    }

    fn delete(&mut self, lsn: Lsn, record: &DeleteRecord) -> StoreResult<()> {
        let mut state = self.shared.state();
        let Some(dataset) = state.dataset_mut(record.dataset) else { return Ok(()) };
        let tombstone = crate::writer::tombstone(&dataset.dataset, lsn, record)?;
        dataset.tombstones.push(tombstone);
        Ok(())
    }

    /// Puts what was gathered into the snapshot.
    fn show(&mut self) -> StoreResult<()> {
        let mut chunks = Vec::new();
        for (id, gathered) in std::mem::take(&mut self.gathered) {
            chunks.extend(gathered.finish().into_iter().map(|chunk| (id, chunk)));
        }
        let mut state = self.shared.state();
        state.commit(chunks, Vec::new(), self.last);
        self.shared.publish(&mut state);
        drop(state);
        self.shared.committed(self.last);
        Ok(())
    }

    /// The log holds more than fits into memory: flushes what was replayed so far. The log stays until the next flush.
    fn flush(&mut self) -> StoreResult<()> {
        self.show()?;
        let dedup = self.shared.dedup().freeze();
        self.shared.state().freeze();
        flush::flush(self.shared, &FlushJob { through: self.last, dedup, waiters: Vec::new() })?;
        Ok(())
    }
}

enum ReplayError {
    Codec(String),
    Store(StoreError),
}

impl From<StoreError> for ReplayError {
    fn from(error: StoreError) -> Self {
        ReplayError::Store(error)
    }
}
