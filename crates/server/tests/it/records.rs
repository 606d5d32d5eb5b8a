//! The server's records of its own work: they are rows like any other for who operates it, and nobody else sees or touches them.

use serde_json::{Value, json};

use crate::server::Server;

fn recording_server() -> Server {
    let settings = [
        ("TIDEWATER_OBSERVE__RECORDS", "true"),
        ("TIDEWATER_OBSERVE__RECORDS_INTERVAL_MS", "200"),
        // None is left out in so short an interval.
        ("TIDEWATER_OBSERVE__RECORDS_PER_SECOND_MAX", "1000"),
    ];
    let server = Server::start_with(&settings);
    let definition =
        json!({"time": "ts", "columns": {"user": "string"}, "metrics": {"edits": {"agg": "count"}}});
    server.put("/api/v1/datasets/edits", &definition).expect(201);
    server.ingest("edits", &json!([{"user": "a"}, {"user": "b"}]));
    server
}

fn history(server: &Server, dimensions: &Value, filters: &Value) -> Vec<Value> {
    let question = json!({"dataset": "_tidewater", "project": "_system", "metrics": ["count", "p95_ms"],
        "dimensions": dimensions, "filters": filters, "date_range": "1h", "max_staleness_ms": 0});
    let reply = server.post("/api/v1/query", &question);
    // Before the first batch there is no such dataset.
    if reply.status == 400 {
        reply.problem(400, "unknown_dataset");
        return Vec::new();
    }
    reply.expect(200).json()["results"].as_array().expect("results").clone()
}

fn recorded(server: &Server, kind: &str) -> f64 {
    let rows = history(server, &json!([]), &json!([["is", "kind", [kind]]]));
    rows.first().and_then(|row| row["metrics"][0].as_f64()).unwrap_or(0.0)
}

#[test]
fn work_becomes_history() {
    let server = recording_server();
    let question =
        json!({"dataset": "edits", "metrics": ["edits"], "filters": [["is", "user", ["secret-person"]]]});
    (0..5).for_each(|_| drop(server.query(&question)));
    server.wait_until("questions are recorded", || recorded(&server, "query") == 5.0);
    assert_eq!(recorded(&server, "ingest"), 1.0);
    let routes = history(&server, &json!(["route", "status"]), &json!([["is", "kind", ["request"]]]));
    let queries: Vec<&Value> = routes.iter().filter(|row| row["dimensions"][0] == "/api/v1/query").collect();
    // Looking at the records makes no records, except before there are any.
    assert!(queries.iter().any(|row| row["dimensions"][1] == 200 && row["metrics"][0] == 5.0), "{routes:?}");
    let shapes = history(
        &server,
        &json!(["project", "dataset", "shape"]),
        &json!([["is", "kind", ["query"]], ["exists", "shape"]]),
    );
    assert_eq!(
        shapes[0]["dimensions"],
        json!(["default", "edits", "edits where user is ? over 24h"]),
        "{shapes:?}"
    );
    let rows = json!({"dataset": "_tidewater", "project": "_system", "limit": 1_000});
    let rows = server.post("/api/v1/rows", &rows).expect(200).text();
    assert!(rows.contains("trace_id") && !rows.contains("secret-person"), "{rows}");
    // They count among no user's figures.
    assert_eq!(server.metric("tidewater_ingest_rows_accepted_total"), Some(2.0));
    let server = server.restart();
    assert_eq!(recorded(&server, "query"), 5.0);
}

#[test]
fn a_quiet_server_writes_nothing() {
    let server = recording_server();
    let rows = || server.metric("tidewater_memtable_rows").expect("a figure");
    server.wait_until("the first records are there", || rows() > 2.0);
    // Monitoring alone makes no records: three intervals later there is not one row more.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let before = rows();
    server.get("/health/ready").expect(200);
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(rows(), before);
}

#[test]
fn the_servers_own_names_are_its_own() {
    let server = recording_server();
    server.wait_until("records are there", || recorded(&server, "ingest") == 1.0);
    let listed = server.get("/api/v1/datasets").expect(200).json();
    assert_eq!(listed["datasets"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(server.get("/api/v1/projects").expect(200).json()["projects"], json!(["default"]));
    assert_eq!(server.get("/api/v1/rollups").expect(200).json()["rollups"], json!([]));
    server.get("/api/v1/datasets/_tidewater").expect(200);

    server.put("/api/v1/datasets/_tidewater", &json!({"time": "at"})).problem(403, "reserved_name");
    server.delete("/api/v1/datasets/_tidewater").problem(403, "reserved_name");
    server.post("/api/v1/ingest/_tidewater", &json!([{}])).problem(403, "reserved_name");
    server.post("/api/v1/ingest/edits?project=_system", &json!([{}])).problem(403, "reserved_name");
    let key = json!({"name": "x", "project": "_system", "scopes": ["query"]});
    server.post("/api/v1/keys", &key).problem(403, "reserved_name");

    let question = json!({"dataset": "_tidewater", "project": "_system", "metrics": ["count"]});
    let reader = server.create_key(None, &["query"]);
    let ask = |key: &str| server.request("POST", "/api/v1/query").key(Some(key)).json(&question).send();
    ask(&reader).problem(403, "reserved_name");
    server
        .request("GET", "/api/v1/status?project=_system")
        .key(Some(&reader))
        .send()
        .problem(403, "reserved_name");
    let own = server.create_key(Some("default"), &["query", "admin"]);
    ask(&own).problem(403, "wrong_project");
    // Its dataset without its project holds nothing.
    let elsewhere = json!({"dataset": "_tidewater", "metrics": ["count"]});
    let reply =
        server.request("POST", "/api/v1/query").key(Some(&reader)).json(&elsewhere).send().expect(200).json();
    assert_eq!(reply["results"][0]["metrics"][0], 0.0, "{reply}");
}

#[test]
fn records_can_be_switched_off() {
    let server = Server::start_with(&[
        ("TIDEWATER_OBSERVE__RECORDS", "false"),
        ("TIDEWATER_OBSERVE__RECORDS_INTERVAL_MS", "50"),
    ]);
    server.get("/api/v1/datasets").expect(200);
    std::thread::sleep(std::time::Duration::from_millis(400));
    server.get("/api/v1/datasets/_tidewater").problem(404, "unknown_dataset");
}
