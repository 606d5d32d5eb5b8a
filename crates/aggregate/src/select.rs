//! Exact percentiles, the second pass: the sketch of the first pass tells for each group in which bin the percentile lies and
//! at which rank of it; here the values of those bins are collected and the rank is taken.
//!
//! A bin holds about 2 % of an octave's values, so this needs a small part of the memory that all values would take.

use std::sync::Arc;

use tidewater_model::state::Quantiles;

use crate::feed::Keys;
use crate::state::float_of_order;

/// No percentile: the group has no values.
const NONE: u32 = u32::MAX;

/// What is looked for. Groups are numbered as in the first pass.
#[derive(Debug)]
struct Wanted {
    /// `starts[group] .. starts[group + 1]` are the group's slots.
    starts: Vec<u32>,
    /// The bin each slot collects.
    bins: Vec<i32>,
    /// For each group and percentile its slot and the rank in it, from 1.
    targets: Vec<(u32, u64)>,
    percentiles: Vec<u16>,
    is_float: bool,
    /// How many values all bins hold.
    values: u64,
}

/// The values found so far, as ordered integers.
#[derive(Clone, Debug)]
pub struct Selection {
    wanted: Arc<Wanted>,
    found: Vec<Vec<i64>>,
}

impl Selection {
    /// Looks for the `percentiles` (in thousandths) of each group's sketch.
    pub fn new(groups: &[Quantiles], percentiles: Vec<u16>, is_float: bool) -> Self {
        let mut wanted = Wanted {
            starts: vec![0],
            bins: Vec::new(),
            targets: Vec::new(),
            percentiles,
            is_float,
            values: 0,
        };
        groups.iter().for_each(|sketch| wanted.add(sketch));
        Selection { found: vec![Vec::new(); wanted.bins.len()], wanted: Arc::new(wanted) }
    }

    /// The same search with nothing found yet, for another thread.
    pub fn fork(&self) -> Self {
        Selection { wanted: Arc::clone(&self.wanted), found: vec![Vec::new(); self.found.len()] }
    }

    /// Bytes of all values that will be found.
    pub fn bytes_expected(&self) -> usize {
        self.wanted.values as usize * size_of::<i64>()
    }

    /// Takes values with their groups.
    pub fn update(&mut self, (keys, values): (Keys<'_>, &[i64])) {
        let wanted = &*self.wanted;
        for (place, value) in values.iter().enumerate() {
            let float = if wanted.is_float { float_of_order(*value) } else { *value as f64 };
            let bin = Quantiles::bin_of(float);
            let group = keys.at(place) as usize;
            let mut slots = wanted.starts[group] as usize..wanted.starts[group + 1] as usize;
            if let Some(slot) = slots.find(|slot| wanted.bins[*slot] == bin) {
                self.found[slot].push(*value);
            }
        }
    }

    /// Takes what another thread found.
    pub fn merge(&mut self, other: &Self) {
        for (own, others) in self.found.iter_mut().zip(&other.found) {
            own.extend(others);
        }
    }

    /// Puts what was found in order; before it [`Self::value`] has no meaning.
    pub fn finish(&mut self) {
        self.found.iter_mut().for_each(|values| values.sort_unstable());
    }

    /// The group's percentile as an ordered integer.
    pub fn value(&self, group: usize, permille: u16) -> Option<i64> {
        let percentiles = &self.wanted.percentiles;
        let place = percentiles.iter().position(|other| *other == permille)?;
        let (slot, rank) = *self.wanted.targets.get(group * percentiles.len() + place)?;
        self.found.get(slot as usize)?.get(rank as usize - 1).copied()
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        let headers = self.found.capacity() * size_of::<Vec<i64>>();
        headers + self.found.iter().map(|values| values.capacity() * size_of::<i64>()).sum::<usize>()
    }
}

impl Wanted {
    fn add(&mut self, sketch: &Quantiles) {
        let first = self.bins.len();
        for index in 0..self.percentiles.len() {
            let Some(place) = sketch.rank_bin(self.percentiles[index]) else {
                self.targets.push((NONE, 1));
                continue;
            };
            let known = self.bins[first..].iter().position(|bin| *bin == place.bin);
            let slot = known.map_or(self.bins.len(), |known| first + known);
            if known.is_none() {
                self.bins.push(place.bin);
                self.values += place.count;
            }
            self.targets.push((slot as u32, place.rank));
        }
        self.starts.push(self.bins.len() as u32);
    }
}
