//! Computing answers: alone, or together with others on the same rows.
//!
//! Not here: whether an answer is there already (`ask`, `answers`), and the computation itself (`query`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewater_model::names::ProjectName;
use tidewater_model::schema::DatasetId;
use tidewater_query::{Answer, Control, ExecuteError};
use tokio::sync::oneshot;

use crate::admission::{Class, Errand};
use crate::answers::{Entrance, Kept};
use crate::ask::{Question, Rows};
use crate::counters::Counters;
use crate::cursors::Pinned;
use crate::engine::Engine;
use crate::error::{EngineError, EngineResult};
use crate::page::{AnswerFacts, CacheUse, PageRows};

/// Questions that are computed together at most: what more of them share is in the partial cache by then, and each holds a part of
/// the memory.
const TOGETHER_MAX: usize = 16;

/// Part of the queue that one group may take.
const QUEUE_PARTS: usize = 4;

/// The rows that questions of one group read, whether that is much, and whether many ask them: a light question does not wait for what
/// a heavy one reads, and one that many ask does not stand back with those that one asks.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    dataset: DatasetId,
    project: ProjectName,
    class: Class,
    in_demand: bool,
}

/// A question that waits to be computed with others.
pub(crate) struct Job {
    question: Arc<Question>,
    done: oneshot::Sender<EngineResult<Kept>>,
}

/// What questions do with their rows while they wait for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// They let them go and are answered from those of the moment when their turn comes.
    Anew,
    /// They hold them: with others they are to be answered from one snapshot.
    Holding,
}

/// On which terms questions that are computed together wait for their place.
#[derive(Clone, Copy)]
struct Terms {
    class: Class,
    in_demand: bool,
    /// When the first of them came: how long they wait counts from there.
    arrived: Instant,
    waits: Waits,
}

impl Lane {
    /// On which terms its questions are computed.
    fn terms(&self, arrived: Instant) -> Terms {
        let Lane { class, in_demand, .. } = *self;
        Terms { class, in_demand, arrived, waits: Waits::Anew }
    }
}

/// A computation's time on its lane. However it ends, those that waited for it go on.
struct Turn {
    engine: Engine,
    lane: Lane,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let waiting = self.engine.answers.gatherings.leave(&self.lane);
        self.engine.start(&self.lane, waiting);
    }
}

impl Engine {
    /// Computes an answer from the question's snapshot, or, where another question on the same rows is being computed and there is much to
    /// read, from a later one together with others.
    pub(crate) async fn compute(&self, question: &Arc<Question>) -> EngineResult<Kept> {
        match self.compute_as(Class::Light, question).await {
            Err(error) if error.is_costly() => self.compute_as(Class::Heavy, question).await,
            outcome => outcome,
        }
    }

    /// A light question that turns out to be heavy fails as too costly.
    async fn compute_as(&self, class: Class, question: &Arc<Question>) -> EngineResult<Kept> {
        let lane = Lane {
            dataset: question.dataset,
            project: question.subject.query.project.clone(),
            class,
            in_demand: self.is_in_demand(question),
        };
        let gatherings = &self.answers.gatherings;
        if class == Class::Light && gatherings.is_busy(&lane) {
            // One that cannot be planned fails where it is computed.
            let rows = question.rows();
            let cost = rows.and_then(|rows| self.executor.estimate(&question.subject.query, &rows.view).ok());
            if let Some(cost) = cost.filter(|cost| *cost > self.config.heavy_from) {
                return Err(ExecuteError::Costly { cost }.into());
            }
            let reads_little = cost.is_some_and(|cost| cost < self.config.shared_reading_min);
            if reads_little && gatherings.enter_beside(&lane) {
                return self.compute_alone(lane, Arc::clone(question)).await;
            }
        }
        let (done, outcome) = oneshot::channel();
        let job = Job { question: Arc::clone(question), done };
        match gatherings.enter(&lane, job) {
            Entrance::Alone(job) => return self.compute_alone(lane, job.question).await,
            Entrance::First => {
                let (engine, gather) = (self.clone(), self.config.gather);
                tokio::spawn(async move {
                    tokio::time::sleep(gather).await;
                    let waiting = engine.answers.gatherings.due(&lane);
                    engine.start(&lane, waiting);
                });
            }
            Entrance::Joined => {}
        }
        outcome.await.unwrap_or(Err(EngineError::Panicked))
    }

    /// Computes an answer from the question's snapshot; the lane counts it as running.
    async fn compute_alone(&self, lane: Lane, question: Arc<Question>) -> EngineResult<Kept> {
        let terms = lane.terms(question.arrived);
        let _turn = Turn { engine: self.clone(), lane };
        let mut kept = self.compute_many(terms, vec![question]).await;
        kept.pop().unwrap_or(Err(EngineError::Panicked))
    }

