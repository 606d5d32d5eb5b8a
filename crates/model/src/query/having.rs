//! Conditions on finished rows: `having` from JSON and back.

use serde_json::{Value, json};

use super::request::QueryError;
use super::{Having, HavingComparison, Metric};
use crate::filter::Comparison;
use crate::input_error::{InputError, Shown, codes, unknown};
use crate::limits::{FILTER_DEPTH_MAX, FILTER_NODES_MAX, FILTER_VALUES_MAX};
use crate::schema::Dataset;

/// Every operator, for "did you mean".
const OPERATORS: [&str; 10] = ["is", "is_not", "gt", "gte", "lt", "lte", "exists", "and", "or", "not"];

/// Where errors stand.
const FIELD: &str = "having";

/// Reads the list of conditions, which all must hold.
pub(super) fn resolve_having(
    list: &[Value],
    metrics: &[Metric],
    dataset: &Dataset,
) -> Result<Having, QueryError> {
    if let [Value::String(operator), ..] = list {
        let message = format!(
            "'having' is a list of conditions: write [[\"{}\", …]] with one more pair of brackets",
            crate::names::excerpt(operator)
        );
        return Err(invalid(FIELD, message));
    }
    let mut reader = HavingReader { metrics, dataset, nodes_left: FILTER_NODES_MAX };
    reader.nodes(list, FIELD, 0).map(Having::And)
}

struct HavingReader<'a> {
    metrics: &'a [Metric],
    dataset: &'a Dataset,
    nodes_left: usize,
}

impl HavingReader<'_> {
    fn nodes(&mut self, list: &[Value], path: &str, depth: usize) -> Result<Vec<Having>, QueryError> {
        list.iter()
            .enumerate()
            .map(|(index, json)| self.node(json, &format!("{path}[{index}]"), depth + 1))
            .collect()
    }

    fn node(&mut self, json: &Value, path: &str, depth: usize) -> Result<Having, QueryError> {
        if depth > FILTER_DEPTH_MAX || self.nodes_left == 0 {
            let message = format!(
                "'having' takes at most {FILTER_NODES_MAX} conditions, {FILTER_DEPTH_MAX} levels deep"
            );
            return Err(InputError::new(codes::LIMIT_EXCEEDED, path, message));
        }
        self.nodes_left -= 1;
        let Some([Value::String(operator), rest @ ..]) = json.as_array().map(Vec::as_slice) else {
            return Err(invalid(
                path,
                format!("{} is not a condition like [\"gt\", METRIC, 10]", Shown(json)),
            ));
        };
        match (operator.as_str(), rest) {
            ("and", [Value::Array(parts)]) => {
                Ok(Having::And(self.nodes(parts, &format!("{path}[1]"), depth)?))
            }
            ("or", [Value::Array(parts)]) => {
                Ok(Having::Or(self.nodes(parts, &format!("{path}[1]"), depth)?))
            }
            ("not", [part]) => Ok(negated(self.node(part, &format!("{path}[1]"), depth + 1)?)),
            ("is", [name, values]) => self.is(name, values, path),
            ("is_not", [name, values]) => self.is(name, values, path).map(negated),
            ("exists", [name]) => {
                Ok(negated(compare(self.metric(name, path)?, HavingComparison::Is, vec![None])))
            }
            (operator, [name, value]) if let Some(how) = Comparison::parse(operator) => {
                let metric = self.metric(name, path)?;
                let number = number(value, &format!("{path}[2]"))?;
                Ok(compare(metric, HavingComparison::Order(how), vec![Some(number)]))
            }
            (operator, _) if OPERATORS.contains(&operator) => {
                let shape = match operator {
                    "and" | "or" => "[CONDITION, …]",
                    "not" => "CONDITION",
                    "is" | "is_not" => "METRIC, [NUMBER, …]",
                    "exists" => "METRIC",
                    _ => "METRIC, NUMBER",
                };
                Err(invalid(path, format!("'{operator}' is written [\"{operator}\", {shape}]")))
            }
            _ => Err(invalid(format!("{path}[0]"), unknown("condition", operator, OPERATORS))),
        }
    }

    fn is(&self, name: &Value, values: &Value, path: &str) -> Result<Having, QueryError> {
        let metric = self.metric(name, path)?;
        let field = format!("{path}[2]");
        let list = values.as_array().filter(|list| !list.is_empty());
        let list =
            list.ok_or_else(|| invalid(&field, "the values must be a list with at least one number"))?;
        if list.len() > FILTER_VALUES_MAX {
            let message = format!("{} values are over the limit of {FILTER_VALUES_MAX}", list.len());
            return Err(InputError::new(codes::LIMIT_EXCEEDED, field, message));
        }
        let read = |(index, json): (usize, &Value)| match json {
            Value::Null => Ok(None),
            other => number(other, &format!("{field}[{index}]")).map(Some),
        };
        let values = list.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(compare(metric, HavingComparison::Is, values))
    }

    fn metric(&self, name: &Value, path: &str) -> Result<usize, QueryError> {
        let field = format!("{path}[1]");
        let Value::String(name) = name else {
            return Err(invalid(field, format!("{} is not the name of a metric", Shown(name))));
        };
        let Some(index) = self.metrics.iter().position(|metric| metric.name == *name) else {
            let known = self.metrics.iter().map(|metric| metric.name.as_str());
            let message =
                format!("{}; 'having' speaks of metrics of this question", unknown("metric", name, known));
            return Err(InputError::new(codes::UNKNOWN_METRIC, field, message));
        };
        if self.metrics[index].expr.is_numeric(self.dataset) {
            return Ok(index);
        }
        let message = format!("'having' compares numbers, and metric '{name}' is none");
        Err(InputError::new(codes::INVALID_TYPE, field, message))
    }
}

fn negated(part: Having) -> Having {
    Having::Not(Box::new(part))
}

fn compare(metric: usize, how: HavingComparison, values: Vec<Option<f64>>) -> Having {
    Having::Compare { metric, how, values }
}

/// A finite number; text is taken too, since JavaScript writes long ones so.
fn number(json: &Value, field: &str) -> Result<f64, QueryError> {
    let number = match json {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite()).ok_or_else(|| {
        InputError::new(codes::INVALID_VALUE, field, format!("{} is not a finite number", Shown(json)))
    })
}

fn invalid(path: impl Into<String>, message: impl Into<String>) -> QueryError {
    InputError::new(codes::INVALID_FILTER, path, message)
}

/// A condition in the form [`resolve_having`] reads.
pub(super) fn having_json(having: &Having, metrics: &[Metric]) -> Value {
    let list = |parts: &[Having]| parts.iter().map(|part| having_json(part, metrics)).collect::<Vec<_>>();
    match having {
        Having::And(parts) => json!(["and", list(parts)]),
        Having::Or(parts) => json!(["or", list(parts)]),
        Having::Not(part) => json!(["not", having_json(part, metrics)]),
        Having::Compare { metric, how: HavingComparison::Is, values } => {
            json!(["is", metrics[*metric].name, values])
        }
        Having::Compare { metric, how: HavingComparison::Order(how), values } => {
            json!([how.name(), metrics[*metric].name, values.first()])
        }
    }
}
