//! Questions: from a request to a page of its answer.
//!
//! A question takes a snapshot, is resolved against it, waits for one of a few places, runs on a blocking thread (which in
//! turn uses the executor's own pool) and is cancelled when its caller goes away. Not here: how it is computed (`query`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tidewater_model::names::{ProjectName, excerpt, suggest};
use tidewater_model::query::{Query, QueryRequest, ResolveContext, resolve};
use tidewater_model::schema::Dataset;
use tidewater_model::time::Timestamp;
use tidewater_query::{CancelToken, Control, ExecuteError};
use tidewater_store::{DatasetView, Lsn, Snapshot, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cursors::{Cursors, Found, Pinned};
use crate::engine::Engine;
use crate::error::{EngineError, EngineResult};
use crate::page::{AnswerFacts, PageRows, QueryReply};
use crate::running::RunningGuard;
use crate::token;

/// Seconds after which a full queue of questions may have room.
const RETRY_AFTER_S: u64 = 1;
/// How often `min_version` is looked at while waiting: well below the few milli-seconds of a group commit.
const VERSION_POLL: Duration = Duration::from_millis(2);

/// Places for running questions, and a bounded queue before them.
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

impl Admission {
    pub fn new(running_max: usize, waiting_max: usize) -> Self {
        Admission {
            places: Arc::new(Semaphore::new(running_max.max(1))),
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
    /// Answers a question about a project's rows.
    pub async fn query(&self, request: QueryRequest, project: ProjectName) -> EngineResult<QueryReply> {
        let started = Instant::now();
        if let Some(version) = &request.min_version {
            self.wait_for_version(version).await?;
        }
        let snapshot = self.store.snapshot();
        self.query_snapshot(request, project, &snapshot, started).await
    }

    /// Answers questions from one snapshot, in order. A bad question does not spoil the others.
    pub async fn query_batch(
        &self,
        requests: Vec<(QueryRequest, ProjectName)>,
    ) -> Vec<EngineResult<QueryReply>> {
        let mut unreached = Vec::with_capacity(requests.len());
        for (request, _) in &requests {
            unreached.push(match &request.min_version {
                Some(version) => self.wait_for_version(version).await.err(),
                None => None,
            });
        }
        let snapshot = self.store.snapshot();
        let mut replies = Vec::with_capacity(requests.len());
        for ((request, project), unreached) in requests.into_iter().zip(unreached) {
            replies.push(match unreached {
                Some(error) => Err(error),
                None => self.query_snapshot(request, project, &snapshot, Instant::now()).await,
            });
        }
        replies
    }

    async fn query_snapshot(
        &self,
        request: QueryRequest,
        project: ProjectName,
        snapshot: &Arc<Snapshot>,
        started: Instant,
    ) -> EngineResult<QueryReply> {
        let binding = binding(&request, &project);
        if let Some(cursor) = &request.cursor {
            return self.continue_cursor(cursor.clone(), binding, request, started).await;
        }
        let view = self.view(snapshot, &request.dataset)?;
        let query = Arc::new(self.resolve(&request, &project, &view)?);
        let pinned_version = snapshot.data_version(&project, view.id);
        let as_of = snapshot.as_of();
        let (offset, limit) = (query.offset, query.limit);
        let engine = self.clone();
        let task = {
            let query = Arc::clone(&query);
            move |control: Control| -> EngineResult<(PageRows, Arc<AnswerFacts>, Option<String>)> {
                let answer = Arc::new(engine.executor.execute(&query, &view, &control)?);
                let facts = Arc::new(AnswerFacts::of(&answer));
                let page = PageRows::of(&answer, offset, limit);
                let next = offset + page.rows.len() as u64;
                let mut next_cursor = None;
                if next < facts.total_rows && !page.rows.is_empty() {
                    let pinned = Pinned {
                        facts: Arc::clone(&facts),
                        query: Arc::clone(&query),
                        version: pinned_version,
                        as_of,
                    };
                    let id = engine.cursors.pin(answer, pinned)?;
                    next_cursor = Some(Cursors::token(id, next, binding));
                }
                Ok((page, facts, next_cursor))
            }
        };
        let (page, facts, next_cursor) = self.run(&project, &query.dataset.name, task).await?;
        Ok(QueryReply {
            page,
            facts,
            request,
            query,
            version: pinned_version,
            as_of,
            next_cursor,
            elapsed: started.elapsed(),
        })
    }

    async fn continue_cursor(
        &self,
        cursor: String,
        binding: u64,
        request: QueryRequest,
        started: Instant,
    ) -> EngineResult<QueryReply> {
        let position = Cursors::read(&cursor, binding)?;
        let (id, found) = self.cursors.find(&position)?;
        let limit = request.limit.unwrap_or(found.pinned.query.limit);
        let offset = position.offset;
        let (found, page) = tokio::task::spawn_blocking(move || {
            let page = found.page(offset, limit);
            (found, page)
        })
        .await
        .map_err(|_| EngineError::Panicked)?;
        let page = page?;
        let Found { pinned, .. } = found;
        let next = offset + page.rows.len() as u64;
        let next_cursor = (next < pinned.facts.total_rows && !page.rows.is_empty())
            .then(|| Cursors::token(id, next, binding));
        Ok(QueryReply {
            page,
            facts: pinned.facts,
            request,
            query: pinned.query,
            version: pinned.version,
            as_of: pinned.as_of,
            next_cursor,
            elapsed: started.elapsed(),
        })
    }

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
        let place = self.admission.enter(deadline).await?;
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

    /// A dataset in a snapshot.
    pub(crate) fn view(&self, snapshot: &Snapshot, name: &str) -> EngineResult<DatasetView> {
        snapshot.view_named(name).cloned().ok_or_else(|| self.unknown_dataset(name))
    }

    pub(crate) fn unknown_dataset(&self, name: &str) -> EngineError {
        let known = self.store.datasets();
        let nearest = suggest(name, known.iter().map(|(_, dataset)| &*dataset.name)).map(str::to_owned);
        EngineError::UnknownDataset { name: excerpt(name), nearest }
    }

    pub(crate) fn resolve(
        &self,
        request: &QueryRequest,
        project: &ProjectName,
        view: &DatasetView,
    ) -> EngineResult<Query> {
        let first_row = || view.time_span(project).map(|(first, _)| first);
        let context = ResolveContext {
            dataset: Arc::<Dataset>::clone(&view.dataset),
            project: project.clone(),
            now: self.now(),
            first_row: &first_row,
        };
        Ok(resolve(request, &context)?)
    }

    /// Waits until the store has reached a version of an earlier reply.
    async fn wait_for_version(&self, text: &str) -> EngineResult<()> {
        let wanted = self.parse_version(text, "min_version")?;
        let deadline = Instant::now() + self.config.version_wait;
        while self.store.snapshot().version().lsn < wanted {
            if Instant::now() >= deadline {
                return Err(EngineError::VersionNotReached { version: excerpt(text) });
            }
            tokio::time::sleep(VERSION_POLL).await;
        }
        Ok(())
    }

    /// Reads a version of this store.
    pub(crate) fn parse_version(&self, text: &str, field: &'static str) -> EngineResult<Lsn> {
        let own = self.store.id();
        match text.parse::<Version>() {
            Ok(version) if version.store == own => Ok(version.lsn),
            _ => Err(EngineError::InvalidVersion { version: excerpt(text), field }),
        }
    }

    /// The store's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// What a cursor is bound to: the project and everything in the question that decides its rows. The page size and what only
/// changes the reply's form may differ from page to page.
fn binding(request: &QueryRequest, project: &ProjectName) -> u64 {
    let plain = QueryRequest {
        project: None,
        limit: None,
        offset: None,
        cursor: None,
        format: Default::default(),
        numbers: Default::default(),
        max_staleness_ms: None,
        min_version: None,
        ..request.clone()
    };
    token::bind(&[project.as_str(), &format!("{plain:?}")])
}
