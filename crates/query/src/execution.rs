//! The way of one or more questions from plan to answer.
//!
//! Questions on one project's rows share what they have in common: equal aggregations are made once, equal rows are read once. Where
//! that fails for all together, each is answered on its own, so that it fails alone and for its own reason.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewater_model::query::Query;
use tidewater_model::time::{ResolvedRange, Timestamp};
use tidewater_store::{DatasetView, Lsn};

use crate::aggregation::{Aggregation, Joined};
use crate::answer::{Answer, Explain};
use crate::budget::{Budget, QueryBudget};
use crate::cache::PartialCache;
use crate::control::Control;
use crate::costs::Costs;
use crate::error::ExecuteError;
use crate::finish::finish;
use crate::frame::{Frame, Range};
use crate::merged::{Merged, SecondPass};
use crate::pieces::BANDS;
use crate::plan::Plan;
use crate::pool::Pool;
use crate::scan::read_all;
use crate::sources::{Schemas, Sources};
use crate::team::{Readings, Roster, Team};
use crate::worker::Worker;

/// What questions run on.
#[derive(Clone, Copy)]
pub(crate) struct Execution<'a> {
    pub pool: &'a Pool,
    pub budget: &'a Arc<Budget>,
    pub query_memory_bytes_max: usize,
    /// `None` where nothing is known before and nothing is kept.
    pub cache: Option<&'a PartialCache>,
    pub schemas: &'a Schemas,
    pub view: &'a DatasetView,
    pub control: &'a Control,
    /// The last record whose rows count; `None` for all. With it only rows as they were sent are read, because nothing else tells
    /// their records apart.
    pub until: Option<Lsn>,
}

/// A question that is about to be aggregated.
struct Asked<'a> {
    query: &'a Query,
    budget: Arc<QueryBudget>,
    frame: Arc<Frame>,
    compared: Option<Arc<Frame>>,
    covered_from: Option<Timestamp>,
    is_exact: bool,
}

/// What reading took, for `explain`.
#[derive(Clone, Copy, Default)]
struct Cost {
    morsels: u64,
    plan: Duration,
    scan: Duration,
    merge: Duration,
}

