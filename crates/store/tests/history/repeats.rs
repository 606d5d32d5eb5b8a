//! Row ids and idempotency tokens: a repeat stores nothing, across flushes, spills and restarts, within the window.

use std::sync::Arc;

use tidewater_store::disk::{Crash, FakeDisk};
use tidewater_store::{StoreConfig, StoreError};

use crate::world::{HOUR_US, NOON, Row, World, config, row};

/// The places a remembered id can be in.
#[derive(Clone, Copy, Debug)]
enum Where {
    Memory,
    Log,
    Run,
    RunAfterRestart,
}

fn move_to(world: World, disk: FakeDisk, place: Where) -> (World, FakeDisk) {
    match place {
        Where::Memory => (world, disk),
        Where::Log => {
            let disk = disk.crash(Crash::LoseAll);
            (World::fake(&disk), disk)
        }
        Where::Run => {
            world.store.flush().unwrap();
            (world, disk)
        }
        Where::RunAfterRestart => {
            world.store.flush().unwrap();
            let disk = disk.crash(Crash::LoseAll);
            (World::fake(&disk), disk)
        }
    }
}

const PLACES: [Where; 4] = [Where::Memory, Where::Log, Where::Run, Where::RunAfterRestart];

#[test]
fn a_repeated_id_is_not_stored_again() {
    for place in PLACES {
        let disk = FakeDisk::new();
        let world = World::fake(&disk);
        let first = world.put(&[row("a", 1), row("b", 2), row("a", 3), Row(None, 4)]);
        assert_eq!((first.accepted, first.duplicates), (3, 1));
        let (world, _disk) = move_to(world, disk, place);
        let second = world.put(&[row("c", 5), row("b", 6), Row(None, 4)]);
        assert_eq!((second.accepted, second.duplicates), (2, 1), "{place:?}");
        let third = world.put(&[row("a", 7)]);
        assert_eq!((third.accepted, third.duplicates, third.lsn), (0, 1, second.lsn), "{place:?}");
        let expected = [Row(None, 4), Row(None, 4), row("a", 1), row("b", 2), row("c", 5)];
        assert_eq!(world.rows(), expected, "{place:?}");
    }
}

#[test]
fn a_token_gets_its_first_reply_again() {
    for place in PLACES {
        let disk = FakeDisk::new();
        let world = World::fake(&disk);
        let rows = [row("a", 1), row("a", 2), row("b", 3)];
        let first = world.put_with_token(&rows, 7, 70).unwrap();
        assert_eq!((first.accepted, first.duplicates, first.repeated), (2, 1, false));
        let (world, _disk) = move_to(world, disk, place);
        let again = world.put_with_token(&rows, 7, 70).unwrap();
        assert!(again.repeated, "{place:?}");
        assert_eq!(again, tidewater_store::Receipt { repeated: true, ..first.clone() }, "{place:?}");
        assert_eq!(again.extra, b"reply to 3 rows");
        let other = world.put_with_token(&rows, 7, 71);
        assert!(matches!(other, Err(StoreError::TokenConflict)), "{place:?}");
        assert_eq!(world.put_with_token(&[row("z", 9)], 8, 80).unwrap().accepted, 1);
        assert_eq!(world.rows(), [row("a", 1), row("b", 3), row("z", 9)]);
    }
}

#[test]
fn a_token_whose_rows_were_all_duplicates_is_remembered_too() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    world.put(&[row("a", 1)]);
    let first = world.put_with_token(&[row("a", 1)], 7, 70).unwrap();
    assert_eq!((first.accepted, first.duplicates), (0, 1));
    let world = World::fake(&disk.crash(Crash::LoseAll));
    assert!(world.put_with_token(&[row("a", 1)], 7, 70).unwrap().repeated);
    assert_eq!(world.rows(), [row("a", 1)]);
}

#[test]
fn a_repeat_in_flight_waits_for_the_first() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    let token = Some(tidewater_store::Token { token_hash: 7, body_hash: 70 });
    let pending: Vec<_> = (0..50).map(|_| world.begin("p", &[row("a", 1)], token)).collect();
    let replies: Vec<_> = pending.into_iter().map(|outcome| outcome.recv().unwrap().unwrap()).collect();
    assert_eq!(replies.iter().filter(|reply| !reply.repeated).count(), 1);
    assert!(replies.iter().all(|reply| reply.lsn == replies[0].lsn && reply.accepted == 1));
    assert_eq!(world.rows(), [row("a", 1)]);
}

#[test]
fn ids_spill_to_runs_and_runs_are_merged() {
    let disk = FakeDisk::new();
    let small = StoreConfig { recent_ids_max: 50, recent_token_bytes_max: 1_000, ..config("/data") };
    let mut world = World::open(small.clone(), Arc::new(disk.clone())).unwrap();
    for n in 0..40 {
        let rows: Vec<Row> = (0..20).map(|i| row(&format!("{n}-{i}"), n)).collect();
        assert_eq!(world.put_with_token(&rows, n as u128, 1).unwrap().accepted, 20);
        match n {
            10 | 20 | 30 => world.store.flush().unwrap(),
            25 => world = World::open(small.clone(), Arc::new(disk.crash(Crash::LoseAll))).unwrap(),
            _ => {}
        }
    }
    world.store.flush().unwrap();
    let runs = |world: &World| world.store.verify().unwrap().runs;
    world.wait_until("merged runs", |store| store.verify().unwrap().runs <= 10);
    assert!(runs(&world) >= 2);
    for n in 0..40 {
        let rows: Vec<Row> = (0..20).map(|i| row(&format!("{n}-{i}"), n)).collect();
        assert_eq!(world.put(&rows).duplicates, 20, "request {n}");
        assert!(world.put_with_token(&rows, n as u128, 1).unwrap().repeated, "token {n}");
    }
    assert_eq!(world.rows().len(), 800);
    assert_eq!(world.store.stats().dedup_ids, 800);
    assert!(world.store.verify().unwrap().problems.is_empty());
}

#[test]
fn what_left_the_window_is_forgotten() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    world.put_with_token(&[row("a", 1)], 7, 70).unwrap();
    world.store.flush().unwrap();
    world.clock.set(NOON);
    world.clock.advance_us(23 * HOUR_US);
    assert_eq!(world.put(&[row("a", 1)]).duplicates, 1, "within 24 hours");
    world.store.flush().unwrap();
    world.clock.advance_us(2 * HOUR_US);
    world.wait_until("forgetting", |store| store.stats().dedup_ids == 0);
    assert_eq!(world.put(&[row("a", 1)]).accepted, 1, "after 25 hours");
    assert!(!world.put_with_token(&[row("b", 1)], 7, 71).unwrap().repeated);
}

#[test]
fn beyond_the_cap_the_oldest_ids_go_first() {
    let disk = FakeDisk::new();
    let small = StoreConfig { recent_ids_max: 10, ids_max: 100, ..config("/data") };
    let world = World::open(small, Arc::new(disk)).unwrap();
    for n in 0..40 {
        world.clock.advance_us(HOUR_US / 10);
        let rows: Vec<Row> = (0..10).map(|i| row(&format!("{n}-{i}"), n)).collect();
        world.put(&rows);
    }
    world.store.flush().unwrap();
    world.wait_until("a bounded number of ids", |store| store.stats().dedup_ids <= 100);
    assert!(world.store.stats().dedup_window_us.is_some_and(|window| window < 3 * HOUR_US));
    assert_eq!(world.put(&[row("39-0", 39)]).duplicates, 1);
    assert_eq!(world.put(&[row("0-0", 0)]).accepted, 1);
}
