//! All groups of one question and range: totals, the second pass of exact percentiles, filled buckets, and the value of each metric.
//!
//! Not here: how the parts became one (`aggregation`).

use std::sync::Arc;

use hashbrown::HashSet;
use tidewater_model::schema::ColumnType;

use crate::answer::MetricQuality;
use crate::budget::Reservation;
use crate::error::ExecuteError;
use crate::frame::Frame;
use crate::partial::{Column, Partial};
use crate::plan::{MeasurePlan, MetricPlan, Plan, Totals, Use};
use crate::planner::SourceSummary;
use crate::values::{Values, evaluate};
use crate::worker::Worker;
use tidewater_aggregate::Cell;
use tidewater_aggregate::Selection;
use tidewater_aggregate::{Codes, Groups};
use tidewater_aggregate::{Reading, States};

/// Every group of one range.
pub(crate) struct Merged {
    pub values: Values,
    /// One group, in the order of the measures; empty where no totals are asked for.
    totals: Vec<States>,
    pub reservation: Reservation,
}

impl Merged {
    /// What was joined, as a question with this frame reads it.
    pub fn new(frame: &Arc<Frame>, partial: &Arc<Partial>, reservation: Reservation) -> Self {
        let totals = match frame.plan.totals {
            Totals::None => Vec::new(),
            Totals::Apart => partial.totals.iter().map(|(_, states)| states.clone()).collect(),
            Totals::Merged => merge_totals(&frame.plan, partial),
        };
        Merged { values: Values::new(frame, partial), totals, reservation }
    }

    /// What a second pass looks for: each group's percentiles; `None` where there are none. Fails where the values to be collected will
    /// not fit.
    pub fn second_pass(&mut self) -> Result<Option<SecondPass>, ExecuteError> {
        let select = |index: usize, states: &States| match states {
            States::Quantiles(sketches) => {
                let measure = &self.values.frame.plan.measures[index];
                let is_float = measure.kind == ColumnType::Float;
                Some((index, Selection::new(sketches, measure.percentiles.clone(), is_float)))
            }
            _ => None,
        };
        let states = self.values.partial.states.iter().filter_map(|(index, states)| select(*index, states));
        let totals = self.totals.iter().enumerate().filter_map(|(index, states)| select(index, states));
        let pass = SecondPass { states: states.collect(), totals: totals.collect() };
        if pass.states.is_empty() {
            return Ok(None);
        }
        let values = pass.states.iter().chain(&pass.totals);
        self.reservation.check(values.map(|(_, selection)| selection.bytes_expected()).sum())?;
        Ok(Some(pass))
    }

    /// Takes what the second pass found.
    pub fn finish_second_pass(&mut self, workers: Vec<Worker>) -> Result<(), ExecuteError> {
        let partial = Arc::make_mut(&mut self.values.partial);
        for worker in workers {
            let (gathered, ..) = worker.finish()?;
            for Partial { states, totals, .. } in gathered.bands.into_iter().flatten() {
                for (index, found) in states {
                    take_selection(&mut partial.states[index].1, found);
                }
                for (index, found) in totals {
                    take_selection(&mut self.totals[index], found);
                }
            }
        }
        let states = partial.states.iter_mut().map(|(_, states)| states);
        for states in states.chain(&mut self.totals) {
            if let States::Select(selection) = states {
                selection.finish();
            }
        }
        Ok(())
    }

    /// A part with this one's groups for the second pass.
    pub fn seed(&self, pass: &SecondPass) -> Result<Partial, ExecuteError> {
        let mut groups = Groups::new(self.values.frame.plan.codes(self.values.frame.grid.as_ref()));
        groups.absorb(&self.values.partial.groups)?;
        let sources = SourceSummary::default();
        Ok(Partial { groups, states: fork(&pass.states), totals: fork(&pass.totals), sources })
    }

