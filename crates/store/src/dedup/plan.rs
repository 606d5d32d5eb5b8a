//! Which runs to forget and which to merge: pure decisions over facts.

use super::run::{RunFacts, RunKind};

/// Runs of one size class that are left alone; one more and they are merged.
const CLASS_RUNS_MAX: usize = 3;
/// A merged run spans at most this part of the window, so that entries outlive the window by no more than that.
const SPANS_PER_WINDOW: i64 = 12;

/// Bounds of what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimits {
    /// How long an entry is remembered at least, in micro-seconds.
    pub window_us: i64,
    /// Ids remembered at most.
    pub ids_max: u64,
    /// Tokens remembered at most.
    pub tokens_max: u64,
}

/// Runs to forget: those wholly outside the window, and the oldest ones beyond a cap.
pub fn expired_runs(runs: &[RunFacts], limits: &RunLimits, now_us: i64) -> Vec<u64> {
    let oldest_us = now_us.saturating_sub(limits.window_us);
    let mut expired = Vec::new();
    for (kind, max) in [(RunKind::Ids, limits.ids_max), (RunKind::Tokens, limits.tokens_max)] {
        let mut newest_first: Vec<&RunFacts> = runs.iter().filter(|run| run.kind == kind).collect();
        newest_first.sort_unstable_by_key(|run| std::cmp::Reverse((run.max_us, run.id)));
        let mut count = 0;
        for run in newest_first {
            count += run.count;
            if run.max_us < oldest_us || count > max {
                expired.push(run.id);
            }
        }
    }
    expired
}

/// The next runs to merge, from old to new: neighbours in time, of one kind and size class.
pub fn plan_run_merge(runs: &[RunFacts], limits: &RunLimits) -> Option<Vec<u64>> {
    [RunKind::Ids, RunKind::Tokens].into_iter().find_map(|kind| {
        let mut in_time: Vec<&RunFacts> = runs.iter().filter(|run| run.kind == kind).collect();
        in_time.sort_unstable_by_key(|run| (run.min_us, run.id));
        let groups = in_time.windows(CLASS_RUNS_MAX + 1);
        groups
            .into_iter()
            .find(|group| belongs_together(group, limits))
            .map(|group| group.iter().map(|run| run.id).collect())
    })
}

fn belongs_together(group: &[&RunFacts], limits: &RunLimits) -> bool {
    let class = |run: &RunFacts| run.count.max(1).ilog2() / 2;
    let since = group.iter().map(|run| run.min_us).min().unwrap_or(0);
    let until = group.iter().map(|run| run.max_us).max().unwrap_or(0);
    let largest = group.iter().map(|run| class(run)).max();
    // A small run among larger ones is merged with them: only a much larger one is not worth rewriting.
    group.iter().filter(|run| Some(class(run)) == largest).count() > 1
        && until - since <= limits.window_us / SPANS_PER_WINDOW
}
