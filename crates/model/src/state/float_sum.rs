//! A sum of floats that hardly depends on the order of its terms.
//!
//! Two doubles hold the sum: the rounded value and what rounding lost, found without error by Knuth's two-sum. The result is as
//! good as one computed with twice the digits and rounded once (Ogita, Rump, Oishi: "Accurate Sum and Dot Product", 2005).

use super::StateError;
use super::codec::Reader;

/// A sum of finite floats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FloatSum {
    high: f64,
    low: f64,
    /// The sum of the terms that could overflow, each times [`SCALE_DOWN`]; zero but for columns of absurd size.
    huge_high: f64,
    huge_low: f64,
}

/// Version of [`FloatSum::encode`].
const VERSION: u8 = 1;
/// Partial sums at least this large are kept scaled: 2^960. Below it 2^63 terms cannot overflow.
const HUGE: f64 = f64::from_bits((1023 + 960) << 52);
/// 2^-64 and back. Exact, because huge terms are far from subnormal.
const SCALE_DOWN: f64 = f64::from_bits((1023 - 64) << 52);
const SCALE_UP: f64 = f64::from_bits((1023 + 64) << 52);
/// Independent running sums, so that additions overlap in the processor and fit its vectors.
const LANES: usize = 4;

impl FloatSum {
    /// Adds one term, which must be finite.
    #[inline]
    pub fn add(&mut self, value: f64) {
        debug_assert!(value.is_finite());
        if value.abs() < HUGE {
            add_to(&mut self.high, &mut self.low, value);
        } else {
            add_to(&mut self.huge_high, &mut self.huge_low, value * SCALE_DOWN);
        }
    }

    /// Adds many terms, all finite.
    pub fn add_slice(&mut self, values: &[f64]) {
        let (chunks, rest) = values.as_chunks::<LANES>();
        let (mut high, mut low) = ([0.0; LANES], [0.0; LANES]);
        let mut largest = [0.0_f64; LANES];
        for chunk in chunks {
            for lane in 0..LANES {
                add_to(&mut high[lane], &mut low[lane], chunk[lane]);
                let size = chunk[lane].abs();
                largest[lane] = if size > largest[lane] { size } else { largest[lane] };
            }
        }
        if largest.iter().any(|size| *size >= HUGE) {
            chunks.as_flattened().iter().for_each(|value| self.add(*value));
        } else {
            for lane in 0..LANES {
                add_to(&mut self.high, &mut self.low, high[lane]);
                self.low += low[lane];
            }
        }
        rest.iter().for_each(|value| self.add(*value));
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        add_to(&mut self.high, &mut self.low, other.high);
        self.low += other.low;
        add_to(&mut self.huge_high, &mut self.huge_low, other.huge_high);
        self.huge_low += other.huge_low;
    }

    /// The sum; where it is larger than any double, the largest double with its sign (JSON has no infinity).
    pub fn value(&self) -> f64 {
        if self.huge_high == 0.0 && self.huge_low == 0.0 {
            return self.high + self.low;
        }
        let (mut high, mut low) = (self.huge_high, self.huge_low);
        add_to(&mut high, &mut low, self.high * SCALE_DOWN);
        low += self.low * SCALE_DOWN;
        ((high + low) * SCALE_UP).clamp(f64::MIN, f64::MAX)
    }

    /// The doubles that hold it, to be stored in columns: sum, what rounding lost, and both again for huge values.
    pub fn parts(&self) -> [f64; 4] {
        [self.high, self.low, self.huge_high, self.huge_low]
    }

    /// From [`Self::parts`]; `None` where one is not finite.
    pub fn from_parts(parts: [f64; 4]) -> Option<Self> {
        let [high, low, huge_high, huge_low] = parts;
        parts.iter().all(|part| part.is_finite()).then_some(FloatSum { high, low, huge_high, huge_low })
    }

    /// Appends the canonical bytes: version, then the four parts as little-endian doubles.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        for part in [self.high, self.low, self.huge_high, self.huge_low] {
            out.extend(part.to_le_bytes());
        }
    }

    /// Reads [`Self::encode`]'s bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::new("sum", VERSION, bytes)?;
        let (high, low) = (reader.finite()?, reader.finite()?);
        let (huge_high, huge_low) = (reader.finite()?, reader.finite()?);
        reader.end()?;
        Ok(FloatSum { high, low, huge_high, huge_low })
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// Knuth's two-sum: `high + value` exactly as the rounded sum in `high` and the error added to `low`.
#[inline]
fn add_to(high: &mut f64, low: &mut f64, value: f64) {
    let sum = *high + value;
    let virtual_value = sum - *high;
    *low += (*high - (sum - virtual_value)) + (value - virtual_value);
    *high = sum;
}
