//! The plan of one unit: which measures are answered together, and from what.

use std::sync::Arc;

use super::cells::Cells;
use super::choose::{Asked, Candidate, Choice, Part, choose, part_cost};
use super::cost::Prices;
use super::facts::{Ages, Question, SectionFacts, SectionSchema, UnitFacts};
use super::piece::{Gap, Piece, PieceMeasure, Source, UnitPlan};
use super::serve::{Served, served};

/// Sections of a unit that are looked at, those with the fewest rows: one bit each.
const CANDIDATES_MAX: usize = u64::BITS as usize;
/// Sets of measures up to which all pairs are tried as one: their number grows with the cube.
const SETS_MAX: usize = 12;

/// Plans units of one pass of a question.
#[derive(Debug)]
pub struct Planner<'a> {
    question: &'a Question,
    ages: Ages,
    /// How each kind of section met so far serves the question.
    known: Vec<(Arc<SectionSchema>, Serving)>,
}

/// How a section serves each measure.
type Serving = Arc<[Option<Served>]>;

/// A section that is looked at.
struct Offer {
    candidate: Candidate,
    served: Serving,
}

/// Measures that are answered from the same sources.
struct Set {
    measures: Vec<usize>,
    /// The offers that serve all of them.
    mask: u64,
    choice: Choice,
}

impl<'a> Planner<'a> {
    /// Plans nothing yet.
    pub fn new(question: &'a Question, ages: Ages) -> Self {
        Planner { question, ages, known: Vec::new() }
    }

    /// The pieces that hold every measure at every instant of range ∩ unit once; or the part of it that nothing covers.
    pub fn plan(&mut self, unit: &UnitFacts) -> Result<UnitPlan, Gap> {
        let span = (unit.min_us, unit.max_us.saturating_add(1));
        let (lo, hi) = (self.question.from_us.max(span.0), self.question.to_us.min(span.1));
        if lo >= hi {
            return Ok(UnitPlan { least_us: unit.min_us, ..UnitPlan::default() });
        }
        let asked = Asked { lo, hi, span, has_raw: unit.raw.is_some() };
        let offers = self.offers(unit, asked);
        let sets = self.sets(unit, asked, &offers)?;
        Ok(self.finish(unit, asked, &offers, sets))
    }

    fn offers(&mut self, unit: &UnitFacts, asked: Asked) -> Vec<Offer> {
        if unit.has_pending_tombstone {
            return Vec::new();
        }
        let mut sections: Vec<(usize, &SectionFacts)> = unit.sections.iter().enumerate().collect();
        sections.sort_by_key(|(_, section)| section.rows);
        let mut offers = Vec::new();
        for (index, section) in sections {
            let served = self.serves(&section.schema);
            if served.iter().all(Option::is_none) {
                continue;
            }
            let tier = section.schema.tier;
            let cells = Cells::new(tier, asked.span, self.ages.tier_us(tier));
            let runs = cells.usable(self.question.grid.as_deref(), asked.lo, asked.hi);
            if runs.is_empty() || offers.len() == CANDIDATES_MAX {
                continue;
            }
            let candidate =
                Candidate { section: index, rows: section.rows, width: tier.width_us(), cells, runs };
            offers.push(Offer { candidate, served });
        }
        offers
    }

    fn serves(&mut self, schema: &Arc<SectionSchema>) -> Serving {
        if let Some((_, serving)) = self.known.iter().find(|(known, _)| Arc::ptr_eq(known, schema)) {
            return Arc::clone(serving);
        }
        let serving: Serving = served(self.question, schema).into();
        self.known.push((Arc::clone(schema), Arc::clone(&serving)));
        serving
    }

    /// Sets of measures with the sources of each: first those that the same sections serve, then joined as long as that is cheaper.
    fn sets(&self, unit: &UnitFacts, asked: Asked, offers: &[Offer]) -> Result<Vec<Set>, Gap> {
        let mut by_mask: Vec<(u64, Vec<usize>)> = Vec::new();
        for measure in 0..self.question.measures.len() {
            let bits = offers.iter().enumerate().filter(|(_, offer)| offer.served[measure].is_some());
            let mask = bits.fold(0, |mask, (bit, _)| mask | 1 << bit);
            match by_mask.iter_mut().find(|(known, _)| *known == mask) {
                Some((_, measures)) => measures.push(measure),
                None => by_mask.push((mask, vec![measure])),
            }
        }
        let mut sets = Vec::with_capacity(by_mask.len());
        let mut gap: Option<Gap> = None;
        for (mask, measures) in by_mask {
            match self.set(unit, asked, offers, mask, measures) {
                Ok(set) => sets.push(set),
                Err(found) => {
                    let until_us = gap.map_or(found.until_us, |gap| gap.until_us.max(found.until_us));
                    gap = Some(Gap { until_us });
                }
            }
        }
        match gap {
            Some(gap) => Err(gap),
            None => Ok(self.join(unit, asked, offers, sets)),
        }
    }

