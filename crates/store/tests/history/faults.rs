//! A disk that fails: poisoning, the reserve, damage in the log.

use std::path::Path;
use std::sync::Arc;

use tidewater_store::StoreError;
use tidewater_store::disk::{Crash, Disk, FakeDisk, Fault};

use crate::world::{World, config, is_poisoned, row};

#[test]
fn a_failed_sync_ends_all_writing_but_not_reading() {
    // The write, then the sync of one group.
    for call in 0..2 {
        let disk = FakeDisk::new();
        let world = World::fake(&disk);
        world.put(&[row("a", 1)]);
        disk.fail_at(disk.calls() + call, Fault::Fail);
        assert!(is_poisoned(&world.try_put(&[row("b", 2)])), "call {call}");
        assert!(is_poisoned(&world.try_put(&[row("c", 3)])), "the disk works again, the store does not");
        assert!(is_poisoned(&world.try_delete(0)));
        assert!(world.store.flush().is_err());
        assert!(world.store.poisoned().unwrap().contains("injected fault"));
        assert_eq!(world.rows(), [row("a", 1)]);
        drop(world);
        let world = World::fake(&disk);
        let rows = world.rows();
        assert!(rows == [row("a", 1)] || rows == [row("a", 1), row("b", 2)], "{rows:?}");
        assert_eq!(world.try_put(&[row("c", 3)]).unwrap().accepted, 1);
    }
}

#[test]
fn a_failed_catalog_write_poisons() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    disk.fail_at(disk.calls(), Fault::FailForEver);
    assert!(world.store.kv_put("keys", "k", b"v").is_err());
    assert!(world.store.poisoned().is_some());
    assert!(is_poisoned(&world.try_put(&[row("a", 1)])));
}

#[test]
fn below_the_reserve_rows_are_refused_and_all_else_goes_on() {
    let disk = FakeDisk::new();
    let careful = tidewater_store::StoreConfig { disk_free_min_bytes: 1_000, ..config("/data") };
    let world = World::open(careful, Arc::new(disk.clone())).unwrap();
    world.put(&[row("a", 1), row("b", 10)]);
    disk.set_free_bytes(Some(999));
    world.wait_until("a look at the disk", |store| store.stats().disk_free_bytes == 999);
    let refused = world.try_put(&[row("c", 3)]);
    assert!(matches!(refused, Err(StoreError::DiskFull { free_bytes: 999, min_bytes: 1_000 })));
    world.delete(10);
    assert_eq!(world.rows(), [row("a", 1)]);
    disk.set_free_bytes(None);
    world.wait_until("a look at the disk", |store| store.stats().disk_free_bytes > 999);
    world.put(&[row("c", 3)]);
}

#[test]
fn damage_before_the_tail_is_an_error_that_says_where() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    for n in 0..3 {
        world.put(&[row(&n.to_string(), n)]);
    }
    drop(world);
    let log = disk.list(Path::new("/data/wal")).unwrap()[0].clone();
    disk.damage(&log, 1_024 + 30);
    let error = World::open(config("/data"), Arc::new(disk.clone())).err().unwrap();
    let StoreError::Damaged { path, offset, .. } = &error else { panic!("{error:?}") };
    assert_eq!((path, *offset), (&log, 1_024), "{error}");
    disk.damage(&log, 1_024 + 30);
    assert_eq!(World::fake(&disk).rows().len(), 3);
}

#[test]
fn a_torn_tail_is_cut() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    world.put(&[row("a", 1)]);
    disk.fail_at(disk.calls(), Fault::PowerCut);
    assert!(world.try_put(&[row("b", 2), row("c", 3)]).is_err());
    let disk = disk.crash(Crash::KeepAll);
    for _ in 0..2 {
        assert_eq!(World::fake(&disk).rows(), [row("a", 1)]);
    }
    let world = World::fake(&disk);
    world.put(&[row("d", 4)]);
    drop(world);
    assert_eq!(World::fake(&disk).rows(), [row("a", 1), row("d", 4)]);
}

#[test]
fn a_flush_that_fails_is_tried_again() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    world.put(&[row("a", 1)]);
    // The first call of the flush makes the dataset's folder.
    disk.fail_at(disk.calls(), Fault::Fail);
    assert!(matches!(world.store.flush(), Err(StoreError::Flush { .. })));
    assert_eq!(world.rows(), [row("a", 1)]);
    world.wait_until("the next attempt", |store| store.stats().flushes == 1);
    let stats = world.store.stats();
    assert_eq!((stats.flush_failures, stats.poisoned, stats.segments), (1, None, 1));
    assert_eq!(world.rows(), [row("a", 1)]);
    drop(world);
    assert_eq!(World::fake(&disk).rows(), [row("a", 1)]);
}
