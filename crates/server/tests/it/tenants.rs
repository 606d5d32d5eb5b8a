//! Another tenant's rows stay out of reach, whatever the request holds: body, header, parameter, cursor, validator, id, token,
//! job, list or error text.
//!
//! Two tenants, red and blue, with bound keys write rows into the same dataset; red then tries every door.

use serde_json::{Value, json};

use crate::server::{Reply, Server};
use crate::talk::{call, define, percent_encoded, results};

const JSON: (&str, &str) = ("content-type", "application/json");
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
/// A word that stands in every row of blue's and nowhere else.
const SECRET: &str = "blueprint-9931";

struct Tenants {
    server: Server,
    red: String,
    blue: String,
}

impl Tenants {
    fn start() -> Self {
        let server = Server::start();
        define(
            &server,
            "edits",
            &json!({"time": "ts", "id": "event_id", "columns": {"event_id": "string", "channel": "string", "tags": "strings", "props": "map"},
                    "metrics": {"edits": {"agg": "count"}}}),
        );
        let red = server.create_key(Some("red"), &["ingest", "query", "admin"]);
        let blue = server.create_key(Some("blue"), &["ingest", "query"]);
        let tenants = Tenants { server, red, blue };
        let rows = |name: &str, count: usize| -> String {
            (0..count)
                .map(|n| {
                    let row = json!({"ts": 1_700_000_000 + n, "event_id": format!("e{n}"), "channel": format!("{name}-{n}"),
                                     "tags": [name], "props": {name: name}});
                    format!("{row}\n")
                })
                .collect()
        };
        assert_eq!(tenants.ingest(&tenants.red, "r1", &rows("red", 30)).json()["accepted"], 30);
        assert_eq!(
            tenants.ingest(&tenants.blue, "b1", &rows(SECRET, 70)).json()["accepted"],
            70,
            "ids of others are no duplicates"
        );
        tenants
    }

    fn send(&self, key: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let credential = format!("Bearer {key}");
        let headers = [headers, &[("authorization", credential.as_str())]].concat();
        call(&self.server, method, path, &headers, body.as_bytes())
    }

    fn ingest(&self, key: &str, token: &str, body: &str) -> Reply {
        self.send(key, "POST", "/api/v1/ingest/edits", &[NDJSON, ("idempotency-key", token)], body)
    }

    fn ask(&self, key: &str, question: &Value) -> Reply {
        self.send(key, "POST", "/api/v1/query", &[JSON], &question.to_string())
    }
}

fn question(members: Value) -> Value {
    let mut question = json!({"dataset": "edits", "date_range": "all", "metrics": ["edits"]});
    for (name, value) in members.as_object().expect("an object") {
        question[name] = value.clone();
    }
    question
}

fn rows_body(members: Value) -> String {
    let mut body = json!({"dataset": "edits", "date_range": "all"});
    for (name, value) in members.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body.to_string()
}

