//! The closed set of state columns.

use arrow_array::ArrayRef;
use tidewater_model::schema::ColumnType;
use tidewater_model::state::{First, FloatSum, IntMoments, Last, Moments, Quantiles};

use super::packed::{PackedStates, Words};
use super::texts::{ExactSets, Sketches, TextRule, Texts};
use super::values::{float_of_order, floats, ints, ordered, timed};
use super::{Greatest, IntSum, Least, Mean, Merge, fold};
use crate::cell::Cell;
use crate::cell::MONEY_UNIT;
use crate::feed::{Feed, Keys, Scratch, for_each_run};
use crate::select::Selection;

/// Which state a measure keeps per group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateKind {
    /// Rows.
    Count,
    /// Exact sum of whole numbers.
    IntSum,
    /// Exact sum of whole numbers, and how many.
    IntMean,
    /// Sum of floats in double-double.
    FloatSum,
    /// Sum of floats, and how many.
    FloatMean,
    /// Least value, as an integer in the value's order.
    Least,
    /// Greatest value, likewise.
    Greatest,
    /// One text.
    Text(TextRule),
    /// Mean and spread of whole numbers, exact.
    IntMoments,
    /// Mean and spread of floats.
    FloatMoments,
    /// Distinct values: exact while few, then a sketch.
    Distinct,
    /// Distinct values, every one counted.
    ExactDistinct,
    /// Percentiles within 1 %.
    Quantiles,
    /// Value at the least time.
    First,
    /// Value at the greatest time.
    Last,
}

/// What a metric takes from a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The state's own value.
    Value,
    /// Sum ÷ count of a state that holds both; without it the sum is read.
    Mean,
    /// A percentile in thousandths.
    Quantile(u16),
}

/// A state per group. `Select` is the second pass of exact percentiles; `Packed` are counts or sums that nothing is added to.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the variants are those of `StateKind`")]
pub enum States {
    Count(Vec<u64>),
    IntSum(Vec<IntSum>),
    IntMean(Vec<Mean<IntSum>>),
    FloatSum(Vec<FloatSum>),
    FloatMean(Vec<Mean<FloatSum>>),
    Least(Vec<Least>),
    Greatest(Vec<Greatest>),
    Text(Texts),
    IntMoments(Vec<IntMoments>),
    FloatMoments(Vec<Moments>),
    Distinct(Sketches),
    ExactDistinct(ExactSets),
    Quantiles(Vec<Quantiles>),
    First(Vec<First<i64>>),
    Last(Vec<Last<i64>>),
    Select(Selection),
    Packed(PackedStates),
}

/// What a measure reads of a batch.
pub struct Input<'a> {
    /// Its column; `None` where every row is null, or for counts.
    pub array: Option<&'a ArrayRef>,
    /// Every row's time, where some measure needs it.
    pub times: &'a [i64],
}

/// Does the same with whichever vector of states there is.
macro_rules! each {
    ($states:expr, $column:ident => $body:expr, count $count:ident => $of_count:expr, texts $texts:ident => $of_texts:expr,
     others => $of_others:expr $(,)?) => {
        match $states {
            States::Count($count) => $of_count,
            States::IntSum($column) => $body,
            States::IntMean($column) => $body,
            States::FloatSum($column) => $body,
            States::FloatMean($column) => $body,
            States::Least($column) => $body,
            States::Greatest($column) => $body,
            States::Text($texts) => $of_texts,
            States::IntMoments($column) => $body,
            States::FloatMoments($column) => $body,
            States::Distinct(sets) => {
                let $column = &mut sets.states;
                $body
            }
            States::ExactDistinct(sets) => {
                let $column = &mut sets.states;
                $body
            }
            States::Quantiles($column) => $body,
            States::First($column) => $body,
            States::Last($column) => $body,
            States::Select(_) | States::Packed(_) => $of_others,
        }
    };
}

impl States {
    /// No groups yet. `is_single` tells that there will only ever be one.
    pub fn new(kind: StateKind, is_single: bool) -> Self {
        match kind {
            StateKind::Count => States::Count(Vec::new()),
            StateKind::IntSum => States::IntSum(Vec::new()),
            StateKind::IntMean => States::IntMean(Vec::new()),
            StateKind::FloatSum => States::FloatSum(Vec::new()),
            StateKind::FloatMean => States::FloatMean(Vec::new()),
            StateKind::Least => States::Least(Vec::new()),
            StateKind::Greatest => States::Greatest(Vec::new()),
            StateKind::Text(rule) => States::Text(Texts { rule, held: Vec::new() }),
            StateKind::IntMoments => States::IntMoments(Vec::new()),
            StateKind::FloatMoments => States::FloatMoments(Vec::new()),
            StateKind::Distinct => States::Distinct(Sketches::new(is_single)),
            StateKind::ExactDistinct => States::ExactDistinct(ExactSets::new(is_single)),
            StateKind::Quantiles => States::Quantiles(Vec::new()),
            StateKind::First => States::First(Vec::new()),
            StateKind::Last => States::Last(Vec::new()),
        }
    }

