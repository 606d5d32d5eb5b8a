//! What a question needs of a roll-up, and whether a declared one has it.
//!
//! Not here: the planner that serves questions (`query`); this says what would be worth declaring, and may be coarser.

use std::collections::BTreeSet;

use tidewater_model::filter::Filter;
use tidewater_model::query::{Dimension, Function, Measure, Query};
use tidewater_model::schema::{ColumnId, ColumnRef, ColumnType, Dataset, Rollup, Tier};
use tidewater_model::time::Granularity;

/// A range without time buckets is served by a tier as coarse as this part of it: the ragged edges then cost little.
const EDGE_SHARE: i64 = 20;

/// What a roll-up must hold to serve a question.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Need {
    /// Columns grouped or filtered by.
    pub dimensions: BTreeSet<ColumnRef>,
    /// Aggregates, each with its own filter.
    pub measures: Vec<Measure>,
    /// The coarsest tier whose buckets fit into the question's.
    pub tier: Tier,
}

/// Why no roll-up can serve a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unserved {
    /// Exact distinct counts and percentiles need every row.
    Exact,
    /// It filters by the time column.
    TimeFilter,
    /// It filters by a whole map.
    WholeMap,
}

impl Unserved {
    /// For replies.
    pub fn name(self) -> &'static str {
        match self {
            Unserved::Exact => "exact",
            Unserved::TimeFilter => "filters_by_time",
            Unserved::WholeMap => "filters_by_map",
        }
    }
}

impl Need {
    pub fn of(query: &Query) -> Result<Self, Unserved> {
        let mut columns = Vec::new();
        query.filter.columns(&mut columns);
        let grouped = query.dimensions.iter().filter_map(|dimension| match dimension {
            Dimension::Column(column) => Some(column),
            Dimension::Time(_) => None,
        });
        let dimensions: BTreeSet<ColumnRef> = columns.into_iter().chain(grouped).cloned().collect();
        let mut measures: Vec<Measure> = Vec::new();
        for measure in query.metrics.iter().flat_map(|metric| metric.expr.measures()) {
            if query.exact && matches!(measure.function, Function::Uniq | Function::Quantile(_)) {
                return Err(Unserved::Exact);
            }
            add_measure(&mut measures, measure);
        }
        if dimensions.iter().any(|column| column.column == ColumnId::TIME) {
            return Err(Unserved::TimeFilter);
        }
        if dimensions.iter().any(|column| query.dataset.kind(column) == ColumnType::Map) {
            return Err(Unserved::WholeMap);
        }
        Ok(Need { dimensions, measures, tier: coarsest_tier(query) })
    }

    /// Columns whose number of different values decides how large a roll-up would be.
    pub fn sized_columns(&self) -> impl Iterator<Item = &ColumnRef> {
        let sized = self
            .measures
            .iter()
            .filter(|measure| matches!(measure.function, Function::Uniq | Function::Quantile(_)));
        self.dimensions.iter().chain(sized.filter_map(|measure| measure.column.as_ref()))
    }

    /// Whether declared roll-ups hold all of it, one measure in one and another in another.
    pub fn is_covered(&self, rollups: &[Rollup], dataset: &Dataset) -> bool {
        let fits = |rollup: &&Rollup| {
            self.dimensions.iter().all(|column| rollup.dimensions.contains(column))
                && rollup.tiers.iter().any(|tier| *tier <= self.tier)
        };
        let fitting: Vec<&Rollup> = rollups.iter().filter(fits).collect();
        let is_served = |wanted: &Measure| fitting.iter().any(|rollup| serves(rollup, wanted, dataset));
        !fitting.is_empty() && self.measures.iter().all(is_served)
    }
}

/// Whether a roll-up keeps what a measure is read from: under its own filter, or without one where its rows tell which pass.
fn serves(rollup: &Rollup, wanted: &Measure, dataset: &Dataset) -> bool {
    let metrics = rollup.metrics.iter().filter_map(|name| dataset.metrics.get(name));
    let held: Vec<&Measure> = metrics.flat_map(|metric| metric.measures()).collect();
    let is_kept = |wanted: &Measure| is_implicit(wanted) || held.iter().any(|held| provides(held, wanted));
    let mut columns = Vec::new();
    wanted.filter.columns(&mut columns);
    let is_decidable = columns.iter().all(|column| rollup.dimensions.contains(column));
    is_kept(wanted) || (is_decidable && is_kept(&Measure { filter: Filter::all(), ..wanted.clone() }))
}

/// Adds a measure unless one that provides it is there; one that it provides gives way.
pub(crate) fn add_measure(measures: &mut Vec<Measure>, measure: &Measure) {
    if measures.iter().any(|held| provides(held, measure)) {
        return;
    }
    measures.retain(|held| !provides(measure, held));
    measures.push(measure.clone());
}

/// Whether the state kept for one measure answers another too.
pub(crate) fn provides(held: &Measure, wanted: &Measure) -> bool {
    let is_enough = match (held.function, wanted.function) {
        // A mean is kept as sum and count, percentiles as one sketch.
        (Function::Avg, Function::Sum) | (Function::Quantile(_), Function::Quantile(_)) => true,
        (held, wanted) => held == wanted,
    };
    is_enough && held.column == wanted.column && held.filter == wanted.filter
}

/// Every roll-up counts its rows.
pub(crate) fn is_implicit(measure: &Measure) -> bool {
    measure.function == Function::Count && Filter::is_all(&measure.filter)
}

/// The length of a tier's bucket, in micro-seconds.
pub(crate) fn width_us(tier: Tier) -> i64 {
    const MINUTE_US: i64 = 60_000_000;
    match tier {
        Tier::Minute => MINUTE_US,
        Tier::Minutes5 => 5 * MINUTE_US,
        Tier::Hour => 60 * MINUTE_US,
        Tier::Day => 1_440 * MINUTE_US,
    }
}

fn coarsest_tier(query: &Query) -> Tier {
    let (from, to) = (query.range.from, query.range.nominal_to);
    // Offsets at both ends and now stand for all of them: a zone that leaves the whole hour in between costs a finer tier.
    let fits = |tier: Tier| {
        let offsets = [from, to, query.now].map(|ts| i64::from(query.zone.offset_seconds(ts)) * 1_000_000);
        offsets.iter().all(|offset| offset.rem_euclid(width_us(tier)) == 0)
    };
    let limit_us = match query.time_dimension() {
        None => return coarsest(|tier| width_us(tier) <= (to.0 - from.0) / EDGE_SHARE),
        Some((_, Granularity::Minutes15 | Granularity::Minutes30)) => width_us(Tier::Minutes5),
        Some((_, granularity)) => granularity.width_us().unwrap_or(width_us(Tier::Day)),
    };
    coarsest(|tier| width_us(tier) <= limit_us && fits(tier))
}

fn coarsest(is_fit: impl Fn(Tier) -> bool) -> Tier {
    Tier::ALL.into_iter().rev().find(|tier| is_fit(*tier)).unwrap_or(Tier::Minute)
}
