//! All threads' parts as one: every group once, totals, the second pass of exact percentiles, and filled buckets.

use std::sync::Arc;

use hashbrown::HashSet;
use tidewater_model::schema::ColumnType;

use crate::answer::MetricQuality;
use crate::budget::Reservation;
use crate::error::ExecuteError;
use crate::partial::{Column, Partial, Worker};
use crate::plan::{MetricPlan, Plan, Totals, Use};
use tidewater_aggregate::Cell;
use tidewater_aggregate::Groups;
use tidewater_aggregate::Selection;
use tidewater_aggregate::{Reading, States};

/// Every group of one pass over one range. States are those of [`Plan::measures`], in that order.
pub(crate) struct Merged {
    pub plan: Arc<Plan>,
    pub groups: Groups,
    states: Vec<States>,
    /// One group; empty where no totals are asked for.
    totals: Vec<States>,
    pub reservation: Reservation,
}

impl Merged {
    /// Joins the threads' parts.
    pub fn new(plan: &Arc<Plan>, mut workers: Vec<Worker>) -> Result<Self, ExecuteError> {
        // The largest part takes in the others, which moves the fewest groups.
        workers.sort_by_key(|worker| worker.partial.groups.len());
        let Worker { mut partial, mut reservation, .. } =
            workers.pop().expect("a scan has at least one thread");
        for other in workers {
            partial.merge(&other.partial)?;
            reservation.resize(partial.memory_bytes())?;
        }
        let Partial { groups, states, totals, .. } = partial;
        let states: Vec<States> = states.into_iter().map(|(_, states)| states).collect();
        let totals = match plan.totals {
            Totals::None => Vec::new(),
            Totals::Apart => totals.into_iter().map(|(_, states)| states).collect(),
            Totals::Merged => merge_totals(plan, &states, groups.len()),
        };
        Ok(Merged { plan: Arc::clone(plan), groups, states, totals, reservation })
    }

    /// A part for the second pass: the same groups with the same numbers, looking for the percentiles; `None` where there are none.
    /// Fails where the values to be collected will not fit.
    pub fn second_pass(&mut self) -> Result<Option<SecondPass>, ExecuteError> {
        let selections = |states: &[States]| -> Vec<(usize, Selection)> {
            let measures = self.plan.measures.iter().zip(states).enumerate();
            measures
                .filter_map(|(index, (measure, states))| match states {
                    States::Quantiles(sketches) => {
                        let is_float = measure.kind == ColumnType::Float;
                        Some((index, Selection::new(sketches, measure.percentiles.clone(), is_float)))
                    }
                    _ => None,
                })
                .collect()
        };
        let pass = SecondPass { states: selections(&self.states), totals: selections(&self.totals) };
        if pass.states.is_empty() {
            return Ok(None);
        }
        let values = pass.states.iter().chain(&pass.totals);
        self.reservation.check(values.map(|(_, selection)| selection.bytes_expected()).sum())?;
        Ok(Some(pass))
    }

    /// Takes what the second pass found.
    pub fn finish_second_pass(&mut self, workers: Vec<Worker>) {
        for worker in workers {
            let Partial { states, totals, .. } = worker.partial;
            take_selections(&mut self.states, states);
            take_selections(&mut self.totals, totals);
        }
        for states in self.states.iter_mut().chain(&mut self.totals) {
            if let States::Select(selection) = states {
                selection.finish();
            }
        }
    }

    /// A part with this one's groups for the second pass.
    pub fn seed(&self, pass: &SecondPass) -> Result<Partial, ExecuteError> {
        let mut groups =
            Groups::new(self.plan.dimensions.iter().map(|dimension| dimension.codes()).collect());
        groups.absorb(&self.groups)?;
        Ok(Partial { groups, states: fork(&pass.states), totals: fork(&pass.totals) })
    }

