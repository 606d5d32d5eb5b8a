//! A small dataset, stores on real and fake disks, and reading back what a snapshot shows.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use tidewater_columns::{RowBatch, StringsRef};
use tidewater_model::filter::{Comparison, Filter, Scalar};
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{ColumnId, ColumnRef, DatasetDefinition, DatasetId};
use tidewater_model::time::Timestamp;
use tidewater_store::disk::{DiskRef, FakeDisk, RealDisk};
use tidewater_store::{
    Append, DatasetView, Delete, ManualClock, Receipt, ScanRequest, Snapshot, Store, StoreConfig, StoreError,
    StoreResult, Token, Unit,
};

/// The instant the test clock starts at: 2026-01-01T12:00:00Z.
pub const NOON: Timestamp = Timestamp(1_767_268_800_000_000);

pub const HOUR_US: i64 = 3_600_000_000;

/// Columns of the test dataset.
pub const ID: ColumnId = ColumnId(1);
pub const VALUE: ColumnId = ColumnId(2);
pub const KIND: ColumnId = ColumnId(3);

/// A row of the test dataset: its id and its value. Its time and its kind follow from the value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row(pub Option<String>, pub i64);

pub fn row(id: &str, value: i64) -> Row {
    Row(Some(id.to_owned()), value)
}

pub fn definition() -> DatasetDefinition {
    let json = br#"{"time": "ts", "id": "id", "columns": {"id": "string", "value": "int", "kind": "string"},
        "metrics": {"n": {"agg": "count"}, "total": {"agg": "sum", "column": "value"}},
        "rollups": [{"name": "kinds", "dimensions": ["kind"], "tiers": ["1m", "1h", "1d"]}]}"#;
    DatasetDefinition::from_json(json).unwrap()
}

/// The kind of rows with this value.
pub fn kind_of(value: i64) -> &'static str {
    ["red", "green", "blue"][value.rem_euclid(3) as usize]
}

/// The time of rows with this value.
pub fn time_of(value: i64) -> i64 {
    NOON.0 + value * 1_000_000
}

pub fn batch(rows: &[Row]) -> RowBatch {
    let times = rows.iter().map(|Row(_, value)| time_of(*value));
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"));
    let ids: ArrayRef = Arc::new(rows.iter().map(|Row(id, _)| id.as_deref()).collect::<StringArray>());
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|Row(_, value)| *value)));
    let kinds: ArrayRef =
        Arc::new(rows.iter().map(|Row(_, value)| Some(kind_of(*value))).collect::<StringArray>());
    RowBatch::new(vec![Some(times), Some(ids), Some(values), Some(kinds)])
}

pub fn project(name: &str) -> ProjectName {
    ProjectName::new(name).unwrap()
}

/// A store with the dataset `events`, on a clock that stands still.
pub struct World {
    pub store: Store,
    pub dataset: DatasetId,
    pub clock: ManualClock,
}

/// Settings for tests: small files, no waiting, no surprise flush.
pub fn config(data_dir: impl Into<PathBuf>) -> StoreConfig {
    StoreConfig {
        flush_interval_ms: 3_600_000,
        log_file_bytes: 64 << 10,
        group_wait_us: 0,
        disk_free_min_bytes: 1,
        maintenance_interval_ms: 5,
        ..StoreConfig::new(data_dir)
    }
}

impl World {
    pub fn open(config: StoreConfig, disk: DiskRef) -> StoreResult<World> {
        World::open_at(config, disk, ManualClock::new(NOON))
    }

    pub fn open_at(config: StoreConfig, disk: DiskRef, clock: ManualClock) -> StoreResult<World> {
        let store = Store::open(config, disk, Arc::new(clock.clone()))?;
        let (dataset, _) = store.put_dataset("events", definition())?;
        Ok(World { store, dataset, clock })
    }

    pub fn fake(disk: &FakeDisk) -> World {
        World::open(config("/data"), Arc::new(disk.clone())).unwrap()
    }

    pub fn real(folder: &tempfile::TempDir) -> World {
        World::open(config(folder.path()), Arc::new(RealDisk)).unwrap()
    }

    /// Submits and returns at once; the outcome comes through the channel.
    pub fn begin(
        &self,
        project_name: &str,
        rows: &[Row],
        token: Option<Token>,
    ) -> mpsc::Receiver<StoreResult<Receipt>> {
        self.submit(project_name, rows, token, false)
    }

    /// Rows of the server's own.
    pub fn put_in_background(&self, rows: &[Row]) {
        self.submit("own", rows, None, true).recv().unwrap().unwrap();
    }

