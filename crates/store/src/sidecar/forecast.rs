//! Which tiers a flush need not try: told from a sample of its rows, before all of them are derived from.
//!
//! Not here: what is too much (`aggregate`).

use std::sync::Arc;

use arrow_array::UInt32Array;
use tidewater_aggregate::{Derivation, RowsExpected};
use tidewater_model::schema::{Dataset, Tier};

use super::build::add;
use crate::segment::ProjectRows;
use crate::segment::rows::Rows;

/// Buckets of a sample, spread over the rows: hours of the day and users differ.
const BUCKETS: usize = 4;
/// A sample has at most one in so many of the rows, so that it costs far less than a tier that is tried in vain.
const SHARE: usize = 16;
/// Of fewer rows than this, every tier is cheap enough to be tried.
const ROWS_MIN: usize = 32_768;
/// Rows whose times tell where the rows lie.
const PROBES: usize = 64;

/// Roll-ups and tiers that clearly cannot pay for the `sorted` of these rows, which are about to have `expected`.
pub fn hopeless_tiers(
    dataset: &Arc<Dataset>,
    rows: &Rows,
    sorted: &[u32],
    expected: RowsExpected,
) -> Vec<(String, Tier)> {
    if sorted.len() < ROWS_MIN || dataset.rollups.is_empty() {
        return Vec::new();
    }
    // The wider tier tells of the finer one as well; where its buckets have too many rows for a sample, that one may do.
    let sampled = [Tier::Minutes5, Tier::Minute].into_iter().find_map(|tier| {
        let sample = whole_buckets(rows.batch.times(), sorted, tier.width_us());
        (sample.len() * SHARE <= sorted.len()).then_some((tier, sample))
    });
    let Some((widest, sample)) = sampled else { return Vec::new() };
    let raw_bytes = u128::from(expected.raw_bytes) * sample.len() as u128 / sorted.len() as u128;
    let expected = RowsExpected { rows: sample.len() as u64, raw_bytes: raw_bytes as u64 };
    let Some(mut derivation) = Derivation::of_sample(dataset, expected, widest) else { return Vec::new() };
    let sample = rows.take(&UInt32Array::from(sample));
    add(&mut derivation, &sample.batch, &ProjectRows::of(&sample));
    derivation.hopeless()
}

/// The rows of a few buckets in which rows lie, all of each bucket, in order.
fn whole_buckets(times: &[i64], sorted: &[u32], width_us: i64) -> Vec<u32> {
    let probes = sorted.iter().step_by((sorted.len() / PROBES).max(1));
    let mut starts: Vec<i64> =
        probes.map(|row| times[*row as usize].div_euclid(width_us) * width_us).collect();
    starts.sort_unstable();
    let chosen: [i64; BUCKETS] =
        std::array::from_fn(|place| starts[starts.len() * (2 * place + 1) / (2 * BUCKETS)]);
    let is_inside = |time: i64| {
        let buckets = chosen.iter();
        buckets.fold(false, |found, start| found | ((time.wrapping_sub(*start) as u64) < width_us as u64))
    };
    sorted.iter().copied().filter(|row| is_inside(times[*row as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_all_rows_of_its_buckets() {
        const WIDTH_US: i64 = 100;
        // Each second row an hour of its own, the others together: buckets lie where the rows are.
        let times: Vec<i64> = (0..4_000).map(|row| if row % 2 == 0 { row * 1_000 - 7 } else { 5 }).collect();
        let check = |sorted: &[u32], buckets_max: usize| {
            let sample = whole_buckets(&times, sorted, WIDTH_US);
            let bucket = |row: &u32| times[*row as usize].div_euclid(WIDTH_US);
            let mut buckets: Vec<i64> = sample.iter().map(bucket).collect();
            buckets.sort_unstable();
            buckets.dedup();
            assert!((1..=buckets_max).contains(&buckets.len()), "{buckets:?}");
            let expected: Vec<u32> =
                sorted.iter().copied().filter(|row| buckets.contains(&bucket(row))).collect();
            assert_eq!(sample, expected);
        };
        let even: Vec<u32> = (0..4_000).step_by(2).collect();
        let odd: Vec<u32> = (1..4_000).step_by(2).collect();
        check(&even, BUCKETS);
        check(&odd, 1);
        check(&(0..4_000).rev().collect::<Vec<u32>>(), BUCKETS);
        check(&[17], 1);
    }
}
