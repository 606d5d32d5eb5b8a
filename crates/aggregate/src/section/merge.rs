//! Stored states into the states of groups, straight from their bytes.

mod sketches;

use std::ops::Range;

use arrow_array::Array;
use bytes::Bytes;
use tidewater_model::state::{Distinct, First, FloatSum, IntMoments, Last, Moments};

use super::bytes::{damaged, require};
use super::floats::Floats;
use super::measure::{self, Arrays, DENSE, EXACT, SPARSE, Sets, Sums};
use super::packed::{Packed, visit};
use crate::error::AggregateError;
use crate::feed::{Keys, Rows};
use crate::state::{Aggregate, States};

/// The states of a slice's rows, as stored.
#[derive(Clone, Debug)]
pub struct EncodedStates {
    bytes: Bytes,
    /// Rows of the slice.
    total: usize,
    /// The rows that are here.
    first: usize,
    rows: usize,
}

/// More rows than can be: a count above it is damaged.
const ROWS_MAX: u64 = 1 << 56;
/// Counts up to this can take another; only damaged ones add up to more.
const TOTAL_MAX: u64 = 1 << 62;
/// The size of a sum of 2^56 numbers of 64 bits; larger ones are damaged.
const SUM_MAX: u128 = 1 << 120;

impl EncodedStates {
    /// The measure column of a slice with `total` rows, of which those of `range` are used.
    pub(super) fn new(bytes: Bytes, total: usize, range: Range<usize>) -> Self {
        EncodedStates { bytes, total, first: range.start, rows: range.len() }
    }

    /// How many there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the whole column.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The column is of this kind, as its bytes tell.
    pub fn kind(&self) -> Result<crate::state::StateKind, AggregateError> {
        measure::read(&self.bytes, self.total).map(|(kind, _)| kind)
    }
}

impl States {
    /// Adds the stored states of `rows` to the groups that `keys` tells, which there must be room for. The stored states are of this
    /// kind, or means where this holds sums.
    pub fn merge_encoded(
        &mut self,
        encoded: &EncodedStates,
        rows: Rows<'_>,
        keys: Keys<'_>,
    ) -> Result<(), AggregateError> {
        let is_inside = match rows {
            Rows::All(rows) => rows <= encoded.rows,
            Rows::List(rows) => rows.iter().all(|row| (*row as usize) < encoded.rows),
        };
        if !is_inside {
            return Err(AggregateError::Inconsistent { what: "a row past the end of a roll-up" });
        }
        self.unpack(0);
        let (_, arrays) = measure::read(&encoded.bytes, encoded.total)?;
        Merge { first: encoded.first, total: encoded.total, rows, keys, is_damaged: false }.all(self, &arrays)
    }
}

struct Merge<'a> {
    /// The row of the column that the rows are counted from.
    first: usize,
    total: usize,
    rows: Rows<'a>,
    keys: Keys<'a>,
    is_damaged: bool,
}

