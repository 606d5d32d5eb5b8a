//! Single events in an open loop: arrivals follow a fixed schedule whatever the server does.
//!
//! Event k is due at k / rate. Whichever connection is free takes the next due event; latency counts from
//! the due time, so a stall is felt by every event that should have been sent meanwhile (no coordinated omission).
//! Connections are tasks on one thread: the client must leave the cores to the server. The timer has a
//! resolution of one millisecond and rounds up, which is part of the latency shown.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::Target;
use crate::http::{self, Connection};
use crate::latency::Percentiles;
use crate::trace::Traces;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Events a second.
    #[arg(long, default_value_t = 10_000)]
    rate: u64,
    #[arg(long, default_value_t = 256)]
    connections: u64,
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Another seed sends other events; repeat a seed only into an empty dataset.
    #[arg(long, default_value_t = 2)]
    seed: u64,
}

/// What all connections of the run share; they live on one thread.
struct Run {
    target: Target,
    traces: Traces,
    rate: u64,
    events: u64,
    started: Instant,
    next: Cell<u64>,
}

#[derive(Default)]
struct Outcome {
    latencies: Vec<Duration>,
    accepted: u64,
    errors: u64,
    first_error: Option<String>,
}

impl Outcome {
    fn add(&mut self, mut other: Outcome) {
        self.latencies.append(&mut other.latencies);
        self.accepted += other.accepted;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    fn failed(&mut self, message: String) {
        self.errors += 1;
        self.first_error.get_or_insert(message);
    }
}

pub fn run(options: &Options) -> anyhow::Result<serde_json::Value> {
    ensure!(options.rate > 0 && options.seconds > 0 && options.connections > 0, "nothing to send");
    let rows_before = rows_stored(&options.target)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let started = std::time::Instant::now();
    let outcome = tokio::task::LocalSet::new().block_on(&runtime, send_all(options))?;
    let seconds = started.elapsed().as_secs_f64();
    let rows_found = rows_stored(&options.target)? - rows_before;
    let mut figures = json!({
        "events": options.rate * options.seconds, "rate": options.rate, "connections": options.connections,
        "seconds": seconds, "accepted": outcome.accepted, "errors": outcome.errors,
        "first_error": outcome.first_error, "rows_found": rows_found,
    });
    figures["latency"] = Percentiles::of(outcome.latencies)?.to_json();
    Ok(figures)
}

async fn send_all(options: &Options) -> anyhow::Result<Outcome> {
    let events = options.rate * options.seconds;
    let mut streams = Vec::new();
    for _ in 0..options.connections {
        let stream = TcpStream::connect(http::address(&options.target.url)?).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let run = Rc::new(Run {
        target: options.target.clone(),
        traces: Traces::new(events, options.seed, 1),
        rate: options.rate,
        events,
        started: Instant::now(),
        next: Cell::new(0),
    });
    let tasks: Vec<_> = streams
        .into_iter()
        .map(|stream| tokio::task::spawn_local(send_events(run.clone(), stream)))
        .collect();
    let mut total = Outcome::default();
    for task in tasks {
        total.add(task.await.context("a connection panicked")?);
    }
    // An event nobody could send any more, because every connection broke, is an error too.
    total.errors += events.saturating_sub(total.accepted + total.errors);
    Ok(total)
}

/// Sends due events over one connection until none is left or the connection breaks.
async fn send_events(run: Rc<Run>, mut stream: TcpStream) -> Outcome {
    let path = format!("POST /api/v1/ingest/{}", run.target.dataset);
    let mut outcome = Outcome::default();
    let (mut body, mut request, mut received) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let event = run.next.get();
        if event >= run.events {
            return outcome;
        }
        run.next.set(event + 1);
        let due = run.started
            + Duration::from_nanos((u128::from(event) * 1_000_000_000 / u128::from(run.rate)) as u64);
        sleep_until(due).await;
        body.clear();
        request.clear();
        let mut trace = run.traces.row(event);
        trace.time_ms = now_ms();
        trace.write_json(&mut body);
        http::write_head(&mut request, &run.target, &path, "application/json", body.len());
        request.extend_from_slice(&body);
        match exchange(&mut stream, &request, &mut received).await {
            Ok(response)
                if response.status == 200 && response.json().is_ok_and(|reply| reply["accepted"] == 1) =>
            {
                outcome.accepted += 1;
                outcome.latencies.push(due.elapsed());
            }
            Ok(response) => outcome.failed(response.describe()),
            Err(error) => {
                outcome.failed(format!("{error:#}"));
                return outcome;
            }
        }
    }
}

async fn exchange(
    stream: &mut TcpStream,
    request: &[u8],
    received: &mut Vec<u8>,
) -> anyhow::Result<http::Response> {
    stream.write_all(request).await?;
    loop {
        ensure!(stream.read_buf(received).await? > 0, "the server closed the connection");
        if let Some(response) = http::take_response(received)? {
            return Ok(response);
        }
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// All rows of the dataset, by an ordinary query.
fn rows_stored(target: &Target) -> anyhow::Result<i64> {
    let query = json!({
        "dataset": target.dataset, "date_range": "all", "metrics": [{"agg": "count"}], "max_staleness_ms": 0,
    });
    let response =
        Connection::open(target)?.post("/api/v1/query", "application/json", query.to_string().as_bytes())?;
    ensure!(response.status == 200, "POST /api/v1/query: {}", response.describe());
    let reply = response.json()?;
    // Over no rows there may be no result row at all.
    Ok(reply.pointer("/results/0/metrics/0").and_then(serde_json::Value::as_i64).unwrap_or(0))
}
