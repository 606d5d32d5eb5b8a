//! The façade over a real store in a temporary folder: bounds, cancellation, cursors, keys, shutdown.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tidewater_decode::{Encoding, Format, Unknown};
use tidewater_model::names::ProjectName;
use tidewater_model::query::QueryRequest;
use tidewater_model::schema::DatasetDefinition;
use tidewater_model::time::Timestamp;
use tidewater_query::{AnswerRows, Control, ExecuteError, Executor, ExecutorConfig};
use tidewater_store::disk::RealDisk;
use tidewater_store::{ManualClock, Store, StoreConfig};

use crate::admission::Errand;
use crate::{
    CacheUse, Class, Engine, EngineConfig, EngineError, IngestReply, IngestRequest, NewKey, Origin, Reason,
    Refusal, Scope, Warmed, default_project,
};

const NOW: Timestamp = Timestamp(1_767_225_600_000_000);

struct Fixture {
    engine: Engine,
    clock: ManualClock,
    folder: TempDir,
}

impl Fixture {
    fn new(adjust: impl FnOnce(&mut EngineConfig)) -> Self {
        Fixture::open(TempDir::new().expect("a temporary folder"), adjust)
    }

    fn open(folder: TempDir, adjust: impl FnOnce(&mut EngineConfig)) -> Self {
        let clock = ManualClock::new(NOW);
        let mut store = StoreConfig::new(folder.path());
        store.disk_free_min_bytes = 0;
        let store = Store::open(store, Arc::new(RealDisk), Arc::new(clock.clone())).expect("the store opens");
        let executor = Executor::new(ExecutorConfig { threads: 1, ..ExecutorConfig::default() });
        let mut config = EngineConfig::new(folder.path().to_owned());
        adjust(&mut config);
        let engine =
            Engine::open(store, executor, Arc::new(clock.clone()), config).expect("the engine opens");
        let definition =
            json!({"time": "ts", "columns": {"name": "string"}, "metrics": {"rows": {"agg": "count"}}});
        let definition =
            DatasetDefinition::from_json(definition.to_string().as_bytes()).expect("a definition");
        engine.store().put_dataset("d", definition).expect("the dataset is made");
        Fixture { engine, clock, folder }
    }

    async fn ingest(&self, body: String) -> Result<IngestReply, EngineError> {
        let request = IngestRequest {
            dataset: "d".to_owned(),
            project: default_project(),
            format: Format::Ndjson,
            origin: Origin::Client,
            encoding: Encoding::Identity,
            body: body.into(),
            unknown: Unknown::Reject,
            token: None,
            permit: self.engine.admit(0)?,
        };
        self.engine.ingest(request).await
    }

    async fn ingest_names(&self, count: usize) {
        let body: Vec<String> =
            (0..count).map(|index| json!({"name": format!("n{index:05}")}).to_string()).collect();
        let reply = self.ingest(body.join("\n")).await.expect("the rows are stored");
        assert_eq!(reply.accepted, count as u64);
    }
}

fn names(limit: u32, cursor: Option<String>) -> QueryRequest {
    let question = json!({"dataset": "d", "metrics": ["rows"], "dimensions": ["name"], "date_range": "all",
        "pagination": {"limit": limit, "cursor": cursor}});
    QueryRequest::from_json(&question).expect("a question")
}

