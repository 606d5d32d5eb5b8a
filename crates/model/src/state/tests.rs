//! Laws that every state keeps: merging commutes, associates and has an identity, bytes round-trip, foreign bytes never panic.

use std::collections::{BTreeSet, HashSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What the laws need of a state, over one kind of row.
trait Laws: Clone + Default + std::fmt::Debug {
    type Row: Clone + std::fmt::Debug;
    fn take(&mut self, rows: &[Self::Row]);
    fn join(&mut self, other: &Self);
    fn bytes(&self) -> Vec<u8>;
    fn parse(bytes: &[u8]) -> Result<Self, StateError>;
    /// Equal, for inexact states to within their stated accuracy over these rows.
    fn same(&self, other: &Self, rows: &[Self::Row]) -> bool;
}

macro_rules! laws_for {
    ($state:ty, $row:ty, $take:expr, $same:expr) => {
        impl Laws for $state {
            type Row = $row;
            fn take(&mut self, rows: &[$row]) {
                let take: fn(&mut Self, &[$row]) = $take;
                take(self, rows);
            }
            fn join(&mut self, other: &Self) {
                self.merge(other);
            }
            fn bytes(&self) -> Vec<u8> {
                let mut out = Vec::new();
                self.encode(&mut out);
                out
            }
            fn parse(bytes: &[u8]) -> Result<Self, StateError> {
                Self::decode(bytes)
            }
            fn same(&self, other: &Self, rows: &[$row]) -> bool {
                let same: fn(&Self, &Self, &[$row]) -> bool = $same;
                same(self, other, rows)
            }
        }
    };
}

fn sum_is_near(a: &FloatSum, b: &FloatSum, rows: &[f64]) -> bool {
    let size: f64 = rows.iter().map(|row| row.abs() * 1e-10).sum::<f64>() * 1e10;
    let bound = 1e-30 * size + f64::EPSILON * a.value().abs() + f64::MIN_POSITIVE;
    (a.value() - b.value()).abs() <= bound || !size.is_finite()
}

fn deviation_is_near(a: &Moments, b: &Moments, rows: &[f64]) -> bool {
    let size = rows.iter().fold(0.0_f64, |size, row| size.max(row.abs()));
    match (a.stddev(), b.stddev()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-12 * a + 1e-15 * size,
        (a, b) => a == b || size > 1e150,
    }
}

laws_for!(FloatSum, f64, |state, rows| state.add_slice(rows), sum_is_near);
laws_for!(Moments, f64, |state, rows| state.add_slice(rows), deviation_is_near);
laws_for!(IntMoments, i64, |state, rows| state.add_slice(rows), |a, b, _| a == b);
laws_for!(Quantiles, f64, |state, rows| state.add_slice(rows), |a, b, _| a == b && a.bytes() == b.bytes());
laws_for!(Distinct, u64, |state, rows| state.insert_hashes(rows), |a, b, _| a == b && a.bytes() == b.bytes());
laws_for!(
    First<String>,
    (i64, String),
    |state, rows| rows.iter().for_each(|(time, value)| state.update(*time, value.clone())),
    |a, b, _| a == b
);
laws_for!(
    Last<f64>,
    (i64, f64),
    |state, rows| rows.iter().for_each(|(time, value)| state.update(*time, *value)),
    |a, b, _| a == b
);

fn of<S: Laws>(rows: &[S::Row]) -> S {
    let mut state = S::default();
    state.take(rows);
    state
}

fn joined<S: Laws>(left: &S, right: &S) -> S {
    let mut state = left.clone();
    state.join(right);
    state
}

fn check_laws<S: Laws>(a: &[S::Row], b: &[S::Row], c: &[S::Row]) {
    let all = [a, b, c].concat();
    let (sa, sb, sc): (S, S, S) = (of(a), of(b), of(c));
    let whole: S = of(&all);
    assert!(joined(&sa, &sb).same(&joined(&sb, &sa), &all), "commutes");
    assert!(joined(&joined(&sa, &sb), &sc).same(&joined(&sa, &joined(&sb, &sc)), &all), "associates");
    assert!(joined(&joined(&sa, &sb), &sc).same(&whole, &all), "merging equals taking all rows");
    assert!(joined(&sa, &S::default()).same(&sa, &all), "identity on the right");
    assert!(joined(&S::default(), &sa).same(&sa, &all), "identity on the left");
    let reversed: Vec<S::Row> = all.iter().rev().cloned().collect();
    assert!(of::<S>(&reversed).same(&whole, &all), "order of rows");
    let bytes = whole.bytes();
    assert_eq!(S::parse(&bytes).expect("own bytes").bytes(), bytes);
    for cut in 0..bytes.len().min(64) {
        // Shorter bytes may be another state's, but never a panic.
        let _ = S::parse(&bytes[..cut]);
    }
    let mut newer = bytes;
    newer[0] = 200;
    assert!(matches!(S::parse(&newer), Err(StateError::Version { found: 200, known: 1, .. })));
}

/// Whatever decodes must be usable and must encode to the same bytes.
fn check_foreign_bytes<S: Laws>(bytes: &[u8], used: impl Fn(&S)) {
    if let Ok(state) = S::parse(bytes) {
        assert_eq!(state.bytes(), bytes);
        used(&joined(&state, &state));
    }
}

fn floats() -> impl Strategy<Value = Vec<f64>> {
    let value = prop_oneof![
        8 => -1e6..1e6_f64,
        2 => any::<f64>().prop_filter("finite", |value| value.is_finite()),
        1 => Just(0.0), 1 => Just(-0.0), 1 => Just(f64::MAX), 1 => Just(f64::MIN), 1 => Just(f64::from_bits(1)),
    ];
    vec(value, 0..300)
}

fn hashes() -> impl Strategy<Value = Vec<u64>> {
    // Few and many values, across the borders of all forms.
    (any::<u64>(), prop_oneof![0..20u64, 200..300u64, 1_000..6_000u64], 0..2u64).prop_map(
        |(seed, count, zero)| (0..count).map(|at| mix(seed % 3 * 100 + at) * (at + zero).min(1)).collect(),
    )
}

/// SplitMix64: evenly spread test hashes.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn float_states_keep_the_laws(a in floats(), b in floats(), c in floats()) {
        check_laws::<FloatSum>(&a, &b, &c);
        check_laws::<Quantiles>(&a, &b, &c);
        let tame = |rows: Vec<f64>| rows.into_iter().filter(|row| row.abs() < 1e100).collect::<Vec<_>>();
        check_laws::<Moments>(&tame(a), &tame(b), &tame(c));
    }

    #[test]
    fn integer_sums_keep_the_laws(a in vec(any::<i64>(), 0..50), b in vec(-9i64..9, 0..50), c in vec(any::<i64>(), 0..50)) {
        check_laws::<IntMoments>(&a, &b, &c);
    }

    #[test]
    fn distinct_keeps_the_laws(a in hashes(), b in hashes(), c in hashes()) {
        check_laws::<Distinct>(&a, &b, &c);
        let state: Distinct = of(&a);
        prop_assert_eq!(joined(&state, &state), state, "merging is idempotent");
    }

    #[test]
    fn first_and_last_keep_the_laws(
        a in vec((0i64..4, "[a-c]{0,2}"), 0..8), b in vec((0i64..4, "[a-c]{0,2}"), 0..8), c in vec((0i64..4, -2.0..2.0_f64), 0..8),
    ) {
        check_laws::<First<String>>(&a, &b, &[]);
        check_laws::<Last<f64>>(&c, &[], &c);
    }

    #[test]
    fn foreign_bytes_do_not_panic(mut bytes in vec(any::<u8>(), 0..80), form in 0u8..3) {
        if let Some(version) = bytes.first_mut() { *version = 1; }
        if let Some(second) = bytes.get_mut(1) { *second = form; }
        check_foreign_bytes::<FloatSum>(&bytes, |state| _ = state.value());
        check_foreign_bytes::<Moments>(&bytes, |state| _ = state.stddev());
        check_foreign_bytes::<IntMoments>(&bytes, |state| _ = state.stddev());
        check_foreign_bytes::<Quantiles>(&bytes, |state| _ = state.value(950));
        check_foreign_bytes::<Distinct>(&bytes, |state| _ = state.estimate());
        check_foreign_bytes::<First<String>>(&bytes, |state| _ = state.value());
        check_foreign_bytes::<Last<f64>>(&bytes, |state| _ = state.value());
    }

    #[test]
    fn damaged_bytes_do_not_panic(rows in floats(), at in any::<prop::sample::Index>(), flip in 1u8..=255) {
        let mut bytes = of::<Quantiles>(&rows).bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        check_foreign_bytes::<Quantiles>(&bytes, |state| _ = (state.value(1), state.value(999)));
    }

    #[test]
    fn percentiles_are_within_the_bound(rows in floats(), wide in vec(any::<f64>(), 0..40), permille in 0u16..=1_000) {
        let mut rows: Vec<f64> = rows.into_iter().chain(wide).filter(|row| row.is_finite()).collect();
        let state: Quantiles = of(&rows);
        rows.sort_by(f64::total_cmp);
        check_percentile(&state, &rows, permille);
    }

    #[test]
    fn subnormal_percentiles_are_within_the_bound(units in vec(1u64..100_000, 1..200), permille in 0u16..=1_000) {
        let mut rows: Vec<f64> = units.into_iter().map(f64::from_bits).collect();
        let state: Quantiles = of(&rows);
        rows.sort_by(f64::total_cmp);
        check_percentile(&state, &rows, permille);
    }

    #[test]
    fn a_float_sum_is_exact_where_integers_are(rows in vec(-1_000_000_007i64..1_000_000_007, 0..500), big in any::<bool>()) {
        let mut state = FloatSum::default();
        if big { state.add(1e300); }
        state.add_slice(&rows.iter().map(|row| *row as f64).collect::<Vec<_>>());
        if big { state.add_slice(&[-1e300]); }
        let exact = rows.iter().sum::<i64>() as f64;
        prop_assert!(big || state.value() == exact, "{} {exact}", state.value());
    }

    #[test]
    fn the_integer_deviation_is_exact(base in prop_oneof![Just(0i64), Just(i64::MAX / 2), Just(-4_000_000_000_000_000_000)], rows in vec(-1000i64..1000, 2..200)) {
        let mut state = IntMoments::default();
        state.add_slice(&rows.iter().map(|row| base + row).collect::<Vec<_>>());
        let count = rows.len() as i128;
        let sum: i128 = rows.iter().map(|row| i128::from(*row)).sum();
        let squares: i128 = rows.iter().map(|row| i128::from(*row).pow(2)).sum();
        let exact = ((squares * count - sum * sum) as f64 / (count * (count - 1)) as f64).sqrt();
        let found = state.stddev().expect("two rows");
        prop_assert!((found - exact).abs() <= 1e-14 * exact, "{found} {exact}");
    }
}

