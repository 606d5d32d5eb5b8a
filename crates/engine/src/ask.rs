//! Questions: from a request to a page of its answer.
//!
//! A question takes a snapshot and is resolved against it. Where an answer that may be shared is there or on its way
//! (`answers`), it is that one; else it waits for one of a few places (`admission`), runs on a blocking thread (which in turn uses the
//! executor's own pool) and is cancelled when its last caller goes away. Not here: how it is computed (`query`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidewater_model::names::{ProjectName, excerpt, suggest};
use tidewater_model::query::{Query, QueryRequest, ResolveContext, resolve};
use tidewater_model::schema::{Dataset, DatasetId};
use tidewater_model::time::Timestamp;
use tidewater_store::{DatasetView, Lsn, Snapshot, Version};

use crate::answers::{Kept, Lease, Moment, QuestionKey, Subject, holds_until};
use crate::cursors::{Cursors, Found};
use crate::engine::Engine;
use crate::error::{EngineError, EngineResult};
use crate::page::{CacheUse, QueryReply};
use crate::token;

/// How often `min_version` is looked at while waiting: well below the few milli-seconds of a group commit.
const VERSION_POLL: Duration = Duration::from_millis(2);

/// A question that is ready to be computed from its snapshot.
pub(crate) struct Question {
    pub request: QueryRequest,
    pub key: QuestionKey,
    pub subject: Subject,
    pub dataset: DatasetId,
    rows: Mutex<Option<Arc<Rows>>>,
    pub moment: Moment,
    /// The answer must include it.
    pub min_lsn: Lsn,
    /// When it came.
    pub arrived: Instant,
}

/// The rows a question is answered from.
pub(crate) struct Rows {
    pub view: DatasetView,
    pub snapshot: Arc<Snapshot>,
}

impl Question {
    /// Its rows; `None` once they were let go.
    pub fn rows(&self) -> Option<Arc<Rows>> {
        self.lock().clone()
    }