/// Rows that expire before a cursor does, so that an answer about them cannot be made again.
fn expire_soon(fixture: &Fixture) {
    let retention = DatasetDefinition::from_json(br#"{"retention": {"raw": "2m"}}"#).expect("a definition");
    fixture.engine.store().put_dataset("d", retention).expect("the dataset is widened");
}

#[tokio::test]
async fn pages_are_the_same_from_memory_again_and_from_disk() {
    for (cursor_bytes_max, is_repeatable) in [(24 << 20, true), (0, true), (0, false)] {
        let fixture = Fixture::new(|config| config.cursor_bytes_max = cursor_bytes_max);
        if !is_repeatable {
            expire_soon(&fixture);
        }
        fixture.ingest_names(2_500).await;
        let whole = fixture.engine.query(names(10_000, None), default_project()).await.expect("an answer");
        let mut rows = AnswerRows::default();
        let mut cursor = None;
        loop {
            let page = fixture.engine.query(names(999, cursor), default_project()).await.expect("a page");
            page.page.rows.iter().for_each(|row| rows.push(row));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
            // What comes meanwhile is not part of the answer.
            fixture.ingest_names(3_000).await;
        }
        assert_eq!(rows, whole.page.rows);
        let (answers, memory, disk) = fixture.engine.cursor_usage();
        assert_eq!((answers, memory == 0, disk > 0), (1, !is_repeatable, !is_repeatable));
        let left = std::fs::read_dir(fixture.folder.path().join("spill")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "spilled answers have no name");
    }
}

#[tokio::test]
async fn open_cursors_are_bounded() {
    let fixture = Fixture::new(|config| (config.cursor_bytes_max, config.cursor_spill_bytes_max) = (0, 1));
    expire_soon(&fixture);
    fixture.ingest_names(10).await;
    fixture.engine.query(names(100, None), default_project()).await.expect("a whole answer needs no cursor");
    let paged = fixture.engine.query(names(1, None), default_project()).await;
    assert!(matches!(paged, Err(EngineError::Overloaded { .. })), "{paged:?}");
}

#[tokio::test]
async fn a_dropped_future_cancels_its_question() {
    let fixture = Fixture::new(|_| {});
    let (sender, receiver) = mpsc::channel();
    let project = default_project();
    let task = move |control: &Control| {
        while !control.cancel.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        sender.send(()).expect("the test waits");
        Ok(())
    };
    let run = fixture.engine.run(Errand::one(&project, "d"), task);
    let waited = tokio::time::timeout(Duration::from_millis(50), run).await;
    assert!(waited.is_err());
    receiver.recv_timeout(Duration::from_secs(30)).expect("the task saw that it was cancelled");
    assert_eq!(fixture.engine.running_count(), 0);
}

#[tokio::test]
async fn questions_wait_in_a_bounded_queue_and_can_be_cancelled() {
    let fixture = Fixture::new(|config| (config.queries_running_max, config.queries_waiting_max) = (1, 0));
    let engine = fixture.engine.clone();
    let running =
        tokio::spawn(async move { engine.run(Errand::one(&default_project(), "d"), until_cancelled).await });
    while fixture.engine.running_count() == 0 {
        tokio::task::yield_now().await;
    }
    let refused = fixture.engine.query(names(1, None), default_project()).await;
    assert!(matches!(refused, Err(EngineError::Overloaded { .. })), "{refused:?}");
    let id = fixture.engine.running()[0].id;
    fixture.engine.cancel(id).expect("it runs");
    let cancelled = running.await.expect("no panic");
    assert!(matches!(cancelled, Err(EngineError::Query(ExecuteError::Cancelled))), "{cancelled:?}");
    assert!(matches!(fixture.engine.cancel(id), Err(EngineError::UnknownQuery)));
}

/// Runs until it is cancelled.
fn until_cancelled(control: &Control) -> Result<(), EngineError> {
    while !control.cancel.is_cancelled() {
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(ExecuteError::Cancelled.into())
}

fn costly(control: &Control) -> Result<(), EngineError> {
    match control.cost_max {
        Some(cost) => Err(ExecuteError::Costly { cost }.into()),
        None => until_cancelled(control),
    }
}

#[tokio::test]
async fn heavy_questions_beside_light_ones() {
    let fixture = Fixture::new(|config| {
        (config.queries_running_max, config.heavy_running_max) = (3, 1);
        config.wait_max = Duration::from_millis(200);
    });
    let engine = &fixture.engine;
    let heavy: Vec<_> = (0..3)
        .map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.run(Errand::one(&default_project(), "d"), costly).await })
        })
        .collect();
    let stands = |class: Class| {
        let stats = engine.admission_stats();
        (stats.running[class.place()].1, stats.waiting[class.place()].1)
    };
    while stands(Class::Heavy) != (1, 2) {
        tokio::task::yield_now().await;
    }
    assert_eq!(stands(Class::Light), (0, 0), "they have given back their light places");
    fixture.ingest_names(10).await;
    engine.query(names(100, None), default_project()).await.expect("a light question is answered");
    for waiting in heavy.into_iter().map(|task| async { task.await.expect("no panic") }) {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            // The one that runs ends when it is cancelled, those that wait when their time is over.
            while engine.admission_stats().refused[Reason::WaitedTooLong.place()].1 < 2 {
                tokio::task::yield_now().await;
            }
            engine.running().iter().for_each(|running| drop(engine.cancel(running.id)));
            waiting.await
        });
        let outcome = waited.await.expect("it ends");
        assert!(
            matches!(
                &outcome,
                Err(EngineError::Overloaded { retry_after_s: 1.., .. }
                    | EngineError::Query(ExecuteError::Cancelled))
            ),
            "{outcome:?}"
        );
    }
    assert_eq!((engine.running_count(), stands(Class::Heavy)), (0, (0, 0)));
}

