//! Export of the server's own traces and metrics: OTLP over HTTP in its JSON encoding, which every collector takes.
//!
//! The encoding is a page of code; the OpenTelemetry crates would bring a second metrics registry, protobuf and a second HTTP client.
//! Spans wait in a bounded queue, exports happen on a thread that may block, and nothing of it is on a request's path. Not here: what
//! the JSON looks like (`encode`), which metrics there are (`exposition`).

mod encode;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::app::{App, AppState};
use crate::config::OtlpConfig;
use crate::exposition;
use crate::observe::{Event, RequestId, TraceContext};

/// Requests and questions that wait for an export; what comes while it is full is counted and dropped.
const EVENTS_MAX: usize = 4_096;
/// Longest time for one export.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often failing exports are logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// An export that did not arrive.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("the collector cannot be reached")]
    Transport(#[source] ureq::Error),
    #[error("the collector answered {0}")]
    Refused(u16),
}

/// See the module.
pub struct Otlp {
    endpoint: String,
    headers: Vec<(String, String)>,
    interval: Duration,
    sample_ratio: f64,
    agent: ureq::Agent,
    waiting: Mutex<Vec<Event>>,
    dropped: AtomicU64,
    failed: AtomicU64,
    logged: Mutex<Option<Instant>>,
}

impl Otlp {
    /// `None` where no collector is configured.
    pub fn new(config: &OtlpConfig) -> Option<Self> {
        let endpoint = config.endpoint.trim().trim_end_matches('/');
        if endpoint.is_empty() {
            return None;
        }
        let pairs = config.headers.split(',').filter_map(|pair| pair.split_once('='));
        let headers = pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(EXPORT_TIMEOUT))
            .build()
            .into();
        Some(Otlp {
            endpoint: endpoint.to_owned(),
            headers,
            interval: Duration::from_millis(config.interval_ms.max(1)),
            sample_ratio: config.sample_ratio,
            agent,
            waiting: Mutex::default(),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            logged: Mutex::default(),
        })
    }

    /// Takes those events whose traces are exported.
    pub fn add<'a>(&self, events: impl Iterator<Item = &'a Event>) {
        let mut waiting = lock(&self.waiting);
        for event in events {
            let is_sampled = match event {
                Event::Request(event) => self.is_sampled(&event.id),
                Event::Question(event) => self.is_sampled(&event.id),
                Event::Rows(_) => false,
            };
            if !is_sampled {
                continue;
            }
            if waiting.len() >= EVENTS_MAX {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            } else {
                waiting.push(event.clone());
            }
        }
    }

    /// Decided by the trace's id, so that all its spans are exported or none.
    fn is_sampled(&self, id: &RequestId) -> bool {
        let TraceContext { trace_id, .. } = id.trace();
        id.trace().is_sampled()
            || (*trace_id as u64) as f64 <= self.sample_ratio * u64::MAX as f64 && self.sample_ratio > 0.0
    }

    /// Exports now and then for as long as the future is polled.
    pub async fn run(self: &Arc<Self>, app: AppState) {
        loop {
            tokio::time::sleep(self.interval).await;
            self.export(&app).await;
        }
    }

    /// Exports what waits, and every metric. What does not arrive is not tried again: metrics are sums, and the next export has them.
    pub async fn export(self: &Arc<Self>, app: &AppState) {
        let (otlp, app) = (Arc::clone(self), app.clone());
        let exported = tokio::task::spawn_blocking(move || otlp.export_now(&app)).await;
        if let Err(error) = exported {
            tracing::error!(error = &error as &dyn std::error::Error, "an export panicked");
        }
    }

    fn export_now(&self, app: &App) {
        let events = std::mem::take(&mut *lock(&self.waiting));
        if !events.is_empty() {
            let count = events.len() as u64;
            let sent = self.send("traces", &encode::traces(&events, &app.http));
            if sent.is_err() {
                self.dropped.fetch_add(count, Ordering::Relaxed);
            }
            self.note(sent);
        }
        let now = app.engine.now();
        self.note(self.send("metrics", &encode::metrics(&exposition::collect(app), now)));
    }

    fn send(&self, signal: &str, body: &Value) -> Result<(), ExportError> {
        let mut request = self.agent.post(format!("{}/v1/{signal}", self.endpoint));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.header("content-type", "application/json");
        let response = request.send(body.to_string()).map_err(ExportError::Transport)?;
        match response.status().as_u16() {
            200..300 => Ok(()),
            status => Err(ExportError::Refused(status)),
        }
    }

    /// Counts a failure, and logs one now and then: a collector that is away for a night should not fill the log.
    fn note(&self, sent: Result<(), ExportError>) {
        let Err(error) = sent else { return };
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut logged = lock(&self.logged);
        if logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            *logged = Some(Instant::now());
            tracing::warn!(error = &error as &dyn std::error::Error, "traces and metrics are not exported");
        }
    }

    /// Spans that were not exported, and exports that failed.
    pub fn lost(&self) -> (u64, u64) {
        (self.dropped.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
