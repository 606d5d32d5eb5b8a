//! Counts and sums of many groups in half the memory and less, shared by copies, for as long as none of them changes.
//!
//! Not here: sketches, which pack themselves.

use std::sync::Arc;

use super::IntSum;
use super::column::States;

/// Fewer groups are not worth it.
const GROUPS_MIN: usize = 1_024;

/// Numbers of all groups.
#[derive(Clone, Debug)]
pub enum PackedStates {
    /// Of [`States::Count`].
    Counts(Arc<[u32]>),
    /// Of [`States::IntSum`].
    Sums(Arc<[i64]>),
}

impl PackedStates {
    /// The same states packed; `None` where that is not worth it, or where one does not fit.
    pub(super) fn of(states: &States) -> Option<Self> {
        match states {
            States::Count(counts) if counts.len() >= GROUPS_MIN => {
                let fits = counts.iter().all(|count| u32::try_from(*count).is_ok());
                fits.then(|| PackedStates::Counts(counts.iter().map(|count| *count as u32).collect()))
            }
            States::IntSum(sums) if sums.len() >= GROUPS_MIN => {
                let fits = sums.iter().all(|sum| i64::try_from(sum.0).is_ok());
                fits.then(|| PackedStates::Sums(sums.iter().map(|sum| sum.0 as i64).collect()))
            }
            _ => None,
        }
    }

    /// The same states as they were, with room for so many groups.
    pub(super) fn unpacked(&self, room: usize) -> States {
        fn widen<N: Copy, S>(numbers: &[N], room: usize, widen: impl Fn(N) -> S) -> Vec<S> {
            let mut states = Vec::with_capacity(room.max(numbers.len()));
            states.extend(numbers.iter().map(|number| widen(*number)));
            states
        }
        match self {
            PackedStates::Counts(counts) => States::Count(widen(counts, room, u64::from)),
            PackedStates::Sums(sums) => States::IntSum(widen(sums, room, |sum| IntSum(sum.into()))),
        }
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        match self {
            PackedStates::Counts(counts) => counts.len(),
            PackedStates::Sums(sums) => sums.len(),
        }
    }

    /// The number of a group.
    #[inline]
    pub(super) fn number(&self, group: usize) -> i64 {
        match self {
            PackedStates::Counts(counts) => i64::from(counts[group]),
            PackedStates::Sums(sums) => sums[group],
        }
    }

    /// Bytes held.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            PackedStates::Counts(counts) => size_of_val(&counts[..]),
            PackedStates::Sums(sums) => size_of_val(&sums[..]),
        }
    }
}

/// Whole numbers of all groups, shared with their states where those are packed.
#[derive(Clone, Debug)]
pub enum Words {
    /// A copy.
    Own(Vec<i64>),
    /// The states' own.
    Shared(PackedStates),
}

impl Words {
    /// The number of a group.
    #[inline]
    pub fn get(&self, group: usize) -> i64 {
        match self {
            Words::Own(words) => words[group],
            Words::Shared(packed) => packed.number(group),
        }
    }

    /// Calls `take` with the number of each of these groups.
    pub fn for_each(&self, groups: &[u32], mut take: impl FnMut(i64)) {
        match self {
            Words::Own(words) => groups.iter().for_each(|group| take(words[*group as usize])),
            Words::Shared(PackedStates::Counts(counts)) => {
                groups.iter().for_each(|group| take(counts[*group as usize].into()));
            }
            Words::Shared(PackedStates::Sums(sums)) => {
                groups.iter().for_each(|group| take(sums[*group as usize]))
            }
        }
    }

    /// Bytes held that are not the states'.
    pub fn own_bytes(&self) -> usize {
        match self {
            Words::Own(words) => words.capacity() * size_of::<i64>(),
            Words::Shared(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Reading;
    use tidewater_model::schema::ColumnType;

    fn cells(states: &States, groups: usize) -> Vec<crate::cell::Cell> {
        (0..groups).map(|group| states.cell(group, Reading::Value, ColumnType::Money)).collect()
    }

    #[test]
    fn packed_states_read_merge_and_grow_as_before() {
        let groups = 3_000usize;
        let counts = States::Count((0..groups as u64).map(|group| group << 10).collect());
        let sums = States::IntSum((0..groups as i128).map(|group| IntSum((group - 1_500) << 40)).collect());
        for states in [counts, sums] {
            let mut packed = states.clone();
            packed.freeze();
            assert!(
                matches!(packed, States::Packed(_)) && packed.memory_bytes() * 2 <= states.memory_bytes()
            );
            assert_eq!(cells(&packed, groups), cells(&states, groups));
            let words = |states: &States| -> Vec<i64> {
                let words = states.words(Reading::Value).expect("counts and sums are whole numbers");
                let mut all = Vec::new();
                words.for_each(&(0..groups as u32).collect::<Vec<u32>>(), |word| all.push(word));
                assert_eq!(all[17], words.get(17));
                all
            };
            assert_eq!(words(&packed), words(&states));
            let map: Vec<u32> = (0..groups as u32).rev().collect();
            let (mut merged, mut expected) = (packed.clone(), states.clone());
            merged.merge(&packed, &map);
            expected.merge(&states, &map);
            assert_eq!(cells(&merged, groups), cells(&expected, groups));
            packed.resize(groups);
            assert!(matches!(packed, States::Packed(_)), "nothing has changed");
            packed.resize(groups + 5);
            assert_eq!(cells(&packed, groups), cells(&states, groups));
            assert_eq!(
                cells(&packed, groups + 5)[groups..],
                cells(
                    &{
                        let mut grown = states;
                        grown.resize(groups + 5);
                        grown
                    },
                    groups + 5
                )[groups..]
            );
        }
    }

    #[test]
    fn what_does_not_fit_stays() {
        let mut large = vec![1; 2_000];
        large[7] = u64::from(u32::MAX) + 1;
        let sums = vec![IntSum(i128::from(i64::MAX) + 1); 2_000];
        for mut states in [States::Count(large), States::IntSum(sums), States::Count(vec![1; 10])] {
            states.freeze();
            assert!(!matches!(states, States::Packed(_)));
        }
    }
}
