//! Backup of a live store, restore, verify.

use std::path::Path;
use std::sync::Arc;

use tidewater_store::disk::{Disk, DiskRef, FakeDisk};
use tidewater_store::{StoreError, restore, verify};

use crate::world::{World, config, row};

fn world_in(disk: &FakeDisk, dir: &str) -> World {
    World::open(config(dir), Arc::new(disk.clone())).unwrap()
}

#[test]
fn a_backup_is_a_store_of_its_own() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    world.put_with_token(&[row("a", 1), row("b", 86_400)], 7, 70).unwrap();
    world.store.kv_put("keys", "k", b"v").unwrap();
    world.store.flush().unwrap();
    world.put(&[row("c", 2)]);
    world.store.backup(Path::new("/backup")).unwrap();
    world.put(&[row("d", 3)]);
    assert!(matches!(world.store.backup(Path::new("/backup")), Err(StoreError::NotEmpty { .. })));
    let shared: DiskRef = Arc::new(disk.clone());
    restore(&shared, Path::new("/backup"), Path::new("/restored")).unwrap();
    for dir in ["/backup", "/restored"] {
        let copy = world_in(&disk, dir);
        assert_eq!(copy.rows(), [row("a", 1), row("b", 86_400), row("c", 2)]);
        assert_ne!(copy.store.id(), world.store.id(), "another history");
        assert_eq!(copy.put(&[row("a", 1)]).duplicates, 1);
        assert!(copy.put_with_token(&[row("a", 1)], 7, 70).unwrap().repeated);
        assert_eq!(copy.store.kv_get("keys", "k").unwrap().as_deref(), Some(&b"v"[..]));
        assert!(copy.store.verify().unwrap().problems.is_empty());
    }
    assert_eq!(world.rows().len(), 4);
}

#[test]
fn verify_finds_damage_anywhere() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    world.put(&[row("a", 1)]);
    world.store.flush().unwrap();
    world.put(&[row("b", 2)]);
    world.put(&[row("c", 3)]);
    drop(world);
    let shared: DiskRef = Arc::new(disk.clone());
    let report = verify(Path::new("/data"), &shared).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!((report.segments, report.rows, report.runs, report.log_records), (1, 1, 1, 2));
    let list = |dir: &str| disk.list(Path::new(dir)).unwrap();
    let segment = list("/data/datasets/events/raw/2026-01-01")[0].clone();
    for (path, offset) in
        [(segment, 100), (list("/data/dedup")[0].clone(), 4_100), (list("/data/wal")[0].clone(), 1_030)]
    {
        disk.damage(&path, offset);
        let report = verify(Path::new("/data"), &shared).unwrap();
        assert_eq!(report.problems.len(), 1, "{path:?}: {:?}", report.problems);
        assert!(
            report.problems[0].to_string().contains(&path.display().to_string()),
            "{:?}",
            report.problems
        );
        disk.damage(&path, offset);
    }
    assert!(verify(Path::new("/data"), &shared).unwrap().problems.is_empty());
}
