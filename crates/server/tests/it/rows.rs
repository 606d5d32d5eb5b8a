//! Raw rows: pages, cursors while rows arrive, `since`, and deletes.

use serde_json::{Value, json};

use crate::server::{Server, edit_rows, edits, server_with_edits, stable};

fn page(server: &Server, members: Value) -> Value {
    let mut body = json!({"dataset": "edits", "date_range": "all", "columns": ["ts", "event_id", "added"]});
    body.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
    server.post("/api/v1/rows", &body).expect(200).json()
}

fn ids(page: &Value) -> Vec<String> {
    let rows = page["rows"].as_array().expect("rows");
    rows.iter().map(|row| row["event_id"].as_str().unwrap_or("").to_owned()).collect()
}

#[test]
fn rows_come_newest_first_with_their_columns() {
    let server = server_with_edits(5);
    insta::assert_json_snapshot!("rows", stable(page(&server, json!({"limit": 2}))));
    let all = server
        .post("/api/v1/rows", &json!({"dataset": "edits", "date_range": "all", "limit": 1, "order": "asc"}));
    insta::assert_json_snapshot!("row_with_all_columns", stable(all.expect(200).json()["rows"].clone()));
}

#[test]
fn cursors_neither_skip_nor_repeat_while_rows_arrive() {
    let server = server_with_edits(50);
    for order in ["asc", "desc"] {
        let expected = ids(&page(&server, json!({"order": order, "limit": 1_000})));
        let mut seen = Vec::new();
        let mut cursor = Value::Null;
        loop {
            let next = page(&server, json!({"order": order, "limit": 7, "cursor": cursor}));
            seen.extend(ids(&next));
            cursor = next["meta"]["next_cursor"].clone();
            if cursor.is_null() {
                break;
            }
            server.ingest(
                "edits",
                &json!([{"ts": "2026-01-01T00:10:00Z", "event_id": format!("{order}{}", seen.len())}]),
            );
        }
        assert_eq!(seen, expected, "{order}");
    }
}

#[test]
fn since_gives_what_came_after() {
    let server = server_with_edits(3);
    let before = page(&server, json!({}));
    server.ingest("edits", &json!([{"event_id": "new", "ts": "2020-01-01T00:00:00Z"}]));
    let after = page(&server, json!({"since": before["meta"]["version"]}));
    assert_eq!(ids(&after), ["new"]);
    let wrong = json!({"dataset": "edits", "since": "yesterday"});
    server.post("/api/v1/rows", &wrong).problem(400, "invalid_version");
}

#[test]
fn wrong_row_requests_are_refused() {
    let server = server_with_edits(3);
    let first = page(&server, json!({"limit": 1}));
    let cases = [
        (json!({"dataset": "edits", "limit": 1_001}), "limit_exceeded"),
        (json!({"dataset": "edits", "limit": 0}), "limit_exceeded"),
        (json!({"dataset": "edits", "columns": ["chanel"]}), "unknown_column"),
        (json!({"dataset": "edits", "order": "up"}), "invalid_value"),
        (json!({"dataset": "edits", "colums": []}), "unknown_field"),
        (json!({"dataset": "edits", "cursor": first["meta"]["next_cursor"]}), "invalid_cursor"),
        (json!({"dataset": "edits", "cursor": "00"}), "invalid_cursor"),
        (json!({}), "missing_field"),
    ];
    for (body, code) in cases {
        server.post("/api/v1/rows", &body).problem(400, code);
    }
}

#[test]
fn deleted_rows_are_gone_from_every_answer_and_stay_gone() {
    let server = server_with_edits(30);
    server.post("/api/v1/ingest/edits?project=other", &crate::server::edit_rows(30)).expect(200);
    let delete = json!({"dataset": "edits", "filters": [["is", "channel", ["a"]]]});
    let job = server.post("/api/v1/rows/delete", &delete).expect(200).json();
    assert_eq!((&job["job"]["status"], &job["job"]["deleted"]), (&json!("done"), &json!(10)), "{job:#}");
    let id = job["job"]["id"].as_str().expect("an id");
    assert_eq!(server.get(&format!("/api/v1/jobs/{id}")).expect(200).json(), job);
    server.get("/api/v1/jobs/none").problem(404, "unknown_job");
    let count = |server: &Server, project: &str| {
        let question =
            json!({"dataset": "edits", "project": project, "metrics": ["edits"], "date_range": "all"});
        server.query(&question)["results"][0]["metrics"][0].clone()
    };
    assert_eq!((count(&server, "default"), count(&server, "other")), (json!(20), json!(30)));
    assert!(!ids(&page(&server, json!({"limit": 100}))).contains(&"e0".to_owned()));
    server.ingest("edits", &json!([{"event_id": "later", "channel": "a"}]));
    let server = server.kill_and_restart().restart();
    assert_eq!((count(&server, "default"), count(&server, "other")), (json!(21), json!(30)));
    server.post("/api/v1/rows/delete", &json!({"dataset": "edits"})).problem(400, "missing_field");
}

#[test]
fn a_cursor_is_of_its_dataset_and_not_of_one_that_has_its_name() {
    let server = server_with_edits(5);
    let page = json!({"dataset": "edits", "date_range": "all", "limit": 2});
    let first = server.post("/api/v1/rows", &page).expect(200).json();
    server.delete("/api/v1/datasets/edits").expect(204);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server.ingest("edits", &edit_rows(5));
    let further =
        json!({"dataset": "edits", "date_range": "all", "limit": 2, "cursor": first["meta"]["next_cursor"]});
    server.post("/api/v1/rows", &further).problem(400, "invalid_cursor");
}
