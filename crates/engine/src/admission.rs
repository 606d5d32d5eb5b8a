//! Places for computations: waiting for one, holding it, and how one that nobody waits for is stopped.
//!
//! A question starts as a light one. Where its plan, or the time it has already taken, says that much is to be read, it gives its place back and comes
//! again as a heavy one; where others hold the memory it needs, as a large one. Not here: who gets a place (`desk`), and what is computed.

mod desk;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidewater_model::names::ProjectName;
use tidewater_query::{CancelToken, Control, ExecuteError};
use tokio::sync::oneshot;

use desk::{Arrival, Desk, Limits, Party, Ticket};
pub use desk::{Class, Reason};

use crate::counters::{Counters, DurationHistogram};
use crate::engine::Engine;
use crate::error::{EngineError, EngineResult};
use crate::running::RunningGuard;

/// How much more of the pool's time a light question may really take than it may be estimated to: estimates are off by less, and what
/// was done until then is done again.
const SERVED_TOLERANCE: u32 = 4;

/// Pause of a question that found no memory though no heavy one runs beside it.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Places for running questions, and a bounded queue before them.
pub(crate) struct Admission {
    state: Mutex<State>,
    wait_max: Duration,
    waited: [DurationHistogram; 3],
}

struct State {
    desk: Desk,
    /// Who is told that its turn has come.
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
    refused: [u64; 4],
    is_closed: bool,
}

/// What the admission of questions has done and does, by [`Class`] and by [`Reason`].
#[derive(Debug)]
pub struct AdmissionStats {
    /// Computations that run.
    pub running: [(Class, u64); 3],
    /// Questions that wait for a place.
    pub waiting: [(Class, u64); 3],
    /// Questions that were refused.
    pub refused: [(Reason, u64); 4],
}

impl Admission {
    pub fn new(running_max: usize, heavy_running_max: usize, waiting_max: usize, wait_max: Duration) -> Self {
        let state = State {
            desk: Desk::new(Limits { running_max, heavy_running_max, waiting_max }),
            waiting: HashMap::new(),
            refused: [0; 4],
            is_closed: false,
        };
        Admission { state: Mutex::new(state), wait_max, waited: Default::default() }
    }

    /// A place for questions of one project that are computed together. Waits for it until `until`.
    async fn enter(
        self: &Arc<Self>,
        class: Class,
        errand: &Errand<'_>,
        (until, deadline): (Instant, Instant),
    ) -> EngineResult<Place> {
        let Errand { project, questions, in_demand, .. } = *errand;
        let began = Instant::now();
        let (mut place, turn) = self.arrive(class, project, Party { questions, in_demand })?;
        if let Some(turn) = turn {
            if let Some(on_wait) = errand.on_wait {
                on_wait();
            }
            match tokio::time::timeout_at(until.min(deadline).into(), turn).await {
                Ok(Ok(())) => place.held_since = Instant::now(),
                Ok(Err(_closed)) => return Err(EngineError::ShuttingDown),
                Err(_elapsed) if until >= deadline => return Err(ExecuteError::Deadline.into()),
                Err(_elapsed) => return Err(self.refuse(Reason::WaitedTooLong, class, questions)),
            }
        }
        self.waited[class.place()].0.add_duration(began.elapsed());
        Ok(place)
    }

    /// A place, and where it is not free yet, what tells when it is.
    fn arrive(
        self: &Arc<Self>,
        class: Class,
        project: &ProjectName,
        party: Party,
    ) -> EngineResult<(Place, Option<oneshot::Receiver<()>>)> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(EngineError::ShuttingDown);
        }
        let arrival = state.desk.arrive(class, project, party);
        let (ticket, turn) = match arrival {
            Ok(Arrival::Runs(ticket)) => (ticket, None),
            Ok(Arrival::Waits(ticket)) => {
                let (told, turn) = oneshot::channel();
                state.waiting.insert(ticket, told);
                (ticket, Some(turn))
            }
            Err(reason) => {
                drop(state);
                return Err(self.refuse(reason, class, party.questions));
            }
        };
        drop(state);
        let (admission, project) = (Arc::clone(self), project.clone());
        Ok((Place { admission, class, project, ticket, held_since: Instant::now() }, turn))
    }

    fn refuse(&self, reason: Reason, class: Class, questions: usize) -> EngineError {
        let mut state = self.lock();
        state.refused[reason.place()] += questions as u64;
        let retry_after_s = state.desk.retry_after_s(class);
        EngineError::Overloaded { what: reason.describe(), retry_after_s }
    }

    /// Computations that run, and how many may.
    pub fn running(&self) -> (u64, u64) {
        let state = self.lock();
        let running: usize = Class::ALL.into_iter().map(|class| state.desk.running(class)).sum();
        (running as u64, state.desk.limits().running_max as u64)
    }

    /// Questions waiting for their turn, and how many may.
    pub fn waiting(&self) -> (u64, u64) {
        let state = self.lock();
        let waiting: usize = Class::ALL.into_iter().map(|class| state.desk.waiting(class)).sum();
        (waiting as u64, state.desk.limits().waiting_max as u64)
    }

    pub fn stats(&self) -> AdmissionStats {
        let state = self.lock();
        AdmissionStats {
            running: Class::ALL.map(|class| (class, state.desk.running(class) as u64)),
            waiting: Class::ALL.map(|class| (class, state.desk.waiting(class) as u64)),
            refused: Reason::ALL.map(|reason| (reason, state.refused[reason.place()])),
        }
    }

    /// How long computations of a class have waited for their place.
    pub fn waited(&self, class: Class) -> &DurationHistogram {
        &self.waited[class.place()]
    }

    /// Refuses those who wait and those who come.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        // Dropped, they tell those who wait.
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Tells all whose turn it is.
    fn let_in(&mut self) {
        while let Some(ticket) = self.desk.next() {
            if let Some(told) = self.waiting.remove(&ticket) {
                // One that has left meanwhile gives the place back when it is dropped.
                let _ = told.send(());
            }
        }
    }
}

