//! A steady stream of new rows while something else is measured: an open loop at a fixed rate.
//!
//! Half of the rows come in large requests, as from collectors, half in small ones, as from applications. Times go
//! on in real time from a start; a share is late by up to a day. A refused request is sent again, so every row of
//! the stream is accepted in the end. Latency counts from the instant a request is due, as in `single`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::Target;
use crate::http::Connection;
use crate::latency::Percentiles;
use crate::random::Random;
use crate::trace::{DAY_MS, END_MS, Traces};

// Without a group of its own, whose name would be that of the options it is part of.
#[derive(clap::Args)]
#[group(skip)]
pub struct Options {
    /// Rows a second that come in meanwhile; 0 for none.
    #[arg(long, default_value_t = 0)]
    ingest_rate: u64,
    /// Of a hundred rows, how many carry a time of the day before instead of now.
    #[arg(long, default_value_t = 5)]
    late_percent: u64,
    /// Instead of half in large and half in small requests: rows of every request.
    #[arg(long)]
    rows_per_request: Option<u64>,
    /// With `--rows-per-request`: connections that share the requests.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    senders: u64,
    /// Where the times of the stream begin: at the end of the generated rows, or at the clock's now.
    #[arg(long, value_enum, default_value_t = Start::End)]
    row_times: Start,
    /// Append every accepted row to this file, for an exact recomputation.
    #[arg(long)]
    record: Option<PathBuf>,
    /// Another seed streams other rows.
    #[arg(long, default_value_t = 3)]
    ingest_seed: u64,
}

#[derive(clap::ValueEnum, Clone, Copy)]
enum Start {
    End,
    Now,
}

/// Requests of one size, by the connections that share them.
struct Lane {
    rows_per_request: u64,
    interval: Duration,
    seed: u64,
    connections: u64,
    /// The next request's place in the schedule.
    next: AtomicU64,
}

/// Rows of large and of small requests, and over how many connections each go: enough that one slow reply delays
/// no other request.
const LANES: [(u64, u64); 2] = [(5_000, 2), (100, 4)];

/// The stream; it flows while `run` runs.
pub struct Stream {
    target: Target,
    lanes: Vec<Lane>,
    traces: Traces,
    late_percent: u64,
    start_ms: i64,
    record: Option<Mutex<BufWriter<File>>>,
    stop: AtomicBool,
    /// Rows whose request was begun, and rows that were acknowledged: what an answer may and what it must hold.
    sent: AtomicU64,
    acked: AtomicU64,
}

impl Stream {
    /// `None` where no rows are asked for.
    pub fn of(target: &Target, options: &Options) -> anyhow::Result<Option<Stream>> {
        if options.ingest_rate == 0 {
            return Ok(None);
        }
        ensure!(options.late_percent <= 100, "--late-percent is a share of a hundred");
        ensure!(options.rows_per_request != Some(0), "--rows-per-request must be at least 1");
        let sizes = match options.rows_per_request {
            Some(rows_per_request) => vec![(rows_per_request, options.senders)],
            None => LANES.to_vec(),
        };
        let lane_rate = options.ingest_rate as f64 / sizes.len() as f64;
        let lanes = sizes.iter().enumerate().map(|(index, &(rows_per_request, connections))| Lane {
            rows_per_request,
            interval: Duration::from_secs_f64(rows_per_request as f64 / lane_rate),
            seed: options.ingest_seed.wrapping_mul(LANES.len() as u64) + index as u64,
            connections,
            next: AtomicU64::new(0),
        });
        let record = options.record.as_ref().map(|path| {
            let file = File::options().create(true).append(true).open(path);
            file.map(|file| Mutex::new(BufWriter::new(file)))
                .with_context(|| format!("cannot write {}", path.display()))
        });
        let start_ms = match options.row_times {
            Start::End => END_MS,
            Start::Now => SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64,
        };
        Ok(Some(Stream {
            target: target.clone(),
            lanes: lanes.collect(),
            // Only the distributions are used; times are the stream's own.
            traces: Traces::new(1, options.ingest_seed, 1),
            late_percent: options.late_percent,
            start_ms,
            record: record.transpose()?,
            stop: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            acked: AtomicU64::new(0),
        }))
    }

