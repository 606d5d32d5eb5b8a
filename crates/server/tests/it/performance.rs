//! What the server says about its own speed: windows by route, dataset and shape, plans of slow questions, the log line, the reset.

use serde_json::{Value, json};

use crate::server::Server;

/// Every question that is computed is slow.
fn server_where_all_is_slow() -> Server {
    // On a machine that does other work besides, a question may take so long that it is run again as a heavy one, whose figures are
    // those of the second run.
    let server = Server::start_with(&[
        ("TIDEWATER_LOG__SLOW_QUERY_MS", "1"),
        ("TIDEWATER_CACHE__GATHER_MS", "0"),
        ("TIDEWATER_QUERY__HEAVY_FROM_MS", "60000"),
    ]);
    let definition = json!({"time": "ts", "columns": {"channel": "string", "user": "string"},
        "metrics": {"edits": {"agg": "count"}, "editors": {"agg": "uniq", "column": "user"}}});
    server.put("/api/v1/datasets/edits", &definition).expect(201);
    for project in ["default", "other"] {
        let rows: Vec<_> = (0..20_000)
            .map(|n| json!({"ts": 1_767_225_600 + n, "channel": format!("c{}", n % 50), "user": format!("u{}", n % 5_000)}))
            .collect();
        server.post(&format!("/api/v1/ingest/edits?project={project}"), &json!(rows)).expect(200);
    }
    server
}

fn question(user: &str) -> Value {
    json!({"dataset": "edits", "metrics": ["edits", "editors"], "dimensions": ["channel", "user"], "date_range": "all",
        "filters": [["is_not", "user", [user]]]})
}

fn get(server: &Server, path: &str) -> Value {
    server.get(&format!("/api/v1/performance{path}")).expect(200).json()
}

#[test]
fn questions_are_summed_up_by_route_dataset_and_shape() {
    let server = server_where_all_is_slow();
    let first = server.post("/api/v1/query", &question("a")).expect(200);
    server.query(&question("a"));
    server.query(&question("b"));
    server.post("/api/v1/query", &json!({"dataset": "edits", "metrics": ["edit"]})).expect(400);
    let batch = json!({"queries": [question("c"), {"dataset": "edits", "metrics": ["nope"]}]});
    server.post("/api/v1/query/batch", &batch).expect(200);

    let queries = get(&server, "/queries");
    let statistics = &queries["statistics"];
    assert_eq!((&statistics["count"], &statistics["refused"]), (&json!(6), &json!(2)), "{queries}");
    assert_eq!((&statistics["cache_hits"], &statistics["failed"]), (&json!(1), &json!(0)));
    assert!(
        statistics["slow"].as_u64() >= Some(3) && statistics["p95_ms"].as_f64() >= Some(1.0),
        "{statistics}"
    );
    assert!(statistics["rows_scanned"].as_u64() >= Some(60_000), "{statistics}");
    // Values of filters make no shapes, and do not show.
    let shapes = queries["by_shape"].as_array().expect("shapes");
    assert_eq!(shapes.len(), 1, "{shapes:?}");
    assert_eq!(shapes[0]["shape"], "edits, editors by channel, user where user is_not ? over all");
    assert_eq!((&shapes[0]["dataset"], &shapes[0]["project"]), (&json!("edits"), &json!("default")));
    assert_eq!(shapes[0]["count"], 4);
    let routes = queries["by_route"].as_array().expect("routes");
    let route = routes.iter().find(|route| route["route"] == "/api/v1/query").expect("the route");
    assert_eq!(
        (&route["method"], &route["count"], &route["refused"]),
        (&json!("POST"), &json!(4), &json!(1))
    );

    let slowest = &queries["slowest"][0];
    assert!(slowest["plan"]["scan_ms"].is_number() && slowest["plan"]["columns"].is_array(), "{slowest}");
    assert_eq!((&slowest["source"], &slowest["total_rows"]), (&json!("raw"), &json!(5_000)));
    let recent = queries["recent"].as_array().expect("recent ones");
    let ids: Vec<&str> = recent.iter().filter_map(|query| query["request_id"].as_str()).collect();
    assert!(ids.contains(&first.header("x-request-id").expect("an id")), "{ids:?}");
    let trace = first.header("traceparent").expect("a trace")[3..35].to_owned();
    assert!(recent.iter().any(|query| query["trace_id"] == *trace), "{trace} in {recent:?}");
}

