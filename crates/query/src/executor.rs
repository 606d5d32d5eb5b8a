//! The executor: owns the threads and the memory that all questions share.

use std::sync::Arc;
use std::time::Duration;

use tidewater_model::query::Query;
use tidewater_store::{DatasetView, Lsn};

use crate::answer::Answer;
use crate::budget::{Budget, QueryBudget};
use crate::cache::{CacheStats, PartialCache};
use crate::control::Control;
use crate::error::ExecuteError;
use crate::execution::Execution;
use crate::pool::Pool;
use crate::rows::{self, RowsPage, RowsQuery};
use crate::sources::Schemas;

/// Settings of an [`Executor`].
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// Worker threads; default: one per core.
    pub threads: usize,
    /// Bytes that all running questions may hold together; default 96 MiB (DESIGN.md, default memory).
    pub memory_bytes_max: usize,
    /// Bytes that one question may hold; default 64 MiB, so that one large question leaves room for small ones.
    pub query_memory_bytes_max: usize,
    /// Bytes of merged groups that are kept for later questions; default 64 MiB: a hundred thousand groups with a few numbers each take
    /// some 10 MiB, and those of several dashboards should fit. 0 keeps none.
    pub partials_bytes_max: usize,
}

impl Default for ExecutorConfig {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        ExecutorConfig {
            threads,
            memory_bytes_max: 96 << 20,
            query_memory_bytes_max: 64 << 20,
            partials_bytes_max: 64 << 20,
        }
    }
}

/// Answers questions over snapshots. Shared by all callers.
#[derive(Debug)]
pub struct Executor {
    config: ExecutorConfig,
    pool: Pool,
    budget: Arc<Budget>,
    cache: PartialCache,
    schemas: Schemas,
}

impl Executor {
    /// Starts the worker threads.
    pub fn new(config: ExecutorConfig) -> Self {
        Executor {
            pool: Pool::new(config.threads),
            budget: Budget::new(config.memory_bytes_max),
            cache: PartialCache::new(config.partials_bytes_max),
            schemas: Schemas::default(),
            config,
        }
    }

    /// The settings.
    pub fn config(&self) -> &ExecutorConfig {
        &self.config
    }

    /// Bytes that running questions hold.
    pub fn memory_bytes(&self) -> usize {
        self.budget.used()
    }

    /// Steps of readings that wait for a thread, and threads.
    pub fn steps_waiting(&self) -> (usize, usize) {
        (self.pool.queue().waiting(), self.pool.threads())
    }

    /// Answers a question. Blocks until done; call it where blocking is allowed.
    pub fn execute(
        &self,
        query: &Query,
        view: &DatasetView,
        control: &Control,
    ) -> Result<Answer, ExecuteError> {
        self.execution(view, control, None).run_one(query)
    }

    /// About how long one core would read for a question, given what is known from earlier ones. Looks at what there is and reads nothing.
    pub fn estimate(&self, query: &Query, view: &DatasetView) -> Result<Duration, ExecuteError> {
        self.execution(view, &Control::default(), None).estimate(query)
    }

    /// Answers questions on one dataset from one snapshot, in their order: what they have in common is read and computed once. `control`
    /// bounds all of them together but for memory, which each may have. Blocks until all are done.
    pub fn execute_many(
        &self,
        queries: &[Query],
        view: &DatasetView,
        control: &Control,
    ) -> Vec<Result<Answer, ExecuteError>> {
        let mut answers: Vec<_> = queries.iter().map(|_| None).collect();
        self.execute_each(queries, view, control, |place, answer| answers[place] = Some(answer));
        answers.into_iter().map(|answer| answer.expect("every question is answered")).collect()
    }

    /// As [`Self::execute_many`], but gives each answer away as soon as it is there, so that not all are held at once.
    pub fn execute_each(
        &self,
        queries: &[Query],
        view: &DatasetView,
        control: &Control,
        done: impl FnMut(usize, Result<Answer, ExecuteError>),
    ) {
        self.execution(view, control, None).run(queries, done);
    }

    /// Answers a question from the rows that came up to a record, as they were sent and without any cache. The caller knows that none
    /// of them has gone since.
    pub fn execute_as_of(
        &self,
        query: &Query,
        view: &DatasetView,
        until: Lsn,
        control: &Control,
    ) -> Result<Answer, ExecuteError> {
        self.execution(view, control, Some(until)).run_one(query)
    }

    fn execution<'a>(
        &'a self,
        view: &'a DatasetView,
        control: &'a Control,
        until: Option<Lsn>,
    ) -> Execution<'a> {
        Execution {
            pool: &self.pool,
            budget: &self.budget,
            query_memory_bytes_max: self.config.query_memory_bytes_max,
            // Of rows up to a record no other question asks again.
            cache: until.is_none().then_some(&self.cache),
            schemas: &self.schemas,
            view,
            control,
            until,
        }
    }

    /// How the partial cache does.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// Reads a page of raw rows. Blocks until done.
    pub fn rows(
        &self,
        query: &RowsQuery,
        view: &DatasetView,
        control: &Control,
    ) -> Result<RowsPage, ExecuteError> {
        rows::read_page(&self.pool, &self.query_budget(control), query, view, control)
    }

    fn query_budget(&self, control: &Control) -> Arc<QueryBudget> {
        let max = control.memory_bytes_max.unwrap_or(self.config.query_memory_bytes_max);
        QueryBudget::new(&self.budget, max)
    }
}
