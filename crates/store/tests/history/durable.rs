//! Acknowledged means durable and visible, across restarts, before and after a flush.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewater_store::disk::{Crash, FakeDisk, RealDisk};
use tidewater_store::{Lsn, Store, StoreConfig, StoreError, SystemClock};

use crate::world::{NOON, World, config, project, row, rows_in};

#[test]
fn rows_are_there_when_they_are_acknowledged_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::real(&folder);
    let first = world.put(&[row("a", 1), row("b", 2)]);
    let second = world.put(&[row("c", 3)]);
    assert_eq!((first.accepted, first.duplicates, first.lsn), (2, 0, Lsn(1)));
    assert!(second.lsn > first.lsn);
    assert_eq!(world.store.snapshot().version(), second.version);
    let expected = [row("a", 1), row("b", 2), row("c", 3)];
    assert_eq!(world.rows(), expected);
    drop(world);
    let world = World::real(&folder);
    assert_eq!(world.rows(), expected);
    assert_eq!(world.store.stats().replay_rows, 3);
    assert_eq!(world.put(&[row("d", 4)]).lsn, Lsn(3));
}

#[test]
fn rows_are_there_once_after_a_flush_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::real(&folder);
    world.put(&[row("a", 1), row("b", 86_400)]);
    world.store.flush().unwrap();
    world.put(&[row("c", 3)]);
    let expected = [row("a", 1), row("b", 86_400), row("c", 3)];
    assert_eq!(world.rows(), expected);
    let stats = world.store.stats();
    assert_eq!((stats.segments, stats.segment_rows, stats.memtable_rows), (2, 2, 1));
    drop(world);
    let world = World::real(&folder);
    assert_eq!(world.rows(), expected);
    assert_eq!(world.store.stats().replay_rows, 1);
    world.store.close().unwrap();
    drop(world);
    let world = World::real(&folder);
    assert_eq!(world.rows(), expected);
    assert_eq!((world.store.stats().replay_rows, world.store.stats().log_bytes), (0, 0));
}

#[test]
fn a_closed_store_takes_no_writes_but_can_be_read() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    world.put(&[row("a", 1)]);
    world.store.close().unwrap();
    assert!(matches!(world.try_put(&[row("b", 2)]), Err(StoreError::Closed)));
    assert_eq!(world.rows(), [row("a", 1)]);
    world.store.close().unwrap();
}

#[test]
fn a_snapshot_stays_as_it_is() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    world.put(&[row("a", 1)]);
    let before = world.store.snapshot();
    world.put(&[row("b", 2)]);
    world.store.flush().unwrap();
    world.delete(0);
    assert_eq!(rows_in(&before, world.dataset, "p"), [row("a", 1)]);
    assert_eq!(world.rows(), []);
    assert_eq!(before.as_of(), NOON);
}

#[test]
fn projects_are_apart() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    world.begin("p", &[row("a", 1)], None).recv().unwrap().unwrap();
    let p = world.store.snapshot().data_version(&project("p"), world.dataset);
    let q = world.begin("q", &[row("a", 1)], None).recv().unwrap().unwrap();
    assert_eq!(q.duplicates, 0, "ids belong to a project");
    let snapshot = world.store.snapshot();
    assert_eq!(snapshot.data_version(&project("p"), world.dataset), p, "another's writes change nothing");
    assert_eq!(snapshot.data_version(&project("q"), world.dataset), q.version);
    world.store.flush().unwrap();
    assert_eq!(world.store.snapshot().data_version(&project("q"), world.dataset), q.version);
    assert_eq!(world.store.projects(), [project("p"), project("q")]);
    drop(world);
    let world = World::fake(&disk);
    assert_eq!(world.store.projects(), [project("p"), project("q")]);
    assert_eq!(world.store.snapshot().data_version(&project("q"), world.dataset), q.version);
    assert_eq!((world.rows_of("p"), world.rows_of("q")), (vec![row("a", 1)], vec![row("a", 1)]));
}

#[test]
fn many_writers_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let world = Arc::new(World::real(&folder));
    let mut expected = Vec::new();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let world = &world;
            scope.spawn(move || {
                let pending: Vec<_> =
                    (0..200).map(|n| world.begin("p", &[row(&format!("{writer}-{n}"), n)], None)).collect();
                pending.into_iter().for_each(|outcome| drop(outcome.recv().unwrap().unwrap()));
            });
        }
    });
    for writer in 0..8 {
        expected.extend((0..200).map(|n| row(&format!("{writer}-{n}"), n)));
    }
    expected.sort();
    assert_eq!(world.rows(), expected);
    let stats = world.store.stats();
    assert!(stats.groups < 1_600, "{} groups for 1,600 requests", stats.groups);
    assert_eq!((stats.requests, stats.rows_accepted), (1_600, 1_600));
    let units = world.store.snapshot().view(world.dataset).unwrap().units.len();
    assert!(units < 100, "{units} chunks");
    drop(world);
    assert_eq!(World::real(&folder).rows(), expected);
}

