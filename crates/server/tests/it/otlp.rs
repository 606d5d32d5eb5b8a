//! Export of traces and metrics: a collector in the test takes what the server sends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::server::Server;

/// What a collector got: path, credential, body.
type Exports = Arc<Mutex<Vec<(String, String, Value)>>>;

/// A collector that answers every export with a status; it lives as long as the test's process.
fn collector(status: u16) -> (String, Exports) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let exports = Exports::default();
    let kept = Arc::clone(&exports);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Some(export) = read(stream, status) {
                kept.lock().expect("no test panics with it").push(export);
            }
        }
    });
    (address, exports)
}

fn read(stream: TcpStream, status: u16) -> Option<(String, String, Value)> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length, mut credential) = (String::new(), 0, String::new());
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "x-token" => credential = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let reply = format!("HTTP/1.1 {status} Reply\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
    reader.get_mut().write_all(reply.as_bytes()).ok()?;
    Some((path, credential, serde_json::from_slice(&body).ok()?))
}

/// Spans so far.
fn spans(exports: &Exports) -> Vec<Value> {
    let exports = exports.lock().expect("no test panics with it");
    let traces = exports.iter().filter(|(path, ..)| path == "/v1/traces");
    traces
        .flat_map(|(.., body)| body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().cloned())
        .flatten()
        .collect()
}

fn exporting_server(endpoint: &str, ratio: &str) -> Server {
    let server = Server::start_with(&[
        ("TIDEWATER_OTLP__ENDPOINT", endpoint),
        ("TIDEWATER_OTLP__INTERVAL_MS", "100"),
        ("TIDEWATER_OTLP__HEADERS", "x-token=for-the-collector"),
        ("TIDEWATER_OTLP__SAMPLE_RATIO", ratio),
    ]);
    server.put("/api/v1/datasets/d", &json!({"time": "ts", "metrics": {"n": {"agg": "count"}}})).expect(201);
    server
}

#[test]
fn a_callers_trace_goes_on_into_stages() {
    let (endpoint, exports) = collector(200);
    let server = exporting_server(&endpoint, "0");
    let question = json!({"dataset": "d", "metrics": ["n"]});
    server.query(&question);
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let traceparent = format!("00-{trace}-{parent}-01");
    let question = json!({"dataset": "d", "metrics": ["n"], "max_staleness_ms": 0});
    let request = server.request("POST", "/api/v1/query").header("traceparent", &traceparent);
    request.json(&question).send().expect(200);
    server.wait_until("seven spans arrive", || spans(&exports).len() >= 7);
    let spans = spans(&exports);
    // Nothing of traces that nobody records.
    assert!(spans.len() == 7 && spans.iter().all(|span| span["traceId"] == trace), "{spans:?}");
    let named = |name: &str| spans.iter().find(|span| span["name"] == name).expect("a span of that name");
    let request = named("POST /api/v1/query");
    assert_eq!((&request["parentSpanId"], &request["kind"]), (&json!(parent), &json!(2)));
    let question = named("question");
    assert_eq!(question["parentSpanId"], request["spanId"]);
    for stage in ["wait", "plan", "scan", "merge", "finish"] {
        assert_eq!(named(stage)["parentSpanId"], question["spanId"], "{stage}");
    }
    let nanos =
        |span: &Value, at: &str| span[at].as_str().and_then(|text| text.parse::<u64>().ok()).expect("a time");
    assert!(nanos(request, "startTimeUnixNano") <= nanos(question, "startTimeUnixNano"));
    let route = json!({"key": "http.route", "value": {"stringValue": "/api/v1/query"}});
    assert!(request["attributes"].as_array().is_some_and(|all| all.contains(&route)), "{request}");
    let exports = exports.lock().expect("no test panics with it");
    assert!(exports.iter().all(|(_, credential, _)| credential == "for-the-collector"));
}

#[test]
fn metrics_are_exported_as_they_are() {
    let (endpoint, exports) = collector(200);
    let server = exporting_server(&endpoint, "1");
    server.query(&json!({"dataset": "d", "metrics": ["n"]}));
    let metric = |name: &str| -> Option<Value> {
        let exports = exports.lock().expect("no test panics with it");
        let (.., body) = exports.iter().rev().find(|(path, ..)| path == "/v1/metrics")?;
        let metrics = body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array()?;
        metrics.iter().find(|metric| metric["name"] == name).cloned()
    };
    let count = || {
        metric("tidewater_query_duration_seconds")?["histogram"]["dataPoints"][0]["count"]
            .as_str()
            .map(str::to_owned)
    };
    server.wait_until("the question is counted", || count().as_deref() == Some("1"));
    let histogram = metric("tidewater_query_duration_seconds").expect("a histogram");
    let point = &histogram["histogram"]["dataPoints"][0];
    let lengths =
        [&point["bucketCounts"], &point["explicitBounds"]].map(|list| list.as_array().map(Vec::len));
    assert_eq!(lengths, [Some(18), Some(17)], "{point}");
    let sum = metric("http_requests_total").expect("a sum");
    assert_eq!(
        (&sum["sum"]["isMonotonic"], &sum["sum"]["aggregationTemporality"]),
        (&json!(true), &json!(2))
    );
    assert!(metric("tidewater_memtable_rows").is_some_and(|gauge| gauge["gauge"].is_object()));
    server.wait_until("spans of the server's own traces arrive", || !spans(&exports).is_empty());
}

#[test]
fn a_collector_that_refuses_is_counted_and_logged_once() {
    let (endpoint, exports) = collector(503);
    let server = exporting_server(&endpoint, "1");
    server.wait_until("some exports are refused", || exports.lock().expect("no test panics").len() > 4);
    let failed = || server.metric("tidewater_observations_dropped_total{kind=\"exports\"}");
    server.wait_until("failures are counted", || failed() > Some(2.0));
    server.wait_until("spans are counted", || {
        server.metric("tidewater_observations_dropped_total{kind=\"spans\"}") > Some(0.0)
    });
    assert_eq!(server.log().matches("traces and metrics are not exported").count(), 1, "{}", server.log());
    server.get("/health/ready").expect(200);
    assert!(server.stop("TERM").success());
}