    /// Makes room for so many groups; new ones are empty.
    pub fn resize(&mut self, groups: usize) {
        if matches!(self, States::Packed(packed) if packed.len() == groups) {
            return;
        }
        self.unpack(groups);
        each!(self, column => column.resize_with(groups, Default::default),
            count counts => counts.resize(groups, 0),
            texts texts => texts.held.resize(groups, None),
            others => ());
    }

    /// Makes room for so many groups in all without adding any.
    pub fn reserve(&mut self, groups: usize) {
        self.unpack(groups);
        each!(self, column => column.reserve_exact(groups.saturating_sub(column.len())),
            count counts => counts.reserve_exact(groups.saturating_sub(counts.len())),
            texts texts => texts.held.reserve_exact(groups.saturating_sub(texts.held.len())),
            others => ());
    }

    /// Makes packed states such as can change, with room for so many groups.
    pub(crate) fn unpack(&mut self, room: usize) {
        if let States::Packed(packed) = self {
            *self = packed.unpacked(room);
        }
    }

    /// Takes a batch's rows. The states must have room for every group of the feed.
    pub fn update(&mut self, feed: &Feed<'_>, input: &Input<'_>, scratch: &mut Scratch) {
        self.unpack(0);
        if let States::Count(counts) = self {
            return count(counts, feed);
        }
        let Some(array) = input.array else { return };
        match self {
            States::Count(_) | States::Packed(_) => {}
            States::IntSum(states) => apply(states, ints(feed, array, scratch)),
            States::IntMean(states) => apply(states, ints(feed, array, scratch)),
            States::IntMoments(states) => apply(states, ints(feed, array, scratch)),
            States::FloatSum(states) => apply(states, floats(feed, array, scratch)),
            States::FloatMean(states) => apply(states, floats(feed, array, scratch)),
            States::FloatMoments(states) => apply(states, floats(feed, array, scratch)),
            States::Quantiles(states) => apply(states, floats(feed, array, scratch)),
            States::Least(states) => apply(states, ordered(feed, array, scratch)),
            States::Greatest(states) => apply(states, ordered(feed, array, scratch)),
            States::First(states) => apply(states, timed(feed, array, input.times, scratch)),
            States::Last(states) => apply(states, timed(feed, array, input.times, scratch)),
            States::Text(texts) => texts.update(feed, array, input.times),
            States::Distinct(sets) => sets.update(feed, array, scratch),
            States::ExactDistinct(sets) => sets.update(feed, array, scratch),
            States::Select(selection) => selection.update(ordered(feed, array, scratch)),
        }
    }

    /// Adds another part's states: its group `g` becomes `map[g]`. Both are of one kind.
    pub fn merge(&mut self, other: &States, map: &[u32]) {
        self.unpack(0);
        match (self, other) {
            (States::Count(own), States::Packed(PackedStates::Counts(others))) => {
                for (count, group) in others.iter().zip(map) {
                    own[*group as usize] += u64::from(*count);
                }
            }
            (States::IntSum(own), States::Packed(PackedStates::Sums(others))) => {
                for (sum, group) in others.iter().zip(map) {
                    own[*group as usize].0 += i128::from(*sum);
                }
            }
            (States::Count(own), States::Count(others)) => {
                for (count, group) in others.iter().zip(map) {
                    own[*group as usize] += count;
                }
            }
            (States::IntSum(own), States::IntSum(others)) => join(own, others, map),
            (States::IntMean(own), States::IntMean(others)) => join(own, others, map),
            (States::FloatSum(own), States::FloatSum(others)) => join(own, others, map),
            (States::FloatMean(own), States::FloatMean(others)) => join(own, others, map),
            (States::Least(own), States::Least(others)) => join(own, others, map),
            (States::Greatest(own), States::Greatest(others)) => join(own, others, map),
            (States::Text(own), States::Text(others)) => own.merge(others, map),
            (States::IntMoments(own), States::IntMoments(others)) => join(own, others, map),
            (States::FloatMoments(own), States::FloatMoments(others)) => join(own, others, map),
            (States::Distinct(own), States::Distinct(others)) => join(&mut own.states, &others.states, map),
            (States::ExactDistinct(own), States::ExactDistinct(others)) => {
                join(&mut own.states, &others.states, map)
            }
            (States::Quantiles(own), States::Quantiles(others)) => join(own, others, map),
            (States::First(own), States::First(others)) => join(own, others, map),
            (States::Last(own), States::Last(others)) => join(own, others, map),
            (States::Select(own), States::Select(others)) => own.merge(others),
            _ => unreachable!("the parts of one question come from one plan"),
        }
    }