impl Merge<'_> {
    fn all(mut self, states: &mut States, arrays: &Arrays<'_>) -> Result<(), AggregateError> {
        match (states, arrays) {
            (States::Count(own), Arrays::Count(counts)) => self.counts(own, counts, |count| count),
            (States::IntSum(own), Arrays::IntSum(sums) | Arrays::IntMean(sums, _)) => {
                self.sums(own, sums, |state, sum| state.0 = state.0.wrapping_add(sum));
            }
            (States::IntMean(own), Arrays::IntMean(sums, counts)) => {
                self.sums(own, sums, |state, sum| state.sum.0 = state.sum.0.wrapping_add(sum));
                self.counts(own, counts, |state| &mut state.count);
            }
            (States::FloatSum(own), Arrays::FloatSum(sums) | Arrays::FloatMean(sums, _)) => {
                self.float_sums(own, sums, |state| state);
            }
            (States::FloatMean(own), Arrays::FloatMean(sums, counts)) => {
                self.float_sums(own, sums, |state| &mut state.sum);
                self.counts(own, counts, |state| &mut state.count);
            }
            (States::Least(own), Arrays::Extreme(values)) => self.extremes(own, values),
            (States::Greatest(own), Arrays::Extreme(values)) => self.extremes(own, values),
            (States::Text(own), Arrays::Text { dictionary, codes_and_times: [codes, times] }) => {
                self.each_row([codes, times], |group, [code, time]| {
                    let Some(place) = code.checked_sub(1) else { return true };
                    if place >= dictionary.len() as u64 {
                        return false;
                    }
                    own.offer(group, time as i64, dictionary.value(place as usize));
                    true
                });
            }
            (States::IntMoments(own), Arrays::IntMoments(sums, parts)) => self.int_moments(own, sums, parts),
            (States::FloatMoments(own), Arrays::FloatMoments(counts, parts)) => {
                self.float_moments(own, counts, parts);
            }
            (States::Distinct(own), Arrays::Distinct(sets)) => self.sets(&mut own.states, sets)?,
            (States::Quantiles(own), Arrays::Quantiles(sketches)) => self.sketches(own, sketches)?,
            (States::First(own), Arrays::Timed([is_there, values, times])) => {
                self.each_row([is_there, values, times], |group, [is_there, value, time]| {
                    if is_there == 1 {
                        First::update(&mut own[group], time as i64, value as i64);
                    }
                    is_there <= 1
                });
            }
            (States::Last(own), Arrays::Timed([is_there, values, times])) => {
                self.each_row([is_there, values, times], |group, [is_there, value, time]| {
                    if is_there == 1 {
                        Last::update(&mut own[group], time as i64, value as i64);
                    }
                    is_there <= 1
                });
            }
            _ => {
                return Err(AggregateError::Inconsistent {
                    what: "a roll-up holds another state than its key",
                });
            }
        }
        require(!self.is_damaged, "a state is impossible")
    }

    /// Calls `take(state, numbers)` for each row; what it calls false is damaged.
    #[inline]
    fn each_state<S, const N: usize>(
        &mut self,
        states: &mut [S],
        arrays: [&Packed<'_>; N],
        mut take: impl FnMut(&mut S, [u64; N]) -> bool,
    ) {
        let mut is_right = true;
        match self.keys {
            Keys::One(group) => {
                let state = &mut states[group as usize];
                visit(arrays, self.first, self.rows, |_, numbers| is_right &= take(state, numbers));
            }
            Keys::Runs(groups) | Keys::Each(groups) => {
                visit(arrays, self.first, self.rows, |place, numbers| {
                    is_right &= take(&mut states[groups[place] as usize], numbers);
                });
            }
        }
        self.is_damaged |= !is_right;
    }

    fn each_row<const N: usize>(
        &mut self,
        arrays: [&Packed<'_>; N],
        mut take: impl FnMut(usize, [u64; N]) -> bool,
    ) {
        let (keys, mut is_right) = (self.keys, true);
        visit(arrays, self.first, self.rows, |place, numbers| {
            is_right &= take(keys.at(place) as usize, numbers)
        });
        self.is_damaged |= !is_right;
    }

    fn counts<S>(&mut self, own: &mut [S], counts: &Packed<'_>, of: impl Fn(&mut S) -> &mut u64) {
        self.each_state(own, [counts], |state, [count]| {
            let held = of(state);
            *held = held.wrapping_add(count);
            count <= ROWS_MAX
        });
    }

    fn sums<S>(&mut self, own: &mut [S], sums: &Sums<'_>, add: impl Fn(&mut S, i128)) {
        match &sums.high {
            None => self.each_state(own, [&sums.low], |state, [sum]| {
                add(state, i128::from(sum as i64));
                true
            }),
            Some(high) => self.each_state(own, [&sums.low, high], |state, parts| {
                let sum = wide(parts);
                let is_possible = sum.unsigned_abs() <= SUM_MAX;
                if is_possible {
                    add(state, sum);
                }
                is_possible
            }),
        }
    }

    fn float_sums<S>(
        &mut self,
        own: &mut [S],
        parts: &[Floats<'_>; 4],
        of: impl Fn(&mut S) -> &mut FloatSum,
    ) {
        let floats = parts.each_ref().map(Floats::float);
        self.each_state(own, parts.each_ref().map(|part| &part.numbers), |state, numbers| {
            let parts = std::array::from_fn(|part| floats[part](numbers[part]));
            FloatSum::from_parts(parts).is_some_and(|other| {
                of(state).merge(&other);
                true
            })
        });
    }

    fn extremes<S: Aggregate<i64>>(&mut self, own: &mut [S], [is_there, values]: &[Packed<'_>; 2]) {
        self.each_state(own, [is_there, values], |state, [is_there, value]| {
            if is_there == 1 {
                state.add(value as i64);
            }
            is_there <= 1
        });
    }

    fn float_moments(
        &mut self,
        own: &mut [Moments],
        counts: &Packed<'_>,
        [means, squares]: &[Floats<'_>; 2],
    ) {
        let (mean_of, squares_of) = (means.float(), squares.float());
        let take = |state: &mut Moments, [count, mean, squares]: [u64; 3]| {
            let other = Moments::from_parts(count, mean_of(mean), squares_of(squares));
            other.filter(|_| state.count() <= TOTAL_MAX).is_some_and(|other| {
                state.merge(&other);
                true
            })
        };
        self.each_state(own, [counts, &means.numbers, &squares.numbers], take);
    }

    fn int_moments(
        &mut self,
        own: &mut [IntMoments],
        sums: &Sums<'_>,
        [counts, low, middle, high]: &[Packed<'_>; 4],
    ) {
        let take = |state: &mut IntMoments, sum: i128, [count, low, middle, high]: [u64; 4]| {
            let other = IntMoments::from_parts(count, sum, [low, middle, high]);
            other.filter(|_| state.count() <= TOTAL_MAX).is_some_and(|other| {
                state.merge(&other);
                true
            })
        };
        match &sums.high {
            None => {
                self.each_state(own, [&sums.low, counts, low, middle, high], |state, [sum, parts @ ..]| {
                    take(state, i128::from(sum as i64), parts)
                })
            }
            Some(more) => {
                self.each_state(
                    own,
                    [&sums.low, more, counts, low, middle, high],
                    |state, [sum, more, parts @ ..]| take(state, wide([sum, more]), parts),
                );
            }
        }
    }

    fn sets(&mut self, own: &mut [Distinct], sets: &Sets<'_>) -> Result<(), AggregateError> {
        let [forms, lengths] = &sets.rows;
        let (forms, lengths) = (forms.numbers(0..self.total), lengths.numbers(0..self.total));
        let starts = set_starts(&forms, &lengths)?;
        let mut registers = Vec::new();
        let mut ranks = [0u8; Distinct::REGISTERS];
        for place in 0..self.rows.len() {
            let row = self.first + self.rows.at(place);
            let set = &mut own[self.keys.at(place) as usize];
            let (start, length) = (starts[row], lengths[row] as usize);
            match forms[row] {
                EXACT => {
                    require(start + length <= sets.hashes.len(), "a set is cut short")?;
                    sets.hashes.for_each_part(start..start + length, |hashes| set.insert_hashes(hashes));
                }
                SPARSE => {
                    require(start + length <= sets.gaps.len(), "a set is cut short")?;
                    registers.clear();
                    let mut number = 0u64;
                    sets.gaps.for_each_part(start..start + length, |gaps| {
                        registers.extend(gaps.iter().map(|gap| {
                            number = number.saturating_add(*gap).min(Distinct::REGISTERS as u64);
                            (number as u32) << 8
                        }));
                    });
                    let mut place = 0;
                    sets.sparse_ranks.for_each_part(start..start + length, |ranks| {
                        for rank in ranks {
                            registers[place] |= (*rank).min(0xff) as u32;
                            place += 1;
                        }
                    });
                    set.merge_registers(&registers)?;
                }
                _ => {
                    require(start + ranks.len() <= sets.dense_ranks.len(), "a set is cut short")?;
                    sets.dense_ranks.bytes(start, &mut ranks);
                    set.merge_ranks(&ranks)?;
                }
            }
        }
        Ok(())
    }
}

fn wide([low, high]: [u64; 2]) -> i128 {
    i128::from(high as i64) << 64 | i128::from(low)
}

/// Where each row's set begins among those of its form.
fn set_starts(forms: &[u64], lengths: &[u64]) -> Result<Vec<usize>, AggregateError> {
    let mut ends = [0usize; 3];
    let mut starts = Vec::with_capacity(forms.len());
    for (form, length) in forms.iter().zip(lengths) {
        let end = ends.get_mut(*form as usize).ok_or(damaged("the form of a set is unknown"))?;
        starts.push(*end);
        let length = if *form == DENSE { Distinct::REGISTERS as u64 } else { *length };
        // Lengths of damaged bytes may be anything; no array is so long.
        require(length <= u64::from(u32::MAX), "a set is longer than its bytes")?;
        *end += length as usize;
    }
    Ok(starts)
}
