//! The number of different values from the ranks of HyperLogLog registers.
//!
//! Ertl's improved raw estimator ("New cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6): unbiased from
//! zero to the end of the hash's range, without tables or a switch between formulas.

/// The estimate from how many registers have each rank; `ranks[0]` are the unused ones, the last is the largest rank.
pub(super) fn estimate(ranks: &[u32], precision: u32) -> f64 {
    let registers = f64::from(1u32 << precision);
    let [unused, middle @ .., full] = ranks else { return 0.0 };
    let mut sum = registers * tau(1.0 - f64::from(*full) / registers);
    for count in middle.iter().rev() {
        sum = 0.5 * (sum + f64::from(*count));
    }
    sum += registers * sigma(f64::from(*unused) / registers);
    registers * registers / (2.0 * std::f64::consts::LN_2 * sum)
}

/// x + Σ x^(2^k) · 2^(k−1): the weight of unused registers, which few values leave many of.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut sum, mut factor) = (x, 1.0);
    loop {
        x *= x;
        let before = sum;
        sum += x * factor;
        factor += factor;
        if sum == before {
            return sum;
        }
    }
}

/// (1 − x − Σ (1 − x^(2^−k))² · 2^−k) / 3: the weight of registers that have run full.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut sum, mut factor) = (1.0 - x, 1.0);
    loop {
        x = x.sqrt();
        let before = sum;
        factor *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * factor;
        if sum == before {
            return sum / 3.0;
        }
    }
}