impl Execution<'_> {
    /// One answer per question, given to `done` as soon as it is there: together they may be large, and few callers need all of each.
    pub fn run(&self, queries: &[Query], mut done: impl FnMut(usize, Result<Answer, ExecuteError>)) {
        if let [query] = queries {
            return done(0, self.run_one(query));
        }
        let mut failed = Vec::new();
        let mut give = |place, answer: Result<Answer, ExecuteError>| match answer {
            Ok(answer) => done(place, Ok(answer)),
            Err(_) => failed.push(place),
        };
        let asked: Result<Vec<Asked<'_>>, _> = queries.iter().map(|query| self.ask(query)).collect();
        match asked.and_then(|asked| self.answer(&asked, &mut give)) {
            Ok(()) => {}
            // One by one they would cost no less.
            Err(ExecuteError::Costly { cost }) => {
                return (0..queries.len()).for_each(|place| done(place, Err(ExecuteError::Costly { cost })));
            }
            Err(_) => failed = (0..queries.len()).collect(),
        }
        for place in failed {
            done(place, self.run_one(&queries[place]));
        }
    }

    /// What is left to read for a question, as time of one core.
    pub fn estimate(&self, query: &Query) -> Result<Duration, ExecuteError> {
        let asked = self.ask(query)?;
        let cost = |frame: &Arc<Frame>| {
            let cache = self.cache.filter(|_| !asked.is_exact);
            let mut aggregation = Aggregation::new(frame, self.view, &asked.budget, cache);
            aggregation.read(&self.sources(frame, asked.is_exact), |_, _, _| ())?;
            Ok(Duration::from_nanos(aggregation.cost_ns()))
        };
        let own: Result<Duration, ExecuteError> = cost(&asked.frame);
        let compared = asked.compared.as_ref().map_or(Ok(Duration::ZERO), cost);
        Ok(own? + compared?)
    }

    /// The answer to one question.
    pub fn run_one(&self, query: &Query) -> Result<Answer, ExecuteError> {
        match self.run_alone(query) {
            // What is kept is gathered band by band, so that a question with many groups holds them several times.
            Err(ExecuteError::Memory { .. }) if self.cache.is_some() => self.run_lean(query),
            outcome => outcome,
        }
    }

    /// The answer to a question that does not fit while all bands are read at once: the bands one after another first, so that only what
    /// they come to is held, and where that does not fit or is not kept, everything as one band.
    fn run_lean(&self, query: &Query) -> Result<Answer, ExecuteError> {
        let mut read = Costs::default();
        let outcome = match self.read_bands(query, &mut read) {
            Ok(true) => self.run_alone(query),
            Ok(false) => Execution { cache: None, ..*self }.run_alone(query),
            Err(error) => Err(error),
        };
        let answer = match outcome {
            Err(ExecuteError::Memory { .. }) => Execution { cache: None, ..*self }.run_alone(query),
            outcome => outcome,
        }?;
        // What was read ahead was read for this answer.
        let ahead = read.total();
        let rows_scanned = answer.rows_scanned + ahead.rows;
        Ok(Answer { rows_scanned, bytes_scanned: answer.bytes_scanned + ahead.bytes, ..answer })
    }

    /// Reads the bands of a question that are kept, each after the one before is, and adds what that took. Tells whether all of them
    /// are kept now.
    fn read_bands(&self, query: &Query, read: &mut Costs) -> Result<bool, ExecuteError> {
        let asked = self.ask(query)?;
        if asked.is_exact {
            return Ok(false);
        }
        for frame in [Some(&asked.frame), asked.compared.as_ref()].into_iter().flatten() {
            for bands in 1..BANDS {
                let aggregation =
                    || Aggregation::of_bands(bands, frame, self.view, &asked.budget, self.cache);
                if aggregation().is_known_merged() {
                    continue;
                }
                let (frame, budget) = (Arc::clone(frame), Arc::clone(&asked.budget));
                let list = vec![Pass { frame, budget, is_exact: false, bands }];
                let (joined, _) = self.aggregate(&Passes { list }, Instant::now())?;
                joined.iter().for_each(|joined| read.merge(&joined.costs));
                drop(joined);
                if !aggregation().is_known_merged() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn run_alone(&self, query: &Query) -> Result<Answer, ExecuteError> {
        let asked = self.ask(query)?;
        let mut only = None;
        self.answer(std::slice::from_ref(&asked), &mut |_, answer| only = Some(answer))?;
        only.expect("one question has one answer")
    }

    fn ask<'a>(&self, query: &'a Query) -> Result<Asked<'a>, ExecuteError> {
        let plan = Arc::new(Plan { until: self.until, ..Plan::new(query, self.view.id)? });
        let is_exact = query.exact && plan.has_estimates();
        let (frame, covered_from) = self.frame(query, &plan, &query.range, is_exact)?;
        let compared = match &query.compare {
            None => None,
            Some(range) => Some(self.frame(query, &plan, range, is_exact)?.0),
        };
        let max = self.control.memory_bytes_max.unwrap_or(self.query_memory_bytes_max);
        Ok(Asked {
            query,
            budget: QueryBudget::new(self.budget, max),
            frame,
            compared,
            covered_from,
            is_exact,
        })
    }

    /// The plan over the part of a range that can be answered, with its start where that is not the whole.
    fn frame(
        &self,
        query: &Query,
        plan: &Arc<Plan>,
        range: &ResolvedRange,
        is_exact: bool,
    ) -> Result<(Arc<Frame>, Option<Timestamp>), ExecuteError> {
        let span = self.view.time_span(&query.project);
        let to_us = range.to.map_or(i64::MAX, |to| to.0);
        let range = Range { from_us: range.from.0, to_us, now_us: query.now.0 };
        let frame = Frame::new(plan, query, range, span)?;
        let from_us = self.sources(&frame, is_exact).cover(query.include.partial)?;
        if from_us <= range.from_us {
            return Ok((Arc::new(frame), None));
        }
        let frame = Frame::new(plan, query, Range { from_us, ..range }, span)?;
        Ok((Arc::new(frame), Some(Timestamp(from_us))))
    }

    fn sources(&self, frame: &Frame, is_exact: bool) -> Sources<'_> {
        Sources::new(self.view, self.schemas, frame, is_exact || self.until.is_some())
    }

    /// Fails as a whole where reading does; an answer fails alone where only its own groups are too many.
    fn answer(
        &self,
        asked: &[Asked<'_>],
        give: &mut dyn FnMut(usize, Result<Answer, ExecuteError>),
    ) -> Result<(), ExecuteError> {
        let start = Instant::now();
        let mut passes = Passes::default();
        let places: Vec<(usize, Option<usize>)> = asked
            .iter()
            .map(|asked| {
                let place = passes.add(asked, &asked.frame);
                (place, asked.compared.as_ref().map(|frame| passes.add(asked, frame)))
            })
            .collect();
        let (joined, cost) = self.aggregate(&passes, start)?;
        for (index, (asked, (place, compared))) in asked.iter().zip(places).enumerate() {
            let compared = compared.map(|place| &joined[place]);
            give(index, self.finish(asked, &joined[place], compared, cost));
        }
        Ok(())
    }

    fn aggregate(&self, passes: &Passes, start: Instant) -> Result<(Vec<Joined>, Cost), ExecuteError> {
        let aggregation = |pass: &Pass| {
            let cache = self.cache.filter(|_| !pass.is_exact);
            Aggregation::of_bands(pass.bands, &pass.frame, self.view, &pass.budget, cache)
        };
        let mut aggregations: Vec<Aggregation<'_>> = passes.list.iter().map(aggregation).collect();
        let mut readings = Readings::default();
        for (member, (aggregation, pass)) in aggregations.iter_mut().zip(&passes.list).enumerate() {
            let sources = self.sources(&pass.frame, pass.is_exact);
            aggregation.read(&sources, |piece, unit, part| {
                readings.add(member, &pass.frame.plan, piece, unit, part);
            })?;
            self.control.check_cost(Duration::from_nanos(aggregation.cost_ns()))?;
        }
        let Some(first) = passes.list.first() else { return Ok((Vec::new(), Cost::default())) };
        let (lanes, roster) = readings.open(self.view, &first.frame.plan, self.control)?;
        let morsels = lanes.iter().map(Vec::len).sum::<usize>() as u64;
        let planned = Instant::now();
        let team = || {
            let workers = aggregations.iter().map(Aggregation::worker).collect::<Result<Vec<_>, _>>()?;
            Ok(Team::new(&roster, workers))
        };
        let teams = read_all(self.pool, lanes, self.control, team)?;
        let scanned = Instant::now();
        let mut shares: Vec<Vec<Worker>> = aggregations.iter().map(|_| Vec::new()).collect();
        for team in teams {
            for (share, worker) in shares.iter_mut().zip(team.disband()) {
                share.push(worker?);
            }
        }
        let joined = aggregations.into_iter().zip(shares).map(|(aggregation, share)| aggregation.join(share));
        let joined = joined.collect::<Result<Vec<_>, _>>()?;
        let (plan, scan) = (planned - start, scanned - planned);
        Ok((joined, Cost { morsels, plan, scan, merge: scanned.elapsed() }))
    }

    fn finish(
        &self,
        asked: &Asked<'_>,
        joined: &Joined,
        compared: Option<&Joined>,
        cost: Cost,
    ) -> Result<Answer, ExecuteError> {
        let mut explain = self.explain(asked, cost);
        let mut costs = joined.costs.clone();
        let mut cache_use = joined.cache_use;
        explain.pieces = joined.pieces;
        let merged = self.merged(asked, &asked.frame, joined, &mut explain)?;
        let compared = match (compared, &asked.compared) {
            (Some(compared), Some(frame)) => {
                costs.merge(&compared.costs);
                cache_use = cache_use.and(compared.cache_use);
                explain.pieces += compared.pieces;
                Some(self.merged(asked, frame, compared, &mut explain)?)
            }
            _ => None,
        };
        explain.sources = costs.by_source();
        let scanned = costs.total();
        let answer = finish(asked.query, merged, compared, &asked.budget, self.control, explain)?;
        Ok(Answer {
            rows_scanned: scanned.rows,
            bytes_scanned: scanned.bytes,
            cache_use,
            covered_from: asked.covered_from,
            ..answer
        })
    }

    /// One range's groups as the question reads them, exact percentiles included.
    fn merged(
        &self,
        asked: &Asked<'_>,
        frame: &Arc<Frame>,
        joined: &Joined,
        explain: &mut Explain,
    ) -> Result<Merged, ExecuteError> {
        let mut reservation = asked.budget.reserve();
        reservation.grow_to(joined.partial.memory_bytes())?;
        let mut merged = Merged::new(frame, &joined.partial, reservation);
        explain.passes += 1;
        explain.estimated += Duration::from_nanos(joined.cost_ns);
        explain.units += joined.units;
        explain.units_skipped += self.view.units.len() as u64 - joined.units;
        if !asked.is_exact {
            return Ok(merged);
        }
        let start = Instant::now();
        let Some(pass) = merged.second_pass()? else { return Ok(merged) };
        let mut aggregation = Aggregation::new(frame, self.view, &asked.budget, None);
        let mut readings = Readings::default();
        let add = |piece, unit, part| readings.add(0, &frame.plan, piece, unit, part);
        aggregation.read(&self.sources(frame, true), add)?;
        let (lanes, roster) = readings.open(self.view, &frame.plan, self.control)?;
        let team = || self.seeded(&merged, &pass, &aggregation, &roster, &asked.budget);
        let teams = read_all(self.pool, lanes, self.control, team)?;
        let workers = teams.into_iter().flat_map(Team::disband).collect::<Result<Vec<_>, _>>()?;
        merged.finish_second_pass(workers)?;
        explain.passes += 1;
        explain.scan_time += start.elapsed();
        Ok(merged)
    }

    /// A thread's share of the second pass.
    fn seeded(
        &self,
        merged: &Merged,
        pass: &SecondPass,
        aggregation: &Aggregation<'_>,
        roster: &Roster,
        budget: &Arc<QueryBudget>,
    ) -> Result<Team, ExecuteError> {
        let worker = Worker::new(&aggregation.shared, Some(merged.seed(pass)?), budget.reserve())?;
        Ok(Team::new(roster, vec![worker]))
    }

    fn explain(&self, asked: &Asked<'_>, cost: Cost) -> Explain {
        let plan = &asked.frame.plan;
        let columns = plan.columns.iter();
        Explain {
            threads: self.pool.threads(),
            columns: columns.map(|reference| asked.query.dataset.display(reference)).collect(),
            measures: plan.measures.iter().map(|measure| measure.name.clone()).collect(),
            morsels: cost.morsels,
            plan_time: cost.plan,
            scan_time: cost.scan,
            merge_time: cost.merge,
            ..Explain::default()
        }
    }
}

/// Aggregations to make, each once.
#[derive(Default)]
struct Passes {
    list: Vec<Pass>,
}

struct Pass {
    frame: Arc<Frame>,
    budget: Arc<QueryBudget>,
    is_exact: bool,
    /// How many bands of pieces it is over.
    bands: usize,
}

impl Passes {
    /// The place of an aggregation. Exact percentiles are looked for group by group, so those of two questions are never one.
    fn add(&mut self, asked: &Asked<'_>, frame: &Arc<Frame>) -> usize {
        let is_same = |pass: &Pass| !pass.is_exact && !asked.is_exact && pass.frame.is_same(frame);
        self.list.iter().position(is_same).unwrap_or_else(|| {
            let (frame, budget) = (Arc::clone(frame), Arc::clone(&asked.budget));
            self.list.push(Pass { frame, budget, is_exact: asked.is_exact, bands: BANDS });
            self.list.len() - 1
        })
    }
}
