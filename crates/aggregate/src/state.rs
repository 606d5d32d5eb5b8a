//! Aggregate states of all groups, one column per measure, and how a batch updates them.
//!
//! The states themselves are `model::state`'s; here are the plain ones (sums, least and greatest) and the loops over values.

mod column;
mod packed;
mod texts;
mod values;

use tidewater_model::state::{Distinct, First, FloatSum, IntMoments, Last, Moments, Quantiles};

use crate::feed::{Keys, for_each_run};

pub use column::{Input, Reading, StateKind, States};
pub use packed::Words;
pub use texts::TextRule;
pub(crate) use texts::Texts;
pub use values::{float_of_order, order_of_float};

/// A state that takes values of type `T`.
pub trait Aggregate<T: Copy>: Clone + Default {
    fn add(&mut self, value: T);

    #[inline]
    fn add_slice(&mut self, values: &[T]) {
        values.iter().for_each(|value| self.add(*value));
    }
}

/// A state that joins with another.
pub trait Merge {
    fn merge(&mut self, other: &Self);

    /// Bytes held outside the state itself.
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// Adds each value to its group's state.
#[inline]
pub fn fold<T: Copy, A: Aggregate<T>>(states: &mut [A], keys: Keys<'_>, values: &[T]) {
    match keys {
        Keys::One(group) => states[group as usize].add_slice(values),
        Keys::Runs(groups) => {
            for_each_run(groups, |group, start, end| states[group].add_slice(&values[start..end]));
        }
        Keys::Each(groups) => {
            for (group, value) in groups.iter().zip(values) {
                states[*group as usize].add(*value);
            }
        }
    }
}

/// An exact sum of integers: 2^63 values of 64 bits fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntSum(pub i128);

/// Values that are added as 64-bit halves before they enter the wide sum.
const NARROW_BLOCK: usize = 1 << 20;

impl Aggregate<i64> for IntSum {
    #[inline]
    fn add(&mut self, value: i64) {
        self.0 += i128::from(value);
    }

    /// Sums the low 32 bits and the high 32 bits apart, which vectorises and cannot overflow within a block.
    #[inline]
    fn add_slice(&mut self, values: &[i64]) {
        for block in values.chunks(NARROW_BLOCK) {
            let (mut low, mut high) = (0u64, 0i64);
            for value in block {
                low += *value as u64 & 0xffff_ffff;
                high += *value >> 32;
            }
            self.0 += (i128::from(high) << 32) + i128::from(low);
        }
    }
}

impl Merge for IntSum {
    fn merge(&mut self, other: &Self) {
        self.0 += other.0;
    }
}

/// A sum and the number of its values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean<S> {
    pub sum: S,
    pub count: u64,
}

impl<T: Copy, S: Aggregate<T>> Aggregate<T> for Mean<S> {
    #[inline]
    fn add(&mut self, value: T) {
        self.sum.add(value);
        self.count += 1;
    }

    #[inline]
    fn add_slice(&mut self, values: &[T]) {
        self.sum.add_slice(values);
        self.count += values.len() as u64;
    }
}

impl<S: Merge> Merge for Mean<S> {
    fn merge(&mut self, other: &Self) {
        self.sum.merge(&other.sum);
        self.count += other.count;
    }
}

/// The least value so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Least(pub Option<i64>);

/// The greatest value so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Greatest(pub Option<i64>);

macro_rules! extreme {
    ($state:ident, $better:ident, $of_slice:ident) => {
        impl Aggregate<i64> for $state {
            #[inline]
            fn add(&mut self, value: i64) {
                self.0 = Some(self.0.map_or(value, |held| held.$better(value)));
            }

            #[inline]
            fn add_slice(&mut self, values: &[i64]) {
                if let Some(best) = values.iter().copied().$of_slice() {
                    self.add(best);
                }
            }
        }

        impl Merge for $state {
            fn merge(&mut self, other: &Self) {
                if let Some(value) = other.0 {
                    self.add(value);
                }
            }
        }
    };
}

extreme!(Least, min, min);
extreme!(Greatest, max, max);

macro_rules! model_state {
    ($state:ty, $value:ty, heap: $heap:expr) => {
        impl Aggregate<$value> for $state {
            #[inline]
            fn add(&mut self, value: $value) {
                <$state>::add(self, value);
            }

            #[inline]
            fn add_slice(&mut self, values: &[$value]) {
                <$state>::add_slice(self, values);
            }
        }

        impl Merge for $state {
            fn merge(&mut self, other: &Self) {
                <$state>::merge(self, other);
            }

            fn heap_bytes(&self) -> usize {
                if $heap { self.memory_bytes() - size_of::<Self>() } else { 0 }
            }
        }
    };
}

model_state!(FloatSum, f64, heap: false);
model_state!(IntMoments, i64, heap: false);
model_state!(Moments, f64, heap: false);
model_state!(Quantiles, f64, heap: true);

impl Aggregate<u64> for Distinct {
    #[inline]
    fn add(&mut self, hash: u64) {
        self.insert_hash(hash);
    }

    #[inline]
    fn add_slice(&mut self, hashes: &[u64]) {
        self.insert_hashes(hashes);
    }
}

impl Merge for Distinct {
    fn merge(&mut self, other: &Self) {
        Distinct::merge(self, other);
    }

    fn heap_bytes(&self) -> usize {
        self.memory_bytes() - size_of::<Self>()
    }
}

macro_rules! timed_state {
    ($state:ident) => {
        impl Aggregate<(i64, i64)> for $state<i64> {
            #[inline]
            fn add(&mut self, (time, value): (i64, i64)) {
                self.update(time, value);
            }
        }

        impl Merge for $state<i64> {
            fn merge(&mut self, other: &Self) {
                $state::merge(self, other);
            }
        }
    };
}

timed_state!(First);
timed_state!(Last);
