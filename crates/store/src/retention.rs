//! Which segments have outlived their dataset's retention: a pure decision.
//!
//! Rows go by whole segments, since a segment is one day: a row may outlive its time by at most that day. Not here:
//! retention of roll-up tiers.

use tidewater_model::schema::Retention;
use tidewater_model::time::Timestamp;

use crate::segment::{SegmentId, SegmentMeta};

/// Segments of one dataset whose every row is older than the raw retention.
pub fn plan_retention(segments: &[SegmentMeta], retention: &Retention, now: Timestamp) -> Vec<SegmentId> {
    let Some(raw_us) = retention.raw_us else { return Vec::new() };
    let oldest_us = now.0.saturating_sub(raw_us);
    segments.iter().filter(|segment| segment.max_us < oldest_us).map(|segment| segment.id).collect()
}

#[cfg(test)]
mod tests {
    use tidewater_model::names::ProjectName;
    use tidewater_model::schema::DatasetId;

    use super::*;
    use crate::segment::{DAY_US, FORMAT, ProjectRows};
    use crate::version::Lsn;

    fn segment(id: u64, min_us: i64, max_us: i64) -> SegmentMeta {
        let project = ProjectName::new("p").expect("a valid name");
        SegmentMeta {
            id: SegmentId(id),
            dataset: DatasetId(1),
            day: crate::segment::day_of(min_us),
            rows: 1,
            bytes: 1,
            checksum: 0,
            tail_offset: 0,
            tail_checksum: 0,
            min_us,
            max_us,
            min_lsn: Lsn(1),
            max_lsn: Lsn(1),
            tombstones_applied: Lsn(0),
            format: FORMAT,
            projects: vec![ProjectRows { project, first_row: 0, rows: 1, min_us, max_us }],
        }
    }

    #[test]
    fn only_wholly_expired_segments_go() {
        let segments =
            [segment(1, 0, DAY_US - 1), segment(2, DAY_US, DAY_US + 10), segment(3, 2 * DAY_US, 2 * DAY_US)];
        let now = Timestamp(3 * DAY_US + 10);
        let days = |days: i64| Retention { raw_us: Some(days * DAY_US), ..Retention::default() };
        assert_eq!(plan_retention(&segments, &days(2), now), [SegmentId(1)]);
        assert_eq!(plan_retention(&segments, &days(1), now), [SegmentId(1), SegmentId(2), SegmentId(3)]);
        assert_eq!(plan_retention(&segments, &days(9), now), []);
        assert_eq!(plan_retention(&segments, &Retention::default(), now), []);
    }
}
