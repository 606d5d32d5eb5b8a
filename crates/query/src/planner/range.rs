//! The plan of a whole range: all units, after what cannot be answered is cut off or refused.

use super::coverage::Coverage;
use super::facts::{Question, UnitFacts};
use super::piece::{Gap, UnitPlan};
use super::unit::Planner;

/// Later starts that are tried where units lack sections, before raw rows alone are relied on. One is usual, two where a bucket is
/// then cut.
const STARTS_MAX: usize = 16;

/// Plans for every unit.
#[derive(Clone, Debug)]
pub struct RangePlan {
    /// The first instant that is answered: the question's own unless a part of it was cut off.
    pub from_us: i64,
    /// One per unit.
    pub units: Vec<UnitPlan>,
}

/// Part of the range cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCovered {
    /// The earliest start that can, on a whole hour.
    pub from_us: i64,
}

impl RangePlan {
    /// Plans a question over all units that its project has rows in. `cut` answers the rest where the beginning cannot be, and
    /// nothing where no part can.
    pub fn new(
        question: &Question,
        units: &[UnitFacts],
        coverage: &Coverage<'_>,
        cut: bool,
    ) -> Result<Self, NotCovered> {
        let mut earliest_us = coverage.earliest_us(question);
        if earliest_us <= question.from_us {
            match plan_units(question, units, coverage) {
                Ok(units) => return Ok(RangePlan { from_us: question.from_us, units }),
                Err(gap) => earliest_us = gap.until_us,
            }
        }
        let start = |earliest_us| match cut {
            true => coverage.earliest_us(&Question { from_us: earliest_us, ..question.clone() }),
            false => coverage.remedy_us(question, earliest_us),
        };
        for _ in 0..STARTS_MAX {
            let asked = Question { from_us: start(earliest_us).min(question.to_us), ..question.clone() };
            match plan_units(&asked, units, coverage) {
                Ok(units) if cut => return Ok(RangePlan { from_us: asked.from_us, units }),
                Ok(_) => return Err(NotCovered { from_us: start(earliest_us) }),
                Err(gap) => earliest_us = gap.until_us,
            }
        }
        // No more luck with sections: from here on there are raw rows, or the range is over.
        let asked = Question { from_us: coverage.ages.raw_us.max(earliest_us), ..question.clone() };
        match plan_units(&asked, units, coverage) {
            Ok(units) if cut => Ok(RangePlan { from_us: asked.from_us.min(question.to_us), units }),
            _ => Err(NotCovered { from_us: coverage.remedy_us(question, asked.from_us) }),
        }
    }
}

/// All units, or where the last part ends that one of them lacks.
fn plan_units(
    question: &Question,
    units: &[UnitFacts],
    coverage: &Coverage<'_>,
) -> Result<Vec<UnitPlan>, Gap> {
    let mut planner = Planner::new(question, coverage.ages);
    let mut plans = Vec::with_capacity(units.len());
    let mut gap: Option<Gap> = None;
    for unit in units {
        match planner.plan(unit) {
            Ok(plan) => plans.push(plan),
            Err(found) if gap.is_none_or(|gap| gap.until_us < found.until_us) => gap = Some(found),
            Err(_) => {}
        }
    }
    gap.map_or(Ok(plans), Err)
}
