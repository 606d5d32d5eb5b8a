//! Rows for tests, as plain structs: how they become chunks, and how scans become them again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::builder::{ListBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, TimestampMicrosecondArray};
use arrow_schema::Field;
use proptest::prelude::*;
use tidewater_columns::{RowBatch, StringsRef, TextBuilder, data_type};
use tidewater_model::filter::Filter;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{ColumnId, ColumnRef, ColumnType, Dataset, DatasetDefinition, DatasetId};

use crate::chunk::{Chunk, Run};
use crate::disk::FakeDisk;
use crate::scan::{ScanBatch, ScanRequest, Unit};
use crate::segment::{DAY_US, Segment, SegmentFiles, SegmentId, SegmentMeta, Unsorted, write_segments};
use crate::sidecar::Forecasts;
use crate::tombstone::Tombstone;
use crate::version::Lsn;

pub const DATASET: DatasetId = DatasetId(3);
/// The first instant of generated rows.
pub const START_US: i64 = 1_700_000_000_000_000;

/// A row of the test dataset, which has a column of every type.
#[derive(Clone, Debug, PartialEq)]
pub struct TestRow {
    pub project: &'static str,
    pub lsn: i64,
    pub pos: i32,
    pub time_us: i64,
    pub id: Option<String>,
    pub status: Option<String>,
    pub count: Option<i64>,
    pub score: Option<f64>,
    pub ok: Option<bool>,
    pub cost: Option<i64>,
    pub tags: Option<Vec<String>>,
    pub props: Option<BTreeMap<String, String>>,
}

pub const PROJECTS: [&str; 3] = ["acme", "beta", "zeta"];

pub fn dataset() -> Arc<Dataset> {
    let definition = br#"{"time": "ts", "id": "id", "sort": ["status", "count"], "columns": {"id": "string", "status": "string",
        "count": "int", "score": "float", "ok": "bool", "cost": "money", "tags": "strings", "props": "map"}}"#;
    let definition = DatasetDefinition::from_json(definition).expect("a valid definition");
    Arc::new(Dataset::compile("traces", definition).expect("a valid dataset"))
}

pub fn reference(dataset: &Dataset, name: &str) -> ColumnRef {
    let (column, key) =
        name.split_once('.').map_or((name, None), |(column, key)| (column, Some(Arc::from(key))));
    ColumnRef { column: dataset.column_id(column).expect("a column of the test dataset"), key }
}

/// One request's rows, without record and place.
pub fn request() -> impl Strategy<Value = Vec<TestRow>> {
    (0..PROJECTS.len()).prop_flat_map(|project| proptest::collection::vec(row(PROJECTS[project]), 1..60))
}

fn row(project: &'static str) -> impl Strategy<Value = TestRow> {
    let text = || proptest::option::weighted(0.9, "[a-c]{0,2}|zoë|[A-Z][a-z]{3}");
    let props = proptest::collection::btree_map("plan|seats|rare[0-9]{2}", "[a-z]{0,3}", 0..4);
    let numbers = (
        proptest::option::weighted(0.9, prop_oneof![-5..5_i64, any::<i64>()]),
        proptest::option::weighted(0.9, -1.0e3..1.0e3_f64),
        proptest::option::of(any::<bool>()),
        proptest::option::of(-2_000_000_000..2_000_000_000_i64),
    );
    let nested = (
        proptest::option::weighted(0.8, proptest::collection::vec("[a-d]", 0..3)),
        proptest::option::weighted(0.8, props),
    );
    let time = prop_oneof![4 => 0..DAY_US / 4, 1 => 0..3 * DAY_US];
    (time, "[0-9a-f]{12}", text(), numbers, nested).prop_map(move |(time, id, status, numbers, nested)| {
        TestRow {
            project,
            lsn: 0,
            pos: 0,
            time_us: START_US + time,
            id: Some(id),
            status,
            count: numbers.0,
            score: numbers.1,
            ok: numbers.2,
            cost: numbers.3,
            tags: nested.0,
            props: nested.1,
        }
    })
}

/// Numbers requests as the log would, from `first_lsn`.
pub fn number(requests: &mut [Vec<TestRow>], first_lsn: i64) {
    for (lsn, request) in (first_lsn..).zip(requests) {
        for (pos, row) in request.iter_mut().enumerate() {
            (row.lsn, row.pos) = (lsn, pos as i32);
        }
    }
}

pub fn chunk(requests: &[Vec<TestRow>]) -> Arc<Chunk> {
    let rows: Vec<&TestRow> = requests.iter().flatten().collect();
    let runs = requests.iter().map(|request| Run {
        project: project(request[0].project),
        lsn: Lsn(request[0].lsn),
        rows: request.len() as u32,
    });
    Arc::new(Chunk::new(batch(&rows), runs.collect()))
}

pub fn project(name: &str) -> ProjectName {
    ProjectName::new(name).expect("a valid name")
}

fn batch(rows: &[&TestRow]) -> RowBatch {
    let times =
        TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.time_us)).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times),
        texts(rows.iter().map(|row| row.id.as_deref())),
        texts(rows.iter().map(|row| row.status.as_deref())),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.count))),
        Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.score))),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.ok))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.cost))),
        lists(rows),
        maps(rows),
    ];
    RowBatch::new(
        columns.into_iter().map(|array| (array.null_count() < array.len()).then_some(array)).collect(),
    )
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    let mut builder = TextBuilder::new(0);
    for value in values {
        match value {
            Some(value) => builder.push(value),
            None => builder.push_nulls(1),
        }
    }
    builder.finish()
}

