//! One event as a row of the dataset.

use std::time::Duration;

use serde_json::{Value, json};
use tidewater_engine::{CacheUse, is_own_dataset, is_own_project};

use crate::metrics::HttpMetrics;
use crate::observe::{Event, QuestionEvent, RequestEvent, RequestId, RowsEvent};

/// Paths that monitoring asks all day: a quiet server would fill its disk with them.
const UNRECORDED: [&str; 4] = ["/metrics", "/health/live", "/health/ready", "/api/v1/openapi.json"];

/// Whether an event becomes a row. Looking at the records makes none.
pub fn is_recorded(event: &Event, http: &HttpMetrics) -> bool {
    let is_about_records =
        |id: &RequestId| id.project().is_some_and(|project| is_own_project(project.as_str()));
    match event {
        Event::Request(event) => {
            !UNRECORDED.contains(&http.route_name(event.route)) && !is_about_records(&event.id)
        }
        Event::Question(event) => {
            !is_about_records(&event.id)
                && !event.about.as_ref().is_some_and(|about| is_own_dataset(&about.dataset))
        }
        Event::Rows(event) => event.status != 404,
    }
}

/// The row. `weight` is how many events it stands for.
pub fn of(event: &Event, http: &HttpMetrics, weight: f64) -> Value {
    let mut row = match event {
        Event::Request(event) => request(event, http),
        Event::Question(event) => question(event),
        Event::Rows(event) => rows(event),
    };
    row["weight"] = Value::from(weight);
    row
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

fn named(id: &RequestId, mut row: Value) -> Value {
    row["request_id"] = Value::from(id.as_str());
    row["trace_id"] = Value::from(id.trace().id());
    row["subject"] = id.subject().map_or(Value::Null, Value::from);
    row
}

fn request(event: &RequestEvent, http: &HttpMetrics) -> Value {
    let row = json!({
        "at": event.at.to_string(),
        "kind": "request",
        "route": http.route_name(event.route),
        "method": event.method,
        "status": event.status,
        "project": event.id.project().map(|project| project.as_str()),
        "elapsed_ms": ms(event.elapsed_us),
        "received_bytes": event.received_bytes,
        "sent_bytes": event.sent_bytes,
    });
    named(&event.id, row)
}

fn question(event: &QuestionEvent) -> Value {
    let about = event.about.as_ref();
    let mut row = json!({
        "at": event.at.to_string(),
        "kind": "query",
        "status": event.problem.map_or(200, |(status, _)| status),
        "code": event.problem.map(|(_, code)| code),
        "project": about.map(|about| about.project.as_str()),
        "dataset": about.map(|about| &*about.dataset),
        "shape": about.map(|about| &*about.shape),
        "cache": event.cache.map(CacheUse::name),
        "slow": event.is_slow,
        "elapsed_ms": ms(event.elapsed_us),
    });
    if let Some(facts) = &event.facts {
        let stage = |duration: Duration| Value::from(ms(duration.as_micros() as u64));
        row["source"] = Value::from(facts.source.as_str());
        row["rows_scanned"] = Value::from(facts.rows_scanned);
        row["bytes_scanned"] = Value::from(facts.bytes_scanned);
        row["wait_ms"] = stage(facts.waited);
        row["plan_ms"] = stage(facts.explain.plan_time);
        row["scan_ms"] = stage(facts.explain.scan_time);
        row["merge_ms"] = stage(facts.explain.merge_time);
        row["finish_ms"] = stage(facts.explain.finish_time);
    }
    named(&event.id, row)
}

fn rows(event: &RowsEvent) -> Value {
    let row = json!({
        "at": event.at.to_string(),
        "kind": "ingest",
        "status": event.status,
        "project": event.project.as_str(),
        "dataset": &*event.dataset,
        "elapsed_ms": ms(event.elapsed_us),
        "rows_accepted": event.rows.accepted,
        "rows_rejected": event.rows.rejected,
    });
    named(&event.id, row)
}