    /// Starts those that waited together, in tasks of their own.
    fn start(&self, lane: &Lane, mut waiting: Vec<Job>) {
        if waiting.is_empty() {
            return;
        }
        // The end of the process may drop computations where no runtime is left; then nobody waits for an answer.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut turn = Some(Turn { engine: self.clone(), lane: lane.clone() });
        while !waiting.is_empty() {
            let rest = waiting.split_off(waiting.len().min(self.together_max()));
            let together = std::mem::replace(&mut waiting, rest);
            // One of them counts for all on the lane: those that come meanwhile go when it has ended, or when their wait is over.
            let turn = turn.take();
            let (engine, lane) = (self.clone(), lane.clone());
            runtime.spawn(async move {
                engine.compute_together(&lane, together).await;
                drop(turn);
            });
        }
    }

    /// How many questions of a group are computed together. Together they have one place in the queue's order but each counts in it, and a
    /// project's group must not fill a queue in which others are to find room.
    fn together_max(&self) -> usize {
        TOGETHER_MAX.min(self.config.queries_waiting_max / QUEUE_PARTS).max(1)
    }

    /// Answers those of a group that are still waited for, from one snapshot that is later than all of them.
    async fn compute_together(&self, lane: &Lane, waiting: Vec<Job>) {
        let waited_for = waiting.into_iter().filter(|job| !job.done.is_closed());
        let (questions, mut senders): (Vec<_>, Vec<_>) =
            waited_for.map(|job| (job.question, job.done)).unzip();
        questions.iter().for_each(|question| question.let_go());
        let Some(arrived) = questions.iter().map(|question| question.arrived).min() else {
            return;
        };
        let terms = lane.terms(arrived);
        let all_left = async {
            for sender in &mut senders {
                sender.closed().await;
            }
        };
        let answers = tokio::select! {
            answers = self.compute_many(terms, questions) => answers,
            () = all_left => return,
        };
        for (sender, answer) in senders.into_iter().zip(answers) {
            drop(sender.send(answer));
        }
    }

    /// Computes answers from one snapshot, in order, whatever they cost. All questions are on one dataset and project.
    pub(crate) async fn compute_batch(&self, questions: Vec<Arc<Question>>) -> Vec<EngineResult<Kept>> {
        let in_demand = questions.iter().all(|question| self.is_in_demand(question));
        let class = Class::Light;
        let terms = Terms { class, in_demand, arrived: Instant::now(), waits: Waits::Holding };
        let answers = self.compute_many(terms, questions.clone()).await;
        let is_costly = |answer: &EngineResult<Kept>| answer.as_ref().is_err_and(EngineError::is_costly);
        if answers.iter().any(is_costly) {
            return self.compute_many(Terms { class: Class::Heavy, ..terms }, questions).await;
        }
        answers
    }

    /// Computes answers from one snapshot, in order. All questions are on one dataset and project.
    async fn compute_many(&self, terms: Terms, questions: Vec<Arc<Question>>) -> Vec<EngineResult<Kept>> {
        let mut answers = self.compute_once(terms, questions.clone()).await;
        if questions.len() > 1 {
            // Together they may need more memory than each does alone.
            let is_busy = |answer: &EngineResult<Kept>| {
                matches!(answer, Err(EngineError::Query(ExecuteError::Busy { .. })))
            };
            for (answer, question) in answers.iter_mut().zip(questions).filter(|(answer, _)| is_busy(answer))
            {
                let alone = self.compute_once(Terms { class: Class::Large, ..terms }, vec![question]).await;
                *answer = alone.into_iter().next().unwrap_or(Err(EngineError::Panicked));
            }
        }
        answers
    }

    async fn compute_once(&self, terms: Terms, questions: Vec<Arc<Question>>) -> Vec<EngineResult<Kept>> {
        let Terms { class, in_demand, arrived, waits } = terms;
        let Some(first) = questions.first() else { return Vec::new() };
        let count = questions.len();
        let query = Arc::clone(&first.subject.query);
        let waiting = questions.clone();
        let let_go = move || match waits {
            Waits::Holding => {}
            Waits::Anew => waiting.iter().for_each(|question| question.let_go()),
        };
        let errand = Errand {
            questions: count,
            in_demand,
            arrived,
            on_wait: Some(&let_go),
            ..Errand::one(&query.project, &query.dataset.name)
        };
        let engine = self.clone();
        let task = move |control: &Control| {
            let mut answers = engine.compute_now(&questions, control);
            // What would be done again for all of them is no answer to some.
            let is_again = |answer: &EngineResult<Kept>| match answer {
                Err(EngineError::Query(ExecuteError::Costly { .. })) => true,
                Err(EngineError::Query(ExecuteError::Busy { .. })) => count == 1,
                _ => false,
            };
            match answers.iter().position(is_again) {
                Some(place) => answers.swap_remove(place).map(|_| Vec::new()),
                None => Ok(answers),
            }
        };
        match self.run_as(class, errand, Arc::new(task)).await {
            Ok(answers) => answers,
            Err(error) if count == 1 => vec![Err(error)],
            Err(error) => {
                let error = Arc::new(error);
                (0..count).map(|_| Err(EngineError::Shared(Arc::clone(&error)))).collect()
            }
        }
    }

