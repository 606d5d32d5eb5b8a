//! Many people at dashboards: concurrent clients, each asks, looks for a moment, asks the next question.
//!
//! Popular questions are asked more often (weights 1/k). By default it is a closed loop: what counts is how many answers
//! came from the cache, not how long a queue grows. With `--rate` it is an open one. Failed asks are counted.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};

use crate::Target;
use crate::http::{CacheUse, Connection, Response};
use crate::latency::Percentiles;
use crate::queries;
use crate::random::{Random, Weighted};
use crate::stream::{self, Stream};

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    stream: stream::Options,
    /// The folder with one query body a file, `NAME.json`; the order of names is the order of popularity.
    #[arg(long)]
    questions: PathBuf,
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    clients: u64,
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// How long a client waits between an answer and its next question, on average.
    #[arg(long, default_value_t = 20)]
    think_ms: u64,
    /// Instead of thinking: asks a second of all clients together, on a schedule; latency counts from the scheduled instant.
    #[arg(long)]
    rate: Option<f64>,
    /// Exponent of the popularity; 0 asks all questions alike.
    #[arg(long, default_value_t = 1.0)]
    skew: f64,
    /// Ask for answers of the moment and give the last metric another name each time, so that no answer is kept for it.
    #[arg(long)]
    computed: bool,
}

#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    hits: u64,
    partials: u64,
    misses: u64,
    errors: u64,
    /// What the first failed ask was answered.
    first_error: Option<String>,
}

impl Tally {
    fn add(&mut self, mut other: Tally) {
        self.latencies.append(&mut other.latencies);
        self.hits += other.hits;
        self.partials += other.partials;
        self.misses += other.misses;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    fn count(&mut self, response: &Response) {
        if response.status != 200 {
            self.errors += 1;
            self.first_error.get_or_insert_with(|| response.describe());
        }
        match response.cache {
            CacheUse::Hit => self.hits += 1,
            CacheUse::Partial => self.partials += 1,
            CacheUse::Miss => self.misses += 1,
            CacheUse::Unsaid => {}
        }
    }
}

pub fn run(options: &Options) -> anyhow::Result<Value> {
    let mut bodies = Vec::new();
    for (_, mut query) in queries::questions(&options.questions)? {
        query["dataset"] = json!(options.target.dataset);
        if options.computed {
            query["max_staleness_ms"] = json!(0);
        }
        bodies.push(query);
    }
    let stream = Stream::of(&options.target, &options.stream)?;
    let asked = || ask_all(options, &bodies);
    let (total, ingest) = match &stream {
        None => (asked()?, Value::Null),
        Some(stream) => stream.during(asked)?,
    };
    let asks = total.latencies.len();
    let mut figures = json!({
        "questions": bodies.len(), "clients": options.clients, "asks": asks,
        "asks_per_s": asks as f64 / options.seconds as f64,
        "hits": total.hits, "partials": total.partials, "misses": total.misses,
        "hit_share": total.hits as f64 / asks as f64, "errors": total.errors, "first_error": total.first_error,
    });
    figures["ingest"] = ingest;
    figures["latency"] = Percentiles::of(total.latencies)?.to_json();
    Ok(figures)
}

fn ask_all(options: &Options, questions: &[Value]) -> anyhow::Result<Tally> {
    ensure!(options.rate.is_none_or(|rate| rate > 0.0), "--rate must be more than 0");
    let popularity = Weighted::zipf(questions.len(), options.skew);
    let starts = Instant::now();
    let mut total = Tally::default();
    std::thread::scope(|scope| {
        let popularity = &popularity;
        let clients: Vec<_> = (0..options.clients)
            .map(|client| scope.spawn(move || ask(options, questions, popularity, client, starts)))
            .collect();
        for client in clients {
            total.add(client.join().expect("a client does not panic")?);
        }
        Ok(total)
    })
}

fn ask(
    options: &Options,
    questions: &[Value],
    popularity: &Weighted,
    client: u64,
    starts: Instant,
) -> anyhow::Result<Tally> {
    let mut connection = Connection::open(&options.target)?;
    let mut random = Random::of_row(4, client);
    let mut tally = Tally::default();
    let bodies: Vec<Vec<u8>> = questions.iter().map(|query| query.to_string().into_bytes()).collect();
    let ends = starts + Duration::from_secs(options.seconds);
    let mut schedule = options.rate.map(|rate| Schedule::of(rate, options.clients, client, starts));
    let mut due = schedule.as_mut().map_or_else(Instant::now, Schedule::next);
    while due < ends {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let which = popularity.pick(&mut random);
        let renamed;
        let body = if options.computed {
            renamed = renamed_body(&questions[which], client, tally.latencies.len());
            &renamed
        } else {
            &bodies[which]
        };
        let started = if schedule.is_some() { due } else { Instant::now() };
        let response = connection.post("/api/v1/query", "application/json", body)?;
        tally.latencies.push(started.elapsed());
        tally.count(&response);
        due = match &mut schedule {
            Some(schedule) => schedule.next(),
            None => Instant::now() + Duration::from_micros(random.below(2_000 * options.think_ms + 1)),
        };
    }
    Ok(tally)
}

/// A client's instants: all clients together keep the rate, evenly spread.
struct Schedule {
    next: Instant,
    interval: Duration,
}

impl Schedule {
    fn of(rate: f64, clients: u64, client: u64, starts: Instant) -> Schedule {
        let interval = Duration::from_secs_f64(clients as f64 / rate);
        Schedule { next: starts + interval.mul_f64(client as f64 / clients as f64), interval }
    }

    fn next(&mut self) -> Instant {
        let next = self.next;
        self.next += self.interval;
        next
    }
}

/// The question with a name for its last metric that no other ask of this run has.
fn renamed_body(query: &Value, client: u64, ask: usize) -> Vec<u8> {
    let mut query = query.clone();
    if let Some(last) = query["metrics"].as_array_mut().and_then(|metrics| metrics.last_mut()) {
        last["as"] = json!(format!("metric_{client}_{ask}"));
    }
    query.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_share_the_rate_evenly() {
        let starts = Instant::now();
        let mut instants = Vec::new();
        for client in 0..4 {
            let mut schedule = Schedule::of(100.0, 4, client, starts);
            instants.extend((0..3).map(|_| schedule.next().duration_since(starts).as_millis()));
        }
        instants.sort_unstable();
        assert_eq!(instants, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110]);
    }

    #[test]
    fn no_two_computed_asks_are_alike() {
        let query = json!({"metrics": [{"agg": "count", "as": "n"}]});
        assert_ne!(renamed_body(&query, 1, 2), renamed_body(&query, 2, 1));
    }
}