fn check_percentile(state: &Quantiles, sorted: &[f64], permille: u16) {
    let Some(found) = state.value(permille) else {
        return assert!(sorted.is_empty() && state.rank_bin(permille).is_none());
    };
    let rank = (usize::from(permille) * sorted.len()).div_ceil(1_000).max(1);
    let exact = sorted[rank - 1];
    // Scaled, so that one per cent of a subnormal is not rounded away.
    let scale = if exact.abs() < 1e-290 { 2f64.powi(200) } else { 1.0 };
    assert!(
        (found * scale - exact * scale).abs() <= 0.01 * (exact * scale).abs(),
        "p{permille}: {found:e}, exact {exact:e}"
    );
    let place = state.rank_bin(permille).expect("there are rows");
    let inside: Vec<f64> =
        sorted.iter().copied().filter(|row| Quantiles::bin_of(*row) == place.bin).collect();
    assert_eq!(
        (inside.len() as u64, inside[place.rank as usize - 1]),
        (place.count, exact),
        "selecting in the bin is exact"
    );
}

#[test]
fn percentile_of_many_rows_in_all_stores() {
    for (spread, rows) in [(1.0, 30), (3.0, 3_000), (300.0, 3_000), (0.0, 100)] {
        let mut values: Vec<f64> = (0..rows)
            .map(|at| mix(at) as f64 / u64::MAX as f64 - 0.5)
            .map(|unit| unit.signum() * (unit.abs() * spread * 4.0).exp2())
            .collect();
        let mut state = Quantiles::default();
        values.chunks(7).for_each(|chunk| state.merge(&of(chunk)));
        values.sort_by(f64::total_cmp);
        for permille in [0, 1, 10, 250, 500, 501, 900, 990, 999, 1_000] {
            check_percentile(&state, &values, permille);
        }
        assert!(state.memory_bytes() < 64 << 10);
    }
}

