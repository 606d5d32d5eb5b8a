//! Questions over HTTP: forms of asking, formats of answers, ETags, cursors, batches. What is computed is tested in `query`.

use serde_json::{Value, json};

use crate::server::{Server, edits, server_with_edits, stable};

fn by_channel() -> Value {
    json!({"dataset": "edits", "metrics": ["edits", "added", "editors", "cost"], "dimensions": ["channel"], "date_range": "all",
        "include": {"totals": true, "total_rows": true}})
}

fn with(question: &Value, members: Value) -> Value {
    let mut question = question.clone();
    let members = members.as_object().expect("an object").clone();
    question.as_object_mut().expect("an object").extend(members);
    question
}

#[test]
fn an_answer_has_the_documented_shape() {
    let server = server_with_edits(10);
    insta::assert_json_snapshot!("answer", stable(server.query(&by_channel())));
}

#[test]
fn forms_of_rows_and_numbers() {
    let server = server_with_edits(4);
    let question = json!({"dataset": "edits", "metrics": ["edits", "cost"], "dimensions": ["time:hour", "channel"], "date_range": "all",
        "timezone": "Asia/Kolkata", "include": {"totals": true}, "pagination": {"limit": 2}});
    let objects = server.query(&with(&question, json!({"format": "objects", "numbers": "string"})));
    insta::assert_json_snapshot!("objects", stable(json!([objects["results"], objects["totals"]])));
}

#[test]
fn the_same_question_in_every_form_has_the_same_answer() {
    let server = server_with_edits(10);
    let posted = server.query(&by_channel());
    let text = by_channel()
        .to_string()
        .replace('{', "%7B")
        .replace('}', "%7D")
        .replace('"', "%22")
        .replace('[', "%5B")
        .replace(']', "%5D");
    let in_url = server.get(&format!("/api/v1/query?q={text}")).expect(200).json();
    assert_eq!(in_url["results"], posted["results"]);
    let plain = server.get(
        "/api/v1/query?dataset=edits&metrics=edits,added,editors,cost&dimensions=channel&date_range=all",
    );
    assert_eq!(plain.expect(200).json()["results"], posted["results"]);
    let batch = server
        .post("/api/v1/query/batch", &json!({"queries": [by_channel(), {"dataset": "edits"}, by_channel()]}));
    let answers = batch.expect(200).json();
    assert_eq!(answers["answers"][0]["results"], posted["results"]);
    assert_eq!(answers["answers"][1]["code"], "missing_field");
    assert_eq!(answers["answers"][2]["meta"]["version"], answers["answers"][0]["meta"]["version"]);
}

#[test]
fn other_formats_by_accept() {
    let server = server_with_edits(5);
    let ask = |accept: &str| {
        server
            .request("POST", "/api/v1/query")
            .header("accept", accept)
            .json(&by_channel())
            .send()
            .expect(200)
    };
    insta::assert_snapshot!("csv", ask("text/csv").text());
    insta::assert_snapshot!("ndjson", ask("application/x-ndjson").text());
    let parquet = ask("application/vnd.apache.parquet");
    assert_eq!(parquet.header("content-type"), Some("application/vnd.apache.parquet"));
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(
        bytes::Bytes::from(parquet.body.clone()),
        100,
    );
    let batches: Vec<_> = reader.expect("a Parquet file").map(|batch| batch.expect("a batch")).collect();
    assert_eq!(batches[0].num_rows(), 3);
    let names: Vec<String> = batches[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["channel", "edits", "added", "editors", "cost"]);
}

#[test]
fn answers_are_compressed_on_request() {
    let server = server_with_edits(200);
    let question =
        json!({"dataset": "edits", "metrics": ["edits"], "dimensions": ["time:minute"], "date_range": "all"});
    for encoding in ["gzip", "zstd"] {
        let reply = server
            .request("POST", "/api/v1/query")
            .header("accept-encoding", encoding)
            .json(&question)
            .send();
        assert_eq!(reply.header("content-encoding"), Some(encoding));
    }
}

#[test]
fn an_etag_holds_until_the_answer_changes() {
    let server = server_with_edits(5);
    let ask = |tag: Option<&str>| {
        let request = server.request("POST", "/api/v1/query").json(&by_channel());
        match tag {
            Some(tag) => request.header("if-none-match", tag).send(),
            None => request.send(),
        }
    };
    let first = ask(None).expect(200);
    let tag = first.header("etag").expect("a tag").to_owned();
    assert_eq!(first.header("cache-control"), Some("private, no-cache"));
    assert_eq!(first.header("x-cache"), Some("miss"));
    assert!(first.header("server-timing").is_some_and(|timing| timing.starts_with("query;dur=")));
    let same = ask(Some(&tag)).expect(304);
    assert!(same.body.is_empty());
    assert_eq!(same.header("etag"), Some(tag.as_str()));
    // Another project's rows do not change the answer; the own ones do.
    server.post("/api/v1/ingest/edits?project=other", &json!({"added": 1})).expect(200);
    ask(Some(&tag)).expect(304);
    server.ingest("edits", &json!({"added": 1, "channel": "a"}));
    let changed = ask(Some(&tag)).expect(200);
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
}

/// Reads all pages; `between` runs before every page but the first.
fn pages(server: &Server, question: &Value, limit: u32, between: impl Fn(usize)) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let page = server.query(&with(question, json!({"pagination": {"limit": limit, "cursor": cursor}})));
        rows.extend(page["results"].as_array().expect("rows").iter().cloned());
        cursor = page["meta"]["next_cursor"].clone();
        if cursor.is_null() {
            return rows;
        }
        between(rows.len());
    }
}

