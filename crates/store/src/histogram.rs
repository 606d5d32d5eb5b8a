//! A histogram that many threads count into without a lock, in the form Prometheus knows: how many values lie below each of a few
//! fixed bounds, and their sum.
//!
//! Not here: percentiles with an error bound (`model::state::Quantiles`), how a histogram is shown.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of durations in micro-seconds: from an answer in memory to the default timeout, dense where targets are usually set.
pub const DURATION_BOUNDS_US: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    2_000_000, 5_000_000, 10_000_000, 30_000_000,
];
/// Upper bounds of sizes in bytes: powers of four from one event to the largest body.
pub const SIZE_BOUNDS_BYTES: [u64; 9] =
    [1 << 8, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24];

/// Counts of whole numbers by bucket.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One more than there are bounds: the last has none.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// What a histogram has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramCounts {
    /// Upper bounds, ascending, each within its bucket.
    pub bounds: &'static [u64],
    /// Values per bucket, not cumulative; the last bucket has no bound.
    pub counts: Vec<u64>,
    /// All values together.
    pub sum: u64,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, buckets, sum: AtomicU64::new(0) }
    }

    /// Of durations, in micro-seconds.
    pub fn of_durations() -> Self {
        Histogram::new(&DURATION_BOUNDS_US)
    }

    /// Of sizes, in bytes.
    pub fn of_sizes() -> Self {
        Histogram::new(&SIZE_BOUNDS_BYTES)
    }

    /// Counts one value.
    pub fn add(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts one duration, in micro-seconds.
    pub fn add_duration(&self, duration: Duration) {
        self.add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// A copy. Values that are counted meanwhile may be in a bucket and not yet in the sum.
    pub fn read(&self) -> HistogramCounts {
        HistogramCounts {
            bounds: self.bounds,
            counts: self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect(),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

impl HistogramCounts {
    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// With what another histogram of the same bounds has counted.
    pub fn merged(mut self, other: HistogramCounts) -> Self {
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, other)| *own += other);
        self.sum += other.sum;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_is_within_it() {
        let histogram = Histogram::of_durations();
        for us in [0, 100, 101, 30_000_000, 30_000_001] {
            histogram.add_duration(Duration::from_micros(us));
        }
        let counts = histogram.read();
        assert_eq!((counts.counts[0], counts.counts[1]), (2, 1));
        assert_eq!(counts.counts[counts.bounds.len() - 1..], [1, 1]);
        assert_eq!((counts.count(), counts.sum), (5, 60_000_202));
        let twice = counts.clone().merged(counts);
        assert_eq!((twice.counts[0], twice.count(), twice.sum), (4, 10, 120_000_404));
    }
}
