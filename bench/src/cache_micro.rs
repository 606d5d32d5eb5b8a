//! The answer cache by itself: how many gets and sets a second, on one thread and on all.
//!
//! No HTTP, no questions. Bodies are as large as a small answer; gets find what they look for, sets replace and push
//! out as in a cache that is full.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};
use tidewater_engine::AnswerCache;

use crate::random::Random;

#[derive(clap::Args)]
pub struct Options {
    /// How long each of the four measurements takes.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

/// A key is a hash of this size in the server too.
type Cache = AnswerCache<u128, Arc<[u8]>>;

/// The server's default budget.
const BUDGET_BYTES: u64 = 24 << 20;
const BODY_BYTES: usize = 1_500;
/// So many bodies fit into the budget.
const KEYS_HELD: u64 = 10_000;
/// So many do not: most sets push something out.
const KEYS_SET: u64 = 100_000;
/// Between two looks at the clock.
const BURST: u64 = 256;

pub fn run(options: &Options) -> anyhow::Result<Value> {
    let length = Duration::from_secs(options.seconds);
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut figures = json!({ "threads": cores });
    for (name, threads) in [("one_thread", 1), ("all_threads", cores)] {
        figures[name] = json!({
            "gets_per_s": gets_per_s(threads, length)?, "sets_per_s": sets_per_s(threads, length)?,
        });
    }
    Ok(figures)
}

fn gets_per_s(threads: usize, length: Duration) -> anyhow::Result<f64> {
    let cache = Cache::new(BUDGET_BYTES);
    for n in 0..KEYS_HELD {
        cache.insert(key(n), body(n), BODY_BYTES as u64);
    }
    ensure!(cache.evictions() == 0, "the bodies do not fit into the budget");
    let get = |n: u64| {
        let n = n % KEYS_HELD;
        cache.get(&key(n)).is_some_and(|body| body[..8] == n.to_le_bytes())
    };
    rate(threads, length, get)
}

fn sets_per_s(threads: usize, length: Duration) -> anyhow::Result<f64> {
    let cache = Cache::new(BUDGET_BYTES);
    let shared = body(0);
    let set = |n: u64| {
        cache.insert(key(n % KEYS_SET), shared.clone(), BODY_BYTES as u64);
        true
    };
    let sets_per_s = rate(threads, length, set)?;
    ensure!(cache.evictions() > 0 && cache.bytes() <= BUDGET_BYTES, "the budget was not kept");
    Ok(sets_per_s)
}

/// Calls a second of `operation`, which says whether it went right.
fn rate(threads: usize, length: Duration, operation: impl Fn(u64) -> bool + Sync) -> anyhow::Result<f64> {
    let started = Instant::now();
    let calls: anyhow::Result<u64> = std::thread::scope(|scope| {
        let operation = &operation;
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let mut random = Random::of_row(5, thread as u64);
                    let mut calls = 0;
                    while started.elapsed() < length {
                        let wrong = (0..BURST).filter(|_| !operation(random.next())).count();
                        ensure!(wrong == 0, "{wrong} of {BURST} gets found nothing or something else");
                        calls += BURST;
                    }
                    Ok(calls)
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker does not panic")).sum()
    });
    Ok(calls? as f64 / started.elapsed().as_secs_f64())
}

/// Spread over all bits, as a hash is.
fn key(n: u64) -> u128 {
    let mut random = Random::of_row(6, n);
    (u128::from(random.next()) << 64) | u128::from(random.next())
}

fn body(n: u64) -> Arc<[u8]> {
    let mut body = vec![0; BODY_BYTES];
    body[..8].copy_from_slice(&n.to_le_bytes());
    body.into()
}
