//! Computing answers: alone, or together with others on the same rows.
//!
//! Not here: whether an answer is there already (`ask`, `answers`), and the computation itself (`query`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewater_model::names::ProjectName;
use tidewater_model::schema::DatasetId;
use tidewater_query::{Answer, Control, ExecuteError};
use tokio::sync::oneshot;

use crate::answers::{Entrance, Kept};
use crate::ask::Question;
use crate::counters::Counters;
use crate::cursors::Pinned;
use crate::engine::Engine;
use crate::error::{EngineError, EngineResult};
use crate::page::{AnswerFacts, CacheUse, PageRows};

/// The rows that questions of one group read.
pub(crate) type Lane = (DatasetId, ProjectName);

/// A question that waits to be computed with others.
pub(crate) struct Job {
    question: Arc<Question>,
    done: oneshot::Sender<EngineResult<Kept>>,
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
        let lane = (question.view.id, question.subject.query.project.clone());
        let gatherings = &self.answers.gatherings;
        if gatherings.is_busy(&lane) && self.reads_little(question) && gatherings.enter_beside(&lane) {
            return self.compute_alone(lane, Arc::clone(question)).await;
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

    /// Whether hardly anything is left to read for a question. One that cannot be planned fails where it is computed.
    fn reads_little(&self, question: &Question) -> bool {
        let cost = self.executor.estimate(&question.subject.query, &question.view);
        cost.is_ok_and(|cost| cost < self.config.shared_reading_min)
    }

    /// Computes an answer from the question's snapshot; the lane counts it as running.
    async fn compute_alone(&self, lane: Lane, question: Arc<Question>) -> EngineResult<Kept> {
        let _turn = Turn { engine: self.clone(), lane };
        let mut kept = self.compute_many(vec![question]).await;
        kept.pop().unwrap_or(Err(EngineError::Panicked))
    }

    /// Starts those that waited together, in a task of their own.
    fn start(&self, lane: &Lane, waiting: Vec<Job>) {
        if waiting.is_empty() {
            return;
        }
        let turn = Turn { engine: self.clone(), lane: lane.clone() };
        // The end of the process may drop computations where no runtime is left; then nobody waits for an answer.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            turn.engine.compute_together(waiting).await;
            drop(turn);
        });
    }

    /// Answers those of a group that are still waited for, from one snapshot that is later than all of them.
    async fn compute_together(&self, waiting: Vec<Job>) {
        let moment = self.answers.moment();
        let snapshot = self.store.snapshot();
        let mut questions = Vec::with_capacity(waiting.len());
        let mut senders = Vec::with_capacity(waiting.len());
        for Job { question, done } in waiting.into_iter().filter(|job| !job.done.is_closed()) {
            let asked = (moment, question.min_lsn, question.arrived);
            let project = &question.subject.query.project;
            match self.pose(question.request.clone(), project, &snapshot, asked) {
                Ok(question) => {
                    questions.push(Arc::new(question));
                    senders.push(done);
                }
                // The receiver may have left meanwhile.
                Err(error) => drop(done.send(Err(error))),
            }
        }
        if questions.is_empty() {
            return;
        }
        let all_left = async {
            for sender in &mut senders {
                sender.closed().await;
            }
        };
        let answers = tokio::select! {
            answers = self.compute_many(questions) => answers,
            () = all_left => return,
        };
        for (sender, answer) in senders.into_iter().zip(answers) {
            drop(sender.send(answer));
        }
    }

    /// Computes answers from one snapshot, in order. All questions are on one dataset and project.
    pub(crate) async fn compute_many(&self, questions: Vec<Arc<Question>>) -> Vec<EngineResult<Kept>> {
        let Some(first) = questions.first() else { return Vec::new() };
        let count = questions.len();
        let query = Arc::clone(&first.subject.query);
        let engine = self.clone();
        let task = move |control: Control| Ok(engine.compute_now(&questions, &control));
        match self.run(&query.project, &query.dataset.name, task).await {
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
        let answers = match questions {
            [] => Vec::new(),
            [one] => vec![self.executor.execute(&one.subject.query, &one.view, control)],
            [first, ..] => {
                let queries: Vec<_> =
                    questions.iter().map(|question| (*question.subject.query).clone()).collect();
                self.executor.execute_many(&queries, &first.view, control)
            }
        };
        // What they took together is shared out evenly: who of them caused how much cannot be told.
        let elapsed = began.elapsed() / questions.len().max(1) as u32;
        let answers = questions.iter().zip(answers);
        answers.map(|(question, answer)| self.keepable(question, answer, (began, elapsed))).collect()
    }

    /// The asked page of an answer. One with more pages is pinned for them.
    fn keepable(
        &self,
        question: &Question,
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
        let (version, as_of) = (question.subject.currency.version(), question.snapshot.as_of());
        let computed = CacheUse::of(answer.cache_use());
        let mut cursor = None;
        if next < facts.total_rows && !page.rows.is_empty() {
            let is_repeatable = self.is_repeatable(query, &question.view);
            let (facts, query) = (Arc::clone(&facts), Arc::clone(query));
            let pinned = Pinned { facts, query, version, as_of, is_repeatable };
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
