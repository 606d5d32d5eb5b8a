//! Asks each question of a folder many times: one after the other, or in an open loop while new rows come in.
//!
//! What an answer says is held against an exact recomputation by `bench/report.py`. Only one thing must be checked
//! here, because it is true for an instant only: under ingest, a total over all rows holds every row acknowledged
//! before the question was sent and none that was not sent before its answer came.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::Target;
use crate::http::{CacheUse, Connection, Response};
use crate::latency::Percentiles;
use crate::queries;
use crate::stream::{self, Stream};

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    stream: stream::Options,
    /// The folder with one query body a file, `NAME.json`.
    #[arg(long)]
    questions: PathBuf,
    /// Ask only this question.
    #[arg(long)]
    only: Option<String>,
    /// How often each question is asked, one ask after the other.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// Instead of `--times`: asks of each question a second, in an open loop, all questions at once.
    #[arg(long)]
    rate: Option<f64>,
    /// How long the open loop runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// `max_staleness_ms` of every ask; the server's default where absent.
    #[arg(long)]
    staleness_ms: Option<u64>,
    /// Give the last metric another name each time, so that no ask repeats an earlier one word for word.
    #[arg(long)]
    vary: bool,
    /// A query body that is asked once before anything is timed, over another dataset: it warms the process, not its caches.
    #[arg(long)]
    warm_up: Option<PathBuf>,
    /// Where the last full answers go, as `NAME.json` each; in the open loop they are asked once more at its end.
    #[arg(long)]
    answers: Option<PathBuf>,
}

pub fn run(options: &Options) -> anyhow::Result<Value> {
    let mut connection = Connection::open(&options.target)?;
    let mut figures = json!({});
    if let Some(path) = &options.warm_up {
        let started = Instant::now();
        question_asked(&mut connection, &std::fs::read(path)?)?;
        figures["warm_up_ms"] = json!(started.elapsed().as_secs_f64() * 1e3);
    }
    let mut questions = Vec::new();
    for (name, body) in queries::questions(&options.questions)? {
        if options.only.as_ref().is_none_or(|only| *only == name) {
            questions.push(Question::of(name, body, options));
        }
    }
    ensure!(!questions.is_empty(), "there is no such question in {}", options.questions.display());
    let stream = Stream::of(&options.target, &options.stream)?;
    let outcomes = match &stream {
        None => ask_all(options, &questions, None)?,
        Some(stream) => {
            for question in &mut questions {
                question.ask_before(&mut connection)?;
            }
            let (outcomes, ingest) = stream.during(|| ask_all(options, &questions, Some(stream)))?;
            figures["ingest"] = ingest;
            outcomes
        }
    };
    let mut of_questions = serde_json::Map::new();
    for (question, mut outcome) in questions.iter().zip(outcomes) {
        if stream.is_some() {
            outcome.last = question_asked(&mut connection, &question.body_computed())?.body;
        }
        if let Some(folder) = &options.answers {
            std::fs::create_dir_all(folder)?;
            std::fs::write(folder.join(format!("{}.json", question.name)), &outcome.last)?;
        }
        let figure = outcome.into_json().with_context(|| format!("question '{}'", question.name))?;
        of_questions.insert(question.name.clone(), figure);
    }
    figures["questions"] = Value::Object(of_questions);
    Ok(figures)
}

/// One question in the form it is asked.
struct Question {
    name: String,
    query: Value,
    vary: bool,
    /// For a question whose counts add up to all rows: what they added up to before the stream.
    rows_before: Option<u64>,
}

impl Question {
    fn of(name: String, mut query: Value, options: &Options) -> Question {
        query["dataset"] = json!(options.target.dataset);
        if let Some(staleness_ms) = options.staleness_ms {
            query["max_staleness_ms"] = json!(staleness_ms);
        }
        Question { name, query, vary: options.vary, rows_before: None }
    }

    /// The body of the n-th ask.
    fn body(&self, n: u32) -> Vec<u8> {
        if !self.vary {
            return self.query.to_string().into_bytes();
        }
        let mut query = self.query.clone();
        if let Some(last) = query["metrics"].as_array_mut().and_then(|metrics| metrics.last_mut()) {
            let name = last["as"].as_str().unwrap_or("metric");
            last["as"] = json!(format!("{name}_{n}"));
        }
        query.to_string().into_bytes()
    }