#[test]
fn naming_another_project_is_refused_at_every_place() {
    let tenants = Tenants::start();
    let in_body = question(json!({"project": "blue"})).to_string();
    let in_alias = question(json!({"site_id": "blue"})).to_string();
    let plain = question(json!({})).to_string();
    let q = format!("/api/v1/query?q={}", percent_encoded(&in_body));
    let batch = json!({"queries": [question(json!({"project": "blue"})), question(json!({}))]}).to_string();
    let rows = rows_body(json!({}));
    let rows_blue = rows_body(json!({"project": "blue"}));
    let key_blue = json!({"name": "k", "project": "blue", "scopes": ["query"]}).to_string();
    let key_all = json!({"name": "k", "project": null, "scopes": ["query"]}).to_string();
    let x_blue = ("x-project", "blue");
    type Case<'a> = (&'a str, &'a str, &'a str, Vec<(&'a str, &'a str)>, &'a str);
    let refused: Vec<Case> = vec![
        ("body", "POST", "/api/v1/query", vec![JSON], &in_body),
        ("alias", "POST", "/api/v1/query", vec![JSON], &in_alias),
        ("header", "POST", "/api/v1/query", vec![JSON, x_blue], &plain),
        ("parameter", "POST", "/api/v1/query?project=blue", vec![JSON], &plain),
        ("encoded parameter", "POST", "/api/v1/query?%70roject=bl%75e", vec![JSON], &plain),
        ("body against header", "POST", "/api/v1/query", vec![JSON, ("x-project", "red")], &in_body),
        ("q", "GET", &q, vec![], ""),
        ("plain GET", "GET", "/api/v1/query?dataset=edits&metrics=edits&project=blue", vec![], ""),
        ("plain GET by alias", "GET", "/api/v1/query?dataset=edits&metrics=edits&site_id=blue", vec![], ""),
        ("rows", "POST", "/api/v1/rows", vec![JSON], &rows_blue),
        ("rows by header", "POST", "/api/v1/rows", vec![JSON, x_blue], &rows),
        ("rows by parameter", "POST", "/api/v1/rows?project=blue", vec![JSON], &rows),
        ("delete", "POST", "/api/v1/rows/delete", vec![JSON], &rows_blue),
        ("delete by header", "POST", "/api/v1/rows/delete", vec![JSON, x_blue], &rows),
        ("ingest by header", "POST", "/api/v1/ingest/edits", vec![NDJSON, x_blue], "{\"event_id\":\"x\"}"),
        (
            "ingest by parameter",
            "POST",
            "/api/v1/ingest/edits?project=blue",
            vec![NDJSON],
            "{\"event_id\":\"x\"}",
        ),
        ("rejects", "GET", "/api/v1/ingest/rejects?project=blue", vec![], ""),
        ("a key for another", "POST", "/api/v1/keys", vec![JSON], &key_blue),
        ("a key for all", "POST", "/api/v1/keys", vec![JSON], &key_all),
    ];
    for (what, method, path, headers, body) in &refused {
        let reply = tenants.send(&tenants.red, method, path, headers, body);
        assert_eq!(
            (reply.status, &reply.json()["code"]),
            (403, &json!("wrong_project")),
            "{what}: {}",
            reply.text()
        );
        assert!(!reply.text().contains(SECRET), "{what}");
    }
    let answers = tenants.send(&tenants.red, "POST", "/api/v1/query/batch", &[JSON], &batch);
    match answers.status {
        200 => {
            assert_eq!(answers.json()["answers"][0]["code"], "wrong_project", "{}", answers.text());
            assert_eq!(
                answers.json()["answers"][1]["results"][0]["metrics"],
                json!([30]),
                "{}",
                answers.text()
            );
        }
        status => assert_eq!(status, 403, "{}", answers.text()),
    }
    let both =
        r#"{"dataset":"edits","date_range":"all","metrics":["edits"],"project":"red","site_id":"blue"}"#;
    let reply = tenants.send(&tenants.red, "POST", "/api/v1/query", &[JSON], both);
    assert!(matches!(reply.status, 400 | 403), "two names: {}", reply.text());
    let twice =
        r#"{"dataset":"edits","date_range":"all","metrics":["edits"],"project":"red","project":"blue"}"#;
    let reply = tenants.send(&tenants.red, "POST", "/api/v1/query", &[JSON], twice);
    assert!(matches!(reply.status, 400 | 403), "the same member twice: {}", reply.text());
    let own = tenants.ask(&tenants.red, &question(json!({})));
    assert_eq!(results(&own.json())[0].1, vec![json!(30)]);
    let blue = tenants.ask(&tenants.blue, &question(json!({})));
    assert_eq!(results(&blue.json())[0].1, vec![json!(70)], "nothing of blue's was deleted or added");
}

