//! How long questions take that were asked before, while rows come in: top users, and percentiles by hour.
//!
//! `cargo run --release -p tidewater-query --example repeat_speed [days] [rows a day]`. Rows are made up: users by a skewed choice out of
//! 100,000, one project, a day per segment with roll-ups beside it. Prints medians and the worst of each phase.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Int64Array, TimestampMicrosecondArray};
use tidewater_columns::RowBatch;
use tidewater_model::names::ProjectName;
use tidewater_model::query::{QueryRequest, ResolveContext, resolve};
use tidewater_model::schema::{Dataset, DatasetDefinition, DatasetId};
use tidewater_model::time::Timestamp;
use tidewater_query::{Answer, Control, Executor, ExecutorConfig};
use tidewater_store::Forecasts;
use tidewater_store::disk::RealDisk;
use tidewater_store::segment::{
    FOOTER_BYTES_MAX, Segment, SegmentFiles, SegmentId, Unsorted, write_segments,
};
use tidewater_store::{Chunk, DatasetView, Lsn, Run, Unit};

const DAY_US: i64 = 86_400_000_000;
const START_US: i64 = 1_790_000_000_000_000 / DAY_US * DAY_US;
const ID: DatasetId = DatasetId(1);

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// In `0 .. n`, small ones more often.
    fn skewed(&mut self, n: u64) -> u64 {
        let part = (self.next() % (1 << 24)) as f64 / (1u64 << 24) as f64;
        ((part * part * part) * n as f64) as u64
    }
}

fn dataset() -> Arc<Dataset> {
    let json = br#"{"time": "ts", "columns": {"user": "string", "model": "string", "cost": "money", "ms": "int"},
        "metrics": {"n": {"agg": "count"}, "spend": {"agg": "sum", "column": "cost"}, "p95": {"agg": "p95", "column": "ms"}},
        "rollups": [{"name": "users", "dimensions": ["user"], "metrics": ["n", "spend"]}, {"name": "models", "dimensions": ["model"]}],
        "retention": {"raw": "3650d", "1d": "forever", "1h": "forever"}}"#;
    let definition = DatasetDefinition::from_json(json).expect("a definition");
    Arc::new(Dataset::compile("calls", definition).expect("a dataset"))
}

fn project() -> ProjectName {
    ProjectName::new("mine").expect("a name")
}

fn chunk(dice: &mut Dice, rows: usize, from_us: i64, length_us: i64, lsn: i64) -> Arc<Chunk> {
    let times: Vec<i64> =
        (0..rows).map(|row| from_us + length_us * row as i64 / rows.max(1) as i64).collect();
    let users: Vec<String> = (0..rows).map(|_| format!("user-{:06}", dice.skewed(100_000))).collect();
    let models: Vec<String> = (0..rows).map(|_| format!("model-{}", dice.skewed(24))).collect();
    let coded = |texts: &[String]| -> ArrayRef {
        Arc::new(texts.iter().map(String::as_str).collect::<DictionaryArray<Int32Type>>())
    };
    let numbers = |dice: &mut Dice, n: u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values((0..rows).map(|_| dice.skewed(n) as i64)))
    };
    let batch = RowBatch::new(vec![
        Some(Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))),
        Some(coded(&users)),
        Some(coded(&models)),
        Some(numbers(dice, 2_000_000_000)),
        Some(numbers(dice, 60_000)),
    ]);
    Arc::new(Chunk::new(batch, vec![Run { project: project(), lsn: Lsn(lsn), rows: rows as u32 }]))
}