    /// The body that asks for an answer of this very moment: a shared one may be a tick old.
    fn body_computed(&self) -> Vec<u8> {
        let mut query = self.query.clone();
        query["max_staleness_ms"] = json!(0);
        query.to_string().into_bytes()
    }

    /// Whether its first metric, summed over its rows, counts every row there is: nothing is filtered or cut off.
    fn counts_all_rows(&self) -> bool {
        let first = &self.query["metrics"][0];
        first["agg"] == "count"
            && first.get("filters").is_none()
            && self.query.get("filters").is_none()
            && self.query.get("pagination").is_none()
    }

    /// Asks once before the stream: what is measured is a question that is repeated.
    fn ask_before(&mut self, connection: &mut Connection) -> anyhow::Result<()> {
        let reply = question_asked(connection, &self.body(0))?;
        if self.counts_all_rows() {
            self.rows_before = Some(rows_counted(&reply.json()?));
        }
        Ok(())
    }
}

fn rows_counted(reply: &Value) -> u64 {
    let rows = reply["results"].as_array().map_or(&[][..], Vec::as_slice);
    rows.iter().filter_map(|row| row["metrics"][0].as_u64()).sum()
}

/// Asks that a figure names one by one.
const SLOWEST_SHOWN: usize = 10;

#[derive(Default)]
struct Outcome {
    latencies: Vec<Duration>,
    hits: u64,
    partials: u64,
    misses: u64,
    /// Answers whose count of rows was held against what was sent and acknowledged.
    checked: u64,
    /// Asks of the schedule that were given up, because the server fell behind too far.
    unasked: usize,
    last: Vec<u8>,
}

impl Outcome {
    fn add(&mut self, latency: Duration, response: Response) {
        self.latencies.push(latency);
        match response.cache {
            CacheUse::Hit => self.hits += 1,
            CacheUse::Partial => self.partials += 1,
            CacheUse::Miss => self.misses += 1,
            CacheUse::Unsaid => {}
        }
        self.last = response.body;
    }

    fn into_json(self) -> anyhow::Result<Value> {
        let reply: Value = serde_json::from_slice(&self.last).context("the answer is not JSON")?;
        let mut figure = json!({
            "asks": self.latencies.len(), "hits": self.hits, "partials": self.partials, "misses": self.misses,
            "checked": self.checked, "unasked": self.unasked, "rows": reply["results"].as_array().map_or(0, Vec::len),
            "bytes": self.last.len(), "source": reply["meta"]["source"], "server_ms": reply["meta"]["elapsed_ms"],
        });
        // Which asks these were tells what else went on: a flush, a compaction, the first of all.
        let mut slowest: Vec<(usize, Duration)> = self.latencies.iter().copied().enumerate().collect();
        slowest.sort_by_key(|(_, latency)| std::cmp::Reverse(*latency));
        let described = slowest.iter().take(SLOWEST_SHOWN);
        let described =
            described.map(|(ask, latency)| json!({"ask": ask, "ms": latency.as_secs_f64() * 1e3}));
        figure["slowest"] = described.collect();
        figure["latency"] = Percentiles::of(self.latencies)?.to_json();
        Ok(figure)
    }
}

fn ask_all(
    options: &Options,
    questions: &[Question],
    stream: Option<&Stream>,
) -> anyhow::Result<Vec<Outcome>> {
    let target = &options.target;
    let Some(rate) = options.rate else {
        let asked = questions.iter().map(|question| ask_in_turn(target, question, options.times));
        return asked.collect();
    };
    ensure!(rate > 0.0, "--rate must be more than 0");
    let interval = Duration::from_secs_f64(1.0 / rate);
    let asks = (rate * options.seconds as f64).ceil() as u32;
    let started = Instant::now();
    std::thread::scope(|scope| {
        let askers: Vec<_> = questions
            .iter()
            .enumerate()
            .map(|(index, question)| {
                // Spread over the interval: panels of a dashboard refresh on their own.
                let first = started + interval.mul_f64(index as f64 / questions.len() as f64);
                let schedule = (0..asks).map(move |n| first + interval * n);
                scope.spawn(move || ask_on_time(target, question, schedule, stream))
            })
            .collect();
        askers.into_iter().map(|asker| asker.join().expect("an asker does not panic")).collect()
    })
}

