//! From metrics to the states that are kept: each state and each filter once, however many metrics use it.

use std::sync::Arc;

use tidewater_columns::mask::CompiledFilter;
use tidewater_model::filter::Filter;
use tidewater_model::query::{Function, Measure, MetricExpr, Query};
use tidewater_model::schema::{ColumnRef, ColumnType};

use super::Columns;
use crate::error::ExecuteError;
use tidewater_aggregate::{Reading, StateKind, TextRule};

/// A state per group over the rows that pass its filter.
#[derive(Clone, Debug)]
pub(crate) struct MeasurePlan {
    pub state: StateKind,
    /// The column slot it reads; `None` for counts.
    pub slot: Option<usize>,
    /// Index of its filter.
    pub filter: Option<usize>,
    pub kind: ColumnType,
    /// Percentiles read from it, in thousandths.
    pub percentiles: Vec<u16>,
    /// For `explain`.
    pub name: String,
    source: (Option<ColumnRef>, Filter),
}

/// What a metric takes from which measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    pub measure: usize,
    pub reading: Reading,
    pub kind: ColumnType,
}

/// How a metric is computed from measures.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MetricPlan {
    Value(Use),
    Ratio(Use, Use),
    Rate(Use),
}

pub(super) struct Measures {
    pub measures: Vec<MeasurePlan>,
    pub metrics: Vec<MetricPlan>,
    pub filters: Vec<Arc<CompiledFilter>>,
    pub needs_time: bool,
}

struct Builder<'a> {
    query: &'a Query,
    columns: &'a mut Columns,
    measures: Vec<MeasurePlan>,
    filters: Vec<(Filter, Arc<CompiledFilter>)>,
}

pub(super) fn plan(query: &Query, columns: &mut Columns) -> Result<Measures, ExecuteError> {
    let mut builder = Builder { query, columns, measures: Vec::new(), filters: Vec::new() };
    let mut metrics = Vec::with_capacity(query.metrics.len());
    for metric in &query.metrics {
        metrics.push(match &metric.expr {
            MetricExpr::Measure(measure) => MetricPlan::Value(builder.add(measure)?),
            MetricExpr::Rate(measure) => MetricPlan::Rate(builder.add(measure)?),
            MetricExpr::Ratio { numerator, denominator } => {
                MetricPlan::Ratio(builder.add(numerator)?, builder.add(denominator)?)
            }
        });
    }
    let needs_time = builder.measures.iter().any(|measure| {
        matches!(
            measure.state,
            StateKind::First | StateKind::Last | StateKind::Text(TextRule::First | TextRule::Last)
        )
    });
    let filters = builder.filters.into_iter().map(|(_, compiled)| compiled).collect();
    Ok(Measures { measures: builder.measures, metrics, filters, needs_time })
}

impl Builder<'_> {
    fn add(&mut self, measure: &Measure) -> Result<Use, ExecuteError> {
        let kind = measure.column.as_ref().map_or(ColumnType::Int, |column| self.query.dataset.kind(column));
        let (state, reading) = state_of(measure.function, kind, self.query.exact);
        let source = (measure.column.clone(), measure.filter.clone());
        let known =
            self.measures.iter().position(|other| other.source == source && is_served(other.state, state));
        let index = match known {
            Some(index) => {
                // A mean holds the sum too, so whoever asks for either gets the larger state.
                self.measures[index].state = wider(self.measures[index].state, state);
                index
            }
            None => self.push(measure, state, kind, source)?,
        };
        if let Reading::Quantile(permille) = reading {
            let percentiles = &mut self.measures[index].percentiles;
            if !percentiles.contains(&permille) {
                percentiles.push(permille);
            }
        }
        Ok(Use { measure: index, reading, kind })
    }

    fn push(
        &mut self,
        measure: &Measure,
        state: StateKind,
        kind: ColumnType,
        source: (Option<ColumnRef>, Filter),
    ) -> Result<usize, ExecuteError> {
        let slot = measure.column.as_ref().map(|column| self.columns.slot(column));
        let filter = self.filter(&measure.filter)?;
        let column =
            measure.column.as_ref().map_or(String::new(), |column| self.query.dataset.display(column));
        let suffix = if filter.is_some() { " where …" } else { "" };
        let name = format!("{}({column}){suffix}", measure.function.name());
        self.measures.push(MeasurePlan { state, slot, filter, kind, percentiles: Vec::new(), name, source });
        Ok(self.measures.len() - 1)
    }

    fn filter(&mut self, filter: &Filter) -> Result<Option<usize>, ExecuteError> {
        if let Some(index) = self.filters.iter().position(|(other, _)| other == filter) {
            return Ok(Some(index));
        }
        let Some(compiled) = self.columns.filter(filter)? else { return Ok(None) };
        self.filters.push((filter.clone(), compiled));
        Ok(Some(self.filters.len() - 1))
    }
}

/// The state that serves a function over a kind of column, and what is read from it.
fn state_of(function: Function, kind: ColumnType, exact: bool) -> (StateKind, Reading) {
    let is_float = kind == ColumnType::Float;
    let is_text = matches!(kind, ColumnType::String | ColumnType::Strings | ColumnType::Map);
    let of_text = |rule, other| if is_text { StateKind::Text(rule) } else { other };
    match function {
        Function::Count => (StateKind::Count, Reading::Value),
        Function::Sum if is_float => (StateKind::FloatSum, Reading::Value),
        Function::Sum => (StateKind::IntSum, Reading::Value),
        Function::Avg if is_float => (StateKind::FloatMean, Reading::Mean),
        Function::Avg => (StateKind::IntMean, Reading::Mean),
        Function::Min => (of_text(TextRule::Least, StateKind::Least), Reading::Value),
        Function::Max => (of_text(TextRule::Greatest, StateKind::Greatest), Reading::Value),
        Function::First => (of_text(TextRule::First, StateKind::First), Reading::Value),
        Function::Last => (of_text(TextRule::Last, StateKind::Last), Reading::Value),
        Function::Stddev if is_float => (StateKind::FloatMoments, Reading::Value),
        Function::Stddev => (StateKind::IntMoments, Reading::Value),
        Function::Uniq if exact => (StateKind::ExactDistinct, Reading::Value),
        Function::Uniq => (StateKind::Distinct, Reading::Value),
        Function::Quantile(permille) => (StateKind::Quantiles, Reading::Quantile(permille)),
    }
}

/// Whether one state can serve both.
fn is_served(held: StateKind, wanted: StateKind) -> bool {
    held == wanted || wider(held, wanted) != held || wider(wanted, held) != wanted
}

/// Of a sum and a mean the mean; else what is held.
fn wider(held: StateKind, wanted: StateKind) -> StateKind {
    match (held, wanted) {
        (StateKind::IntSum, StateKind::IntMean) | (StateKind::FloatSum, StateKind::FloatMean) => wanted,
        _ => held,
    }
}