    fn set(
        &self,
        unit: &UnitFacts,
        asked: Asked,
        offers: &[Offer],
        mask: u64,
        measures: Vec<usize>,
    ) -> Result<Set, Gap> {
        let usable = offers.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0);
        let candidates: Vec<&Candidate> = usable.map(|(_, offer)| &offer.candidate).collect();
        let choice = choose(asked, unit, &candidates, &Prices::new(self.question, &measures))?;
        Ok(Set { measures, mask, choice })
    }

    fn join(&self, unit: &UnitFacts, asked: Asked, offers: &[Offer], mut sets: Vec<Set>) -> Vec<Set> {
        let joined = |sets: &[&Set]| {
            let mask = sets.iter().fold(u64::MAX, |mask, set| mask & set.mask);
            let mut measures: Vec<usize> = sets.iter().flat_map(|set| set.measures.iter().copied()).collect();
            measures.sort_unstable();
            self.set(unit, asked, offers, mask, measures).ok()
        };
        // All from one source at the least saves reading rows several times, raw ones above all.
        let all = if sets.len() > 1 { joined(&sets.iter().collect::<Vec<_>>()) } else { None };
        while (2..=SETS_MAX).contains(&sets.len()) {
            let mut best: Option<(f64, usize, usize, Set)> = None;
            for a in 0..sets.len() {
                for b in a + 1..sets.len() {
                    let Some(set) = joined(&[&sets[a], &sets[b]]) else { continue };
                    let saved = sets[a].choice.cost_ns + sets[b].choice.cost_ns - set.choice.cost_ns;
                    if saved > best.as_ref().map_or(0.0, |(saved, ..)| *saved) {
                        best = Some((saved, a, b, set));
                    }
                }
            }
            let Some((_, a, b, set)) = best else { break };
            sets.remove(b);
            sets[a] = set;
        }
        let cost: f64 = sets.iter().map(|set| set.choice.cost_ns).sum();
        match all {
            Some(all) if all.choice.cost_ns <= cost => vec![all],
            _ => sets,
        }
    }

    fn finish(&self, unit: &UnitFacts, asked: Asked, offers: &[Offer], sets: Vec<Set>) -> UnitPlan {
        // Sets may share a part, such as the raw edges of a range.
        let mut shared: Vec<(Part, Vec<usize>)> = Vec::new();
        for set in sets {
            for part in set.choice.parts {
                match shared.iter_mut().find(|(known, _)| *known == part) {
                    Some((_, measures)) => measures.extend(&set.measures),
                    None => shared.push((part, set.measures.clone())),
                }
            }
        }
        shared.sort_by_key(|(part, _)| (part.lo, part.hi, part.source));
        let mut plan = UnitPlan { least_us: unit.min_us, ..UnitPlan::default() };
        let mut cost_ns = 0.0;
        for (part, mut measures) in shared {
            measures.sort_unstable();
            cost_ns += part_cost(part, asked, unit, &Prices::new(self.question, &measures));
            let served = match part.source {
                Source::Raw => None,
                Source::Section(index) => {
                    offers.iter().find(|offer| offer.candidate.section == index).map(|offer| &offer.served)
                }
            };
            plan.pieces.push(Piece {
                from_us: (part.lo > unit.min_us).then_some(part.lo),
                to_us: (part.hi <= unit.max_us).then_some(part.hi),
                source: part.source,
                measures: measures.iter().map(|measure| self.measure(*measure, served)).collect(),
            });
        }
        plan.cost_ns = cost_ns as u64;
        plan
    }

    fn measure(&self, measure: usize, served: Option<&Serving>) -> PieceMeasure {
        match served.and_then(|served| served[measure]) {
            Some(Served { stored, filtered }) => PieceMeasure { measure, stored, filtered },
            None => PieceMeasure {
                measure,
                stored: 0,
                filtered: !self.question.measures[measure].key.filter.is_all(),
            },
        }
    }
}
