//! `tidewater demo`: a server with sample data that keeps growing.
//!
//! The rows are made by pure functions of (dataset, minute) and go through the public API like anyone's. A second start goes on
//! where the data of the first one ends. Not here: the server itself (`crate::serve`).

mod events;
mod feed;
mod fill;
mod folder;
mod greeting;
mod llm;
mod machines;
mod random;
mod season;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, bail};

use super::client::Remote;
use crate::config::Config;
use crate::serve;

/// Starts a server filled with thirty days of sample data that keeps growing, and prints how to ask it
///
/// Examples:
///   tidewater demo
///   tidewater demo --days 7 --rate 5 --data /tmp/demo
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// Where the data lies; a second start goes on with it.
    #[arg(long, default_value = "./tidewater-demo")]
    data: PathBuf,
    /// Where to listen; the next free port is taken when this one is in use.
    #[arg(long, default_value = "127.0.0.1:8321")]
    listen: String,
    /// Days of history on the first start.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=365))]
    days: u32,
    /// Rows a second on the average of a week, in the history as well as live.
    #[arg(long, default_value_t = RATE_DEFAULT, value_parser = rate)]
    rate: f64,
}

/// Rows a second unless asked otherwise: thirty days are some 750,000 rows.
const RATE_DEFAULT: f64 = 0.3;
/// Rows a second at density 1: events and traces on the average of a week, and the readings, which have no density.
const RATE_AT_DENSITY_1: f64 = 0.217;
const READINGS_RATE: f64 = 10.0 / 120.0;

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.1..=2_000.0).contains(&rate) => Ok(rate),
        _ => Err("a number of rows a second from 0.1 to 2000 is needed".to_owned()),
    }
}

/// How many times the usual number of events and traces gives a rate.
fn density(rate: f64) -> f64 {
    (rate - READINGS_RATE).max(0.0) / RATE_AT_DENSITY_1
}

/// Ports that are tried one after the other.
const PORTS_TRIED: u16 = 100;

/// Serves and fills until a signal.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let key = folder::prepare(&arguments.data)?;
    let address = free_address(&arguments.listen)?;
    let mut config = Config::default();
    config.server.listen = address.to_string();
    config.store.data_dir = arguments.data.display().to_string();
    config.auth.admin_key = key.as_str().into();
    // Between the lines the demo prints, every request would be noise.
    "warn".clone_into(&mut config.log.level);
    serve::run(config, move |started| {
        let url = format!("http://{}", reachable(started.address));
        thread::spawn(move || {
            if let Err(error) = show(&arguments, &url, &key) {
                // The server goes on: what is there can still be asked.
                eprintln!("the demo sends no more rows: {error:#}");
            }
        });
    })
}

/// Fills, greets, and keeps sending.
fn show(arguments: &Arguments, url: &str, key: &str) -> anyhow::Result<()> {
    let remote = Remote { url: url.to_owned(), key: Some(key.to_owned()), ca: None, project: None };
    let plan = fill::Plan { days: arguments.days, density: density(arguments.rate) };
    eprintln!("a server runs at {url}; filling it with sample data …");
    let filled = fill::fill(&remote, plan)?;
    eprintln!("{} rows in {:.1} s", filled.rows, filled.elapsed.as_secs_f64());
    let mut out = std::io::stdout().lock();
    out.write_all(greeting::text(url, key, &arguments.data).as_bytes())?;
    out.flush()?;
    drop(out);
    fill::keep_sending(&remote, filled)
}

/// The address asked for, or the same with the next port that is free.
fn free_address(listen: &str) -> anyhow::Result<SocketAddr> {
    let asked = listen.to_socket_addrs().with_context(|| format!("'{listen}' is no HOST:PORT"))?.next();
    let mut address = asked.with_context(|| format!("'{listen}' has no address"))?;
    let first = address.port();
    for port in first..=first.saturating_add(PORTS_TRIED) {
        address.set_port(port);
        match TcpListener::bind(address) {
            Ok(_) => return Ok(address),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error).with_context(|| format!("cannot listen on {address}")),
        }
    }
    bail!("no port from {first} on is free; name another with --listen");
}

