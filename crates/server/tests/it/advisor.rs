//! The question log, warming after a restart, and the roll-up advisor with its verb.

use serde_json::{Value, json};

use crate::server::{Server, edit_rows, edits};

/// A server with enough rows that roll-ups of them pay, in files, and a few questions asked.
fn asked_server(settings: &[(&str, &str)]) -> Server {
    let server = Server::start_with(settings);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server.ingest("edits", &edit_rows(6_000));
    for _ in 0..5 {
        server.query(&by_channel());
    }
    server.query(&json!({"dataset": "edits", "metrics": ["editors"], "date_range": "all", "exact": true}));
    server
}

fn by_channel() -> Value {
    json!({"dataset": "edits", "metrics": ["added", "editors"], "dimensions": ["time:day", "channel"], "date_range": "all",
        "max_staleness_ms": 0})
}

fn advice(server: &Server) -> Value {
    let reply = server.get("/api/v1/advisor?dataset=edits").expect(200).json();
    assert_eq!(reply["datasets"].as_array().map(Vec::len), Some(1));
    reply["datasets"][0].clone()
}

#[test]
fn the_log_survives_restarts_and_the_advisor_names_the_roll_up() {
    let server = asked_server(&[("TIDEWATER_CACHE__WARM_QUESTIONS_MAX", "0")]);
    let before = advice(&server);
    assert_eq!(before["questions"], 2, "{before:#}");
    let server = server.restart();
    let after = advice(&server);
    for member in ["questions", "raw_ms", "recorded_since"] {
        assert_eq!(after[member], before[member], "{member}");
    }
    let suggestion = &after["suggestions"][0];
    let rollup = json!({"name": "channel", "dimensions": ["channel"], "metrics": ["added", "editors"], "tiers": ["1d"]});
    assert_eq!(suggestion["definition"], json!({"rollups": [rollup]}), "{after:#}");
    assert_eq!((&suggestion["serves"]["questions"], &suggestion["serves"]["asked"]), (&json!(1), &json!(5)));
    assert_eq!(suggestion["examples"][0]["question"]["date_range"], "all");
    let estimate = &suggestion["estimate"]["tiers"][0];
    // 6,000 minutes are 4.2 days, so 5 days of 3 channels.
    assert_eq!(
        (&estimate["rows"], &estimate["sample_rows"], &estimate["pays"]),
        (&json!(15), &json!(6_000), &json!(true))
    );
    assert_eq!(after["unserved"][0]["reason"], "exact");

    server.put("/api/v1/datasets/edits", &suggestion["definition"]).expect(200);
    let declared = advice(&server);
    assert_eq!(declared["suggestions"], json!([]), "what is declared is not advised: {declared:#}");
    assert!(declared["covered_raw_ms"].as_f64() > Some(0.0));
    let killed = server.kill_and_restart();
    assert_eq!(advice(&killed)["questions"], 2, "what was stored is there after a kill");
}

#[test]
fn a_start_computes_the_recorded_questions() {
    let server = asked_server(&[]).restart();
    server.wait_until("both questions are warm", || {
        server.metric("tidewater_questions_warmed_total") == Some(2.0)
    });
    let asked = &advice(&server)["suggestions"][0]["serves"]["asked"];
    assert_eq!(asked, 5, "warming is not counted as asking");
    let off = Server::start_with(&[("TIDEWATER_CACHE__QUESTIONS_MAX", "0")]);
    off.put("/api/v1/datasets/edits", &edits()).expect(201);
    off.query(&by_channel());
    assert_eq!(off.metric("tidewater_questions_recorded"), Some(0.0));
}

