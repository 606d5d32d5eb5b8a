//! More questions than the server can compute: expensive ones wait and are refused, cheap ones, other tenants, rows and health go on.
//!
//! Not here: who gets a place (decided and tested in `engine::admission::desk`), slow and many connections (`connections`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::server::{Reply, Server, edit_rows, edits};

/// Few places and a short queue; heavy is what has to read anything.
fn small_server() -> Server {
    let server = Server::start_with(&[
        ("TIDEWATER_QUERY__RUNNING_MAX", "2"),
        ("TIDEWATER_QUERY__HEAVY_RUNNING_MAX", "1"),
        ("TIDEWATER_QUERY__HEAVY_FROM_MS", "0"),
        ("TIDEWATER_QUERY__WAITING_MAX", "4"),
        ("TIDEWATER_QUERY__WAIT_MAX_MS", "2000"),
    ]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server
}

fn store(server: &Server, project: &str, rows: &Value) {
    server.post(&format!("/api/v1/ingest/edits?project={project}"), rows).expect(200);
}

/// A question that reads every row of a project whoever has asked before.
fn heavy(project: &str, number: u64) -> Value {
    json!({"dataset": "edits", "project": project, "date_range": "all", "dimensions": ["user"], "exact": true,
        "max_staleness_ms": 0, "filters": [["is_not", "event_id", [format!("no such {number}")]]],
        "metrics": [{"agg": "p95", "column": "added"}, {"agg": "uniq", "column": "event_id"}]})
}

/// A question that is computed each time, from partial results that are there.
fn light(project: &str, number: u64) -> Value {
    json!({"dataset": "edits", "project": project, "date_range": "all", "dimensions": ["channel"], "max_staleness_ms": 0,
        "metrics": [{"agg": "count", "as": format!("edits_{number}")}]})
}

fn refused(server: &Server, reason: &str) -> f64 {
    server.metric(&format!("tidewater_queries_refused_total{{reason=\"{reason}\"}}")).expect("a counter")
}

/// Ends a flood when it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks heavy questions of a project from many threads until `calm` has run; gives what it returned and the flood's replies.
fn during_a_flood<T>(server: &Server, threads: u64, calm: impl FnOnce() -> T) -> (T, Vec<Reply>) {
    let (is_over, next) = (&AtomicBool::new(false), &AtomicU64::new(0));
    std::thread::scope(|scope| {
        let flood = || {
            let mut replies = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                replies.push(server.post("/api/v1/query", &heavy("noisy", number)));
            }
            replies
        };
        let floods: Vec<_> = (0..threads).map(|_| scope.spawn(flood)).collect();
        // Also where what follows fails, or the threads would be waited for for ever.
        let ends = Ends(is_over);
        server.wait_until("the queue of the flood is full", || refused(server, "project_share") > 0.0);
        let outcome = calm();
        drop(ends);
        (outcome, floods.into_iter().flat_map(|flood| flood.join().expect("no panic")).collect())
    })
}