#[tokio::test]
async fn who_finds_no_memory_waits_for_it_and_is_told_when_there_is_none() {
    let fixture = Fixture::new(|config| config.wait_max = Duration::from_millis(200));
    let engine = &fixture.engine;
    let tries = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let busy = |until: u32| {
        let tries = Arc::clone(&tries);
        move |_: &Control| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            count if count < until => Err(EngineError::from(ExecuteError::Busy { limit: 1 })),
            _ => Ok(()),
        }
    };
    engine.run(Errand::one(&default_project(), "d"), busy(1)).await.expect("its second try is alone");
    tries.store(0, std::sync::atomic::Ordering::SeqCst);
    engine
        .run(Errand::one(&default_project(), "d"), busy(3))
        .await
        .expect("light ones let go of it meanwhile");
    tries.store(0, std::sync::atomic::Ordering::SeqCst);
    let refused = engine.run(Errand::one(&default_project(), "d"), busy(u32::MAX)).await;
    assert!(matches!(refused, Err(EngineError::Overloaded { .. })), "{refused:?}");
    assert_eq!(engine.admission_stats().refused[Reason::Memory.place()].1, 1);
}

#[tokio::test]
async fn cursors_of_a_flood_end_early_and_memory_stays_bounded() {
    let fixture = Fixture::new(|config| config.cursor_bytes_max = 64 << 10);
    fixture.ingest_names(3).await;
    let mut cursors = Vec::new();
    for index in 0..40 {
        let question = json!({"dataset": "d", "metrics": [{"agg": "count", "as": format!("m{index}")}],
            "dimensions": ["name"], "date_range": "all", "max_staleness_ms": 0, "pagination": {"limit": 1}});
        let question = QueryRequest::from_json(&question).expect("a question");
        let reply = fixture.engine.query(question.clone(), default_project()).await.expect("an answer");
        cursors.push(QueryRequest { cursor: reply.next_cursor, ..question });
    }
    let (_, memory, _) = fixture.engine.cursor_usage();
    assert!(memory <= 64 << 10, "{memory} bytes");
    assert!(fixture.engine.cursors_ended_early() > 0);
    let first = fixture.engine.query(cursors.remove(0), default_project()).await;
    assert!(matches!(first, Err(EngineError::CursorExpired)), "{first:?}");
    let last = cursors.pop().expect("there are many");
    fixture.engine.query(last, default_project()).await.expect("the latest goes on");
}

#[tokio::test]
async fn a_cursor_ends_with_its_dataset() {
    let fixture = Fixture::new(|config| config.cursor_bytes_max = 0);
    fixture.ingest_names(3).await;
    let question = json!({"dataset": "d", "metrics": ["rows"], "dimensions": ["name"], "date_range": "all",
        "pagination": {"limit": 1}});
    let question = QueryRequest::from_json(&question).expect("a question");
    let first = fixture.engine.query(question.clone(), default_project()).await.expect("an answer");
    let further = QueryRequest { cursor: first.next_cursor, ..question };
    fixture.engine.query(further.clone(), default_project()).await.expect("it is made again");
    fixture.engine.drop_dataset("d".to_owned()).await.expect("it is there");
    let other = json!({"time": "ts", "columns": {"size": "int", "name": "string"}, "metrics": {"rows": {"agg": "count"}}});
    let other = DatasetDefinition::from_json(other.to_string().as_bytes()).expect("a definition");
    fixture.engine.put_dataset("d".to_owned(), other).await.expect("the name is free");
    let after = fixture.engine.query(further, default_project()).await;
    assert!(matches!(after, Err(EngineError::CursorExpired)), "{after:?}");
}

