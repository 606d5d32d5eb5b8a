//! Power cuts and failing calls at every single call the store makes to its disk.
//!
//! A client runs a fixed script against a store: requests with ids, some with idempotency tokens, some repeated, several at
//! once, deletes, small records, flushes, compactions, a change of the dataset, a clean restart. At call number k the
//! machine loses power (a write in flight is torn; what was not synced is lost, kept, or kept in part), or that call fails. A new store
//! is opened on what is left, and the client, as clients do, sends again what it got no answer to. Then it must hold that
//!
//! - every row of an acknowledged request is there, once, except those an acknowledged delete took;
//! - a request without an answer is there wholly or not at all, and once after it was sent again;
//! - a token still gets its first reply, an id is still a duplicate, an acknowledged small record is there;
//! - a second crash, while the store recovers from the first, changes none of this.
//!
//! The script is the same in every run, so a failure names the call that breaks it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidewater_model::schema::DatasetDefinition;
use tidewater_store::disk::{Crash, FakeDisk, Fault};
use tidewater_store::{Receipt, StoreConfig, StoreResult, Token};

use crate::world::{Row, World, config, row};

/// Small limits, so that a short script meets rotation, spilling and merging. The script compacts when it says so.
fn script_config() -> StoreConfig {
    StoreConfig {
        log_file_bytes: 2_048,
        recent_ids_max: 12,
        recent_token_bytes_max: 400,
        maintenance_interval_ms: 3_600_000,
        ..config("/data")
    }
}