    /// Lets its rows go, because it waits: a snapshot keeps what the memtable held then, and hundreds of questions that wait for seconds
    /// under ingest would keep many times the memory of the rows. It is posed again when its turn comes.
    pub fn let_go(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Rows>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Answers a question about a project's rows.
    pub async fn query(&self, request: QueryRequest, project: ProjectName) -> EngineResult<QueryReply> {
        let arrived = Instant::now();
        let min_lsn = self.min_lsn(&request).await?;
        if let Some(cursor) = &request.cursor {
            let binding = binding(&request, &project);
            return self.continue_cursor(cursor.clone(), binding, request, arrived).await;
        }
        let moment = self.answers.moment();
        let posed = self.pose(request, &project, &self.store.snapshot(), (moment, min_lsn, arrived));
        let question = Arc::new(posed?);
        let (kept, cache) = self.answer(&question).await?;
        Ok(self.reply(&question.request, &kept, cache))
    }

    /// Answers questions from one snapshot, in order. A bad question does not spoil the others.
    pub async fn query_batch(
        &self,
        requests: Vec<(QueryRequest, ProjectName)>,
    ) -> Vec<EngineResult<QueryReply>> {
        let arrived = Instant::now();
        let mut reached = Vec::with_capacity(requests.len());
        for (request, _) in &requests {
            reached.push(self.min_lsn(request).await);
        }
        let moment = self.answers.moment();
        let snapshot = self.store.snapshot();
        let mut replies = Vec::with_capacity(requests.len());
        let mut missing: BTreeMap<_, Vec<(usize, Arc<Question>)>> = BTreeMap::new();
        for (index, ((request, project), min_lsn)) in requests.into_iter().zip(reached).enumerate() {
            let posed = match (min_lsn, request.cursor.clone()) {
                (Err(error), _) => Err(error),
                (Ok(_), Some(cursor)) => {
                    let binding = binding(&request, &project);
                    replies.push(Some(self.continue_cursor(cursor, binding, request, arrived).await));
                    continue;
                }
                (Ok(min_lsn), None) => self.pose(request, &project, &snapshot, (moment, min_lsn, arrived)),
            };
            replies.push(match posed {
                Err(error) => Some(Err(error)),
                Ok(question) => {
                    let kept = self.kept_of_snapshot(&question);
                    if kept.is_none() {
                        let rows = (question.dataset, project);
                        missing.entry(rows).or_default().push((index, Arc::new(question)));
                    }
                    kept.map(Ok)
                }
            });
        }
        for questions in missing.into_values() {
            let (places, questions): (Vec<usize>, Vec<Arc<Question>>) = questions.into_iter().unzip();
            let answers = self.compute_batch(questions.clone()).await;
            for ((place, question), answer) in places.into_iter().zip(questions).zip(answers) {
                self.answers.missed();
                replies[place] = Some(answer.map(|kept| self.reply_kept(&question, kept)));
            }
        }
        // Every question is answered above or was refused.
        replies.into_iter().map(|reply| reply.unwrap_or(Err(EngineError::Panicked))).collect()
    }

    /// Gives a question its meaning over a snapshot.
    pub(crate) fn pose(
        &self,
        request: QueryRequest,
        project: &ProjectName,
        snapshot: &Arc<Snapshot>,
        (moment, min_lsn, arrived): (Moment, Lsn, Instant),
    ) -> EngineResult<Question> {
        let view = self.view(snapshot, &request.dataset)?;
        let query = Arc::new(self.resolve(&request, project, &view)?);
        let (key, meaning) = QuestionKey::of(&request, &query, view.id);
        let until = holds_until(&query, |later| {
            let later = self.resolve_at(&request, project, &view, later);
            later.is_ok_and(|later| QuestionKey::of(&request, &later, view.id).1 == meaning)
        });
        let subject = Subject::new(snapshot, &view, query, meaning, moment, until);
        let dataset = view.id;
        let rows = Mutex::new(Some(Arc::new(Rows { view, snapshot: Arc::clone(snapshot) })));
        Ok(Question { request, key, subject, dataset, rows, moment, min_lsn, arrived })
    }

    /// An answer that may be shared, from the cache, from a computation that is on its way, or from one of its own.
    async fn answer(&self, question: &Arc<Question>) -> EngineResult<(Arc<Kept>, CacheUse)> {
        let Some(staleness_us) = self.staleness_us(&question.request) else {
            self.answers.missed();
            let kept = Arc::new(self.compute(question).await?);
            self.keep(question, &kept);
            return Ok((Arc::clone(&kept), kept.computed));
        };
        if let Some(kept) = self.kept(question, staleness_us) {
            return Ok((kept, CacheUse::Hit));
        }
        let admits = |subject: &Subject| self.may_have(subject, question, staleness_us);
        let start = || {
            let (engine, question) = (self.clone(), Arc::clone(question));
            let facts = question.subject.clone();
            let computation = async move {
                let kept = Arc::new(engine.compute(&question).await?);
                engine.keep(&question, &kept);
                Ok(kept)
            };
            (facts, computation)
        };
        let (waiter, is_shared) = self.answers.flights.join_or_start(&question.key, admits, start);
        if is_shared {
            question.let_go();
        }
        let kept = waiter.await?;
        self.answers.computed(is_shared);
        if is_shared {
            kept.serve();
        }
        let cache = if is_shared { CacheUse::Hit } else { kept.computed };
        Ok((kept, cache))
    }

    /// A kept answer that is the one of exactly the question's snapshot.
    fn kept_of_snapshot(&self, question: &Question) -> Option<QueryReply> {
        self.staleness_us(&question.request)?;
        let kept = self.kept(question, 0)?;
        Some(self.reply(&question.request, &kept, CacheUse::Hit))
    }

    fn reply_kept(&self, question: &Question, kept: Kept) -> QueryReply {
        let kept = Arc::new(kept);
        self.keep(question, &kept);
        self.reply(&question.request, &kept, kept.computed)
    }

    /// Whether many ask a question: its answer before served others too. One that wants an answer more current than others share may be
    /// computed more often than they.
    pub(crate) fn is_in_demand(&self, question: &Question) -> bool {
        let shares = |staleness_us| staleness_us >= self.answers.tick_us();
        self.staleness_us(&question.request).is_some_and(shares) && self.answers.is_in_demand(&question.key)
    }

    /// How old a shared answer may be; `None` where the caller wants a computation of its own.
    fn staleness_us(&self, request: &QueryRequest) -> Option<u64> {
        match request.max_staleness_ms {
            _ if request.include.explain => None,
            Some(0) => None,
            Some(ms) => Some(ms.saturating_mul(1_000)),
            None => Some(self.answers.tick_us()),
        }
    }

    /// A kept answer that the caller may have.
    fn kept(&self, question: &Question, staleness_us: u64) -> Option<Arc<Kept>> {
        let kept = self.answers.cache.get(&question.key)?;
        let serves = self.may_have(&kept.subject, question, staleness_us)
            && kept.cursor.is_none_or(|(id, _)| self.cursors.keep(id));
        if serves {
            self.answers.hit();
            kept.serve();
        }
        serves.then_some(kept)
    }

    /// Whether an answer to `subject` is one to `question`: shared within a tick, or of the same rows with the same meaning.
    fn may_have(&self, subject: &Subject, question: &Question, staleness_us: u64) -> bool {
        let (known, own) = (&subject.currency, &question.subject);
        if known.is_fresh(question.moment, staleness_us) && known.includes(question.min_lsn) {
            return true;
        }
        let Some(rows) = question.rows().filter(|rows| known.is_of(&rows.snapshot)) else { return false };
        if !known.holds_at(own.query.now) {
            if !subject.means_the_same(own) {
                return false;
            }
            known.prolong(own.holds_until);
        }
        known.confirm(question.moment, rows.snapshot.version().lsn);
        true
    }

    /// Whether a written reply may be sent to someone who sent the same bytes. One look at the clock within a tick; past it one
    /// look at the rows' version.
    pub fn still_answers(&self, lease: &Lease) -> bool {
        let moment = self.answers.moment();
        let currency = &lease.currency;
        let serves = currency.is_fresh(moment, lease.staleness_us) || {
            let snapshot = self.store.snapshot();
            let holds = currency.holds_at(self.now()) && currency.is_of(&snapshot);
            if holds {
                currency.confirm(moment, snapshot.version().lsn);
            }
            holds
        };
        let serves = serves && lease.cursor.is_none_or(|id| self.cursors.keep(id));
        if serves {
            // Who keeps written replies counts their uses; the answer cache was not asked.
            lease.serve();
        }
        serves
    }

    /// How long ago a written reply was known to be right, where that is less than `age_max` and nothing has happened since that
    /// shows at once, like a delete.
    pub fn answered_within(&self, lease: &Lease, age_max: Duration) -> Option<Duration> {
        let moment = self.answers.moment();
        let serves = lease.currency.is_fresh(moment, age_max.as_micros() as u64)
            && lease.cursor.is_none_or(|id| self.cursors.keep(id));
        serves.then(|| lease.serve()).map(|()| lease.currency.age(moment))
    }

    /// The kept answer to a question where it was right less than `age_max` ago, with its age; `None` where there is none or the
    /// question wants a computation of its own. Computes nothing.
    pub fn kept_answer(
        &self,
        request: QueryRequest,
        project: ProjectName,
        age_max: Duration,
    ) -> EngineResult<Option<(QueryReply, Duration)>> {
        if request.cursor.is_some() || self.staleness_us(&request).is_none() {
            return Ok(None);
        }
        let min_version = request.min_version.as_deref();
        let min_lsn = min_version.map_or(Ok(Lsn(0)), |text| self.parse_version(text, "min_version"))?;
        let moment = self.answers.moment();
        let snapshot = self.store.snapshot();
        let question = self.pose(request, &project, &snapshot, (moment, min_lsn, Instant::now()))?;
        let kept = self.kept(&question, age_max.as_micros() as u64);
        Ok(kept.map(|kept| {
            let age = kept.subject.currency.age(moment);
            (self.reply(&question.request, &kept, CacheUse::Hit), age)
        }))
    }

    /// Keeps an answer for those who ask the same. One with a plan is about its own run.
    fn keep(&self, question: &Question, kept: &Arc<Kept>) {
        if question.request.include.explain {
            return;
        }
        let bytes = |kept: &Kept| (kept.memory_bytes() + question.key.memory_bytes()) as u64;
        let replaced = self.answers.cache.insert(question.key.clone(), Arc::clone(kept), bytes(kept));
        if let Some(earlier) = replaced.filter(|earlier| !Arc::ptr_eq(earlier, kept))
            && !kept.subject.currency.supersede(&earlier.subject.currency)
        {
            // A slow computation ended after a later one.
            let bytes = bytes(&earlier);
            self.answers.cache.insert(question.key.clone(), earlier, bytes);
        }
    }

    fn reply(&self, request: &QueryRequest, kept: &Kept, cache: CacheUse) -> QueryReply {
        let query = &kept.subject.query;
        let lease = self.staleness_us(request).map(|staleness_us| Lease {
            currency: Arc::clone(&kept.subject.currency),
            staleness_us,
            cursor: kept.cursor.map(|(id, _)| id),
            recorded: kept.recorded.clone(),
        });
        QueryReply {
            page: Arc::clone(&kept.page),
            facts: Arc::clone(&kept.facts),
            query: Arc::clone(query),
            version: kept.subject.currency.version(),
            as_of: kept.as_of,
            next_cursor: kept
                .cursor
                .map(|(id, next)| Cursors::token(id, next, binding(request, &query.project))),
            request: request.clone(),
            elapsed: kept.elapsed,
            cache,
            lease,
        }
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
        let page = match page {
            Some(page) => page,
            None => self.page_again(id, &pinned, offset, limit).await?,
        };
        let next = offset + page.rows.len() as u64;
        let next_cursor = (next < pinned.facts.total_rows && !page.rows.is_empty())
            .then(|| Cursors::token(id, next, binding));
        Ok(QueryReply {
            page: Arc::new(page),
            facts: pinned.facts,
            request,
            query: pinned.query,
            version: pinned.version,
            as_of: pinned.as_of,
            next_cursor,
            elapsed: started.elapsed(),
            // The answer was there; only the page was cut.
            cache: CacheUse::Hit,
            lease: None,
        })
    }

    /// Waits for the version the question asks for.
    async fn min_lsn(&self, request: &QueryRequest) -> EngineResult<Lsn> {
        match &request.min_version {
            Some(version) => self.wait_for_version(version).await,
            None => Ok(Lsn(0)),
        }
    }

    /// A dataset in a snapshot.
    pub(crate) fn view(&self, snapshot: &Snapshot, name: &str) -> EngineResult<DatasetView> {
        snapshot.view_named(name).cloned().ok_or_else(|| self.unknown_dataset(name))
    }

    pub(crate) fn unknown_dataset(&self, name: &str) -> EngineError {
        let known = self.datasets();
        let nearest = suggest(name, known.iter().map(|dataset| &*dataset.name)).map(str::to_owned);
        EngineError::UnknownDataset { name: excerpt(name), nearest }
    }

    pub(crate) fn resolve(
        &self,
        request: &QueryRequest,
        project: &ProjectName,
        view: &DatasetView,
    ) -> EngineResult<Query> {
        self.resolve_at(request, project, view, self.now())
    }

    /// A question's meaning at an instant.
    pub(crate) fn resolve_at(
        &self,
        request: &QueryRequest,
        project: &ProjectName,
        view: &DatasetView,
        now: Timestamp,
    ) -> EngineResult<Query> {
        // A unit that cannot be read fails the question itself, which reads it next.
        let spanned = || view.time_span(project).map(|(first, _)| first);
        let first_row = || view.first_row(project).unwrap_or_else(|_| spanned());
        let context = ResolveContext {
            dataset: Arc::<Dataset>::clone(&view.dataset),
            project: project.clone(),
            now,
            first_row: &first_row,
        };
        Ok(resolve(request, &context)?)
    }

    /// Waits until the store has reached a version of an earlier reply.
    async fn wait_for_version(&self, text: &str) -> EngineResult<Lsn> {
        let wanted = self.parse_version(text, "min_version")?;
        let deadline = Instant::now() + self.config.version_wait;
        while self.store.snapshot().version().lsn < wanted {
            if Instant::now() >= deadline {
                return Err(EngineError::VersionNotReached { version: excerpt(text) });
            }
            tokio::time::sleep(VERSION_POLL).await;
        }
        Ok(wanted)
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