#[test]
fn a_flood_of_heavy_questions_keeps_nobody_else_waiting() {
    let server = small_server();
    store(&server, "noisy", &edit_rows(5_000));
    store(&server, "quiet", &edit_rows(300));
    // Once, so that its partial results are there.
    server.query(&light("quiet", 0));
    let ((), flood) = during_a_flood(&server, 16, || {
        for number in 1..30 {
            let answer = server.query(&light("quiet", number));
            assert_eq!(answer["results"][0]["metrics"][0], 100, "{answer}");
            server.request("GET", "/health/ready").key(None).send().expect(200);
            server.request("GET", "/health/live").key(None).send().expect(200);
            let heavy = server.metric("tidewater_admission_running{class=\"heavy\"}");
            assert!(heavy <= Some(1.0), "{heavy:?} places for heavy questions");
            let rows = json!([{"ts": 1_767_225_600, "event_id": format!("new {number}"), "channel": "a"}]);
            store(&server, "other", &rows);
        }
        // The queue has room for the heavy question of another tenant too.
        server.query(&heavy("quiet", 0));
    });
    let of = |status: u16| flood.iter().filter(|reply| reply.status == status).count();
    assert!(of(200) > 0 && of(503) > 0 && of(200) + of(503) == flood.len(), "{} and {}", of(200), of(503));
    for reply in flood.iter().filter(|reply| reply.status == 503) {
        let retry_after: u64 =
            reply.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
        assert!((1..=60).contains(&retry_after), "{retry_after}");
        assert_eq!(reply.json()["code"], "overloaded", "{}", reply.text());
    }
    let counted: f64 = ["queue_full", "project_share", "waited_too_long", "memory"]
        .map(|reason| refused(&server, reason))
        .iter()
        .sum();
    assert_eq!(counted, of(503) as f64, "every refusal is counted once");
    assert_eq!(server.metric("tidewater_admission_waiting{class=\"heavy\"}"), Some(0.0));
    let waited = server.metric("tidewater_admission_wait_seconds_count{class=\"light\"}");
    assert!(waited >= Some(30.0), "{waited:?}");
}

#[test]
fn who_waits_too_long_is_refused_and_the_place_goes_on() {
    let server = Server::start_with(&[
        ("TIDEWATER_QUERY__RUNNING_MAX", "1"),
        ("TIDEWATER_QUERY__HEAVY_FROM_MS", "0"),
        ("TIDEWATER_QUERY__WAIT_MAX_MS", "0"),
    ]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    store(&server, "noisy", &edit_rows(5_000));
    std::thread::scope(|scope| {
        let flood: Vec<_> = (0..8)
            .map(|thread| {
                let server = &server;
                scope.spawn(move || {
                    let numbers = (0..20).map(move |number| thread * 1_000 + number);
                    numbers
                        .map(|number| server.post("/api/v1/query", &heavy("noisy", number)).status)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let statuses: Vec<u16> =
            flood.into_iter().flat_map(|flood| flood.join().expect("no panic")).collect();
        assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
        assert!(statuses.contains(&200) && statuses.contains(&503), "{statuses:?}");
    });
    assert!(refused(&server, "waited_too_long") > 0.0);
    server.query(&heavy("noisy", 0));
}

#[test]
fn what_many_ask_is_answered_from_the_cache_while_the_server_is_full_and_then_computed_first() {
    let server = small_server();
    store(&server, "noisy", &edit_rows(5_000));
    let ask = |number: u64| {
        let metric = json!({"agg": "count", "as": format!("edits_{number}")});
        let question =
            json!({"dataset": "edits", "project": "noisy", "date_range": "all", "metrics": [metric]});
        let reply = server.post("/api/v1/query", &question).expect(200);
        let is_kept = reply.header("x-served-from-cache") == Some("true");
        assert_eq!(is_kept, reply.header("age").is_some(), "a kept answer says how old it is");
        (reply.json()["results"][0]["metrics"][0].as_u64().expect("a count"), is_kept)
    };
    let numbers = 0..50;
    for number in numbers.clone() {
        assert_eq!(ask(number), (5_000, false));
    }
    let (kept, flood) = during_a_flood(&server, 16, || {
        store(&server, "noisy", &json!([{"ts": 1_767_225_600, "event_id": "one more"}]));
        let mut kept = 0;
        for number in numbers {
            // Nobody has asked it but once, so it is refused like the flood unless it finds room, and the answer of before is there.
            let answer = ask(number);
            assert!(matches!(answer, (5_000, true) | (5_001, false)), "{answer:?}");
            if answer.1 {
                kept += 1;
                assert_eq!(ask(number), (5_001, false), "asked twice, it goes before the flood");
            }
        }
        kept
    });
    assert!(kept > 0 && flood.iter().any(|reply| reply.status == 503), "the server was full");
    assert_eq!(server.metric("tidewater_rate_limited_from_cache_total"), Some(f64::from(kept)));
}
