#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;

/// Both disks promise the same to their callers.
fn check_contract(disk: &dyn Disk, root: &Path) {
    let dir = root.join("a/b");
    disk.create_dir_all(&dir).unwrap();
    let path = dir.join("file");
    assert!(disk.open(&path).is_err());
    let file = disk.create(&path).unwrap();
    file.preallocate(100).unwrap();
    assert_eq!(file.len().unwrap(), 100);
    file.write_at(b"hello", 98).unwrap();
    file.sync_data().unwrap();
    assert_eq!(file.len().unwrap(), 103);
    let mut buffer = [9; 8];
    assert_eq!(disk.open_read(&path).unwrap().read_at(&mut buffer, 97).unwrap(), 6);
    assert_eq!(&buffer[..6], b"\0hello");
    assert!(file.read_exact_at(&mut buffer, 97).is_err());
    write_whole(disk, &dir.join("other"), b"x").unwrap();
    write_whole(disk, &dir.join("other"), b"yy").unwrap();
    assert_eq!(read_whole(disk, &dir.join("other")).unwrap(), b"yy");
    assert_eq!(disk.list(&dir).unwrap(), [dir.join("file"), dir.join("other")]);
    disk.remove(&path).unwrap();
    assert_eq!(disk.list(&dir).unwrap(), [dir.join("other")]);
    assert!(disk.list(&root.join("none")).unwrap().is_empty());
    let lock = disk.lock(&root.join("LOCK")).unwrap();
    assert_eq!(disk.lock(&root.join("LOCK")).err().unwrap().kind(), std::io::ErrorKind::WouldBlock);
    drop(lock);
    disk.lock(&root.join("LOCK")).unwrap();
    let space = disk.space(root).unwrap();
    assert!(space.free_bytes > 0 && space.free_bytes <= space.total_bytes, "{space:?}");
}

#[test]
fn real_and_fake_keep_the_same_contract() {
    let folder = tempfile::tempdir().unwrap();
    check_contract(&RealDisk, folder.path());
    check_contract(&FakeDisk::new(), Path::new("/data"));
}

#[test]
fn a_crash_loses_what_was_not_synced() {
    let disk = FakeDisk::new();
    let dir = Path::new("/d");
    disk.create_dir_all(dir).unwrap();
    let file = disk.create(&dir.join("f")).unwrap();
    file.write_at(b"synced", 0).unwrap();
    file.sync_data().unwrap();
    assert!(disk.crash(Crash::LoseAll).list(dir).unwrap().is_empty(), "the name was not synced");
    disk.sync_dir(dir).unwrap();
    file.write_at(b"SYNCED and more", 0).unwrap();
    assert_eq!(read_whole(&disk.crash(Crash::LoseAll), &dir.join("f")).unwrap(), b"synced");
    assert_eq!(read_whole(&disk.crash(Crash::KeepAll), &dir.join("f")).unwrap(), b"SYNCED and more");
}

#[test]
fn a_power_cut_tears_the_write_and_ends_everything() {
    let disk = FakeDisk::new();
    disk.create_dir_all(Path::new("/d")).unwrap();
    let file = disk.create(Path::new("/d/f")).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.fail_at(disk.calls(), Fault::PowerCut);
    assert!(file.write_at(b"abcdef", 0).is_err());
    assert!(file.sync_data().is_err());
    assert!(file.len().is_err());
    assert_eq!(read_whole(&disk.crash(Crash::KeepAll), Path::new("/d/f")).unwrap(), b"abc");
}