/// One step of the client.
#[derive(Clone, Debug)]
enum Step {
    /// Requests sent at once: rows from `.0` on, so many; with a token if it is not 0.
    Put(Vec<(i64, i64, u128)>),
    /// Rows with a value of at least this.
    Delete(i64),
    Flush,
    Settle,
    Kv(&'static str),
    Widen,
    Restart,
}

fn script() -> Vec<Step> {
    use Step::{Delete, Flush, Kv, Put, Restart, Settle, Widen};
    vec![
        Put(vec![(0, 3, 0)]),
        Put(vec![(2, 4, 1), (10, 2, 0), (12, 2, 2)]),
        Kv("a"),
        Flush,
        Put(vec![(20, 5, 3), (2, 4, 1)]),
        Delete(22),
        Put(vec![(30, 8, 0)]),
        Flush,
        Put(vec![(86_400, 3, 4), (40, 3, 0)]),
        Widen,
        Restart,
        Put(vec![(50, 6, 5), (0, 3, 0)]),
        Flush,
        Put(vec![(60, 6, 6)]),
        Settle,
        Delete(86_401),
        Kv("b"),
        Put(vec![(70, 3, 7), (70, 3, 8)]),
        Settle,
        Put(vec![(80, 3, 0)]),
    ]
}

fn rows_from(first: i64, count: i64) -> Vec<Row> {
    (first..first + count).map(|value| row(&format!("id-{value}"), value)).collect()
}

/// What the client knows.
#[derive(Clone, Debug, Default)]
struct Client {
    /// Rows that must be there.
    rows: BTreeSet<Row>,
    /// Ids the store must know: those of deleted rows too.
    ids: BTreeSet<Row>,
    /// Tokens with their first reply.
    tokens: Vec<((i64, i64, u128), Receipt)>,
    kv: Vec<&'static str>,
    /// Requests without an answer.
    unanswered: Vec<(i64, i64, u128)>,
    /// A delete without an answer.
    undeleted: Option<i64>,
}

fn token(number: u128) -> Option<Token> {
    (number > 0).then_some(Token { token_hash: number, body_hash: number })
}

impl Client {
    /// Runs the script until something fails. The store it leaves is as the crash found it.
    fn run(&mut self, disk: &FakeDisk) {
        let Ok(mut world) = World::open(script_config(), Arc::new(disk.clone())) else { return };
        for step in script() {
            let outcome = match step {
                Step::Put(requests) => self.put(&world, &requests),
                Step::Delete(min) => self.delete(&world, min),
                Step::Flush => world.store.flush(),
                Step::Settle => world.store.settle(),
                Step::Kv(key) => world.store.kv_put("space", key, b"v").map(|()| self.kv.push(key)),
                Step::Widen => {
                    let wider = DatasetDefinition::from_json(br#"{"columns": {"more": "string"}}"#).unwrap();
                    world.store.put_dataset("events", wider).map(drop)
                }
                Step::Restart => {
                    let closed = world.store.close();
                    drop(world);
                    match World::open(script_config(), Arc::new(disk.clone())) {
                        Ok(opened) => world = opened,
                        Err(_) => return,
                    }
                    closed
                }
            };
            if outcome.is_err() {
                return;
            }
        }
    }

    fn put(&mut self, world: &World, requests: &[(i64, i64, u128)]) -> StoreResult<()> {
        let pending: Vec<_> = requests
            .iter()
            .map(|&(first, count, number)| world.begin("p", &rows_from(first, count), token(number)))
            .collect();
        let mut failed = None;
        for (&request, outcome) in requests.iter().zip(pending) {
            match outcome.recv().unwrap() {
                Ok(receipt) => self.acknowledge(request, receipt),
                Err(error) => {
                    self.unanswered.push(request);
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn acknowledge(&mut self, request: (i64, i64, u128), receipt: Receipt) {
        let (first, count, number) = request;
        let rows = rows_from(first, count);
        assert_eq!(i64::from(receipt.accepted + receipt.duplicates), count);
        if !receipt.repeated {
            let new = rows.iter().filter(|row| self.ids.insert((*row).clone())).cloned().collect::<Vec<_>>();
            assert_eq!(new.len(), receipt.accepted as usize, "{request:?}: {receipt:?}");
            self.rows.extend(new);
        }
        if number > 0 && !receipt.repeated {
            self.tokens.push((request, receipt));
        }
    }

    fn delete(&mut self, world: &World, min: i64) -> StoreResult<()> {
        self.undeleted = Some(min);
        world.try_delete(min)?;
        self.undeleted = None;
        self.rows.retain(|Row(_, value)| *value < min);
        Ok(())
    }

    /// Checks a recovered store, sends again what had no answer, and checks once more.
    fn check(mut self, world: &World, what: &str) {
        let found: BTreeSet<Row> = world.rows().into_iter().collect();
        assert_eq!(found.len(), world.rows().len(), "{what}: a row is there twice");
        self.check_delete(world, &found, what);
        for key in &self.kv {
            assert!(
                world.store.kv_get("space", key).unwrap().is_some(),
                "{what}: small record {key} is lost"
            );
        }
        self.check_unanswered(&found, what);
        for (request, first) in self.tokens.clone() {
            let (from, count, number) = request;
            let again = world.begin("p", &rows_from(from, count), token(number)).recv().unwrap().unwrap();
            assert_eq!(again, Receipt { repeated: true, ..first }, "{what}: token {number}");
        }
        for request in std::mem::take(&mut self.unanswered) {
            let (first, count, number) = request;
            world.begin("p", &rows_from(first, count), token(number)).recv().unwrap().unwrap();
            let rows = rows_from(first, count);
            self.rows.extend(rows.into_iter().filter(|row| self.ids.insert(row.clone())));
        }
        let all: Vec<Row> = self.ids.iter().cloned().collect();
        if !all.is_empty() {
            assert_eq!(world.put(&all).duplicates as usize, all.len(), "{what}: an id is forgotten");
        }
        assert_eq!(
            world.rows(),
            self.rows.iter().cloned().collect::<Vec<_>>(),
            "{what}: after sending again"
        );
        let problems = world.store.verify().unwrap().problems;
        assert!(problems.is_empty(), "{what}: {problems:?}");
    }

    /// A delete without an answer took all it speaks of, or nothing. Either is what the client now knows.
    fn check_delete(&mut self, world: &World, found: &BTreeSet<Row>, what: &str) {
        let Some(min) = self.undeleted.take() else { return };
        let doomed: Vec<Row> = self.rows.iter().filter(|Row(_, value)| *value >= min).cloned().collect();
        let left = doomed.iter().filter(|row| found.contains(*row)).count();
        assert!(left == 0 || left == doomed.len(), "{what}: half a delete");
        world.delete(min);
        self.rows.retain(|Row(_, value)| *value < min);
    }

    /// What is found is what was acknowledged, and whole requests without an answer.
    fn check_unanswered(&self, found: &BTreeSet<Row>, what: &str) {
        let missing: Vec<&Row> = self.rows.difference(found).collect();
        let undeletable = self.undeleted.is_none();
        assert!(missing.is_empty() && undeletable, "{what}: acknowledged rows are lost: {missing:?}");
        let mut explained = self.ids.clone();
        for &(first, count, _) in &self.unanswered {
            let new: Vec<Row> =
                rows_from(first, count).into_iter().filter(|row| !explained.contains(row)).collect();
            let there = new.iter().filter(|row| found.contains(*row)).count();
            assert!(there == 0 || there == new.len(), "{what}: half a request: {new:?} in {found:?}");
            explained.extend(new);
        }
        let strange: Vec<&Row> = found.difference(&explained).collect();
        assert!(strange.is_empty(), "{what}: rows from nowhere: {strange:?}");
    }
}

/// Opens a store on what a crash left, crashing once more on the way for good measure.
fn recover(disk: &FakeDisk, seed: u64, what: &str) -> World {
    let again = disk.crash(Crash::KeepAll);
    again.fail_at(seed % 24, Fault::PowerCut);
    drop(World::open(script_config(), Arc::new(again.clone())));
    let disk = again.crash(Crash::Random(seed));
    World::open(script_config(), Arc::new(disk)).unwrap_or_else(|error| panic!("{what}: {}", error.chain()))
}

fn crash_at(call: u64, fault: Fault, crash: Crash) {
    let what = format!("{fault:?} at call {call}, {crash:?}");
    let disk = FakeDisk::new();
    disk.fail_at(call, fault);
    let mut client = Client::default();
    client.run(&disk);
    let world = recover(&disk.crash(crash), call, &what);
    client.check(&world, &what);
}

/// How many calls the whole script makes.
fn calls() -> u64 {
    let disk = FakeDisk::new();
    let mut client = Client::default();
    client.run(&disk);
    assert_eq!((client.tokens.len(), client.kv.len()), (8, 2), "the script runs to its end");
    let world = World::open(script_config(), Arc::new(disk.clone())).unwrap();
    let calls = disk.calls();
    client.check(&world, "without a crash");
    calls
}

fn at_every_call(fault: Fault, crash: impl Fn(u64) -> Crash) {
    let calls = calls();
    assert!(calls > 200, "{calls} calls");
    (0..calls).for_each(|call| crash_at(call, fault, crash(call)));
}

#[test]
fn a_power_cut_that_loses_all_that_was_not_synced() {
    at_every_call(Fault::PowerCut, |_| Crash::LoseAll);
}

#[test]
fn a_power_cut_that_keeps_a_random_part() {
    at_every_call(Fault::PowerCut, Crash::Random);
}

#[test]
fn a_killed_process() {
    at_every_call(Fault::PowerCut, |_| Crash::KeepAll);
}

#[test]
fn a_failing_call() {
    at_every_call(Fault::Fail, |call| Crash::Random(call * 7));
}
