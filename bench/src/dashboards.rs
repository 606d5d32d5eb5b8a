//! Many people at dashboards: concurrent clients, each asks, looks for a moment, asks the next question.
//!
//! Popular questions are asked more often (weights 1/k). It is a closed loop: what counts is how many answers came
//! from the cache, not how long a queue grows.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};

use crate::Target;
use crate::http::{CacheUse, Connection};
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
}

#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    hits: u64,
    partials: u64,
    misses: u64,
}

impl Tally {
    fn add(&mut self, mut other: Tally) {
        self.latencies.append(&mut other.latencies);
        self.hits += other.hits;
        self.partials += other.partials;
        self.misses += other.misses;
    }
}

pub fn run(options: &Options) -> anyhow::Result<Value> {
    let mut bodies = Vec::new();
    for (_, mut query) in queries::questions(&options.questions)? {
        query["dataset"] = json!(options.target.dataset);
        bodies.push(query.to_string().into_bytes());
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
        "hit_share": total.hits as f64 / asks as f64,
    });
    figures["ingest"] = ingest;
    figures["latency"] = Percentiles::of(total.latencies)?.to_json();
    Ok(figures)
}

fn ask_all(options: &Options, bodies: &[Vec<u8>]) -> anyhow::Result<Tally> {
    let popularity = Weighted::zipf(bodies.len(), 1.0);
    let ends = Instant::now() + Duration::from_secs(options.seconds);
    let mut total = Tally::default();
    std::thread::scope(|scope| {
        let popularity = &popularity;
        let clients: Vec<_> = (0..options.clients)
            .map(|client| scope.spawn(move || ask(options, bodies, popularity, client, ends)))
            .collect();
        for client in clients {
            total.add(client.join().expect("a client does not panic")?);
        }
        Ok(total)
    })
}

fn ask(
    options: &Options,
    bodies: &[Vec<u8>],
    popularity: &Weighted,
    client: u64,
    ends: Instant,
) -> anyhow::Result<Tally> {
    let mut connection = Connection::open(&options.target)?;
    let mut random = Random::of_row(4, client);
    let mut tally = Tally::default();
    while Instant::now() < ends {
        let body = &bodies[popularity.pick(&mut random)];
        let started = Instant::now();
        let response = connection.post("/api/v1/query", "application/json", body)?;
        tally.latencies.push(started.elapsed());
        ensure!(response.status == 200, "{}", response.describe());
        match response.cache {
            CacheUse::Hit => tally.hits += 1,
            CacheUse::Partial => tally.partials += 1,
            CacheUse::Miss => tally.misses += 1,
            CacheUse::Unsaid => {}
        }
        std::thread::sleep(Duration::from_micros(random.below(2_000 * options.think_ms + 1)));
    }
    Ok(tally)
}
