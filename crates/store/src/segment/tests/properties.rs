//! Scans and merges against plain vectors of rows.

use std::ops::ControlFlow;

use proptest::prelude::*;
use tidewater_model::filter::{Comparison, Filter, Scalar, TextMatch};

use super::sample::*;
use crate::compaction::merge_segments;
use crate::scan::{ScanRequest, Unit};
use crate::segment::{DAY_US, Segment, verify_segment};
use crate::tombstone::Tombstone;
use crate::version::Lsn;
use std::sync::Arc;

fn requests() -> impl Strategy<Value = Vec<Vec<TestRow>>> {
    proptest::collection::vec(request(), 1..8)
}

type Test = Arc<dyn Fn(&TestRow) -> bool + Send + Sync>;

/// A filter together with what it says of a row.
type Predicate = (Filter, Test);

fn predicate(choice: u8, text: String, number: i64) -> Predicate {
    let dataset = dataset();
    let column = |name: &str| reference(&dataset, name);
    let is = |name: &str, value: Scalar| Filter::Is {
        column: column(name),
        values: vec![value],
        case_sensitive: true,
    };
    let compare = |name: &str, how, value| Filter::Compare { column: column(name), how, value };
    match choice % 9 {
        0 => (
            is("status", Scalar::String(text.clone())),
            Arc::new(move |row| row.status.as_ref() == Some(&text)),
        ),
        1 => (is("count", Scalar::Int(number)), Arc::new(move |row| row.count == Some(number))),
        2 => (
            compare("count", Comparison::Gt, Scalar::Int(number)),
            Arc::new(move |row| row.count.is_some_and(|count| count > number)),
        ),
        3 => (
            compare("score", Comparison::Lte, Scalar::Float(number as f64 * 50.0)),
            Arc::new(move |row| row.score.is_some_and(|score| score <= number as f64 * 50.0)),
        ),
        4 => (is("status", Scalar::Null), Arc::new(|row| row.status.is_none())),
        5 => (
            Filter::Not(Box::new(compare("status", Comparison::Gte, Scalar::String(text.clone())))),
            Arc::new(move |row| row.status.as_ref().is_none_or(|status| *status < text)),
        ),
        6 => (
            is("props.plan", Scalar::String(text.clone())),
            Arc::new(move |row| row.props.as_ref().and_then(|props| props.get("plan")) == Some(&text)),
        ),
        7 => (
            Filter::Text {
                column: column("id"),
                how: TextMatch::StartsWith,
                patterns: vec![text.clone()],
                case_sensitive: true,
            },
            Arc::new(move |row| row.id.as_ref().is_some_and(|id| id.starts_with(&text))),
        ),
        _ => (Filter::Exists { column: column("cost") }, Arc::new(|row| row.cost.is_some())),
    }
}

fn any_predicate() -> impl Strategy<Value = (u8, String, i64)> {
    (any::<u8>(), "[a-c]{0,2}", -6..6_i64)
}

fn tombstone(lsn: i64, name: &str, from_us: i64, to_us: i64, filter: &Filter) -> Arc<Tombstone> {
    let tombstone = Tombstone::new(Lsn(lsn), project(name), from_us, to_us, Arc::from(""), filter);
    Arc::new(tombstone.expect("no expression to compile"))
}

/// Every project's rows over all units, sorted.
fn collect(units: &[Unit], request: &ScanRequest, tombstones: &[Arc<Tombstone>]) -> Vec<TestRow> {
    let parts = units.iter().map(|unit| scan(unit, request, tombstones).expect("nothing is damaged"));
    let mut rows: Vec<TestRow> = parts.flatten().collect();
    sort(&mut rows);
    rows
}

