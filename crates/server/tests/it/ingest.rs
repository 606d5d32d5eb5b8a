//! Replies to ingest: counts, errors, duplicates, tokens, unknown columns, formats and encodings.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::server::{Server, edit_rows, edits, server_with_edits, stable};

fn count(server: &Server) -> Value {
    let answer = server.query(&json!({"dataset": "edits", "metrics": ["edits"], "date_range": "all"}));
    answer["results"][0]["metrics"][0].clone()
}

#[test]
fn good_rows_of_a_mixed_batch_are_stored() {
    let server = server_with_edits(0);
    let rows = json!([
        {"ts": "2026-01-01T00:00:00Z", "event_id": "a", "added": 1},
        {"ts": "2026-01-01T00:00:00Z", "event_id": "b", "added": "many"},
        {"ts": "2026-01-01T00:00:00Z", "event_id": "c", "chanel": "x"},
        {"ts": "never", "event_id": "d"},
        {"event_id": "e", "score": 1.5},
    ]);
    let reply = server.ingest("edits", &rows);
    insta::assert_json_snapshot!("mixed_batch", stable(reply));
    assert_eq!(count(&server), 2);
    let rejects = server.get("/api/v1/ingest/rejects").expect(200).json();
    assert_eq!(rejects["rejects"].as_array().map(Vec::len), Some(3), "{rejects:#}");
    assert_eq!(server.metric("tidewater_ingest_rows_accepted_total"), Some(2.0));
    assert_eq!(server.metric("tidewater_ingest_rows_rejected_total{reason=\"unknown_column\"}"), Some(1.0));
}

#[test]
fn a_batch_without_a_good_row_is_400_with_the_same_members() {
    let server = server_with_edits(0);
    let reply = server.post("/api/v1/ingest/edits", &json!([{"added": "x"}, {"added": "y"}]));
    insta::assert_json_snapshot!("all_rows_rejected", stable(reply.problem(400, "all_rows_rejected")));
}

#[test]
fn ids_are_stored_once() {
    let server = server_with_edits(5);
    let reply = server.ingest("edits", &edit_rows(7));
    assert_eq!((&reply["accepted"], &reply["duplicates"]), (&json!(2), &json!(5)));
    assert_eq!(count(&server), 7);
    let server = server.kill_and_restart();
    let reply = server.ingest("edits", &edit_rows(8));
    assert_eq!((&reply["accepted"], &reply["duplicates"]), (&json!(1), &json!(7)));
    let other = server.post("/api/v1/ingest/edits?project=other", &edit_rows(2)).expect(200).json();
    assert_eq!(other["accepted"], 2, "ids count within a project");
}

#[test]
fn a_token_stores_once_and_answers_twice() {
    let server = server_with_edits(0);
    let send = |server: &Server, token: &str, rows: &Value| {
        server.request("POST", "/api/v1/ingest/edits").header("idempotency-key", token).json(rows).send()
    };
    let rows = json!([{"added": 1}, {"added": "bad"}]);
    let first = send(&server, "t1", &rows).expect(200);
    let again = send(&server, "t1", &rows).expect(200);
    assert_eq!(first.json(), again.json());
    assert_eq!(
        (first.header("idempotency-replayed"), again.header("idempotency-replayed")),
        (None, Some("true"))
    );
    send(&server, "t1", &json!([{"added": 2}])).problem(409, "idempotency_conflict");
    assert_eq!(count(&server), 1);
    let server = server.kill_and_restart();
    assert_eq!(send(&server, "t1", &rows).expect(200).json(), first.json());
    assert_eq!(count(&server), 1);
    send(&server, &"x".repeat(257), &rows).problem(400, "invalid_idempotency_key");
}

#[test]
fn unknown_columns_can_be_ignored_or_kept() {
    let server = server_with_edits(0);
    let row = json!({"added": 1, "color": "red"});
    let send = |query: &str| server.post(&format!("/api/v1/ingest/edits{query}"), &row);
    send("").problem(400, "all_rows_rejected");
    let ignored = send("?unknown=ignore").expect(200).json();
    assert_eq!((&ignored["accepted"], &ignored["ignored"]), (&json!(1), &json!(1)));
    send("?unknown=props").expect(200);
    send("?unknown=keep").problem(400, "invalid_value");
    send("?unkown=props").problem(400, "unknown_parameter");
    let red = json!({"dataset": "edits", "metrics": ["edits"], "date_range": "all", "filters": [["is", "props.color", ["red"]]]});
    assert_eq!(server.query(&red)["results"][0]["metrics"][0], 1);
}

