//! OTLP's JSON (opentelemetry-proto 1.x, "JSON Protobuf Encoding"): ids are hexadecimal, 64-bit integers are texts, enums are numbers.

use std::time::Duration;

use serde_json::{Value, json};
use tidewater_engine::CacheUse;
use tidewater_model::time::Timestamp;

use crate::metrics::{Families, Family, HttpMetrics, Kind, Labels, Sampled, start_time_seconds};
use crate::observe::{Event, QuestionEvent, RequestEvent, TraceContext, random_id};

/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u8 = 1;
/// `SPAN_KIND_SERVER`.
const SERVER: u8 = 2;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;
/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;

/// A span per request, and one per question within it with its stages.
pub fn traces(events: &[Event], http: &HttpMetrics) -> Value {
    let mut spans = Vec::with_capacity(events.len());
    for event in events {
        match event {
            Event::Request(event) => spans.push(request(event, http)),
            Event::Question(event) => question(event, &mut spans),
            Event::Rows(_) => {}
        }
    }
    json!({"resourceSpans": [{"resource": resource(), "scopeSpans": [{"scope": scope(), "spans": spans}]}]})
}

/// Every metric as it is.
pub fn metrics(families: &Families, now: Timestamp) -> Value {
    let times = json!({
        "startTimeUnixNano": format!("{}", (start_time_seconds() * 1e6) as i64 * 1_000),
        "timeUnixNano": nanos(now.0),
    });
    let metrics: Vec<Value> = families
        .iter()
        .filter(|family| !family.samples.is_empty())
        .map(|family| metric(family, &times))
        .collect();
    json!({"resourceMetrics": [{"resource": resource(), "scopeMetrics": [{"scope": scope(), "metrics": metrics}]}]})
}

fn resource() -> Value {
    json!({"attributes": [text("service.name", "tidewater"), text("service.version", env!("CARGO_PKG_VERSION"))]})
}

fn scope() -> Value {
    json!({"name": "tidewater", "version": env!("CARGO_PKG_VERSION")})
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn number(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

fn nanos(us: i64) -> String {
    us.saturating_mul(1_000).to_string()
}

/// A span without attributes. `times` are its start and end in micro-seconds since the epoch.
fn span(trace: &TraceContext, (id, parent): (u64, Option<u64>), name: &str, times: (i64, i64)) -> Value {
    let parent = parent.map_or_else(String::new, |parent| format!("{parent:016x}"));
    json!({
        "traceId": trace.id(),
        "spanId": format!("{id:016x}"),
        "parentSpanId": parent,
        "name": name,
        "kind": INTERNAL,
        "startTimeUnixNano": nanos(times.0),
        "endTimeUnixNano": nanos(times.1),
    })
}

fn request(event: &RequestEvent, http: &HttpMetrics) -> Value {
    let (trace, route) = (event.id.trace(), http.route_name(event.route));
    let times = (event.at.0 - event.elapsed_us as i64, event.at.0);
    let mut span = span(trace, (trace.span_id, trace.parent_id), &format!("{} {route}", event.method), times);
    let mut attributes = vec![
        text("http.request.method", event.method),
        text("http.route", route),
        number("http.response.status_code", event.status.into()),
        text("tidewater.request_id", event.id.as_str()),
    ];
    attributes.extend(event.id.project().map(|project| text("tidewater.project", project.as_str())));
    attributes.extend(event.received_bytes.map(|bytes| number("http.request.body.size", bytes)));
    attributes.extend(event.sent_bytes.map(|bytes| number("http.response.body.size", bytes)));
    span["kind"] = Value::from(SERVER);
    span["attributes"] = Value::from(attributes);
    if event.status >= 500 {
        span["status"] = json!({"code": ERROR});
    }
    span
}

/// The question's span, then those of its stages, one after the other as they ran.
fn question(event: &QuestionEvent, spans: &mut Vec<Value>) {
    let trace = event.id.trace();
    let own_id = random_id();
    let begin = event.at.0 - event.elapsed_us as i64;
    let mut own = span(trace, (own_id, Some(trace.span_id)), "question", (begin, event.at.0));
    let mut attributes = Vec::new();
    if let Some(about) = &event.about {
        attributes.push(text("tidewater.project", about.project.as_str()));
        attributes.push(text("tidewater.dataset", &about.dataset));
        attributes.push(text("tidewater.shape", &about.shape));
    }
    attributes.extend(event.cache.map(|cache| text("tidewater.cache", CacheUse::name(cache))));
    if let Some((status, code)) = event.problem {
        attributes.push(text("error.type", code));
        if status >= 500 {
            own["status"] = json!({"code": ERROR, "message": code});
        }
    }
    if let Some(facts) = &event.facts {
        attributes.push(text("tidewater.source", &facts.source));
        attributes.push(number("tidewater.rows_scanned", facts.rows_scanned));
        attributes.push(number("tidewater.bytes_scanned", facts.bytes_scanned));
    }
    own["attributes"] = Value::from(attributes);
    spans.push(own);
    let Some(facts) = &event.facts else { return };
    let explain = &facts.explain;
    let stages: [(&str, Duration); 5] = [
        ("wait", facts.waited),
        ("plan", explain.plan_time),
        ("scan", explain.scan_time),
        ("merge", explain.merge_time),
        ("finish", explain.finish_time),
    ];
    let mut from = begin;
    for (name, duration) in stages {
        let to = from + duration.as_micros() as i64;
        spans.push(span(trace, (random_id(), Some(own_id)), name, (from, to)));
        from = to;
    }
}

fn metric(family: &Family, times: &Value) -> Value {
    let points: Vec<Value> =
        family.samples.iter().map(|(labels, value)| point(labels, value, times)).collect();
    let data = match family.kind {
        Kind::Counter => {
            ("sum", json!({"aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": points}))
        }
        Kind::Gauge => ("gauge", json!({"dataPoints": points})),
        Kind::Histogram => ("histogram", json!({"aggregationTemporality": CUMULATIVE, "dataPoints": points})),
    };
    let mut metric = json!({"name": family.name, "description": family.help});
    metric[data.0] = data.1;
    metric
}

fn point(labels: &Labels, value: &Sampled, times: &Value) -> Value {
    let mut point = times.clone();
    point["attributes"] = labels.iter().map(|(name, value)| text(name, value)).collect();
    match value {
        Sampled::Number(number) => point["asDouble"] = Value::from(*number),
        Sampled::Histogram { bounds, counts, sum } => {
            point["count"] = Value::from(counts.iter().sum::<u64>().to_string());
            point["sum"] = Value::from(*sum);
            point["bucketCounts"] = counts.iter().map(u64::to_string).collect();
            point["explicitBounds"] = Value::from(bounds.clone());
        }
    }
    point
}
