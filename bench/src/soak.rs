//! Overload: finds the load that a server sustains, offers several times as much, and counts what became of it.
//!
//! First a closed loop of a few clients of every kind (`work::Kind`): what they get answered is what the server sustains. Then an open
//! loop at a multiple of that rate over a bounded number of connections, while others watch (`watch`): the server's memory, its health,
//! and a cheap question. At the end every request for rows is looked up: acknowledged ones must be there once, refused ones not at
//! all (`ledger`). Judges nothing: `bench/report_soak.py` does.

mod ledger;
mod watch;
mod work;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};

use crate::Target;
use crate::settle::{self, Stage};
use ledger::Ledger;
use watch::Watch;
use work::{Kind, Tally};

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// The server's process, whose memory is sampled.
    #[arg(long)]
    pid: u32,
    /// How long the overload lasts.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(4..))]
    seconds: u64,
    /// How long the closed loop runs.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    find_seconds: u64,
    /// Clients of each kind in the closed loop.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    find_clients: u64,
    /// Clients of each kind in the open loop.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    clients: u64,
    /// How many times the sustained rate is offered.
    #[arg(long, default_value_t = 10.0)]
    times: f64,
    /// Only these kinds of requests; all where absent.
    #[arg(long, value_enum, value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Connections that do nothing meanwhile.
    #[arg(long, default_value_t = 0)]
    idle: usize,
    /// Rows of one request for rows.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    rows_per_request: u64,
}

/// Bytes of a client's stack: hundreds of clients are threads, and none recurses.
const STACK_BYTES: usize = 256 << 10;
/// How late a client sends what was due; what is later is left out and counted, because its connection was taken.
const LATE_MAX: Duration = Duration::from_secs(1);

pub fn run(options: &Options) -> anyhow::Result<Value> {
    ensure!(options.times > 0.0, "--times must be more than 0");
    let ledger = Mutex::new(Ledger::default());
    let found = phase(options, &ledger, options.find_clients, options.find_seconds, None)?;
    let rates: Vec<f64> =
        found.iter().map(|tally| tally.answered() as f64 / options.find_seconds as f64).collect();
    let sustained = described(&found, options.find_seconds, None);
    let offered: Vec<f64> = rates.iter().map(|rate| rate * options.times).collect();
    watch::load(&options.target)?;
    let watch = Watch::start(&options.target, options.pid, options.idle)?;
    let outcome = phase(options, &ledger, options.clients, options.seconds, Some(&offered));
    let watched = watch.stop();
    let overload = described(&outcome?, options.seconds, Some(&offered));
    settle::wait(&options.target, Stage::Sealed)?;
    let rows = ledger.into_inner().expect("no client panics with the lock").check(&options.target)?;
    Ok(json!({
        "seconds": options.seconds, "times": options.times, "clients_of_each_kind": options.clients,
        "sustained": sustained, "overload": overload, "watched": watched?, "rows": rows,
    }))
}

/// One tally for each kind. `rates` are requests a second; without them every client asks as fast as it is answered.
fn phase(
    options: &Options,
    ledger: &Mutex<Ledger>,
    clients: u64,
    seconds: u64,
    rates: Option<&[f64]>,
) -> anyhow::Result<Vec<Tally>> {
    let starts = Instant::now();
    let ends = starts + Duration::from_secs(seconds);
    // Clients of both phases have numbers of their own, so that no two send the same rows.
    let first = if rates.is_some() { options.find_clients } else { 0 };
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        let is_meant = |kind: &Kind| options.kinds.is_empty() || options.kinds.contains(kind);
        for (place, kind) in Kind::ALL.into_iter().enumerate().filter(|(_, kind)| is_meant(kind)) {
            let interval = rates.map(|rates| Duration::from_secs_f64(clients as f64 / rates[place].max(0.1)));
            for client in 0..clients {
                let due = interval.map(|interval| starts + interval.mul_f64(client as f64 / clients as f64));
                let pace = due.zip(interval);
                let work = move || drive(options, ledger, kind, first + client, pace, ends);
                let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
                running.push((place, builder.spawn_scoped(scope, work)?));
            }
        }
        let mut tallies: Vec<Tally> = Kind::ALL.iter().map(|_| Tally::default()).collect();
        for (place, client) in running {
            tallies[place].add(client.join().expect("a client does not panic")?);
        }
        Ok(tallies)
    })
}

/// One client until the end.
fn drive(
    options: &Options,
    ledger: &Mutex<Ledger>,
    kind: Kind,
    client: u64,
    mut pace: Option<(Instant, Duration)>,
    ends: Instant,
) -> anyhow::Result<Tally> {
    let mut worker = work::Client::new(&options.target, kind, client, options.rows_per_request);
    let mut tally = Tally::default();
    loop {
        if let Some((due, interval)) = &mut pace {
            while due.elapsed() > LATE_MAX && *due < ends {
                tally.left_out += 1;
                *due += *interval;
            }
            if *due >= ends {
                break;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            *due += *interval;
        }
        if Instant::now() >= ends {
            break;
        }
        worker.send(&mut tally)?;
    }
    ledger.lock().expect("no client panics with the lock").add(worker.into_sent());
    Ok(tally)
}

fn described(tallies: &[Tally], seconds: u64, offered: Option<&[f64]>) -> Value {
    let of_kind = |(place, kind): (usize, Kind)| {
        let mut figures = tallies[place].to_json(seconds);
        if let Some(offered) = offered {
            figures["offered_per_s"] = json!(offered[place]);
        }
        (kind.name().to_owned(), figures)
    };
    Value::Object(Kind::ALL.into_iter().enumerate().map(of_kind).collect())
}
