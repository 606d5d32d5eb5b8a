//! Which roll-ups would be worth declaring, and which declared ones are not: from the recorded questions of one dataset.
//!
//! Pure: counting groups in a sample is a function that is handed in. Not here: gathering the facts (`advise`).

mod candidates;
mod definition;
mod need;
mod size;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use tidewater_model::schema::{ColumnRef, Dataset, DatasetDefinition, Tier};
use tidewater_model::time::Timestamp;

use candidates::{Candidate, Sized, Sizes, candidates, merge};
use definition::definition;
pub use need::Unserved;
pub(crate) use need::{Need, is_implicit, width_us};
pub(crate) use size::{Sample, groups_in_all, section_bytes};

use crate::questions::{RollupUse, Uses};

/// Suggestions in one reply, those that save the most time first.
const SUGGESTIONS_MAX: usize = 8;

/// A recorded question as the advisor sees it.
#[derive(Clone, Debug)]
pub(crate) struct QuestionFacts {
    /// What it needs, or why nothing can serve it.
    pub need: Result<Need, Unserved>,
    /// How often it was asked.
    pub asked: u64,
    /// Time its computations spent on raw rows, in micro-seconds.
    pub raw_us: u64,
    /// When it was last computed.
    pub last_asked: Timestamp,
}

/// What is known of a dataset's raw rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RawFacts {
    /// How many, of all projects.
    pub rows: u64,
    /// Their bytes in files; 0 while none is in a file.
    pub bytes: u64,
    /// Different values of a column among the rows of a sample: they bound what distinct counts, sketches and codes of it take.
    pub distinct: BTreeMap<ColumnRef, u64>,
}

/// How many groups a roll-up would keep, estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Groups {
    pub rows: u64,
    pub sample: Sample,
}

/// Counts groups by columns and tier; `None` where that failed or took too long.
pub(crate) type CountGroups<'a> = dyn FnMut(&BTreeSet<ColumnRef>, Tier) -> Option<Groups> + 'a;

/// Advice about one dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// The dataset.
    pub dataset: String,
    /// Recorded shapes of questions.
    pub questions: usize,
    /// Time their computations spent on raw rows, in micro-seconds.
    pub raw_us: u64,
    /// The part of it in questions that a declared roll-up covers: rows that are not in it yet, or were not when it was asked.
    pub covered_us: u64,
    /// Roll-ups to declare, those that save the most time first.
    pub suggestions: Vec<Suggestion>,
    /// Roll-ups that would serve questions but be nearly as large as the raw rows, so they would not be stored.
    pub not_paying: Vec<Suggestion>,
    /// Questions that no roll-up serves, by reason, with their raw time in micro-seconds.
    pub unserved: Vec<(Unserved, usize, u64)>,
    /// Declared roll-ups that took part in no answer.
    pub unused: Vec<Unused>,
}

/// A roll-up that could be declared.
#[derive(Clone, Debug, PartialEq)]
pub struct Suggestion {
    /// For `PUT /api/v1/datasets/NAME`: adds the roll-up, or widens the one with the same columns.
    pub definition: DatasetDefinition,
    /// Whether a declared roll-up is widened.
    pub widens: bool,
    /// Shapes of questions it would serve.
    pub questions: usize,
    /// How often they were asked.
    pub asked: u64,
    /// Time they spent on raw rows, in micro-seconds.
    pub raw_us: u64,
    /// What it would take, by tier.
    pub tiers: Vec<TierEstimate>,
    /// Indices of the questions it would serve, in the order the facts were given.
    pub(crate) served: Vec<usize>,
}

/// An estimate from a sample, never a measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TierEstimate {
    /// Which tier.
    pub tier: Tier,
    /// Rows over all data.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether it would be stored.
    pub pays: bool,
    /// Raw rows the estimate was made from.
    pub sample_rows: u64,
    /// Groups among them.
    pub sample_groups: u64,
}

/// A declared roll-up that took part in no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unused {
    /// Its name.
    pub rollup: String,
    /// Since when that is watched.
    pub since: Timestamp,
}

