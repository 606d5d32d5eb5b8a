//! The server's records of its own work: a row per request, question and ingest request in the dataset `_tidewater` of the project
//! `_system`, so that the performance pages have a history that can be asked like any other data.
//!
//! Rows are written a batch at a time through the ordinary way of rows, never by a request. At most a configured number a second is
//! stored; past it a random sample is, and each row's `weight` says how many it stands for. Not here: sums since the start
//! (`performance`), events (`observe`).

mod row;
mod sample;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tidewater_decode::{Encoding, Format, Unknown};
use tidewater_engine::{Engine, EngineResult, IngestRequest, OWN_DATASET, OWN_PROJECT, Origin};
use tidewater_model::names::ProjectName;
use tidewater_model::schema::DatasetDefinition;

use crate::config::ObserveConfig;
use crate::metrics::HttpMetrics;
use crate::observe::Event;

use sample::Sample;

/// See the module.
#[derive(Debug)]
pub struct Records {
    is_on: bool,
    interval: Duration,
    retention_days: u32,
    pending: Mutex<Pending>,
    /// The dataset is there.
    is_defined: AtomicBool,
    lost: AtomicU64,
}

/// Events that wait to be written.
#[derive(Debug)]
struct Pending {
    /// When the first of them came.
    since: Option<Instant>,
    sample: Sample,
}

impl Records {
    /// None yet.
    pub fn new(config: &ObserveConfig) -> Self {
        let interval = Duration::from_millis(config.records_interval_ms.max(1));
        let rows_max = (config.records_per_second_max as f64 * interval.as_secs_f64()).ceil() as usize;
        let is_on = config.records && rows_max > 0;
        let pending = Mutex::new(Pending { since: None, sample: Sample::new(rows_max) });
        Records {
            is_on,
            interval,
            retention_days: config.records_retention_days,
            pending,
            is_defined: AtomicBool::new(false),
            lost: AtomicU64::new(0),
        }
    }

    /// Takes those events that are to be recorded.
    pub fn add<'a>(&self, events: impl Iterator<Item = &'a Event>, http: &HttpMetrics) {
        if !self.is_on {
            return;
        }
        let mut pending = self.lock();
        for event in events.filter(|event| row::is_recorded(event, http)) {
            pending.since.get_or_insert_with(Instant::now);
            pending.sample.add(event);
        }
    }

    /// When the next batch is to be written; `None` while there is nothing.
    pub fn due(&self) -> Option<Instant> {
        self.lock().since.map(|since| since + self.interval)
    }

    /// Writes all that waits. What cannot be stored is counted and given up: the server's own records must not pile up where rows of
    /// users already find no room.
    pub async fn write(&self, engine: &Engine, http: &HttpMetrics) {
        let sample = {
            let mut pending = self.lock();
            pending.since = None;
            pending.sample.take()
        };
        // Written without the lock, which requests take now and then.
        let rows = sample.len() as u64;
        let mut body = Vec::new();
        for (event, weight) in sample {
            body.extend_from_slice(row::of(&event, http, weight).to_string().as_bytes());
            body.push(b'\n');
        }
        if rows == 0 {
            return;
        }
        if let Err(error) = self.store(engine, body).await {
            self.lost.fetch_add(rows, Ordering::Relaxed);
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, rows, "records of the server's own work are lost");
        }
    }

    async fn store(&self, engine: &Engine, body: Vec<u8>) -> EngineResult<()> {
        if !self.is_defined.load(Ordering::Relaxed) {
            engine.put_dataset(OWN_DATASET.to_owned(), definition(self.retention_days)).await?;
            self.is_defined.store(true, Ordering::Relaxed);
        }
        let request = IngestRequest {
            dataset: OWN_DATASET.to_owned(),
            project: ProjectName::new(OWN_PROJECT).expect("'_system' has the form of a project name"),
            format: Format::Ndjson,
            encoding: Encoding::Identity,
            permit: engine.admit(body.len() as u64)?,
            body: body.into(),
            unknown: Unknown::Ignore,
            token: None,
            origin: Origin::Server,
        };
        engine.ingest(request).await.map(|_| ())
    }

    /// Rows that were not stored because of an error.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the dataset holds. Rows that stand for several count as so many in every metric but percentiles.
fn definition(retention_days: u32) -> DatasetDefinition {
    let weight = |filters: serde_json::Value| json!({"agg": "sum", "column": "weight", "filters": filters});
    let definition = json!({
        "time": "at",
        "sort": ["kind", "route"],
        "columns": {
            "kind": "string", "route": "string", "method": "string", "status": "int", "code": "string",
            "project": "string", "dataset": "string", "shape": "string", "cache": "string", "source": "string",
            "subject": "string", "request_id": "string", "trace_id": "string", "slow": "bool",
            "elapsed_ms": "float", "wait_ms": "float", "plan_ms": "float", "scan_ms": "float",
            "merge_ms": "float", "finish_ms": "float", "rows_scanned": "int", "bytes_scanned": "int",
            "rows_accepted": "int", "rows_rejected": "int", "received_bytes": "int", "sent_bytes": "int",
            "weight": "float",
        },
        "metrics": {
            "count": weight(json!([])),
            "slow": weight(json!([["is", "slow", [true]]])),
            "failed": weight(json!([["gte", "status", 500]])),
            "refused": weight(json!([["gte", "status", 400], ["lt", "status", 500]])),
            "cached": weight(json!([["is", "cache", ["hit"]]])),
            "p50_ms": {"agg": "p50", "column": "elapsed_ms"},
            "p95_ms": {"agg": "p95", "column": "elapsed_ms"},
            "p99_ms": {"agg": "p99", "column": "elapsed_ms"},
            "max_ms": {"agg": "max", "column": "elapsed_ms"},
            "rows_scanned": {"agg": "sum", "column": "rows_scanned"},
            "rows_accepted": {"agg": "sum", "column": "rows_accepted"},
        },
        "rollups": [
            {"name": "routes", "dimensions": ["kind", "route", "method", "status"], "tiers": ["5m", "1h", "1d"]},
            {"name": "questions", "dimensions": ["kind", "project", "dataset", "shape"], "tiers": ["1h", "1d"]},
        ],
        "retention": {"raw": format!("{retention_days}d"), "5m": "30d", "1h": "90d", "1d": "1095d"},
    });
    DatasetDefinition::from_json(definition.to_string().as_bytes()).expect("the definition above reads")
}

#[cfg(test)]
mod tests {
    use tidewater_model::schema::Dataset;

    use super::*;

    #[test]
    fn the_dataset_compiles() {
        let dataset = Dataset::compile(OWN_DATASET, definition(7)).expect("a dataset");
        assert_eq!(dataset.rollups.len(), 2);
    }
}
