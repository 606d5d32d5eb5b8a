//! Durable ingest: NDJSON files over HTTP, many rows a request, a blocking thread per connection.
//!
//! The clock stops three times: at the last acknowledgement, when everything is sealed, and when it has settled.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Context;
use serde_json::json;

use crate::Target;
use crate::http::Connection;
use crate::settle::{self, Stage};
use crate::split::Splitter;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// The folder with the `*.ndjson` files.
    #[arg(long)]
    files: PathBuf,
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    rows_per_request: u32,
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Stop after the last acknowledgement; do not wait for segments.
    #[arg(long)]
    no_wait: bool,
}

/// What the server said about the rows of one connection, or of all.
#[derive(Default)]
struct Tally {
    sent: u64,
    accepted: u64,
    rejected: u64,
    duplicates: u64,
    requests: u64,
    retries: u64,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.sent += other.sent;
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.duplicates += other.duplicates;
        self.requests += other.requests;
        self.retries += other.retries;
    }
}

pub fn run(options: &Options) -> anyhow::Result<serde_json::Value> {
    let splitter = Mutex::new(Splitter::of_folder(&options.files, options.rows_per_request as usize)?);
    let started = Instant::now();
    let mut total = Tally::default();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let senders: Vec<_> =
            (0..options.connections).map(|_| scope.spawn(|| send(&options.target, &splitter))).collect();
        for sender in senders {
            total.add(&sender.join().expect("a sender does not panic")?);
        }
        Ok(())
    })?;
    let acked_s = started.elapsed().as_secs_f64();
    let rate = |seconds: f64| total.accepted as f64 / seconds;
    let mut figures = json!({
        "rows": total.sent, "accepted": total.accepted, "rejected": total.rejected,
        "duplicates": total.duplicates, "requests": total.requests, "retries": total.retries,
        "acked_s": acked_s, "acked_rows_per_s": rate(acked_s),
    });
    if !options.no_wait {
        settle::wait(&options.target, Stage::Sealed)?;
        let sealed_s = started.elapsed().as_secs_f64();
        settle::wait(&options.target, Stage::Settled)?;
        figures["sealed_s"] = json!(sealed_s);
        figures["sealed_rows_per_s"] = json!(rate(sealed_s));
        figures["settled_s"] = json!(started.elapsed().as_secs_f64());
    }
    Ok(figures)
}

fn send(target: &Target, splitter: &Mutex<Splitter>) -> anyhow::Result<Tally> {
    let path = format!("/api/v1/ingest/{}", target.dataset);
    let mut connection = Connection::open(target)?;
    let mut tally = Tally::default();
    let mut batch = Vec::new();
    loop {
        let rows = splitter.lock().expect("no sender panics with the lock").next(&mut batch)?;
        if rows == 0 {
            return Ok(tally);
        }
        let response =
            connection.post_until_taken(&path, "application/x-ndjson", &batch, &mut tally.retries)?;
        let reply = response.json()?;
        let count = |name: &str| reply[name].as_u64().with_context(|| format!("the reply has no '{name}'"));
        tally.sent += rows as u64;
        tally.accepted += count("accepted")?;
        tally.rejected += count("rejected")?;
        tally.duplicates += count("duplicates")?;
        tally.requests += 1;
    }
}
