//! Filters as JSON again, in the form [`super::parse_filter`] reads: for the echo of a question and for stored deletes.

use serde_json::{Value, json};

use super::{Comparison, Filter, Scalar, TextMatch};
use crate::money;
use crate::schema::Dataset;
use crate::time::{Timestamp, Zone, format_rfc3339};

/// The filter as `parse_stored` reads it back to an equal one. Times are printed in UTC, money as text with all digits.
pub fn to_json(filter: &Filter, dataset: &Dataset) -> Value {
    let list = |parts: &[Filter]| parts.iter().map(|part| to_json(part, dataset)).collect::<Vec<_>>();
    match filter {
        Filter::And(parts) => json!(["and", list(parts)]),
        Filter::Or(parts) => json!(["or", list(parts)]),
        Filter::Not(part) => negated(part, dataset),
        Filter::Is { column, values, case_sensitive } => {
            let values: Vec<Value> = values.iter().map(scalar_json).collect();
            with_values("is", &dataset.display(column), json!(values), *case_sensitive)
        }
        Filter::Text { column, how, patterns, case_sensitive } => {
            with_values(how.name(), &dataset.display(column), json!(patterns), *case_sensitive)
        }
        Filter::Compare { column, how, value } => {
            json!([how.name(), dataset.display(column), scalar_json(value)])
        }
        Filter::Exists { column } => json!(["exists", dataset.display(column)]),
    }
}

/// With the operator's own negation where it has one, so that a filter prints to no more nodes than it was read from.
fn negated(part: &Filter, dataset: &Dataset) -> Value {
    let operator = match part {
        Filter::Is { .. } => "is_not",
        Filter::Text { how: TextMatch::Contains, .. } => "contains_not",
        Filter::Text { how: TextMatch::Regex, .. } => "matches_not",
        _ => return json!(["not", to_json(part, dataset)]),
    };
    let mut printed = to_json(part, dataset);
    printed[0] = json!(operator);
    printed
}

fn with_values(operator: &str, column: &str, values: Value, case_sensitive: bool) -> Value {
    if case_sensitive {
        json!([operator, column, values])
    } else {
        json!([operator, column, values, {"case_sensitive": false}])
    }
}

fn scalar_json(value: &Scalar) -> Value {
    match value {
        Scalar::Null => Value::Null,
        Scalar::Bool(value) => json!(value),
        Scalar::Int(value) => json!(value),
        Scalar::Float(value) => json!(value),
        Scalar::Money(nanos) => json!(money::format(i128::from(*nanos))),
        Scalar::String(value) => json!(value),
        Scalar::Time(micros) => json!(format_rfc3339(Timestamp(*micros), &Zone::utc())),
    }
}

impl TextMatch {
    /// The operator's name.
    pub fn name(self) -> &'static str {
        match self {
            TextMatch::Contains => "contains",
            TextMatch::StartsWith => "starts_with",
            TextMatch::EndsWith => "ends_with",
            TextMatch::Regex => "matches",
        }
    }
}

impl Comparison {
    /// The operator's name.
    pub fn name(self) -> &'static str {
        match self {
            Comparison::Gt => "gt",
            Comparison::Gte => "gte",
            Comparison::Lt => "lt",
            Comparison::Lte => "lte",
        }
    }

    /// The order of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Comparison::Gt, Comparison::Gte, Comparison::Lt, Comparison::Lte]
            .into_iter()
            .find(|how| how.name() == name)
    }
}
