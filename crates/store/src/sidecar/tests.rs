//! Files of every format that ever landed open and read as they did, and the planning of history as tables; when sections are merged. `sidecar-N.rollup`
//! and `sidecar-N.json` in `tests/fixtures` are a sidecar of format N and its catalog entry; they are never rewritten.

use std::ops::ControlFlow;
use std::path::PathBuf;

use tidewater_columns::StringsRef;
use tidewater_model::filter::Filter;
use tidewater_model::schema::{DatasetDefinition, DatasetId, Tier};

use super::*;
use crate::disk::{Disk, FakeDisk, RealDisk, read_whole, write_whole};
use crate::segment::{Segment, SegmentId, Unsorted, write_segments};

const DAY_US: i64 = 86_400_000_000;

fn fixture(format: u16, extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/sidecar-{format}.{extension}"))
}

fn dataset() -> Arc<Dataset> {
    let definition = br#"{"time": "ts", "columns": {"kind": "string", "ms": "int", "cost": "money", "user": "string"},
        "metrics": {"n": {"agg": "count"}, "cost": {"agg": "sum", "column": "cost"}, "p95": {"agg": "p95", "column": "ms"},
            "users": {"agg": "uniq", "column": "user"}},
        "rollups": [{"name": "kinds", "dimensions": ["kind"], "tiers": ["1h", "1d"]}],
        "retention": {"raw": "7d", "1h": "90d", "1d": null}}"#;
    let definition = DatasetDefinition::from_json(definition).expect("a valid definition");
    Arc::new(Dataset::compile("calls", definition).expect("a valid dataset"))
}

fn name(project: &str) -> ProjectName {
    ProjectName::new(project).expect("a valid name")
}

/// The hour, kind of every row of a project, at a tier.
fn rows(sidecar: &Sidecar, tier: Tier, project: &str) -> Vec<(i64, Option<String>)> {
    let section = sidecar.sections().iter().find(|section| section.head.tier == tier).expect("a section");
    let measures: Vec<usize> = (0..section.head.measures.len()).collect();
    let wanted = Wanted { dimensions: &[0], measures: &measures, times: true, within_us: i64::MIN..i64::MAX };
    let slice = sidecar.read(section.index, &name(project), &wanted);
    let slice = slice.expect("a good file").expect("rows of the project");
    let kinds = slice.dimensions[0].clone().expect("kinds");
    let kinds = StringsRef::new(kinds.as_ref()).expect("strings");
    let kind = |row: usize| kinds.get(row).map(str::to_owned);
    (0..slice.rows)
        .map(|row| (slice.times.value(row).rem_euclid(DAY_US) / (DAY_US / 24), kind(row)))
        .collect()
}

#[test]
fn format_1_reads_as_it_did() {
    let disk = FakeDisk::new();
    let files = SegmentFiles::new(Arc::new(disk.clone()), PathBuf::from("/data"), 1 << 20);
    let entry = read_whole(&RealDisk, &fixture(1, "json")).expect("the fixture is there");
    let meta = SidecarMeta::decode(&entry).expect("an entry of that time");
    assert_eq!((meta.format, meta.segment, &meta.encode()), (1, Some(SegmentId(1)), &entry));
    let path = sidecar_path(files.data_dir(), "calls", meta.day, meta.id);
    disk.create_dir_all(path.parent().expect("a folder")).expect("the disk works");
    let bytes = read_whole(&RealDisk, &fixture(1, "rollup")).expect("the fixture is there");
    write_whole(&disk, &path, &bytes).expect("the disk works");
    let sidecar = Sidecar::open(&files, &dataset(), meta).expect("a good file");
    verify_sidecar(&files, &dataset(), &sidecar, None, &[]).expect("a good file");
    let text = |kind: &str| Some(kind.to_owned());
    assert_eq!(rows(&sidecar, Tier::Day, "acme"), [(0, None), (0, text("chat")), (0, text("tool"))]);
    assert_eq!(rows(&sidecar, Tier::Day, "beta"), [(0, text("chat"))]);
    let hours = rows(&sidecar, Tier::Hour, "acme");
    assert_eq!((hours.len(), hours[0].clone()), (15, (0, None)));
    assert_eq!(sidecar.slice(0, &name("zeta")).expect("a good file"), None);
}