#[test]
fn packed_sketches_are_the_same_and_go_on() {
    let counted = |spread: f64, rows: u64, seed: u64| -> Quantiles {
        let unit = |at: u64| mix(at ^ seed) as f64 / u64::MAX as f64 - 0.5;
        let values = (0..rows).map(unit).map(|unit| unit.signum() * (unit.abs() * spread * 4.0).exp2());
        of(&values.collect::<Vec<_>>())
    };
    let mut run = Quantiles::default();
    for (spread, rows) in [(1.0, 0), (1.0, 3), (1.0, 30), (3.0, 3_000), (300.0, 3_000), (0.0, 70_000)] {
        let state = counted(spread, rows, 1);
        let mut packed = state.clone();
        packed.pack();
        assert_eq!(packed, state);
        assert!(packed.memory_bytes() <= state.memory_bytes(), "{spread} {rows}");
        for permille in [0, 1, 250, 500, 900, 999, 1_000] {
            assert_eq!(packed.value(permille), state.value(permille));
            assert_eq!(packed.rank_bin(permille), state.rank_bin(permille));
        }
        for (spread, rows) in [(1.0, 0), (1.0, 20), (2.0, 2_000), (100.0, 1_000)] {
            let other = counted(spread, rows, 2);
            let (mut merged, held) = (packed.clone(), packed.clone());
            merged.merge(&other);
            assert_eq!(merged, joined(&state, &other));
            assert_eq!(held, state, "what one copy takes, the others do not see");
            merged = other.clone();
            merged.merge(&packed);
            assert_eq!(merged, joined(&other, &state));
            run.clear();
            run.merge(&other);
            run.merge(&packed);
            assert_eq!(run, merged, "a sketch that is used again");
            merged.pack();
            merged.add(7.25);
            assert_eq!(merged.count(), state.count() + other.count() + 1);
        }
    }
}

