//! The bins of the percentile sketch: which bin a size falls in and what stands for it.
//!
//! Each octave [2^e, 2^(e+1)) has 35 bins of equal ratio 2^(1/35) = 1.0200. The harmonic middle of a bin `[l, u)`, 2lu/(l+u), is
//! within (u−l)/(u+l) = 0.990 % of all its values, which leaves 0.01 % for rounding. The bounds are a table of integers, so a value falls
//! into the same bin on every machine; no logarithm is taken.
//!
//! Subnormal floats are too coarse for ratios (60 and 61 units differ by 1.7 %), so the smallest sizes have a bin each.

/// Bins in an octave: the fewest whose ratio stays below (1 + 1 %) / (1 − 1 %).
const OCTAVE_BINS: u32 = 35;
/// Sizes below 2^13 units of the least subnormal have a bin each: from there on rounding to units costs under 0.007 %.
const UNIT_BINS_LOG2: u32 = 13;
const UNIT_BINS: u32 = 1 << UNIT_BINS_LOG2;
/// Octaves from 2^(13−1074) up to the largest float.
const OCTAVES: u32 = 1074 - UNIT_BINS_LOG2 + 1024;
/// The largest bin of a finite size: 81,166. The least is 1. This bounds a sketch's memory.
pub(super) const BIN_MAX: u32 = UNIT_BINS + OCTAVES * OCTAVE_BINS - 1;

const MANTISSA_BITS: u32 = 52;
const MANTISSA_MASK: u64 = (1 << MANTISSA_BITS) - 1;
/// The first mantissa of each bin of an octave: ⌈(2^(i/35) − 1) · 2^52⌉.
#[rustfmt::skip]
const MANTISSA_STARTS: [u64; OCTAVE_BINS as usize] = [
    0x0_0000_0000_0000, 0x0_51ed_3525_4d7b, 0x0_a57d_e9c1_6bc8, 0x0_faba_81d4_e5e0, 0x1_51ab_8c56_eea3,
    0x1_aa59_c411_5e7e, 0x2_04ce_1081_1782, 0x2_6111_86ba_e675, 0x2_bf2d_6a54_f7db, 0x3_1f2b_2e54_f85d,
    0x3_8114_7622_f887, 0x3_e4f3_1681_2c30, 0x4_4ad1_1688_9e7c, 0x4_b2b8_b0aa_f3c8, 0x5_1cb4_53b9_536d,
    0x5_88ce_a3f0_93be, 0x5_f712_7c0a_c32a, 0x6_678a_ee56_29f8, 0x6_da43_45d1_e0ae, 0x7_4f47_0750_17a0,
    0x7_c6a1_f29e_2ce7, 0x8_4060_03b2_ae5d, 0x8_bc8d_73e1_6610, 0x9_3b36_bb15_8fff, 0x9_bc68_9112_58c0,
    0xa_402f_eeb9_c533, 0xa_c69a_0f5a_241d, 0xb_4fb4_7202_2b1b, 0xb_db8c_dadb_e121, 0xc_6a31_548e_794e,
    0xc_fbb0_31a7_41a5, 0xd_9018_0e09_c9e4, 0xe_2777_d067_6771, 0xe_c1de_abbe_3c15, 0xf_5f5c_20df_e5f3,
];
/// A slice of the mantissa's range that crosses at most one bin's start: the narrowest bin is 1/50 of it.
const SLICES_LOG2: u32 = 6;
const SLICES: usize = 1 << SLICES_LOG2;

/// The bin in which a slice begins, and the mantissa at which the next bin starts.
#[derive(Clone, Copy)]
struct Slice {
    next_start: u64,
    bin: u32,
}

static SLICE_BINS: [Slice; SLICES] = slice_bins();

const fn slice_bins() -> [Slice; SLICES] {
    let mut slices = [Slice { next_start: 0, bin: 0 }; SLICES];
    let (mut slice, mut bin) = (0, 0);
    while slice < SLICES {
        let begin = (slice as u64) << (MANTISSA_BITS - SLICES_LOG2);
        while bin + 1 < OCTAVE_BINS as usize && MANTISSA_STARTS[bin + 1] <= begin {
            bin += 1;
        }
        let next_start =
            if bin + 1 < OCTAVE_BINS as usize { MANTISSA_STARTS[bin + 1] } else { 1 << MANTISSA_BITS };
        slices[slice] = Slice { next_start, bin: bin as u32 };
        slice += 1;
    }
    slices
}

/// The bin of a finite size above zero, 1 to [`BIN_MAX`].
#[inline]
pub(super) fn bin_of_size(size: f64) -> u32 {
    let bits = size.to_bits();
    // The exponent as stored: 1 for 2^-1022, whose distance to the first octave of bins is 52 − 13 octaves.
    let exponent = (bits >> MANTISSA_BITS) as u32;
    if exponent == 0 {
        return bin_of_subnormal(bits);
    }
    let octave = exponent + (MANTISSA_BITS - UNIT_BINS_LOG2 - 1);
    UNIT_BINS + octave * OCTAVE_BINS + bin_in_octave(bits & MANTISSA_MASK)
}

