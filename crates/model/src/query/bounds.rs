//! What a question is bound to by who asks it: row scope, and cost metrics only. Bounds never come from the question itself.
//!
//! Not here: who is bound to what (`engine::access`).

use serde_json::Value;

use super::request::QueryError;
use super::{Dimension, MetricInput, QueryRequest};
use crate::filter::{Filter, FilterParser};
use crate::input_error::{InputError, codes};
use crate::names::excerpt;
use crate::schema::{ColumnRef, Dataset};
use crate::time::Zone;

/// What a question is bound to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Row scope: filters that hold besides the question's own.
    pub filters: Vec<Value>,
    /// Only metrics that the dataset marks as cost may be asked for.
    pub cost_metrics_only: bool,
}

impl Bounds {
    /// The filter of a bound question: its own and the row scope; `None` where nothing is bound. Times in a row scope are UTC,
    /// whatever zone the question has: it must not move the bound.
    pub(super) fn narrow(&self, asked: &Filter, dataset: &Dataset) -> Result<Option<Filter>, QueryError> {
        if self.filters.is_empty() {
            return Ok(None);
        }
        let zone = Zone::utc();
        let bound = FilterParser::new(dataset, &zone).parse_all(&self.filters).map_err(|error| {
            let message = format!(
                "the filters this caller is bound to do not fit the dataset '{}': {}",
                dataset.name, error.message
            );
            InputError { code: codes::ROW_SCOPE, field: None, message }
        })?;
        Ok(Some(Filter::And(vec![asked.clone(), bound]).canonical()))
    }

    /// Refuses what goes past cost metrics: other metrics, and groups or filters by columns that the dataset does not group by,
    /// which would read out single rows.
    pub(super) fn check_cost(
        &self,
        request: &QueryRequest,
        dimensions: &[Dimension],
        asked: &Filter,
        dataset: &Dataset,
    ) -> Result<(), QueryError> {
        if !self.cost_metrics_only {
            return Ok(());
        }
        let refused = |field: String, message| Err(InputError::new(codes::COST_ONLY, field, message));
        for (index, metric) in request.metrics.iter().enumerate() {
            let is_cost = match metric {
                MetricInput::Named(name) => dataset.is_cost(name),
                MetricInput::Inline(_) => false,
            };
            if !is_cost {
                let message = format!(
                    "the role 'billing' may ask for the cost metrics of '{}' by name only: {}",
                    dataset.name,
                    cost_metrics(dataset)
                );
                return refused(format!("metrics[{index}]"), message);
            }
        }
        let column = |reference: &ColumnRef| {
            format!(
                "the role 'billing' may group and filter by time, sort columns and dimensions of roll-ups only, not by '{}'",
                excerpt(&dataset.display(reference))
            )
        };
        for (index, dimension) in dimensions.iter().enumerate() {
            if let Dimension::Column(reference) = dimension
                && !dataset.groups_by(reference)
            {
                return refused(format!("dimensions[{index}]"), column(reference));
            }
        }
        let mut filtered = Vec::new();
        asked.columns(&mut filtered);
        match filtered.into_iter().find(|reference| !dataset.groups_by(reference)) {
            Some(reference) => refused("filters".to_owned(), column(reference)),
            None => Ok(()),
        }
    }
}

/// Names for a message.
fn cost_metrics(dataset: &Dataset) -> String {
    let names = dataset.definition.metrics.iter().filter(|(_, metric)| metric.cost).map(|(name, _)| name);
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "it has none".to_owned() } else { excerpt(&names.join(", ")) }
}

impl Dataset {
    /// Whether a metric of that name is marked as cost.
    pub fn is_cost(&self, metric: &str) -> bool {
        self.definition.metrics.get(metric).is_some_and(|metric| metric.cost)
    }

    /// Whether it is declared to be grouped by a column: the time, sort columns, dimensions of roll-ups.
    fn groups_by(&self, reference: &ColumnRef) -> bool {
        let is_own = reference.key.is_none()
            && (reference.column.index() == 0 || self.sort.contains(&reference.column));
        is_own || self.rollups.iter().any(|rollup| rollup.dimensions.contains(reference))
    }
}
