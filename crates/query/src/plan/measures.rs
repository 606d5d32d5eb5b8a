//! From metrics to the states that are kept: each state and each filter once, however many metrics use it.

use std::sync::Arc;

use tidewater_columns::mask::CompiledFilter;
use tidewater_model::filter::Filter;
use tidewater_model::query::{Measure, MetricExpr, Query};
use tidewater_model::schema::ColumnType;

use super::Columns;
use crate::error::ExecuteError;
use tidewater_aggregate::{MeasureKey, Reading, StateKind};

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
    /// What it computes; its state is [`Self::state`].
    pub key: MeasureKey,
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
    let needs_time = builder.measures.iter().any(|measure| measure.state.needs_time());
    let filters = builder.filters.into_iter().map(|(_, compiled)| compiled).collect();
    let measures = sort(builder.measures, &mut metrics);
    Ok(Measures { measures, metrics, filters, needs_time })
}

/// Puts measures in an order that does not depend on the metrics', so that questions with the same measures share partials.
fn sort(measures: Vec<MeasurePlan>, metrics: &mut [MetricPlan]) -> Vec<MeasurePlan> {
    let mut sorted: Vec<(String, usize, MeasurePlan)> = measures
        .into_iter()
        .enumerate()
        .map(|(place, measure)| (format!("{:?}", measure.key), place, measure))
        .collect();
    sorted.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    let mut places = vec![0; sorted.len()];
    sorted.iter().enumerate().for_each(|(new, (_, old, _))| places[*old] = new);
    let place = |used: &mut Use| used.measure = places[used.measure];
    for metric in metrics {
        match metric {
            MetricPlan::Value(used) | MetricPlan::Rate(used) => place(used),
            MetricPlan::Ratio(numerator, denominator) => {
                place(numerator);
                place(denominator);
            }
        }
    }
    sorted.into_iter().map(|(.., measure)| measure).collect()
}

impl Builder<'_> {
    fn add(&mut self, measure: &Measure) -> Result<Use, ExecuteError> {
        let dataset = &self.query.dataset;
        let kind = measure.column.as_ref().map_or(ColumnType::Int, |column| dataset.kind(column));
        let (key, reading) = MeasureKey::of(measure, dataset, self.query.exact);
        let index = match self.measures.iter().position(|other| other.key.is_joined_with(&key)) {
            Some(index) => {
                // A mean holds the sum too, so whoever asks for either gets the larger state.
                let held = &mut self.measures[index];
                held.key.widen(&key);
                held.state = held.key.state;
                index
            }
            None => self.push(measure, kind, key)?,
        };
        if let Reading::Quantile(permille) = reading {
            let percentiles = &mut self.measures[index].percentiles;
            if !percentiles.contains(&permille) {
                percentiles.push(permille);
            }
        }
        Ok(Use { measure: index, reading, kind })
    }

    fn push(&mut self, measure: &Measure, kind: ColumnType, key: MeasureKey) -> Result<usize, ExecuteError> {
        let slot = measure.column.as_ref().map(|column| self.columns.slot(column));
        let filter = self.filter(&key.filter)?;
        let column =
            measure.column.as_ref().map_or(String::new(), |column| self.query.dataset.display(column));
        let suffix = if filter.is_some() { " where …" } else { "" };
        let name = format!("{}({column}){suffix}", measure.function.name());
        let state = key.state;
        self.measures.push(MeasurePlan { state, slot, filter, kind, percentiles: Vec::new(), name, key });
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
