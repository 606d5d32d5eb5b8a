//! What has outlived its retention, per tier: a pure decision.
//!
//! Rows go by whole units, since a unit is one day (history: one month): a row may outlive its time by at most that. A segment whose
//! raw rows have expired lives on as history in those sections whose tier is kept longer; its raw file goes only once
//! these sections are what the dataset declares today and no delete waits to be applied to them, for nothing could make them
//! again. Not here: doing it (`maintenance`).

use tidewater_model::schema::{Dataset, Tier};
use tidewater_model::time::Timestamp;

use crate::segment::{SegmentId, SegmentMeta};
use crate::sidecar::{SidecarId, SidecarMeta};

/// A live segment as retention sees it.
#[derive(Clone, Copy, Debug)]
pub struct SegmentAge<'a> {
    /// Its entry.
    pub segment: &'a SegmentMeta,
    /// Its sidecar's.
    pub sidecar: Option<&'a SidecarMeta>,
    /// Its sidecar is what would be derived today.
    pub is_current: bool,
}

/// What to do, by kind. Sections are named by their index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionPlan {
    /// Segments of which nothing is kept.
    pub drop: Vec<SegmentId>,
    /// Segments whose sidecar has to be derived before the raw rows may go.
    pub derive: Vec<SegmentId>,
    /// Segments whose raw rows go and whose sidecar becomes history with these sections; at least one.
    pub to_history: Vec<(SegmentId, Vec<usize>)>,
    /// Segments whose sidecar keeps only these sections.
    pub trim: Vec<(SegmentId, Vec<usize>)>,
    /// History that keeps only these sections; at least one.
    pub trim_history: Vec<(SidecarId, Vec<usize>)>,
    /// History of which nothing is kept.
    pub drop_history: Vec<SidecarId>,
}

/// The least time that is kept at each resolution. Older rows count as gone.
struct Oldest<'a> {
    dataset: &'a Dataset,
    now: Timestamp,
}

impl Oldest<'_> {
    /// `None` keeps everything.
    fn after(&self, kept_us: Option<i64>) -> Option<i64> {
        kept_us.map(|kept_us| self.now.0.saturating_sub(kept_us))
    }

    fn raw_has_expired(&self, max_us: i64) -> bool {
        self.after(self.dataset.retention.raw_us).is_some_and(|oldest_us| max_us < oldest_us)
    }

    fn tier_has_expired(&self, tier: Tier, max_us: i64) -> bool {
        let retention = &self.dataset.retention;
        let kept_us = retention.tiers_us.get(&tier).copied().unwrap_or(retention.raw_us);
        self.after(kept_us).is_some_and(|oldest_us| max_us < oldest_us)
    }

    fn kept_sections(&self, sidecar: &SidecarMeta, max_us: i64) -> Vec<usize> {
        let kept =
            sidecar.sections.iter().filter(|section| !self.tier_has_expired(section.head.tier, max_us));
        kept.map(|section| section.index).collect()
    }

    /// Some declared tier is kept for rows of this age.
    fn declares_any(&self, max_us: i64) -> bool {
        let tiers = self.dataset.rollups.iter().flat_map(|rollup| &rollup.tiers);
        tiers.into_iter().any(|tier| !self.tier_has_expired(*tier, max_us))
    }
}

