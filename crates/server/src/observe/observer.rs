//! From events to figures: a task that looks at the buffer a few times a second while there is something in it.

use std::time::Duration;

use tidewater_model::time::Timestamp;

use super::events::{Buffer, Event};
use crate::config::Config;
use crate::performance::Performance;

/// How long events wait for others, so that a busy server sums up many at once. Whoever reads figures sums up first.
const GATHER: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub struct Observer {
    buffer: Buffer,
    performance: Performance,
    slow_us: u64,
}

impl Observer {
    /// Begins at `now`.
    pub fn new(config: &Config, now: Timestamp) -> Self {
        Observer {
            buffer: Buffer::default(),
            performance: Performance::new(now, config.observe.shapes_max),
            slow_us: config.log.slow_query_ms.saturating_mul(1_000),
        }
    }

    /// Takes an event. Quick: what is made of it is made later.
    pub fn note(&self, event: Event) {
        self.buffer.push(event);
    }

    /// The performance windows with all events until now.
    pub fn performance(&self) -> &Performance {
        self.sum_up();
        &self.performance
    }

    /// Events that found no room.
    pub fn dropped(&self) -> u64 {
        self.buffer.dropped()
    }

    /// Sums events up for as long as the future is polled.
    pub async fn run(&self) {
        loop {
            self.buffer.arrived().await;
            tokio::time::sleep(GATHER).await;
            self.sum_up();
        }
    }

    fn sum_up(&self) {
        let events = self.buffer.take();
        if !events.is_empty() {
            self.performance.add(events.iter(), self.slow_us);
        }
    }
}