#[test]
fn more_rows_than_32_bits_count() {
    let mut state: Quantiles = of(&[1.0, 2.0, 3.0, -4.0, 0.0]);
    for _ in 0..40 {
        state.merge(&state.clone());
    }
    assert_eq!(state.count(), 5 << 40);
    let value = state.value(500).expect("rows");
    assert!((value - 1.0).abs() <= 0.01);
    assert_eq!(Quantiles::decode(&state.bytes()).expect("own bytes"), state);
}

#[test]
fn distinct_is_exact_up_to_256_values_and_near_after() {
    let mut state = Distinct::default();
    let mut seen = HashSet::new();
    let mut checkpoints: BTreeSet<u64> =
        (0..=300).chain([400, 1_000, 2_000, 5_000, 20_000, 50_000]).collect();
    checkpoints.extend([100_000, 300_000]);
    for at in 0..=300_000u64 {
        if checkpoints.contains(&at) {
            let error = (state.estimate() as f64 - at as f64).abs();
            assert!(error <= 0.033 * at as f64, "{at}: {}", state.estimate());
            assert_eq!(state.is_exact(), at <= 256);
            assert!(!state.is_exact() || error == 0.0);
        }
        assert!(seen.insert(mix(at)));
        state.insert_hash(mix(at));
        state.insert_hash(mix(at / 2));
    }
}