#[test]
fn answers_hold_nothing_of_others() {
    let tenants = Tenants::start();
    let everything = [
        ("POST", "/api/v1/query", question(json!({"dimensions": ["channel"], "include": {"totals": true, "total_rows": true, "explain": true}})).to_string()),
        ("POST", "/api/v1/query", question(json!({"dimensions": ["tags", "props.blueprint-9931"], "compare": "previous_period"})).to_string()),
        ("POST", "/api/v1/query", question(json!({"filters": [["not", ["is", "channel", ["red-1"]]]], "dimensions": ["channel"]})).to_string()),
        ("POST", "/api/v1/query", question(json!({"filters": [["or", [["exists", "channel"], ["not", ["exists", "channel"]]]]], "dimensions": ["event_id", "channel"]})).to_string()),
        ("POST", "/api/v1/rows", rows_body(json!({}))),
        ("POST", "/api/v1/rows", rows_body(json!({"filters": [["contains", "channel", ["-"]]], "order": "asc"}))),
        ("GET", "/api/v1/ingest/rejects", String::new()),
        ("GET", "/api/v1/datasets", String::new()),
        ("GET", "/api/v1/datasets/edits", String::new()),
        ("GET", "/api/v1/keys", String::new()),
        ("GET", "/api/v1/queries", String::new()),
        ("GET", "/api/v1/projects", String::new()),
        ("GET", "/api/v1/status", String::new()),
    ];
    // Blue's refused rows hold its secret too.
    tenants.ingest(
        &tenants.blue,
        "b2",
        &format!("{{\"channel\":7,\"event_id\":\"{SECRET}\"}}\n{{\"event_id\":\"fine\"}}\n"),
    );
    for (method, path, body) in everything {
        let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &[JSON] };
        let reply = tenants.send(&tenants.red, method, path, headers, &body);
        // The question's own text comes back under `query`.
        let mut json: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
        json["query"] = Value::Null;
        assert!(!json.to_string().contains(SECRET), "{method} {path}: {json}");
        if path == "/api/v1/keys" || path == "/api/v1/projects" {
            assert!(!json.to_string().contains("blue"), "{path}: {json}");
        }
        for row in json["results"].as_array().into_iter().flatten() {
            assert!(!row["dimensions"].to_string().contains("blue"), "{row}");
        }
    }
    let first = tenants.ask(&tenants.red, &question(json!({"date_range": "all"}))).json();
    assert_eq!(first["query"]["project"], "red");
    assert_eq!(
        first["query"]["date_range"][0], "2023-11-14T22:13:20Z",
        "'all' begins with the own first row"
    );
}

#[test]
fn cursors_tags_ids_and_tokens_do_not_cross() {
    let tenants = Tenants::start();
    let paged = question(json!({"dimensions": ["channel"], "pagination": {"limit": 5}}));
    let first = tenants.ask(&tenants.blue, &paged);
    let cursor = first.json()["meta"]["next_cursor"].clone();
    assert!(cursor.is_string());
    let mut stolen = paged.clone();
    stolen["pagination"]["cursor"] = cursor;
    let reply = tenants.ask(&tenants.red, &stolen);
    assert!(matches!(reply.status, 400 | 403 | 410), "{}", reply.text());
    assert!(!reply.text().contains(SECRET));
    let page =
        tenants.send(&tenants.blue, "POST", "/api/v1/rows", &[JSON], &rows_body(json!({"limit": 5}))).json();
    let reply = tenants.send(
        &tenants.red,
        "POST",
        "/api/v1/rows",
        &[JSON],
        &rows_body(json!({"limit": 5, "cursor": page["meta"]["next_cursor"]})),
    );
    assert!(!reply.text().contains(SECRET), "{}", reply.text());
    assert!(matches!(reply.status, 400 | 403 | 410), "{}", reply.text());

    let tag = first.header("etag").expect("an ETag").to_owned();
    let red = tenants.send(
        &tenants.red,
        "POST",
        "/api/v1/query",
        &[JSON, ("if-none-match", &tag)],
        &paged.to_string(),
    );
    assert_eq!(red.status, 200, "a tag of blue's answer says nothing about red's");
    assert_ne!(red.header("etag"), Some(tag.as_str()));

    let body = "{\"event_id\":\"shared\",\"channel\":\"red-x\"}\n";
    assert_eq!(tenants.ingest(&tenants.blue, "same", body).json()["accepted"], 1);
    let red = tenants.ingest(&tenants.red, "same", body);
    assert_eq!(
        (&red.json()["accepted"], &red.json()["duplicates"]),
        (&json!(1), &json!(0)),
        "{}",
        red.text()
    );
    let red = tenants.ingest(&tenants.red, "b1", "{\"event_id\":\"z\"}\n");
    assert_eq!(red.status, 200, "blue's tokens are not taken for red: {}", red.text());

    let deleted = tenants.send(&tenants.red, "POST", "/api/v1/rows/delete", &[JSON], &rows_body(json!({})));
    assert!(deleted.status < 300, "{}", deleted.text());
    let blue = tenants.ask(&tenants.blue, &question(json!({})));
    assert_eq!(results(&blue.json())[0].1, vec![json!(71)], "red's delete took red's rows only");
    let red = tenants.ask(&tenants.red, &question(json!({})));
    assert_eq!(results(&red.json())[0].1, vec![json!(0)]);
}

