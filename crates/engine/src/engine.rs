//! The façade's one struct: the store, the executor, and what bounds their use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidewater_model::names::ProjectName;
use tidewater_model::schema::{Dataset, DatasetDefinition};
use tidewater_query::{CacheStats, Executor};
use tidewater_store::{Clock, DatasetView, Store};
use tokio::sync::Semaphore;

use crate::admission::{Admission, AdmissionStats, Class};
use crate::answers::{AnswerStats, Answers};
use crate::config::EngineConfig;
use crate::counters::{Counters, DurationHistogram};
use crate::cursors::Cursors;
use crate::error::{EngineError, EngineResult};
use crate::in_flight::{InFlight, Permit};
use crate::jobs::Jobs;
use crate::keys::Keys;
use crate::projects::Projects;
use crate::questions::Questions;
use crate::ready::Checks;
use crate::rejects::{Reject, Rejects};
use crate::reserved::is_own_dataset;
use crate::running::{Running, RunningQuery};
use crate::spill;
use crate::usage::Usage;

/// Seconds after which a full budget of bytes in flight may have room.
const RETRY_AFTER_S: u64 = 1;
/// How often the last uses of keys are stored: what a crash may lose of them.
const KEY_USES_SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// How full a queue or a pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueUse {
    /// Its name; one that ends in `_bytes` is measured in bytes, any other in requests.
    pub queue: &'static str,
    /// What is in it.
    pub used: u64,
    /// What it takes at most.
    pub limit: u64,
}

/// Everything a server needs of the database. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// What all clones share.
pub struct Shared {
    pub(crate) store: Store,
    pub(crate) executor: Executor,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: EngineConfig,
    pub(crate) keys: Keys,
    pub(crate) jobs: Jobs,
    pub(crate) projects: Projects,
    pub(crate) cursors: Cursors,
    pub(crate) answers: Answers,
    pub(crate) running: Arc<Running>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) checks: Checks,
    pub(crate) decoders: Arc<Semaphore>,
    pub(crate) in_flight: InFlight,
    pub(crate) rejects: Rejects,
    pub(crate) counters: Counters,
    pub(crate) questions: Questions,
    pub(crate) usage: Usage,
    is_closing: AtomicBool,
}

impl std::ops::Deref for Engine {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Engine {
    /// Puts an engine around an open store.
    pub fn open(
        store: Store,
        executor: Executor,
        clock: Arc<dyn Clock>,
        config: EngineConfig,
    ) -> EngineResult<Self> {
        spill::clean(&config.data_dir);
        let seed = getrandom::u32().map_err(EngineError::Random)?;
        let cursors = Cursors::new(
            config.data_dir.clone(),
            config.cursor_bytes_max,
            config.cursor_spill_bytes_max,
            config.cursor_ttl,
            seed,
        );
        let shared = Shared {
            keys: Keys::open(store.clone())?,
            jobs: Jobs::open(store.clone())?,
            projects: Projects::open(store.clone())?,
            questions: Questions::open(store.clone(), config.questions_max, clock.now())?,
            usage: Usage::new(store.clone()),
            cursors,
            answers: Answers::new(config.answers_bytes_max, config.tick),
            running: Arc::default(),
            admission: Arc::new(Admission::new(
                config.queries_running_max,
                config.heavy_running_max,
                config.queries_waiting_max,
                config.wait_max,
            )),
            checks: Checks::default(),
            decoders: Arc::new(Semaphore::new(config.decoders_max.max(1))),
            in_flight: InFlight::new(config.ingest_bytes_max),
            rejects: Rejects::new(config.rejects_bytes_max, config.rejects_redacted),
            counters: Counters::default(),
            is_closing: AtomicBool::new(false),
            store,
            executor,
            clock,
            config,
        };
        Ok(Engine { shared: Arc::new(shared) })
    }

