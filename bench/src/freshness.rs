//! How long after its acknowledgement a row is counted: marker rows, and a question that is asked until it counts them.
//!
//! All polls are the same question with the server's default staleness, so they share answers as dashboards do: the
//! worst case for freshness. Measures the first answer that counts the row, its own time on the way included.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::Target;
use crate::http::Connection;
use crate::latency::Percentiles;
use crate::random::Random;
use crate::stream::{self, Stream};

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    stream: stream::Options,
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// The value of the column `project` that only marker rows have.
const MARKER: &str = "freshness-marker";
/// Between two polls; part of the figure.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// Markers come at random instants, so that they fall anywhere in the server's ticks.
const PAUSE_MAX_MS: u64 = 300;
/// A row that is not counted by then is lost.
const WAIT_MAX: Duration = Duration::from_secs(10);

pub fn run(options: &Options) -> anyhow::Result<Value> {
    let stream = Stream::of(&options.target, &options.stream)?;
    let measured = || measure(&options.target, Duration::from_secs(options.seconds));
    let (mut figures, ingest) = match &stream {
        None => (measured()?, Value::Null),
        Some(stream) => stream.during(measured)?,
    };
    figures["ingest"] = ingest;
    Ok(figures)
}

fn measure(target: &Target, length: Duration) -> anyhow::Result<Value> {
    let mut connection = Connection::open(target)?;
    let mut poller = Poller::open(target)?;
    let (mut samples, mut polls) = (Vec::new(), 0u64);
    let before = poller.count()?;
    let ends = Instant::now() + length;
    while Instant::now() < ends {
        let mut random = Random::of_row(0, samples.len() as u64);
        std::thread::sleep(Duration::from_millis(random.below(PAUSE_MAX_MS)));
        send_marker(target, &mut connection)?;
        let acked = Instant::now();
        let wanted = before + samples.len() as u64 + 1;
        loop {
            polls += 1;
            let counted = poller.count()?;
            ensure!(counted <= wanted, "{counted} markers are counted, {wanted} were sent");
            if counted == wanted {
                break;
            }
            ensure!(acked.elapsed() < WAIT_MAX, "an acknowledged row is not counted after {WAIT_MAX:?}");
            std::thread::sleep(POLL_INTERVAL);
        }
        samples.push(acked.elapsed());
    }
    let mut figures = json!({ "rows": samples.len(), "polls": polls, "source": poller.source });
    figures["latency"] = Percentiles::of(samples)?.to_json();
    Ok(figures)
}

fn send_marker(target: &Target, connection: &mut Connection) -> anyhow::Result<()> {
    let row =
        json!({"ts": SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64, "project": MARKER});
    let path = format!("/api/v1/ingest/{}", target.dataset);
    let reply =
        connection.post_until_taken(&path, "application/json", row.to_string().as_bytes(), &mut 0)?.json()?;
    ensure!(reply["accepted"] == 1, "the marker was not accepted: {reply}");
    Ok(())
}

/// Asks how many markers there are.
struct Poller {
    connection: Connection,
    question: Vec<u8>,
    /// Where the latest answer came from.
    source: Value,
}

impl Poller {
    fn open(target: &Target) -> anyhow::Result<Poller> {
        let question = json!({
            "dataset": target.dataset, "date_range": "all", "filters": [["is", "project", [MARKER]]],
            "metrics": [{"agg": "count"}],
        });
        Ok(Poller {
            connection: Connection::open(target)?,
            question: question.to_string().into_bytes(),
            source: Value::Null,
        })
    }

    fn count(&mut self) -> anyhow::Result<u64> {
        let response = self.connection.post("/api/v1/query", "application/json", &self.question)?;
        ensure!(response.status == 200, "{}", response.describe());
        let mut reply = response.json()?;
        self.source = reply["meta"]["source"].take();
        match reply["results"].as_array().map(Vec::as_slice) {
            Some([row]) => row["metrics"][0].as_u64().context("the count is not a number"),
            Some([]) => Ok(0),
            _ => anyhow::bail!("not one count: {reply}"),
        }
    }
}
