//! Files of every format that ever landed open and read as they did. `segment-N.parquet` and `segment-N.json` in
//! `tests/fixtures` are a segment of format N and its catalog entry; they are never rewritten.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::sample::*;
use crate::disk::{Disk, RealDisk, read_whole, write_whole};
use crate::scan::Unit;
use crate::segment::{FORMAT, SegmentMeta, segment_path, verify_segment};

fn fixture(format: u16, extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/segment-{format}.{extension}"))
}

/// The rows of the fixture of format 1.
fn rows() -> Vec<TestRow> {
    let row = |project, lsn, pos, second: i64, status: Option<&str>| TestRow {
        project,
        lsn,
        pos,
        time_us: START_US + second * 1_000_000,
        id: Some(format!("id-{second}")),
        status: status.map(str::to_owned),
        count: (second != 3).then_some(second * 7),
        score: Some(second as f64 / 4.0),
        ok: (second != 2).then_some(second % 2 == 0),
        cost: Some(second * 1_000_000_001),
        tags: (second != 4).then(|| (0..second).map(|tag| format!("tag{tag}")).collect()),
        props: (second != 5).then(|| {
            let often = ("plan".to_owned(), "pro".to_owned());
            let rare = (format!("only{second}"), "x".to_owned());
            if second < 3 { [often].into() } else { [often, rare].into() }
        }),
    };
    let mut rows: Vec<TestRow> =
        (0..12).map(|second| row("beta", 2, second as i32, second, Some("b"))).collect();
    rows.push(row("acme", 1, 0, 2, None));
    rows.push(row("acme", 1, 1, 1, Some("zoë")));
    rows
}

#[test]
fn format_1_reads_as_it_did() {
    let folder = Folder::new();
    let entry = read_whole(&RealDisk, &fixture(1, "json")).expect("the fixture is there");
    let meta = SegmentMeta::decode(&entry).expect("an entry of that time");
    assert_eq!(meta.format, 1);
    let path = segment_path(folder.files.data_dir(), &folder.dataset.name, meta.day, meta.id);
    folder.disk.create_dir_all(path.parent().expect("a folder")).expect("the disk works");
    let bytes = read_whole(&RealDisk, &fixture(1, "parquet")).expect("the fixture is there");
    write_whole(&folder.disk, &path, &bytes).expect("the disk works");
    verify_segment(&folder.files, &folder.dataset, &meta, &[]).expect("a good file");
    let mut expected = rows();
    sort(&mut expected);
    let unit = Unit::Segment(folder.open(vec![meta]).remove(0));
    let found = ["acme", "beta"]
        .map(|name| scan(&unit, &everything(&folder.dataset, name), &[]).expect("a good file"));
    assert_eq!(found.concat(), expected);
}

/// Run once for a new format, with `--ignored`; refuses to replace a fixture.
#[test]
#[ignore = "writes the fixture of a new format"]
fn write_fixture() {
    let path = fixture(FORMAT, "parquet");
    assert!(RealDisk.open_read(&path).is_err(), "fixtures are never rewritten");
    let folder = Folder::new();
    let (beta, acme): (Vec<TestRow>, Vec<TestRow>) =
        rows().into_iter().partition(|row| row.project == "beta");
    let meta = folder.write(&[chunk(&[acme, beta])], &[]).remove(0);
    let segment = folder.open(vec![meta.clone()]).remove(0);
    let bytes = read_whole(&folder.disk, segment.path()).expect("just written");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    disk.create_dir_all(path.parent().expect("a folder")).expect("a writable checkout");
    write_whole(&*disk, &path, &bytes).expect("a writable checkout");
    write_whole(&*disk, &fixture(FORMAT, "json"), &meta.encode()).expect("a writable checkout");
}
