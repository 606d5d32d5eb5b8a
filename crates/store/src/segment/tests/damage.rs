//! A damaged file is an error, never a panic and never another answer.

use std::sync::Arc;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::sample::*;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::scan::Unit;
use crate::segment::{Segment, SegmentFiles, verify_segment};

fn some_requests() -> Vec<Vec<TestRow>> {
    let mut runner = TestRunner::deterministic();
    let strategy = proptest::collection::vec(request(), 6);
    let mut requests = strategy.new_tree(&mut runner).expect("nothing is filtered").current();
    number(&mut requests, 1);
    requests
}

#[test]
fn every_flipped_byte_is_noticed() {
    let requests = some_requests();
    let folder = Folder::new();
    let metas = folder.write(&[chunk(&requests)], &[]);
    let meta = metas.iter().max_by_key(|meta| meta.rows).expect("a segment").clone();
    assert!(meta.tail_offset > 0, "the file has blocks with checksums of their own");
    let names: Vec<_> = meta.projects.iter().map(|rows| rows.project.clone()).collect();
    let path = folder.open(vec![meta.clone()])[0].path().to_owned();
    let read_all = |files: &Arc<SegmentFiles>| {
        let segment = Segment::open(files, &folder.dataset, meta.clone(), None)?;
        let unit = Unit::Segment(segment);
        names.iter().try_fold(Vec::new(), |mut rows, name| {
            rows.extend(scan(&unit, &everything(&folder.dataset, name.as_str()), &[])?);
            Ok(rows)
        })
    };
    let expected = read_all(&folder.files).expect("a good file");
    for offset in (0..meta.bytes).step_by(37).chain(meta.bytes - 300..meta.bytes) {
        folder.disk.damage(&path, offset);
        let fresh = SegmentFiles::new(Arc::new(folder.disk.clone()), "/data".into(), 1 << 20);
        match read_all(&fresh) {
            Ok(rows) => assert_eq!(rows, expected, "byte {offset}"),
            Err(StoreError::Damaged { path: named, .. }) => assert_eq!(named, path),
            Err(other) => panic!("byte {offset}: {other:?}"),
        }
        let checked = verify_segment(&fresh, &folder.dataset, &meta, &[]);
        assert!(matches!(checked, Err(StoreError::Damaged { .. })), "byte {offset}: {checked:?}");
        folder.disk.damage(&path, offset);
    }
    assert_eq!(read_all(&folder.files).expect("all bytes are back"), expected);
}

#[test]
fn missing_and_short_files_are_named() {
    let folder = Folder::new();
    let meta = folder.write(&[chunk(&some_requests())], &[]).remove(0);
    let path = folder.open(vec![meta.clone()])[0].path().to_owned();
    let file = folder.disk.open(&path).expect("the file is there");
    file.set_len(meta.bytes - 1).expect("the disk works");
    let error =
        Segment::open(&folder.files, &folder.dataset, meta.clone(), None).expect_err("one byte is missing");
    assert!(matches!(&error, StoreError::Damaged { path: named, .. } if *named == path), "{error:?}");
    folder.disk.remove(&path).expect("the disk works");
    let error =
        Segment::open(&folder.files, &folder.dataset, meta.clone(), None).expect_err("the file is gone");
    assert!(matches!(error, StoreError::Damaged { path: named, .. } if named == path));
}

#[test]
fn a_catalog_entry_that_lies_is_noticed() {
    let folder = Folder::new();
    let meta = folder.write(&[chunk(&some_requests())], &[]).remove(0);
    let check = |change: &dyn Fn(&mut crate::segment::SegmentMeta)| {
        let mut lying = meta.clone();
        change(&mut lying);
        assert!(verify_segment(&folder.files, &folder.dataset, &lying, &[]).is_err(), "{lying:?}");
    };
    check(&|meta| meta.rows += 1);
    check(&|meta| meta.checksum ^= 1);
    check(&|meta| meta.projects[0].rows -= 1);
    check(&|meta| meta.projects[0].max_us -= 1);
    check(&|meta| meta.max_lsn.0 -= 1);
    check(&|meta| meta.min_lsn.0 += 1);
    check(&|meta| meta.format += 1);
}
