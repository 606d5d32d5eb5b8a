//! Power cuts and failing calls at every call to the disk while roll-ups are derived, built anew, become history, are merged and
//! lose deleted rows.
//!
//! A client runs a fixed script: requests, flushes, compactions, a changed roll-up, days that pass beyond the retention of raw
//! rows, late rows, deletes by a dimension. At call number k the machine loses power, or that call fails. What is left is opened, and
//! then it must hold that
//!
//! - days and kinds have the sums of all acknowledged rows, once each, whether their raw rows are still there or not;
//! - a request or a delete without an answer counts wholly or not at all;
//! - every section of a segment says what the segment's rows say, and `verify` agrees;
//! - all this stays so when the interrupted work is done to its end.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidewater_model::filter::{Filter, Scalar};
use tidewater_model::schema::{ColumnRef, DatasetDefinition, Tier};
use tidewater_store::compaction::CompactionLimits;
use tidewater_store::disk::{Crash, FakeDisk, Fault};
use tidewater_store::{ManualClock, StoreConfig, StoreResult, Unit};

use crate::sums::{self, Sums};
use crate::world::{HOUR_US, KIND, NOON, Row, World, config, kind_of, project, row, rows_of_units};

const DAY_S: i64 = 86_400;

/// The least number of files that are merged, so that a short script meets it.
const HISTORY_FILES_MAX: usize = 2;

fn script_config() -> StoreConfig {
    let compaction = CompactionLimits { history_files_max: HISTORY_FILES_MAX, ..CompactionLimits::default() };
    StoreConfig { maintenance_interval_ms: 3_600_000, compaction, ..config("/data") }
}