#[test]
fn jobs_and_keys_of_others_look_as_if_they_were_not_there() {
    let tenants = Tenants::start();
    let deleted = tenants.server.post("/api/v1/rows/delete", &json!({"dataset": "edits", "project": "blue", "date_range": "all", "filters": [["is", "channel", [format!("{SECRET}-3")]]]}));
    assert!(deleted.status < 300, "{}", deleted.text());
    let job = deleted.json()["job"]["id"].as_str().expect("a job").to_owned();
    assert_eq!(tenants.server.get(&format!("/api/v1/jobs/{job}")).status, 200);
    let reply = tenants.send(&tenants.red, "GET", &format!("/api/v1/jobs/{job}"), &[], "");
    let unknown = tenants.send(&tenants.red, "GET", "/api/v1/jobs/nothing", &[], "");
    assert_eq!((reply.status, &reply.json()["code"]), (404, &unknown.json()["code"]), "{}", reply.text());

    let keys = tenants.server.get("/api/v1/keys").json();
    let blue = keys["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .find(|key| key["project"] == "blue")
        .expect("blue's key")
        .clone();
    let id = blue["id"].as_str().expect("an id");
    let revoked = tenants.send(&tenants.red, "DELETE", &format!("/api/v1/keys/{id}"), &[], "");
    assert_eq!((revoked.status, &revoked.json()["code"]), (404, &json!("unknown_key")), "{}", revoked.text());
    assert_eq!(tenants.ask(&tenants.blue, &question(json!({}))).status, 200, "blue's key still works");

    // What concerns the whole server is not for the administrator of one project.
    let narrow = json!({"time": "ts", "columns": {"extra": "string"}}).to_string();
    for (method, path, body) in [
        ("PUT", "/api/v1/datasets/edits", narrow.as_str()),
        ("DELETE", "/api/v1/datasets/edits", ""),
        ("POST", "/api/v1/backup", "{}"),
        ("GET", "/api/v1/verify", ""),
    ] {
        let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &[JSON] };
        let reply = tenants.send(&tenants.red, method, path, headers, body);
        assert_eq!(reply.status, 403, "{method} {path}: {}", reply.text());
    }
    let secret_text = tenants.server.get("/api/v1/keys").text();
    assert!(
        !secret_text.contains(&tenants.red) && !secret_text.contains(&tenants.blue),
        "lists hold no secrets"
    );
    let log = tenants.server.log();
    assert!(!log.contains(&tenants.red) && !log.contains(&tenants.blue), "nor does the log");
    let mut found = Vec::new();
    find_bytes(&tenants.server.data(), tenants.red.as_bytes(), &mut found);
    assert!(found.is_empty(), "keys are stored hashed, not as in {found:?}");
}

/// Files under a folder that hold a text.
fn find_bytes(folder: &std::path::Path, text: &[u8], found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            find_bytes(&path, text, found);
        } else if std::fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text))
        {
            found.push(path);
        }
    }
}
