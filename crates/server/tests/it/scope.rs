//! Row scope and cost metrics: a caller who is bound to some rows, or to metrics marked as cost, sees those and nothing else, in
//! every form of answer and whatever caches hold.

use serde_json::{Value, json};

use crate::server::{Reply, Server, edit_rows, edits};

const SENTINEL: &str = "u3";

fn server() -> Server {
    let server = Server::start();
    let mut dataset = edits();
    dataset["metrics"]["cost"]["cost"] = json!(true);
    dataset["rollups"] = json!([{"name": "channels", "dimensions": ["channel", "user"]}]);
    server.put("/api/v1/datasets/edits", &dataset).expect(201);
    server.put("/api/v1/datasets/others", &json!({"time": "ts", "columns": {"page": "string"}})).expect(201);
    server.ingest("edits", &edit_rows(70));
    server
}

fn key(server: &Server, body: Value) -> String {
    let made = server.post("/api/v1/keys", &body).expect(201).json();
    made["key"].as_str().expect("a secret").to_owned()
}

fn bound_to(server: &Server, users: &[&str]) -> String {
    key(
        server,
        json!({"name": "v", "scopes": ["query"], "role": "viewer", "filters": [["is", "user", users]]}),
    )
}

fn post(server: &Server, key: &str, path: &str, body: &Value) -> Reply {
    server.request("POST", path).key(Some(key)).json(body).send()
}

fn counts(answer: &Value) -> Vec<Value> {
    answer["results"].as_array().expect("rows").iter().map(|row| row["metrics"][0].clone()).collect()
}

#[test]
fn bound_callers_see_their_rows_only() {
    let server = server();
    let (anna, ben, all) =
        (bound_to(&server, &["u1"]), bound_to(&server, &["u2", "u4"]), server.create_key(None, &["query"]));
    let users = json!({"dataset": "edits", "metrics": ["edits"], "dimensions": ["user"], "date_range": "all",
        "include": {"totals": true, "total_rows": true}, "max_staleness_ms": 60_000});
    // Twice over: the second time from the written reply.
    for _ in 0..2 {
        for (key, seen) in [(&anna, 1), (&ben, 2), (&all, 7)] {
            let answer = post(&server, key, "/api/v1/query", &users).expect(200).json();
            assert_eq!(counts(&answer), vec![json!(10); seen], "{answer:#}");
            assert_eq!(answer["totals"][0], 10 * seen);
            assert_eq!(answer["query"]["filters"], json!([]), "the answer repeats what was sent");
        }
    }
    let tags: Vec<String> = [&anna, &ben, &all]
        .map(|key| post(&server, key, "/api/v1/query", &users).header("etag").expect("a tag").to_owned())
        .to_vec();
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
    // Asking for other rows, in every form.
    let tricks = [
        json!([["is", "user", [SENTINEL]]]),
        json!([["or", [["is", "user", [SENTINEL]], ["not", ["exists", "user"]]]]]),
        json!([["not", ["is", "user", ["u1"]]]]),
        json!([["is_not", "user", ["u1"]]]),
    ];
    for filters in tricks {
        let question = json!({"dataset": "edits", "metrics": ["edits"], "dimensions": ["user"], "date_range": "all", "filters": filters});
        let answer = post(&server, &anna, "/api/v1/query", &question).expect(200).json();
        assert_eq!(counts(&answer), Vec::<Value>::new(), "{answer:#}");
        assert_eq!(answer["query"]["filters"].as_array().map(Vec::len), Some(1));
    }
    let batch = json!({"queries": [users, users]});
    let reply = post(&server, &anna, "/api/v1/query/batch", &batch).expect(200).json();
    assert_eq!(counts(&reply["answers"][1]), vec![json!(10)]);
    let url = "/api/v1/query?dataset=edits&metrics=edits&dimensions=user&date_range=all";
    let reply = server.request("GET", url).key(Some(&anna)).send().expect(200);
    assert_eq!(counts(&reply.json()), vec![json!(10)]);
    let csv = server.request("GET", url).key(Some(&anna)).header("accept", "text/csv").send().expect(200);
    assert!(!csv.text().contains(SENTINEL), "{}", csv.text());
    let rows = post(
        &server,
        &anna,
        "/api/v1/rows",
        &json!({"dataset": "edits", "date_range": "all", "limit": 1_000}),
    );
    let rows = rows.expect(200).json();
    assert_eq!(rows["rows"].as_array().map(Vec::len), Some(10));
    assert!(!rows.to_string().contains(SENTINEL));
}

