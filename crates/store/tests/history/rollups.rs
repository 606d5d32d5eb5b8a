//! Roll-ups on disk equal the rows they were derived from: after flushes, compactions, restarts, late rows, deletes, changes of
//! what is declared, and after the rows themselves have expired.

use std::path::Path;
use std::sync::Arc;

use tidewater_model::filter::{Filter, Scalar};
use tidewater_model::schema::{ColumnRef, DatasetDefinition, Tier};
use tidewater_store::disk::{Crash, Disk, DiskRef, FakeDisk};
use tidewater_store::{DatasetView, ManualClock, StoreConfig, Wanted, restore};

use crate::sums::{self, Sums};
use crate::world::{HOUR_US, KIND, NOON, Row, World, config, project, row};

const TIERS: [Tier; 3] = [Tier::Minute, Tier::Hour, Tier::Day];
const DAY_S: i64 = 86_400;

/// Nothing happens in the background: the test says when.
pub fn lazy() -> StoreConfig {
    StoreConfig { maintenance_interval_ms: 3_600_000, ..config("/data") }
}

fn open(disk: &FakeDisk, clock: &ManualClock) -> World {
    World::open_at(lazy(), Arc::new(disk.clone()), clock.clone()).unwrap()
}

fn world() -> (FakeDisk, ManualClock, World) {
    let (disk, clock) = (FakeDisk::new(), ManualClock::new(NOON));
    let world = open(&disk, &clock);
    (disk, clock, world)
}

fn rows(values: impl IntoIterator<Item = i64>) -> Vec<Row> {
    values.into_iter().map(|value| row(&format!("id-{value}"), value)).collect()
}

fn view(world: &World) -> DatasetView {
    world.store.snapshot().view(world.dataset).unwrap().clone()
}

/// Sections and rows of `p` and `q` say the same at every tier; returns how many times a unit answered days from a section.
pub fn check(world: &World, what: &str) -> usize {
    let snapshot = world.store.snapshot();
    let mut answered = 0;
    for name in ["p", "q"] {
        for tier in TIERS {
            let (said, from_sections) = sums::of_snapshot(world, &snapshot, name, tier);
            assert_eq!(said, sums::of_rows(&world.rows_of(name), tier), "{what}: {name} at {tier:?}");
            answered += if tier == Tier::Day { from_sections } else { 0 };
        }
    }
    let problems = world.store.verify().unwrap().problems;
    assert!(problems.is_empty(), "{what}: {problems:?}");
    answered
}

/// What history and rows together say of `p` by day.
fn days(world: &World) -> Sums {
    sums::of_snapshot(world, &world.store.snapshot(), "p", Tier::Day).0
}

fn files(disk: &FakeDisk, kind: &str) -> usize {
    let folder = Path::new("/data/datasets/events").join(kind);
    disk.list(&folder).unwrap().iter().map(|day| disk.list(day).unwrap().len()).sum()
}

fn declare(world: &World, json: &str) {
    let addition = DatasetDefinition::from_json(json.as_bytes()).unwrap();
    world.store.put_dataset("events", addition).unwrap();
}

#[test]
fn flush_and_compaction_derive_what_the_rows_say() {
    let (disk, clock, world) = world();
    for first in [0, 50, 20, 70] {
        world.put(&rows((first..first + 40).map(|value| value * 97)));
        world.begin("q", &rows((first..first + 9).map(|value| value * 1_000)), None).recv().unwrap().unwrap();
        world.store.flush().unwrap();
        assert!(check(&world, "after a flush") > 0);
    }
    world.put(&rows([7, 8, DAY_S + 5]));
    check(&world, "with rows in memory");
    world.store.settle().unwrap();
    assert!(world.store.stats().compactions > 0);
    let answered = check(&world, "after compaction");
    let holds = |name| view(&world).units.iter().filter(|unit| unit.span(&project(name)).is_some()).count();
    assert_eq!(answered, holds("p") + holds("q"), "every unit");
    drop(world);
    let world = open(&disk, &clock);
    assert_eq!(check(&world, "after a restart"), answered);
    let stats = world.store.stats();
    assert_eq!(stats.rollup_segments_pending, 0);
    assert_eq!(
        (files(&disk, "raw"), files(&disk, "rollup")),
        (stats.segments as usize, stats.segments as usize)
    );
    assert!(stats.rollup_bytes > 0);
}

