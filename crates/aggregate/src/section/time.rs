//! The time column of a slice: runs of rows with one bucket.

use super::VERSION;
use super::bytes::{Reader, damaged, require, unzigzag, write_count, zigzag};
use crate::error::AggregateError;

/// Rows with one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The bucket's number since the epoch.
    pub bucket: i64,
    /// How many rows.
    pub rows: usize,
}

/// The bytes of ascending bucket numbers.
pub(crate) fn write(buckets: &[i64]) -> Vec<u8> {
    let mut out = vec![VERSION];
    let runs: Vec<&[i64]> = buckets.chunk_by(|a, b| a == b).collect();
    write_count(&mut out, runs.len() as u64);
    let mut before = 0i64;
    for run in runs {
        write_count(&mut out, zigzag(run[0].wrapping_sub(before)));
        write_count(&mut out, run.len() as u64);
        before = run[0];
    }
    out
}

/// The runs of a slice with `total` rows. Every bucket's start in micro-seconds is a number.
pub(super) fn read(bytes: &[u8], total: usize, width_us: i64) -> Result<Vec<Run>, AggregateError> {
    let mut reader = Reader::new(bytes);
    reader.version(VERSION)?;
    let count = reader.size()?;
    require(count <= reader.left() / 2, "it is cut short")?;
    let mut runs: Vec<Run> = Vec::with_capacity(count);
    let mut rows_left = total;
    for _ in 0..count {
        let before = runs.last().map_or(0, |run| run.bucket);
        let bucket = before.wrapping_add(unzigzag(reader.count()?));
        let rows = reader.size()?;
        require(runs.is_empty() || bucket > before, "buckets are out of order")?;
        require(bucket.checked_mul(width_us).is_some(), "a bucket is out of range")?;
        rows_left = rows_left.checked_sub(rows).ok_or(damaged("there are more times than rows"))?;
        require(rows > 0, "a bucket has no rows")?;
        runs.push(Run { bucket, rows });
    }
    require(rows_left == 0, "there are fewer times than rows")?;
    reader.end()?;
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn buckets_come_back(mut buckets in vec(-50i64..500_000, 0..80), repeats in 1usize..4) {
            buckets.sort_unstable();
            let buckets: Vec<i64> = buckets.into_iter().flat_map(|bucket| vec![bucket; repeats]).collect();
            let runs = read(&write(&buckets), buckets.len(), 60_000_000).expect("own bytes");
            let again: Vec<i64> = runs.into_iter().flat_map(|run| vec![run.bucket; run.rows]).collect();
            prop_assert_eq!(again, buckets);
        }

        #[test]
        fn foreign_bytes_do_not_panic(mut bytes in vec(any::<u8>(), 0..40), total in 0usize..50) {
            if let Some(version) = bytes.first_mut() { *version = 1; }
            let _ = read(&bytes, total, 86_400_000_000);
        }
    }
}