fn question(dataset: &Arc<Dataset>, json: &str) -> tidewater_model::query::Query {
    let request = QueryRequest::from_json(&serde_json::from_str(json).expect("JSON")).expect("a question");
    let now = Timestamp(START_US + 400 * DAY_US);
    let first_row = || Some(Timestamp(START_US));
    let context =
        ResolveContext { dataset: Arc::clone(dataset), project: project(), now, first_row: &first_row };
    resolve(&request, &context).expect("a question")
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().expect("a number"));
    let (days, per_day) = (arguments.next().unwrap_or(30), arguments.next().unwrap_or(667_000));
    let dataset = dataset();
    let folder =
        PathBuf::from(std::env::var("SPEED_DIR").unwrap_or_else(|_| "target/repeat_speed".to_owned()));
    let files = SegmentFiles::new(Arc::new(RealDisk), folder, FOOTER_BYTES_MAX);
    let next = AtomicU64::new(1);
    let mut dice = Dice(88_172_645_463_325_252);
    let mut units = Vec::new();
    for day in 0..days {
        let rows = chunk(&mut dice, per_day, START_US + day as i64 * DAY_US, DAY_US, 1);
        let unsorted = Unsorted {
            dataset_id: ID,
            dataset: &dataset,
            chunks: &[rows],
            tombstones: &[],
            row_bytes: None,
            forecasts: &Forecasts::default(),
        };
        let written = write_segments(&files, &unsorted, &|| SegmentId(next.fetch_add(1, Ordering::Relaxed)));
        for unit in written.expect("room on the disk") {
            let segment = Segment::open(&files, &dataset, unit.segment, unit.sidecar);
            units.push(Unit::Segment(segment.expect("just written")));
        }
    }
    let questions = [
        (
            "top users",
            r#"{"dataset": "calls", "date_range": "all", "include": {"explain": true}, "dimensions": ["user"], "metrics": ["n", "spend"],
            "order_by": [["spend", "desc"]], "pagination": {"limit": 10}}"#,
        ),
        (
            "p95 by hour and model",
            r#"{"dataset": "calls", "date_range": "all", "include": {"explain": true}, "dimensions": ["time:hour", "model"], "metrics": ["n", "p95"]}"#,
        ),
        (
            "totals",
            r#"{"dataset": "calls", "date_range": "all", "include": {"explain": true}, "metrics": ["n", "spend"]}"#,
        ),
    ];
    for (name, json) in questions {
        measure(name, &question(&dataset, json), &dataset, &units, &mut dice, days);
    }
}

fn measure(
    name: &str,
    query: &tidewater_model::query::Query,
    dataset: &Arc<Dataset>,
    units: &[Unit],
    dice: &mut Dice,
    days: usize,
) {
    let view = |units: Vec<Unit>| DatasetView::of_units(ID, Arc::clone(dataset), units, Vec::new());
    let ask_of = |executor: &Executor, view: &DatasetView| -> (Duration, Answer) {
        let start = Instant::now();
        let answer = executor.execute(query, view, &Control::default()).expect("an answer");
        let _page = answer.page(0, 10);
        (start.elapsed(), answer)
    };
    let whole = view(units.to_vec());
    let fresh = || Executor::new(ExecutorConfig::default());
    let colds: Vec<Duration> = (0..20).map(|_| ask_of(&fresh(), &whole).0).collect();
    let executor = fresh();
    let ask = |view: &DatasetView| ask_of(&executor, view);
    let (cold, answer) = ask(&whole);
    println!(
        "{name}: cold {cold:?}, {} rows read, {}, {} groups",
        answer.rows_scanned(),
        answer.source(),
        answer.total_rows()
    );
    let explain = answer.explain();
    let times = (explain.plan_time, explain.scan_time, explain.merge_time, explain.finish_time);
    println!("  plan, scan, merge, finish {times:?}; {:?}", explain.sources);
    report("  cold", colds);
    report("  quiet", (0..100).map(|_| ask(&whole).0).collect());
    // 20,000 rows a second in requests of 2,000, ten questions a second; a chunk settles after 16,000 rows.
    let (mut settled, mut growing): (Vec<Unit>, Vec<Unit>) = (Vec::new(), Vec::new());
    let mut times = Vec::new();
    for tick in 0..100 {
        growing.push(Unit::Chunk(chunk(dice, 2_000, START_US + days as i64 * DAY_US, 1_000_000, 2 + tick)));
        if growing.len() == 9 {
            growing.clear();
            settled.push(Unit::Chunk(chunk(
                dice,
                18_000,
                START_US + days as i64 * DAY_US,
                1_000_000,
                2 + tick,
            )));
        }
        times.push(ask(&view([units, &settled, &growing].concat())).0);
    }
    report("  with rows coming in", times);
    println!("  {:?}", executor.cache_stats());
}

fn report(phase: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    println!("{phase}: p50 {:?}, p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
}