#[test]
fn questions_are_shown_to_administrators_of_their_project_only() {
    let server = asked_server(&[]);
    let ask = |key: &str, path: &str| server.request("GET", path).key(Some(key)).send();
    let reader = server.create_key(None, &["query"]);
    ask(&reader, "/api/v1/advisor").problem(403, "missing_scope");
    let other = server.create_key(Some("other"), &["admin"]);
    let seen = ask(&other, "/api/v1/advisor").expect(200).json();
    assert_eq!(seen["datasets"][0]["questions"], 0, "{seen:#}");
    assert_eq!(seen["datasets"][0]["suggestions"], json!([]));
    ask(&other, "/api/v1/advisor?project=default").problem(403, "wrong_project");
    server.get("/api/v1/advisor?dataset=edist").problem(404, "unknown_dataset");
}

#[test]
fn declared_roll_ups_are_shown_while_they_are_built_and_after() {
    let server = asked_server(&[
        ("TIDEWATER_STORE__FLUSH_INTERVAL_MS", "50"),
        ("TIDEWATER_STORE__MAINTENANCE_INTERVAL_MS", "50"),
    ]);
    assert_eq!(server.get("/api/v1/rollups").expect(200).json(), json!({"rollups": []}));
    server.wait_until("the rows are in files", || server.metric("tidewater_memtable_rows") == Some(0.0));
    let rollups = json!([{"name": "channels", "dimensions": ["channel"], "metrics": ["edits", "added"], "tiers": ["1h", "1d"]},
        {"name": "events", "dimensions": ["event_id"], "tiers": ["1m"]}]);
    server.put("/api/v1/datasets/edits", &json!({ "rollups": rollups })).expect(200);
    let tiers = || server.get("/api/v1/rollups?dataset=edits").expect(200).json()["rollups"].clone();
    let is_built = |tier: &Value| {
        tier["segments_total"].as_u64() > Some(0) && tier["segments_built"] == tier["segments_total"]
    };
    server.wait_until("they are built for the rows there are", || {
        tiers().as_array().is_some_and(|tiers| tiers.len() == 3 && tiers.iter().all(is_built))
    });
    let tiers = tiers();
    let state = |index: usize| {
        (tiers[index]["rollup"].as_str(), tiers[index]["tier"].as_str(), tiers[index]["state"].as_str())
    };
    assert_eq!(state(1), (Some("channels"), Some("1d"), Some("stored")), "{tiers:#}");
    // 6,000 minutes of 3 channels lie in 5 days.
    assert_eq!(tiers[1]["rows"], 15);
    assert_eq!(state(2), (Some("events"), Some("1m"), Some("not_paying")), "one row a group: {tiers:#}");
    assert_eq!(tiers[1]["last_used"], Value::Null);
    let question = json!({"dataset": "edits", "metrics": ["edits"], "dimensions": ["time:day", "channel"], "date_range": "all"});
    assert_eq!(server.query(&question)["meta"]["source"], "rollup:channels/1d");
    let used = server.get("/api/v1/rollups?dataset=edits").expect(200).json();
    assert!(used["rollups"][1]["last_used"].is_string(), "{used:#}");
    let advice = advice(&server);
    assert_eq!(advice["unused"][0]["rollup"], "events", "{advice:#}");
    assert_eq!(advice["tiers_not_paying"], json!([{"rollup": "events", "tier": "1m"}]));
    let bound = server.create_key(Some("default"), &["admin"]);
    server.request("GET", "/api/v1/rollups").key(Some(&bound)).send().problem(403, "wrong_project");
    server.get("/api/v1/rollups?dataset=edist").problem(404, "unknown_dataset");
}

#[test]
fn answers_from_the_cache_count_as_asked() {
    let server = Server::start_with(&[("TIDEWATER_CACHE__TICK_MS", "600000")]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server.ingest("edits", &edit_rows(6_000));
    let mut question = by_channel();
    question.as_object_mut().expect("an object").remove("max_staleness_ms");
    for _ in 0..4 {
        server.query(&question);
    }
    assert_eq!(advice(&server)["suggestions"][0]["serves"]["asked"], 4);
    let server = server.restart();
    assert_eq!(advice(&server)["suggestions"][0]["serves"]["asked"], 4);
}