#[test]
fn slow_questions_are_logged_without_values() {
    let server = server_where_all_is_slow();
    let reply = server.post("/api/v1/query", &question("secret-person")).expect(200);
    let id = reply.header("x-request-id").expect("an id");
    server.wait_until("the line is there", || server.log().contains("slow question"));
    let log = server.log();
    let line = log.lines().find(|line| line.contains("slow question")).expect("a line");
    let line: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!((&line["request_id"], &line["level"]), (&json!(id), &json!("WARN")));
    assert_eq!((&line["dataset"], &line["source"]), (&json!("edits"), &json!("raw")));
    assert_eq!(line["rows_scanned"], 20_000);
    for stage in ["elapsed_ms", "wait_ms", "plan_ms", "scan_ms", "merge_ms", "finish_ms"] {
        assert!(line[stage].is_number(), "{stage} in {line}");
    }
    assert!(!log.contains("secret-person"), "{log}");
    assert_eq!(server.metric("tidewater_slow_queries_total"), Some(1.0));
    let quiet = Server::start_with(&[("TIDEWATER_LOG__SLOW_QUERY_MS", "0")]);
    quiet.put("/api/v1/datasets/d", &json!({"time": "ts", "metrics": {"n": {"agg": "count"}}})).expect(201);
    quiet.query(&json!({"dataset": "d", "metrics": ["n"]}));
    assert_eq!(quiet.metric("tidewater_slow_queries_total"), Some(0.0));
}

#[test]
fn a_caller_of_one_project_sees_and_resets_its_own() {
    let server = server_where_all_is_slow();
    let own = server.create_key(Some("other"), &["ingest", "query", "admin"]);
    server.query(&question("a"));
    let as_other =
        |method: &str, path: &str| server.request(method, &format!("/api/v1{path}")).key(Some(&own));
    as_other("POST", "/query").json(&question("b")).send().expect(200);

    let mine = as_other("GET", "/performance/queries").send().expect(200).json();
    assert_eq!(mine["statistics"]["count"], 1, "{mine}");
    assert!(!mine.to_string().contains("default"), "{mine}");
    let total = as_other("GET", "/performance").send().expect(200).json();
    assert_eq!((&total["queries"]["count"], &total["ingest"]["rows_accepted"]), (&json!(1), &json!(20_000)));
    assert!(total.get("system").is_none() && total.get("cache").is_none(), "{total}");
    for shared in ["cache", "database"] {
        as_other("GET", &format!("/performance/{shared}")).send().problem(403, "wrong_project");
    }
    as_other("GET", "/performance?project=default").send().problem(403, "wrong_project");
    let reader = server.create_key(None, &["query"]);
    server.request("GET", "/api/v1/performance").key(Some(&reader)).send().problem(403, "missing_scope");

    let everything = get(&server, "/queries");
    assert_eq!(everything["statistics"]["count"], 2);
    as_other("POST", "/performance/reset").send().expect(200);
    assert_eq!(get(&server, "/queries?project=other")["statistics"]["count"], 0);
    assert_eq!(get(&server, "/queries")["statistics"]["count"], 1);
}

#[test]
fn a_reset_empties_windows_and_no_counter() {
    let server = server_where_all_is_slow();
    server.query(&question("a"));
    let before = get(&server, "");
    assert_eq!(
        (&before["queries"]["count"], &before["queries"]["slow_query_ms"]),
        (&json!(1), &json!(1)),
        "{before}"
    );
    assert_eq!(before["ingest"]["rows_accepted"], 40_000);
    assert!(before["requests"]["count"].as_u64() >= Some(4), "{before}");
    assert!(
        before["system"]["uptime_seconds"].as_f64() > Some(0.0)
            && before["system"]["memory"]["resident_bytes"].is_u64()
    );
    assert!(before["cache"]["levels"]["partials"]["limit_bytes"].is_u64(), "{before}");
    assert!(before["database"]["queues"]["questions_waiting"]["limit"].is_u64(), "{before}");
    let rows = get(&server, "/ingest");
    assert_eq!(rows["by_dataset"].as_array().map(Vec::len), Some(2), "{rows}");
    assert!(rows["stages"]["sync"]["count"].as_u64() == Some(2), "{rows}");
    assert_eq!(get(&server, "/cache")["levels"]["answers"]["misses"], 1);
    assert_eq!(get(&server, "/database")["poisoned"], false);

    server.post("/api/v1/performance/reset", &json!({})).expect(200);
    let after = get(&server, "/queries");
    assert_eq!(
        (&after["statistics"]["count"], &after["recent"], &after["by_shape"]),
        (&json!(0), &json!([]), &json!([]))
    );
    assert_eq!(after["statistics"]["p95_ms"], Value::Null);
    assert_ne!(after["since"], before["since"]);
    assert_eq!(server.metric("tidewater_query_duration_seconds_count"), Some(1.0));
}