/// Where a client on this machine finds a server that listens there.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// One row of sample data.
struct Row {
    at_us: i64,
    json: String,
}

/// The datasets of the demo; each has the preset of its name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sample {
    Events,
    Llm,
    Machines,
}

impl Sample {
    const ALL: [Sample; 3] = [Sample::Events, Sample::Llm, Sample::Machines];

    fn name(self) -> &'static str {
        match self {
            Sample::Events => "events",
            Sample::Llm => "llm",
            Sample::Machines => "machines",
        }
    }

    /// The rows of one minute since the epoch, in the order of time: the same whenever and wherever they are made.
    fn rows(self, minute: i64, density: f64) -> Vec<Row> {
        let mut rows = Vec::new();
        match self {
            Sample::Events => events::rows(minute, density, &mut rows),
            Sample::Llm => llm::rows(minute, density, &mut rows),
            Sample::Machines => machines::rows(minute, &mut rows),
        }
        rows.sort_by_key(|row| row.at_us);
        rows
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidewater_decode::{Format, Mapping, Options, decode};
    use tidewater_model::schema::Dataset;
    use tidewater_model::time::Timestamp;

    use super::*;

    /// A Wednesday afternoon, in minutes.
    const MINUTE: i64 = 20_775 * season::DAY_MINUTES + 14 * 60;

    #[test]
    fn every_row_fits_its_preset() {
        for sample in Sample::ALL {
            let preset = tidewater_domains::preset(sample.name()).expect("a preset");
            let dataset = Dataset::compile(sample.name(), preset).expect("a dataset");
            let rows: Vec<Row> = (MINUTE..MINUTE + 300).flat_map(|minute| sample.rows(minute, 2.0)).collect();
            let body: String = rows.iter().map(|row| format!("{}\n", row.json)).collect();
            let options = Options {
                now: Timestamp((MINUTE + 300) * season::MINUTE_US),
                unknown: tidewater_decode::Unknown::Reject,
                rows_max: usize::MAX,
                bytes_max: usize::MAX,
                mapping: &Mapping::default(),
            };
            let decoded = decode(Format::Ndjson, &Bytes::from(body), &dataset, &options).expect("rows");
            assert_eq!((decoded.batch.rows(), decoded.errors), (rows.len(), Vec::new()), "{sample:?}");
            let times: Vec<i64> = rows.iter().map(|row| row.at_us).collect();
            assert_eq!(decoded.batch.times(), times, "{sample:?}");
        }
    }

    #[test]
    fn a_minute_is_always_the_same_and_ids_are_never() {
        let mut ids = std::collections::HashSet::new();
        for sample in Sample::ALL {
            for minute in MINUTE..MINUTE + 60 {
                let rows = sample.rows(minute, 1.0);
                let again = sample.rows(minute, 1.0);
                assert!(rows.iter().zip(&again).all(|(a, b)| a.json == b.json && a.at_us == b.at_us));
                let span = minute * season::MINUTE_US..(minute + 1) * season::MINUTE_US;
                for row in rows {
                    assert!(span.contains(&row.at_us));
                    let value: serde_json::Value = serde_json::from_str(&row.json).expect("JSON");
                    let id = value.get("event_id").or(value.get("trace_id")).expect("an id").to_string();
                    assert!(ids.insert(id), "{}", row.json);
                }
            }
        }
    }

    #[test]
    fn a_week_has_about_the_promised_rate() {
        let week = MINUTE..MINUTE + 7 * season::DAY_MINUTES;
        let density = density(RATE_DEFAULT);
        let rows: usize = Sample::ALL
            .iter()
            .map(|s| week.clone().map(|minute| s.rows(minute, density).len()).sum::<usize>())
            .sum();
        let rate = rows as f64 / (7.0 * 86_400.0);
        assert!((rate / RATE_DEFAULT - 1.0).abs() < 0.15, "{rate} rows/s");
    }

    #[test]
    fn a_taken_port_is_passed_over() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address");
        let free = free_address(&address.to_string()).expect("a free one");
        assert!(free.port() > address.port());
    }
}