/// Run once for a new format, with `--ignored`; refuses to replace a fixture.
#[test]
#[ignore = "writes the fixture of a new format"]
fn write_fixture() {
    use crate::chunk::{Chunk, Run};
    use arrow_array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};

    let path = fixture(SIDECAR_FORMAT, "rollup");
    assert!(RealDisk.open_read(&path).is_err(), "fixtures are never rewritten");
    let disk = FakeDisk::new();
    let files = SegmentFiles::new(Arc::new(disk.clone()), PathBuf::from("/data"), 1 << 20);
    let numbers: Vec<i64> = (0..400).collect();
    let minute_us = 60_000_000;
    let times = numbers.iter().map(|number| 20_000 * DAY_US + number % 300 * minute_us);
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"));
    let kind = |number: &i64| match number % 3 {
        _ if *number >= 300 => Some("chat"),
        0 => None,
        1 => Some("chat"),
        _ => Some("tool"),
    };
    let kinds: ArrayRef = Arc::new(numbers.iter().map(kind).collect::<StringArray>());
    let ms: ArrayRef = Arc::new(
        numbers.iter().map(|number| (number % 7 > 0).then_some(number * 13)).collect::<Int64Array>(),
    );
    let cost: ArrayRef =
        Arc::new(Int64Array::from_iter_values(numbers.iter().map(|number| number * 1_000_001)));
    let users: ArrayRef =
        Arc::new(StringArray::from_iter_values(numbers.iter().map(|number| format!("user-{}", number % 90))));
    let batch =
        tidewater_columns::RowBatch::new(vec![Some(times), Some(kinds), Some(ms), Some(cost), Some(users)]);
    let run = |project: &str, lsn, rows| Run { project: name(project), lsn: Lsn(lsn), rows };
    let chunk = Arc::new(Chunk::new(batch, vec![run("acme", 1, 300), run("beta", 2, 100)]));
    let (dataset, next) = (dataset(), std::cell::Cell::new(0));
    let unsorted = Unsorted {
        dataset_id: DatasetId(1),
        dataset: &dataset,
        chunks: &[chunk],
        tombstones: &[],
        row_bytes: Some(1e6),
        forecasts: &Forecasts::default(),
    };
    let next_id = || SegmentId(next.replace(next.get() + 1) + 1);
    let written = write_segments(&files, &unsorted, &next_id).expect("the disk works").remove(0);
    let meta = written.sidecar.expect("the dataset has roll-ups");
    let from = sidecar_path(files.data_dir(), "calls", meta.day, meta.id);
    let bytes = read_whole(&disk, &from).expect("just written");
    write_whole(&RealDisk, &path, &bytes).expect("a writable checkout");
    write_whole(&RealDisk, &fixture(SIDECAR_FORMAT, "json"), &meta.encode()).expect("a writable checkout");
}

/// A segment with its sidecar: rows of one project in one hour.
fn unit(files: &Arc<SegmentFiles>, id: u64, rows: i64) -> Arc<Segment> {
    use crate::chunk::{Chunk, Run};
    use arrow_array::{ArrayRef, Int64Array, TimestampMicrosecondArray};

    let times = (0..rows).map(|row| 20_000 * DAY_US + row);
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"));
    let ms: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let batch = tidewater_columns::RowBatch::new(vec![Some(times), None, Some(ms), None, None]);
    let chunk =
        Arc::new(Chunk::new(batch, vec![Run { project: name("acme"), lsn: Lsn(1), rows: rows as u32 }]));
    let (dataset, next) = (dataset(), std::cell::Cell::new(id));
    let unsorted = Unsorted {
        dataset_id: DatasetId(1),
        dataset: &dataset,
        chunks: &[chunk],
        tombstones: &[],
        row_bytes: Some(1e6),
        forecasts: &Forecasts::default(),
    };
    let next_id = || SegmentId(next.replace(next.get() + 1));
    let written = write_segments(files, &unsorted, &next_id).expect("the disk works").remove(0);
    written.open(files, &dataset).expect("just written")
}

