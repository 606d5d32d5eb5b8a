//! Looks at a server under overload from outside: memory once a second, health, metrics, and a cheap question, each over a
//! connection of its own.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use super::work::cheap_question;
use crate::Target;
use crate::http::{self, Connection, Response};
use crate::latency::Percentiles;
use crate::trace::Traces;

/// Between two samples of memory.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks of a probe.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);

/// The tenant that asks the cheap question: one among others, whose flood must not keep it waiting.
const PROJECT: &str = "quiet-tenant";
/// Its rows, and those of one request.
const ROWS: u64 = 100_000;
const ROWS_PER_REQUEST: u64 = 5_000;

/// Stores the rows of the tenant that asks the cheap question.
pub fn load(target: &Target) -> anyhow::Result<()> {
    let traces = Traces::new(ROWS, 11, 30);
    let mut connection = Connection::open(target)?;
    let path = format!("/api/v1/ingest/{}?project={PROJECT}", target.dataset);
    for first in (0..ROWS).step_by(ROWS_PER_REQUEST as usize) {
        let mut body = Vec::new();
        (first..first + ROWS_PER_REQUEST).for_each(|row| traces.row(row).write_json(&mut body));
        connection.post_until_taken(&path, "application/x-ndjson", &body, &mut 0)?;
    }
    Ok(())
}

/// Runs until stopped.
pub struct Watch {
    stop: Arc<AtomicBool>,
    memory: JoinHandle<anyhow::Result<Vec<u64>>>,
    probes: Vec<(&'static str, JoinHandle<anyhow::Result<Value>>)>,
    idle: Vec<TcpStream>,
}

impl Watch {
    pub fn start(target: &Target, pid: u32, idle: usize) -> anyhow::Result<Watch> {
        let stop = Arc::new(AtomicBool::new(false));
        let address = http::address(&target.url)?;
        let idle = (0..idle).map(|_| TcpStream::connect(address)).collect::<std::io::Result<Vec<_>>>();
        let idle = idle.context("cannot open the idle connections")?;
        let memory = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut samples = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    samples.push(resident_bytes(pid)?);
                    std::thread::sleep(SAMPLE_INTERVAL);
                }
                Ok(samples)
            }
        });
        let probe = |look: fn(&mut Connection, &str, u64) -> anyhow::Result<Response>| {
            let (stop, target) = (Arc::clone(&stop), target.clone());
            std::thread::spawn(move || probe(&target, &stop, look))
        };
        let probes = vec![
            ("ready", probe(|connection, _, _| connection.get("/health/ready"))),
            ("live", probe(|connection, _, _| connection.get("/health/live"))),
            ("metrics", probe(|connection, _, _| connection.get("/metrics"))),
            (
                "cheap",
                probe(|connection, dataset, number| {
                    let mut question = cheap_question(dataset, &format!("probe_{number}"));
                    question["project"] = json!(PROJECT);
                    connection.post("/api/v1/query", "application/json", question.to_string().as_bytes())
                }),
            ),
        ];
        Ok(Watch { stop, memory, probes, idle })
    }

    pub fn stop(self) -> anyhow::Result<Value> {
        self.stop.store(true, Ordering::Relaxed);
        let rss = self.memory.join().expect("the sampler does not panic")?;
        let mut figures = json!({ "rss_bytes": rss, "idle_connections": self.idle.len() });
        for (name, probe) in self.probes {
            figures[name] = probe.join().expect("a probe does not panic")?;
        }
        Ok(figures)
    }
}

/// Looks again and again; counts what was not answered with 200.
fn probe(
    target: &Target,
    stop: &AtomicBool,
    look: fn(&mut Connection, &str, u64) -> anyhow::Result<Response>,
) -> anyhow::Result<Value> {
    let mut connection: Option<Connection> = None;
    let (mut latencies, mut failures, mut first_failure) = (Vec::new(), 0u64, None);
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let number = latencies.len() as u64 + failures;
        let opened = connection.take().map_or_else(|| Connection::open(target), Ok);
        let outcome = opened.and_then(|mut opened| Ok((look(&mut opened, &target.dataset, number)?, opened)));
        let failure = match outcome {
            Ok((response, opened)) => {
                connection = Some(opened);
                (response.status != 200).then(|| response.describe())
            }
            Err(error) => Some(format!("{error:#}")),
        };
        match failure {
            None => latencies.push(began.elapsed()),
            Some(what) => {
                failures += 1;
                first_failure.get_or_insert(what);
            }
        }
        std::thread::sleep(PROBE_INTERVAL);
    }
    let latency = Percentiles::of(latencies.clone()).map_or(Value::Null, |latency| latency.to_json());
    Ok(json!({
        "looks": latencies.len() as u64 + failures, "failures": failures, "first_failure": first_failure,
        "latency": latency,
    }))
}

/// VmRSS of a process.
fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the server has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes =
        line.and_then(|line| line.trim().split(' ').next()).and_then(|text| text.parse::<u64>().ok());
    Ok(kibibytes.context("the kernel reports no VmRSS")? * 1024)
}
