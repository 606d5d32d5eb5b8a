//! Percentiles with a hard relative error of 1 %: a DDSketch with integer bins.
//!
//! After Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees" (2019).
//! Values are counted in bins ([`bins`]) so narrow that any value of a bin is within 1 % of its representative. Bins are never
//! joined, so the bound holds for all finite floats, and merging is adding counts: exact, in any order.
//!
//! Not here: exact percentiles. The reader of raw rows finds the bin with [`Quantiles::rank_bin`] and selects inside it.

mod bins;
mod store;

use self::bins::{BIN_MAX, bin_of_size, representative};
use self::store::Store;
use super::StateError;
use super::codec::{ROWS_MAX, Reader, write_count};

/// Counts of values by bin, with the exact smallest and largest.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantiles {
    /// Values equal to zero.
    zeros: u64,
    positive: Store,
    negative: Store,
    /// The smallest value; infinity over no rows.
    least: f64,
    /// The largest value; minus infinity over no rows.
    most: f64,
}

/// Where a percentile's value lies among the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RankBin {
    /// The bin, as [`Quantiles::bin_of`] gives it.
    pub bin: i32,
    /// The value's rank among the values of this bin in ascending order, from 1.
    pub rank: u64,
    /// How many values the bin holds.
    pub count: u64,
}

/// What a sketch holds, as it is stored in columns.
#[derive(Clone, Copy, Debug)]
pub struct Bins<'a> {
    /// Values equal to zero.
    pub zeros: u64,
    /// Bins of sizes above zero with their counts, ascending.
    pub positive: &'a [(u32, u64)],
    /// Bins of the sizes of values below zero, likewise.
    pub negative: &'a [(u32, u64)],
    /// The smallest and the largest value; without meaning where nothing is counted.
    pub bounds: (f64, f64),
}

/// Counts up to this can take another sketch's; only damaged ones add up to more.
const TOTAL_MAX: u64 = 1 << 60;
/// The state's name in errors.
const NAME: &str = "percentile";
/// Version of [`Quantiles::encode`].
const VERSION: u8 = 1;

impl Default for Quantiles {
    fn default() -> Self {
        let (positive, negative) = (Store::default(), Store::default());
        Quantiles { zeros: 0, positive, negative, least: f64::INFINITY, most: f64::NEG_INFINITY }
    }
}

impl Quantiles {
    /// The bound on the relative error of [`Self::value`].
    pub const RELATIVE_ERROR: f64 = 0.01;