#[tokio::test]
async fn large_bodies_do_not_pass_the_budget_together() {
    let fixture = Fixture::new(|config| config.ingest_bytes_max = 1_000);
    let held = fixture.engine.admit(900).expect("fits");
    assert!(matches!(fixture.engine.admit(200), Err(EngineError::Overloaded { .. })));
    drop(held);
    assert_eq!(fixture.engine.in_flight_bytes(), 0);
}

#[tokio::test]
async fn keys_last_and_end() {
    let fixture = Fixture::new(|_| {});
    let new = |project: Option<&str>, expires_at| NewKey {
        name: "k".to_owned(),
        project: project.map(|name| ProjectName::new(name).expect("a name")),
        scopes: vec![Scope::Query],
        expires_at,
        ..NewKey::default()
    };
    let keys = fixture.engine.keys();
    let (red, red_secret) = keys.create(new(Some("red"), None), NOW).expect("made");
    let (brief, brief_secret) = keys.create(new(None, Some(Timestamp(NOW.0 + 10))), NOW).expect("made");
    assert!(keys.verify(&brief_secret, NOW).is_ok());
    fixture.clock.advance_us(10);
    assert_eq!(keys.verify(&brief_secret, fixture.engine.now()).map(|_| ()), Err(Refusal::Expired));
    assert_eq!(keys.verify("tw_other", NOW).map(|_| ()), Err(Refusal::Unknown));
    assert!(matches!(keys.revoke(&red.id, Some("blue")), Err(EngineError::UnknownKey)));
    let Fixture { engine, folder, .. } = fixture;
    engine.close().expect("it closes");
    drop(engine);

    let again = Fixture::open(folder, |_| {});
    let access = again.engine.keys().verify(&red_secret, NOW).expect("it is still there");
    assert_eq!(
        (&*access.subject, access.project().cloned()),
        (red.id.as_str(), ProjectName::new("red").ok())
    );
    let listed = again.engine.keys().list();
    let used =
        |id: &str| listed.iter().find(|listed| listed.key.id == id).and_then(|listed| listed.last_used_at);
    assert_eq!(used(&red.id), Some(NOW), "its use just now");
    assert!(used(&brief.id).is_some(), "a use before the restart is remembered");
    again.engine.keys().revoke(&red.id, Some("red")).expect("revoked");
    assert_eq!(again.engine.keys().verify(&red_secret, NOW).map(|_| ()), Err(Refusal::Unknown));
}

#[tokio::test]
async fn a_rotated_key_has_two_secrets_for_a_while() {
    let fixture = Fixture::new(|_| {});
    let keys = fixture.engine.keys();
    let new = NewKey { name: "k".to_owned(), scopes: vec![Scope::Query], ..NewKey::default() };
    let (key, first) = keys.create(new, NOW).expect("made");
    let grace = Duration::from_secs(60);
    let (_, second) = keys.rotate(&key.id, None, grace, NOW).expect("rotated");
    let at = |seconds: i64| Timestamp(NOW.0 + seconds * 1_000_000);
    let good = |keys: &crate::Keys, secret: &str, seconds| keys.verify(secret, at(seconds)).is_ok();
    assert!(good(keys, &first, 59) && !good(keys, &first, 60) && good(keys, &second, 60));
    assert_eq!(keys.list()[0].replaced_until, Some(at(60)));
    let (_, third) = keys.rotate(&key.id, None, grace, at(1)).expect("rotated");
    assert!(!good(keys, &first, 1), "one secret before the current one is good, not two");
    let Fixture { engine, folder, .. } = fixture;
    engine.close().expect("it closes");
    drop(engine);

    let again = Fixture::open(folder, |_| {});
    let keys = again.engine.keys();
    assert!(good(keys, &second, 2) && good(keys, &third, 2), "both outlive a restart");
    assert_eq!(keys.list().len(), 1);
    let (_, fourth) = keys.rotate(&key.id, None, Duration::ZERO, at(2)).expect("rotated");
    assert!(!good(keys, &third, 2) && good(keys, &fourth, 2), "without grace the secret before ends at once");
    keys.revoke(&key.id, None).expect("revoked");
    assert!([&second, &third, &fourth].iter().all(|secret| !good(keys, secret, 2)));
    assert!(matches!(keys.rotate(&key.id, None, grace, at(3)), Err(EngineError::UnknownKey)));
}

