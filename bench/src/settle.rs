//! Waits until the server has nothing left to do, by its own metrics. Sends no load.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::Target;
use crate::http::Connection;

/// How far the store has come with what it acknowledged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    /// No row is in memory only: everything stands in segments.
    Sealed,
    /// Sealed, and no compaction waits or runs.
    Settled,
    /// Settled, and every day has come to rest as one segment, which takes the store's `settle_after_ms` at least.
    AtRest,
}

/// Below what a person would notice, above what would load the server.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Twenty million rows settle in minutes; longer is a hang.
const WAIT_MAX: Duration = Duration::from_secs(1_800);

/// Returns once `stage` is reached.
pub fn wait(target: &Target, stage: Stage) -> anyhow::Result<()> {
    let mut connection = Connection::open(target)?;
    let started = Instant::now();
    loop {
        let response = connection.get("/metrics")?;
        ensure!(response.status == 200, "GET /metrics: {}", response.describe());
        let text = String::from_utf8_lossy(&response.body);
        if reached(&text, stage)? {
            return Ok(());
        }
        ensure!(started.elapsed() < WAIT_MAX, "the store was not {stage:?} after {WAIT_MAX:?}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn reached(metrics: &str, stage: Stage) -> anyhow::Result<bool> {
    let is_zero = |name| gauge(metrics, name).map(|value| value == 0.0);
    let sealed = is_zero("tidewater_memtable_rows").context("/metrics has no tidewater_memtable_rows")?;
    if stage == Stage::Sealed {
        return Ok(sealed);
    }
    let idle =
        is_zero("tidewater_compaction_pending").context("/metrics has no tidewater_compaction_pending")?;
    let at_rest =
        is_zero("tidewater_settling_pending").context("/metrics has no tidewater_settling_pending")?;
    Ok(sealed && idle && (at_rest || stage == Stage::Settled))
}

/// The sum of a gauge over its label sets; `None` where it does not occur.
fn gauge(metrics: &str, name: &str) -> Option<f64> {
    let samples = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
    });
    samples.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_follow_the_gauges() {
        let text = "# TYPE tidewater_memtable_rows gauge\ntidewater_memtable_rows 0\n\
                    tidewater_memtable_rows_max 9\ntidewater_compaction_pending{dataset=\"a b\"} 0\n\
                    tidewater_compaction_pending{dataset=\"c\"} 2\ntidewater_settling_pending 0\n";
        assert!(reached(text, Stage::Sealed).expect("the gauge is there"));
        assert!(!reached(text, Stage::Settled).expect("the gauge is there"));
        let idle = |days: u8| {
            format!(
                "tidewater_memtable_rows 0\ntidewater_compaction_pending 0\ntidewater_settling_pending {days}\n"
            )
        };
        assert!(reached(&idle(0), Stage::AtRest).expect("the gauges are there"));
        assert!(!reached(&idle(3), Stage::AtRest).expect("the gauges are there"));
        assert!(reached(&idle(3), Stage::Settled).expect("the gauges are there"));
        assert!(reached("", Stage::Sealed).is_err());
    }
}
