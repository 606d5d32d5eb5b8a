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
#[derive(Clone, Debug)]
pub struct Quantiles {
    positive: Store,
    /// `None` where every value is above zero. Most are durations, prices or counts, and a question may hold a sketch per group.
    rest: Option<Box<Rest>>,
    /// The smallest value; infinity over no rows.
    least: f64,
    /// The largest value; minus infinity over no rows.
    most: f64,
}

/// What is not above zero.
#[derive(Clone, Debug, Default)]
struct Rest {
    /// Values equal to zero.
    zeros: u64,
    negative: Store,
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
    /// Bins of sizes above zero.
    pub positive: BinCounts<'a>,
    /// Bins of the sizes of values below zero.
    pub negative: BinCounts<'a>,
    /// The smallest and the largest value; without meaning where nothing is counted.
    pub bounds: (f64, f64),
}

/// Ascending bins with their counts, as distances.
#[derive(Clone, Copy, Debug, Default)]
pub struct BinCounts<'a> {
    /// The first bin, less the first distance.
    pub first: u64,
    /// The distance of each bin from the one before.
    pub gaps: &'a [u64],
    /// The count of each bin.
    pub counts: &'a [u64],
}

/// Counts up to this can take another sketch's; only damaged ones add up to more.
const TOTAL_MAX: u64 = 1 << 60;
/// The state's name in errors.
const NAME: &str = "percentile";
/// Version of [`Quantiles::encode`].
const VERSION: u8 = 1;

impl Default for Quantiles {
    fn default() -> Self {
        Quantiles { positive: Store::default(), rest: None, least: f64::INFINITY, most: f64::NEG_INFINITY }
    }
}

/// Equal counts, however they are held.
impl PartialEq for Quantiles {
    fn eq(&self, other: &Self) -> bool {
        let bounds = |state: &Self| (state.least, state.most);
        bounds(self) == bounds(other)
            && self.zeros() == other.zeros()
            && self.positive == other.positive
            && self.negative_bins().eq(other.negative_bins())
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
            self.rest().negative.increment(bin_of_size(-value));
        } else {
            self.rest().zeros += 1;
        }
    }

    /// Counts finite values.
    pub fn add_slice(&mut self, values: &[f64]) {
        values.iter().for_each(|value| self.add(*value));
    }

    /// Adds another sketch.
    pub fn merge(&mut self, other: &Self) {
        self.positive.merge(&other.positive);
        if let Some(others) = &other.rest {
            let own = self.rest();
            own.zeros += others.zeros;
            own.negative.merge(&others.negative);
        }
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
    }

    /// Packs what it holds, so that copies share it until one of them changes; for a sketch that most likely takes no more values.
    pub fn pack(&mut self) {
        self.positive.pack();
        if let Some(rest) = &mut self.rest {
            rest.negative.pack();
        }
    }

    /// Forgets all values and keeps most of the memory for others.
    pub fn clear(&mut self) {
        (self.least, self.most, self.rest) = (f64::INFINITY, f64::NEG_INFINITY, None);
        self.positive.clear();
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.positive.total() + self.rest.as_ref().map_or(0, |rest| rest.zeros + rest.negative.total())
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
        if let Some(Rest { zeros, negative }) = self.rest.as_deref() {
            if left <= negative.total() {
                // Ascending values are descending sizes: count from the other end.
                let from_end = negative.total() - left + 1;
                let (bin, rank, count) = negative.find(from_end);
                return RankBin { bin: -(bin as i32), rank: count - rank + 1, count };
            }
            left -= negative.total();
            if left <= *zeros {
                return RankBin { bin: 0, rank: left, count: *zeros };
            }
            left -= zeros;
        }
        let (bin, rank, count) = self.positive.find(left);
        RankBin { bin: bin as i32, rank, count }
    }

    fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    /// How many values are zero.
    #[inline]
    pub fn zeros(&self) -> u64 {
        self.rest.as_ref().map_or(0, |rest| rest.zeros)
    }

    /// The used bins of sizes above zero in ascending order with their counts.
    pub fn positive_bins(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.positive.entries()
    }

    /// The used bins of the sizes of values below zero, likewise.
    pub fn negative_bins(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.rest.iter().flat_map(|rest| rest.negative.entries())
    }

    /// Calls `take` with each of [`Self::positive_bins`].
    #[inline]
    pub fn for_each_positive_bin(&self, take: impl FnMut(u32, u64)) {
        self.positive.for_each(take);
    }

    /// Calls `take` with each of [`Self::negative_bins`].
    #[inline]
    pub fn for_each_negative_bin(&self, take: impl FnMut(u32, u64)) {
        if let Some(rest) = &self.rest {
            rest.negative.for_each(take);
        }
    }

    /// Adds a sketch that was stored in columns.
    pub fn merge_bins(&mut self, other: &Bins<'_>) -> Result<(), StateError> {
        let damaged = |rule| Err(StateError::Damaged { state: NAME, rule });
        let spans = [other.positive.span(), other.negative.span()];
        let (Some(positive), Some(negative), true) = (spans[0], spans[1], other.zeros <= ROWS_MAX) else {
            return damaged("bins are out of order or range");
        };
        if other.zeros == 0 && positive.total == 0 && negative.total == 0 {
            return Ok(());
        }
        if self.count() > TOTAL_MAX {
            return damaged("there are more values than can be");
        }
        let (least, most) = other.bounds;
        if !(least.is_finite() && most.is_finite() && least <= most) {
            return damaged("min or max is impossible");
        }
        self.positive.add_bins(&other.positive, positive);
        if other.zeros > 0 || negative.total > 0 {
            let own = self.rest();
            own.zeros += other.zeros;
            own.negative.add_bins(&other.negative, negative);
        }
        self.least = self.least.min(least);
        self.most = self.most.max(most);
        Ok(())
    }

    /// Appends the canonical bytes: version, zeros, then for positive and negative values the number of bins and for each its
    /// distance from the one before and its count (all LEB128), then, unless empty, min and max as little-endian doubles.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        write_count(out, self.zeros());
        encode_bins(self.positive_bins(), out);
        encode_bins(self.negative_bins(), out);
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
        let rest = (zeros > 0 || negative.total() > 0).then(|| Box::new(Rest { zeros, negative }));
        let mut state = Quantiles { positive, rest, ..Self::default() };
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
        let rest = |rest: &Rest| size_of::<Rest>() + rest.negative.heap_bytes();
        size_of::<Self>() + self.positive.heap_bytes() + self.rest.as_deref().map_or(0, rest)
    }
}