fn ask_in_turn(target: &Target, question: &Question, times: u32) -> anyhow::Result<Outcome> {
    let mut connection = Connection::open(target)?;
    let mut outcome = Outcome::default();
    for n in 0..times {
        let body = question.body(n);
        let started = Instant::now();
        let response = question_asked(&mut connection, &body)?;
        outcome.add(started.elapsed(), response);
    }
    Ok(outcome)
}

/// Asks at the scheduled instants; a late answer delays the next ask, whose latency counts from its own instant.
fn ask_on_time(
    target: &Target,
    question: &Question,
    schedule: impl Iterator<Item = Instant>,
    stream: Option<&Stream>,
) -> anyhow::Result<Outcome> {
    let mut connection = Connection::open(target)?;
    let mut outcome = Outcome::default();
    let mut acked = AckedLately::default();
    let mut schedule = (0..).zip(schedule);
    while let Some((n, due)) = schedule.next() {
        if due.elapsed() > BEHIND_MAX {
            outcome.unasked = 1 + schedule.count();
            break;
        }
        let body = question.body(n);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let acked_before = stream.map(|stream| acked.known_for(STALE_MAX, stream.acked()));
        let response = question_asked(&mut connection, &body)?;
        let latency = due.elapsed();
        if let (Some(stream), Some(least), Some(before)) = (stream, acked_before, question.rows_before) {
            let (counted, most) = (rows_counted(&response.json()?), before + stream.sent());
            let least = before + least;
            ensure!(
                (least..=most).contains(&counted),
                "'{}' counts {counted} rows, but at least {least} and at most {most} are there",
                question.name,
            );
            outcome.checked += 1;
        }
        outcome.add(latency, response);
    }
    Ok(outcome)
}

/// A server that is this far behind the schedule has failed it; more asks would only take time.
const BEHIND_MAX: Duration = Duration::from_secs(10);

/// How old an answer may be: the server's tick and the time to compute it.
const STALE_MAX: Duration = Duration::from_millis(150);

/// What was acknowledged at earlier instants: an answer may be a tick old.
#[derive(Default)]
struct AckedLately {
    seen: std::collections::VecDeque<(Instant, u64)>,
    settled: u64,
}

impl AckedLately {
    /// Notes that `acked` rows are acknowledged now; returns how many were at least `age` ago.
    fn known_for(&mut self, age: Duration, acked: u64) -> u64 {
        let now = Instant::now();
        self.seen.push_back((now, acked));
        while let Some(&(at, acked)) = self.seen.front()
            && now.duration_since(at) >= age
        {
            self.settled = acked;
            self.seen.pop_front();
        }
        self.settled
    }
}

fn question_asked(connection: &mut Connection, body: &[u8]) -> anyhow::Result<Response> {
    let response = connection.post("/api/v1/query", "application/json", body)?;
    ensure!(response.status == 200, "{}", response.describe());
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(query: Value) -> Question {
        Question { name: "q".to_owned(), query, vary: true, rows_before: None }
    }

    #[test]
    fn varied_asks_differ_in_the_last_metrics_name_only() {
        let asked = question(
            json!({"metrics": [{"agg": "count", "as": "n"}, {"agg": "sum", "column": "c", "as": "c"}]}),
        );
        let body: Value = serde_json::from_slice(&asked.body(7)).expect("a body is JSON");
        assert_eq!(
            body,
            json!({"metrics": [{"agg": "count", "as": "n"}, {"agg": "sum", "column": "c", "as": "c_7"}]})
        );
        assert_ne!(asked.body(1), asked.body(2));
    }

    #[test]
    fn only_a_whole_count_is_held_against_the_rows_sent() {
        let metrics = json!([{"agg": "count", "as": "n"}]);
        assert!(question(json!({"metrics": metrics, "dimensions": ["time:day"]})).counts_all_rows());
        assert!(!question(json!({"metrics": metrics, "filters": [["is", "a", [1]]]})).counts_all_rows());
        assert!(!question(json!({"metrics": metrics, "pagination": {"limit": 10}})).counts_all_rows());
        assert!(!question(json!({"metrics": [{"agg": "sum", "column": "c"}]})).counts_all_rows());
        let reply = json!({"results": [{"metrics": [3, 1]}, {"metrics": [4, 1]}]});
        assert_eq!(rows_counted(&reply), 7);
    }
}
