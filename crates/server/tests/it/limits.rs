//! Limits of callers, keys, projects and addresses: what passes, what a caller over a limit is told, and that it gets what is there.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Reply, Server, edit_rows, edits};

fn server_with(settings: &[(&str, &str)]) -> Server {
    let server = Server::start_with(settings);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server.ingest("edits", &edit_rows(30));
    server
}

fn ask(server: &Server, key: &str, question: &Value) -> Reply {
    server.request("POST", "/api/v1/query").key(Some(key)).json(question).send()
}

fn count(extra: Value) -> Value {
    let mut question = json!({"dataset": "edits", "metrics": ["edits"], "date_range": "all"});
    for (name, value) in extra.as_object().expect("members") {
        question[name] = value.clone();
    }
    question
}

/// Checks that a reply is 429 for this limit and says all it should; gives its body.
#[track_caller]
fn limited(reply: &Reply, limit: &str) -> Value {
    let problem = reply.clone().problem(429, "rate_limited");
    assert_eq!(problem["limit"], limit, "{problem:#}");
    let retry_after = reply.header("retry-after").expect("it says when to come back");
    let seconds: u64 = retry_after.parse().expect("whole seconds");
    assert!((1..=86_401).contains(&seconds), "{retry_after}");
    assert_eq!(problem["retry_after_s"], seconds);
    assert_eq!(reply.header("ratelimit"), Some(format!("\"{limit}\";r=0;t={seconds}").as_str()));
    let policy = reply.header("ratelimit-policy").expect("it names the policy");
    assert!(policy.starts_with(&format!("\"{limit}\";q=")), "{policy}");
    problem
}

#[test]
fn a_caller_over_its_limit_gets_what_is_cached_and_else_429() {
    let settings =
        [("TIDEWATER_LIMITS__DEVELOPER_PER_MINUTE", "6"), ("TIDEWATER_LIMITS__DEVELOPER_BURST", "4")];
    let server = server_with(&settings);
    let key = server.create_key(None, &["query"]);
    let question = count(json!({}));
    for left in (0..4).rev() {
        let reply = ask(&server, &key, &question).expect(200);
        let stands = reply.header("ratelimit").expect("it says what is left");
        assert!(stands.starts_with(&format!("\"requests\";r={left};t=")), "{stands}");
        assert_eq!(reply.header("ratelimit-policy"), Some("\"requests\";q=4;w=40"));
        assert_eq!(reply.header("x-served-from-cache"), None);
    }
    // The same words, then the same meaning in other words, then another question.
    for question in [question.clone(), count(json!({"pagination": {"limit": 1000}}))] {
        let kept = ask(&server, &key, &question).expect(200);
        assert_eq!(kept.header("x-served-from-cache"), Some("true"));
        assert_eq!(kept.header("age"), Some("0"));
        assert_eq!(kept.json()["results"][0]["metrics"][0], 30);
    }
    limited(&ask(&server, &key, &count(json!({"dimensions": ["channel"]}))), "requests");
    limited(&ask(&server, &key, &count(json!({"max_staleness_ms": 0}))), "requests");
    limited(&server.request("GET", "/api/v1/datasets").key(Some(&key)).send(), "requests");
    // Rows that came since do not take the answer away; a delete does.
    server.ingest("edits", &json!([{"ts": 1_767_225_600, "event_id": "late"}]));
    let counted = |expected: u64| {
        let kept = ask(&server, &key, &question).expect(200);
        assert_eq!(kept.header("x-served-from-cache"), Some("true"));
        assert_eq!(kept.json()["results"][0]["metrics"][0], expected);
    };
    counted(30);
    // Somebody else's later answer is the one that is given.
    assert_eq!(server.query(&count(json!({"max_staleness_ms": 0})))["results"][0]["metrics"][0], 31);
    counted(31);
    let delete = json!({"dataset": "edits", "filters": [["is", "event_id", ["e3"]]]});
    server.post("/api/v1/rows/delete", &delete).expect(200);
    limited(&ask(&server, &key, &question), "requests");
    // Nobody else is touched.
    let other = server.create_key(None, &["query"]);
    assert_eq!(ask(&server, &other, &question).expect(200).json()["results"][0]["metrics"][0], 30);
    assert_eq!(server.metric("rate_limit_exceeded_total{limit=\"requests\"}"), Some(8.0));
    assert_eq!(server.metric("tidewater_rate_limited_from_cache_total"), Some(4.0));
    assert_eq!(server.metric("tidewater_rate_limit_tracked{of=\"callers\"}"), Some(3.0));
}