#[test]
fn a_full_memtable_is_flushed_by_itself() {
    let disk = FakeDisk::new();
    let small = tidewater_store::StoreConfig { memtable_bytes_max: 16 << 10, ..config("/data") };
    let world = World::open(small.clone(), Arc::new(disk.clone())).unwrap();
    let mut expected = Vec::new();
    for n in 0..100 {
        let rows: Vec<_> = (0..20).map(|i| row(&format!("{n}-{i}"), n)).collect();
        world.put(&rows);
        expected.extend(rows);
    }
    expected.sort();
    assert!(world.store.stats().flushes > 2, "{:?}", world.store.stats());
    assert_eq!(world.rows(), expected);
    drop(world);
    assert_eq!(World::open(small, Arc::new(disk)).unwrap().rows(), expected);
}

#[test]
fn a_log_larger_than_memory_is_flushed_while_it_is_replayed() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    let rows: Vec<_> = (0..500).map(|n| row(&n.to_string(), n)).collect();
    rows.chunks(10).for_each(|rows| drop(world.put(rows)));
    let crashed = disk.crash(Crash::LoseAll);
    drop(world);
    let small = tidewater_store::StoreConfig { memtable_bytes_max: 8 << 10, ..config("/data") };
    for _ in 0..2 {
        let world = World::open(small.clone(), Arc::new(crashed.clone())).unwrap();
        assert_eq!(world.rows().len(), 500);
        assert!(world.store.stats().segments > 0);
    }
}

#[test]
fn a_quiet_store_is_flushed() {
    let disk = FakeDisk::new();
    let quick = tidewater_store::StoreConfig { flush_interval_ms: 20, ..config("/data") };
    let world = World::open(quick, Arc::new(disk)).unwrap();
    world.put(&[row("a", 1)]);
    world.wait_until("a flush", |store| store.stats().flushes == 1);
    world.wait_until("an empty log", |store| store.stats().log_bytes == 0);
    assert_eq!(world.rows(), [row("a", 1)]);
}

#[test]
fn a_version_can_be_waited_for() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    assert!(!world.store.wait_for(Lsn(1), Duration::from_millis(5)));
    let seen = Arc::new(std::sync::atomic::AtomicI64::new(0));
    let hook = Arc::clone(&seen);
    world.store.on_commit(Arc::new(move |lsn| hook.store(lsn.0, std::sync::atomic::Ordering::Relaxed)));
    let pending = world.begin("p", &[row("a", 1)], None);
    assert!(world.store.wait_for(Lsn(1), Duration::from_secs(10)));
    pending.recv().unwrap().unwrap();
    assert_eq!(seen.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::real(&folder);
    let second = Store::open(config(folder.path()), Arc::new(RealDisk), Arc::new(SystemClock));
    assert!(matches!(second.err(), Some(StoreError::Locked { .. })));
    world.store.close().unwrap();
    assert!(Store::open(config(folder.path()), Arc::new(RealDisk), Arc::new(SystemClock)).is_ok());
}

#[test]
fn too_much_in_flight_is_refused_at_once() {
    let disk = FakeDisk::new();
    let tiny = tidewater_store::StoreConfig { queue_bytes_max: 2_000, ..config("/data") };
    let world = World::open(tiny, Arc::new(disk)).unwrap();
    let pending: Vec<_> = (0..500).map(|n| world.begin("p", &[row(&n.to_string(), n)], None)).collect();
    let outcomes: Vec<_> = pending.into_iter().map(|outcome| outcome.recv().unwrap()).collect();
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(StoreError::Full))).count();
    let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(refused + stored, 500);
    assert!(stored > 0);
    assert_eq!(world.rows().len(), stored);
    assert_eq!(world.store.stats().queue_bytes, 0);
}

#[test]
fn background_rows_do_not_put_off_the_flush_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig { flush_interval_ms: 400, ..config(folder.path()) };
    let world = World::open(config, Arc::new(RealDisk)).unwrap();
    let mut rows = 0;
    let mut background = || {
        rows += 1;
        world.put_in_background(&[row(&format!("own{rows}"), rows)]);
    };
    world.put(&[row("a", 1)]);
    let since = Instant::now();
    while world.store.stats().flushes == 0 {
        assert!(since.elapsed() < Duration::from_secs(20), "flushed in spite of background rows");
        background();
        std::thread::sleep(Duration::from_millis(40));
    }
    // Alone they are flushed too, a quiet period after the first of them.
    let flushes = world.store.stats().flushes;
    while world.store.stats().flushes < flushes + 2 {
        assert!(since.elapsed() < Duration::from_secs(40), "background rows are flushed");
        background();
        std::thread::sleep(Duration::from_millis(40));
    }
}