/// A place, or a place in the queue; given back when dropped, whichever it is by then.
pub(crate) struct Place {
    admission: Arc<Admission>,
    class: Class,
    project: ProjectName,
    ticket: Ticket,
    held_since: Instant,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.waiting.remove(&self.ticket);
        if !state.desk.give_up(self.class, &self.project, self.ticket) {
            state.desk.end(self.class, self.held_since.elapsed());
        }
        // Also who was waiting may have kept others from beginning.
        state.let_in();
    }
}

/// Which questions a computation is for.
#[derive(Clone, Copy)]
pub(crate) struct Errand<'a> {
    pub project: &'a ProjectName,
    pub dataset: &'a str,
    /// How many are computed together.
    pub questions: usize,
    /// Whether they are asked by many.
    pub in_demand: bool,
    /// From when on they wait.
    pub arrived: Instant,
    /// Called before they wait for a place.
    pub on_wait: Option<&'a (dyn Fn() + Sync)>,
}

impl<'a> Errand<'a> {
    /// One question that comes now.
    pub fn one(project: &'a ProjectName, dataset: &'a str) -> Self {
        Errand { project, dataset, questions: 1, in_demand: false, arrived: Instant::now(), on_wait: None }
    }
}

/// What is computed on a blocking thread. It may be done again in another class, so it changes nothing outside but caches.
pub(crate) type Task<T> = Arc<dyn Fn(&Control) -> EngineResult<T> + Send + Sync>;

impl Engine {
    /// Runs a computation on a blocking thread: registered, bounded in number and time, and cancelled when the returned
    /// future is dropped. One that turns out to be heavy is run again as such.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        errand: Errand<'_>,
        task: impl Fn(&Control) -> EngineResult<T> + Send + Sync + 'static,
    ) -> EngineResult<T> {
        let task: Task<T> = Arc::new(task);
        match self.run_as(Class::Light, errand, Arc::clone(&task)).await {
            Err(error) if error.is_costly() => self.run_as(Class::Heavy, errand, task).await,
            outcome => outcome,
        }
    }

    /// As [`Self::run`], but in this class: a light one that turns out to be heavy fails as too costly.
    pub(crate) async fn run_as<T: Send + 'static>(
        &self,
        mut class: Class,
        errand: Errand<'_>,
        task: Task<T>,
    ) -> EngineResult<T> {
        let Errand { project, dataset, questions, arrived, .. } = errand;
        let deadline = arrived + self.config.query_timeout;
        let until = arrived + self.admission.wait_max;
        let cancel = CancelToken::default();
        let _guard: RunningGuard = self.running.enter(project, dataset, self.now(), cancel.clone());
        loop {
            let place = self.admission.enter(class, &errand, (until, deadline)).await?;
            let control = self.control(class, questions, deadline, cancel.clone());
            let (task, progress) = (Arc::clone(&task), Arc::clone(&control.progress));
            let done = tokio::task::spawn_blocking(move || {
                // The place is given back when the computation has really ended, not when its caller left.
                let _place = place;
                task(&control)
            });
            let outcome = done.await.map_err(|_| EngineError::Panicked)?;
            if outcome.is_err() {
                // What was read for nothing, or is read once more, is no answer's, but it was read.
                Counters::add(&self.counters.rows_scanned, progress.rows_scanned());
                Counters::add(&self.counters.bytes_scanned, progress.bytes_scanned());
            }
            match outcome {
                Err(EngineError::Query(ExecuteError::Busy { .. })) if class == Class::Large => {
                    // Light ones hold the rest, and soon let go of it.
                    if Instant::now() + BUSY_PAUSE >= until.min(deadline) {
                        return Err(self.admission.refuse(Reason::Memory, class, questions));
                    }
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(EngineError::Query(ExecuteError::Busy { .. })) => class = Class::Large,
                result => return result,
            }
        }
    }

    fn control(&self, class: Class, questions: usize, deadline: Instant, cancel: CancelToken) -> Control {
        let control = Control { deadline: Some(deadline), cancel, ..Control::default() };
        if class != Class::Light {
            return control;
        }
        let questions = u32::try_from(questions).unwrap_or(u32::MAX);
        let heavy_from = self.config.heavy_from;
        let served_max = heavy_from.saturating_mul(SERVED_TOLERANCE).saturating_mul(questions);
        Control { cost_max: Some(heavy_from), served_max: Some(served_max), ..control }
    }
}