#[tokio::test]
async fn a_closed_engine_takes_nothing_more() {
    let fixture = Fixture::new(|_| {});
    fixture.ingest_names(3).await;
    assert!(fixture.engine.readiness().await.iter().all(|part| part.fault.is_none()));
    fixture.engine.stop_accepting();
    let refused = fixture.ingest("{}".to_owned()).await;
    assert!(matches!(refused, Err(EngineError::ShuttingDown)), "{refused:?}");
    let answer = fixture.engine.query(names(10, None), default_project()).await.expect("questions drain");
    assert_eq!(answer.facts.total_rows, 3);
    fixture.engine.close().expect("it closes");
    let parts = fixture.engine.readiness().await;
    assert!(parts.iter().any(|part| part.name == "server" && part.fault.is_some()), "{parts:?}");
}

#[tokio::test]
async fn callers_at_the_same_time_share_one_computation() {
    let fixture = Fixture::new(|_| {});
    fixture.ingest_names(2_000).await;
    let ask = || {
        let engine = fixture.engine.clone();
        tokio::spawn(
            async move { engine.query(names(10, None), default_project()).await.expect("an answer") },
        )
    };
    let asked: Vec<_> = (0..20).map(|_| ask()).collect();
    let mut pages = Vec::new();
    for reply in asked {
        pages.push(reply.await.expect("no panic").page);
    }
    assert!(pages.iter().all(|page| Arc::ptr_eq(page, &pages[0])));
    let stats = fixture.engine.answer_stats();
    assert_eq!((stats.misses, stats.hits), (1, 19));
}

/// What `rate` and a comparison with "the same time before" give moves with every instant; the rest does not.
#[tokio::test]
async fn answers_that_move_with_the_clock_are_not_kept_beyond_it() {
    let fixture = Fixture::new(|config| config.tick = Duration::ZERO);
    fixture.ingest_names(6).await;
    let moving = [
        json!({"dataset": "d", "metrics": [{"agg": "rate"}], "date_range": "1h"}),
        json!({"dataset": "d", "metrics": ["rows"], "date_range": "1h", "compare": "previous_period"}),
    ];
    let standing = json!({"dataset": "d", "metrics": ["rows"], "date_range": "1h"});
    let filled = json!({"dataset": "d", "metrics": ["rows"], "date_range": "day", "dimensions": ["time:minute"],
        "include": {"fill": true, "total_rows": true}});
    let ask = async |question: &serde_json::Value| {
        let request = QueryRequest::from_json(question).expect("a question");
        fixture.engine.query(request, default_project()).await.expect("an answer")
    };
    let rows = async || ask(&filled).await.facts.total_rows;
    assert_eq!((rows().await, ask(&standing).await.cache), (1, CacheUse::Miss));
    for question in &moving {
        ask(question).await;
    }
    for (advance_us, has_moved) in [(1, true), (7_000_000, true)] {
        fixture.clock.advance_us(advance_us);
        assert_eq!(ask(&standing).await.cache, CacheUse::Hit);
        for question in &moving {
            assert_eq!(ask(question).await.cache != CacheUse::Hit, has_moved, "{question}");
        }
    }
    assert_eq!((rows().await, ask(&filled).await.cache), (1, CacheUse::Hit));
    fixture.clock.advance_us(60_000_000);
    assert_eq!(rows().await, 2, "a minute later there is one more bucket to fill");
    assert_ne!(ask(&standing).await.cache, CacheUse::Hit, "the hour begins a minute later");
}