    fn compute_now(&self, questions: &[Arc<Question>], control: &Control) -> Vec<EngineResult<Kept>> {
        let began = Instant::now();
        let mut shared_from = began;
        let mut kept: Vec<EngineResult<Kept>> =
            questions.iter().map(|_| Err(EngineError::Panicked)).collect();
        let mut posed = Vec::with_capacity(questions.len());
        for (place, question) in self.with_rows(questions).into_iter().enumerate() {
            match question {
                Ok((question, rows)) => posed.push((place, question, rows)),
                Err(error) => kept[place] = Err(error),
            }
        }
        let Some((_, _, first)) = posed.first() else { return kept };
        let queries: Vec<_> =
            posed.iter().map(|(_, question, _)| (*question.subject.query).clone()).collect();
        let mut left = posed.len() as u32;
        // Only the page asked for is kept of each before the next one is made.
        self.executor.execute_each(&queries, &first.view, control, |index, answer| {
            // What they took together is shared out evenly: who of them caused how much cannot be told.
            let elapsed = shared_from.elapsed() / left.max(1);
            left = left.saturating_sub(1);
            shared_from += elapsed;
            let (place, question, rows) = &posed[index];
            kept[*place] = self.keepable(question, rows, answer, (began, elapsed));
        });
        kept
    }

    /// Questions with the rows they are answered from: those they hold, or, where one has let go of them, all from the rows of now.
    fn with_rows(&self, questions: &[Arc<Question>]) -> Vec<EngineResult<(Arc<Question>, Arc<Rows>)>> {
        let held = |question: &Arc<Question>| question.rows().map(|rows| (Arc::clone(question), rows));
        if let Some(held) = questions.iter().map(held).collect::<Option<Vec<_>>>() {
            return held.into_iter().map(Ok).collect();
        }
        let (moment, snapshot) = (self.answers.moment(), self.store.snapshot());
        let posed = questions.iter().map(|question| {
            let asked = (moment, question.min_lsn, question.arrived);
            let project = &question.subject.query.project;
            let posed = Arc::new(self.pose(question.request.clone(), project, &snapshot, asked)?);
            let rows = posed.rows().ok_or(EngineError::Panicked)?;
            Ok((posed, rows))
        });
        posed.collect()
    }

    /// The asked page of an answer. One with more pages is pinned for them.
    fn keepable(
        &self,
        question: &Question,
        rows: &Rows,
        answer: Result<Answer, ExecuteError>,
        (began, elapsed): (Instant, Duration),
    ) -> EngineResult<Kept> {
        let query = &question.subject.query;
        let answer = Arc::new(answer?);
        let recorded = self.questions.computed(query, &answer, elapsed);
        let waited = began.saturating_duration_since(question.arrived);
        self.counters.stages.add(waited, answer.explain());
        Counters::add(&self.counters.rows_scanned, answer.rows_scanned());
        Counters::add(&self.counters.bytes_scanned, answer.bytes_scanned());
        let facts = Arc::new(AnswerFacts::of(&answer, waited));
        let page = PageRows::of(&answer, query.offset, query.limit);
        let next = query.offset + page.rows.len() as u64;
        let (version, as_of) = (question.subject.currency.version(), rows.snapshot.as_of());
        let computed = CacheUse::of(answer.cache_use());
        let mut cursor = None;
        if next < facts.total_rows && !page.rows.is_empty() {
            let is_repeatable = self.is_repeatable(query, &rows.view);
            let (facts, query) = (Arc::clone(&facts), Arc::clone(query));
            let pinned = Pinned { dataset: rows.view.id, facts, query, version, as_of, is_repeatable };
            cursor = Some((self.cursors.pin(answer, pinned)?, next));
        }
        Ok(Kept {
            subject: question.subject.clone(),
            page: Arc::new(page),
            facts,
            as_of,
            cursor,
            elapsed: question.arrived.elapsed(),
            computed,
            recorded,
        })
    }
}
