use proptest::prelude::*;
use tidewater_model::filter::Filter;
use tidewater_model::names::ProjectName;

use super::*;
use crate::segment::{DAY_US, FORMAT, ProjectRows};
use crate::version::Lsn;

pub fn segment(id: u64, day: i32, bytes: u64) -> SegmentMeta {
    let (min_us, max_us) = (i64::from(day) * DAY_US, i64::from(day) * DAY_US + 1_000);
    let project = ProjectName::new("p").expect("a valid name");
    SegmentMeta {
        id: SegmentId(id),
        dataset: DatasetId(1),
        day,
        rows: 10,
        bytes,
        checksum: 0,
        tail_offset: 0,
        tail_checksum: 0,
        min_us,
        max_us,
        min_lsn: Lsn(5),
        max_lsn: Lsn(9),
        tombstones_applied: Lsn(0),
        format: FORMAT,
        projects: vec![ProjectRows { project, first_row: 0, rows: 10, min_us, max_us }],
    }
}

fn tombstone(lsn: i64, project: &str, to_us: i64) -> (DatasetId, Arc<Tombstone>) {
    let project = ProjectName::new(project).expect("a valid name");
    let tombstone = Tombstone::new(Lsn(lsn), project, 0, to_us, Arc::from("[]"), &Filter::all());
    (DatasetId(1), Arc::new(tombstone.expect("no expression to compile")))
}

fn check(sizes: &[(i32, u64)], expected: Option<&[u64]>) {
    let segments: Vec<_> =
        sizes.iter().enumerate().map(|(id, (day, bytes))| segment(id as u64, *day, *bytes)).collect();
    let job = plan_compaction(&segments, &[], &CompactionLimits::default());
    let inputs = job.map(|job| job.inputs.iter().map(|id| id.0).collect::<Vec<_>>());
    assert_eq!(inputs.as_deref(), expected, "{sizes:?}");
}

#[test]
fn merges_similar_sizes_of_one_day() {
    const KB: u64 = 1 << 10;
    const MB: u64 = 1 << 20;
    check(&[], None);
    check(&[(0, 10 * KB), (0, 20 * KB), (0, 30 * KB)], None);
    check(&[(0, 10 * KB), (0, 20 * KB), (0, 30 * KB), (1, 40 * KB)], None);
    check(&[(0, 10 * KB), (0, 20 * KB), (0, 30 * KB), (0, 900 * KB)], Some(&[0, 1, 2, 3]));
    check(&[(0, 10 * KB), (0, 20 * KB), (0, 30 * KB), (0, 9 * MB)], None);
    check(&[(0, 200 * MB), (0, 200 * MB), (0, 200 * MB), (0, 200 * MB)], None);
    let many: Vec<_> = (0..20).map(|i| (0, 500 * KB - i)).collect();
    check(&many, Some(&[19, 18, 17, 16, 15, 14, 13, 12]));
}

#[test]
fn rewrites_for_tombstones_that_may_hide_rows() {
    let limits = CompactionLimits::default();
    let plan = |segments: &[SegmentMeta], tombstone| plan_compaction(segments, &[tombstone], &limits);
    let one = [segment(7, 3, 1 << 20)];
    let job = plan(&one, tombstone(6, "p", i64::MAX)).expect("rows may be hidden");
    assert_eq!((job.inputs, job.reason), (vec![SegmentId(7)], CompactionReason::Tombstones));
    assert_eq!(plan(&one, tombstone(5, "p", i64::MAX)), None, "all rows came later");
    assert_eq!(plan(&one, tombstone(6, "q", i64::MAX)), None, "another project");
    assert_eq!(plan(&one, tombstone(6, "p", DAY_US)), None, "another time");
    let mut done = one.clone();
    done[0].tombstones_applied = Lsn(6);
    assert_eq!(plan(&done, tombstone(6, "p", i64::MAX)), None, "already rewritten");
}

proptest! {
    /// Merging until nothing is planned ends, keeps every byte, and leaves few segments per day.
    #[test]
    fn settles(sizes in proptest::collection::vec((0..3_i32, 1..64_u64 << 20), 0..120)) {
        let limits = CompactionLimits::default();
        let mut segments: Vec<_> =
            sizes.iter().enumerate().map(|(id, (day, bytes))| segment(id as u64, *day, *bytes)).collect();
        let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let mut next = segments.len() as u64;
        while let Some(job) = plan_compaction(&segments, &[], &limits) {
            prop_assert!(job.inputs.len() >= 2 && job.inputs.len() <= limits.inputs_max);
            let (merged, rest): (Vec<_>, Vec<_>) =
                segments.into_iter().partition(|segment| job.inputs.contains(&segment.id));
            prop_assert!(merged.iter().all(|segment| segment.day == merged[0].day));
            segments = rest;
            segments.push(segment(next, merged[0].day, merged.iter().map(|segment| segment.bytes).sum()));
            next += 1;
        }
        prop_assert_eq!(segments.iter().map(|segment| segment.bytes).sum::<u64>(), total);
        for day in 0..3 {
            let open = segments.iter().filter(|segment| segment.day == day && segment.bytes < limits.settled_bytes);
            prop_assert!(open.count() <= 15, "three per tier, five tiers below the settled size");
        }
    }
}
