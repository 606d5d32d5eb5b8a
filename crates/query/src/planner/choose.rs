//! The cheapest way to answer a set of measures from one unit: every instant from one source.
//!
//! Not here: which measures go together (`unit`).

use super::cells::{Cells, Runs};
use super::cost::Prices;
use super::facts::{RawFacts, UnitFacts};
use super::piece::{Gap, Source};

/// Pieces of one set of measures in one unit, past which a choice with fewer is taken where there is one: each is a read and a
/// partial of its own. A month of days whose borders are off the hour has 64.
const PARTS_MAX: usize = 96;

/// The part of a unit that a question asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// `[lo, hi)`: range ∩ span, not empty.
    pub lo: i64,
    pub hi: i64,
    /// The unit's span `[lo, hi)`.
    pub span: (i64, i64),
    /// Raw rows are there. Whether a range that reaches behind their retention is answered at all is decided by age before
    /// (`coverage`); then rows that came late, or whose sections are not built yet, are read as they are.
    pub has_raw: bool,
}

impl Asked {
    /// The part of the unit's span that an interval is; rows are taken to be spread evenly.
    fn share(&self, lo: i64, hi: i64) -> f64 {
        (hi - lo) as f64 / (self.span.1 - self.span.0) as f64
    }
}

/// A section that could be used somewhere in the unit.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Index in the unit's sections.
    pub section: usize,
    pub rows: u64,
    pub width: i64,
    pub cells: Cells,
    pub runs: Runs,
}

/// A part of the unit from one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub lo: i64,
    pub hi: i64,
    pub source: Source,
}

/// Parts in order of time that hold every instant asked for once.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub parts: Vec<Part>,
    pub cost_ns: f64,
}

/// Chooses sources for measures that all candidates serve.
pub(super) fn choose(
    asked: Asked,
    unit: &UnitFacts,
    candidates: &[&Candidate],
    prices: &Prices,
) -> Result<Choice, Gap> {
    // Coarse cells first never cuts a cell that could be used, so what is missing here is missing in every order.
    let mut coarsest_first = candidates.to_vec();
    coarsest_first.sort_by_key(|candidate| (std::cmp::Reverse(candidate.width), candidate.rows));
    let widest = partition(asked, &coarsest_first)?;
    let mut best = Choice { cost_ns: cost(&widest, asked, unit, prices), parts: widest };
    let mut consider = |order: &[&Candidate]| {
        let Ok(parts) = partition(asked, order) else { return };
        let choice = Choice { cost_ns: cost(&parts, asked, unit, prices), parts };
        if is_better(&choice, &best) {
            best = choice;
        }
    };
    let mut cheapest_first = candidates.to_vec();
    cheapest_first.sort_by_key(|candidate| (candidate.rows, std::cmp::Reverse(candidate.width)));
    let mut widths: Vec<i64> = candidates.iter().map(|candidate| candidate.width).collect();
    widths.sort_unstable();
    widths.dedup();
    for width in widths {
        let finer: Vec<&Candidate> =
            cheapest_first.iter().copied().filter(|candidate| candidate.width <= width).collect();
        consider(&finer);
    }
    consider(&[]);
    Ok(best)
}

/// Of two choices that are both too long the shorter one, else the cheaper one.
fn is_better(choice: &Choice, than: &Choice) -> bool {
    let excess = |choice: &Choice| choice.parts.len().saturating_sub(PARTS_MAX);
    (excess(choice), choice.cost_ns) < (excess(than), than.cost_ns)
}

/// Gives each candidate in turn what it can of what is left; raw rows get the rest.
fn partition(asked: Asked, candidates: &[&Candidate]) -> Result<Vec<Part>, Gap> {
    let mut parts = Vec::new();
    let mut left = vec![(asked.lo, asked.hi)];
    for candidate in candidates {
        let mut still_left = Vec::new();
        let mut runs = candidate.runs.iter().peekable();
        for (mut lo, hi) in left {
            while let Some(run) = runs.peek().filter(|run| run.0 < hi) {
                if let Some((from, to)) = candidate.cells.part(**run, lo, hi) {
                    parts.push(Part { lo: from, hi: to, source: Source::Section(candidate.section) });
                    if lo < from {
                        still_left.push((lo, from));
                    }
                    lo = to;
                }
                // A run may go on after this interval.
                if run.1 > hi {
                    break;
                }
                runs.next();
            }
            if lo < hi {
                still_left.push((lo, hi));
            }
        }
        left = still_left;
    }
    let missing = left.iter().map(|(_, hi)| *hi).max();
    if let Some(until_us) = missing.filter(|_| !asked.has_raw) {
        return Err(Gap { until_us });
    }
    parts.extend(left.into_iter().map(|(lo, hi)| Part { lo, hi, source: Source::Raw }));
    Ok(joined(parts))
}

/// In order of time, neighbours of one source as one.
fn joined(mut parts: Vec<Part>) -> Vec<Part> {
    parts.sort_unstable_by_key(|part| part.lo);
    parts.dedup_by(|next, part| {
        let is_one = next.source == part.source && next.lo == part.hi;
        if is_one {
            part.hi = next.hi;
        }
        is_one
    });
    parts
}

fn cost(parts: &[Part], asked: Asked, unit: &UnitFacts, prices: &Prices) -> f64 {
    parts.iter().map(|part| part_cost(*part, asked, unit, prices)).sum()
}

/// What reading a part costs.
pub(super) fn part_cost(part: Part, asked: Asked, unit: &UnitFacts, prices: &Prices) -> f64 {
    let share = asked.share(part.lo, part.hi);
    match part.source {
        Source::Section(index) => prices.section(unit.sections[index].rows, share),
        Source::Raw => prices.raw(unit.raw.unwrap_or(RawFacts { rows: 0, in_memory: true }), share),
    }
}
