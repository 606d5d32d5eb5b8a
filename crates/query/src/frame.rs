//! A plan over one range: the range, its time buckets, and what depends on them.

use std::sync::Arc;

use tidewater_model::query::Query;
use tidewater_model::time::{BucketGrid, Granularity, Timestamp};

use crate::error::ExecuteError;
use crate::plan::Plan;

/// A plan over one range.
#[derive(Debug)]
pub(crate) struct Frame {
    pub plan: Arc<Plan>,
    pub range: Range,
    /// The time buckets; `None` where there is no time dimension.
    pub grid: Option<Arc<BucketGrid>>,
    granularity: Option<Granularity>,
}

/// `[from, to)` in micro-seconds, and the last instant that is past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Range {
    pub from_us: i64,
    pub to_us: i64,
    pub now_us: i64,
}

impl Range {
    /// The seconds of `[lo, hi) ∩ range ∩ past`.
    pub fn past_seconds(&self, lo_us: i64, hi_us: i64) -> f64 {
        let (lo, hi) = (lo_us.max(self.from_us), hi_us.min(self.to_us).min(self.now_us));
        hi.saturating_sub(lo).max(0) as f64 / 1e6
    }

    /// The last instant of the range that is not in the future; `None` where all of it is.
    fn last_past(&self) -> Option<i64> {
        let last = self.now_us.min(self.to_us - 1);
        (last >= self.from_us).then_some(last)
    }
}

impl Frame {
    /// `span` is the time span of the project's rows, `None` without any.
    pub fn new(
        plan: &Arc<Plan>,
        query: &Query,
        range: Range,
        span: Option<(Timestamp, Timestamp)>,
    ) -> Result<Self, ExecuteError> {
        let granularity = query.time_dimension().map(|(_, granularity)| granularity);
        let grid = match granularity {
            Some(granularity) => Some(Arc::new(grid(query, granularity, range, span)?)),
            None => None,
        };
        Ok(Frame { plan: Arc::clone(plan), range, grid, granularity })
    }

    /// Whether another question's aggregation is the same: its rows, groups, buckets and measures.
    pub fn is_same(&self, other: &Frame) -> bool {
        let buckets = |frame: &Frame| frame.grid.as_ref().map(|grid| (grid.start(0), grid.len()));
        self.plan.shape == other.plan.shape
            && (self.range.from_us, self.range.to_us) == (other.range.from_us, other.range.to_us)
            && buckets(self) == buckets(other)
    }

    /// The time dimension's place and grid.
    pub fn time_dimension(&self) -> Option<(usize, &Arc<BucketGrid>)> {
        self.plan.time_place().zip(self.grid.as_ref())
    }

    /// The buckets of a part of the range, first and last instant included: numbered from its own first, so that they do not depend
    /// on the range.
    pub fn grid_of(&self, first_us: i64, last_us: i64) -> Result<Option<Arc<BucketGrid>>, ExecuteError> {
        let (Some(whole), Some(granularity)) = (&self.grid, self.granularity) else { return Ok(None) };
        let end = Timestamp(last_us.saturating_add(1));
        Ok(Some(Arc::new(BucketGrid::new(granularity, whole.zone(), Timestamp(first_us), end)?)))
    }

    /// How many buckets, from the first, `fill` completes: those that are not wholly in the future.
    pub fn fill_buckets(&self) -> Option<(usize, u32)> {
        let (place, grid) = self.time_dimension()?;
        let last = self.range.last_past().and_then(|last| grid.index_of(Timestamp(last)));
        Some((place, last.map_or(0, |last| last + 1)))
    }
}

/// The buckets that rows can fall in. They begin with the range where buckets are counted from its start (fill, comparison), else
/// with the rows, so that a range of a thousand years with a year of rows has a year of buckets.
fn grid(
    query: &Query,
    granularity: Granularity,
    range: Range,
    span: Option<(Timestamp, Timestamp)>,
) -> Result<BucketGrid, ExecuteError> {
    let (least, greatest) =
        span.map_or((range.from_us, range.from_us), |(least, greatest)| (least.0, greatest.0));
    let is_from_start = query.include.fill || query.compare.is_some();
    let from = if is_from_start { range.from_us } else { least.max(range.from_us) };
    let mut to = greatest.saturating_add(1).min(range.to_us);
    if let Some(last) = range.last_past().filter(|_| query.include.fill) {
        to = to.max(last + 1);
    }
    let to = to.max(from.saturating_add(1));
    Ok(BucketGrid::new(granularity, &query.zone, Timestamp(from), Timestamp(to))?)
}