    /// Adds the buckets without rows to each present group, up to now. Without other dimensions the one group is present.
    pub fn fill(&mut self) -> Result<(), ExecuteError> {
        let Some((place, buckets)) = self.values.frame.fill_buckets() else { return Ok(()) };
        let width = self.values.frame.plan.dimensions.len();
        let mut series: HashSet<Vec<u32>> = HashSet::new();
        if width == 1 {
            series.insert(vec![0]);
        }
        for group in 0..self.values.partial.groups.len() {
            let mut key = self.values.partial.groups.key(group).to_vec();
            key[place] = 0;
            series.insert(key);
        }
        let rows = series.len().saturating_mul(buckets as usize);
        let bytes_per_group = self.memory_bytes_per_empty_group();
        let fresh = rows.saturating_sub(self.values.partial.groups.len());
        self.reservation.check(fresh.saturating_mul(bytes_per_group))?;
        let partial = Arc::make_mut(&mut self.values.partial);
        if let Some((_, grid)) = self.values.frame.time_dimension() {
            partial.groups.dimensions[place] = Codes::buckets(grid);
        }
        for mut key in series {
            for bucket in 0..buckets {
                key[place] = bucket;
                partial.groups.insert(&key);
            }
        }
        partial.fit();
        let bytes = partial.memory_bytes();
        self.reservation.resize(bytes)
    }

    /// The metrics over all rows.
    pub fn totals(&self) -> Option<Vec<Cell>> {
        let range = self.values.frame.range;
        let seconds = || range.past_seconds(range.from_us, range.to_us);
        let cell = |used: Use| self.totals[used.measure].cell(0, used.reading, used.kind);
        let cells = || {
            self.values.frame.plan.metrics.iter().map(|metric| evaluate(metric, &cell, &seconds)).collect()
        };
        (self.values.frame.plan.totals != Totals::None).then(cells)
    }

    /// How good a metric's numbers are, totals included.
    pub fn quality(&self, metric: &MetricPlan) -> MetricQuality {
        quality_of(metric, &|used| {
            let groups = &self.values.partial.states[used.measure].1;
            std::iter::once(groups).chain(self.totals.get(used.measure)).collect()
        })
    }

    fn memory_bytes_per_empty_group(&self) -> usize {
        /// A state of usual size, a key, a place in the table, and the finished cell.
        const STATE_BYTES: usize = 64;
        (self.values.frame.plan.dimensions.len() + 4) * size_of::<u32>()
            + self.values.partial.states.len() * STATE_BYTES
    }
}

/// The states that the second pass begins with.
pub(crate) struct SecondPass {
    states: Vec<(usize, Selection)>,
    totals: Vec<(usize, Selection)>,
}

fn fork(selections: &[(usize, Selection)]) -> Vec<Column> {
    selections.iter().map(|(index, selection)| (*index, States::Select(selection.fork()))).collect()
}

fn take_selection(own: &mut States, found: States) {
    match own {
        States::Select(_) => own.merge(&found, &[]),
        _ => *own = found,
    }
}

fn merge_totals(plan: &Plan, partial: &Partial) -> Vec<States> {
    let map = vec![0; partial.groups.len()];
    let merge = |(measure, (_, states)): (&MeasurePlan, &Column)| {
        let mut total = States::new(measure.state, true);
        total.resize(1);
        total.merge(states, &map);
        total
    };
    plan.measures.iter().zip(&partial.states).map(merge).collect()
}

/// How good a metric's numbers are that are read from these states.
pub(crate) fn quality_of<'a>(metric: &MetricPlan, states: &dyn Fn(Use) -> Vec<&'a States>) -> MetricQuality {
    let error = |used: Use| {
        states(used).into_iter().map(|states| relative_error(states, used.reading)).fold(0.0, f64::max)
    };
    let relative_error = match *metric {
        MetricPlan::Value(value) | MetricPlan::Rate(value) => error(value),
        // The worst case: the numerator too large by its bound, the denominator too small by its own.
        MetricPlan::Ratio(numerator, denominator) => {
            (1.0 + error(numerator)) / (1.0 - error(denominator)) - 1.0
        }
    };
    MetricQuality { exact: relative_error == 0.0, relative_error }
}

/// The bound of API.md for distinct counts past the exact ones: four standard errors.
const DISTINCT_RELATIVE_ERROR: f64 = 0.033;

fn relative_error(states: &States, reading: Reading) -> f64 {
    match (states, reading) {
        (_, Reading::Quantile(_)) if !states.is_exact() => tidewater_model::state::Quantiles::RELATIVE_ERROR,
        _ if !states.is_exact() => DISTINCT_RELATIVE_ERROR,
        _ => 0.0,
    }
}
