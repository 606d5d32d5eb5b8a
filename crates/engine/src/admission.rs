//! Places for computations: how many run, how many wait, and how one that nobody waits for is stopped.
//!
//! Not here: what they compute.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tidewater_model::names::ProjectName;
use tidewater_query::{CancelToken, Control, ExecuteError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::counters::Counters;
use crate::engine::Engine;
use crate::error::{EngineError, EngineResult};
use crate::running::RunningGuard;

/// Seconds after which a full queue of questions may have room.
const RETRY_AFTER_S: u64 = 1;

/// Places for running questions, and a bounded queue before them.
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    running_max: usize,
    waiting: AtomicUsize,
    waiting_max: usize,
}

impl Admission {
    pub fn new(running_max: usize, waiting_max: usize) -> Self {
        let running_max = running_max.max(1);
        Admission {
            places: Arc::new(Semaphore::new(running_max)),
            running_max,
            waiting: AtomicUsize::new(0),
            waiting_max,
        }
    }

    async fn enter(&self, deadline: Instant) -> EngineResult<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let _waiting = Waiting::enter(self)?;
        let acquire = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout_at(deadline.into(), acquire).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_closed)) => Err(EngineError::ShuttingDown),
            Err(_elapsed) => Err(ExecuteError::Deadline.into()),
        }
    }

    /// Questions being computed, and how many may be.
    pub fn running(&self) -> (u64, u64) {
        let free = self.places.available_permits().min(self.running_max);
        ((self.running_max - free) as u64, self.running_max as u64)
    }

    /// Questions waiting for their turn, and how many may.
    pub fn waiting(&self) -> (u64, u64) {
        (self.waiting.load(Ordering::Relaxed) as u64, self.waiting_max as u64)
    }

    pub fn close(&self) {
        self.places.close();
    }
}

/// One place in the queue, given back when the caller leaves it in any way.
struct Waiting<'a>(&'a Admission);

impl<'a> Waiting<'a> {
    fn enter(admission: &'a Admission) -> EngineResult<Self> {
        if admission.waiting.fetch_add(1, Ordering::Relaxed) >= admission.waiting_max {
            admission.waiting.fetch_sub(1, Ordering::Relaxed);
            let what = "too many questions are waiting";
            return Err(EngineError::Overloaded { what, retry_after_s: RETRY_AFTER_S });
        }
        Ok(Waiting(admission))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Engine {
    /// Runs a computation on a blocking thread: registered, bounded in number and time, and cancelled when the returned
    /// future is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        project: &ProjectName,
        dataset: &str,
        task: impl FnOnce(Control) -> EngineResult<T> + Send + 'static,
    ) -> EngineResult<T> {
        let deadline = Instant::now() + self.config.query_timeout;
        let cancel = CancelToken::default();
        let guard: RunningGuard = self.running.enter(project, dataset, self.now(), cancel.clone());
        let place = self.admission.enter(deadline).await.inspect_err(|error| {
            if matches!(error, EngineError::Overloaded { .. }) {
                Counters::add(&self.counters.questions_refused, 1);
            }
        })?;
        let control = Control { deadline: Some(deadline), cancel, ..Control::default() };
        let done = tokio::task::spawn_blocking(move || {
            // The place is given back when the computation has really ended, not when its caller left.
            let _place = place;
            task(control)
        });
        let result = done.await.map_err(|_| EngineError::Panicked)?;
        drop(guard);
        result
    }
}