#[tokio::test]
async fn an_error_is_told_and_not_kept() {
    let fixture = Fixture::new(|config| config.query_timeout = Duration::ZERO);
    fixture.ingest_names(6).await;
    for _ in 0..2 {
        let failed = fixture.engine.query(names(10, None), default_project()).await;
        assert!(matches!(failed, Err(EngineError::Query(ExecuteError::Deadline))), "{failed:?}");
    }
    assert_eq!(fixture.engine.answer_stats().bytes, 0);
}

#[tokio::test]
async fn warming_is_bounded_and_stops() {
    let fixture = Fixture::new(|config| config.warm_questions_max = 2);
    fixture.ingest_names(50).await;
    for dimension in [json!(["name"]), json!(["time:day"]), json!([])] {
        let question =
            json!({"dataset": "d", "metrics": ["rows"], "dimensions": dimension, "date_range": "7d"});
        let request = QueryRequest::from_json(&question).expect("a question");
        fixture.engine.query(request, default_project()).await.expect("an answer");
    }
    assert_eq!(fixture.engine.questions_recorded(), 3);
    assert_eq!(fixture.engine.warm().await, Warmed { computed: 2, failed: 0, left: 0 });
    fixture.engine.store().drop_dataset("d").expect("it is dropped");
    assert_eq!(fixture.engine.warm().await, Warmed { computed: 0, failed: 2, left: 0 });
    fixture.engine.stop_accepting();
    assert_eq!(fixture.engine.warm().await, Warmed { computed: 0, failed: 0, left: 2 });
}

#[tokio::test]
async fn a_damaged_question_log_keeps_nothing_from_opening() {
    let fixture = Fixture::new(|_| {});
    fixture.ingest_names(5).await;
    fixture.engine.query(names(10, None), default_project()).await.expect("an answer");
    let Fixture { engine, folder, .. } = fixture;
    engine.close().expect("it closes");
    drop(engine);

    let again = Fixture::open(folder, |_| {});
    assert_eq!(again.engine.questions_recorded(), 1);
    again.engine.store().kv_put("questions", "d/default", b"{\"version\":1,").expect("stored");
    again.engine.store().kv_put("rollup_uses", "d", b"\0").expect("stored");
    // Without a clean stop, which would store the log anew.
    let Fixture { engine, folder, .. } = again;
    drop(engine);
    let damaged = Fixture::open(folder, |_| {});
    assert_eq!(damaged.engine.questions_recorded(), 0);
    damaged.engine.query(names(10, None), default_project()).await.expect("an answer");
    assert_eq!(damaged.engine.questions_recorded(), 1);
}

#[tokio::test]
async fn questions_that_come_while_one_is_computed_are_answered_together() {
    check_questions_at_once(Duration::ZERO).await;
}

#[tokio::test]
async fn questions_with_little_to_read_are_answered_beside_one_that_is_computed() {
    check_questions_at_once(Duration::MAX).await;
}

async fn check_questions_at_once(shared_reading_min: Duration) {
    let fixture = Fixture::new(|config| {
        config.gather = Duration::from_secs(60);
        config.shared_reading_min = shared_reading_min;
    });
    fixture.ingest_names(3_000).await;
    let ask = |limit: u32| {
        let engine = fixture.engine.clone();
        tokio::spawn(
            async move { engine.query(names(limit, None), default_project()).await.expect("an answer") },
        )
    };
    // All but the first wait for its end and not for the minute.
    let asked: Vec<_> = (1..10).map(ask).collect();
    for (limit, reply) in (1..10).zip(asked) {
        let reply = reply.await.expect("no panic");
        assert_eq!((reply.page.rows.len(), reply.facts.total_rows), (limit, 3_000));
    }
    assert_eq!(fixture.engine.running_count(), 0);
    // Who left is not waited for, and an error reaches each.
    let left = ask(20);
    left.abort();
    let mut failing = Vec::new();
    for metric in ["rows", "nothing"] {
        let question = json!({"dataset": "d", "metrics": [metric], "date_range": "all"});
        let request = QueryRequest::from_json(&question).expect("a question");
        failing.push(fixture.engine.query(request, default_project()).await.is_ok());
    }
    assert_eq!(failing, [true, false]);
}
