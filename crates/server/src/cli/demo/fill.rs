//! Sends the sample rows to the server like any client: the past at full speed, then what comes.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use tidewater_model::time::parse_timestamp_utc;

use super::feed::Feed;
use super::{Row, Sample};
use crate::cli::client::{Client, Remote};

/// Rows of one request: about 4 MB.
const REQUEST_ROWS: usize = 10_000;
/// Pause between two looks for rows that have become due.
const LIVE_INTERVAL: Duration = Duration::from_secs(1);
const DAY_US: i64 = 86_400_000_000;

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Days of history where there is no data yet.
    pub days: u32,
    /// See [`super::density`].
    pub density: f64,
}

/// The history of a demo, filled.
pub struct Filled {
    feeds: Vec<Feed>,
    /// Rows that this run stored.
    pub rows: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Defines the datasets and sends everything that is missing up to now.
pub fn fill(remote: &Remote, plan: Plan) -> anyhow::Result<Filled> {
    let client = Client::new(remote)?;
    let started = Instant::now();
    let until_us = now_us();
    let begin_us = until_us - i64::from(plan.days) * DAY_US;
    let mut feeds = Vec::new();
    for sample in Sample::ALL {
        define(&client, sample)?;
        let after_us = last_row_us(&client, sample)?.unwrap_or(begin_us);
        feeds.push(Feed::new(sample, plan.density, after_us));
    }
    let progress = Mutex::new(Progress::new(&feeds));
    let feeds = thread::scope(|scope| {
        let progress = &progress;
        let catch_up = |feed| scope.spawn(move || catch_up(remote, feed, until_us, progress));
        let threads: Vec<_> = feeds.into_iter().map(catch_up).collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("making rows failed"))?);
        ended.collect::<anyhow::Result<Vec<Feed>>>()
    })?;
    let rows = progress.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
    Ok(Filled { feeds, rows, elapsed: started.elapsed() })
}

fn catch_up(
    remote: &Remote,
    mut feed: Feed,
    until_us: i64,
    progress: &Mutex<Progress>,
) -> anyhow::Result<Feed> {
    let client = Client::new(remote)?;
    while let Some(rows) = send_due(&client, &mut feed, until_us)? {
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.add(feed.sample(), feed.done_us(), rows);
    }
    Ok(feed)
}

/// Sends rows as their time comes, until the server is gone.
pub fn keep_sending(remote: &Remote, filled: Filled) -> anyhow::Result<()> {
    let client = Client::new(remote)?;
    let mut feeds = filled.feeds;
    loop {
        let now_us = now_us();
        for feed in &mut feeds {
            while send_due(&client, feed, now_us)?.is_some() {}
        }
        thread::sleep(LIVE_INTERVAL);
    }
}

fn now_us() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}

fn define(client: &Client, sample: Sample) -> anyhow::Result<()> {
    let preset = tidewater_domains::preset(sample.name()).context("every dataset of the demo is a preset")?;
    client.send_json(
        "PUT",
        &format!("/api/v1/datasets/{}", sample.name()),
        &serde_json::to_value(preset)?,
    )?;
    Ok(())
}

/// The time of the newest row there is. Rows are sent in the order of time, so everything up to it is there.
fn last_row_us(client: &Client, sample: Sample) -> anyhow::Result<Option<i64>> {
    let question = json!({"dataset": sample.name(), "date_range": "all", "columns": ["ts"], "order": "desc", "limit": 1});
    let reply = client.send_json("POST", "/api/v1/rows", &question)?;
    let Some(text) = reply["rows"][0]["ts"].as_str() else { return Ok(None) };
    Ok(Some(parse_timestamp_utc(text.as_bytes())?.0))
}

/// One request with rows that are due; `None` when there are none.
fn send_due(client: &Client, feed: &mut Feed, now_us: i64) -> anyhow::Result<Option<u64>> {
    let rows = feed.take(now_us, REQUEST_ROWS);
    if rows.is_empty() {
        return Ok(None);
    }
    send(client, feed.sample(), &rows)?;
    Ok(Some(rows.len() as u64))
}

fn send(client: &Client, sample: Sample, rows: &[Row]) -> anyhow::Result<()> {
    let body: String = rows.iter().flat_map(|row| [row.json.as_str(), "\n"]).collect();
    let path = format!("/api/v1/ingest/{}", sample.name());
    let headers = [("content-type", "application/x-ndjson")];
    let reply = client.exchange_patiently("POST", &path, &headers, body.as_bytes())?;
    if reply.status >= 400 {
        return Err(client.refused(&reply).into());
    }
    let reply = reply.json()?;
    if reply["rejected"] != 0 {
        bail!("the server refused sample rows: {}", reply["errors"][0]["message"]);
    }
    Ok(())
}

/// How far the three feeds came together.
struct Progress {
    bar: ProgressBar,
    /// Where each feed began, and where it is.
    spans: Vec<(Sample, i64, i64)>,
    rows: u64,
    started: Instant,
}

impl Progress {
    fn new(feeds: &[Feed]) -> Self {
        let spans: Vec<_> =
            feeds.iter().map(|feed| (feed.sample(), feed.done_us(), feed.done_us())).collect();
        let now = now_us();
        let total: i64 = spans.iter().map(|(_, from, _)| now - from).sum();
        let target = match std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(total.max(1).unsigned_abs()), target);
        let template = "filling {bar:32} {percent:>3} % · {msg} · {eta} left";
        // A template that does not parse would only cost its looks.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Progress { bar, spans, rows: 0, started: Instant::now() }
    }

    fn add(&mut self, sample: Sample, done_us: i64, rows: u64) {
        self.rows += rows;
        for (_, _, done) in self.spans.iter_mut().filter(|(of, _, _)| *of == sample) {
            *done = done_us;
        }
        let done: i64 = self.spans.iter().map(|(_, from, done)| done - from).sum();
        self.bar.set_position(done.max(0).unsigned_abs());
        let rate = self.rows as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        self.bar.set_message(format!("{} rows, {rate:.0} rows/s", self.rows));
    }

    fn finish(self) -> u64 {
        self.bar.finish_and_clear();
        self.rows
    }
}
