//! How fast roll-ups are derived from a day of traces, how many bytes they take, and how fast a cold question reads them.
//!
//! `cargo run --release -p tidewater-aggregate --example derive_speed [rows] [days] [hours]`: so many rows over the first hours of each day, of
//! which a flush sees about ten and a settled segment all. One thread; the rows have the distributions of the
//! benchmark's. Not here: files, threads and whole answers (`bench`).

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use tidewater_aggregate::{
    Codes, Derivation, Derived, EncodedSlice, Groups, Keys, Rows, RowsExpected, SectionSlice, StateKind,
    States,
};
use tidewater_columns::RowBatch;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{ColumnType, Dataset, DatasetDefinition, Tier};

/// 2026-10-01T00:00:00Z.
const DAY_START_US: i64 = 1_790_812_800_000_000;
const DAY_US: i64 = 86_400_000_000;
const HOUR_US: i64 = 3_600_000_000;
/// What a segment of the benchmark has per row.
const RAW_BYTES_PER_ROW: u64 = 33;
const BATCH_ROWS: usize = 16_384;
/// The buckets of a sample are as far apart.
const SAMPLE_EVERY_US: i64 = 9_000_000_000;

const DEFINITION: &str = r#"{"time": "ts", "sort": ["project"],
    "columns": {"project": "string", "provider": "string", "model": "string", "user": "string", "status": "string",
                "duration_ms": "float", "cost_usd": "money"},
    "metrics": {"calls": {"agg": "count"}, "cost": {"agg": "sum", "column": "cost_usd"},
                "duration": {"agg": "avg", "column": "duration_ms"}, "p95": {"agg": "p95", "column": "duration_ms"},
                "errors": {"agg": "count", "filters": [["is_not", "status", ["ok"]]]}, "users": {"agg": "uniq", "column": "user"}},
    "rollups": [
        {"name": "models", "dimensions": ["project", "provider", "model", "status"],
         "metrics": ["calls", "cost", "duration", "p95", "errors"]},
        {"name": "users", "dimensions": ["project", "user"], "metrics": ["calls", "cost"]},
        {"name": "audience", "dimensions": ["project"], "metrics": ["users"]}]}"#;

/// SplitMix64 as a stream.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// Picks by Zipf's law.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        Zipf(
            (1..=count)
                .map(|k| {
                    sum += (k as f64).powf(-exponent);
                    sum
                })
                .collect(),
        )
    }

    fn pick(&self, random: &mut Random) -> i32 {
        let at = random.unit() * self.0[self.0.len() - 1];
        self.0.partition_point(|sum| *sum < at) as i32
    }
}

struct Row {
    ts: i64,
    project: i32,
    model: i32,
    user: i32,
    status: i32,
    duration: f64,
    cost: i64,
}

/// The rows of a day, all of them and a sample.
struct Day {
    rows: Vec<RowBatch>,
    sample: Vec<RowBatch>,
}

fn day(rows: usize, day: i64, hours: i64) -> Day {
    let mut random = Random(day as u64 + 1);
    let (projects, models, users) = (Zipf::new(10, 1.0), Zipf::new(24, 0.8), Zipf::new(100_000, 0.9));
    let mut all: Vec<Row> = (0..rows as i64)
        .map(|at| Row {
            ts: DAY_START_US + day * DAY_US + hours * HOUR_US * at / rows as i64,
            project: projects.pick(&mut random),
            model: models.pick(&mut random),
            user: users.pick(&mut random),
            status: match random.next() % 1_000 {
                0..25 => 0,
                25..33 => 2,
                _ => 1,
            },
            duration: ((7.2 + 0.8 * random.normal()).exp() * 10.0).round() / 10.0,
            cost: (((6.6 + 1.1 * random.normal()).exp() as i64) * 75
                + ((5.3 + 0.9 * random.normal()).exp() as i64) * 300)
                * 5,
        })
        .collect();
    all.sort_by_key(|row| row.project);
    let names = |prefix: &str, count: usize| -> ArrayRef {
        Arc::new(
            (0..count).map(|at| Some(format!("{prefix}{at:06}@app.example.com"))).collect::<StringArray>(),
        )
    };
    let dictionaries = [
        names("project-", 10),
        names("provider-", 5),
        names("model-", 24),
        names("user-", 100_000),
        names("status-", 3),
    ];
    let coded = |rows: &[Row], place: usize, code: &dyn Fn(&Row) -> i32| -> Option<ArrayRef> {
        let keys: Int32Array = rows.iter().map(code).collect();
        Some(Arc::new(DictionaryArray::new(keys, Arc::clone(&dictionaries[place]))))
    };
    let batch = |rows: &[Row]| {
        let times =
            TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.ts)).with_timezone("UTC");
        RowBatch::new(vec![
            Some(Arc::new(times)),
            coded(rows, 0, &|row| row.project),
            coded(rows, 1, &|row| row.model % 5),
            coded(rows, 2, &|row| row.model),
            coded(rows, 3, &|row| row.user),
            coded(rows, 4, &|row| row.status),
            Some(Arc::new(rows.iter().map(|row| Some(row.duration)).collect::<Float64Array>())),
            Some(Arc::new(rows.iter().map(|row| Some(row.cost)).collect::<Int64Array>())),
        ])
    };
    let rows = all.chunks(BATCH_ROWS).map(batch).collect();
    all.retain(|row| (row.ts - DAY_START_US) % SAMPLE_EVERY_US < Tier::Minutes5.width_us());
    Day { rows, sample: vec![batch(&all)] }
}