    /// The store below, for its statistics, backups and checks.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// API keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Stores when keys were last used, once a minute, for as long as the returned future is polled. [`Engine::close`] stores the
    /// rest.
    pub async fn keep_key_uses(&self) {
        loop {
            tokio::time::sleep(KEY_USES_SAVE_INTERVAL).await;
            if let Err(error) = self.blocking(|engine| engine.keys.save_uses()).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the last uses of keys are not stored"
                );
            }
        }
    }

    /// Jobs.
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Counters since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The limits.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Takes bytes of the budget for request bodies; the request holds the permit until its rows are with the store.
    pub fn admit(&self, bytes: u64) -> EngineResult<Permit> {
        self.in_flight.take(bytes).map_err(|_| self.overloaded())
    }

    pub(crate) fn overloaded(&self) -> EngineError {
        Counters::add(&self.counters.overloaded, 1);
        EngineError::Overloaded {
            what: "too many bytes of requests are in memory",
            retry_after_s: RETRY_AFTER_S,
        }
    }

    /// Bytes of request bodies in memory.
    pub fn in_flight_bytes(&self) -> u64 {
        self.in_flight.used()
    }

    /// How full everything is that may become full and then refuses work.
    pub fn queues(&self) -> Vec<QueueUse> {
        let memory = (self.executor.memory_bytes() as u64, self.executor.config().memory_bytes_max as u64);
        let store = (self.store.queue_bytes(), self.store.config().queue_bytes_max);
        let queue = |queue, (used, limit)| QueueUse { queue, used, limit };
        vec![
            queue("questions_running", self.admission.running()),
            queue("questions_waiting", self.admission.waiting()),
            queue("question_memory_bytes", memory),
            queue("request_bytes", (self.in_flight.used(), self.in_flight.max())),
            queue("store_bytes", store),
        ]
    }

    /// Questions that run, wait and were refused, by class and reason.
    pub fn admission_stats(&self) -> AdmissionStats {
        self.admission.stats()
    }

    /// How long computations of a class have waited for their place.
    pub fn waited(&self, class: Class) -> &DurationHistogram {
        self.admission.waited(class)
    }

    /// Steps of questions that wait for a thread that computes, and how many such threads there are.
    pub fn steps_waiting(&self) -> (usize, usize) {
        self.executor.steps_waiting()
    }

    /// Bytes that running questions hold.
    pub fn query_memory_bytes(&self) -> usize {
        self.executor.memory_bytes()
    }

    /// Answers pinned for cursors, their bytes in memory, their bytes on disk.
    pub fn cursor_usage(&self) -> (usize, u64, u64) {
        self.cursors.usage()
    }

    /// Cursors that ended before their time because too many were open.
    pub fn cursors_ended_early(&self) -> u64 {
        self.cursors.ended_early()
    }

    /// What the answer cache has done.
    pub fn answer_stats(&self) -> AnswerStats {
        self.answers.stats()
    }

    /// Bytes that kept answers and partial results may take.
    pub fn cache_limits(&self) -> (u64, u64) {
        (self.config.answers_bytes_max, self.executor.config().partials_bytes_max as u64)
    }

    /// What the cache of partial results has done.
    pub fn partial_stats(&self) -> CacheStats {
        self.executor.cache_stats()
    }

    /// The latest refused rows, newest first, of one project or of all.
    pub fn rejects(&self, project: Option<&ProjectName>, limit: usize) -> Vec<Reject> {
        self.rejects.latest(project, limit)
    }

    /// Running questions.
    pub fn running(&self) -> Vec<RunningQuery> {
        self.running.list()
    }

    /// How many questions run or wait.
    pub fn running_count(&self) -> usize {
        self.running.count()
    }

    /// Cancels a running question.
    pub fn cancel(&self, id: u64) -> EngineResult<()> {
        if self.running.cancel(id) { Ok(()) } else { Err(EngineError::UnknownQuery) }
    }

    /// Every dataset but the server's own, by name.
    pub fn datasets(&self) -> Vec<Arc<Dataset>> {
        let all = self.store.datasets().into_iter().map(|(_, dataset)| dataset);
        let mut datasets: Vec<Arc<Dataset>> = all.filter(|dataset| !is_own_dataset(&dataset.name)).collect();
        datasets.sort_by(|a, b| a.name.cmp(&b.name));
        datasets
    }

    /// A dataset by name.
    pub fn dataset(&self, name: &str) -> EngineResult<Arc<Dataset>> {
        self.store.dataset(name).map(|(_, dataset)| dataset).ok_or_else(|| self.unknown_dataset(name))
    }

    /// Creates or widens a dataset; the second value tells whether it is new.
    pub async fn put_dataset(
        &self,
        name: String,
        definition: DatasetDefinition,
    ) -> EngineResult<(Arc<Dataset>, bool)> {
        let is_new = self.store.dataset(&name).is_none();
        let (_, dataset) = self
            .blocking(move |engine| {
                let put = engine.store.put_dataset(&name, definition)?;
                engine.answers.changed();
                Ok(put)
            })
            .await?;
        Ok((dataset, is_new))
    }

    /// Drops a dataset with all its rows.
    pub async fn drop_dataset(&self, name: String) -> EngineResult<()> {
        self.dataset(&name)?;
        self.blocking(move |engine| {
            engine.store.drop_dataset(&name)?;
            engine.answers.changed();
            Ok(())
        })
        .await
    }

    /// Rows of each dataset, of one project or of all, deleted ones that are not yet rewritten out included.
    pub fn row_counts(&self, project: Option<&ProjectName>) -> Vec<(Arc<Dataset>, u64)> {
        let snapshot = self.store.snapshot();
        let count = |view: &DatasetView| match project {
            Some(project) => rows_of(view, project),
            None => view.projects().iter().map(|project| rows_of(view, project)).sum(),
        };
        let views = snapshot.views().filter(|view| !is_own_dataset(&view.dataset.name));
        let mut counts: Vec<_> = views.map(|view| (Arc::clone(&view.dataset), count(view))).collect();
        counts.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        counts
    }

    /// Runs work that may block or take long where that is allowed.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> EngineResult<T> + Send + 'static,
    ) -> EngineResult<T> {
        let engine = self.clone();
        tokio::task::spawn_blocking(move || work(&engine)).await.map_err(|_| EngineError::Panicked)?
    }

    /// Whether [`Self::close`] has begun.
    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    /// Refuses new work, so that what runs can end: the first step of a shutdown.
    pub fn stop_accepting(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    /// The last steps of a shutdown, after the server has drained its requests: questions that still run are cancelled,
    /// waiting ones refused, then the store writes its memory out and closes. Blocks.
    pub fn close(&self) -> EngineResult<()> {
        self.stop_accepting();
        self.admission.close();
        self.running.cancel_all();
        if let Err(error) = self.questions.save_all() {
            // A store that takes no more writes has said so; a lost log of questions must not keep it from closing.
            tracing::warn!(error = &error as &dyn std::error::Error, "the question log is not stored");
        }
        if let Err(error) = self.keys.save_uses() {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last uses of keys are not stored");
        }
        if let Err(error) = self.usage.save() {
            tracing::warn!(error = &error as &dyn std::error::Error, "the usage of projects is not stored");
        }
        Ok(self.store.close()?)
    }
}

fn rows_of(view: &DatasetView, project: &ProjectName) -> u64 {
    view.units.iter().filter_map(|unit| unit.span(project)).map(|span| span.rows).sum()
}
