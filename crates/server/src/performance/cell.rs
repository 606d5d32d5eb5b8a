//! Sums over many requests or questions: counts, and durations as a sketch whose percentiles are within 1 %.

use serde_json::{Value, json};
use tidewater_model::state::Quantiles;

/// See the module. Cells merge, so that any selection of them is one again.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    count: u64,
    slow: u64,
    failed: u64,
    refused: u64,
    sum_us: u64,
    times: Quantiles,
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As asked.
    Well,
    /// The caller was told what is wrong with the request.
    Refused,
    /// The server could not.
    Failed,
}

impl End {
    /// Of an answer's status.
    pub fn of(status: u16) -> Self {
        match status {
            0..400 => End::Well,
            400..500 => End::Refused,
            _ => End::Failed,
        }
    }
}

impl Cell {
    /// Counts one.
    pub fn add(&mut self, elapsed_us: u64, end: End, is_slow: bool) {
        self.count += 1;
        self.slow += u64::from(is_slow);
        self.failed += u64::from(end == End::Failed);
        self.refused += u64::from(end == End::Refused);
        self.sum_us = self.sum_us.saturating_add(elapsed_us);
        self.times.add(elapsed_us as f64);
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Cell) {
        self.count += other.count;
        self.slow += other.slow;
        self.failed += other.failed;
        self.refused += other.refused;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.times.merge(&other.times);
    }

    /// All of several.
    pub fn sum<'a>(cells: impl Iterator<Item = &'a Cell>) -> Cell {
        cells.fold(Cell::default(), |mut sum, cell| {
            sum.merge(cell);
            sum
        })
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All durations together, in micro-seconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// As the performance pages show it. Durations are in milli-seconds, null over nothing.
    pub fn show(&self) -> Value {
        let share = |part: u64| (self.count > 0).then(|| part as f64 / self.count as f64);
        let percentile = |permille| self.times.value(permille).map(milliseconds);
        json!({
            "count": self.count,
            "slow": self.slow,
            "slow_share": share(self.slow),
            "failed": self.failed,
            "failed_share": share(self.failed),
            "refused": self.refused,
            "average_ms": (self.count > 0).then(|| milliseconds(self.sum_us as f64 / self.count as f64)),
            "p50_ms": percentile(500),
            "p95_ms": percentile(950),
            "p99_ms": percentile(990),
            "max_ms": self.times.max().map(milliseconds),
        })
    }
}

/// Milli-seconds with three digits of micro-seconds.
fn milliseconds(us: f64) -> f64 {
    us.round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_cells_are_as_if_one_had_counted_all() {
        let (mut all, mut odd, mut even) = (Cell::default(), Cell::default(), Cell::default());
        for n in 1..=1_000_u64 {
            let end = End::of(if n % 100 == 0 { 503 } else { 200 });
            all.add(n * 100, end, n > 900);
            if n % 2 == 0 {
                even.add(n * 100, end, n > 900)
            } else {
                odd.add(n * 100, end, n > 900)
            };
        }
        let merged = Cell::sum([odd, even].iter());
        assert_eq!(merged.show(), all.show());
        let shown = all.show();
        assert_eq!((shown["count"].as_u64(), shown["slow_share"].as_f64()), (Some(1_000), Some(0.1)));
        assert_eq!((shown["failed"].as_u64(), shown["average_ms"].as_f64()), (Some(10), Some(50.05)));
        let p95 = shown["p95_ms"].as_f64().expect("a number");
        assert!((p95 - 95.0).abs() <= 0.95, "{p95}");
        assert_eq!(Cell::default().show()["p95_ms"], Value::Null);
    }
}