/// What of a dataset has outlived its retention at `now`.
pub fn plan_retention(
    dataset: &Dataset,
    segments: &[SegmentAge<'_>],
    history: &[&SidecarMeta],
    now: Timestamp,
) -> RetentionPlan {
    let oldest = Oldest { dataset, now };
    let mut plan = RetentionPlan::default();
    for age in segments {
        plan_segment(&oldest, age, &mut plan);
    }
    for sidecar in history {
        let Some((_, max_us)) = sidecar.time_span() else { continue };
        let kept = oldest.kept_sections(sidecar, max_us);
        if kept.is_empty() {
            plan.drop_history.push(sidecar.id);
        } else if kept.len() < sidecar.sections.len() {
            plan.trim_history.push((sidecar.id, kept));
        }
    }
    plan
}

fn plan_segment(oldest: &Oldest<'_>, age: &SegmentAge<'_>, plan: &mut RetentionPlan) {
    let (id, max_us) = (age.segment.id, age.segment.max_us);
    let kept = age.sidecar.map_or(Vec::new(), |sidecar| oldest.kept_sections(sidecar, max_us));
    if !oldest.raw_has_expired(max_us) {
        if age.sidecar.is_some_and(|sidecar| kept.len() < sidecar.sections.len()) {
            plan.trim.push((id, kept));
        }
    } else if !oldest.declares_any(max_us) && kept.is_empty() {
        plan.drop.push(id);
    } else if !age.is_current {
        plan.derive.push(id);
    } else if kept.is_empty() {
        plan.drop.push(id);
    } else {
        plan.to_history.push((id, kept));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidewater_aggregate::SectionHead;
    use tidewater_model::names::ProjectName;
    use tidewater_model::schema::{DatasetDefinition, DatasetId};

    use super::*;
    use crate::chunk::ProjectSpan;
    use crate::segment::{DAY_US, FORMAT, ProjectRows};
    use crate::sidecar::{SIDECAR_FORMAT, SectionInfo};
    use crate::version::Lsn;

    fn dataset(retention: &str) -> Dataset {
        let definition = format!(
            r#"{{"time": "ts", "columns": {{"kind": "string"}}, "metrics": {{"n": {{"agg": "count"}}}},
                "rollups": [{{"name": "kinds", "dimensions": ["kind"], "metrics": ["n"], "tiers": ["1m", "1h", "1d"]}}],
                "retention": {retention}}}"#
        );
        let definition = DatasetDefinition::from_json(definition.as_bytes()).expect("a valid definition");
        Dataset::compile("events", definition).expect("a valid dataset")
    }

    fn segment(id: u64, day: i64) -> SegmentMeta {
        let project = ProjectName::new("p").expect("a valid name");
        let (min_us, max_us) = (day * DAY_US, (day + 1) * DAY_US - 1);
        SegmentMeta {
            id: SegmentId(id),
            dataset: DatasetId(1),
            day: day as i32,
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

    fn sidecar(id: u64, day: i64, tiers: &[Tier]) -> SidecarMeta {
        let (min_us, max_us) = (day * DAY_US, (day + 1) * DAY_US - 1);
        let section = |(index, tier): (usize, &Tier)| {
            let (rollup, dimensions) = ("kinds".to_owned(), vec!["kind".to_owned()]);
            let head = SectionHead { rollup, tier: *tier, dimensions, measures: Vec::new() };
            SectionInfo { head: Arc::new(head), index, bytes: 1, rows: 1 }
        };
        SidecarMeta {
            id: SidecarId(id),
            dataset: DatasetId(1),
            segment: None,
            day: day as i32,
            bytes: 1,
            checksum: 0,
            derived_for: 0,
            tombstones_applied: Lsn(0),
            format: SIDECAR_FORMAT,
            projects: vec![(
                ProjectName::new("p").expect("a valid name"),
                ProjectSpan { rows: 1, min_us, max_us },
            )],
            not_paying: Vec::new(),
            sections: tiers.iter().enumerate().map(section).collect(),
        }
    }

    const ALL: [Tier; 3] = [Tier::Minute, Tier::Hour, Tier::Day];

    /// The plan for the segment of day 0 with sections of these tiers, so many whole days after that day.
    fn check(retention: &str, tiers: &[Tier], is_current: bool, days: i64, expected: &RetentionPlan) {
        let (segment, sidecar) = (segment(7, 0), sidecar(8, 0, tiers));
        let age = SegmentAge { segment: &segment, sidecar: Some(&sidecar), is_current };
        let plan = plan_retention(&dataset(retention), &[age], &[], Timestamp((days + 1) * DAY_US));
        assert_eq!(plan, *expected, "{retention}, {tiers:?}, {days} days");
    }

    #[test]
    fn a_segment_goes_by_its_raw_rows_and_its_tiers() {
        let id = SegmentId(7);
        let nothing = RetentionPlan::default;
        let drop = || RetentionPlan { drop: vec![id], ..nothing() };
        check("{}", &ALL, true, 9_999, &nothing());
        check(r#"{"raw": "7d"}"#, &ALL, true, 6, &nothing());
        check(r#"{"raw": "7d"}"#, &ALL, true, 8, &drop());
        let years = r#"{"raw": "7d", "1h": "30d", "1d": null}"#;
        check(years, &ALL, true, 6, &nothing());
        check(years, &ALL, true, 8, &RetentionPlan { to_history: vec![(id, vec![1, 2])], ..nothing() });
        check(years, &ALL, true, 31, &RetentionPlan { to_history: vec![(id, vec![2])], ..nothing() });
        check(years, &ALL, false, 8, &RetentionPlan { derive: vec![id], ..nothing() });
        check(years, &[Tier::Minute], true, 8, &drop());
        check(years, &[Tier::Minute], false, 8, &RetentionPlan { derive: vec![id], ..nothing() });
        check(r#"{"raw": "7d", "1h": "8d"}"#, &ALL, false, 9, &drop());
        let minutes = r#"{"1m": "30d"}"#;
        check(minutes, &ALL, true, 29, &nothing());
        check(minutes, &ALL, true, 31, &RetentionPlan { trim: vec![(id, vec![1, 2])], ..nothing() });
        check(minutes, &[Tier::Minute], true, 31, &RetentionPlan { trim: vec![(id, vec![])], ..nothing() });
    }

    #[test]
    fn history_goes_tier_by_tier() {
        let (old, new) = (sidecar(1, 0, &[Tier::Hour, Tier::Day]), sidecar(2, 20, &[Tier::Hour, Tier::Day]));
        let plan = |retention: &str, days: i64| {
            plan_retention(&dataset(retention), &[], &[&old, &new], Timestamp(days * DAY_US))
        };
        let kept = r#"{"raw": "7d", "1h": "30d", "1d": "90d"}"#;
        assert_eq!(plan(kept, 30), RetentionPlan::default());
        let trimmed =
            RetentionPlan { trim_history: vec![(SidecarId(1), vec![1])], ..RetentionPlan::default() };
        assert_eq!(plan(kept, 31), trimmed);
        let dropped = RetentionPlan {
            drop_history: vec![SidecarId(1)],
            trim_history: vec![(SidecarId(2), vec![1])],
            ..RetentionPlan::default()
        };
        assert_eq!(plan(kept, 95), dropped);
    }
}