    /// Adds the buckets without rows to each present group, up to now. Without other dimensions the one group is present.
    pub fn fill(&mut self) -> Result<(), ExecuteError> {
        let Some((place, buckets)) = self.plan.fill_buckets() else { return Ok(()) };
        let width = self.plan.dimensions.len();
        let mut series: HashSet<Vec<u32>> = HashSet::new();
        if width == 1 {
            series.insert(vec![0]);
        }
        for group in 0..self.groups.len() {
            let mut key = self.groups.key(group).to_vec();
            key[place] = 0;
            series.insert(key);
        }
        let rows = series.len().saturating_mul(buckets as usize);
        let bytes_per_group = self.memory_bytes_per_empty_group();
        self.reservation.check(rows.saturating_sub(self.groups.len()).saturating_mul(bytes_per_group))?;
        for mut key in series {
            for bucket in 0..buckets {
                key[place] = bucket;
                self.groups.insert(&key);
            }
        }
        let groups = self.groups.len();
        self.states.iter_mut().for_each(|states| states.resize(groups));
        self.reservation.resize(self.memory_bytes())
    }

    pub fn memory_bytes(&self) -> usize {
        self.groups.memory_bytes() + self.states.iter().map(States::memory_bytes).sum::<usize>()
    }

    /// The value of a metric for a group.
    pub fn cell(&self, metric: &MetricPlan, group: usize) -> Cell {
        evaluate(metric, &|used| self.states[used.measure].cell(group, used.reading, used.kind), &|| {
            self.seconds(group)
        })
    }

    /// The metrics over all rows.
    pub fn totals(&self) -> Option<Vec<Cell>> {
        let range = self.plan.range;
        let seconds = || range.past_seconds(range.from_us, range.to_us);
        let cell = |used: Use| self.totals[used.measure].cell(0, used.reading, used.kind);
        let cells = || self.plan.metrics.iter().map(|metric| evaluate(metric, &cell, &seconds)).collect();
        (self.plan.totals != Totals::None).then(cells)
    }

    /// How good a metric's numbers are, totals included.
    pub fn quality(&self, metric: &MetricPlan) -> MetricQuality {
        let error = |used: Use| {
            let states =
                std::iter::once(&self.states).chain((!self.totals.is_empty()).then_some(&self.totals));
            states.map(|states| relative_error(&states[used.measure], used.reading)).fold(0.0, f64::max)
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

    /// The seconds a `rate` of this group is divided by.
    fn seconds(&self, group: usize) -> f64 {
        let range = self.plan.range;
        match self.plan.time_dimension() {
            None => range.past_seconds(range.from_us, range.to_us),
            Some((place, grid)) => {
                let (lo, hi) = grid.extent(self.groups.key(group)[place]);
                range.past_seconds(lo.0, hi.0)
            }
        }
    }

    fn memory_bytes_per_empty_group(&self) -> usize {
        /// A state of usual size, a key, a place in the table, and the finished cell.
        const STATE_BYTES: usize = 64;
        (self.plan.dimensions.len() + 4) * size_of::<u32>() + self.states.len() * STATE_BYTES
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

fn take_selections(own: &mut [States], found: Vec<Column>) {
    for (index, states) in found {
        match &mut own[index] {
            own @ States::Select(_) => own.merge(&states, &[]),
            own => *own = states,
        }
    }
}

fn merge_totals(plan: &Plan, states: &[States], groups: usize) -> Vec<States> {
    let map = vec![0; groups];
    let merge = |(measure, states): (&crate::plan::MeasurePlan, &States)| {
        let mut total = States::new(measure.state, true);
        total.resize(1);
        total.merge(states, &map);
        total
    };
    plan.measures.iter().zip(states).map(merge).collect()
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

/// Computes a metric from what its measures give.
fn evaluate(metric: &MetricPlan, cell: &dyn Fn(Use) -> Cell, seconds: &dyn Fn() -> f64) -> Cell {
    match *metric {
        MetricPlan::Value(value) => cell(value),
        MetricPlan::Ratio(numerator, denominator) => {
            match (cell(numerator).as_f64(), cell(denominator).as_f64()) {
                (Some(above), Some(below)) if below != 0.0 => Cell::finite(above / below),
                _ => Cell::Null,
            }
        }
        MetricPlan::Rate(value) => match (cell(value).as_f64(), seconds()) {
            (Some(0.0), _) => Cell::Float(0.0),
            (Some(sum), seconds) if seconds > 0.0 => Cell::finite(sum / seconds),
            _ => Cell::Null,
        },
    }
}
