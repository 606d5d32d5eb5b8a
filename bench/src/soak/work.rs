//! What the clients of a soak send: one kind each, and what they were answered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use serde_json::{Value, json};

use super::ledger::Sent;
use crate::Target;
use crate::http::{Connection, Response};
use crate::latency::Percentiles;
use crate::trace::Traces;

/// Kinds of requests, each with clients of its own.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rows with the clock's time, a request each.
    Ingest,
    /// A question that roll-ups answer, computed each time.
    Cheap,
    /// A question that may be answered from the cache.
    Cached,
    /// A question that reads every raw row.
    Heavy,
    /// A page of raw rows behind a filter that none passes, so all are read.
    Rows,
    /// Ten thousand rows of an answer, as CSV.
    Export,
}

impl Kind {
    pub const ALL: [Kind; 6] =
        [Kind::Ingest, Kind::Cheap, Kind::Cached, Kind::Heavy, Kind::Rows, Kind::Export];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Ingest => "ingest",
            Kind::Cheap => "cheap",
            Kind::Cached => "cached",
            Kind::Heavy => "heavy",
            Kind::Rows => "rows",
            Kind::Export => "export",
        }
    }
}

/// A question from roll-ups; `name` makes it one that nobody has asked.
pub fn cheap_question(dataset: &str, name: &str) -> Value {
    json!({
        "dataset": dataset, "date_range": ["2026-10-01T00:00:00Z", "2026-10-31T00:00:00Z"],
        "dimensions": ["time:day", "provider"], "max_staleness_ms": 0,
        "metrics": [{"agg": "count", "as": "calls"}, {"agg": "sum", "column": "cost_usd", "as": name}],
    })
}

/// What a client was answered.
#[derive(Default)]
pub struct Tally {
    answered: Vec<Duration>,
    refused: Vec<Duration>,
    /// Answers by status; 0 is a connection that broke.
    statuses: BTreeMap<u16, u64>,
    /// Due, but not sent, because every connection was waiting for an answer.
    pub left_out: u64,
    /// Refusals that did not say when to come back.
    without_retry_after: u64,
    first_failure: Option<String>,
}

impl Tally {
    /// Requests that got what they asked for.
    pub fn answered(&self) -> usize {
        self.answered.len()
    }

    pub fn add(&mut self, other: Tally) {
        self.answered.extend(other.answered);
        self.refused.extend(other.refused);
        other
            .statuses
            .into_iter()
            .for_each(|(status, count)| *self.statuses.entry(status).or_default() += count);
        self.left_out += other.left_out;
        self.without_retry_after += other.without_retry_after;
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }

    fn count(&mut self, response: &Response, elapsed: Duration) {
        *self.statuses.entry(response.status).or_default() += 1;
        match response.status {
            200 => self.answered.push(elapsed),
            429 | 503 => {
                self.refused.push(elapsed);
                self.without_retry_after += u64::from(response.retry_after.is_none());
            }
            _ => self.fail(response.describe()),
        }
    }

    fn fail(&mut self, what: String) {
        self.first_failure.get_or_insert(what);
    }

    pub fn to_json(&self, seconds: u64) -> Value {
        let latency =
            |samples: &[Duration]| Percentiles::of(samples.to_vec()).map_or(Value::Null, |of| of.to_json());
        let statuses = self.statuses.iter().map(|(status, count)| (status.to_string(), json!(count)));
        json!({
            "answered_per_s": self.answered.len() as f64 / seconds as f64,
            "statuses": Value::Object(statuses.collect()), "left_out": self.left_out,
            "without_retry_after": self.without_retry_after, "first_failure": self.first_failure,
            "latency": latency(&self.answered), "refused_latency": latency(&self.refused),
        })
    }
}

/// One client: a connection, opened again when it breaks.
pub struct Client {
    target: Target,
    kind: Kind,
    number: u64,
    rows_per_request: u64,
    connection: Option<Connection>,
    next: u64,
    traces: Traces,
    sent: Sent,
}

