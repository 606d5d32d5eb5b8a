//! Days at rest become one segment, and what is merged without rows says what the rows say.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use tidewater_model::schema::DatasetDefinition;
use tidewater_store::ManualClock;
use tidewater_store::disk::FakeDisk;

use crate::rollups::{check, lazy};
use crate::world::{NOON, Row, World, row};

const MINUTE_US: i64 = 60_000_000;
const DAY_S: i64 = 86_400;
/// Long enough for any day to be at rest.
const LONG_US: i64 = 60 * MINUTE_US;

fn rows(values: impl IntoIterator<Item = i64>) -> Vec<Row> {
    values.into_iter().map(|value| row(&format!("id-{value}"), value)).collect()
}

fn world() -> (FakeDisk, ManualClock, World) {
    let (disk, clock) = (FakeDisk::new(), ManualClock::new(NOON));
    let world = World::open_at(lazy(), Arc::new(disk.clone()), clock.clone()).unwrap();
    (disk, clock, world)
}

fn segments(world: &World) -> (u64, u64) {
    let stats = world.store.stats();
    (stats.segments, stats.settling_pending)
}

#[test]
fn a_day_at_rest_becomes_one_segment() {
    let (disk, clock, world) = world();
    for first in [0, 40, 80] {
        world.put(&rows((first..first + 40).map(|value| value * 97)));
        world.store.flush().unwrap();
    }
    for first in [0, 40] {
        world.put(&rows((first..first + 40).map(|value| DAY_S + value * 97)));
        world.store.flush().unwrap();
    }
    world.store.settle().unwrap();
    assert_eq!(segments(&world), (5, 2), "rows have just come");
    clock.advance_us(3 * MINUTE_US);
    // `settle` flushes, so this day has just got rows again.
    world.put(&rows([DAY_S + 7]));
    world.store.settle().unwrap();
    assert_eq!(segments(&world), (4, 1), "only the day before is at rest");
    check(&world, "after one day was settled");
    clock.advance_us(3 * MINUTE_US);
    world.store.settle().unwrap();
    assert_eq!(segments(&world), (2, 0));
    let answered = check(&world, "after both days were settled");
    assert_eq!(answered, 2, "every unit answers from its sections");
    let before = world.store.stats().compactions;
    clock.advance_us(LONG_US);
    world.store.settle().unwrap();
    assert_eq!(world.store.stats().compactions, before, "there is nothing left to do");
    drop(world);
    let world = World::open_at(lazy(), Arc::new(disk), clock).unwrap();
    check(&world, "after a restart");
}

#[test]
fn a_few_late_rows_wait_for_more() {
    let (_, clock, world) = world();
    for first in [0, 4_000] {
        world.put(&rows(first..first + 4_000));
        world.store.flush().unwrap();
    }
    clock.advance_us(LONG_US);
    world.store.settle().unwrap();
    assert_eq!(segments(&world), (1, 0));
    world.put(&rows([9_000]));
    world.store.flush().unwrap();
    clock.advance_us(MINUTE_US);
    world.store.settle().unwrap();
    assert_eq!(segments(&world), (2, 1), "a minute is too short for one row");
    clock.advance_us(20 * MINUTE_US);
    world.store.settle().unwrap();
    assert_eq!(segments(&world), (1, 0));
    check(&world, "with a late row");
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<i64>),
    PutOther(Vec<i64>),
    Delete(i64),
    Declare,
    Compact,
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let values = || vec(0..3 * DAY_S, 1..40);
    prop_oneof![
        6 => values().prop_map(Step::Put),
        2 => values().prop_map(Step::PutOther),
        1 => (0..3 * DAY_S).prop_map(Step::Delete),
        1 => Just(Step::Declare),
        2 => Just(Step::Compact),
        2 => Just(Step::Settle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever came before — late rows, deletes, a changed roll-up, other merges — sections of merged segments equal the rows, which
    /// verification derives once more and compares.
    #[test]
    fn merged_sections_equal_the_rows(steps in vec(step(), 3..16)) {
        let (_, clock, world) = world();
        for step in steps {
            match step {
                Step::Put(values) => {
                    world.put(&rows(values));
                    world.store.flush().unwrap();
                }
                Step::PutOther(values) => {
                    world.begin("q", &rows(values), None).recv().unwrap().unwrap();
                    world.store.flush().unwrap();
                }
                Step::Delete(min) => drop(world.delete(min)),
                Step::Declare => {
                    let json = br#"{"rollups": [{"name": "all", "dimensions": ["kind"], "metrics": ["n", "total"], "tiers": ["1h"]}]}"#;
                    world.store.put_dataset("events", DatasetDefinition::from_json(json).unwrap()).unwrap();
                }
                Step::Compact => world.store.settle().unwrap(),
                Step::Settle => {
                    clock.advance_us(LONG_US);
                    world.store.settle().unwrap();
                }
            }
            check(&world, "between");
        }
        clock.advance_us(LONG_US);
        world.store.settle().unwrap();
        clock.advance_us(LONG_US);
        world.store.settle().unwrap();
        check(&world, "at the end");
        let (found, pending) = segments(&world);
        prop_assert!(found <= 4 && pending == 0, "{found} segments of four days, {pending} pending");
    }
}