#[test]
fn cursors_continue_one_answer_while_rows_arrive() {
    let server = server_with_edits(100);
    let question = json!({"dataset": "edits", "metrics": ["edits", "added"], "dimensions": ["time:minute", "channel"], "date_range": "all"});
    let whole = server.query(&question)["results"].as_array().expect("rows").clone();
    assert_eq!(whole.len(), 100);
    let paged = pages(&server, &question, 7, |row| {
        server.ingest(
            "edits",
            &json!({"ts": "2026-01-01T00:00:00Z", "channel": format!("new{row}"), "added": 1}),
        );
    });
    assert_eq!(paged, whole);
    assert_eq!(server.query(&question)["results"].as_array().map(Vec::len), Some(114));
}

#[test]
fn answers_that_memory_does_not_hold_continue_too() {
    let server = Server::start_with(&[("TIDEWATER_QUERY__CURSOR_BYTES_MAX", "0")]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server.ingest("edits", &crate::server::edit_rows(3_000));
    let question = json!({"dataset": "edits", "metrics": ["edits", "added"], "dimensions": ["time:minute", "channel"], "date_range": "all",
        "compare": "previous_period"});
    let whole = server.query(&with(&question, json!({"pagination": {"limit": 10_000}})))["results"]
        .as_array()
        .expect("rows")
        .clone();
    assert_eq!(whole.len(), 3_000);
    let paged = pages(&server, &question, 700, |row| {
        let late = json!({"ts": "2026-01-01T00:00:00Z", "channel": format!("new{row}"), "added": 1});
        server.ingest("edits", &late);
    });
    assert_eq!(paged, whole);
    // They are made again from their rows, so nothing is kept anywhere.
    assert_eq!(server.metric("tidewater_cursor_disk_bytes"), Some(0.0));
}

#[test]
fn a_delete_ends_the_cursors_of_what_it_deleted() {
    let server = server_with_edits(9);
    server.post("/api/v1/ingest/edits?project=other", &crate::server::edit_rows(9)).expect(200);
    let question =
        json!({"dataset": "edits", "metrics": ["edits"], "dimensions": ["channel"], "date_range": "all"});
    let cursor = |project: &str| {
        let question = with(&question, json!({"project": project}));
        let first = server.query(&with(&question, json!({"pagination": {"limit": 1}})));
        with(&question, json!({"pagination": {"limit": 1, "cursor": first["meta"]["next_cursor"]}}))
    };
    let (own, other) = (cursor("default"), cursor("other"));
    let delete = json!({"dataset": "edits", "filters": [["is", "channel", ["b"]]]});
    server.post("/api/v1/rows/delete", &delete).expect(200);
    server.post("/api/v1/query", &own).problem(410, "cursor_expired");
    server.post("/api/v1/query", &other).expect(200);
    server.post("/api/v1/query", &cursor("default")).expect(200);
}

#[test]
fn a_question_past_its_time_is_a_problem() {
    let server = Server::start_with(&[("TIDEWATER_QUERY__TIMEOUT_MS", "0")]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    let question = json!({"dataset": "edits", "metrics": ["edits"]});
    server.post("/api/v1/query", &question).problem(503, "query_timeout");
}

#[test]
fn cursors_belong_to_their_question_and_end() {
    let server = Server::start_with(&[("TIDEWATER_QUERY__CURSOR_TTL_MS", "300")]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server.ingest("edits", &crate::server::edit_rows(9));
    let question =
        json!({"dataset": "edits", "metrics": ["edits"], "dimensions": ["channel"], "date_range": "all"});
    let first = server.query(&with(&question, json!({"pagination": {"limit": 1}})));
    let page = json!({"pagination": {"limit": 1, "cursor": first["meta"]["next_cursor"]}});
    let post = |question: Value| server.post("/api/v1/query", &question);
    post(with(&question, page.clone())).expect(200);
    let other =
        json!({"dataset": "edits", "metrics": ["added"], "dimensions": ["channel"], "date_range": "all"});
    post(with(&other, page.clone())).problem(400, "invalid_cursor");
    let project = with(&question, json!({"project": "other"}));
    post(with(&project, page.clone())).problem(400, "invalid_cursor");
    std::thread::sleep(std::time::Duration::from_millis(400));
    post(with(&question, page.clone())).problem(410, "cursor_expired");
    let server = server.restart();
    server.post("/api/v1/query", &with(&question, page)).problem(410, "cursor_expired");
}

#[test]
fn all_begins_with_the_first_row_that_is_left() {
    let server = Server::start();
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    let day = |day: u32| json!({"ts": format!("2026-01-{day:02}T12:00:00Z"), "channel": format!("c{day}"), "added": 1});
    server.ingest("edits", &json!([day(1), day(5), day(9)]));
    let question = json!({"dataset": "edits", "metrics": ["edits"], "dimensions": ["time:day"], "date_range": "all",
        "include": {"fill": true}, "pagination": {"limit": 1}});
    let first = || server.query(&question)["results"][0]["dimensions"][0].clone();
    assert_eq!(first(), "2026-01-01");
    let delete = |channel: &str| {
        let rows =
            json!({"dataset": "edits", "filters": [["is", "channel", [channel]]], "date_range": "all"});
        server.post("/api/v1/rows/delete", &rows)
    };
    assert!(delete("c1").status < 300);
    assert_eq!(first(), "2026-01-05");
    assert!(delete("c9").status < 300);
    assert_eq!(first(), "2026-01-05");
}
