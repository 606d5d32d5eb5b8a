//! Repeatable randomness: the same seed gives the same rows on every machine.
//!
//! Not for secrets: everything follows from a 64-bit seed.

/// SplitMix64 (Steele, Lea and Flood, 2014): one multiply-xor chain per draw, any seed is good.
pub struct Random(u64);

impl Random {
    /// The stream of one thing: what it is, its minute (or another large number) and its index there.
    pub fn of(what: &str, minute: i64, index: u64) -> Self {
        let word = what.bytes().fold(0, |hash: u64, byte| mix(hash ^ u64::from(byte)));
        Random(mix(word ^ mix(minute.cast_unsigned() ^ mix(index))))
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Uniform in (0, 1): never 0, so that its logarithm is finite.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// Uniform in `0..bound`; the bias of the multiply-shift is below 2⁻³² for the bounds used here.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// True with that probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A standard normal (Box and Muller, 1958; the second of the pair is not used).
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// A log-normal with that median; `spread` is the standard deviation of its logarithm.
    pub fn log_normal(&mut self, median: f64, spread: f64) -> f64 {
        median * (spread * self.normal()).exp()
    }

    /// A count around `mean`: a tenth of noise, and the fraction rounded up as often as it is large.
    pub fn count(&mut self, mean: f64) -> u64 {
        let noisy = mean * (1.0 + 0.1 * self.normal()).max(0.0);
        noisy as u64 + u64::from(self.chance(noisy.fract()))
    }

    /// Any of them, all as likely.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// One of them, as likely as its weight.
    pub fn weighted<'a, T>(&mut self, choices: &'a [(u32, T)]) -> &'a T {
        let total: u32 = choices.iter().map(|(weight, _)| weight).sum();
        let mut place = self.below(u64::from(total)) as u32;
        for (weight, choice) in choices {
            if place < *weight {
                return choice;
            }
            place -= weight;
        }
        &choices[0].1
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