#[inline]
fn bin_in_octave(mantissa: u64) -> u32 {
    let slice = SLICE_BINS[(mantissa >> (MANTISSA_BITS - SLICES_LOG2)) as usize];
    slice.bin + u32::from(mantissa >= slice.next_start)
}

#[cold]
fn bin_of_subnormal(units: u64) -> u32 {
    if units < u64::from(UNIT_BINS) {
        return units as u32;
    }
    let log2 = units.ilog2();
    let mantissa = (units << (MANTISSA_BITS - log2)) & MANTISSA_MASK;
    UNIT_BINS + (log2 - UNIT_BINS_LOG2) * OCTAVE_BINS + bin_in_octave(mantissa)
}

/// The size that stands for a bin: within 1 % of every size in it. 0 for bin 0.
pub(super) fn representative(bin: u32) -> f64 {
    if bin < UNIT_BINS {
        return f64::from_bits(u64::from(bin));
    }
    let (octave, place) = ((bin - UNIT_BINS) / OCTAVE_BINS, ((bin - UNIT_BINS) % OCTAVE_BINS) as usize);
    let ratio = |mantissa: u64| 1.0 + mantissa as f64 / (1u64 << MANTISSA_BITS) as f64;
    let low = ratio(MANTISSA_STARTS[place]);
    let high = ratio(MANTISSA_STARTS.get(place + 1).copied().unwrap_or(1 << MANTISSA_BITS));
    let middle = 2.0 * low * high / (low + high);
    // In two factors, because neither 2^-1061 nor a subnormal intermediate may be rounded before the end.
    let exponent = octave as i32 + UNIT_BINS_LOG2 as i32 - 1074;
    if exponent >= -1022 {
        middle * power_of_two(exponent)
    } else {
        middle * power_of_two(exponent + 100) * power_of_two(-100)
    }
}

/// 2^exponent for normal floats.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << MANTISSA_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_powers_of_two() {
        for (place, start) in MANTISSA_STARTS.iter().enumerate() {
            let exact = (place as f64 / f64::from(OCTAVE_BINS)).exp2();
            let table = 1.0 + *start as f64 / (1u64 << MANTISSA_BITS) as f64;
            assert!((exact - table).abs() <= 2.0 * f64::EPSILON, "bin {place}");
        }
    }

    #[test]
    fn a_slice_crosses_at_most_one_start() {
        for begin in 0..SLICES as u64 {
            let width = MANTISSA_BITS - SLICES_LOG2;
            let range = (begin << width) + 1..(begin + 1) << width;
            assert!(MANTISSA_STARTS.iter().filter(|start| range.contains(start)).count() <= 1);
        }
    }

    #[test]
    fn bins_are_numbered_without_gaps() {
        assert_eq!(bin_of_size(f64::from_bits(1)), 1);
        assert_eq!(bin_of_size(f64::MAX), BIN_MAX);
        assert_eq!(BIN_MAX, 81_166);
        let edges = [f64::MIN_POSITIVE, f64::from_bits(u64::from(UNIT_BINS)), 1.0, 2.0, 1e-310, 1e300];
        for edge in edges {
            let below = f64::from_bits(edge.to_bits() - 1);
            assert!(bin_of_size(edge) - bin_of_size(below) <= 1, "{edge:e}");
        }
    }

    #[test]
    fn every_bin_holds_its_representative() {
        for bin in 1..=BIN_MAX {
            let middle = representative(bin);
            assert_eq!(bin_of_size(middle), bin, "{middle:e}");
        }
    }

    #[test]
    fn the_ends_of_every_bin_are_within_the_bound() {
        let mut size = f64::from_bits(1);
        for bin in 1..=BIN_MAX {
            assert_eq!(bin_of_size(size), bin);
            let last = last_of(bin);
            for end in [size, last] {
                let error = (representative(bin) - end).abs();
                // Halves keep the largest sizes from overflowing; subnormal products would lose digits.
                let bound = if end < 1e-290 { end * 2f64.powi(200) * 0.01 } else { end * 0.01 };
                let error = if end < 1e-290 { error * 2f64.powi(200) } else { error };
                assert!(error <= bound, "bin {bin}: {end:e} stands for {:e}", representative(bin));
            }
            if bin < BIN_MAX {
                size = f64::from_bits(last.to_bits() + 1);
            }
        }
    }

    /// The largest size of a bin, by bisection over the bits.
    fn last_of(bin: u32) -> f64 {
        let (mut inside, mut above) = (representative(bin).to_bits(), f64::INFINITY.to_bits());
        while inside + 1 < above {
            let middle = inside.midpoint(above);
            if bin_of_size(f64::from_bits(middle)) <= bin { inside = middle } else { above = middle }
        }
        f64::from_bits(inside)
    }
}