#[test]
fn every_format_and_encoding_brings_the_same_rows() {
    let server = server_with_edits(0);
    let lines = "{\"added\":1,\"channel\":\"a\"}\n{\"added\":2,\"channel\":\"b\"}\n";
    let table = "added,channel\n1,a\n2,b\n";
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).expect("it packs");
        encoder.finish().expect("it packs")
    };
    let bodies: [(&str, Option<&str>, Vec<u8>); 4] = [
        ("application/x-ndjson", None, lines.into()),
        ("text/csv; charset=utf-8", None, table.into()),
        ("application/x-ndjson", Some("gzip"), gzip(lines)),
        ("text/csv", Some("zstd"), zstd::encode_all(table.as_bytes(), 1).expect("it packs")),
    ];
    for (content_type, encoding, body) in &bodies {
        let request = server.request("POST", "/api/v1/ingest/edits").body(content_type, body);
        let request = match encoding {
            Some(encoding) => request.header("content-encoding", encoding),
            None => request,
        };
        let reply = request.send().expect(200).json();
        assert_eq!(
            (&reply["accepted"], &reply["rejected"]),
            (&json!(2), &json!(0)),
            "{content_type} {encoding:?}"
        );
    }
    let sum = json!({"dataset": "edits", "metrics": ["added", "edits"], "date_range": "all"});
    assert_eq!(server.query(&sum)["results"][0]["metrics"], json!([12, 8]));
}

#[test]
fn what_was_acknowledged_can_be_asked_for_at_once() {
    let server = server_with_edits(0);
    for index in 0..20 {
        let reply = server.ingest("edits", &json!({"added": index}));
        let question = json!({"dataset": "edits", "metrics": ["edits"], "date_range": "all", "min_version": reply["version"]});
        assert_eq!(server.query(&question)["results"][0]["metrics"][0], index + 1);
    }
    let version =
        server.ingest("edits", &json!({"added": 1}))["version"].as_str().expect("a version").to_owned();
    let (store, lsn) = version.split_once('-').expect("store and number");
    let future = format!("{store}-{}", lsn.parse::<u64>().expect("a number") + 1_000);
    let question = json!({"dataset": "edits", "metrics": ["edits"], "min_version": future});
    let reply = server.post("/api/v1/query", &question);
    assert_eq!(reply.header("retry-after"), Some("1"));
    reply.problem(503, "version_not_reached");
}

#[test]
fn rows_that_retention_would_drop_at_once_are_refused() {
    let server = Server::start();
    let definition = json!({"time": "ts", "columns": {"added": "int"}, "metrics": {"edits": {"agg": "count"}}, "retention": {"raw": "30d"}});
    server.put("/api/v1/datasets/edits", &definition).expect(201);
    let reply =
        server.ingest("edits", &json!([{"ts": "2001-01-01T00:00:00Z"}, {"added": 1}, {"added": "x"}]));
    assert_eq!((&reply["accepted"], &reply["rejected"]), (&json!(1), &json!(2)), "{reply:#}");
    let codes: Vec<_> = reply["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| (&error["index"], &error["code"]))
        .collect();
    assert_eq!(codes, [(&json!(0), &json!("time_too_old")), (&json!(2), &json!("invalid_type"))]);
}

#[test]
fn unknown_datasets_and_empty_bodies_are_refused() {
    let server = Server::start();
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server.post("/api/v1/ingest/edit", &json!({})).problem(404, "unknown_dataset");
    server
        .request("POST", "/api/v1/ingest/edits")
        .body("application/json", b"")
        .send()
        .problem(400, "empty_body");
    let nothing = server.ingest("edits", &json!([]));
    assert_eq!(nothing["accepted"], 0);
    server
        .request("POST", "/api/v1/ingest/edits")
        .body("application/json", b"[{")
        .send()
        .problem(400, "malformed_json");
}