fn units(segments: &[Arc<Segment>]) -> Vec<Unit> {
    segments.iter().cloned().map(Unit::Segment).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_in_order(mut requests in requests()) {
        number(&mut requests, 1);
        let folder = Folder::new();
        let chunks: Vec<_> = requests.chunks(3).map(chunk).collect();
        let metas = folder.write(&chunks, &[]);
        let all: Vec<TestRow> = requests.concat();
        prop_assert_eq!(metas.iter().map(|meta| meta.rows).sum::<u64>(), all.len() as u64);
        for segment in folder.open(metas) {
            let meta = segment.meta();
            let day = i64::from(meta.day);
            let mut expected = day_rows(&all, day..day + 1);
            sort(&mut expected);
            let names = meta.projects.iter().map(|rows| rows.project.clone()).collect::<Vec<_>>();
            let unit = Unit::Segment(Arc::clone(&segment));
            let found = names.iter().flat_map(|name| {
                scan(&unit, &everything(&folder.dataset, name.as_str()), &[]).expect("nothing is damaged")
            });
            prop_assert_eq!(found.collect::<Vec<_>>(), expected);
            verify_segment(&folder.files, &folder.dataset, meta, &[]).expect("nothing is damaged");
            let decoded = crate::segment::SegmentMeta::decode(&meta.encode()).expect("its own form");
            prop_assert_eq!(&decoded, meta);
        }
    }

    #[test]
    fn any_selection_equals_a_naive_filter(
        mut requests in requests(),
        name in proptest::sample::select(&PROJECTS[..]),
        range in (0..3 * DAY_US, 0..2 * DAY_US),
        bounds in (proptest::option::of(0..8_i64), proptest::option::of(0..8_i64)),
        deletes in proptest::collection::vec((0..10_i64, 0..DAY_US, any_predicate()), 0..3),
        hint in any_predicate(),
    ) {
        number(&mut requests, 1);
        let folder = Folder::new();
        let chunks: Vec<_> = requests.chunks(3).map(chunk).collect();
        let segments = folder.open(folder.write(&chunks, &[]));
        let (from_us, to_us) = (START_US + range.0 - 1, START_US + range.0 + range.1);
        let mut tombstones = Vec::new();
        let mut hidden: Vec<Test> = Vec::new();
        for (lsn, from, (choice, text, number)) in deletes {
            let (filter, passes) = predicate(choice, text, number);
            let from_us = START_US + from;
            tombstones.push(tombstone(lsn, name, from_us, i64::MAX, &filter));
            hidden.push(Arc::new(move |row| row.lsn < lsn && row.time_us >= from_us && passes(row)));
        }
        let (hint, passes) = predicate(hint.0, hint.1, hint.2);
        let request = ScanRequest {
            from_us,
            to_us,
            after: bounds.0.map(Lsn),
            until: bounds.1.map(Lsn),
            hint,
            ..everything(&folder.dataset, name)
        };
        let exact = |row: &TestRow| {
            row.project == name
                && row.time_us >= from_us
                && row.time_us < to_us
                && request.keeps(Lsn(row.lsn))
                && !hidden.iter().any(|hides| hides(row))
        };
        let mut expected: Vec<TestRow> = requests.concat().into_iter().filter(|row| exact(row)).collect();
        sort(&mut expected);
        let memory: Vec<Unit> = chunks.iter().cloned().map(Unit::Chunk).collect();
        prop_assert_eq!(&collect(&memory, &request, &tombstones), &expected);
        // The hint may leave rows out of a segment's scan, but only such as fail it.
        let mut found = collect(&units(&segments), &request, &tombstones);
        prop_assert!(found.iter().all(exact));
        found.retain(|row| passes(row));
        expected.retain(|row| passes(row));
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_merge_is_the_sorted_concatenation(
        mut requests in proptest::collection::vec(request(), 2..10),
        delete in proptest::option::of((0..12_i64, any_predicate())),
        flushes in 1..5_usize,
    ) {
        number(&mut requests, 1);
        let folder = Folder::new();
        let per_flush = requests.len().div_ceil(flushes);
        let metas = requests.chunks(per_flush).flat_map(|part| folder.write(&[chunk(part)], &[]));
        let inputs = folder.open(metas.collect());
        let mut expected: Vec<TestRow> = requests.concat();
        let mut tombstones = Vec::new();
        if let Some((lsn, (choice, text, number))) = delete {
            let (filter, passes) = predicate(choice, text, number);
            tombstones.push(tombstone(lsn, PROJECTS[0], i64::MIN, i64::MAX, &filter));
            expected.retain(|row| !(row.project == PROJECTS[0] && row.lsn < lsn && passes(row)));
        }
        sort(&mut expected);
        let mut days: Vec<i32> = inputs.iter().map(|segment| segment.meta().day).collect();
        days.sort_unstable();
        days.dedup();
        let mut outputs = Vec::new();
        for day in days {
            let of_day: Vec<_> = inputs.iter().filter(|segment| segment.meta().day == day).cloned().collect();
            let go_on = || ControlFlow::Continue(());
            let merged = merge_segments(
                &folder.files, &folder.dataset, &of_day, &tombstones, &|| folder.next_id(), &go_on,
            );
            let merged = merged.expect("nothing is damaged").expect("not stopped");
            let merged: Vec<_> = merged.into_iter().map(|unit| unit.segment).collect();
            for meta in &merged {
                verify_segment(&folder.files, &folder.dataset, meta, &tombstones).expect("a good file");
                prop_assert!(!tombstones.iter().any(|tombstone| tombstone.is_pending_in(meta)));
            }
            outputs.extend(folder.open(merged));
        }
        let found: Vec<TestRow> = PROJECTS
            .iter()
            .flat_map(|name| collect(&units(&outputs), &everything(&folder.dataset, name), &[]))
            .collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_stopped_merge_and_a_replaced_segment_leave_no_files() {
    let mut requests = vec![vec![row_at(1), row_at(2)], vec![row_at(3)]];
    number(&mut requests, 1);
    let folder = Folder::new();
    let inputs: Vec<_> = requests
        .iter()
        .flat_map(|request| folder.write(&[chunk(std::slice::from_ref(request))], &[]))
        .collect();
    let inputs = folder.open(inputs);
    let stop = || ControlFlow::Break(());
    let merged = merge_segments(&folder.files, &folder.dataset, &inputs, &[], &|| folder.next_id(), &stop);
    assert!(merged.expect("the disk works").is_none());
    let day = inputs[0].path().parent().expect("a folder").to_owned();
    let list = || crate::disk::Disk::list(&folder.disk, &day).expect("the disk works").len();
    assert_eq!(list(), 2);
    let held = Arc::clone(&inputs[0]);
    inputs.iter().for_each(|segment| segment.mark_replaced());
    drop(inputs);
    assert_eq!(list(), 1, "a snapshot still holds one");
    drop(held);
    assert_eq!(list(), 0);
}

fn row_at(second: i64) -> TestRow {
    TestRow {
        project: PROJECTS[0],
        lsn: 0,
        pos: 0,
        time_us: START_US + second * 1_000_000,
        id: None,
        status: None,
        count: Some(second),
        score: None,
        ok: None,
        cost: None,
        tags: None,
        props: None,
    }
}

#[test]
fn columns_the_file_lacks_read_as_none() {
    let mut requests = vec![vec![row_at(1)]];
    number(&mut requests, 1);
    let folder = Folder::new();
    let segment = folder.open(folder.write(&[chunk(&requests)], &[])).remove(0);
    let mut request = everything(&folder.dataset, PROJECTS[0]);
    request.columns =
        ["id", "props", "props.plan", "count"].map(|name| reference(&folder.dataset, name)).to_vec();
    let mut later = request.columns[0].clone();
    later.column.0 = 90;
    request.columns.push(later);
    let morsels = Unit::Segment(segment).scan(&Arc::new(request), &[]).expect("a good file");
    let batch = morsels.into_iter().next().expect("one row").read().expect("a good file").next();
    let batch = batch.expect("one row").expect("a good file");
    let there: Vec<bool> = batch.columns.iter().map(Option::is_some).collect();
    assert_eq!(there, [false, false, false, true, false]);
}

#[test]
fn hints_and_times_skip_pages() {
    let mut requests = vec![(0..400).map(row_at).collect::<Vec<_>>()];
    for row in &mut requests[0] {
        row.id = row.count.map(|count| format!("id-{count:04}"));
        row.status = row.count.map(|count| format!("s{}", count / 100));
    }
    number(&mut requests, 1);
    let folder = Folder::new();
    let unit = Unit::Segment(folder.open(folder.write(&[chunk(&requests)], &[])).remove(0));
    let rows_read = |hint: Filter, seconds: std::ops::Range<i64>| {
        let (from_us, to_us) = (START_US + seconds.start * 1_000_000, START_US + seconds.end * 1_000_000);
        let request = ScanRequest { hint, from_us, to_us, ..everything(&folder.dataset, PROJECTS[0]) };
        let morsels = unit.scan(&Arc::new(request), &[]).expect("a good file");
        morsels.iter().map(|morsel| morsel.rows_max()).sum::<u64>()
    };
    let is = |name: &str, value: &str| Filter::Is {
        column: reference(&folder.dataset, name),
        values: vec![Scalar::String(value.to_owned())],
        case_sensitive: true,
    };
    assert_eq!(rows_read(Filter::all(), 0..400), 400);
    assert_eq!(rows_read(Filter::all(), 100..116), 20, "a row group begins at row 100");
    assert_eq!(rows_read(is("status", "s2"), 0..400), 100);
    assert_eq!(rows_read(is("id", "id-0250"), 0..400), 20);
    assert_eq!(
        rows_read(is("id", "id-0250x"), 0..400),
        0,
        "a bloom filter knows better than a page's bounds"
    );
    assert_eq!(rows_read(Filter::And(vec![is("status", "s1"), is("status", "s2")]), 0..400), 0);
    assert_eq!(rows_read(Filter::Or(vec![is("status", "s1"), is("id", "id-0250")]), 0..400), 120);
    assert_eq!(rows_read(is("props.plan", "pro"), 0..400), 0, "no row has that column");
    assert_eq!(rows_read(Filter::Not(Box::new(is("props.plan", "pro"))), 0..400), 400);
}