    fn submit(
        &self,
        project_name: &str,
        rows: &[Row],
        token: Option<Token>,
        in_background: bool,
    ) -> mpsc::Receiver<StoreResult<Receipt>> {
        let (sender, receiver) = mpsc::channel();
        self.store.submit(Append {
            dataset: self.dataset,
            project: project(project_name),
            batch: batch(rows),
            token,
            extra: format!("reply to {} rows", rows.len()).into_bytes(),
            in_background,
            done: Box::new(move |outcome| drop(sender.send(outcome))),
        });
        receiver
    }

    pub fn try_put(&self, rows: &[Row]) -> StoreResult<Receipt> {
        self.begin("p", rows, None).recv().unwrap()
    }

    pub fn put(&self, rows: &[Row]) -> Receipt {
        self.try_put(rows).unwrap()
    }

    pub fn put_with_token(&self, rows: &[Row], token: u128, body: u128) -> StoreResult<Receipt> {
        self.begin("p", rows, Some(Token { token_hash: token, body_hash: body })).recv().unwrap()
    }

    /// Deletes rows of `p` with a value of at least `min`.
    pub fn try_delete(&self, min: i64) -> StoreResult<Receipt> {
        let value = ColumnRef::column(VALUE);
        self.try_delete_where(Filter::Compare {
            column: value,
            how: Comparison::Gte,
            value: Scalar::Int(min),
        })
    }

    /// Deletes rows of `p`.
    pub fn try_delete_where(&self, filter: Filter) -> StoreResult<Receipt> {
        let (sender, receiver) = mpsc::channel();
        self.store.delete(Delete {
            dataset: self.dataset,
            project: project("p"),
            from_us: i64::MIN,
            to_us: i64::MAX,
            filter,
            done: Box::new(move |outcome| drop(sender.send(outcome))),
        });
        receiver.recv().unwrap()
    }

    pub fn delete(&self, min: i64) -> Receipt {
        self.try_delete(min).unwrap()
    }

    /// Rows of `p`, sorted.
    pub fn rows(&self) -> Vec<Row> {
        self.rows_of("p")
    }

    pub fn rows_of(&self, project_name: &str) -> Vec<Row> {
        rows_in(&self.store.snapshot(), self.dataset, project_name)
    }

    /// Waits until a condition on the store's numbers holds.
    pub fn wait_until(&self, what: &str, condition: impl Fn(&Store) -> bool) {
        for _ in 0..2_000 {
            if condition(&self.store) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("{what} did not come about: {:?}", self.store.stats());
    }
}

/// Rows of a project in a snapshot, sorted; checks that no row identity is there twice.
pub fn rows_in(snapshot: &Snapshot, dataset: DatasetId, project_name: &str) -> Vec<Row> {
    let view = snapshot.view(dataset).unwrap();
    rows_of_units(view, &view.units, project_name)
}

/// The raw rows of some units, sorted.
pub fn rows_of_units(view: &DatasetView, units: &[Unit], project_name: &str) -> Vec<Row> {
    let request = Arc::new(ScanRequest {
        project: project(project_name),
        from_us: i64::MIN,
        to_us: i64::MAX,
        after: None,
        until: None,
        columns: vec![ColumnRef::column(ID), ColumnRef::column(VALUE)],
        identity: true,
        hint: Filter::all(),
    });
    let mut rows = Vec::new();
    let mut identities = std::collections::HashSet::new();
    for morsel in units.iter().flat_map(|unit| view.scan_unit(unit, &request).unwrap()) {
        for scanned in morsel.read().unwrap() {
            let scanned = scanned.unwrap();
            let ids = scanned.columns[0].clone();
            let values = scanned.columns[1].clone().unwrap();
            let (lsns, positions) = scanned.identity.unwrap();
            for index in 0..scanned.rows {
                if scanned.selection.as_ref().is_some_and(|selection| !selection.value(index)) {
                    continue;
                }
                let id = ids
                    .as_ref()
                    .and_then(|ids| StringsRef::new(ids.as_ref()).unwrap().get(index).map(str::to_owned));
                rows.push(Row(id, values.as_primitive::<Int64Type>().value(index)));
                let identity = (
                    lsns.as_primitive::<Int64Type>().value(index),
                    positions.as_primitive::<arrow_array::types::Int32Type>().value(index),
                );
                assert!(identities.insert(identity), "row {identity:?} is there twice");
            }
            assert_eq!(values.len(), scanned.rows);
        }
    }
    rows.sort();
    rows
}

pub fn is_poisoned<T>(outcome: &StoreResult<T>) -> bool {
    matches!(outcome, Err(StoreError::Poisoned { .. }))
}
