//! The catalog's rows and how they are read back.

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{DatasetDefinition, DatasetId};

use super::{DATASETS, LATEST, META, RUNS, SCHEMA, SEGMENTS, SIDECARS, TOMBSTONES, failed, meta};
use crate::dedup::RunFacts;
use crate::error::{StoreError, StoreResult};
use crate::segment::SegmentMeta;
use crate::sidecar::SidecarMeta;
use crate::tombstone::Tombstone;
use crate::version::{Lsn, StoreId};

/// Everything a store starts from.
#[derive(Debug)]
pub struct CatalogContent {
    /// The store's identity.
    pub store_id: StoreId,
    /// Seed of the hashes of ids and tokens.
    pub dedup_seed: u64,
    /// Records up to here are in segments.
    pub flushed: Lsn,
    /// The least segment number not in use.
    pub next_segment: u64,
    /// The least run number not in use.
    pub next_run: u64,
    /// The least dataset id that no dataset ever had.
    pub next_dataset: u32,
    /// All datasets.
    pub datasets: Vec<(DatasetId, DatasetRow)>,
    /// Live segments.
    pub segments: Vec<SegmentMeta>,
    /// Live sidecars, of segments and of history.
    pub sidecars: Vec<SidecarMeta>,
    /// Live runs.
    pub runs: Vec<RunRow>,
    /// Deletes whose rows may still be in segments.
    pub tombstones: Vec<(Lsn, TombstoneRow)>,
    /// Latest flushed records.
    pub latest: Vec<(DatasetId, ProjectName, Lsn)>,
}

/// A dataset's row. Field names are part of the format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetRow {
    /// Its name.
    pub name: String,
    /// As declared, with all widenings.
    pub definition: DatasetDefinition,
    /// The greatest time among rows that retention removed without leaving any section of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_until_us: Option<i64>,
}

/// A run's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRow {
    /// Its number.
    pub id: u64,
    /// Entries, for people who look; the file says it too.
    pub count: u64,
}

/// A delete's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneRow {
    /// Whose dataset.
    pub dataset: u32,
    /// Whose rows.
    pub project: String,
    /// First instant, micro-seconds since the epoch.
    pub from_us: i64,
    /// First instant after the range.
    pub to_us: i64,
    /// The filter's JSON form, as text.
    pub filter: String,
}

macro_rules! json_row {
    ($row:ty) => {
        impl $row {
            /// The form in the table: JSON, because a person who repairs a store can read it.
            pub fn encode(&self) -> Vec<u8> {
                serde_json::to_vec(self).expect("a struct of numbers and strings has a JSON form")
            }
        }
    };
}

json_row!(DatasetRow);
json_row!(RunRow);
json_row!(TombstoneRow);

impl RunRow {
    /// The row of a run.
    pub fn of(facts: &RunFacts) -> Self {
        RunRow { id: facts.id, count: facts.count }
    }
}

impl TombstoneRow {
    /// The row of a delete.
    pub fn of(dataset: DatasetId, tombstone: &Tombstone) -> Self {
        TombstoneRow {
            dataset: dataset.0,
            project: tombstone.project.to_string(),
            from_us: tombstone.from_us,
            to_us: tombstone.to_us,
            filter: tombstone.text.to_string(),
        }
    }
}

fn parse<T: for<'a> Deserialize<'a>>(
    table: &'static str,
    key: impl ToString,
    bytes: &[u8],
) -> StoreResult<T> {
    serde_json::from_slice(bytes).map_err(|error| row_error(table, key, error))
}

fn row_error(table: &'static str, key: impl ToString, reason: impl ToString) -> StoreError {
    StoreError::CatalogRow { table, key: key.to_string(), reason: reason.to_string() }
}

/// Reads all tables.
pub(super) fn load(database: &Database) -> StoreResult<CatalogContent> {
    let read = database.begin_read().map_err(|error| failed("read")(error.into()))?;
    let number = |name: &'static str| -> StoreResult<u64> {
        let get =
            || -> Result<_, redb::Error> { Ok(read.open_table(META)?.get(name)?.map(|value| value.value())) };
        get().map_err(failed("read"))?.ok_or_else(|| row_error("meta", name, "it is missing"))
    };
    let schema = number(meta::SCHEMA)?;
    if schema > SCHEMA {
        let (found, known) = (schema as u32, SCHEMA as u32);
        return Err(StoreError::NewerFormat { path: "catalog.redb".into(), found, known });
    }
    let next_dataset = number(meta::NEXT_DATASET)?;
    Ok(CatalogContent {
        store_id: StoreId(number(meta::STORE_ID)?),
        dedup_seed: number(meta::DEDUP_SEED)?,
        flushed: Lsn(number(meta::FLUSHED)? as i64),
        next_segment: number(meta::NEXT_SEGMENT)?,
        next_run: number(meta::NEXT_RUN)?,
        next_dataset: u32::try_from(next_dataset)
            .map_err(|error| row_error("meta", meta::NEXT_DATASET, error))?,
        datasets: rows(&read, DATASETS, |id, bytes| Ok((DatasetId(id), parse("datasets", id, bytes)?)))?,
        segments: rows(&read, SEGMENTS, |id, bytes| {
            SegmentMeta::decode(bytes).map_err(|error| row_error("segments", id, error))
        })?,
        sidecars: if schema < 2 {
            Vec::new()
        } else {
            rows(&read, SIDECARS, |id, bytes| {
                SidecarMeta::decode(bytes).map_err(|error| row_error("sidecars", id, error))
            })?
        },
        runs: rows(&read, RUNS, |id, bytes| parse("runs", id, bytes))?,
        tombstones: rows(&read, TOMBSTONES, |lsn, bytes| Ok((Lsn(lsn), parse("tombstones", lsn, bytes)?)))?,
        latest: latest(&read)?,
    })
}

fn rows<K, T>(
    read: &ReadTransaction,
    table: TableDefinition<K, &[u8]>,
    parse: impl Fn(K, &[u8]) -> StoreResult<T>,
) -> StoreResult<Vec<T>>
where
    K: redb::Key + Copy + for<'a> redb::Value<SelfType<'a> = K> + 'static,
{
    let raw = || -> Result<Vec<(K, Vec<u8>)>, redb::Error> {
        let table = read.open_table(table)?;
        table
            .iter()?
            .map(|row| row.map(|(key, value)| (key.value(), value.value().to_vec())).map_err(Into::into))
            .collect()
    };
    raw().map_err(failed("read"))?.iter().map(|(key, bytes)| parse(*key, bytes)).collect()
}

fn latest(read: &ReadTransaction) -> StoreResult<Vec<(DatasetId, ProjectName, Lsn)>> {
    let raw = || -> Result<Vec<(u32, String, i64)>, redb::Error> {
        let table = read.open_table(LATEST)?;
        let mut rows = Vec::new();
        for row in table.iter()? {
            let (key, lsn) = row?;
            let (dataset, project) = key.value();
            rows.push((dataset, project.to_owned(), lsn.value()));
        }
        Ok(rows)
    };
    let rows = raw().map_err(failed("read"))?.into_iter();
    rows.map(|(dataset, project, lsn)| {
        let name = ProjectName::new(&project).map_err(|error| row_error("latest", &project, error))?;
        Ok((DatasetId(dataset), name, Lsn(lsn)))
    })
    .collect()
}