#[test]
fn the_standard_error_is_as_stated() {
    // Sixty-four independent sets per size: the root mean square error is within a quarter of 0.81 %, the mean error near 0.
    for size in [300u64, 3_000, 16_000, 45_000] {
        let errors: Vec<f64> = (0..64u64)
            .map(|set| {
                let state: Distinct = of(&(0..size).map(|at| mix(set << 32 | at)).collect::<Vec<_>>());
                state.estimate() as f64 / size as f64 - 1.0
            })
            .collect();
        let mean = errors.iter().sum::<f64>() / 64.0;
        let root = (errors.iter().map(|error| error * error).sum::<f64>() / 64.0).sqrt();
        assert!(root < 0.0102 && mean.abs() < 0.0031, "{size}: rms {root}, mean {mean}");
    }
}

#[test]
fn empty_states_have_their_values() {
    assert_eq!(FloatSum::default().value(), 0.0);
    assert_eq!((IntMoments::default().sum(), IntMoments::default().stddev()), (0, None));
    assert_eq!(Moments::default().stddev(), None);
    // Equal values deviate by nothing, however they were cut: rounding would make it differ from one run to the next.
    for value in [1e9 / 3.0, 0.1, -7.3e200] {
        for parts in [[1usize, 2, 3], [7, 1_025, 1], [3_000, 5, 4_099]] {
            let mut all = Moments::default();
            parts.iter().for_each(|rows| all.merge(&of(&vec![value; *rows])));
            assert_eq!((all.stddev(), all.parts().1), (Some(0.0), value), "{parts:?}");
        }
    }
    assert_eq!((Quantiles::default().value(500), Quantiles::default().max()), (None, None));
    assert_eq!((Distinct::default().estimate(), Distinct::default().is_exact()), (0, true));
    assert_eq!(First::<i64>::default().value(), None);
    let mut one = Moments::default();
    one.add(5.0);
    assert_eq!(one.stddev(), None);
}

#[test]
fn ties_in_time_take_the_smaller_first_and_the_larger_last() {
    let (mut first, mut last) = (First::default(), Last::default());
    for (time, value) in [(5, 2), (5, 1), (5, 3), (9, 4), (9, 6), (9, 5)] {
        first.update(time, value as i64);
        last.update(time, value as i64);
    }
    assert_eq!((first.value(), first.time()), (Some(&1), Some(5)));
    assert_eq!((last.value(), last.time()), (Some(&6), Some(9)));
}

#[test]
fn sums_keep_what_plain_addition_loses() {
    let mut state = FloatSum::default();
    state.add_slice(&[1e16, 1.0, 1.0, -1e16, 0.25]);
    assert_eq!(state.value(), 2.25);
    let mut huge = FloatSum::default();
    huge.add_slice(&[f64::MAX, f64::MAX, 3.0, f64::MIN, f64::MIN, 0.5, 1.0, 2.0, 4.0]);
    assert_eq!(huge.value(), 10.5);
    huge.add_slice(&[f64::MAX; 9]);
    assert_eq!(huge.value(), f64::MAX);
}

#[test]
fn float_deviation_does_not_cancel() {
    let rows: Vec<f64> = (0..10_000).map(|at| 1e9 + f64::from(at % 3)).collect();
    let exact =
        IntMoments::stddev(&of(&rows.iter().map(|row| *row as i64).collect::<Vec<_>>())).expect("rows");
    let found = of::<Moments>(&rows).stddev().expect("rows");
    assert!((found - exact).abs() <= 1e-10 * exact, "{found} {exact}");
    let mut huge = Moments::default();
    huge.add_slice(&[f64::MAX, f64::MIN]);
    assert_eq!(huge.stddev(), None);
}

