//! Durable ingest: NDJSON over HTTP from files or generated on the way, many rows a request, a blocking thread per
//! connection.
//!
//! The clock stops three times: at the last acknowledgement, when everything is sealed, and when it has settled.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::Context;
use serde_json::json;

use crate::Target;
use crate::generate;
use crate::http::Connection;
use crate::settle::{self, Stage};
use crate::split::Splitter;
use crate::trace::Traces;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// The folder with the `*.ndjson` files.
    #[arg(long, required_unless_present = "rows")]
    files: Option<PathBuf>,
    /// Instead of files: generate this many rows while sending, the same as `generate` writes with its defaults.
    #[arg(long, conflicts_with = "files")]
    rows: Option<u64>,
    /// With `--rows`: how many days they span.
    #[arg(long, default_value_t = 30)]
    days: u32,
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    rows_per_request: u32,
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Stop after the last acknowledgement; do not wait for segments.
    #[arg(long)]
    no_wait: bool,
    /// Wait until days have come to rest as well, which no rate counts.
    #[arg(long)]
    at_rest: bool,
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

/// Where the rows come from, in time order.
enum Source {
    Files(Splitter),
    Generated { traces: Arc<Traces>, rows: Range<u64>, rows_per_request: u64 },
}

impl Source {
    fn of(options: &Options) -> anyhow::Result<Source> {
        if let Some(files) = &options.files {
            return Ok(Source::Files(Splitter::of_folder(files, options.rows_per_request as usize)?));
        }
        let rows = options.rows.context("either --files or --rows")?;
        Ok(Source::Generated {
            traces: Arc::new(Traces::new(rows, generate::SEED, options.days)),
            rows: 0..rows,
            rows_per_request: options.rows_per_request.into(),
        })
    }
}

/// Fills `batch` and returns its rows; 0 when everything has been handed out.
fn next_batch(source: &Mutex<Source>, batch: &mut Vec<u8>) -> anyhow::Result<usize> {
    let (traces, rows) = match &mut *source.lock().expect("no sender panics with the lock") {
        Source::Files(splitter) => return splitter.next(batch),
        Source::Generated { traces, rows, rows_per_request } => {
            let start = rows.start;
            rows.start = rows.end.min(start + *rows_per_request);
            (traces.clone(), start..rows.start)
        }
    };
    // Without the lock: rows can be made in any order.
    batch.clear();
    let count = rows.end - rows.start;
    rows.for_each(|row| traces.row(row).write_json(batch));
    Ok(count as usize)
}

pub fn run(options: &Options) -> anyhow::Result<serde_json::Value> {
    let source = Mutex::new(Source::of(options)?);
    let started = Instant::now();
    let mut total = Tally::default();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let senders: Vec<_> =
            (0..options.connections).map(|_| scope.spawn(|| send(&options.target, &source))).collect();
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
        if options.at_rest {
            settle::wait(&options.target, Stage::AtRest)?;
            figures["at_rest_s"] = json!(started.elapsed().as_secs_f64());
        }
    }
    Ok(figures)
}

fn send(target: &Target, source: &Mutex<Source>) -> anyhow::Result<Tally> {
    let path = format!("/api/v1/ingest/{}", target.dataset);
    let mut connection = Connection::open(target)?;
    let mut tally = Tally::default();
    let mut batch = Vec::new();
    loop {
        let rows = next_batch(source, &mut batch)?;
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
