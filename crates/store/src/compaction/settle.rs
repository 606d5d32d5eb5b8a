//! Which day to make one segment of, once rows have stopped coming: a pure decision, taken only where `plan` finds nothing to do.
//!
//! Size-tiered merging leaves a few segments of similar size in every day for good. A question over a month then opens a few hundred
//! sections, and roll-ups with many groups pay less in a part of a day than in all of it. So a day that has come to rest is merged once more.
//! A day that grows by little after that waits longer, so that a few late rows do not make it be written again and again.

use std::collections::BTreeMap;

use tidewater_model::schema::DatasetId;

use super::plan::{CompactionJob, CompactionLimits, CompactionReason};
use crate::segment::{SegmentId, SegmentMeta};

/// The wait grows with the bytes that are written for each byte that is new, up to so many times: twenty minutes with the default wait.
const WAIT_TIMES_MAX: u64 = 10;

/// What is known of a day beside its segments.
pub trait Days {
    /// When it got its newest rows, in micro-seconds since the epoch.
    fn newest_us(&self, dataset: DatasetId, day: i32) -> i64;

    /// Whether rows of it are in memory and will become one more segment.
    fn has_rows_in_memory(&self, dataset: DatasetId, day: i32) -> bool;
}

/// The next day whose segments become one, `None` where no day is at rest and in parts. The day in most parts comes first, then the oldest.
pub fn plan_settling(
    segments: &[SegmentMeta],
    days: &dyn Days,
    now_us: i64,
    limits: &CompactionLimits,
) -> Option<CompactionJob> {
    let is_at_rest = |parts: &&Parts| {
        let wait_us = limits.settle_after_ms.saturating_mul(1_000).saturating_mul(parts.wait_times());
        let rested_us = now_us.saturating_sub(days.newest_us(parts.dataset, parts.day));
        u64::try_from(rested_us).is_ok_and(|rested_us| rested_us >= wait_us)
            && !days.has_rows_in_memory(parts.dataset, parts.day)
    };
    let parts = days_in_parts(segments, limits);
    let next = parts
        .iter()
        .filter(is_at_rest)
        .max_by_key(|parts| (parts.inputs.len(), std::cmp::Reverse(parts.day)))?;
    Some(CompactionJob {
        dataset: next.dataset,
        inputs: next.inputs.clone(),
        reason: CompactionReason::Settled,
    })
}

/// How many days wait to become one segment, those that are not yet at rest among them.
pub fn settling_pending(segments: &[SegmentMeta], limits: &CompactionLimits) -> u64 {
    days_in_parts(segments, limits).len() as u64
}

/// Segments of one day that fit together into one.
struct Parts {
    dataset: DatasetId,
    day: i32,
    inputs: Vec<SegmentId>,
    bytes: u64,
    /// Bytes of the largest.
    largest_bytes: u64,
}

impl Parts {
    /// The largest part is what was there, the others are what is new.
    fn wait_times(&self) -> u64 {
        let new = self.bytes.saturating_sub(self.largest_bytes).max(1);
        (self.bytes / new).clamp(1, WAIT_TIMES_MAX)
    }
}

