//! The catalog: the one place that says which files count. A change of several things is one transaction.
//!
//! It is read once, when the store opens; from then on the state in memory leads and every change is written here before
//! it is shown. Not here: what the rows mean to a running store (`state`).

mod backend;
mod load;

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tidewater_model::names::ProjectName;
use tidewater_model::schema::DatasetId;

use crate::disk::{Disk, DiskRef, temporary_path};
use crate::error::{StoreError, StoreResult};
use crate::paths;
use crate::segment::{SegmentId, SegmentMeta};
use crate::sidecar::{SidecarId, SidecarMeta};
use crate::version::{Lsn, StoreId};

pub use load::{CatalogContent, DatasetRow, RunRow, TombstoneRow};

use backend::Backend;

/// The newest layout of the tables this build writes; it reads every earlier one.
pub const SCHEMA: u64 = 2;
/// Bytes redb may cache. The catalog is small, and read once.
const CACHE_BYTES: usize = 4 << 20;

/// Name → number; the names are the constants in [`meta`].
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Dataset id → JSON of [`DatasetRow`].
const DATASETS: TableDefinition<u32, &[u8]> = TableDefinition::new("datasets");
/// Segment id → `SegmentMeta::encode`.
const SEGMENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("segments");
/// Sidecar id → `SidecarMeta::encode`. Catalogs of schema 1 do not have it.
const SIDECARS: TableDefinition<u64, &[u8]> = TableDefinition::new("sidecars");
/// Run id → JSON of [`RunRow`].
const RUNS: TableDefinition<u64, &[u8]> = TableDefinition::new("runs");
/// LSN → JSON of [`TombstoneRow`].
const TOMBSTONES: TableDefinition<i64, &[u8]> = TableDefinition::new("tombstones");
/// (dataset id, project) → the latest flushed LSN that changed what the project sees of the dataset.
const LATEST: TableDefinition<(u32, &str), i64> = TableDefinition::new("latest");
/// (space, key) → value, for the layers above.
const KV: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("kv");

/// Keys of [`META`].
mod meta {
    pub const SCHEMA: &str = "schema";
    pub const STORE_ID: &str = "store_id";
    pub const DEDUP_SEED: &str = "dedup_seed";
    pub const FLUSHED: &str = "flushed_lsn";
    pub const NEXT_SEGMENT: &str = "next_segment";
    pub const NEXT_RUN: &str = "next_run";
    pub const NEXT_DATASET: &str = "next_dataset";
}

/// The open catalog.
#[derive(Debug)]
pub struct Catalog {
    database: Database,
}

/// What one transaction changes. Everything left at its default stays as it is.
#[derive(Debug, Default)]
pub struct CatalogChange {
    /// Records up to here are in segments.
    pub flushed: Option<Lsn>,
    /// A new identity, after a restore.
    pub store_id: Option<StoreId>,
    /// The seed of id hashes; set once.
    pub dedup_seed: Option<u64>,
    /// The least segment number not in use.
    pub next_segment: Option<u64>,
    /// The least run number not in use.
    pub next_run: Option<u64>,
    /// The least dataset id that no dataset ever had.
    pub next_dataset: Option<u32>,
    /// Datasets to write.
    pub put_datasets: Vec<(DatasetId, DatasetRow)>,
    /// Datasets to forget, with all that hangs on them except segments and sidecars.
    pub remove_datasets: Vec<DatasetId>,
    /// Segments that count from now on.
    pub add_segments: Vec<SegmentMeta>,
    /// Segments that no longer count.
    pub remove_segments: Vec<SegmentId>,
    /// Sidecars that count from now on.
    pub add_sidecars: Vec<SidecarMeta>,
    /// Sidecars that no longer count.
    pub remove_sidecars: Vec<SidecarId>,
    /// Runs that count from now on.
    pub add_runs: Vec<RunRow>,
    /// Runs that no longer count.
    pub remove_runs: Vec<u64>,
    /// Deletes to remember.
    pub add_tombstones: Vec<(Lsn, TombstoneRow)>,
    /// Deletes whose rows are gone.
    pub remove_tombstones: Vec<Lsn>,
    /// Latest records per dataset and project.
    pub latest: Vec<(DatasetId, ProjectName, Lsn)>,
    /// Small records of the layers above to write.
    pub kv_put: Vec<(String, String, Vec<u8>)>,
    /// Small records to remove.
    pub kv_remove: Vec<(String, String)>,
}

impl CatalogChange {
    /// What an empty store's catalog holds: a new identity.
    fn of_new_store() -> Self {
        CatalogChange {
            flushed: Some(Lsn(0)),
            store_id: Some(StoreId(crate::random::random_u64())),
            dedup_seed: Some(crate::random::random_u64()),
            next_segment: Some(1),
            next_run: Some(1),
            next_dataset: Some(1),
            ..CatalogChange::default()
        }
    }
}

impl Catalog {
    /// Opens the catalog, or makes an empty one with a new identity.
    pub fn open(disk: &DiskRef, data_dir: &Path) -> StoreResult<Self> {
        let path = paths::catalog_path(data_dir);
        match disk.open(&path) {
            Ok(file) => Ok(Catalog { database: database(Backend::new(file))? }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Self::create_with(disk.as_ref(), data_dir, &CatalogChange::of_new_store())
            }
            Err(source) => Err(StoreError::Io { operation: "open", path, source }),
        }
    }

    /// Opens the catalog of a folder that must have one.
    pub fn open_existing(disk: &DiskRef, data_dir: &Path) -> StoreResult<Self> {
        let path = paths::catalog_path(data_dir);
        let file = disk.open(&path).map_err(StoreError::io("open", &path))?;
        Ok(Catalog { database: database(Backend::new(file))? })
    }

