//! `/metrics`: what it counts, that Prometheus reads it, that the documentation lists it, and who may fetch it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::server::Server;

/// A server that has done some of everything.
fn busy_server() -> Server {
    let server = Server::start();
    let definition = json!({"time": "ts", "columns": {"channel": "string", "added": "int"},
        "metrics": {"edits": {"agg": "count"}}});
    server.put("/api/v1/datasets/edits", &definition).expect(201);
    let rows: Vec<_> = (0..50)
        .map(|n| json!({"ts": 1_767_225_600 + n, "channel": format!("c{}", n % 5), "added": n}))
        .collect();
    server.ingest("edits", &json!(rows));
    server.post("/api/v1/ingest/edits", &json!([{"added": "x"}])).expect(400);
    let question =
        json!({"dataset": "edits", "metrics": ["edits"], "dimensions": ["channel"], "date_range": "all"});
    for _ in 0..3 {
        server.query(&question);
    }
    server.post("/api/v1/query", &json!({"dataset": "edits", "metrics": ["edit"]})).expect(400);
    server.get("/nowhere").expect(404);
    server
}

fn text(server: &Server) -> String {
    server.get("/metrics").expect(200).text()
}

#[test]
fn requests_questions_and_rows_are_counted() {
    let server = busy_server();
    let at_least = |name: &str, least: f64| {
        let value = server.metric(name);
        assert!(value.is_some_and(|value| value >= least), "{name}: {value:?} in\n{}", text(&server));
    };
    for (name, expected) in [
        ("http_requests_total{route=\"/api/v1/query\",method=\"POST\",status=\"200\"}", 3.0),
        ("http_requests_total{route=\"/api/v1/query\",method=\"POST\",status=\"400\"}", 1.0),
        ("http_requests_total{route=\"/api/v1/ingest/{dataset}\",method=\"POST\",status=\"200\"}", 1.0),
        ("http_requests_total{route=\"none\",method=\"GET\",status=\"404\"}", 1.0),
        ("http_request_duration_seconds_count{route=\"/api/v1/query\"}", 4.0),
        ("http_response_size_bytes_count{route=\"/api/v1/query\"}", 4.0),
        ("tidewater_queries_total{cache=\"hit\"}", 2.0),
        ("tidewater_queries_total{cache=\"miss\"}", 1.0),
        ("tidewater_query_failures_total", 1.0),
        ("tidewater_query_duration_seconds_count", 4.0),
        ("tidewater_rows_scanned_total", 50.0),
        ("tidewater_query_stage_seconds_count{stage=\"scan\"}", 1.0),
        ("tidewater_ingest_duration_seconds_count", 2.0),
        ("tidewater_ingest_stage_seconds_count{stage=\"read\"}", 2.0),
        ("tidewater_ingest_stage_seconds_count{stage=\"queue\"}", 1.0),
        ("tidewater_ingest_stage_seconds_count{stage=\"sync\"}", 1.0),
        ("tidewater_ingest_rows_accepted_total", 50.0),
        ("tidewater_ingest_rows_rejected_total{reason=\"invalid_type\"}", 1.0),
        ("tidewater_queue_limit{queue=\"questions_waiting\"}", 256.0),
        ("tidewater_queue_used{queue=\"questions_running\"}", 0.0),
        // The request that reads it is the only one under way.
        ("http_requests_in_flight", 1.0),
        ("tidewater_http_requests_abandoned_total", 0.0),
    ] {
        assert_eq!(server.metric(name), Some(expected), "{name} in\n{}", text(&server));
    }
    // The server's own records change a store's state between two questions; then the kept answer is written once more.
    let rendered = server.metric("tidewater_query_stage_seconds_count{stage=\"render\"}");
    assert!(rendered.is_some_and(|times| (1.0..=3.0).contains(&times)), "{rendered:?}");
    at_least("http_request_size_bytes_sum{route=\"/api/v1/ingest/{dataset}\"}", 500.0);
    at_least("http_response_size_bytes_sum{route=\"/api/v1/query\"}", 500.0);
    at_least("tidewater_bytes_scanned_total", 1.0);
    at_least("tidewater_disk_size_bytes", 1.0);
    at_least("process_resident_memory_bytes", f64::from(1 << 20));
    at_least("process_cpu_seconds_total", 0.0);
    at_least("process_open_fds", 3.0);
    at_least("process_start_time_seconds", 1.6e9);
}

