//! Plain rows of a dataset with a column of every kind, and the same rows as chunks of a store.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow_array::builder::{ListBuilder, MapBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field};
use tidewater_columns::RowBatch;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{
    Column, ColumnId, ColumnRef, ColumnType, Dataset, DatasetDefinition, DatasetId, Retention,
};
use tidewater_store::Forecasts;
use tidewater_store::disk::FakeDisk;
use tidewater_store::segment::{FOOTER_BYTES_MAX, SegmentFiles, SegmentId, Unsorted, write_segments};
use tidewater_store::{Chunk, DatasetView, Lsn, Run, Unit, Written};

pub const TIME: ColumnId = ColumnId(0);
pub const KIND: ColumnId = ColumnId(1);
pub const NAME: ColumnId = ColumnId(2);
pub const SIZE: ColumnId = ColumnId(3);
pub const SCORE: ColumnId = ColumnId(4);
pub const FLAG: ColumnId = ColumnId(5);
pub const COST: ColumnId = ColumnId(6);
pub const TAGS: ColumnId = ColumnId(7);
pub const PROPS: ColumnId = ColumnId(8);

/// One row, readable without the code under test.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub is_other_project: bool,
    pub time: i64,
    pub kind: Option<String>,
    pub name: Option<String>,
    pub size: Option<i64>,
    pub score: Option<f64>,
    pub flag: Option<bool>,
    pub cost: Option<i64>,
    pub tags: Option<Vec<String>>,
    /// The value of the key `plan`.
    pub plan: Option<String>,
}

pub fn project() -> ProjectName {
    ProjectName::new("mine").expect("a valid name")
}

pub fn dataset() -> Arc<Dataset> {
    dataset_kept(None)
}

pub fn dataset_kept(raw_us: Option<i64>) -> Arc<Dataset> {
    let kinds = [
        ("ts", ColumnType::Time),
        ("kind", ColumnType::String),
        ("name", ColumnType::String),
        ("size", ColumnType::Int),
        ("score", ColumnType::Float),
        ("flag", ColumnType::Bool),
        ("cost", ColumnType::Money),
        ("tags", ColumnType::Strings),
        ("props", ColumnType::Map),
    ];
    Arc::new(Dataset {
        name: "events".into(),
        columns: kinds.iter().map(|(name, kind)| Column { name: (*name).into(), kind: *kind }).collect(),
        id: None,
        sort: Vec::new(),
        metrics: Default::default(),
        rollups: Vec::new(),
        retention: Retention { raw_us, ..Retention::default() },
        definition: DatasetDefinition::default(),
    })
}

pub fn column(id: ColumnId) -> ColumnRef {
    ColumnRef::column(id)
}

pub fn plan_key() -> ColumnRef {
    ColumnRef { column: PROPS, key: Some("plan".into()) }
}

/// The rows as chunks of at most `chunk_rows`, a record of the log per three rows, some of another project between them.
pub fn view(rows: &[Row], chunk_rows: usize, dataset: &Arc<Dataset>) -> DatasetView {
    let units = chunks(rows, chunk_rows).into_iter().map(Unit::Chunk).collect();
    DatasetView::of_units(DATASET, Arc::clone(dataset), units, Vec::new())
}

/// The dataset's identity in the store.
pub const DATASET: DatasetId = DatasetId(1);

/// The rows as chunks alone.
pub fn chunks(rows: &[Row], chunk_rows: usize) -> Vec<Arc<Chunk>> {
    let mut lsn = 0;
    rows.chunks(chunk_rows.max(1))
        .enumerate()
        .map(|(index, rows)| {
            let runs = runs(rows, &mut lsn);
            Arc::new(Chunk::new(batch(rows, index % 2 == 0), runs))
        })
        .collect()
}

/// The rows as segments on a disk in memory, one or more a day.
pub fn segments(rows: &[Row], dataset: &Arc<Dataset>) -> Vec<Unit> {
    static FILES: OnceLock<Arc<SegmentFiles>> = OnceLock::new();
    static NEXT_ID: AtomicU64 = AtomicU64::new(1);
    let files = FILES.get_or_init(|| {
        SegmentFiles::new(Arc::new(FakeDisk::new()), PathBuf::from("data"), FOOTER_BYTES_MAX)
    });
    let next_id = || SegmentId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
    let chunks = chunks(rows, usize::MAX);
    let unsorted = Unsorted {
        dataset_id: DATASET,
        dataset,
        chunks: &chunks,
        tombstones: &[],
        row_bytes: None,
        forecasts: &Forecasts::default(),
    };
    let written = write_segments(files, &unsorted, &next_id);
    let written = written.expect("a disk in memory takes everything");
    let open = |unit: Written| Unit::Segment(unit.open(files, dataset).expect("it was just written"));
    written.into_iter().map(open).collect()
}

fn runs(rows: &[Row], lsn: &mut i64) -> Vec<Run> {
    let other = ProjectName::new("other").expect("a valid name");
    let mut runs: Vec<Run> = Vec::new();
    for row in rows {
        let project = if row.is_other_project { other.clone() } else { project() };
        match runs.last_mut() {
            Some(run) if run.project == project && run.rows < 3 => run.rows += 1,
            _ => {
                *lsn += 1;
                runs.push(Run { project, lsn: Lsn(*lsn), rows: 1 });
            }
        }
    }
    runs
}

fn batch(rows: &[Row], is_coded: bool) -> RowBatch {
    let texts = |of: fn(&Row) -> Option<&str>| -> ArrayRef {
        match is_coded {
            true => Arc::new(rows.iter().map(of).collect::<DictionaryArray<Int32Type>>()),
            false => Arc::new(rows.iter().map(of).collect::<StringArray>()),
        }
    };
    let times =
        TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.time)).with_timezone("UTC");
    let sizes: ArrayRef = Arc::new(rows.iter().map(|row| row.size).collect::<Int64Array>());
    let has_sizes = rows.iter().any(|row| row.size.is_some());
    RowBatch::new(vec![
        Some(Arc::new(times)),
        Some(texts(|row| row.kind.as_deref())),
        Some(texts(|row| row.name.as_deref())),
        // A column that is null everywhere may be absent.
        has_sizes.then_some(sizes),
        Some(Arc::new(rows.iter().map(|row| row.score).collect::<Float64Array>())),
        Some(Arc::new(rows.iter().map(|row| row.flag).collect::<BooleanArray>())),
        Some(Arc::new(rows.iter().map(|row| row.cost).collect::<Int64Array>())),
        Some(tags(rows)),
        Some(props(rows)),
    ])
}

fn tags(rows: &[Row]) -> ArrayRef {
    let field = Arc::new(Field::new("item", DataType::Utf8, false));
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(field);
    for row in rows {
        for tag in row.tags.iter().flatten() {
            builder.values().append_value(tag);
        }
        builder.append(row.tags.is_some());
    }
    Arc::new(builder.finish())
}

fn props(rows: &[Row]) -> ArrayRef {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for row in rows {
        builder.keys().append_value("unrelated");
        builder.values().append_value("x");
        if let Some(plan) = &row.plan {
            builder.keys().append_value("plan");
            builder.values().append_value(plan);
        }
        builder.append(true).expect("keys and values are as many");
    }
    Arc::new(builder.finish())
}