/// One step of the client.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Rows from `.0` on, so many, with seconds between them as `.2` says.
    Put(i64, i64, i64),
    /// Rows of this kind.
    Delete(&'static str),
    Flush,
    Settle,
    Declare(&'static str),
    Days(i64),
    Restart,
}

fn script() -> Vec<Step> {
    use Step::{Days, Declare, Delete, Flush, Put, Restart, Settle};
    let mut steps = vec![
        Declare(r#"{"retention": {"raw": "2d", "1h": "8d", "1d": null}}"#),
        Put(0, 6, 700),
        Flush,
        Put(DAY_S, 6, 5_000),
        Flush,
        Declare(r#"{"rollups": [{"name": "more", "dimensions": [], "tiers": ["1d"]}]}"#),
        Put(20, 4, 900),
        Settle,
        Days(3),
        Settle,
        Delete("green"),
        Put(3 * DAY_S, 7, 333),
        Restart,
        Settle,
    ];
    // Late rows that become history one after the other, until files are merged.
    for late in 0..HISTORY_FILES_MAX as i64 {
        steps.extend([Put(100 + late * 10_000, 3, 1_001), Settle]);
    }
    steps.extend([Delete("red"), Put(50, 2, 10), Settle, Days(9), Settle]);
    steps
}

/// What the client knows.
#[derive(Clone, Debug, Default)]
struct Client {
    rows: BTreeSet<Row>,
    /// The step that failed.
    unanswered: Option<Step>,
}

fn rows_of(first: i64, count: i64, apart: i64) -> Vec<Row> {
    (0..count).map(|index| first + index * apart).map(|value| row(&format!("id-{value}"), value)).collect()
}

fn of_kind(kind: &str) -> Filter {
    let values = vec![Scalar::String(kind.to_owned())];
    Filter::Is { column: ColumnRef::column(KIND), values, case_sensitive: true }
}

impl Client {
    /// The rows there are once a step is done.
    fn apply(&mut self, step: Step) {
        match step {
            Step::Put(first, count, apart) => self.rows.extend(rows_of(first, count, apart)),
            Step::Delete(kind) => self.rows.retain(|Row(_, value)| kind_of(*value) != kind),
            _ => {}
        }
    }

    fn sums(&self) -> Sums {
        sums::of_rows(&self.rows.iter().cloned().collect::<Vec<_>>(), Tier::Day)
    }

    /// Runs the script until something fails; true when it ran to its end.
    fn run(&mut self, disk: &FakeDisk, clock: &ManualClock) -> bool {
        let open = || World::open_at(script_config(), Arc::new(disk.clone()), clock.clone());
        let Ok(mut world) = open() else { return false };
        for step in script() {
            let outcome: StoreResult<()> = match step {
                Step::Put(first, count, apart) => world.try_put(&rows_of(first, count, apart)).map(drop),
                Step::Delete(kind) => world.try_delete_where(of_kind(kind)).map(drop),
                Step::Flush => world.store.flush(),
                Step::Settle => world.store.settle(),
                Step::Declare(json) => {
                    let addition = DatasetDefinition::from_json(json.as_bytes()).unwrap();
                    world.store.put_dataset("events", addition).map(drop)
                }
                Step::Days(days) => {
                    clock.advance_us(days * 24 * HOUR_US);
                    Ok(())
                }
                Step::Restart => {
                    let closed = world.store.close();
                    drop(world);
                    match open() {
                        Ok(opened) => world = opened,
                        Err(_) => return false,
                    }
                    closed
                }
            };
            if outcome.is_err() {
                self.unanswered = Some(step);
                return false;
            }
            self.apply(step);
        }
        true
    }

    /// Checks a recovered store, lets it finish what was interrupted, and checks once more.
    fn check(&self, world: &World, what: &str) {
        let mut after = self.clone();
        if let Some(step) = self.unanswered {
            after.apply(step);
        }
        let found = check_once(world, what);
        assert!(found == self.sums() || found == after.sums(), "{what}: {found:?}, not {:?}", self.sums());
        world.store.settle().unwrap();
        assert_eq!(check_once(world, what), found, "{what}: after settling");
        let stats = world.store.stats();
        assert_eq!(stats.rollup_segments_pending, 0, "{what}");
        let problems = world.store.verify().unwrap().problems;
        assert!(problems.is_empty(), "{what}: {problems:?}");
    }
}

/// The sums by day, where each segment's sections were seen to say what its rows say.
fn check_once(world: &World, what: &str) -> Sums {
    let snapshot = world.store.snapshot();
    let view = snapshot.view(world.dataset).unwrap();
    for unit in view.units.iter().filter(|unit| !matches!(unit, Unit::History(_))) {
        let Some(sidecar) = unit.sidecar() else { continue };
        let hides = |lsn| lsn > sidecar.tombstones_applied();
        if view.tombstones.iter().any(|tombstone| hides(tombstone.lsn)) {
            continue;
        }
        let rows = rows_of_units(view, std::slice::from_ref(unit), "p");
        for tier in [Tier::Minute, Tier::Hour, Tier::Day] {
            if let Some(said) = sums::of_sidecar(sidecar, "p", tier, &[]) {
                assert_eq!(said, sums::of_rows(&rows, tier), "{what}: {:?} at {tier:?}", unit.id());
            }
        }
    }
    assert!(view.time_span(&project("q")).is_none());
    sums::of_snapshot(world, &snapshot, "p", Tier::Day).0
}

fn crash_at(call: u64, fault: Fault, crash: Crash) {
    let what = format!("{fault:?} at call {call}, {crash:?}");
    let (disk, clock) = (FakeDisk::new(), ManualClock::new(NOON));
    disk.fail_at(call, fault);
    let mut client = Client::default();
    client.run(&disk, &clock);
    let left = disk.crash(crash);
    let again = left.crash(Crash::KeepAll);
    again.fail_at(call % 24, Fault::PowerCut);
    drop(World::open_at(script_config(), Arc::new(again.clone()), clock.clone()));
    let disk = again.crash(Crash::Random(call));
    let world = World::open_at(script_config(), Arc::new(disk), clock);
    let world = world.unwrap_or_else(|error| panic!("{what}: {}", error.chain()));
    client.check(&world, &what);
}

fn at_every_call(fault: Fault, crash: impl Fn(u64) -> Crash) {
    let (disk, clock) = (FakeDisk::new(), ManualClock::new(NOON));
    let mut client = Client::default();
    assert!(client.run(&disk, &clock), "the script runs to its end: {:?}", client.unanswered);
    let calls = disk.calls();
    let world = World::open_at(script_config(), Arc::new(disk), clock).unwrap();
    let stats = world.store.stats();
    assert!(stats.history_files > 0, "{stats:?}");
    client.check(&world, "without a crash");
    assert!(calls > 200, "{calls} calls");
    (0..calls).for_each(|call| crash_at(call, fault, crash(call)));
}

#[test]
fn a_power_cut_that_loses_all_that_was_not_synced() {
    at_every_call(Fault::PowerCut, |_| Crash::LoseAll);
}

#[test]
fn a_power_cut_that_keeps_a_random_part() {
    at_every_call(Fault::PowerCut, Crash::Random);
}

#[test]
fn a_killed_process() {
    at_every_call(Fault::PowerCut, |_| Crash::KeepAll);
}

#[test]
fn a_failing_call() {
    at_every_call(Fault::Fail, |call| Crash::Random(call * 7));
}