#[test]
fn a_kept_answer_is_not_given_past_its_age() {
    let settings = [
        ("TIDEWATER_LIMITS__DEVELOPER_PER_MINUTE", "1"),
        ("TIDEWATER_LIMITS__DEVELOPER_BURST", "1"),
        ("TIDEWATER_LIMITS__CACHED_AGE_MAX_MS", "1500"),
    ];
    let server = server_with(&settings);
    let key = server.create_key(None, &["query"]);
    let question = count(json!({}));
    ask(&server, &key, &question).expect(200);
    server.ingest("edits", &json!([{"ts": 1_767_225_600, "event_id": "late"}]));
    assert_eq!(ask(&server, &key, &question).expect(200).header("x-served-from-cache"), Some("true"));
    std::thread::sleep(Duration::from_millis(1_600));
    limited(&ask(&server, &key, &question), "requests");
}

#[test]
fn a_batch_counts_its_questions_and_comparisons_are_a_class() {
    let settings = [
        ("TIDEWATER_LIMITS__DEVELOPER_PER_MINUTE", "60"),
        ("TIDEWATER_LIMITS__DEVELOPER_BURST", "20"),
        ("TIDEWATER_LIMITS__COMPARISON_PER_MINUTE", "2"),
    ];
    let server = server_with(&settings);
    let key = server.create_key(None, &["query"]);
    let compared = |day: u32| {
        let range = json!([format!("2026-01-{day:02}"), format!("2026-01-{day:02}")]);
        count(json!({"date_range": range, "compare": "previous_period"}))
    };
    ask(&server, &key, &compared(1)).expect(200);
    ask(&server, &key, &compared(2)).expect(200);
    // Answers that are there are free, others are not.
    assert_eq!(ask(&server, &key, &compared(1)).expect(200).header("x-served-from-cache"), None);
    limited(&ask(&server, &key, &compared(3)), "comparison");
    let batch = json!({"queries": vec![compared(4); 30]});
    let reply = server.request("POST", "/api/v1/query/batch").key(Some(&key)).json(&batch).send().expect(200);
    assert_eq!(reply.json()["answers"][0]["code"], "rate_limited");
    // The batch was let in and is owed.
    limited(&ask(&server, &key, &count(json!({"dimensions": ["user"]}))), "requests");
    // Admins have the limit of their role alone.
    (1..=9).for_each(|day| drop(server.query(&compared(day))));
}

#[test]
fn a_large_batch_passes_and_its_rows_are_owed() {
    let settings = [("TIDEWATER_LIMITS__INGEST_ROWS_PER_MINUTE", "60")];
    let server = server_with(&settings);
    let send = |key: &str, rows: &Value| {
        server.request("POST", "/api/v1/ingest/edits").key(Some(key)).json(rows).send()
    };
    let (key, other) = (server.create_key(None, &["ingest"]), server.create_key(None, &["ingest"]));
    send(&key, &edit_rows(90)).expect(200);
    let refused = send(&key, &edit_rows(1));
    let problem = limited(&refused, "ingest_rows");
    assert!((25..=31).contains(&problem["retry_after_s"].as_u64().expect("seconds")), "{problem:#}");
    // A body that is refused is read first, however large, so that its sender hears why.
    limited(&send(&key, &edit_rows(20_000)), "ingest_rows");
    send(&other, &json!([{"event_id": "another"}])).expect(200);
}

#[test]
fn a_project_stores_so_much_a_day_also_across_restarts() {
    let settings =
        [("TIDEWATER_LIMITS__PROJECT_ROWS_PER_DAY", "40"), ("TIDEWATER_LIMITS__USAGE_SAVE_MS", "50")];
    let server = server_with(&settings);
    let send = |server: &Server, project: &str, count: usize| {
        let rows: Value = (0..count).map(|_| json!({"user": "u"})).collect();
        server.post(&format!("/api/v1/ingest/edits?project={project}"), &rows)
    };
    // 30 are there from the start; duplicates and repeated requests store nothing.
    server.ingest("edits", &edit_rows(30));
    send(&server, "default", 9).expect(200);
    send(&server, "default", 5).expect(200);
    let refused = send(&server, "default", 1);
    let problem = limited(&refused, "project_rows");
    assert!(refused.header("ratelimit-policy").is_some_and(|policy| policy.contains("q=40;w=86400")));
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("UTC day")), "{problem:#}");
    send(&server, "other", 30).expect(200);
    let server = server.restart();
    limited(&send(&server, "default", 1), "project_rows");
    send(&server, "other", 10).expect(200);
    // What was counted longer ago than it is stored outlives a crash.
    std::thread::sleep(Duration::from_millis(500));
    let server = server.kill_and_restart();
    limited(&send(&server, "other", 1), "project_rows");
    send(&server, "third", 1).expect(200);
}