fn lists(rows: &[&TestRow]) -> ArrayRef {
    let field = Field::new("item", arrow_schema::DataType::Utf8, false);
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(field);
    for row in rows {
        match &row.tags {
            Some(tags) => builder.append_value(tags.iter().map(Some)),
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

fn maps(rows: &[&TestRow]) -> ArrayRef {
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
        .with_values_field(Field::new("value", arrow_schema::DataType::Utf8, false));
    for row in rows {
        for (key, value) in row.props.iter().flatten() {
            builder.keys().append_value(key);
            builder.values().append_value(value);
        }
        builder.append(row.props.is_some()).expect("as many keys as values");
    }
    let array: ArrayRef = Arc::new(builder.finish());
    assert_eq!(*array.data_type(), data_type(ColumnType::Map));
    array
}

/// A folder in memory with its segments.
pub struct Folder {
    pub disk: FakeDisk,
    pub files: Arc<SegmentFiles>,
    pub dataset: Arc<Dataset>,
    next_id: AtomicU64,
}

impl Folder {
    pub fn new() -> Self {
        let disk = FakeDisk::new();
        let files = SegmentFiles::new(Arc::new(disk.clone()), PathBuf::from("/data"), 1 << 20);
        Folder { disk, files, dataset: dataset(), next_id: AtomicU64::new(1) }
    }

    pub fn next_id(&self) -> SegmentId {
        SegmentId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    pub fn write(&self, chunks: &[Arc<Chunk>], tombstones: &[Arc<Tombstone>]) -> Vec<SegmentMeta> {
        let unsorted = Unsorted {
            dataset_id: DATASET,
            dataset: &self.dataset,
            chunks,
            tombstones,
            row_bytes: None,
            forecasts: &Forecasts::default(),
        };
        let written = write_segments(&self.files, &unsorted, &|| self.next_id()).expect("the disk works");
        written.into_iter().map(|unit| unit.segment).collect()
    }

    pub fn open(&self, metas: Vec<SegmentMeta>) -> Vec<Arc<Segment>> {
        let open = |meta| Segment::open(&self.files, &self.dataset, meta, None).expect("the file is there");
        metas.into_iter().map(open).collect()
    }
}

/// A request for every column and the identity.
pub fn everything(dataset: &Dataset, name: &str) -> ScanRequest {
    let columns = (0..dataset.columns.len()).map(|index| ColumnRef::column(ColumnId(index as u16)));
    ScanRequest {
        project: project(name),
        from_us: i64::MIN,
        to_us: i64::MAX,
        after: None,
        until: None,
        columns: columns.collect(),
        identity: true,
        hint: Filter::all(),
    }
}

/// The selected rows of a scan for every column, in the order of the unit.
pub fn scan(
    unit: &Unit,
    request: &ScanRequest,
    tombstones: &[Arc<Tombstone>],
) -> crate::StoreResult<Vec<TestRow>> {
    let project =
        PROJECTS.into_iter().find(|name| *name == request.project.as_str()).expect("a test project");
    let mut rows = Vec::new();
    for morsel in unit.scan(&Arc::new(request.clone()), tombstones)? {
        for batch in morsel.read()? {
            let batch = batch?;
            assert!(batch.columns.iter().flatten().all(|array| array.len() == batch.rows));
            let selected = |row: &usize| batch.selection.as_ref().is_none_or(|bits| bits.value(*row));
            rows.extend((0..batch.rows).filter(selected).map(|row| decode(&batch, project, row)));
        }
    }
    Ok(rows)
}

fn decode(batch: &ScanBatch, project: &'static str, row: usize) -> TestRow {
    let column = |index: usize| batch.columns[index].as_ref().filter(|array| array.is_valid(row));
    let text = |index: usize| {
        let array = batch.columns[index].as_ref()?;
        StringsRef::new(array.as_ref()).expect("a string column").get(row).map(str::to_owned)
    };
    let int = |index: usize| Some(column(index)?.as_primitive::<Int64Type>().value(row));
    let (lsns, positions) = batch.identity.as_ref().expect("asked for");
    TestRow {
        project,
        lsn: lsns.as_primitive::<Int64Type>().value(row),
        pos: positions.as_primitive::<Int32Type>().value(row),
        time_us: column(0).expect("never null").as_primitive::<TimestampMicrosecondType>().value(row),
        id: text(1),
        status: text(2),
        count: int(3),
        score: column(4).map(|array| array.as_primitive::<Float64Type>().value(row)),
        ok: column(5).map(|array| array.as_boolean().value(row)),
        cost: int(6),
        tags: column(7).map(|array| strings(&array.as_list::<i32>().value(row))),
        props: column(8).map(|array| {
            let map = array.as_map();
            let entries = map.value_offsets()[row] as usize..map.value_offsets()[row + 1] as usize;
            let (keys, values) = (strings(map.keys()), strings(map.values()));
            entries.map(|entry| (keys[entry].clone(), values[entry].clone())).collect()
        }),
    }
}

fn strings(array: &ArrayRef) -> Vec<String> {
    let strings = StringsRef::new(array.as_ref()).expect("strings");
    (0..array.len()).map(|row| strings.get(row).expect("never null").to_owned()).collect()
}

/// Segment order, said naively.
pub fn sort(rows: &mut [TestRow]) {
    let key = |row: &TestRow| {
        let status = (row.status.is_none(), row.status.clone());
        let count = (row.count.is_none(), row.count);
        (row.project, status, count, row.time_us, row.lsn, row.pos)
    };
    rows.sort_by(|a, b| key(a).cmp(&key(b)));
}

pub fn day_rows(rows: &[TestRow], days: Range<i64>) -> Vec<TestRow> {
    rows.iter().filter(|row| days.contains(&row.time_us.div_euclid(DAY_US))).cloned().collect()
}