#[test]
fn sections_are_merged_where_they_hold_exactly_the_rows() {
    let disk = FakeDisk::new();
    let files = SegmentFiles::new(Arc::new(disk.clone()), PathBuf::from("/data"), 1 << 20);
    let inputs = [unit(&files, 1, 30), unit(&files, 11, 40)];
    let merge = |inputs: &[Arc<Segment>], tombstones: &[Arc<Tombstone>]| {
        let merged = merge_sections(&dataset(), inputs, tombstones, &|| ControlFlow::Continue(()));
        merged.expect("rows are there").expect("nobody ends it")
    };
    let merged = merge(&inputs, &[]);
    let tiers: Vec<Tier> = merged.iter().map(|section| section.head.tier).collect();
    assert_eq!(tiers, [Tier::Hour, Tier::Day]);
    assert!(merged.iter().all(|section| section.rows() == 1), "both have the same one group");
    let hides = |project: &str| {
        let hides =
            Tombstone::new(Lsn(9), name(project), i64::MIN, i64::MAX, Arc::from("[]"), &Filter::all());
        Arc::new(hides.expect("no expression to compile"))
    };
    assert_eq!(merge(&inputs, &[hides("acme")]).len(), 0, "a delete takes rows");
    assert_eq!(merge(&inputs, &[hides("beta")]).len(), 2, "a delete of other rows");
    let without = inputs[1].with_sidecar(None);
    assert_eq!(merge(&[Arc::clone(&inputs[0]), without], &[]).len(), 0, "one has no sidecar");
    let meta = SidecarMeta { derived_for: 7, ..inputs[1].sidecar_entry().expect("a sidecar").meta().clone() };
    let other = inputs[1].with_sidecar(Some(inputs[1].sidecar_entry().expect("a sidecar").with_meta(meta)));
    assert_eq!(merge(&[Arc::clone(&inputs[0]), other], &[]).len(), 0, "one is of other roll-ups");
    let path = inputs[1].sidecar().and_then(|sidecar| sidecar.path()).expect("a file").to_owned();
    let mut bytes = read_whole(&disk, &path).expect("just written");
    bytes[footer::HEADER_BYTES] ^= 1;
    write_whole(&disk, &path, &bytes).expect("the disk works");
    // What is open already still reads the bytes of before.
    files.forget_sidecar(inputs[1].sidecar_entry().expect("a sidecar").meta().id);
    assert_eq!(merge(&inputs, &[]).len(), 1, "what is damaged is left to be derived");
    let ended = merge_sections(&dataset(), &inputs, &[], &|| ControlFlow::Break(()));
    assert!(ended.expect("nothing was read").is_none());
}

/// History of a day with sections of these tiers.
fn history(id: u64, day: i32, bytes: u64, tiers: &[Tier]) -> SidecarMeta {
    let section = |(index, tier): (usize, &Tier)| SectionInfo {
        head: Arc::new(tidewater_aggregate::SectionHead {
            rollup: "kinds".to_owned(),
            tier: *tier,
            dimensions: Vec::new(),
            measures: Vec::new(),
        }),
        index,
        bytes: 1,
        rows: 1,
    };
    SidecarMeta {
        id: SidecarId(id),
        dataset: DatasetId(1),
        segment: None,
        day,
        bytes,
        checksum: 0,
        derived_for: 1,
        tombstones_applied: Lsn(0),
        format: SIDECAR_FORMAT,
        projects: vec![(name("p"), ProjectSpan { rows: 1, min_us: 0, max_us: 0 })],
        not_paying: Vec::new(),
        sections: tiers.iter().enumerate().map(section).collect(),
    }
}

#[test]
fn files_of_one_month_and_shape_are_merged() {
    // 2026-01-01 is day 20,454.
    const JANUARY: i32 = 20_454;
    const FEBRUARY: i32 = JANUARY + 31;
    let (days, hours): (&[Tier], &[Tier]) = (&[Tier::Day], &[Tier::Hour, Tier::Day]);
    let check = |files: &[(u64, i32, u64, &[Tier])], pending: &[u64], expected: Option<&[u64]>| {
        let metas: Vec<SidecarMeta> =
            files.iter().map(|(id, day, bytes, tiers)| history(*id, *day, *bytes, tiers)).collect();
        let is_pending = |id: SidecarId| pending.contains(&id.0);
        let plan = plan_history_merge(&metas.iter().collect::<Vec<_>>(), 2, &is_pending);
        let plan = plan.map(|ids| ids.iter().map(|id| id.0).collect::<Vec<_>>());
        assert_eq!(plan.as_deref(), expected, "{files:?}");
    };
    check(&[], &[], None);
    check(&[(1, JANUARY, 9, days), (2, JANUARY + 1, 9, days)], &[], None);
    check(&[(1, JANUARY, 9, days), (2, JANUARY + 30, 8, days), (3, JANUARY, 7, days)], &[], Some(&[3, 2, 1]));
    check(&[(1, JANUARY, 9, days), (2, JANUARY, 9, days), (3, FEBRUARY, 9, days)], &[], None);
    check(&[(1, JANUARY, 9, days), (2, JANUARY, 9, hours), (3, JANUARY, 9, days)], &[], None);
    check(&[(1, JANUARY, 9, days), (2, JANUARY, 9, days), (3, JANUARY, 1 << 30, days)], &[], None);
    check(&[(1, JANUARY, 9, days), (2, JANUARY, 9, days)], &[2], Some(&[2]));
}
