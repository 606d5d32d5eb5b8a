//! Repeatable randomness: a stream, weighted choice, and a permutation of row numbers.
//!
//! Not for secrets: everything follows from a 64-bit seed.

/// SplitMix64 (Steele, Lea and Flood, 2014): one multiply-xor chain per draw, any seed is good.
pub struct Random(u64);

impl Random {
    /// The stream of one (seed, row): rows can be made in any order and still be the same rows.
    pub fn of_row(seed: u64, row: u64) -> Random {
        Random(mix(seed ^ mix(row)))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Uniform in (0, 1): never 0, so that its logarithm is finite.
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// Uniform in `0..bound`; the bias of the multiply-shift is below 2⁻³² for the bounds used here.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Two independent standard normals (Box and Muller, 1958).
    pub fn normals(&mut self) -> (f64, f64) {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.unit()).sin_cos();
        (radius * cos, radius * sin)
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Weighted choice in constant time: the alias method (Vose, 1991).
pub struct Weighted {
    /// Per slot: the chance of staying in it, and where to go otherwise.
    slots: Vec<(f64, u32)>,
}

impl Weighted {
    /// `count` values of which the k-th has weight 1 / k^`exponent` (Zipf's law).
    pub fn zipf(count: usize, exponent: f64) -> Weighted {
        Weighted::new(&(1..=count).map(|k| (k as f64).powf(-exponent)).collect::<Vec<_>>())
    }

    fn new(weights: &[f64]) -> Weighted {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let mut share: Vec<f64> = weights.iter().map(|w| w / mean).collect();
        let mut slots: Vec<(f64, u32)> = (0..weights.len() as u32).map(|i| (1.0, i)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..share.len()).partition(|&i| share[i] < 1.0);
        while let (Some(&under), Some(&over)) = (small.last(), large.last()) {
            small.pop();
            slots[under] = (share[under], over as u32);
            share[over] -= 1.0 - share[under];
            if share[over] < 1.0 {
                large.pop();
                small.push(over);
            }
        }
        Weighted { slots }
    }

    pub fn pick(&self, random: &mut Random) -> usize {
        let slot = random.below(self.slots.len() as u64) as usize;
        let (stay, alias) = self.slots[slot];
        if random.unit() < stay { slot } else { alias as usize }
    }
}

/// A pseudo-random order of `0..len` that needs no memory: a balanced Feistel network over the next power
/// of four, with values outside the range walked on until they fall into it (cycle walking).
pub struct Permutation {
    len: u64,
    half_bits: u32,
    keys: [u64; Self::ROUNDS],
}

impl Permutation {
    /// Four rounds are enough to look random (Luby and Rackoff, 1988).
    const ROUNDS: usize = 4;

    pub fn new(len: u64, seed: u64) -> Permutation {
        let bits = 64 - len.saturating_sub(1).leading_zeros();
        let mut random = Random::of_row(seed, len);
        Permutation { len, half_bits: bits.div_ceil(2).max(1), keys: std::array::from_fn(|_| random.next()) }
    }

    /// The row at `position` of the shuffled order.
    pub fn at(&self, position: u64) -> u64 {
        let mut value = self.encrypt(position);
        while value >= self.len {
            value = self.encrypt(value);
        }
        value
    }

    fn encrypt(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        (left << self.half_bits) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_visits_every_row_once() {
        for len in [1u64, 2, 3, 17, 1_000, 4_096, 4_097] {
            let order = Permutation::new(len, 7);
            let mut rows: Vec<u64> = (0..len).map(|position| order.at(position)).collect();
            rows.sort_unstable();
            assert_eq!(rows, (0..len).collect::<Vec<_>>(), "length {len}");
        }
    }

    #[test]
    fn weighted_choice_follows_its_weights() {
        let weighted = Weighted::zipf(10, 1.0);
        let mut counts = [0u32; 10];
        let mut random = Random::of_row(1, 0);
        let draws = 200_000;
        for _ in 0..draws {
            counts[weighted.pick(&mut random)] += 1;
        }
        let total: f64 = (1..=10).map(|k| 1.0 / f64::from(k)).sum();
        for (k, count) in counts.iter().enumerate() {
            let expected = f64::from(draws) / (k as f64 + 1.0) / total;
            assert!(
                (f64::from(*count) / expected - 1.0).abs() < 0.05,
                "value {k}: {count} against {expected}"
            );
        }
    }

    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let mut random = Random::of_row(3, 9);
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..100_000 {
            let (a, b) = random.normals();
            sum += a + b;
            squares += a * a + b * b;
        }
        assert!((sum / 200_000.0f64).abs() < 0.01);
        assert!((squares / 200_000.0f64 - 1.0).abs() < 0.02);
    }
}
