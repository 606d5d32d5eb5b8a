//! Latency figures: exact percentiles of a run, and the disk's own fdatasync to hold them against.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;

/// Nearest-rank percentiles in milliseconds.
pub struct Percentiles {
    p50_ms: f64,
    p90_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
}

impl Percentiles {
    /// Of at least one sample; all samples are kept and sorted, nothing is estimated.
    pub fn of(mut samples: Vec<Duration>) -> anyhow::Result<Percentiles> {
        ensure!(!samples.is_empty(), "no request was answered, so there is no latency");
        samples.sort_unstable();
        let at = |share: f64| {
            let rank = (share * samples.len() as f64).ceil() as usize;
            samples[rank.clamp(1, samples.len()) - 1].as_secs_f64() * 1e3
        };
        Ok(Percentiles {
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: at(1.0),
        })
    }

    pub fn to_json(&self) -> serde_json::Value {
        json!({
            "p50_ms": self.p50_ms, "p90_ms": self.p90_ms, "p95_ms": self.p95_ms, "p99_ms": self.p99_ms,
            "p999_ms": self.p999_ms, "max_ms": self.max_ms,
        })
    }
}

const SYNC_BYTES: usize = 4096;
const SYNC_COUNT: usize = 200;

/// How long an append of 4 KiB and its fdatasync take on the file system of `folder`.
pub fn fdatasync(folder: &Path) -> anyhow::Result<Percentiles> {
    let path = folder.join(".tidewater-bench-fdatasync");
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let block = [0x5a; SYNC_BYTES];
    let samples = (0..SYNC_COUNT)
        .map(|_| {
            let started = Instant::now();
            file.write_all(&block)?;
            file.sync_data()?;
            Ok(started.elapsed())
        })
        .collect::<std::io::Result<Vec<_>>>();
    drop(file);
    std::fs::remove_file(&path)?;
    Percentiles::of(samples?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let millis = |n: u64| (1..=n).rev().map(Duration::from_millis).collect::<Vec<_>>();
        let hundred = Percentiles::of(millis(100)).expect("there are samples");
        assert_eq!((hundred.p50_ms, hundred.p99_ms, hundred.p999_ms), (50.0, 99.0, 100.0));
        let one = Percentiles::of(millis(1)).expect("there is a sample");
        assert_eq!((one.p50_ms, one.max_ms), (1.0, 1.0));
        assert!(Percentiles::of(Vec::new()).is_err());
    }
}
