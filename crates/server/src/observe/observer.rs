//! From events to figures: a task that looks at the buffer a few times a second while there is something in it.

use std::time::{Duration, Instant};

use tidewater_engine::Engine;
use tidewater_model::time::Timestamp;

use super::events::{Buffer, Event};
use crate::config::Config;
use crate::metrics::HttpMetrics;
use crate::performance::Performance;
use crate::records::Records;

/// How long events wait for others, so that a busy server sums up many at once. Whoever reads figures sums up first.
const GATHER: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub struct Observer {
    buffer: Buffer,
    performance: Performance,
    records: Records,
    slow_us: u64,
}

impl Observer {
    /// Begins at `now`.
    pub fn new(config: &Config, now: Timestamp) -> Self {
        Observer {
            buffer: Buffer::default(),
            performance: Performance::new(now, config.observe.shapes_max),
            records: Records::new(&config.observe),
            slow_us: config.log.slow_query_ms.saturating_mul(1_000),
        }
    }

    /// Takes an event. Quick: what is made of it is made later.
    pub fn note(&self, event: Event) {
        self.buffer.push(event);
    }

    /// The performance windows with all events until now.
    pub fn performance(&self, http: &HttpMetrics) -> &Performance {
        self.sum_up(http);
        &self.performance
    }

    /// Events that found no room, and records that could not be stored.
    pub fn dropped(&self) -> (u64, u64) {
        (self.buffer.dropped(), self.records.lost())
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
            self.performance.add(events.iter(), self.slow_us);
            self.records.add(events.iter(), http);
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