    /// Makes a catalog with some content. It gets its name last, so that a crash never leaves half a catalog.
    pub fn create_with(disk: &dyn Disk, data_dir: &Path, content: &CatalogChange) -> StoreResult<Self> {
        let path = paths::catalog_path(data_dir);
        let temporary = temporary_path(&path);
        let file = disk.create(&temporary).map_err(StoreError::io("create", &temporary))?;
        let catalog = Catalog { database: database(Backend::new(file))? };
        catalog.apply(content)?;
        disk.rename(&temporary, &path).map_err(StoreError::io("rename", &temporary))?;
        disk.sync_dir(data_dir).map_err(StoreError::io("sync", data_dir))?;
        Ok(catalog)
    }

    /// Makes a change durable, all of it or nothing.
    pub fn apply(&self, change: &CatalogChange) -> StoreResult<()> {
        self.try_apply(change).map_err(failed("write"))
    }

    fn try_apply(&self, change: &CatalogChange) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(META)?;
            table.insert(meta::SCHEMA, SCHEMA)?;
            let numbers = [
                (meta::FLUSHED, change.flushed.map(|lsn| lsn.0 as u64)),
                (meta::STORE_ID, change.store_id.map(|id| id.0)),
                (meta::DEDUP_SEED, change.dedup_seed),
                (meta::NEXT_SEGMENT, change.next_segment),
                (meta::NEXT_RUN, change.next_run),
                (meta::NEXT_DATASET, change.next_dataset.map(u64::from)),
            ];
            for (name, value) in numbers {
                if let Some(value) = value {
                    table.insert(name, value)?;
                }
            }
        }
        apply_datasets(&transaction, change)?;
        apply_files(&transaction, change)?;
        {
            let mut kv = transaction.open_table(KV)?;
            for (space, key, value) in &change.kv_put {
                kv.insert((space.as_str(), key.as_str()), value.as_slice())?;
            }
            for (space, key) in &change.kv_remove {
                kv.remove((space.as_str(), key.as_str()))?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// One small record.
    pub fn kv_get(&self, space: &str, key: &str) -> StoreResult<Option<Vec<u8>>> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(KV)?;
            Ok(table.get((space, key))?.map(|value| value.value().to_vec()))
        };
        read().map_err(failed("read"))
    }

    /// All small records of a space, in order of their keys.
    pub fn kv_list(&self, space: &str) -> StoreResult<Vec<(String, Vec<u8>)>> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(KV)?;
            let mut rows = Vec::new();
            for row in table.range((space, "")..)? {
                let (key, value) = row?;
                let (row_space, row_key) = key.value();
                if row_space != space {
                    break;
                }
                rows.push((row_key.to_owned(), value.value().to_vec()));
            }
            Ok(rows)
        };
        read().map_err(failed("read"))
    }

    /// All small records of all spaces: space, key, value.
    pub fn kv_all(&self) -> StoreResult<Vec<(String, String, Vec<u8>)>> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(KV)?;
            let mut rows = Vec::new();
            for row in table.iter()? {
                let (key, value) = row?;
                let (space, key) = key.value();
                rows.push((space.to_owned(), key.to_owned(), value.value().to_vec()));
            }
            Ok(rows)
        };
        read().map_err(failed("read"))
    }

    /// Reads everything but the small records.
    pub fn load(&self) -> StoreResult<CatalogContent> {
        load::load(&self.database)
    }
}

fn apply_datasets(transaction: &redb::WriteTransaction, change: &CatalogChange) -> Result<(), redb::Error> {
    let mut datasets = transaction.open_table(DATASETS)?;
    for (id, row) in &change.put_datasets {
        datasets.insert(id.0, row.encode().as_slice())?;
    }
    let mut latest = transaction.open_table(LATEST)?;
    for (dataset, project, lsn) in &change.latest {
        latest.insert((dataset.0, project.as_str()), lsn.0)?;
    }
    for id in &change.remove_datasets {
        datasets.remove(id.0)?;
        latest.retain_in((id.0, "")..(id.0 + 1, ""), |_, _| false)?;
    }
    Ok(())
}

fn apply_files(transaction: &redb::WriteTransaction, change: &CatalogChange) -> Result<(), redb::Error> {
    let mut segments = transaction.open_table(SEGMENTS)?;
    for segment in &change.add_segments {
        segments.insert(segment.id.0, segment.encode().as_slice())?;
    }
    for id in &change.remove_segments {
        segments.remove(id.0)?;
    }
    let mut sidecars = transaction.open_table(SIDECARS)?;
    for sidecar in &change.add_sidecars {
        sidecars.insert(sidecar.id.0, sidecar.encode().as_slice())?;
    }
    for id in &change.remove_sidecars {
        sidecars.remove(id.0)?;
    }
    let mut runs = transaction.open_table(RUNS)?;
    for run in &change.add_runs {
        runs.insert(run.id, run.encode().as_slice())?;
    }
    for id in &change.remove_runs {
        runs.remove(id)?;
    }
    let mut tombstones = transaction.open_table(TOMBSTONES)?;
    for (lsn, row) in &change.add_tombstones {
        tombstones.insert(lsn.0, row.encode().as_slice())?;
    }
    for lsn in &change.remove_tombstones {
        tombstones.remove(lsn.0)?;
    }
    Ok(())
}

fn database(backend: Backend) -> StoreResult<Database> {
    let opened = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend);
    opened.map_err(|error| failed("open")(error.into()))
}

fn failed(operation: &'static str) -> impl FnOnce(redb::Error) -> StoreError {
    move |source| StoreError::Catalog { operation, source: Box::new(source) }
}