#[test]
fn a_changed_roll_up_is_built_for_old_rows() {
    let (_, _, world) = world();
    for day in 0..3 {
        world.put(&rows((0..30).map(|value| day * DAY_S + value * 40)));
        world.store.flush().unwrap();
    }
    declare(&world, r#"{"rollups": [{"name": "kinds", "dimensions": ["kind"], "tiers": ["5m", "1d"]}]}"#);
    let built = |world: &World| -> Vec<(&'static str, u64, u64)> {
        let status = world.store.rollup_status();
        status.iter().map(|status| (status.tier, status.segments_built, status.segments_total)).collect()
    };
    assert_eq!(built(&world), [("5m", 0, 3), ("1d", 0, 3)]);
    assert_eq!(world.store.stats().rollup_segments_pending, 3);
    assert_eq!(check(&world, "while old sections stay usable"), 3);
    world.store.settle().unwrap();
    assert_eq!(built(&world), [("5m", 3, 3), ("1d", 3, 3)]);
    check(&world, "hours are declared no more");
    let (said, units) = sums::of_snapshot(&world, &world.store.snapshot(), "p", Tier::Minutes5);
    assert_eq!((said, units), (sums::of_rows(&world.rows(), Tier::Minutes5), 3));
    assert!(world.store.stats().rollups_built >= 3);
    let status = world.store.rollup_status();
    assert!(status.iter().all(|status| status.rows > 0 && status.bytes > 0 && status.raw_bytes > 0));
}

#[test]
fn back_building_goes_on_by_itself() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    world.put(&rows(0..30));
    world.store.flush().unwrap();
    declare(&world, r#"{"rollups": [{"name": "more", "dimensions": ["kind"], "tiers": ["1h"]}]}"#);
    world.wait_until("a built roll-up", |store| store.stats().rollup_segments_pending == 0);
    check(&world, "after back-building");
    let view = view(&world);
    let names: Vec<_> = view.units.iter().flat_map(|unit| unit.sidecar().unwrap().sections()).collect();
    assert!(names.iter().any(|section| section.head.rollup == "more"));
}

#[test]
fn deleted_rows_leave_the_roll_ups() {
    let (disk, clock, world) = world();
    world.put(&rows(0..90));
    world.store.flush().unwrap();
    world.delete(60);
    assert_eq!(
        check(&world, "while the delete is only a filter"),
        0,
        "sections that count deleted rows wait"
    );
    world.store.settle().unwrap();
    assert_eq!(check(&world, "after the rewrite"), 1);
    assert_eq!(world.rows().len(), 60);
    assert_eq!(world.store.stats().tombstones, 0);
    drop(world);
    assert_eq!(check(&open(&disk, &clock), "after a restart"), 1);
}

#[test]
fn tiers_outlive_raw_rows_and_go_by_their_own_retention() {
    let (disk, clock, world) = world();
    declare(&world, r#"{"retention": {"raw": "2d", "1h": "10d", "1d": null}}"#);
    for day in 0..3 {
        world.put(&rows((0..40).map(|value| day * DAY_S + value * 11)));
        world.store.flush().unwrap();
    }
    let all = days(&world);
    let by_day: Vec<Row> =
        (0..3).flat_map(|day| rows((0..40).map(|value| day * DAY_S + value * 11))).collect();
    clock.advance_us(96 * HOUR_US);
    world.store.settle().unwrap();
    let mut left = by_day[80..].to_vec();
    left.sort();
    assert_eq!(world.rows(), left, "two days of raw rows are gone");
    assert_eq!(days(&world), all, "their sums are not");
    assert_eq!((files(&disk, "raw"), files(&disk, "rollup")), (1, 3));
    let hours = sums::of_snapshot(&world, &world.store.snapshot(), "p", Tier::Hour).0;
    assert_eq!(hours, sums::of_rows(&by_day, Tier::Hour));
    assert_eq!(view(&world).time_span(&project("p")).unwrap().0, NOON, "history counts");
    drop(world);
    let world = open(&disk, &clock);
    assert_eq!((days(&world), world.store.stats().history_files), (all.clone(), 2));
    clock.advance_us(24 * 20 * HOUR_US);
    world.store.settle().unwrap();
    assert_eq!((world.rows(), days(&world)), (vec![], all));
    for unit in view(&world).units.iter() {
        let tiers: Vec<Tier> =
            unit.sidecar().unwrap().sections().iter().map(|section| section.head.tier).collect();
        assert_eq!(tiers, [Tier::Day], "hours are gone");
    }
    assert_eq!(view(&world).lost_until_us, None, "something is left of every row");
    declare(&world, r#"{"retention": {"1d": "12d"}}"#);
    world.store.settle().unwrap();
    assert_eq!((view(&world).units.len(), files(&disk, "rollup")), (0, 0), "all is gone");
    assert!(world.store.verify().unwrap().problems.is_empty());
    // That rows are gone for good is known after a restart and a longer retention.
    let last = by_day.iter().map(|row| NOON.0 + row.1 * 1_000_000).max();
    assert_eq!(view(&world).lost_until_us, last);
    drop(world);
    let world = open(&disk, &clock);
    declare(&world, r#"{"retention": {"raw": "400d", "1d": null}}"#);
    assert_eq!(view(&world).lost_until_us, last);
}

#[test]
fn late_rows_join_history_which_is_merged() {
    let (disk, clock, world) = world();
    declare(&world, r#"{"retention": {"raw": "2d", "1d": null}}"#);
    clock.advance_us(24 * 5 * HOUR_US);
    let mut sent = Vec::new();
    let files_max = lazy().compaction.history_files_max;
    for late in 0..2 * files_max as i64 {
        let rows = rows((0..20).map(|value| late * 100 + value * 7_001));
        world.put(&rows);
        sent.extend(rows);
        world.store.flush().unwrap();
        // Each flush becomes history before the next, as it would over days.
        world.store.settle().unwrap();
        assert_eq!(days(&world), sums::of_rows(&sent, Tier::Day), "after {late}");
    }
    assert_eq!(world.rows(), []);
    let stats = world.store.stats();
    assert!(stats.history_files <= files_max as u64, "{stats:?}");
    drop(world);
    let world = open(&disk, &clock);
    assert_eq!(days(&world), sums::of_rows(&sent, Tier::Day));
    assert!(world.store.verify().unwrap().problems.is_empty());
}

#[test]
fn a_roll_up_is_built_before_its_raw_rows_go() {
    let (_, clock, world) = world();
    world.put(&rows(0..60));
    world.store.flush().unwrap();
    clock.advance_us(24 * 9 * HOUR_US);
    declare(
        &world,
        r#"{"rollups": [{"name": "others", "dimensions": [], "tiers": ["1d"]}], "retention": {"raw": "2d", "1d": null}}"#,
    );
    world.store.settle().unwrap();
    assert_eq!(world.rows(), []);
    let view = view(&world);
    let sections: Vec<_> = view.units.iter().flat_map(|unit| unit.sidecar().unwrap().sections()).collect();
    assert!(sections.iter().any(|section| section.head.rollup == "others"), "{sections:?}");
    assert_eq!(days(&world), sums::of_rows(&rows(0..60), Tier::Day));
}

#[test]
fn a_delete_takes_whole_rows_of_history_and_leaves_sums_that_name_nobody() {
    let (disk, clock, world) = world();
    declare(&world, r#"{"retention": {"raw": "2d", "1d": null}}"#);
    world.put(&rows(0..60));
    world.store.flush().unwrap();
    clock.advance_us(24 * 5 * HOUR_US);
    world.store.settle().unwrap();
    let before = days(&world);
    world.delete(30);
    world.store.flush().unwrap();
    world.store.settle().unwrap();
    assert_eq!(days(&world), before, "values are no dimension: what they are part of stays");
    assert_eq!(world.store.stats().tombstones, 0);
    let red = Filter::Is {
        column: ColumnRef::column(KIND),
        values: vec![Scalar::String("red".to_owned())],
        case_sensitive: true,
    };
    world.try_delete_where(red).unwrap();
    world.store.flush().unwrap();
    drop(world);
    let world = open(&disk, &clock);
    assert_eq!(world.store.stats().tombstones, 1, "it waits for the rewrite");
    world.store.settle().unwrap();
    let left: Sums = before.into_iter().filter(|((_, kind), _)| kind != "red").collect();
    assert_eq!((days(&world), world.store.stats().tombstones), (left, 0));
    assert!(world.store.verify().unwrap().problems.is_empty());
}

#[test]
fn backups_hold_roll_ups_and_dropped_datasets_leave_none() {
    let (disk, clock, world) = world();
    declare(&world, r#"{"retention": {"raw": "2d", "1d": null}}"#);
    world.put(&rows(0..60));
    world.store.flush().unwrap();
    clock.advance_us(24 * 5 * HOUR_US);
    world.store.settle().unwrap();
    world.put(&rows((0..60).map(|value| 5 * DAY_S + value)));
    world.store.flush().unwrap();
    let all = days(&world);
    world.store.backup(Path::new("/backup")).unwrap();
    let shared: DiskRef = Arc::new(disk.clone());
    restore(&shared, Path::new("/backup"), Path::new("/restored")).unwrap();
    for folder in ["/backup", "/restored"] {
        let settings = StoreConfig { data_dir: folder.into(), ..lazy() };
        let copy = World::open_at(settings, Arc::new(disk.clone()), clock.clone()).unwrap();
        assert_eq!(days(&copy), all, "{folder}");
        assert!(copy.store.verify().unwrap().problems.is_empty());
    }
    assert_eq!(files(&disk, "rollup"), 2);
    world.store.drop_dataset("events").unwrap();
    assert_eq!((files(&disk, "raw"), files(&disk, "rollup")), (0, 0));
}

#[test]
fn damage_is_found_and_names_the_place() {
    let (disk, clock, world) = world();
    world.put(&rows(0..60));
    world.store.flush().unwrap();
    let unit = view(&world).units[0].clone();
    let path = unit.sidecar().unwrap().path().unwrap().to_owned();
    let bytes = disk.open_read(&path).unwrap().len().unwrap();
    drop((unit, world));
    for offset in 0..bytes {
        disk.damage(&path, offset);
        let world = open(&disk, &clock);
        let problems = world.store.verify().unwrap().problems;
        assert_eq!(problems.len(), 1, "byte {offset}: {problems:?}");
        assert!(problems[0].to_string().contains("rollup"), "{problems:?}");
        let unit = view(&world).units[0].clone();
        let sidecar = unit.sidecar().unwrap();
        for section in sidecar.sections() {
            // Damage elsewhere in the file does no harm; here it is an error, never another number.
            let measures: Vec<usize> = (0..section.head.measures.len()).collect();
            let within_us = i64::MIN..i64::MAX;
            let wanted = Wanted { dimensions: &[0], measures: &measures, times: true, within_us };
            if let Ok(slice) = sidecar.read(section.index, &project("p"), &wanted) {
                let said = sums::of_sidecar(sidecar, "p", section.head.tier, &[]).unwrap();
                assert_eq!(slice.is_some(), !said.is_empty());
                assert_eq!(said, sums::of_rows(&world.rows(), section.head.tier), "byte {offset}");
            }
        }
        disk.damage(&path, offset);
        drop((unit, world));
    }
    let file = disk.open(&path).unwrap();
    file.set_len(bytes - 1).unwrap();
    assert!(World::open_at(lazy(), Arc::new(disk.crash(Crash::KeepAll)), clock).is_err(), "another length");
}

#[test]
fn strange_rows_have_their_own_time() {
    // Rows on both sides of midnight and of an hour, in one request of one chunk.
    let (_, _, world) = world();
    let values = [-12 * 3_600 - 1, -12 * 3_600, -1, 0, 59, 60, 3_599, 3_600, 12 * 3_600 - 1, 12 * 3_600];
    world.put(&rows(values));
    world.store.flush().unwrap();
    check(&world, "at the borders of cells");
}