/// From which bin to which, and how many values.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    low: u32,
    high: u32,
    total: u64,
}

impl BinCounts<'_> {
    /// The bins with their counts; right where there is a [`Span`].
    fn entries(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let mut bin = self.first;
        self.gaps.iter().zip(self.counts).map(move |(gap, count)| {
            bin = bin.wrapping_add(*gap);
            (bin as u32, *count)
        })
    }

    /// Where they lie; `None` where they do not ascend or a number is impossible.
    fn span(&self) -> Option<Span> {
        /// So many bins of as many values add up to less than 2^63.
        const COUNT_USUAL: u64 = 1 << 46;
        const GAP_LIMIT: u64 = (BIN_MAX as u64).next_power_of_two();
        let Some((first_gap, gaps)) = self.gaps.split_first() else {
            return self.counts.is_empty().then(Span::default);
        };
        // Without a branch for each: one less than zero is out of every range as well.
        let (mut gap_bits, mut distance) = (0, 0u64);
        for gap in gaps {
            gap_bits |= gap.wrapping_sub(1);
            distance = distance.wrapping_add(*gap);
        }
        let (mut count_bits, mut total) = (0, 0u64);
        for count in self.counts {
            count_bits |= count.wrapping_sub(1);
            total = total.wrapping_add(*count);
        }
        if count_bits >= COUNT_USUAL {
            total = self.counts.iter().fold(0, |total, count| total.saturating_add(*count));
        }
        let low = self.first.saturating_add(*first_gap);
        let is_right = self.gaps.len() == self.counts.len()
            && gap_bits < GAP_LIMIT
            && gaps.len() <= BIN_MAX as usize
            && (1..=u64::from(BIN_MAX)).contains(&low)
            && distance <= u64::from(BIN_MAX) - low
            && count_bits < ROWS_MAX
            && total <= ROWS_MAX;
        is_right.then(|| Span { low: low as u32, high: (low + distance) as u32, total })
    }
}

fn encode_bins(bins: impl Iterator<Item = (u32, u64)>, out: &mut Vec<u8>) {
    let bins: Vec<(u32, u64)> = bins.collect();
    write_count(out, bins.len() as u64);
    let mut before = 0;
    for (bin, count) in bins {
        write_count(out, u64::from(bin - before));
        write_count(out, count);
        before = bin;
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
