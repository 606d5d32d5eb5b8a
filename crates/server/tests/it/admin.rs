//! Datasets, running questions, metrics, health, OpenAPI, the page, backups.

use serde_json::json;

use crate::server::{Server, edit_rows, edits, server_with_edits, stable};

#[test]
fn datasets_are_created_widened_and_dropped() {
    let server = Server::start();
    server.get("/api/v1/datasets/edits").problem(404, "unknown_dataset");
    let made = server.put("/api/v1/datasets/edits", &edits()).expect(201).json();
    insta::assert_json_snapshot!("dataset", made);
    let wider =
        server.put("/api/v1/datasets/edits", &json!({"columns": {"page": "string"}})).expect(200).json();
    assert_eq!(wider["columns"]["page"], "string");
    assert_eq!(wider["columns"]["channel"], "string");
    let conflict = json!({"columns": {"added": "string"}});
    server.put("/api/v1/datasets/edits", &conflict).problem(409, "schema_conflict");
    server.put("/api/v1/datasets/No", &edits()).problem(400, "invalid_name");
    server
        .put("/api/v1/datasets/x", &json!({"time": "ts", "columns": {"a": "number"}}))
        .problem(400, "invalid_type");
    server.ingest("edits", &edit_rows(3));
    let list = server.get("/api/v1/datasets").expect(200).json();
    assert_eq!((&list["datasets"][0]["name"], &list["datasets"][0]["rows"]), (&json!("edits"), &json!(3)));
    let server = server.restart();
    assert_eq!(server.get("/api/v1/datasets/edits").expect(200).json()["columns"]["page"], "string");
    server.delete("/api/v1/datasets/edits").expect(204);
    server.get("/api/v1/datasets/edits").problem(404, "unknown_dataset");
    server.delete("/api/v1/datasets/edits").problem(404, "unknown_dataset");
}

#[test]
fn health_tells_of_every_part() {
    let server = server_with_edits(1);
    let ready = server.get("/health/ready").expect(200).json();
    assert_eq!(ready["status"], "ready");
    for part in ["server", "store", "query"] {
        assert_eq!(ready["parts"][part]["ok"], true, "{ready:#}");
    }
    assert_eq!(server.get("/health/live").expect(200).json()["status"], "live");
}

#[test]
fn metrics_are_prometheus_text() {
    let server = server_with_edits(4);
    server.query(&json!({"dataset": "edits", "metrics": ["edits"], "date_range": "all"}));
    assert_eq!(server.metric("tidewater_memtable_rows"), Some(4.0));
    let query = "http_requests_total{route=\"/api/v1/query\",method=\"POST\",status=\"200\"}";
    assert_eq!(server.metric(query), Some(1.0));
    let text = server.get("/metrics").text();
    for name in [
        "memtable_bytes",
        "compaction_pending",
        "segments",
        "segment_bytes",
        "log_bytes",
        "rollup_bytes",
        "rollup_segments_pending",
        "rollups_built_total",
        "history_files",
        "history_bytes",
        "replay_seconds",
        "queue_bytes",
        "log_sync_seconds_count",
        "store_poisoned",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(&format!("tidewater_{name} "))),
            "{name} in\n{text}"
        );
    }
}

#[test]
fn openapi_describes_every_route_and_its_problems() {
    let server = Server::start();
    let document = server.get("/api/v1/openapi.json").expect(200).json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let paths = document["paths"].as_object().expect("paths");
    let routes: Vec<String> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("an item").keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    insta::assert_json_snapshot!("routes", routes);
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("an item") {
            let problem =
                &operation["responses"]["4XX"]["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(problem, "#/components/schemas/Problem", "{method} {path}");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a name");
        assert!(document["components"]["schemas"].get(name).is_some(), "the schema {name} is there");
    }
}

#[test]
fn the_page_is_one_file_with_a_strict_policy() {
    let server = Server::start();
    let page = server.request("GET", "/").key(None).send().expect(200);
    assert!(
        page.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'"))
    );
    assert!(!page.text().contains("http://cdn") && !page.text().contains("src=\"http"));
}

#[test]
fn running_questions_are_listed_and_an_unknown_one_cannot_be_cancelled() {
    let server = server_with_edits(1);
    assert_eq!(server.get("/api/v1/queries").expect(200).json(), json!({"queries": []}));
    server.delete("/api/v1/queries/12345").problem(404, "unknown_query");
    server.delete("/api/v1/queries/abc").problem(404, "unknown_query");
}

#[test]
fn a_backup_is_a_data_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let target = folder.path().to_str().expect("a plain path");
    let server = Server::start_with(&[("TIDEWATER_STORE__BACKUP_DIR", target)]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server.ingest("edits", &edit_rows(10));
    let made = server.post("/api/v1/backup", &json!({})).expect(201).json();
    let name = made["name"].as_str().expect("a name");
    assert!(folder.path().join(name).is_dir(), "{}", stable(made.clone()));
    let verified = server.get("/api/v1/verify").expect(200).json();
    assert_eq!(verified["ok"], true, "{verified:#}");
}