#[test]
fn cursors_are_bound_like_their_questions() {
    let server = server();
    let (anna, ben) = (bound_to(&server, &["u1"]), bound_to(&server, &["u2", "u4"]));
    let question = json!({"dataset": "edits", "metrics": ["edits"], "dimensions": ["event_id"], "date_range": "all",
        "pagination": {"limit": 3}});
    let rows = json!({"dataset": "edits", "date_range": "all", "limit": 3});
    for (path, question, place) in
        [("/api/v1/query", question, "/pagination/cursor"), ("/api/v1/rows", rows, "/cursor")]
    {
        let first = post(&server, &ben, path, &question).expect(200).json();
        let mut next = question.clone();
        if path == "/api/v1/rows" {
            next["cursor"] = Value::Null;
        } else {
            next["pagination"]["cursor"] = Value::Null;
        }
        *next.pointer_mut(place).expect("a place") = first["meta"]["next_cursor"].clone();
        post(&server, &ben, path, &next).expect(200);
        post(&server, &anna, path, &next).problem(400, "invalid_cursor");
    }
}

#[test]
fn what_cannot_be_bound_is_refused_to_bound_callers() {
    let server = server();
    let anna = bound_to(&server, &["u1"]);
    let ask = |dataset: &str| {
        post(&server, &anna, "/api/v1/query", &json!({"dataset": dataset, "metrics": [{"agg": "count"}]}))
    };
    ask("others").problem(403, "row_scope");
    post(&server, &anna, "/api/v1/rows", &json!({"dataset": "others"})).problem(403, "row_scope");
    let datasets = server.request("GET", "/api/v1/datasets").key(Some(&anna)).send().expect(200).json();
    assert_eq!(datasets["datasets"][0]["rows"], Value::Null, "how many rows others have is not told");
    let developer = key(
        &server,
        json!({"name": "d", "scopes": ["query"], "role": "developer", "filters": [["is", "user", ["u1"]]]}),
    );
    server.request("GET", "/api/v1/status").key(Some(&developer)).send().problem(403, "row_scope");
}

#[test]
fn billing_sees_cost_metrics_only() {
    let server = server();
    let billing = key(&server, json!({"name": "b", "scopes": ["query"], "role": "billing"}));
    let ask = |change: Value| {
        let mut question =
            json!({"dataset": "edits", "metrics": ["cost"], "date_range": "all", "max_staleness_ms": 60_000});
        question.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        post(&server, &billing, "/api/v1/query", &question)
    };
    let fine = [
        json!({}),
        json!({"dimensions": ["time:hour", "channel"], "order_by": [["cost", "desc"]], "having": [["gt", "cost", 0]]}),
        json!({"dimensions": ["user"], "filters": [["is", "channel", ["a"]]]}),
        json!({"compare": "previous_period", "date_range": "7d", "include": {"totals": true}}),
    ];
    for change in fine {
        ask(change).expect(200);
    }
    let refused = [
        json!({"metrics": ["edits"]}),
        json!({"metrics": ["cost", "edits"]}),
        json!({"metrics": [{"agg": "sum", "column": "cost_usd"}]}),
        json!({"metrics": [{"agg": "max", "column": "event_id", "as": "cost"}]}),
        json!({"dimensions": ["event_id"]}),
        json!({"dimensions": ["props.secret"]}),
        json!({"filters": [["starts_with", "event_id", ["e1"]]]}),
        json!({"filters": [["not", ["is", "is_robot", [true]]]]}),
    ];
    for change in refused {
        ask(change.clone()).problem(403, "cost_only");
        // The same question of somebody who may ask it is kept; that opens nothing.
        let mut question =
            json!({"dataset": "edits", "metrics": ["cost"], "date_range": "all", "max_staleness_ms": 60_000});
        question.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        server.post("/api/v1/query", &question).expect(200);
        server.post("/api/v1/query", &question).expect(200);
        ask(change).problem(403, "cost_only");
    }
    post(&server, &billing, "/api/v1/rows", &json!({"dataset": "edits"})).problem(403, "missing_scope");
    let schema =
        server.request("GET", "/api/v1/datasets/edits").key(Some(&billing)).send().expect(200).json();
    assert_eq!(schema["metrics"]["cost"]["cost"], true);
    let inline = json!({"dataset": "edits", "metrics": [{"agg": "count", "cost": true}]});
    server.post("/api/v1/query", &inline).problem(400, "unknown_field");
}
