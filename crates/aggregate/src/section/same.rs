//! Whether two sections of the same rows say the same.
//!
//! Most states of a group are the same bytes whatever order its rows came in and whatever parts were joined. Sums, means and
//! spreads of floats are not: their last digits depend on the order of additions, within the bounds given here.

use super::{EncodedSection, EncodedSlice, SectionSlice};
use crate::error::AggregateError;
use crate::feed::{Keys, Rows};
use crate::state::States;

/// One rounding of a double, with room for the few roundings that one step of a sum takes.
const STEP_ERROR: f64 = 1.0 / (1u64 << 50) as f64;
/// One rounding of a sum in two doubles, likewise.
const DOUBLE_STEP_ERROR: f64 = STEP_ERROR * STEP_ERROR;

impl EncodedSection {
    /// Whether another section says the same of the same rows: byte by byte, but for what floats that are added in another order may
    /// differ by. `largest` is the largest size of a float among the rows. The order of projects does not matter.
    pub fn says_the_same(&self, other: &EncodedSection, largest: f64) -> Result<bool, AggregateError> {
        if self.head != other.head || self.projects.len() != other.projects.len() {
            return Ok(false);
        }
        for slice in &self.projects {
            let mut others = other.projects.iter();
            let Some(other) = others.find(|other| other.project == slice.project) else { return Ok(false) };
            if slice != other && !self.is_close(slice, other, largest)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_close(&self, one: &EncodedSlice, two: &EncodedSlice, largest: f64) -> Result<bool, AggregateError> {
        let shape = |slice: &EncodedSlice| (slice.rows, slice.min_us, slice.max_us, slice.columns.len());
        let of_measures = 1 + self.head.dimensions.len();
        if shape(one) != shape(two)
            || one.columns.len() <= of_measures
            || one.columns[..of_measures] != two.columns[..of_measures]
        {
            return Ok(false);
        }
        let decode = |slice: &EncodedSlice| slice.decode(self.head.tier, self.head.dimensions.len());
        let (a, b) = (decode(one)?, decode(two)?);
        let States::Count(rows) = states(&a, 0)? else { return Ok(false) };
        for place in 0..a.measures.len() {
            let is_equal = one.columns[of_measures + place] == two.columns[of_measures + place];
            if !is_equal && !are_close(&states(&a, place)?, &states(&b, place)?, &rows, largest) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// All states of one measure.
fn states(slice: &SectionSlice, place: usize) -> Result<States, AggregateError> {
    let encoded = &slice.measures[place];
    let mut states = States::new(encoded.kind()?, false);
    states.resize(slice.rows);
    let groups: Vec<u32> = (0..slice.rows as u32).collect();
    states.merge_encoded(encoded, Rows::All(slice.rows), Keys::Each(&groups))?;
    Ok(states)
}

/// Whether two columns of floats' states differ by no more than their additions may have lost; others are never close.
fn are_close(a: &States, b: &States, rows: &[u64], largest: f64) -> bool {
    let sums = |one: f64, two: f64, rows: u64| {
        let lost = (rows as f64).powi(2) * largest * DOUBLE_STEP_ERROR;
        is_within(one, two, one.abs() * STEP_ERROR + lost)
    };
    match (a, b) {
        (States::FloatSum(a), States::FloatSum(b)) => {
            let mut pairs = a.iter().zip(b).zip(rows);
            pairs.all(|((a, b), rows)| sums(a.value(), b.value(), *rows))
        }
        (States::FloatMean(a), States::FloatMean(b)) => {
            let mut pairs = a.iter().zip(b).zip(rows);
            pairs.all(|((a, b), rows)| a.count == b.count && sums(a.sum.value(), b.sum.value(), *rows))
        }
        (States::FloatMoments(a), States::FloatMoments(b)) => {
            a.iter().zip(b).zip(rows).all(|((a, b), rows)| {
                let (one, two, rows) = (a.parts(), b.parts(), *rows as f64);
                one.0 == two.0
                    && is_within(one.1, two.1, rows * largest * STEP_ERROR)
                    && is_within(one.2, two.2, (rows * largest).powi(2) * 4.0 * STEP_ERROR)
            })
        }
        _ => false,
    }
}

fn is_within(a: f64, b: f64, bound: f64) -> bool {
    a == b || (a - b).abs() <= bound
}
