#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use proptest::prelude::*;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::DatasetId;
use tidewater_model::time::Timestamp;

use super::bloom::Bloom;
use super::*;
use crate::disk::{Disk, DiskRef, FakeDisk};
use crate::error::StoreError;
use crate::version::Lsn;

fn disk() -> (FakeDisk, DiskRef) {
    let disk = FakeDisk::new();
    disk.create_dir_all(Path::new("/dedup")).unwrap();
    (disk.clone(), Arc::new(disk))
}

fn path(id: u64) -> PathBuf {
    PathBuf::from(format!("/dedup/{id}"))
}

/// Keys as hashes are: spread over all bits.
fn key(number: u64) -> u128 {
    xxhash_rust::xxh3::xxh3_128(&number.to_le_bytes())
}

fn write_ids(disk: &DiskRef, id: u64, numbers: impl Iterator<Item = u64>) -> Run {
    let mut set = IdSet::default();
    for number in numbers {
        set.insert(key(number), Timestamp(number as i64));
    }
    set.write(disk, path(id), id, 10).unwrap()
}

#[test]
fn a_filter_has_no_false_negatives_and_few_false_positives() {
    let mut bloom = Bloom::new(10_000, 10);
    (0..10_000).for_each(|number| bloom.insert(key(number)));
    assert!((0..10_000).all(|number| bloom.may_contain(key(number))));
    let wrong = (10_000..110_000).filter(|number| bloom.may_contain(key(*number))).count();
    assert!(wrong < 2_500, "{wrong} of 100,000");
    assert_eq!(Bloom::from_words(bloom.words().to_vec()), Some(bloom));
    assert!([6, 10].contains(&bloom::bits_per_key(50_000_000)) && bloom::bits_per_key(1) == 10);
}

#[test]
fn a_run_finds_what_it_holds_before_and_after_it_is_opened() {
    for count in [1, 255, 256, 257, 5_000] {
        let (_, disk) = disk();
        let written = write_ids(&disk, 1, 0..count);
        written.sync().unwrap();
        let opened = Run::open(&disk, path(1), 1).unwrap();
        assert_eq!((opened.facts(), opened.facts().count), (written.facts(), count));
        for run in [&written, &opened] {
            assert!((0..count).all(|number| run.contains(key(number)).unwrap()), "{count}");
            assert!(!(count..count + 100).any(|number| run.contains(key(number)).unwrap()), "{count}");
            run.verify().unwrap();
        }
    }
}

#[test]
fn damage_in_a_run_is_found() {
    let (fake, disk) = disk();
    write_ids(&disk, 1, 0..1_000);
    let len = disk.open_read(&path(1)).unwrap().len().unwrap();
    for offset in [0, 20, 100, 5_000, len - 1] {
        fake.damage(&path(1), offset);
        let outcome = Run::open(&disk, path(1), 1).and_then(|run| run.verify());
        assert!(matches!(outcome, Err(StoreError::Damaged { .. })), "byte {offset}");
        fake.damage(&path(1), offset);
    }
}

#[test]
fn a_merge_holds_all_ids_once() {
    let (_, disk) = disk();
    let runs: Vec<Arc<Run>> = [0..6_000, 3_000..9_000, 20_000..20_001]
        .into_iter()
        .zip(1..)
        .map(|(range, id)| Arc::new(write_ids(&disk, id, range)))
        .collect();
    let merged = merge_runs(&disk, path(9), 9, &runs, 1_000).unwrap();
    assert_eq!((merged.facts().count, merged.facts().min_us, merged.facts().max_us), (9_001, 0, 20_000));
    merged.verify().unwrap();
    assert!((0..9_000).all(|number| merged.contains(key(number)).unwrap()));
}

#[test]
fn merged_tokens_keep_the_newest_reply() {
    let (_, disk) = disk();
    let entry = |lsn: i64, extra: &str| TokenEntry {
        body_hash: 5,
        lsn: Lsn(lsn),
        accepted: lsn as u32,
        duplicates: 1,
        extra: extra.as_bytes().into(),
    };
    let run = |id: u64, tokens: &[(u64, TokenEntry)]| {
        let mut map = TokenMap::default();
        tokens
            .iter()
            .for_each(|(number, entry)| map.insert(key(*number), entry.clone(), Timestamp(id as i64)));
        Arc::new(map.write(&disk, path(id), id).unwrap())
    };
    let old = run(1, &[(1, entry(1, "one")), (2, entry(2, "old"))]);
    let new = run(2, &[(2, entry(7, "new")), (3, entry(8, ""))]);
    let merged = merge_runs(&disk, path(3), 3, &[old, new], 1).unwrap();
    merged.verify().unwrap();
    for (number, expected) in [(1, entry(1, "one")), (2, entry(7, "new")), (3, entry(8, ""))] {
        assert_eq!(tokens::find(&merged, key(number)).unwrap(), Some(expected));
    }
    assert_eq!(tokens::find(&merged, key(4)).unwrap(), None);
}

