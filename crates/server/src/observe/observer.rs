//! From events to figures: many at once, by the threads that note them when they have noted many, and a few times a second by a task
//! that looks at the buffer while there is something in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewater_engine::Engine;
use tidewater_model::time::Timestamp;

use super::events::{Buffer, Event};
use crate::config::Config;
use crate::metrics::HttpMetrics;
use crate::otlp::Otlp;
use crate::performance::Performance;
use crate::records::Records;

/// How long events wait for others, so that a busy server sums up many at once. Whoever reads figures sums up first.
const GATHER: Duration = Duration::from_millis(100);

/// See the module.
pub struct Observer {
    buffer: Buffer,
    performance: Performance,
    records: Records,
    otlp: Option<Arc<Otlp>>,
    slow_us: u64,
}

impl Observer {
    /// Begins at `now`.
    pub fn new(config: &Config, now: Timestamp) -> Self {
        Observer {
            buffer: Buffer::default(),
            performance: Performance::new(now, config.observe.shapes_max),
            records: Records::new(&config.observe),
            otlp: Otlp::new(&config.otlp).map(Arc::new),
            slow_us: config.log.slow_query_ms.saturating_mul(1_000),
        }
    }

    /// Takes an event. Quick: what is made of it is made later, for many at once.
    pub fn note(&self, event: Event, http: &HttpMetrics) {
        // Whoever holds the sums up now leaves the events to a later request, or to the task.
        if self.buffer.push(event)
            && let Some(events) = self.performance.add_if_free(|| self.buffer.take_own(), self.slow_us)
        {
            self.record(&events, http);
        }
    }

    /// The performance windows with all events until now.
    pub fn performance(&self, http: &HttpMetrics) -> &Performance {
        self.sum_up(http);
        &self.performance
    }

    /// The export of traces and metrics, where there is one.
    pub fn otlp(&self) -> Option<&Arc<Otlp>> {
        self.otlp.as_ref()
    }

    /// What could not be kept or sent, by kind.
    pub fn dropped(&self) -> [(&'static str, u64); 4] {
        let (spans, exports) = self.otlp.as_ref().map_or((0, 0), |otlp| otlp.lost());
        [
            ("events", self.buffer.dropped()),
            ("records", self.records.lost()),
            ("spans", spans),
            ("exports", exports),
        ]
    }

    /// Sums events up and writes records for as long as the future is polled.
    pub async fn run(&self, engine: &Engine, http: &HttpMetrics) {
        loop {
            let due = self.records.due();
            tokio::select! {
                () = self.buffer.arrived() => {
                    tokio::time::sleep(GATHER).await;
                    self.sum_up(http);
                }
                () = until(due) => self.records.write(engine, http).await,
            }
        }
    }

    /// The last step: what is known until now is summed up and recorded.
    pub async fn finish(&self, engine: &Engine, http: &HttpMetrics) {
        self.sum_up(http);
        self.records.write(engine, http).await;
    }

    fn sum_up(&self, http: &HttpMetrics) {
        let events = self.buffer.take();
        if !events.is_empty() {
            self.performance.add(&events, self.slow_us);
            self.record(&events, http);
        }
    }

    fn record(&self, events: &[Event], http: &HttpMetrics) {
        self.records.add(events.iter(), http);
        if let Some(otlp) = &self.otlp {
            otlp.add(events.iter());
        }
    }
}

/// Ends at an instant; never without one.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
