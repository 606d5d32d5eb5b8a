//! Kills the real server at random moments while writers are at work, and counts what is left.
//!
//! The story: a collector sends batches from several connections; the machine dies; the collector comes back and sends
//! again what was never acknowledged, with the same `Idempotency-Key`. Whatever was acknowledged must be there exactly
//! once, a batch must be there whole or not at all, and a batch sent twice must count once. Memtables are tiny, so kills
//! also hit flushes, catalog commits and compactions.
//!
//! `TIDEWATER_CRASHES` sets the number of kills (default 40; the checks before a release use 200).

mod raw;
mod rollups;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::server::Server;
use crate::talk::Sender;

/// Connections that write at once.
const WRITERS: usize = 4;
/// Longest life of a server between two kills, in milliseconds.
const LIFE_MS_MAX: u64 = 250;

/// What the writers send.
#[derive(Clone, Copy)]
struct Load {
    dataset: &'static str,
    /// The rows of a writer's batch as NDJSON, the same at every call.
    body: fn(writer: usize, batch: u64) -> String,
}

impl Load {
    fn path(&self) -> String {
        format!("/api/v1/ingest/{}", self.dataset)
    }
}

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

/// Sends batches until the server is gone or `stop` is set.
fn write(sender: &Sender, load: Load, writer: usize, ledger: &Mutex<Ledger>, stop: &AtomicBool) {
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
            sender.post(&load.path(), &headers, (load.body)(writer, batch).as_bytes())
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

/// A server and its writers' ledgers, through many crashes.
struct Torture {
    server: Server,
    load: Load,
    ledgers: Vec<Arc<Mutex<Ledger>>>,
    random: u64,
}

impl Torture {
    /// `settings` go to the server beside tiny memtables.
    fn new(load: Load, settings: &[(&str, &str)]) -> Self {
        let tiny =
            [("TIDEWATER_STORE__MEMTABLE_BYTES_MAX", "300000"), ("TIDEWATER_STORE__FLUSH_INTERVAL_MS", "60")];
        let settings: Vec<_> = tiny.iter().chain(settings).copied().collect();
        let ledgers = (0..WRITERS).map(|_| Arc::default()).collect();
        Torture { server: Server::start_with(&settings), load, ledgers, random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// Lets the writers work for a random while, then kills the server under them and starts it again.
    fn crash(&mut self) {
        let stop = Arc::new(AtomicBool::new(false));
        let load = self.load;
        let writers: Vec<_> = self
            .ledgers
            .iter()
            .enumerate()
            .map(|(writer, ledger)| {
                let sender = Sender::to(&self.server);
                let (ledger, stop) = (Arc::clone(ledger), Arc::clone(&stop));
                thread::spawn(move || write(&sender, load, writer, &ledger, &stop))
            })
            .collect();
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_millis(1 + (self.random >> 33) % LIFE_MS_MAX));
        stop.store(true, Ordering::Relaxed);
        self.server.kill_and_respawn();
        for writer in writers {
            writer.join().expect("the writer saw only replies it may see");
        }
    }

    /// Checks which batches are there, given as (writer, batch) → (rows, distinct ids); `crash` is for messages.
    fn check_batches(&self, found: &BTreeMap<(u64, u64), (u64, u64)>, crash: usize) {
        for ((writer, batch), (rows, distinct)) in found {
            let whole = batch_rows(*writer as usize, *batch);
            assert_eq!(
                (*rows, *distinct),
                (whole, whole),
                "crash {crash}: batch {batch} of writer {writer} is whole and single"
            );
        }
        for (writer, ledger) in self.ledgers.iter().enumerate() {
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

    fn acknowledged(&self) -> usize {
        self.ledgers.iter().map(|ledger| ledger.lock().expect("no writer panics").acknowledged.len()).sum()
    }
}

/// How often the server is killed.
fn crashes() -> usize {
    std::env::var("TIDEWATER_CRASHES").map_or(40, |text| text.parse().expect("a number"))
}

/// All rows of an answer, page after page: dimensions and metrics as they are written.
fn all_rows(server: &Server, mut question: Value) -> Vec<(Vec<Value>, Vec<Value>)> {
    let mut rows = Vec::new();
    loop {
        let reply = server.post("/api/v1/query", &question);
        assert_eq!(reply.status, 200, "{}: {question}", reply.text());
        let answer = reply.json();
        for row in answer["results"].as_array().expect("rows") {
            let cells = |name: &str| row[name].as_array().expect("cells").clone();
            rows.push((cells("dimensions"), cells("metrics")));
        }
        let cursor = answer["meta"]["next_cursor"].clone();
        if cursor.is_null() {
            return rows;
        }
        question["pagination"]["cursor"] = cursor;
    }
}

/// A whole number, also where numbers are asked for as text.
fn number(value: &Value) -> u64 {
    value.as_str().map_or_else(|| value.as_u64(), |text| text.parse().ok()).expect("a number")
}