#[test]
fn hashes_tell_projects_datasets_and_seeds_apart() {
    let ids: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
    let project = |name| ProjectName::new(name).unwrap();
    let base = hash_ids(1, DatasetId(1), &project("p"), &ids);
    assert!(base[0].is_some() && base[1].is_none());
    assert_eq!(base, hash_ids(1, DatasetId(1), &project("p"), &ids));
    for other in [
        hash_ids(2, DatasetId(1), &project("p"), &ids),
        hash_ids(1, DatasetId(2), &project("p"), &ids),
        hash_ids(1, DatasetId(1), &project("q"), &ids),
    ] {
        assert_ne!(base[0], other[0]);
    }
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    assert!(hash_ids(1, DatasetId(1), &project("p"), &numbers)[0].is_some());
    assert_ne!(hash_token(1, DatasetId(1), &project("p"), 7), hash_token(1, DatasetId(1), &project("q"), 7));
}

fn facts(id: u64, count: u64, min_us: i64, max_us: i64) -> RunFacts {
    RunFacts { id, kind: RunKind::Ids, count, min_us, max_us, bytes: 0 }
}

const LIMITS: RunLimits = RunLimits { window_us: 1_200, ids_max: 1_000, tokens_max: 10 };

#[test]
fn runs_expire_by_age_and_by_number() {
    let runs = [facts(1, 400, 0, 100), facts(2, 400, 100, 200), facts(3, 400, 200, 300)];
    assert_eq!(expired_runs(&runs, &LIMITS, 1_000), [1], "over the cap");
    assert_eq!(expired_runs(&runs[..2], &LIMITS, 1_000), Vec::<u64>::new());
    assert_eq!(expired_runs(&runs[1..], &LIMITS, 1_401), [2], "outside the window");
    assert_eq!(expired_runs(&runs[1..], &LIMITS, 1_400), Vec::<u64>::new());
}

#[test]
fn neighbours_of_a_size_are_merged_within_a_span() {
    let at = |id: u64, count: u64, min_us: i64| facts(id, count, min_us, min_us + 10);
    let merge = |runs: &[RunFacts]| plan_run_merge(runs, &LIMITS);
    assert_eq!(merge(&[at(1, 50, 0), at(2, 50, 10), at(3, 50, 20)]), None, "too few");
    assert_eq!(merge(&[at(4, 50, 30), at(1, 50, 0), at(2, 50, 10), at(3, 50, 20)]), Some(vec![1, 2, 3, 4]));
    assert_eq!(merge(&[at(1, 50, 0), at(2, 50, 10), at(3, 50, 20), at(4, 50, 500)]), None, "too far apart");
    assert_eq!(merge(&[at(1, 900, 0), at(2, 5, 10), at(3, 5, 20), at(4, 5, 30)]), None, "one is much larger");
}

proptest! {
    /// Whatever the limits, an id is accepted exactly once, wherever its first copy went meanwhile.
    #[test]
    fn an_id_is_accepted_once(
        batches in proptest::collection::vec(proptest::collection::vec(0..200_u64, 1..40), 1..30),
        recent_ids_max in 1..100_usize,
        freezes in proptest::collection::vec(any::<bool>(), 30),
    ) {
        let (_, disk) = disk();
        let limits = DedupLimits { recent_ids_max, recent_token_bytes_max: 1 << 20, window_us: 1 << 40, ids_max: 1_000 };
        disk.create_dir_all(Path::new("/data/dedup")).unwrap();
        let mut dedup = Dedup::new(Arc::clone(&disk), PathBuf::from("/data"), limits, Vec::new(), 1);
        let mut seen = std::collections::HashSet::new();
        for (batch, freeze) in batches.iter().zip(freezes) {
            let ids: Vec<Option<u128>> = batch.iter().map(|number| Some(key(*number))).collect();
            let expected: Vec<u32> =
                (0..).zip(batch).filter(|(_, number)| !seen.insert(**number)).map(|(place, _)| place).collect();
            prop_assert_eq!(dedup.accept_ids(&ids, Timestamp(0)).unwrap(), expected);
            if freeze {
                let frozen = dedup.freeze();
                let id = dedup.take_run_id();
                let run = Dedup::write_ids(&disk, (crate::paths::run_path(Path::new("/data"), id), id), &frozen.ids, 9).unwrap();
                dedup.thaw(&run.into_iter().map(Arc::new).collect::<Vec<_>>());
            }
        }
        prop_assert_eq!(dedup.id_count() as usize, seen.len());
    }
}