#[test]
fn bodies_are_counted_as_they_cross_the_wire() {
    let server = busy_server();
    // Compressed: its length is not known before its end.
    let reply = server.request("GET", "/api/v1/openapi.json").header("accept-encoding", "gzip").send();
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    let sum = "http_response_size_bytes_sum{route=\"/api/v1/openapi.json\"}";
    let plain = server.get("/api/v1/openapi.json").expect(200).body.len() as f64;
    server.wait_until("both bodies are counted", || server.metric("http_requests_in_flight") == Some(1.0));
    let sent = server.metric(sum).expect("counted");
    assert!(sent > plain && sent < plain * 1.7, "{sent} of {plain} plain bytes");
}

#[test]
fn prometheus_reads_it_without_complaint() {
    let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        assert!(std::env::var_os("TIDEWATER_REQUIRE_SERVICES").is_none(), "promtool is not installed");
        eprintln!("skipped: promtool is not installed");
        return;
    };
    let text = text(&busy_server());
    promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("promtool reads");
    let outcome = promtool.wait_with_output().expect("promtool ends");
    let said = [outcome.stdout, outcome.stderr].concat();
    assert!(outcome.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_documentation_lists_every_metric() {
    let documentation = include_str!("../../../../docs/metrics.md");
    let text = text(&busy_server());
    let mut kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let missing: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '))
        .map(|(name, help)| {
            let kind = kinds.find(|(of, _)| *of == name).expect("every HELP has its TYPE").1;
            format!("| `{name}` | {kind} | {help} |")
        })
        .filter(|row| !documentation.lines().any(|line| line == row))
        .collect();
    assert!(missing.is_empty(), "docs/metrics.md should hold:\n{}", missing.join("\n"));
}

#[test]
fn metrics_have_their_own_credential() {
    let closed = Server::start_with(&[("TIDEWATER_SERVER__METRICS_PUBLIC", "false")]);
    closed.request("GET", "/metrics").key(None).send().problem(401, "missing_credentials");
    closed.get("/metrics").expect(200);
    let with_token = Server::start_with(&[("TIDEWATER_METRICS__TOKEN", "for-prometheus")]);
    with_token.request("GET", "/metrics").key(None).send().problem(401, "missing_credentials");
    for wrong in ["for-prometheu", "for-prometheus2", "for-promethevs"] {
        with_token.request("GET", "/metrics").key(Some(wrong)).send().problem(401, "invalid_credentials");
    }
    with_token.request("GET", "/metrics").key(Some("for-prometheus")).send().expect(200);
    with_token.get("/metrics").expect(200);
    // It opens nothing else.
    with_token
        .request("GET", "/api/v1/status")
        .key(Some("for-prometheus"))
        .send()
        .problem(401, "invalid_credentials");
    let off = Server::start_with(&[("TIDEWATER_METRICS__ENABLED", "false")]);
    off.get("/metrics").problem(404, "not_found");
}

#[test]
fn every_reply_names_its_trace() {
    let server = Server::start();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let reply = server.request("GET", "/health/live").header("traceparent", &parent).send();
    let sent = reply.header("traceparent").expect("a trace");
    assert!(sent.starts_with(&format!("00-{trace}-")) && sent.ends_with("-01") && sent != parent, "{sent}");
    let refused = server.request("GET", "/nowhere").header("traceparent", "nonsense").send();
    let sent = refused.header("traceparent").expect("a trace of its own");
    assert!(sent.len() == 55 && sent.starts_with("00-") && sent.ends_with("-00"), "{sent}");
}
