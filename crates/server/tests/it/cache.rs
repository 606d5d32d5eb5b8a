//! The answer cache over HTTP: who gets an answer again, and who does not.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Reply, Server, edits, server_with_edits};

fn by_channel() -> Value {
    json!({"dataset": "edits", "metrics": ["edits"], "dimensions": ["channel"], "date_range": "all"})
}

fn with(question: &Value, members: Value) -> Value {
    let mut question = question.clone();
    let members = members.as_object().expect("an object").clone();
    question.as_object_mut().expect("an object").extend(members);
    question
}

/// A server with ten edits whose ticks are so long that none ends within a test.
fn server_with_long_ticks() -> Server {
    let server = Server::start_with(&[("TIDEWATER_CACHE__TICK_MS", "600000")]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server.ingest("edits", &crate::server::edit_rows(10));
    server
}

fn ask(server: &Server, question: &Value) -> Reply {
    server.post("/api/v1/query", question).expect(200)
}

/// The sum of the first metric over all rows of an answer.
fn rows(reply: &Reply) -> i64 {
    let json = reply.json();
    let results = json["results"].as_array().expect("rows");
    results.iter().map(|row| row["metrics"][0].as_i64().expect("a count")).sum()
}

fn cache_of(reply: &Reply) -> &str {
    reply.header("x-cache").expect("X-Cache")
}

#[test]
fn a_repeated_question_is_a_hit_with_the_same_bytes() {
    let server = server_with_edits(10);
    let first = ask(&server, &by_channel());
    assert_eq!(cache_of(&first), "miss");
    // The same bytes, other words for the same, and the form in a URL.
    let same = ask(&server, &by_channel());
    let spelled =
        ask(&server, &with(&by_channel(), json!({"timezone": "UTC", "filters": [], "exact": false})));
    let path = "/api/v1/query?dataset=edits&metrics=edits&dimensions=channel&date_range=all";
    let in_url = server.get(path).expect(200);
    let in_url_again = server.get(path).expect(200);
    for reply in [&same, &spelled, &in_url, &in_url_again] {
        assert_eq!((cache_of(reply), &reply.body), ("hit", &first.body));
        assert_eq!(reply.header("etag"), first.header("etag"));
        assert!(reply.header("server-timing").is_some_and(|timing| timing.starts_with("query;dur=")));
    }
    for (name, expected) in [
        ("cache_hits_total{cache=\"replies\"}", 2.0),
        ("cache_misses_total{cache=\"replies\"}", 3.0),
        ("cache_hits_total{cache=\"answers\"}", 2.0),
        ("cache_misses_total{cache=\"answers\"}", 1.0),
        ("tidewater_queries_total{cache=\"hit\"}", 4.0),
        ("tidewater_queries_total{cache=\"miss\"}", 1.0),
    ] {
        assert_eq!(server.metric(name), Some(expected), "{name}");
    }
    for cache in ["replies", "answers"] {
        let bytes = server.metric(&format!("cache_size_bytes{{cache=\"{cache}\"}}"));
        assert!(bytes.is_some_and(|bytes| bytes > 0.0), "{cache}: {bytes:?}");
    }
    let tag = first.header("etag").expect("a tag");
    let known =
        server.request("POST", "/api/v1/query").header("if-none-match", tag).json(&by_channel()).send();
    assert_eq!((known.status, known.body.len(), cache_of(&known)), (304, 0, "hit"));
    let csv = server.request("POST", "/api/v1/query").header("accept", "text/csv").json(&by_channel()).send();
    assert_eq!((csv.text().lines().next(), cache_of(&csv)), (Some("channel,edits"), "hit"));
    assert_ne!(csv.header("etag"), first.header("etag"));
}

#[test]
fn only_the_own_rows_make_an_answer_old() {
    let server = server_with_edits(10);
    assert_eq!(rows(&ask(&server, &by_channel())), 10);
    server.post("/api/v1/ingest/edits?project=other", &json!({"channel": "a"})).expect(200);
    assert_eq!(cache_of(&ask(&server, &by_channel())), "hit");
    server.ingest("edits", &json!({"channel": "a"}));
    let after = ask(&server, &by_channel());
    assert_eq!((rows(&after), cache_of(&after)), (11, "miss"));
}

#[test]
fn a_row_shows_within_a_tick_and_a_computation() {
    let server = Server::start_with(&[("TIDEWATER_CACHE__TICK_MS", "100")]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server.ingest("edits", &crate::server::edit_rows(10));
    for expected in 11..21 {
        ask(&server, &by_channel());
        server.ingest("edits", &json!({"channel": "a"}));
        let acknowledged = Instant::now();
        loop {
            let asked_after = acknowledged.elapsed();
            if rows(&ask(&server, &by_channel())) == expected {
                break;
            }
            // A slow machine may ask late; an old answer may only come to a question that was asked within the tick.
            assert!(asked_after < Duration::from_millis(100), "{asked_after:?}");
        }
    }
}

#[test]
fn all_callers_within_a_tick_share_one_answer() {
    let server = server_with_long_ticks();
    let first = ask(&server, &by_channel());
    let version = server.ingest("edits", &json!({"channel": "a"}))["version"].clone();
    let shared = ask(&server, &by_channel());
    assert_eq!((cache_of(&shared), shared.header("etag")), ("hit", first.header("etag")));
    // A caller may want it fresher than the tick, its own computation, or the rows it wrote.
    std::thread::sleep(Duration::from_millis(5));
    for (members, cache) in [
        (json!({"max_staleness_ms": 600_000}), "hit"),
        (json!({"max_staleness_ms": 0}), "miss"),
        (json!({"max_staleness_ms": 0}), "miss"),
        (json!({"max_staleness_ms": 1}), "hit"),
        (json!({"min_version": version}), "hit"),
    ] {
        let reply = ask(&server, &with(&by_channel(), members.clone()));
        let expected = if members["max_staleness_ms"] == 600_000 { 10 } else { 11 };
        assert_eq!((rows(&reply), cache_of(&reply)), (expected, cache), "{members}");
    }
    let version = server.ingest("edits", &json!({"channel": "a"}))["version"].clone();
    assert_eq!(rows(&ask(&server, &by_channel())), 11);
    assert_eq!(rows(&ask(&server, &with(&by_channel(), json!({"min_version": version})))), 12);
    let explained = with(&by_channel(), json!({"include": {"explain": true}}));
    assert_eq!(cache_of(&ask(&server, &explained)), "miss");
    assert_eq!(cache_of(&ask(&server, &explained)), "miss");
}

#[test]
fn deletes_and_definitions_show_at_once() {
    let server = server_with_long_ticks();
    ask(&server, &by_channel());
    let delete = json!({"dataset": "edits", "filters": [["is", "channel", ["a"]]]});
    server.post("/api/v1/rows/delete", &delete).expect(200);
    assert_eq!(rows(&ask(&server, &by_channel())), 6);
    let widened = json!({"time": "ts", "metrics": {"edits": {"agg": "sum", "column": "added"}}});
    assert!(server.put("/api/v1/datasets/edits", &widened).status < 300);
    assert_eq!(rows(&ask(&server, &by_channel())), (0..10).filter(|index| index % 3 != 0).sum::<i64>());
    server.delete("/api/v1/datasets/edits").expect(204);
    server.post("/api/v1/query", &by_channel()).problem(400, "unknown_dataset");
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    assert_eq!(rows(&ask(&server, &by_channel())), 0);
}

#[test]
fn tenants_share_nothing() {
    let server = server_with_long_ticks();
    server.post("/api/v1/ingest/edits?project=red", &json!({"channel": "a"})).expect(200);
    let [red, blue] = ["red", "blue"].map(|project| server.create_key(Some(project), &["query"]));
    let ask = |key: &str| server.request("POST", "/api/v1/query").key(Some(key)).json(&by_channel()).send();
    let named = |project: &str| {
        server.request("POST", "/api/v1/query").header("x-project", project).json(&by_channel()).send()
    };
    for cache in ["miss", "hit"] {
        let (red, blue, own) = (ask(&red), ask(&blue), self::ask(&server, &by_channel()));
        assert_eq!((rows(&red), rows(&blue), rows(&own)), (1, 0, 10));
        assert_eq!([cache_of(&red), cache_of(&blue), cache_of(&own)], [cache; 3]);
    }
    assert_eq!((rows(&named("red")), rows(&named("blue"))), (1, 0));
    assert_eq!(ask(&red).status, 200);
    let path = "/api/v1/query?dataset=edits&metrics=edits&dimensions=channel&date_range=all";
    let foreign = server.request("GET", path).key(Some(&blue)).header("x-project", "red");
    foreign.send().problem(403, "wrong_project");
    let id = |name: &str| {
        let keys = server.get("/api/v1/keys").expect(200).json();
        let key = keys["keys"].as_array().expect("keys").iter().find(|key| key["project"] == name).cloned();
        key.expect("it is listed")["id"].as_str().expect("an id").to_owned()
    };
    server.delete(&format!("/api/v1/keys/{}", id("red"))).expect(204);
    ask(&red).problem(401, "invalid_credentials");
}

#[test]
fn bad_requests_are_told_so_beside_a_kept_answer() {
    let server = server_with_long_ticks();
    ask(&server, &by_channel());
    let with_header = |name: &str, value: &str| {
        server.request("POST", "/api/v1/query").json(&by_channel()).header(name, value).send()
    };
    with_header("accept", "image/png").problem(406, "not_acceptable");
    with_header("content-encoding", "br").problem(415, "unsupported_encoding");
    let text = server.request("POST", "/api/v1/query").header("content-type", "text/plain");
    text.raw(by_channel().to_string().as_bytes()).send().problem(415, "unsupported_media_type");
    for _ in 0..2 {
        let question = with(&by_channel(), json!({"metrics": ["edit"]}));
        server.post("/api/v1/query", &question).problem(400, "unknown_metric");
    }
}

#[test]
fn a_first_page_from_the_cache_has_a_cursor_that_works() {
    let server = Server::start_with(&[("TIDEWATER_QUERY__CURSOR_TTL_MS", "1000")]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server.ingest("edits", &crate::server::edit_rows(9));
    let question = with(&by_channel(), json!({"pagination": {"limit": 1}}));
    let spelled = with(&question, json!({"timezone": "UTC"}));
    let next = |question: &Value, reply: &Reply| {
        let cursor = reply.json()["meta"]["next_cursor"].clone();
        ask(&server, &with(question, json!({"pagination": {"limit": 1, "cursor": cursor}})))
    };
    ask(&server, &question);
    for question in [&question, &spelled, &question, &spelled] {
        let first = ask(&server, question);
        assert_eq!(cache_of(&first), "hit");
        let second = next(question, &first);
        assert_eq!((&second.json()["results"][0]["dimensions"][0], cache_of(&second)), (&json!("b"), "hit"));
    }
    // The answer behind the cursor is gone, so the first page is computed anew rather than handed out without it.
    std::thread::sleep(Duration::from_millis(1_200));
    let first = ask(&server, &question);
    assert_eq!(cache_of(&first), "miss");
    next(&question, &first);
}

#[test]
fn a_batch_takes_what_is_there() {
    let server = server_with_edits(10);
    let other = with(&by_channel(), json!({"dimensions": []}));
    let batch = |queries: Value| server.post("/api/v1/query/batch", &json!({"queries": queries})).expect(200);
    assert_eq!(cache_of(&batch(json!([by_channel()]))), "miss");
    assert_eq!(cache_of(&batch(json!([by_channel(), by_channel()]))), "hit");
    assert_eq!(cache_of(&batch(json!([by_channel(), other]))), "partial");
    assert_eq!(cache_of(&ask(&server, &other)), "hit");
}

#[test]
fn a_crowd_costs_one_computation() {
    let server = server_with_long_ticks();
    let rows: Vec<Value> =
        (0..20_000).map(|index| json!({"ts": 1_767_225_600 + index, "user": format!("u{index}")})).collect();
    server.ingest("edits", &Value::from(rows));
    let question = json!({"dataset": "edits", "metrics": ["edits", "editors"], "dimensions": ["user"], "date_range": "all"});
    let tags: Vec<String> = std::thread::scope(|scope| {
        let asks: Vec<_> = (0..8).map(|_| scope.spawn(|| ask(&server, &question))).collect();
        let replies = asks.into_iter().map(|ask| ask.join().expect("an answer"));
        replies.map(|reply| reply.header("etag").expect("a tag").to_owned()).collect()
    });
    assert!(tags.iter().all(|tag| *tag == tags[0]));
    assert_eq!(server.metric("cache_misses_total{cache=\"answers\"}"), Some(1.0));
    let hits = |cache| server.metric(&format!("cache_hits_total{{cache=\"{cache}\"}}"));
    // Who came after the first reply was written got that one.
    assert_eq!(hits("answers").zip(hits("replies")).map(|(answers, replies)| answers + replies), Some(7.0));
    assert!(server.metric("tidewater_single_flight_shared_total").is_some());
}

#[test]
fn a_cache_without_room_keeps_nothing() {
    let server = Server::start_with(&[("TIDEWATER_CACHE__ANSWERS_BYTES_MAX", "0")]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    for _ in 0..2 {
        assert_eq!(cache_of(&ask(&server, &by_channel())), "miss");
    }
}
