//! Exact sums of whole numbers and of their squares, for sums, averages and standard deviations of `int` and `money`.
//!
//! Nothing is rounded before the final value, so the order of rows and merges cannot matter. The squares need up to
//! 63 · 2 + 64 = 190 bits; [`Wide`] is that number.

use super::StateError;
use super::codec::{ROWS_MAX, Reader, write_count};

/// Count, Σx and Σx² of 64-bit integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntMoments {
    count: u64,
    sum: i128,
    squares: Wide,
}

/// Version of [`IntMoments::encode`].
const VERSION: u8 = 1;

impl IntMoments {
    /// Adds one value.
    #[inline]
    pub fn add(&mut self, value: i64) {
        self.count += 1;
        self.sum += i128::from(value);
        let size = u128::from(value.unsigned_abs());
        self.squares.add_low(size * size);
    }

    /// Adds many values.
    pub fn add_slice(&mut self, values: &[i64]) {
        values.iter().for_each(|value| self.add(*value));
    }

    /// Adds another state.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.squares.add_low(other.squares.low);
        self.squares.high = self.squares.high.wrapping_add(other.squares.high);
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The exact sum.
    pub fn sum(&self) -> i128 {
        self.sum
    }

    /// The sample's standard deviation; `None` for fewer than two values.
    pub fn stddev(&self) -> Option<f64> {
        let freedom = self.count.checked_sub(1).filter(|freedom| *freedom > 0)?;
        Some((self.squared_deviations() / freedom as f64).sqrt())
    }

    /// Σ(x − mean)². With q the floor of the mean and r = Σx − q·n it is Σ(x − q)² − r²/n, where
    /// Σ(x − q)² = Σx² − q·(Σx + r) is a whole number and r²/n is below n: what could cancel is computed exactly.
    fn squared_deviations(&self) -> f64 {
        let count = i128::from(self.count);
        let floor = self.sum.div_euclid(count);
        let rest = self.sum.rem_euclid(count) as u128;
        let about_floor = self.squares.minus(Wide::product(floor, self.sum + rest as i128));
        // Small enough to bring over the common denominator: exact up to the last division.
        let whole = (about_floor.high == 0).then_some(about_floor.low);
        let scaled = whole.and_then(|whole| whole.checked_mul(count as u128));
        match scaled.and_then(|scaled| scaled.checked_sub(rest.checked_mul(rest)?)) {
            Some(scaled) => scaled as f64 / count as f64,
            None => (about_floor.to_f64() - rest as f64 * (rest as f64 / count as f64)).max(0.0),
        }
    }

    /// Count, sum and the sum of squares in three 64-bit words from the lowest, to be stored in columns.
    pub fn parts(&self) -> (u64, i128, [u64; 3]) {
        let Wide { low, high } = self.squares;
        (self.count, self.sum, [low as u64, (low >> 64) as u64, high])
    }

    /// From [`Self::parts`]; `None` where they cannot be a state's.
    pub fn from_parts(count: u64, sum: i128, squares: [u64; 3]) -> Option<Self> {
        let [low, middle, high] = squares;
        let squares = Wide { low: u128::from(middle) << 64 | u128::from(low), high };
        let is_possible = count <= ROWS_MAX
            && sum.unsigned_abs() <= u128::from(count) << 63
            && high <= count
            && (count > 0 || squares.low == 0);
        is_possible.then_some(IntMoments { count, sum, squares })
    }

    /// Appends the canonical bytes: version, count (LEB128), sum (i128) and squares (u128 and u64), little-endian.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        write_count(out, self.count);
        out.extend(self.sum.to_le_bytes());
        out.extend(self.squares.low.to_le_bytes());
        out.extend(self.squares.high.to_le_bytes());
    }

    /// Reads [`Self::encode`]'s bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::new("integer sum", VERSION, bytes)?;
        let count = reader.rows()?;
        let sum = reader.i128()?;
        let squares = Wide { low: reader.u128()?, high: reader.u64()? };
        // Bounds that hold for any rows, so that later arithmetic on damaged bytes cannot overflow.
        let sum_max = u128::from(count) << 63;
        reader.require(sum.unsigned_abs() <= sum_max, "the sum is impossible for the count")?;
        reader.require(squares.high <= count, "the squares are impossible for the count")?;
        reader.require(count > 0 || squares.low == 0, "an empty state has squares")?;
        reader.end()?;
        Ok(IntMoments { count, sum, squares })
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// An unsigned 192-bit number (two's complement in between).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wide {
    low: u128,
    high: u64,
}

impl Wide {
    #[inline]
    fn add_low(&mut self, value: u128) {
        let (low, carry) = self.low.overflowing_add(value);
        self.low = low;
        self.high = self.high.wrapping_add(u64::from(carry));
    }

    fn minus(self, other: Wide) -> Wide {
        let (low, borrow) = self.low.overflowing_sub(other.low);
        Wide { low, high: self.high.wrapping_sub(other.high).wrapping_sub(u64::from(borrow)) }
    }

    /// `a · b` modulo 2^192, where the size of `a` is at most 2^63.
    fn product(a: i128, b: i128) -> Wide {
        let (a_size, b_size) = (a.unsigned_abs(), b.unsigned_abs());
        let mut result = Wide::default();
        result.add_low(a_size * (b_size & u128::from(u64::MAX)));
        result.add_shifted(a_size * (b_size >> 64));
        if (a < 0) == (b < 0) { result } else { Wide::default().minus(result) }
    }

    /// Adds `value · 2^64`.
    fn add_shifted(&mut self, value: u128) {
        self.add_low(value << 64);
        self.high = self.high.wrapping_add((value >> 64) as u64);
    }

    fn to_f64(self) -> f64 {
        const TWO_POW_128: f64 = f64::from_bits((1023 + 128) << 52);
        self.high as f64 * TWO_POW_128 + self.low as f64
    }
}