    /// Lets go of what only the taking of rows needs, and packs what can be packed.
    pub fn freeze(&mut self) {
        if let Some(packed) = PackedStates::of(self) {
            *self = States::Packed(packed);
        }
        match self {
            States::Distinct(sets) => sets.freeze(),
            States::ExactDistinct(sets) => sets.freeze(),
            States::Quantiles(states) => states.iter_mut().for_each(Quantiles::pack),
            _ => {}
        }
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        fn bytes<A: Merge>(states: &Vec<A>, has_heap: bool) -> usize {
            let heap = if has_heap { states.iter().map(A::heap_bytes).sum() } else { 0 };
            states.capacity() * size_of::<A>() + heap
        }
        match self {
            States::Count(states) => states.capacity() * size_of::<u64>(),
            States::IntSum(states) => bytes(states, false),
            States::IntMean(states) => bytes(states, false),
            States::FloatSum(states) => bytes(states, false),
            States::FloatMean(states) => bytes(states, false),
            States::Least(states) => bytes(states, false),
            States::Greatest(states) => bytes(states, false),
            States::Text(texts) => {
                texts.held.capacity() * size_of::<Option<(i64, String)>>() + texts.heap_bytes()
            }
            States::IntMoments(states) => bytes(states, false),
            States::FloatMoments(states) => bytes(states, false),
            States::Distinct(sets) => bytes(&sets.states, true) + sets.memory_bytes(),
            States::ExactDistinct(sets) => bytes(&sets.states, true) + sets.memory_bytes(),
            States::Quantiles(states) => bytes(states, true),
            States::First(states) => bytes(states, false),
            States::Last(states) => bytes(states, false),
            States::Select(selection) => selection.memory_bytes(),
            States::Packed(packed) => packed.memory_bytes(),
        }
    }

    /// Whether no group's value is an estimate.
    pub fn is_exact(&self) -> bool {
        match self {
            States::Distinct(sets) => sets.states.iter().all(|state| state.is_exact()),
            States::Quantiles(_) => false,
            _ => true,
        }
    }

    /// All groups' values where they are whole numbers of 64 bits, none of them null: counts and sums. The same numbers that
    /// [`Self::cell`] gives one by one.
    pub fn words(&self, reading: Reading) -> Option<Words> {
        let sum = |sum: &IntSum| i64::try_from(sum.0).ok();
        let words: Option<Vec<i64>> = match self {
            States::Packed(packed) => return Some(Words::Shared(packed.clone())),
            States::Count(counts) => counts.iter().map(|count| i64::try_from(*count).ok()).collect(),
            States::IntSum(states) => states.iter().map(sum).collect(),
            States::IntMean(states) if reading == Reading::Value => {
                states.iter().map(|state| sum(&state.sum)).collect()
            }
            _ => None,
        };
        words.map(Words::Own)
    }

    /// The value of a group. `kind` is the column's.
    pub fn cell(&self, group: usize, reading: Reading, kind: ColumnType) -> Cell {
        match self {
            States::Count(counts) => Cell::Int(i128::from(counts[group])),
            States::Packed(packed @ PackedStates::Counts(_)) => Cell::Int(packed.number(group).into()),
            States::Packed(packed @ PackedStates::Sums(_)) => whole(packed.number(group).into(), kind),
            States::IntSum(states) => whole(states[group].0, kind),
            States::IntMean(states) => int_mean(&states[group], reading, kind),
            States::FloatSum(states) => Cell::finite(states[group].value()),
            States::FloatMean(states) => float_mean(&states[group], reading),
            States::Least(states) => states[group].0.map_or(Cell::Null, |value| of_order(value, kind)),
            States::Greatest(states) => states[group].0.map_or(Cell::Null, |value| of_order(value, kind)),
            States::First(states) => states[group].value().map_or(Cell::Null, |value| of_order(*value, kind)),
            States::Last(states) => states[group].value().map_or(Cell::Null, |value| of_order(*value, kind)),
            States::Text(texts) => {
                texts.held[group].as_ref().map_or(Cell::Null, |(_, text)| Cell::Text(text.as_str().into()))
            }
            States::IntMoments(states) => {
                let unit = if kind == ColumnType::Money { MONEY_UNIT } else { 1.0 };
                states[group].stddev().map_or(Cell::Null, |deviation| Cell::finite(deviation / unit))
            }
            States::FloatMoments(states) => states[group].stddev().map_or(Cell::Null, Cell::finite),
            States::Distinct(sets) => Cell::Int(i128::from(sets.states[group].estimate())),
            States::ExactDistinct(sets) => Cell::Int(sets.states[group].0.len() as i128),
            States::Quantiles(states) => quantile(&states[group], reading, kind),
            States::Select(selection) => match reading {
                Reading::Quantile(permille) => {
                    selection.value(group, permille).map_or(Cell::Null, |value| of_order(value, kind))
                }
                Reading::Value | Reading::Mean => Cell::Null,
            },
        }
    }
}

