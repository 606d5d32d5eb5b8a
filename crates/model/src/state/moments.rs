//! Count, mean and squared deviations of floats, for the standard deviation.
//!
//! Merged by Chan, Golub and LeVeque ("Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979), which
//! does not cancel as Σx² − (Σx)²/n does. Whole numbers have an exact state of their own, [`super::IntMoments`].

use super::StateError;
use super::codec::{ROWS_MAX, Reader, write_count};

/// Count, mean and sum of squared deviations from the mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
}

/// Version of [`Moments::encode`].
const VERSION: u8 = 1;
/// Rows taken at a time: the two passes over a block stay in the processor's first cache.
const BLOCK_ROWS: usize = 1_024;
/// Independent running sums, so that additions overlap in the processor and fit its vectors.
const LANES: usize = 4;

impl Moments {
    /// Adds one finite value.
    pub fn add(&mut self, value: f64) {
        debug_assert!(value.is_finite());
        self.merge(&Moments { count: 1, mean: value, squares: 0.0 });
    }

    /// Adds finite values.
    pub fn add_slice(&mut self, values: &[f64]) {
        for block in values.chunks(BLOCK_ROWS) {
            self.merge(&of_block(block));
        }
    }

    /// Adds another state.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let count = self.count + other.count;
        let (own, others) = (self.count as f64 / count as f64, other.count as f64 / count as f64);
        let delta = other.mean - self.mean;
        if delta == 0.0 {
            // The weights do not add up to one exactly; equal means stay what they are, so that equal values deviate by nothing.
            self.squares += other.squares;
            self.count = count;
            return;
        }
        self.squares += other.squares + delta * (delta * own * other.count as f64);
        // The weighted mean treats both sides alike, so that merging commutes, and does not overflow.
        self.mean = self.mean * own + other.mean * others;
        self.count = count;
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sample's standard deviation; `None` for fewer than two values, and where it is larger than any double.
    pub fn stddev(&self) -> Option<f64> {
        let deviation =
            (self.squares / self.count.checked_sub(1).filter(|freedom| *freedom > 0)? as f64).sqrt();
        deviation.is_finite().then_some(deviation)
    }

    /// Count, mean and squared deviations, to be stored in columns.
    pub fn parts(&self) -> (u64, f64, f64) {
        (self.count, self.mean, self.squares)
    }

    /// From [`Self::parts`]; `None` where they cannot be a state's.
    pub fn from_parts(count: u64, mean: f64, squares: f64) -> Option<Self> {
        let is_possible = mean.is_finite() && squares >= 0.0 && count <= ROWS_MAX;
        let is_empty = mean == 0.0 && squares == 0.0;
        (is_possible && (count > 0 || is_empty)).then_some(Moments { count, mean, squares })
    }

    /// Appends the canonical bytes: version, count (LEB128), mean and squares as little-endian doubles.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        write_count(out, self.count);
        out.extend(self.mean.to_le_bytes());
        out.extend(self.squares.to_le_bytes());
    }

    /// Reads [`Self::encode`]'s bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::new("stddev", VERSION, bytes)?;
        let count = reader.rows()?;
        let mean = f64::from_bits(reader.u64()?);
        // Values whose squares overflow are stored as they are: their deviation is `None` before and after.
        let squares = f64::from_bits(reader.u64()?);
        reader.require(mean.is_finite() && squares >= 0.0, "a moment is impossible")?;
        reader.require(count > 0 || (mean == 0.0 && squares == 0.0), "an empty state has moments")?;
        reader.end()?;
        Ok(Moments { count, mean, squares })
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// The moments of a short, non-empty run of values.
fn of_block(block: &[f64]) -> Moments {
    if block.iter().all(|value| *value == block[0]) {
        return Moments { count: block.len() as u64, mean: block[0], squares: 0.0 };
    }
    let count = block.len() as f64;
    let share = 1.0 / count;
    let (chunks, rest) = block.as_chunks::<LANES>();
    let mut means = [0.0; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            // Scaled before summing, so that the sum cannot overflow.
            means[lane] += chunk[lane] * share;
        }
    }
    let mean = means.iter().sum::<f64>() + rest.iter().map(|value| value * share).sum::<f64>();
    let mean = mean.clamp(f64::MIN, f64::MAX);
    let (mut squares, mut drift) = ([0.0; LANES], [0.0; LANES]);
    for chunk in chunks {
        for lane in 0..LANES {
            let deviation = chunk[lane] - mean;
            squares[lane] += deviation * deviation;
            drift[lane] += deviation;
        }
    }
    for value in rest {
        squares[0] += (value - mean) * (value - mean);
        drift[0] += value - mean;
    }
    let (squares, drift): (f64, f64) = (squares.iter().sum(), drift.iter().sum());
    // The rounded mean is off by a little, which the deviations' sum tells and corrects.
    let corrected = squares - drift * drift * share;
    if corrected.is_finite() {
        Moments { count: block.len() as u64, mean: mean + drift * share, squares: corrected.max(0.0) }
    } else {
        Moments { count: block.len() as u64, mean, squares: f64::INFINITY }
    }
}
