//! Deletes: gone from every answer at once, across flushes and restarts, and at last from the disk.

use std::sync::Arc;

use tidewater_store::disk::{Crash, FakeDisk};

use crate::world::{World, project, row};

#[test]
fn deleted_rows_are_gone_wherever_they_were() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    world.put(&[row("a", 1), row("b", 10)]);
    world.store.flush().unwrap();
    world.put(&[row("c", 2), row("d", 20)]);
    let deleted = world.delete(10);
    assert_eq!(world.rows(), [row("a", 1), row("c", 2)]);
    let version = world.store.snapshot().data_version(&project("p"), world.dataset);
    assert_eq!(version, deleted.version, "a delete is a change of the data");
    world.put(&[row("e", 30)]);
    let expected = [row("a", 1), row("c", 2), row("e", 30)];
    assert_eq!(world.rows(), expected, "later rows stay");
    let crashed = World::fake(&disk.crash(Crash::LoseAll));
    assert_eq!(crashed.rows(), expected, "after a crash");
    crashed.store.flush().unwrap();
    assert_eq!(crashed.rows(), expected, "after a flush");
    crashed.wait_until("rewritten segments", |store| store.stats().tombstones == 0);
    assert_eq!(crashed.rows(), expected, "after compaction");
    assert_eq!(crashed.store.stats().segment_rows, 3, "gone from the disk");
    let version = crashed.store.snapshot().data_version(&project("p"), crashed.dataset);
    crashed.store.close().unwrap();
    assert!(crashed.store.verify().unwrap().problems.is_empty());
    assert_eq!(version.lsn, crashed.store.snapshot().version().lsn);
}

#[test]
fn a_delete_waiting_for_compaction_survives_restarts() {
    let disk = FakeDisk::new();
    let lazy =
        tidewater_store::StoreConfig { maintenance_interval_ms: 3_600_000, ..crate::world::config("/data") };
    let world = World::open(lazy.clone(), Arc::new(disk.clone())).unwrap();
    world.put(&[row("a", 1), row("b", 10)]);
    world.store.flush().unwrap();
    world.delete(10);
    world.store.close().unwrap();
    drop(world);
    let world = World::open(lazy, Arc::new(disk)).unwrap();
    assert_eq!(world.rows(), [row("a", 1)]);
}

#[test]
fn other_projects_keep_their_rows() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    world.begin("q", &[row("a", 50)], None).recv().unwrap().unwrap();
    world.put(&[row("a", 50)]);
    world.store.flush().unwrap();
    world.delete(0);
    assert_eq!((world.rows(), world.rows_of("q")), (vec![], vec![row("a", 50)]));
    world.store.flush().unwrap();
    world.wait_until("rewritten segments", |store| store.stats().tombstones == 0);
    assert_eq!((world.rows(), world.rows_of("q")), (vec![], vec![row("a", 50)]));
}