/// The same state again from the parts that columns hold, merged into one of other rows.
#[test]
fn states_come_back_from_their_parts() {
    let numbers: Vec<i64> = (0..4_000).map(|at| mix(at) as i64 >> (at % 60)).collect();
    let floats: Vec<f64> = numbers.iter().map(|number| *number as f64 / 7.0).collect();
    for rows in [0, 1, 30, 3_000] {
        let (floats, numbers) = (&floats[..rows], &numbers[..rows]);
        let sum: FloatSum = of(floats);
        assert_eq!(FloatSum::from_parts(sum.parts()), Some(sum));
        let moments: Moments = of(floats);
        let (count, mean, squares) = moments.parts();
        assert_eq!(Moments::from_parts(count, mean, squares), Some(moments));
        let moments: IntMoments = of(numbers);
        let (count, sum, squares) = moments.parts();
        assert_eq!(IntMoments::from_parts(count, sum, squares), Some(moments));
        let sketch: Quantiles = of(floats);
        let (positive, negative) =
            (Distances::of(sketch.positive_bins()), Distances::of(sketch.negative_bins()));
        for other in [0, 2, 25, 900] {
            let others: Quantiles = of(&floats[..other.min(rows)]);
            let mut merged = others.clone();
            let bounds = (sketch.min().unwrap_or(0.0), sketch.max().unwrap_or(0.0));
            let (positive, negative) = (positive.bins(), negative.bins());
            let bins = Bins { zeros: sketch.zeros(), positive, negative, bounds };
            merged.merge_bins(&bins).expect("own bins");
            assert_eq!(merged, joined(&others, &sketch), "{rows} and {other} rows");
        }
        let hashes: Vec<u64> = (0..rows as u64).map(mix).collect();
        let set: Distinct = of(&hashes);
        for other in [0u64, 100, 1_000, 9_000] {
            let others: Distinct = of(&(50..other + 50).map(mix).collect::<Vec<_>>());
            let mut merged = others.clone();
            let outcome = match set.parts() {
                DistinctParts::Exact(hashes) => {
                    merged.insert_hashes(&hashes);
                    Ok(())
                }
                DistinctParts::Sparse(registers) => merged.merge_registers(&registers),
                DistinctParts::Dense(ranks) => merged.merge_ranks(ranks),
            };
            outcome.expect("own registers");
            assert_eq!(merged, joined(&others, &set), "{rows} and {other} hashes");
        }
    }
    assert!(Distinct::default().merge_ranks(&[52; Distinct::REGISTERS]).is_err());
    assert!(Distinct::default().merge_registers(&[0x100]).is_err());
    for (first, gaps, counts) in [
        (5, &[0, 0][..], &[1, 1][..]),
        (5, &[0, u64::MAX], &[1, 1]),
        (5, &[0, 1 << 20], &[1, 1]),
        (u64::MAX, &[0, 1], &[1, 1]),
        (0, &[0, 1], &[1, 1]),
        (5, &[0, 1], &[1, 0]),
        (5, &[0, 1], &[1, u64::MAX]),
        (5, &[0, 1], &[1 << 56, 1 << 56]),
        (5, &[0, 1], &[1]),
        (5, &[], &[1]),
    ] {
        let positive = BinCounts { first, gaps, counts };
        let bins = Bins { zeros: 0, positive, negative: BinCounts::default(), bounds: (1.0, 2.0) };
        assert!(Quantiles::default().merge_bins(&bins).is_err(), "{positive:?}");
    }
    let most = BinCounts { first: 1, gaps: &[0, 81_165], counts: &[1 << 47, 1 << 47] };
    let bins = Bins { zeros: 1, positive: most, negative: most, bounds: (-1.0, 1.0) };
    let mut merged = Quantiles::default();
    merged.merge_bins(&bins).expect("these are the first and the last bin");
    assert_eq!(merged.count(), (1 << 49) + 1);
}

/// Bins as they are stored.
struct Distances {
    first: u64,
    gaps: Vec<u64>,
    counts: Vec<u64>,
}

impl Distances {
    fn of(entries: impl Iterator<Item = (u32, u64)>) -> Self {
        let entries: Vec<(u32, u64)> = entries.collect();
        let first = entries.first().map_or(0, |(bin, _)| u64::from(*bin));
        let gaps = entries.windows(2).map(|pair| u64::from(pair[1].0 - pair[0].0));
        let gaps = entries.first().map(|_| 0).into_iter().chain(gaps).collect();
        Distances { first, gaps, counts: entries.iter().map(|(_, count)| *count).collect() }
    }

    fn bins(&self) -> BinCounts<'_> {
        BinCounts { first: self.first, gaps: &self.gaps, counts: &self.counts }
    }
}