impl Client {
    pub fn new(target: &Target, kind: Kind, number: u64, rows_per_request: u64) -> Client {
        Client {
            target: target.clone(),
            kind,
            number,
            rows_per_request,
            connection: None,
            next: 0,
            // Only the distributions are used; times are the clock's.
            traces: Traces::new(1, 7, 1),
            sent: Sent::new(format!("sender-{number}"), rows_per_request),
        }
    }

    /// What became of the requests for rows.
    pub fn into_sent(self) -> Sent {
        self.sent
    }

    /// Sends the next request and counts what came of it.
    pub fn send(&mut self, tally: &mut Tally) -> anyhow::Result<()> {
        let request = self.next;
        self.next += 1;
        let (path, kind, body) = self.request(request)?;
        let began = Instant::now();
        let response = self.exchange(&path, kind, &body);
        let elapsed = began.elapsed();
        if self.kind == Kind::Ingest {
            self.sent.note(request, response.as_ref().ok().map(|response| response.status));
        }
        match response {
            Ok(response) => {
                tally.count(&response, elapsed);
                if self.kind == Kind::Ingest && response.status == 200 {
                    let accepted = response.json()?["accepted"].as_u64();
                    ensure!(
                        accepted == Some(self.rows_per_request),
                        "not every row was accepted: {}",
                        response.describe()
                    );
                }
            }
            Err(error) => {
                *tally.statuses.entry(0).or_default() += 1;
                tally.fail(format!("{error:#}"));
                self.connection = None;
            }
        }
        Ok(())
    }

    fn exchange(&mut self, path: &str, kind: &str, body: &[u8]) -> anyhow::Result<Response> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.target)?,
        };
        self.connection.insert(connection).post(path, kind, body)
    }

    fn request(&self, request: u64) -> anyhow::Result<(String, &'static str, Vec<u8>)> {
        let dataset = &self.target.dataset;
        // Another name for the metric: an answer that nobody else has asked for.
        let name = format!("m_{}_{request}", self.number);
        let question = match self.kind {
            Kind::Ingest => {
                return Ok((
                    format!("/api/v1/ingest/{dataset}"),
                    "application/x-ndjson",
                    self.rows(request)?,
                ));
            }
            Kind::Cheap => cheap_question(dataset, &name),
            Kind::Cached => json!({
                "dataset": dataset, "date_range": "90d", "dimensions": ["model"],
                "metrics": [{"agg": "count"}, {"agg": "sum", "column": "cost_usd"}],
            }),
            Kind::Heavy => json!({
                "dataset": dataset, "date_range": "all", "dimensions": ["user"], "filters": [["is_not", "trace_id", ["none"]]], "max_staleness_ms": 0,
                "metrics": [{"agg": "count"}, {"agg": "sum", "column": "output_tokens", "as": name}],
                "order_by": [[name, "desc"]], "pagination": {"limit": 10},
            }),
            Kind::Rows => {
                let rows = json!({
                    "dataset": dataset, "date_range": "all", "filters": [["is", "trace_id", [name]]], "limit": 100,
                });
                return Ok(("/api/v1/rows".to_owned(), "application/json", rows.to_string().into_bytes()));
            }
            Kind::Export => json!({
                "dataset": dataset, "date_range": ["2026-10-01T00:00:00Z", "2026-10-31T00:00:00Z"], "dimensions": ["user", "model"], "max_staleness_ms": 0,
                "filters": [["is", "project", ["sandbox", "voice"]]],
                "metrics": [{"agg": "count"}, {"agg": "sum", "column": "input_tokens", "as": name}],
                "pagination": {"limit": 10_000},
            }),
        };
        // A header line more: this client has no other way to ask for a form.
        let kind = if self.kind == Kind::Export {
            "application/json\r\nAccept: text/csv"
        } else {
            "application/json"
        };
        Ok(("/api/v1/query".to_owned(), kind, question.to_string().into_bytes()))
    }

    fn rows(&self, request: u64) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
        for row in 0..self.rows_per_request {
            let mut trace = self.traces.row_of(self.number, request * self.rows_per_request + row);
            trace.time_ms = now_ms;
            trace.write_json(&mut body);
            // Before the closing brace and the end of the line.
            body.truncate(body.len() - 2);
            body.extend_from_slice(self.sent.marks(request).as_bytes());
        }
        Ok(body)
    }
}
