//! Answers too large to be written before they are sent: the same content as in small pages, in every format, packed or not.

use serde_json::{Value, json};

use crate::server::{Reply, Server, server_with_edits};

/// One a minute, so that each is a group of its own.
const ROWS: usize = 4_000;

/// Fourteen metrics of a range and of another: 120,000 values on a page.
fn question() -> Value {
    let metric = |n: usize| json!({"agg": "sum", "column": "added", "as": format!("m{n}")});
    let metrics: Vec<Value> = (0..14).map(metric).collect();
    json!({"dataset": "edits", "metrics": metrics, "dimensions": ["time:minute"], "compare": ["2025-12-31", "2026-01-02"],
        "date_range": ["2026-01-01", "2026-01-04"], "include": {"totals": true, "total_rows": true},
        "pagination": {"limit": 10_000}})
}

fn page(limit: usize, cursor: Option<&str>) -> Value {
    let mut question = question();
    question["pagination"] = json!({"limit": limit, "cursor": cursor});
    question
}

fn ask(server: &Server, headers: &[(&str, &str)], question: &Value) -> Reply {
    let request = server.request("POST", "/api/v1/query");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    request.json(question).send()
}

fn is_streamed(reply: &Reply) -> bool {
    reply.header("content-length").is_none() && reply.header("transfer-encoding") == Some("chunked")
}

#[test]
fn a_large_answer_is_its_small_pages_together() {
    let server = server_with_edits(ROWS);
    let large = ask(&server, &[], &question()).expect(200);
    assert!(is_streamed(&large));
    let large_json = large.json();
    let (mut results, mut comparison, mut cursor) = (Vec::new(), Vec::new(), None);
    loop {
        let small = ask(&server, &[], &page(1_000, cursor.as_deref())).expect(200);
        assert!(!is_streamed(&small));
        let small = small.json();
        results.extend(small["results"].as_array().expect("rows").clone());
        comparison.extend(small["comparison"].as_array().expect("rows").clone());
        assert_eq!(
            (&small["totals"], &small["query"]["metrics"]),
            (&large_json["totals"], &large_json["query"]["metrics"])
        );
        cursor = small["meta"]["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((results.len(), comparison.len()), (ROWS, ROWS));
    assert_eq!(large_json["results"], Value::from(results));
    assert_eq!(large_json["comparison"], Value::from(comparison));
    assert_eq!(large_json["meta"]["total_rows"], ROWS);
    // Said once more, the whole of it is not sent again.
    let etag = large.header("etag").expect("a tag").to_owned();
    ask(&server, &[("if-none-match", &etag)], &question()).expect(304);
    server.ingest(
        "edits",
        &json!([{"ts": "2026-01-01T00:00:00Z", "event_id": "late", "channel": "a", "added": 1}]),
    );
    let mut fresh = question();
    fresh["max_staleness_ms"] = json!(0);
    ask(&server, &[("if-none-match", &etag)], &fresh).expect(200);
    // Bytes that were only known at their end are counted.
    let sent = server.metric("http_response_size_bytes_sum{route=\"/api/v1/query\"}").expect("a figure");
    assert!(sent > large.body.len() as f64, "{sent}");
}

#[test]
fn lines_tables_and_batches_are_streamed_too() {
    let server = server_with_edits(ROWS);
    let json = ask(&server, &[], &question()).expect(200).json();
    let results = json["results"].as_array().expect("rows");
    let lines = ask(&server, &[("accept", "application/x-ndjson")], &question()).expect(200);
    let table = ask(&server, &[("accept", "text/csv")], &question()).expect(200);
    assert!(is_streamed(&lines) && is_streamed(&table));
    let (lines, table) = (lines.text(), table.text());
    let mut records = csv::Reader::from_reader(table.as_bytes());
    let records: Vec<csv::StringRecord> = records.records().map(|record| record.expect("a record")).collect();
    assert_eq!((lines.lines().count(), records.len()), (ROWS, ROWS));
    for ((row, line), record) in results.iter().zip(lines.lines()).zip(&records) {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((&line["time"], &line["m13"]), (&row["dimensions"][0], &row["metrics"][13]));
        let expected = (row["dimensions"][0].as_str(), Some(row["metrics"][13].to_string()));
        assert_eq!((record.get(0), record.get(14).map(str::to_owned)), expected);
    }
    let batch = json!({"queries": [question(), {"dataset": "edits"}, question()]});
    let batch = server.post("/api/v1/query/batch", &batch).expect(200);
    assert!(is_streamed(&batch));
    let batch = batch.json();
    assert_eq!(
        (&batch["answers"][0]["results"], &batch["answers"][2]["results"]),
        (&json["results"], &json["results"])
    );
    assert_eq!(batch["answers"][1]["code"], "missing_field");
}