fn apply<T: Copy, A: super::Aggregate<T>>(states: &mut [A], (keys, values): (Keys<'_>, &[T])) {
    fold(states, keys, values);
}

fn join<A: Merge>(own: &mut [A], others: &[A], map: &[u32]) {
    for (state, group) in others.iter().zip(map) {
        own[*group as usize].merge(state);
    }
}

fn count(counts: &mut [u64], feed: &Feed<'_>) {
    match feed.keys {
        Keys::One(group) => counts[group as usize] += feed.rows.len() as u64,
        Keys::Runs(groups) => for_each_run(groups, |group, start, end| counts[group] += (end - start) as u64),
        Keys::Each(groups) => groups.iter().for_each(|group| counts[*group as usize] += 1),
    }
}

/// A sum of `int`, `money` or `bool` values.
fn whole(sum: i128, kind: ColumnType) -> Cell {
    if kind == ColumnType::Money { Cell::Money(sum) } else { Cell::Int(sum) }
}

fn int_mean(state: &Mean<IntSum>, reading: Reading, kind: ColumnType) -> Cell {
    let count = i128::from(state.count);
    match reading {
        Reading::Mean if count == 0 => Cell::Null,
        Reading::Mean if kind == ColumnType::Money => Cell::Money(divide_half_even(state.sum.0, count)),
        Reading::Mean => Cell::finite(quotient(state.sum.0, count)),
        Reading::Value | Reading::Quantile(_) => whole(state.sum.0, kind),
    }
}

fn float_mean(state: &Mean<FloatSum>, reading: Reading) -> Cell {
    match reading {
        Reading::Mean if state.count == 0 => Cell::Null,
        Reading::Mean => Cell::finite(state.sum.value() / state.count as f64),
        Reading::Value | Reading::Quantile(_) => Cell::finite(state.sum.value()),
    }
}

/// `sum ÷ count` with the whole part taken out first, so that large sums keep their digits.
fn quotient(sum: i128, count: i128) -> f64 {
    let (whole, rest) = (sum / count, sum % count);
    whole as f64 + rest as f64 / count as f64
}

/// Rounds to the nearest whole, ties to even. `divisor` is above zero.
pub fn divide_half_even(dividend: i128, divisor: i128) -> i128 {
    let (floor, rest) = (dividend.div_euclid(divisor), dividend.rem_euclid(divisor));
    let is_above = match (rest * 2).cmp(&divisor) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => floor % 2 != 0,
        std::cmp::Ordering::Greater => true,
    };
    floor + i128::from(is_above)
}

/// Turns a value in its own order back into what it was.
fn of_order(value: i64, kind: ColumnType) -> Cell {
    match kind {
        ColumnType::Float => Cell::finite(float_of_order(value)),
        ColumnType::Money => Cell::Money(i128::from(value)),
        ColumnType::Bool => Cell::Bool(value != 0),
        ColumnType::Time => Cell::Time(tidewater_model::time::Timestamp(value)),
        ColumnType::Int | ColumnType::String | ColumnType::Strings | ColumnType::Map => {
            Cell::Int(i128::from(value))
        }
    }
}

fn quantile(state: &Quantiles, reading: Reading, kind: ColumnType) -> Cell {
    let Reading::Quantile(permille) = reading else { return Cell::Null };
    match (state.value(permille), kind) {
        (None, _) => Cell::Null,
        (Some(value), ColumnType::Money) => Cell::Money(value.round() as i128),
        (Some(value), _) => Cell::finite(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_averages_round_half_to_even() {
        for (sum, count, mean) in
            [(5, 2, 2), (7, 2, 4), (-5, 2, -2), (-7, 2, -4), (1, 3, 0), (2, 3, 1), (-2, 3, -1), (6, 3, 2)]
        {
            assert_eq!(divide_half_even(sum, count), mean, "{sum} / {count}");
        }
    }
}