#[test]
fn an_address_that_tries_keys_is_shut_out_for_a_while() {
    let settings = [
        ("TIDEWATER_LIMITS__ADDRESS_PER_MINUTE", "6000"),
        ("TIDEWATER_LIMITS__FAILED_CREDENTIAL_COST", "600"),
        ("TIDEWATER_SERVER__TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8"),
    ];
    let server = Server::start_with(&settings);
    let from = |forwarded: &str, key: &str| {
        server.request("GET", "/api/v1/datasets").key(Some(key)).header("x-forwarded-for", forwarded).send()
    };
    let shut_out = |forwarded: &str| {
        let tries = (0..100).map(|n| from(forwarded, &format!("guess-{n}")).status);
        tries.take_while(|status| *status == 401).count()
    };
    assert!((9..=11).contains(&shut_out("203.0.113.1")));
    limited(&from("203.0.113.1", crate::server::ADMIN_KEY), "address");
    // What stands before the last untrusted address is made up by the client.
    limited(&from("198.51.100.7, 203.0.113.1, 10.1.1.1", crate::server::ADMIN_KEY), "address");
    from("203.0.113.2", crate::server::ADMIN_KEY).expect(200);
    // One household of IPv6 is one client.
    assert!((9..=11).contains(&shut_out("2001:db8::1")));
    limited(&from("2001:db8::2:1", crate::server::ADMIN_KEY), "address");
    // Health checks answer whatever the address did.
    server.request("GET", "/health/live").header("x-forwarded-for", "203.0.113.1").send().expect(200);
    // Half of a second brings 50 of 6,000 a minute back.
    let since = Instant::now();
    while from("203.0.113.1", crate::server::ADMIN_KEY).status == 429 {
        assert!(since.elapsed() < Duration::from_secs(30), "it comes back");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_forged_header_does_not_help_where_no_proxy_is_trusted() {
    let settings = [
        ("TIDEWATER_LIMITS__ADDRESS_PER_MINUTE", "6000"),
        ("TIDEWATER_LIMITS__FAILED_CREDENTIAL_COST", "600"),
    ];
    let server = Server::start_with(&settings);
    let guess = |n: u32| {
        let forwarded = format!("203.0.113.{}", n % 250);
        server
            .request("GET", "/api/v1/datasets")
            .key(Some("guess"))
            .header("x-forwarded-for", &forwarded)
            .send()
    };
    let tries = (0..100).map(|n| guess(n).status).take_while(|status| *status == 401).count();
    assert!((9..=11).contains(&tries), "{tries}");
}

#[test]
fn thousands_of_addresses_and_guesses_take_bounded_memory() {
    let settings =
        [("TIDEWATER_SERVER__TRUSTED_PROXIES", "127.0.0.1"), ("TIDEWATER_LIMITS__TRACKED_MAX", "500")];
    let server = Server::start_with(&settings);
    for n in 0..3_000u32 {
        let forwarded = std::net::Ipv4Addr::from(0x0b00_0000 + n).to_string();
        let request = server.request("GET", "/api/v1/datasets").key(Some("guess"));
        request.header("x-forwarded-for", &forwarded).send().expect(401);
    }
    assert_eq!(server.metric("tidewater_rate_limit_tracked{of=\"addresses\"}"), Some(500.0));
}

#[test]
fn a_proxy_that_is_no_address_is_refused_at_the_start() {
    let output = Command::new(env!("CARGO_BIN_EXE_tidewater"))
        .args(["serve", "--print-config"])
        .env("TIDEWATER_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, nginx")
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && text.contains("'nginx' is neither an address nor a network"),
        "{text}"
    );
}
