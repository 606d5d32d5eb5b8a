//! The order of result rows: the asked keys, then what makes it total (API.md "Semantics").

use super::request::QueryError;
use super::resolve::did_you_mean;
use super::{Dimension, Metric, OrderKey, OrderTarget};
use crate::input_error::{InputError, codes};
use crate::names::excerpt;
use crate::schema::Dataset;

/// The full order of a question.
pub(super) fn resolve_order(
    asked: &[(String, bool)],
    dimensions: &[Dimension],
    metrics: &[Metric],
    dataset: &Dataset,
) -> Result<Vec<OrderKey>, QueryError> {
    let mut order: Vec<OrderKey> = Vec::new();
    for (index, (name, descending)) in asked.iter().enumerate() {
        let field = format!("order_by[{index}]");
        let target = find_target(name, dimensions, metrics, dataset).map_err(|error| error.within(&field))?;
        if order.iter().any(|key| key.target == target) {
            let message = format!("the answer is already ordered by '{}'; name it once", excerpt(name));
            return Err(InputError::new(codes::DUPLICATE_NAME, field, message));
        }
        order.push(OrderKey { target, descending: *descending });
    }
    if order.is_empty() {
        let time = dimensions.iter().position(|dimension| matches!(dimension, Dimension::Time(_)));
        order.push(match time {
            Some(index) => OrderKey { target: OrderTarget::Dimension(index), descending: false },
            None => OrderKey { target: OrderTarget::Metric(0), descending: true },
        });
    }
    for target in (0..dimensions.len()).map(OrderTarget::Dimension) {
        if !order.iter().any(|key| key.target == target) {
            order.push(OrderKey { target, descending: false });
        }
    }
    Ok(order)
}

fn find_target(
    name: &str,
    dimensions: &[Dimension],
    metrics: &[Metric],
    dataset: &Dataset,
) -> Result<OrderTarget, QueryError> {
    let answers_to =
        |dimension: &Dimension| dimension.name(dataset) == name || dimension.request_name(dataset) == name;
    if let Some(index) = metrics.iter().position(|metric| metric.name == name) {
        return Ok(OrderTarget::Metric(index));
    }
    if let Some(index) = dimensions.iter().position(answers_to) {
        return Ok(OrderTarget::Dimension(index));
    }
    let mut known: Vec<String> = dimensions.iter().map(|dimension| dimension.request_name(dataset)).collect();
    known.extend(metrics.iter().map(|metric| metric.name.clone()));
    let nearest = did_you_mean(name, known.iter().map(String::as_str));
    let message = format!(
        "cannot order by '{}', which is neither a metric nor a dimension of this question{nearest} (there are: {})",
        excerpt(name),
        excerpt(&known.join(", "))
    );
    Err(InputError { code: codes::INVALID_ORDER, field: None, message })
}