fn derive(dataset: &Arc<Dataset>, day: &Day) -> Derived {
    let project = ProjectName::new("bench").expect("a project's name");
    let expected = |batches: &[RowBatch]| {
        let rows: u64 = batches.iter().map(|batch| batch.rows() as u64).sum();
        RowsExpected { rows, raw_bytes: rows * RAW_BYTES_PER_ROW }
    };
    let sample = Derivation::of_sample(dataset, expected(&day.sample), Tier::Minutes5);
    let mut sample = sample.expect("there are fine tiers");
    day.sample.iter().for_each(|batch| sample.add(&project, batch));
    let expected = expected(&day.rows);
    let mut derivation = Derivation::new(dataset, expected, Vec::new()).expect("there are roll-ups");
    derivation.leave_out(&sample.hopeless());
    day.rows.iter().for_each(|batch| derivation.add(&project, batch));
    derivation.finish(expected.raw_bytes)
}

/// Groups the rows of slices by one dimension and merges some measures: what a cold question does.
fn read(slices: &[(&EncodedSlice, Tier, usize)], dimension: usize, measures: &[(usize, StateKind)]) -> usize {
    let mut groups = Groups::new(vec![Codes::column(ColumnType::String)]);
    let mut states: Vec<States> = measures.iter().map(|(_, kind)| States::new(*kind, false)).collect();
    let mut codes = vec![Vec::new()];
    for (slice, tier, dimensions) in slices {
        let bytes = tidewater_aggregate::SliceBytes {
            tier: *tier,
            rows: slice.rows,
            time: &slice.columns[0],
            wants_times: true,
            dimensions: vec![&slice.columns[1 + dimension]],
            measures: measures
                .iter()
                .map(|(at, _)| slice.columns[1 + dimensions + at].clone().into())
                .collect(),
        };
        let slice = SectionSlice::decode(bytes, i64::MIN..i64::MAX).expect("own bytes");
        codes[0].clear();
        groups.dimensions[0]
            .encode(slice.dimensions[0].as_ref(), Rows::All(slice.rows), &mut codes[0])
            .expect("texts");
        groups.assign(&codes).expect("few groups");
        for (states, encoded) in states.iter_mut().zip(&slice.measures) {
            states.resize(groups.len());
            states
                .merge_encoded(encoded, Rows::All(slice.rows), Keys::of(groups.assigned()))
                .expect("own bytes");
        }
    }
    groups.len()
}

/// What this thread has computed for, so that what else runs on the machine does not count (proc(5)).
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux kernel");
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("the first field is a number"))
}

fn main() {
    let rows: usize = std::env::args().nth(1).and_then(|rows| rows.parse().ok()).unwrap_or(666_667);
    let days: i64 = std::env::args().nth(2).and_then(|days| days.parse().ok()).unwrap_or(3);
    let hours: i64 = std::env::args().nth(3).and_then(|hours| hours.parse().ok()).unwrap_or(24);
    let definition = DatasetDefinition::from_json(DEFINITION.as_bytes()).expect("a definition");
    let dataset = Arc::new(Dataset::compile("traces", definition).expect("a dataset"));
    let mut all = Vec::new();
    for at in 0..days {
        let day = day(rows, at, hours);
        let start = cpu_time();
        let derived = derive(&dataset, &day);
        println!(
            "day {at}: {rows} rows derived at {:.0} ns a row",
            (cpu_time() - start).as_nanos() as f64 / rows as f64
        );
        all.push(derived);
    }
    let raw = rows as u64 * RAW_BYTES_PER_ROW;
    for section in &all[0].sections {
        let (bytes, groups) = (section.bytes(), section.rows());
        println!(
            "{} {}: {groups} groups, {bytes} bytes, {:.1} a group, {:.1} % of raw",
            section.head.rollup,
            section.head.tier.name(),
            bytes as f64 / groups as f64,
            bytes as f64 * 100.0 / raw as f64
        );
        for (place, column) in section.projects[0].columns.iter().enumerate() {
            print!("  {place}: {:.2}", column.len() as f64 / groups as f64);
        }
        println!();
    }
    println!("not paying: {:?}", all[0].not_paying);
    for (name, dimension, measures) in [
        ("users", 1, &[(0, StateKind::Count), (1, StateKind::IntSum)][..]),
        ("models", 2, &[(3, StateKind::Quantiles)]),
        ("models", 1, &[(0, StateKind::Count), (1, StateKind::IntSum), (2, StateKind::FloatMean)]),
        ("audience", 0, &[(1, StateKind::Distinct)]),
    ] {
        for tier in Tier::ALL {
            let slices: Vec<_> = all
                .iter()
                .flat_map(|derived| &derived.sections)
                .filter(|section| section.head.rollup == name && section.head.tier == tier)
                .map(|section| (&section.projects[0], tier, section.head.dimensions.len()))
                .collect();
            let groups: u64 = slices.iter().map(|slice| slice.0.rows).sum();
            if groups == 0 {
                continue;
            }
            let runs = 5;
            let start = cpu_time();
            let mut found = 0;
            (0..runs).for_each(|_| found = read(&slices, dimension, measures));
            let each = (cpu_time() - start) / runs;
            println!(
                "{name} {}: {groups} rows of {} slices to {found} groups in {each:?}, {:.1} ns a row",
                tier.name(),
                slices.len(),
                each.as_nanos() as f64 / groups as f64
            );
        }
    }
}
