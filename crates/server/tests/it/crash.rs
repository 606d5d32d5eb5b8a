//! Kills the real server at random moments while writers are at work, and counts what is left.
//!
//! The story: a collector sends batches from several connections; the machine dies; the collector comes back and sends
//! again what was never acknowledged, with the same `Idempotency-Key`. Whatever was acknowledged must be there exactly
//! once, a batch must be there whole or not at all, and a batch sent twice must count once. Memtables are tiny, so kills
//! also hit flushes, catalog commits and compactions.
//!
//! `TIDEWATER_CRASHES` sets the number of kills (default 40; the checks before a release use 200).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::server::Server;
use crate::talk::Sender;

/// Connections that write at once.
const WRITERS: usize = 4;
/// Longest life of a server between two kills, in milliseconds.
const LIFE_MS_MAX: u64 = 250;

/// One writer's batches: how many rows each has, and whether it was acknowledged.
#[derive(Default)]
struct Ledger {
    acknowledged: BTreeMap<u64, u64>,
    /// Sent at least once without a reply; sent again after the restart.
    open: Option<(u64, u64)>,
    next: u64,
}

/// Rows of a batch: small and large ones alternate, so that groups of many records and records of many rows both occur.
fn batch_rows(writer: usize, batch: u64) -> u64 {
    match (batch + writer as u64) % 5 {
        0 => 1,
        1 => 7,
        2 => 300,
        3 => 40,
        _ => 1_500,
    }
}

fn body(writer: usize, batch: u64) -> String {
    const START_S: u64 = 1_760_000_000;
    (0..batch_rows(writer, batch))
        .map(|row| {
            // Times spread over four days, so that a flush writes several segments.
            let ts = START_S + (batch * 7_919 + row * 104_729) % (4 * 86_400);
            format!("{{\"ts\":{ts},\"id\":\"{writer}-{batch}-{row}\",\"writer\":{writer},\"batch\":{batch},\"row\":{row}}}\n")
        })
        .collect()
}

/// Sends batches until the server is gone or `stop` is set.
fn write(sender: &Sender, writer: usize, ledger: &Mutex<Ledger>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let (batch, rows) = {
            let mut ledger = ledger.lock().expect("no writer panics");
            let open = match ledger.open {
                Some(open) => open,
                None => {
                    let batch = ledger.next;
                    ledger.next += 1;
                    (batch, batch_rows(writer, batch))
                }
            };
            ledger.open = Some(open);
            open
        };
        let token = format!("w{writer}-b{batch}");
        let headers = [("content-type", "application/x-ndjson"), ("idempotency-key", token.as_str())];
        let Some((status, reply)) =
            sender.post("/api/v1/ingest/crash", &headers, body(writer, batch).as_bytes())
        else {
            return;
        };
        if matches!(status, 429 | 503) {
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        let reply = String::from_utf8(reply).expect("UTF-8");
        assert_eq!(status, 200, "{reply}");
        let accepted = serde_json::from_str::<Value>(&reply).expect("JSON")["accepted"].clone();
        assert_eq!(accepted, rows, "a batch counts once however often it was sent: {reply}");
        let mut ledger = ledger.lock().expect("no writer panics");
        ledger.acknowledged.insert(batch, rows);
        ledger.open = None;
    }
}

fn stored(server: &Server) -> BTreeMap<(u64, u64), (u64, u64)> {
    let mut found = BTreeMap::new();
    let mut cursor = Value::Null;
    loop {
        let question = json!({"dataset": "crash", "date_range": "all", "exact": true, "dimensions": ["writer", "batch"],
                              "metrics": [{"agg": "count"}, {"agg": "uniq", "column": "id"}],
                              "pagination": {"limit": 10_000, "cursor": cursor}});
        let reply = server.post("/api/v1/query", &question);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let answer = reply.json();
        for row in answer["results"].as_array().expect("rows") {
            let number = |value: &Value| value.as_u64().expect("a number");
            let key = (number(&row["dimensions"][0]), number(&row["dimensions"][1]));
            found.insert(key, (number(&row["metrics"][0]), number(&row["metrics"][1])));
        }
        cursor = answer["meta"]["next_cursor"].clone();
        if cursor.is_null() {
            return found;
        }
    }
}

fn check(server: &Server, ledgers: &[Arc<Mutex<Ledger>>], crash: usize) {
    let found = stored(server);
    for ((writer, batch), (rows, distinct)) in &found {
        let whole = batch_rows(*writer as usize, *batch);
        assert_eq!(
            (*rows, *distinct),
            (whole, whole),
            "crash {crash}: batch {batch} of writer {writer} is whole and single"
        );
    }
    for (writer, ledger) in ledgers.iter().enumerate() {
        let ledger = ledger.lock().expect("no writer panics");
        for batch in ledger.acknowledged.keys() {
            let key = (writer as u64, *batch);
            assert!(
                found.contains_key(&key),
                "crash {crash}: acknowledged batch {batch} of writer {writer} is lost"
            );
        }
    }
}

#[test]
fn a_killed_server_loses_nothing_acknowledged_and_counts_nothing_twice() {
    let crashes: usize =
        std::env::var("TIDEWATER_CRASHES").map_or(40, |text| text.parse().expect("a number"));
    let mut server = Server::start_with(&[
        ("TIDEWATER_STORE__MEMTABLE_BYTES_MAX", "300000"),
        ("TIDEWATER_STORE__FLUSH_INTERVAL_MS", "60"),
    ]);
    let definition = json!({"time": "ts", "id": "id", "sort": ["writer"],
                            "columns": {"id": "string", "writer": "int", "batch": "int", "row": "int"}});
    assert!(server.put("/api/v1/datasets/crash", &definition).status < 300);

    let ledgers: Vec<Arc<Mutex<Ledger>>> = (0..WRITERS).map(|_| Arc::default()).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for crash in 0..crashes {
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = ledgers
            .iter()
            .enumerate()
            .map(|(writer, ledger)| {
                let (sender, ledger, stop) = (Sender::to(&server), Arc::clone(ledger), Arc::clone(&stop));
                thread::spawn(move || write(&sender, writer, &ledger, &stop))
            })
            .collect();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_millis(1 + (random >> 33) % LIFE_MS_MAX));
        stop.store(true, Ordering::Relaxed);
        server = server.kill_and_restart();
        for writer in writers {
            writer.join().expect("the writer saw only replies it may see");
        }
        if crash % 10 == 9 || crash + 1 == crashes {
            check(&server, &ledgers, crash);
        }
    }
    let acknowledged: usize =
        ledgers.iter().map(|ledger| ledger.lock().expect("no writer panics").acknowledged.len()).sum();
    assert!(acknowledged > crashes, "the writers got {acknowledged} batches through {crashes} crashes");
    eprintln!("{crashes} crashes, {acknowledged} acknowledged batches");
}
