//! The echo of a question: defaults filled in, words resolved, one member order, so that equal questions give equal text.
//! It reads as a request again and then means the same.

use serde_json::{Map, Value, json};

use super::having::having_json;
use super::{Having, Measure, MetricExpr, OrderTarget, Query};
use crate::filter::{Filter, to_json};
use crate::schema::Dataset;
use crate::time::{ResolvedRange, Timestamp, Zone, format_rfc3339};

/// The canonical JSON of a question. Members that say how to deliver an answer, not what is asked, are left out (cursor,
/// format, numbers, staleness, version), and so are filters that the caller did not send but is bound to.
pub fn normalised(query: &Query) -> Value {
    let dataset = &*query.dataset;
    let metrics = query.metrics.iter().map(|metric| {
        let mut object = metric_json(&metric.expr, dataset);
        object.insert("as".to_owned(), json!(metric.name));
        Value::Object(object)
    });
    let include = &query.include;
    json!({
        "dataset": &*dataset.name,
        "project": query.project.as_str(),
        "date_range": range_json(&query.range),
        "timezone": query.zone.name(),
        "metrics": metrics.collect::<Vec<_>>(),
        "dimensions": query.dimensions.iter().map(|dimension| dimension.request_name(dataset)).collect::<Vec<_>>(),
        "filters": filter_list(query.asked_filter.as_ref().unwrap_or(&query.filter), dataset),
        "having": having_list(query),
        "order_by": order_list(query),
        "pagination": {"limit": query.limit, "offset": query.offset},
        "include": {
            "totals": include.totals,
            "total_rows": include.total_rows,
            "fill": include.fill,
            "explain": include.explain,
            "partial": include.partial,
            "others": include.others,
        },
        "compare": query.compare.as_ref().map(range_json),
        "exact": query.exact,
        "max_points": query.max_points,
    })
}

/// Every filter of a question, those it is bound to included: for keys and records, not for whoever asked.
pub fn all_filters(query: &Query) -> Value {
    Value::Array(filter_list(&query.filter, &query.dataset))
}

fn range_json(range: &ResolvedRange) -> Value {
    let text = |instant: Timestamp| format_rfc3339(instant, &Zone::utc());
    json!([text(range.from), range.to.map(text)])
}

/// A metric in the form `MetricDefinition` reads, without a name.
fn metric_json(expr: &MetricExpr, dataset: &Dataset) -> Map<String, Value> {
    match expr {
        MetricExpr::Measure(measure) => measure_json(measure, &measure.function.name(), dataset),
        MetricExpr::Rate(measure) => measure_json(measure, "rate", dataset),
        MetricExpr::Ratio { numerator, denominator } => {
            let part = |measure: &Measure| measure_json(measure, &measure.function.name(), dataset);
            let mut object = Map::new();
            object.insert("agg".to_owned(), json!("ratio"));
            object.insert("numerator".to_owned(), Value::Object(part(numerator)));
            object.insert("denominator".to_owned(), Value::Object(part(denominator)));
            object
        }
    }
}

fn measure_json(measure: &Measure, agg: &str, dataset: &Dataset) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("agg".to_owned(), json!(agg));
    if let Some(column) = &measure.column {
        object.insert("column".to_owned(), json!(dataset.display(column)));
    }
    if !measure.filter.is_all() {
        object.insert("filters".to_owned(), json!(filter_list(&measure.filter, dataset)));
    }
    object
}

fn filter_list(filter: &Filter, dataset: &Dataset) -> Vec<Value> {
    match filter {
        Filter::And(parts) => parts.iter().map(|part| to_json(part, dataset)).collect(),
        other => vec![to_json(other, dataset)],
    }
}

fn having_list(query: &Query) -> Vec<Value> {
    match &query.having {
        Having::And(parts) => parts.iter().map(|part| having_json(part, &query.metrics)).collect(),
        other => vec![having_json(other, &query.metrics)],
    }
}

fn order_list(query: &Query) -> Vec<Value> {
    let key = |target: OrderTarget| match target {
        OrderTarget::Dimension(index) => query.dimensions[index].request_name(&query.dataset),
        OrderTarget::Metric(index) => query.metrics[index].name.clone(),
    };
    let direction = |descending: bool| if descending { "desc" } else { "asc" };
    query.order.iter().map(|order| json!([key(order.target), direction(order.descending)])).collect()
}
