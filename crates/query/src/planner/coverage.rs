//! Which part of a range can be answered at all, given how long each resolution is kept.
//!
//! By age alone: the same question at the same time is answered or refused whether or not old files happen to be still there, and
//! whether or not the project has rows in them. What one unit lacks (sections that are not built yet) shows as a gap of its plan.

use std::collections::BTreeSet;

use tidewater_model::schema::Tier;
use tidewater_model::time::{BucketRun, Timestamp, bucket_runs};

use super::cells::{ceil, floor, is_aligned};
use super::facts::{Ages, Question, SectionSchema};
use super::serve::served;

/// The start named in an error is rounded up to a whole hour, so that it is still right when the client asks again.
const REMEDY_GRID_US: i64 = 3_600_000_000;

/// What decides by age whether a range can be answered.
#[derive(Clone, Copy, Debug)]
pub struct Coverage<'a> {
    /// The sections that the dataset's declared roll-ups yield.
    pub declared: &'a [SectionSchema],
    /// What is kept.
    pub ages: Ages,
    /// The project's first row; `None` without any.
    pub first_row_us: Option<i64>,
    /// The last instant of whose rows some are gone without a section that holds them; `None` where there was no such row.
    pub lost_until_us: Option<i64>,
}

impl Coverage<'_> {
    /// The earliest start, at or after the question's own, from which the ages let the whole range be answered. Past the
    /// question's end where they let none of it.
    pub fn earliest_us(&self, question: &Question) -> i64 {
        let by_age = |from_us| {
            let tiers: BTreeSet<Vec<Tier>> = self.tiers(question);
            let question = Asked { question, from_us };
            let starts = tiers.iter().map(|tiers| self.earliest_by_age(&question, tiers));
            starts.max().unwrap_or(from_us)
        };
        let lost = self.lost_until_us.filter(|lost| *lost >= question.from_us);
        let from_us = lost.map_or(question.from_us, |lost| lost.saturating_add(1));
        // With a later start the first bucket may be cut inside a cell, which needs a later start again.
        by_age(from_us)
    }

    /// A start to name in an error: the earliest one on a whole hour.
    pub fn remedy_us(&self, question: &Question, earliest_us: i64) -> i64 {
        let mut from_us = ceil(earliest_us, REMEDY_GRID_US);
        // Ends at the first instant of raw rows at the latest.
        loop {
            let earliest_us = self.earliest_us(&Question { from_us, ..question.clone() });
            if earliest_us <= from_us {
                return from_us;
            }
            from_us = ceil(earliest_us, REMEDY_GRID_US);
        }
    }

    /// For each measure the tiers that hold it, finest first; equal ones once.
    fn tiers(&self, question: &Question) -> BTreeSet<Vec<Tier>> {
        let serving: Vec<_> =
            self.declared.iter().map(|schema| (schema.tier, served(question, schema))).collect();
        let tiers = |measure: usize| {
            let tiers: BTreeSet<Tier> = serving
                .iter()
                .filter(|(_, served)| served[measure].is_some())
                .map(|(tier, _)| *tier)
                .collect();
            tiers.into_iter().collect()
        };
        (0..question.measures.len()).map(tiers).collect()
    }

    /// Walks from raw rows into the past, over spans of time that one tier covers: the finest that is still kept, because where
    /// a coarse cell fits into a bucket its finer ones do too.
    fn earliest_by_age(&self, asked: &Asked<'_>, tiers: &[Tier]) -> i64 {
        let mut covered_from = self.ages.raw_us;
        while covered_from > asked.from_us {
            let kept = |tier: Tier| match self.ages.tier_us(tier) {
                i64::MIN => i64::MIN,
                oldest => ceil(oldest, tier.width_us()),
            };
            let Some(tier) = tiers.iter().copied().find(|tier| kept(*tier) < covered_from) else {
                return covered_from;
            };
            let mut from_us = kept(tier).max(asked.from_us);
            if kept(tier) == i64::MIN {
                // Before the first row nothing can be missing.
                from_us = from_us.max(self.first_row_us.unwrap_or(covered_from)).min(covered_from);
            }
            if let Some(cut) = asked.last_cut_cell(tier.width_us(), from_us, covered_from) {
                return cut;
            }
            if kept(tier) <= asked.from_us {
                return asked.from_us;
            }
            covered_from = kept(tier);
        }
        asked.from_us
    }
}

/// A question with another start.
struct Asked<'a> {
    question: &'a Question,
    from_us: i64,
}

impl Asked<'_> {
    /// The end, at most `hi`, of the last cell that touches `[lo, hi)` and has a border of range or bucket inside.
    fn last_cut_cell(&self, width: i64, lo: i64, hi: i64) -> Option<i64> {
        if lo >= hi {
            return None;
        }
        let (first, end) = (floor(lo, width), ceil(hi, width));
        let ends = [self.from_us, self.question.to_us];
        let cut = ends.into_iter().filter(|at| at.rem_euclid(width) != 0 && first < *at && *at < end).max();
        let bucket = self.last_cutting_border(width, first, end);
        let at = cut.max(bucket)?;
        Some(ceil(at, width).min(hi))
    }

    /// The last border between buckets of the range that lies inside a cell of `[lo, hi)`, which are borders of cells.
    fn last_cutting_border(&self, width: i64, lo: i64, hi: i64) -> Option<i64> {
        let grid = self.question.grid.as_ref()?;
        let (lo, hi) = (lo.max(self.from_us), hi.min(self.question.to_us));
        let runs = bucket_runs(grid.granularity(), grid.zone(), Timestamp(lo), Timestamp(hi));
        runs.iter().rev().find_map(|run| {
            // The asked interval's own ends are no borders of buckets.
            let end = (run.to_us < hi && run.to_us.rem_euclid(width) != 0).then_some(run.to_us);
            end.or_else(|| last_border_inside(run, width))
                .or_else(|| (run.from_us > lo && run.from_us.rem_euclid(width) != 0).then_some(run.from_us))
        })
    }
}

/// The last border between two buckets of a run that lies inside a cell.
fn last_border_inside(run: &BucketRun, width: i64) -> Option<i64> {
    if is_aligned(run, width) {
        return None;
    }
    let last = run.origin_us + (run.to_us - 1 - run.origin_us) / run.width_us * run.width_us;
    // Of two borders in a row one is inside a cell, unless the width is a whole number of cells and then none or all are.
    [last, last - run.width_us].into_iter().find(|at| *at > run.from_us && at.rem_euclid(width) != 0)
}