/// Of each day the smallest segments, so far as they fit together.
fn days_in_parts(segments: &[SegmentMeta], limits: &CompactionLimits) -> Vec<Parts> {
    let mut by_day: BTreeMap<(DatasetId, i32), Vec<&SegmentMeta>> = BTreeMap::new();
    for segment in segments {
        by_day.entry((segment.dataset, segment.day)).or_default().push(segment);
    }
    let mut days = Vec::new();
    for ((dataset, day), mut segments) in by_day.into_iter().filter(|(_, segments)| segments.len() > 1) {
        segments.sort_unstable_by_key(|segment| (segment.bytes, segment.id));
        let mut parts = Parts { dataset, day, inputs: Vec::new(), bytes: 0, largest_bytes: 0 };
        for segment in segments.into_iter().take(limits.inputs_max.max(2)) {
            if parts.bytes + segment.bytes > limits.settled_bytes {
                break;
            }
            parts.inputs.push(segment.id);
            parts.bytes += segment.bytes;
            parts.largest_bytes = segment.bytes;
        }
        if parts.inputs.len() > 1 {
            days.push(parts);
        }
    }
    days
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::segment;
    use super::*;

    const MB: u64 = 1 << 20;
    const NEWEST_US: i64 = 1_000_000_000;

    /// Days of which one is being written.
    struct Busy(Option<i32>);

    impl Days for Busy {
        fn newest_us(&self, _: DatasetId, _: i32) -> i64 {
            NEWEST_US
        }

        fn has_rows_in_memory(&self, _: DatasetId, day: i32) -> bool {
            self.0 == Some(day)
        }
    }

    fn check(sizes: &[(i32, u64)], busy: Option<i32>, waited: u64, expected: Option<&[u64]>) {
        let segments: Vec<_> =
            sizes.iter().enumerate().map(|(id, (day, bytes))| segment(id as u64, *day, *bytes)).collect();
        let limits = CompactionLimits::default();
        let now_us = NEWEST_US + (waited * limits.settle_after_ms * 1_000) as i64;
        let job = plan_settling(&segments, &Busy(busy), now_us, &limits);
        let inputs = job.map(|job| job.inputs.iter().map(|id| id.0).collect::<Vec<_>>());
        assert_eq!(inputs.as_deref(), expected, "{sizes:?} after {waited} waits");
    }

    #[test]
    fn days_at_rest_become_one_segment() {
        check(&[], None, 99, None);
        check(&[(1, 30 * MB), (2, 30 * MB)], None, 99, None);
        check(&[(1, 9 * MB), (1, 9 * MB), (1, 8 * MB)], None, 1, Some(&[2, 0, 1]));
        check(&[(1, 9 * MB), (1, 9 * MB), (1, 8 * MB)], None, 0, None);
        check(&[(1, 9 * MB), (1, 9 * MB), (1, 8 * MB)], Some(1), 99, None);
        // The day in most parts, then the oldest.
        let days =
            [(1, 9 * MB), (1, 9 * MB), (2, 9 * MB), (2, 9 * MB), (2, 9 * MB), (3, MB), (3, MB), (3, MB)];
        check(&days, None, 99, Some(&[2, 3, 4]));
        check(&days, Some(2), 99, Some(&[5, 6, 7]));
        check(&days[..4], None, 99, Some(&[0, 1]));
    }

    #[test]
    fn a_settled_day_is_not_written_again_for_every_late_row() {
        let late = [(1, 30 * MB), (1, 10 * MB)];
        check(&late, None, 3, None);
        check(&late, None, 4, Some(&[1, 0]));
        let few = [(1, 30 * MB), (1, 1)];
        check(&few, None, WAIT_TIMES_MAX - 1, None);
        check(&few, None, WAIT_TIMES_MAX, Some(&[1, 0]));
    }

    #[test]
    fn days_too_large_for_one_segment_become_few() {
        check(&[(1, 200 * MB), (1, 9 * MB)], None, 99, None);
        check(&[(1, 60 * MB), (1, 60 * MB), (1, 30 * MB), (1, 30 * MB)], None, 99, Some(&[2, 3, 0]));
        check(&[(1, 120 * MB), (1, 60 * MB), (1, 60 * MB)], None, 99, Some(&[1, 2]));
        check(&[(1, 120 * MB), (1, 120 * MB)], None, 99, None);
        let many: Vec<_> = (0..20).map(|_| (1, MB)).collect();
        check(&many, None, 99, Some(&[0, 1, 2, 3, 4, 5, 6, 7]));
    }

    #[test]
    fn settling_ends() {
        let limits = CompactionLimits::default();
        let mut segments: Vec<_> = (0..40).map(|id| segment(id, (id % 3) as i32, (id + 1) * MB)).collect();
        let mut next = 40;
        while let Some(job) = plan_settling(&segments, &Busy(None), i64::MAX, &limits) {
            let (merged, rest): (Vec<_>, Vec<_>) =
                segments.into_iter().partition(|segment| job.inputs.contains(&segment.id));
            segments = rest;
            segments.push(segment(next, merged[0].day, merged.iter().map(|segment| segment.bytes).sum()));
            next += 1;
        }
        assert_eq!(settling_pending(&segments, &limits), 0);
        assert!(segments.len() < 12, "{} segments of 273 MB a day", segments.len());
    }
}