    /// Rows acknowledged so far: an answer computed from now on holds at least these.
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::SeqCst)
    }

    /// Rows of requests begun so far: an answer received by now holds at most these.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Runs `measured` while rows flow, then ends the stream. Returns what it returned and the stream's figures.
    pub fn during<T>(&self, measured: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, Value)> {
        let started = Instant::now();
        std::thread::scope(|scope| {
            let senders: Vec<_> = self
                .lanes
                .iter()
                .flat_map(|lane| (0..lane.connections).map(move |_| lane))
                .map(|lane| scope.spawn(move || self.send(lane, started)))
                .collect();
            let result = measured();
            self.stop.store(true, Ordering::SeqCst);
            let mut tally = Tally::default();
            for sender in senders {
                tally.add(sender.join().expect("a sender does not panic")?);
            }
            let figures = tally.into_json(self.acked(), started.elapsed())?;
            if let Some(record) = &self.record {
                record.lock().expect("no sender panics with the lock").flush()?;
            }
            Ok((result?, figures))
        })
    }

    /// Sends a lane's due requests over one connection until the stream ends.
    fn send(&self, lane: &Lane, started: Instant) -> anyhow::Result<Tally> {
        let path = format!("/api/v1/ingest/{}", self.target.dataset);
        let mut connection = Connection::open(&self.target)?;
        let mut tally = Tally::default();
        let mut body = Vec::new();
        loop {
            let request = lane.next.fetch_add(1, Ordering::Relaxed);
            let since = lane.interval.mul_f64(request as f64);
            let due = started + since;
            self.fill(&mut body, lane, request, since);
            if !self.sleep_until(due) {
                return Ok(tally);
            }
            self.sent.fetch_add(lane.rows_per_request, Ordering::SeqCst);
            let response =
                connection.post_until_taken(&path, "application/x-ndjson", &body, &mut tally.retries)?;
            let reply = response.json()?;
            ensure!(reply["accepted"] == lane.rows_per_request, "not every row was accepted: {reply}");
            self.acked.fetch_add(lane.rows_per_request, Ordering::SeqCst);
            tally.latencies.push(due.elapsed());
            if let Some(record) = &self.record {
                record.lock().expect("no sender panics with the lock").write_all(&body)?;
            }
        }
    }

    fn fill(&self, body: &mut Vec<u8>, lane: &Lane, request: u64, since: Duration) {
        body.clear();
        let now_ms = self.start_ms + since.as_millis() as i64;
        for row in request * lane.rows_per_request..(request + 1) * lane.rows_per_request {
            let mut random = Random::of_row(!lane.seed, row);
            let late = random.below(100) < self.late_percent;
            let late_ms = if late { random.below(DAY_MS as u64) as i64 } else { 0 };
            let mut trace = self.traces.row_of(lane.seed, row);
            trace.time_ms = now_ms - late_ms;
            trace.write_json(body);
        }
    }

    /// Whether the stream still flows at `due`.
    fn sleep_until(&self, due: Instant) -> bool {
        /// How soon a sender notices the end of the stream.
        const NAP_MAX: Duration = Duration::from_millis(50);
        while !self.stop.load(Ordering::SeqCst) {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(NAP_MAX));
        }
        false
    }
}

#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    retries: u64,
}

impl Tally {
    fn add(&mut self, mut other: Tally) {
        self.latencies.append(&mut other.latencies);
        self.retries += other.retries;
    }

    fn into_json(self, rows: u64, elapsed: Duration) -> anyhow::Result<Value> {
        let requests = self.latencies.len();
        Ok(json!({
            "rows": rows, "requests": requests, "retries": self.retries,
            "rows_per_s": rows as f64 / elapsed.as_secs_f64(),
            "latency": Percentiles::of(self.latencies)?.to_json(),
        }))
    }
}