/// Advises on one dataset.
pub(crate) fn advise<'a>(
    dataset: &'a Dataset,
    questions: &[QuestionFacts],
    uses: &Uses,
    raw: &'a RawFacts,
    count: &'a mut CountGroups<'a>,
) -> Advice {
    let is_covered = |need: &Need| need.is_covered(&dataset.rollups, dataset);
    let covered = questions.iter().filter(|question| question.need.as_ref().is_ok_and(is_covered));
    let covered_us = covered.map(|question| question.raw_us).sum();
    let mut sizes = Sizes { dataset, raw, count, known: BTreeMap::new() };
    let found = merge(candidates(questions, |need| !is_covered(need)), &mut sizes);
    let (mut suggestions, mut not_paying) = (Vec::new(), Vec::new());
    for candidate in found {
        let Some(sized) = sizes.of(&candidate) else { continue };
        let kept: BTreeSet<Tier> =
            sized.iter().filter(|sized| sized.is_kept).map(|sized| sized.tier).collect();
        if kept.is_empty() {
            not_paying.push(suggestion(dataset, questions, &candidate, &candidate.tiers, &sized));
        } else {
            suggestions.push(suggestion(dataset, questions, &candidate, &kept, &sized));
        }
    }
    for list in [&mut suggestions, &mut not_paying] {
        list.sort_by_key(|suggestion| std::cmp::Reverse(suggestion.raw_us));
        list.truncate(SUGGESTIONS_MAX);
    }
    Advice {
        dataset: dataset.name.to_string(),
        questions: questions.len(),
        raw_us: questions.iter().map(|question| question.raw_us).sum(),
        covered_us,
        suggestions,
        not_paying,
        unserved: unserved(questions),
        unused: unused(dataset, questions, uses),
    }
}

fn suggestion(
    dataset: &Dataset,
    questions: &[QuestionFacts],
    candidate: &Candidate,
    tiers: &BTreeSet<Tier>,
    sized: &[Sized],
) -> Suggestion {
    let is_served = |index: &&usize| {
        questions[**index].need.as_ref().is_ok_and(|need| tiers.iter().any(|tier| *tier <= need.tier))
    };
    let served: Vec<usize> = candidate.questions.iter().filter(is_served).copied().collect();
    let definition = definition(dataset, candidate, tiers);
    let estimate = |sized: &Sized| TierEstimate {
        tier: sized.tier,
        rows: sized.groups.rows,
        bytes: sized.bytes,
        pays: sized.is_kept,
        sample_rows: sized.groups.sample.rows,
        sample_groups: sized.groups.sample.groups,
    };
    Suggestion {
        widens: dataset.rollups.iter().any(|rollup| *rollup.name == *definition.rollups[0].name),
        definition,
        questions: served.len(),
        asked: served.iter().map(|index| questions[*index].asked).sum(),
        raw_us: served.iter().map(|index| questions[*index].raw_us).sum(),
        tiers: sized.iter().map(estimate).collect(),
        served,
    }
}

fn unserved(questions: &[QuestionFacts]) -> Vec<(Unserved, usize, u64)> {
    let mut by_reason: BTreeMap<Unserved, (usize, u64)> = BTreeMap::new();
    for question in questions {
        if let Err(reason) = question.need {
            let (count, raw_us) = by_reason.entry(reason).or_default();
            *count += 1;
            *raw_us += question.raw_us;
        }
    }
    by_reason.into_iter().map(|(reason, (count, raw_us))| (reason, count, raw_us)).collect()
}

/// Roll-ups that took part in nothing although questions were asked since they are watched.
fn unused(dataset: &Dataset, questions: &[QuestionFacts], uses: &Uses) -> Vec<Unused> {
    let last_asked = questions.iter().map(|question| question.last_asked).max();
    let unused = dataset.rollups.iter().filter_map(|rollup| {
        let is_unused = |watched: &&RollupUse| watched.used == 0 && Some(watched.since) <= last_asked;
        let watched = uses.get(&*rollup.name).filter(is_unused)?;
        Some(Unused { rollup: rollup.name.to_string(), since: watched.since })
    });
    unused.collect()
}
