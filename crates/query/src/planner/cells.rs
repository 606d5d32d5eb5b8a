//! At which instants a tier's cells can stand in for rows.
//!
//! A cell counts with the rows it may hold, so it is first cut to the unit's span; it is usable where what is left lies in one
//! bucket, in the range, and within the tier's retention.

use tidewater_model::schema::Tier;
use tidewater_model::time::{BucketGrid, BucketRun};

/// Runs of usable cells in one unit, past which a tier is not used there: each is read on its own. A month of days whose borders are
/// off the hour has 32, a year of them 367.
const RUNS_MAX: usize = 512;

/// Ascending intervals `[from, to)`.
pub(super) type Runs = Vec<(i64, i64)>;

/// The cells of a tier in a unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cells {
    width: i64,
    /// The unit's span `[lo, hi)`, whose ends cut cells.
    span: (i64, i64),
    /// Cells that begin earlier, cut as they are, count as gone.
    oldest: i64,
}

impl Cells {
    pub fn new(tier: Tier, span: (i64, i64), oldest: i64) -> Self {
        Cells { width: tier.width_us(), span, oldest }
    }

    /// The greatest interval of whole cells in `[lo, hi)`, which lies in the span.
    pub fn within(&self, lo: i64, hi: i64) -> Option<(i64, i64)> {
        let mut from = if lo <= self.span.0 { lo } else { ceil(lo, self.width) };
        let to = if hi >= self.span.1 { hi } else { floor(hi, self.width) };
        if from < self.oldest {
            from = ceil(self.oldest, self.width);
        }
        (from < to).then_some((from, to))
    }

    /// All runs of cells of `[lo, hi)` that lie in one bucket each; none where there are more than [`RUNS_MAX`].
    pub fn usable(&self, grid: Option<&BucketGrid>, lo: i64, hi: i64) -> Runs {
        let mut runs = Runs::new();
        let Some(grid) = grid else {
            runs.extend(self.within(lo, hi));
            return runs;
        };
        for run in grid.runs(lo, hi) {
            self.add_run(&run, &mut runs);
            if runs.len() > RUNS_MAX {
                return Runs::new();
            }
        }
        runs
    }

    fn add_run(&self, run: &BucketRun, runs: &mut Runs) {
        if is_aligned(run, self.width) {
            return push(runs, self.within(run.from_us, run.to_us));
        }
        let bucket_end = |at: i64| run.origin_us + ((at - run.origin_us) / run.width_us + 1) * run.width_us;
        let first_end = bucket_end(run.from_us).min(run.to_us);
        push(runs, self.within(run.from_us, first_end));
        let last = (bucket_end(run.to_us - 1) - run.width_us).max(first_end);
        // Between the first and the last bucket a whole cell needs a bucket that is longer than it.
        if run.width_us > self.width && (last - first_end) / run.width_us <= RUNS_MAX as i64 {
            let mut start = first_end;
            while start < last {
                push(runs, self.within(start, start + run.width_us));
                start += run.width_us;
            }
        }
        if last < run.to_us {
            push(runs, self.within(last, run.to_us));
        }
    }

    /// What is left of a run of cells within `[lo, hi)` when only whole cells count.
    pub fn part(&self, run: (i64, i64), lo: i64, hi: i64) -> Option<(i64, i64)> {
        let from = if lo <= run.0 { run.0 } else { ceil(lo, self.width) };
        let to = if hi >= run.1 { run.1 } else { floor(hi, self.width) };
        (from < to).then_some((from, to))
    }
}

/// Whether every border between buckets is one between cells.
pub(super) fn is_aligned(run: &BucketRun, width: i64) -> bool {
    run.origin_us.rem_euclid(width) == 0 && run.width_us % width == 0
}

pub(super) fn floor(at: i64, width: i64) -> i64 {
    at - at.rem_euclid(width)
}

pub(super) fn ceil(at: i64, width: i64) -> i64 {
    at.saturating_add((-at).rem_euclid(width))
}

fn push(runs: &mut Runs, found: Option<(i64, i64)>) {
    let Some((from, to)) = found else { return };
    match runs.last_mut() {
        Some(last) if last.1 == from => last.1 = to,
        _ => runs.push((from, to)),
    }
}
