//! Roll-ups that could be declared: one for each set of columns that questions need, then similar ones merged greedily.

use std::collections::{BTreeMap, BTreeSet};

use tidewater_model::query::Measure;
use tidewater_model::schema::{ColumnRef, Dataset, Tier};

use super::need::add_measure;
use super::{CountGroups, Groups, Need, QuestionFacts, RawFacts, section_bytes};

/// Candidates that are looked at, those with the most time first: each costs a few scans of a sample.
const CANDIDATES_MAX: usize = 12;
/// A section is stored where it is at most this part of the raw bytes (DESIGN.md, roll-ups).
const PAYS_SHARE: f64 = 0.1;
/// With more groups to ten rows it is not stored either: it would be read no faster than the rows.
const GROUPS_OF_TEN_ROWS_MAX: u64 = 6;
/// A merged roll-up may make its questions read at most so many times the rows of their own.
const READ_GROWTH_MAX: u64 = 4;

/// A roll-up that would serve questions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub dimensions: BTreeSet<ColumnRef>,
    pub measures: Vec<Measure>,
    pub tiers: BTreeSet<Tier>,
    /// Indices of the questions.
    pub questions: Vec<usize>,
}

/// One tier of a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sized {
    pub tier: Tier,
    pub groups: Groups,
    pub bytes: u64,
    /// Whether it would be stored.
    pub is_kept: bool,
}

impl Candidate {
    fn of(need: &Need) -> Self {
        Candidate {
            dimensions: need.dimensions.clone(),
            measures: Vec::new(),
            tiers: BTreeSet::new(),
            questions: Vec::new(),
        }
    }

    fn add(&mut self, index: usize, need: &Need) {
        need.measures.iter().for_each(|measure| add_measure(&mut self.measures, measure));
        self.tiers.insert(need.tier);
        self.questions.push(index);
    }

    fn union(&self, other: &Candidate) -> Self {
        let mut union = self.clone();
        union.dimensions.extend(other.dimensions.iter().cloned());
        other.measures.iter().for_each(|measure| add_measure(&mut union.measures, measure));
        union.tiers.extend(&other.tiers);
        union.questions.extend(&other.questions);
        union
    }
}

/// What sizes are judged against.
pub(crate) struct Sizes<'a> {
    pub dataset: &'a Dataset,
    pub raw: &'a RawFacts,
    pub count: &'a mut CountGroups<'a>,
    /// Groups by columns and tier: counting is the expensive part.
    pub known: BTreeMap<(BTreeSet<ColumnRef>, Tier), Option<Groups>>,
}

impl Sizes<'_> {
    fn groups(&mut self, dimensions: &BTreeSet<ColumnRef>, tier: Tier) -> Option<Groups> {
        let key = (dimensions.clone(), tier);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let counted = (self.count)(dimensions, tier);
        self.known.insert(key, counted);
        counted
    }

    /// All tiers of a candidate, finest first; `None` where one cannot be estimated.
    pub fn of(&mut self, candidate: &Candidate) -> Option<Vec<Sized>> {
        candidate.tiers.iter().map(|tier| self.tier(candidate, *tier)).collect()
    }

    fn tier(&mut self, candidate: &Candidate, tier: Tier) -> Option<Sized> {
        let groups = self.groups(&candidate.dimensions, tier)?;
        let RawFacts { rows, bytes: raw_bytes, .. } = *self.raw;
        let bytes = section_bytes(groups.rows, self.raw, &candidate.dimensions, &candidate.measures);
        let is_small = match raw_bytes {
            // Nothing is in files yet: rows say as much.
            0 => groups.rows as f64 <= PAYS_SHARE * rows as f64,
            raw_bytes => bytes as f64 <= PAYS_SHARE * raw_bytes as f64,
        };
        let is_worth =
            is_small && groups.rows.saturating_mul(10) <= rows.saturating_mul(GROUPS_OF_TEN_ROWS_MAX);
        Some(Sized { tier, groups, bytes, is_kept: is_worth || outlives_raw(self.dataset, tier) })
    }
}

/// A tier that is kept longer than raw rows is stored whatever its size.
fn outlives_raw(dataset: &Dataset, tier: Tier) -> bool {
    let kept_us = dataset.retention.tiers_us.get(&tier);
    match (dataset.retention.raw_us, kept_us) {
        (Some(raw_us), Some(kept_us)) => kept_us.is_none_or(|kept_us| kept_us > raw_us),
        _ => false,
    }
}

/// One candidate per set of columns, those with the most raw time first.
pub(crate) fn candidates(questions: &[QuestionFacts], is_open: impl Fn(&Need) -> bool) -> Vec<Candidate> {
    let mut by_columns: BTreeMap<&BTreeSet<ColumnRef>, Candidate> = BTreeMap::new();
    for (index, question) in questions.iter().enumerate() {
        if let Ok(need) = &question.need
            && question.raw_us > 0
            && is_open(need)
        {
            by_columns.entry(&need.dimensions).or_insert_with(|| Candidate::of(need)).add(index, need);
        }
    }
    let mut candidates: Vec<Candidate> = by_columns.into_values().collect();
    let raw_us = |candidate: &Candidate| -> u64 {
        candidate.questions.iter().map(|index| questions[*index].raw_us).sum()
    };
    candidates.sort_by_key(|candidate| std::cmp::Reverse(raw_us(candidate)));
    candidates.truncate(CANDIDATES_MAX);
    candidates
}

/// Merges the pair that saves the most bytes, again and again, until no merge saves any.
pub(crate) fn merge(mut candidates: Vec<Candidate>, sizes: &mut Sizes<'_>) -> Vec<Candidate> {
    loop {
        let mut best: Option<(u64, usize, usize, Candidate)> = None;
        for first in 0..candidates.len() {
            for second in first + 1..candidates.len() {
                let union = candidates[first].union(&candidates[second]);
                let saved = saved_bytes(&candidates[first], &candidates[second], &union, sizes);
                if let Some(saved) = saved
                    && best.as_ref().is_none_or(|(most, ..)| saved > *most)
                {
                    best = Some((saved, first, second, union));
                }
            }
        }
        let Some((_, first, second, union)) = best else { return candidates };
        candidates[first] = union;
        candidates.remove(second);
    }
}

/// What a merge saves; `None` where it saves nothing, would not be stored, or makes a question read much more than its own roll-up.
fn saved_bytes(a: &Candidate, b: &Candidate, union: &Candidate, sizes: &mut Sizes<'_>) -> Option<u64> {
    let (a_sizes, b_sizes, merged) = (sizes.of(a)?, sizes.of(b)?, sizes.of(union)?);
    let total = |sizes: &[Sized]| sizes.iter().map(|sized| sized.bytes).sum::<u64>();
    let is_read_well = a_sizes.iter().chain(&b_sizes).all(|own| {
        let same_tier = merged.iter().find(|sized| sized.tier == own.tier);
        same_tier.is_some_and(|sized| sized.groups.rows <= own.groups.rows.saturating_mul(READ_GROWTH_MAX))
    });
    if !is_read_well || !merged.iter().all(|sized| sized.is_kept) {
        return None;
    }
    (total(&a_sizes) + total(&b_sizes)).checked_sub(total(&merged)).filter(|saved| *saved > 0)
}