    /// Counts one finite value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        debug_assert!(value.is_finite());
        self.least = if value < self.least { value } else { self.least };
        self.most = if value > self.most { value } else { self.most };
        if value > 0.0 {
            self.positive.increment(bin_of_size(value));
        } else if value < 0.0 {
            self.negative.increment(bin_of_size(-value));
        } else {
            self.zeros += 1;
        }
    }

    /// Counts finite values.
    pub fn add_slice(&mut self, values: &[f64]) {
        values.iter().for_each(|value| self.add(*value));
    }

    /// Adds another sketch.
    pub fn merge(&mut self, other: &Self) {
        self.zeros += other.zeros;
        self.positive.merge(&other.positive);
        self.negative.merge(&other.negative);
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
    }

    /// Packs what it holds, so that copies share it until one of them changes; for a sketch that most likely takes no more values.
    pub fn pack(&mut self) {
        self.positive.pack();
        self.negative.pack();
    }

    /// Forgets all values and keeps the memory for others.
    pub fn clear(&mut self) {
        let Quantiles { zeros, positive, negative, least, most } = self;
        (*zeros, *least, *most) = (0, f64::INFINITY, f64::NEG_INFINITY);
        positive.clear();
        negative.clear();
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.zeros + self.positive.total() + self.negative.total()
    }

    /// The exact smallest value.
    pub fn min(&self) -> Option<f64> {
        self.bounds().map(|(least, _)| least)
    }

    /// The exact largest value.
    pub fn max(&self) -> Option<f64> {
        self.bounds().map(|(_, most)| most)
    }

    /// The nearest-rank percentile in thousandths (p95 is 950) within [`Self::RELATIVE_ERROR`], `None` over no rows.
    /// The smallest and the largest value are exact.
    pub fn value(&self, permille: u16) -> Option<f64> {
        let (least, most) = self.bounds()?;
        let rank = self.rank(permille);
        if rank == 1 {
            return Some(least);
        }
        if rank == self.count() {
            return Some(most);
        }
        let RankBin { bin, .. } = self.find(rank);
        let size = representative(bin.unsigned_abs());
        Some(if bin < 0 { -size } else { size }.clamp(least, most))
    }

    /// The bin that holds the nearest-rank percentile, to select the exact value in a second pass; `None` over no rows.
    pub fn rank_bin(&self, permille: u16) -> Option<RankBin> {
        (self.count() > 0).then(|| self.find(self.rank(permille)))
    }

    /// The bin of a finite value. Bins are ordered as values are.
    #[inline]
    pub fn bin_of(value: f64) -> i32 {
        if value > 0.0 {
            bin_of_size(value) as i32
        } else if value < 0.0 {
            -(bin_of_size(-value) as i32)
        } else {
            0
        }
    }

    /// Smallest and largest value. Adding zero turns −0 into 0, so that equal states have equal bytes.
    fn bounds(&self) -> Option<(f64, f64)> {
        (self.count() > 0).then_some((self.least + 0.0, self.most + 0.0))
    }

    /// ⌈p · n⌉, at least 1: the rank of the smallest value with at least p · n values at or below it.
    fn rank(&self, permille: u16) -> u64 {
        let share = u128::from(permille.min(1_000)) * u128::from(self.count());
        (share.div_ceil(1_000) as u64).max(1)
    }

    fn find(&self, rank: u64) -> RankBin {
        let mut left = rank;
        if left <= self.negative.total() {
            // Ascending values are descending sizes: count from the other end.
            let from_end = self.negative.total() - left + 1;
            let (bin, rank, count) = self.negative.find(from_end);
            return RankBin { bin: -(bin as i32), rank: count - rank + 1, count };
        }
        left -= self.negative.total();
        if left <= self.zeros {
            return RankBin { bin: 0, rank: left, count: self.zeros };
        }
        let (bin, rank, count) = self.positive.find(left - self.zeros);
        RankBin { bin: bin as i32, rank, count }
    }

    /// How many values are zero.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// The used bins of sizes above zero in ascending order with their counts.
    pub fn positive_bins(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.positive.entries()
    }

    /// The used bins of the sizes of values below zero, likewise.
    pub fn negative_bins(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.negative.entries()
    }

    /// Adds a sketch that was stored in columns.
    pub fn merge_bins(&mut self, other: &Bins<'_>) -> Result<(), StateError> {
        let damaged = |rule| Err(StateError::Damaged { state: NAME, rule });
        let is_counted = |entries: &[(u32, u64)]| {
            // Without a branch for each: bins ascend if each is above the one before. A sum that overflows passes the bound as well.
            let (mut is_right, mut before, mut total) = (true, 0, 0u64);
            for (bin, count) in entries {
                is_right &= *bin > before && *count > 0 && *count <= ROWS_MAX;
                (before, total) = (*bin, total.saturating_add(*count));
            }
            is_right && before <= BIN_MAX && total <= ROWS_MAX
        };
        if other.zeros > ROWS_MAX || !is_counted(other.positive) || !is_counted(other.negative) {
            return damaged("bins are out of order or range");
        }
        if other.zeros == 0 && other.positive.is_empty() && other.negative.is_empty() {
            return Ok(());
        }
        if self.count() > TOTAL_MAX {
            return damaged("there are more values than can be");
        }
        let (least, most) = other.bounds;
        if !(least.is_finite() && most.is_finite() && least <= most) {
            return damaged("min or max is impossible");
        }
        self.zeros += other.zeros;
        self.positive.add_sorted(other.positive);
        self.negative.add_sorted(other.negative);
        self.least = self.least.min(least);
        self.most = self.most.max(most);
        Ok(())
    }

    /// Appends the canonical bytes: version, zeros, then for positive and negative values the number of bins and for each its
    /// distance from the one before and its count (all LEB128), then, unless empty, min and max as little-endian doubles.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        write_count(out, self.zeros);
        for store in [&self.positive, &self.negative] {
            write_count(out, store.entries().count() as u64);
            let mut before = 0;
            for (bin, count) in store.entries() {
                write_count(out, u64::from(bin - before));
                write_count(out, count);
                before = bin;
            }
        }
        if let Some((least, most)) = self.bounds() {
            out.extend(least.to_le_bytes());
            out.extend(most.to_le_bytes());
        }
    }

    /// Reads [`Self::encode`]'s bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::new(NAME, VERSION, bytes)?;
        let zeros = reader.rows()?;
        let positive = decode_store(&mut reader)?;
        let negative = decode_store(&mut reader)?;
        let mut state = Quantiles { zeros, positive, negative, ..Self::default() };
        if state.count() > 0 {
            let (least, most) = (reader.finite()?, reader.finite()?);
            let of_bins = (Self::bin_of(least), Self::bin_of(most));
            let held = (state.find(1).bin, state.find(state.count()).bin);
            reader.require(of_bins == held && least <= most, "min or max lies outside the bins")?;
            let is_canonical = |value: f64| value != 0.0 || value.is_sign_positive();
            reader.require(is_canonical(least) && is_canonical(most), "a bound is minus zero")?;
            (state.least, state.most) = (least, most);
        }
        reader.end()?;
        Ok(state)
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.positive.heap_bytes() + self.negative.heap_bytes()
    }
}

fn decode_store(reader: &mut Reader<'_>) -> Result<Store, StateError> {
    let mut store = Store::default();
    let bins = reader.count()?;
    let mut bin = 0u64;
    for _ in 0..bins {
        let distance = reader.count()?;
        bin = bin.saturating_add(distance);
        reader.require(distance > 0 && bin <= u64::from(BIN_MAX), "bins are out of order or range")?;
        let count = reader.rows()?;
        reader.require(count > 0, "a bin is empty")?;
        store.add(bin as u32, count);
    }
    Ok(store)
}
