//! The plain GET form of a question: `?dataset=edits&metrics=edits,editors&dimensions=time:hour&date_range=7d`.
//!
//! It is turned into the JSON form, so that both forms are checked by the same code. Where a value begins with `[` or `{`
//! it is JSON itself.

use serde_json::{Map, Value, json};

use super::request::{INCLUDE_MEMBERS, MEMBERS, PAGINATION_MEMBERS, QueryError, QueryRequest};
use crate::input_error::{InputError, codes, unknown};
use crate::names::excerpt;

impl QueryRequest {
    /// Reads decoded query parameters. The server keeps back what is not part of a question (`q`, `token`).
    pub fn from_params<K: AsRef<str>, V: AsRef<str>>(
        params: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, QueryError> {
        let mut members = Map::new();
        let mut pagination = Map::new();
        for (key, value) in params {
            let (key, value) = (key.as_ref(), value.as_ref().trim());
            let (place, json) = if PAGINATION_MEMBERS.contains(&key) {
                (&mut pagination, if key == "cursor" { json!(value) } else { number_or_text(value) })
            } else {
                (&mut members, read_param(key, value)?)
            };
            if place.insert(key.to_owned(), json).is_some() {
                let message = format!("the parameter '{key}' is there twice; write lists with commas");
                return Err(InputError::new(codes::DUPLICATE_NAME, key, message));
            }
        }
        if !pagination.is_empty() {
            members.insert("pagination".to_owned(), Value::Object(pagination));
        }
        QueryRequest::from_json(&Value::Object(members))
    }
}

fn read_param(key: &str, value: &str) -> Result<Value, QueryError> {
    match key {
        "dataset" | "project" | "site_id" | "timezone" | "format" | "numbers" | "min_version" => {
            Ok(json!(value))
        }
        "exact" | "others" => Ok(flag(value)),
        "max_points" | "max_staleness_ms" => Ok(number_or_text(value)),
        "filters" | "having" => read_json(key, value),
        "metrics" | "dimensions" | "order_by" | "include" | "date_range" | "compare"
            if value.starts_with(['[', '{']) =>
        {
            read_json(key, value)
        }
        "metrics" | "dimensions" => Ok(Value::Array(split(value).map(|part| json!(part)).collect())),
        "order_by" => Ok(Value::Array(split(value).map(order_pair).collect())),
        "include" => read_include(value),
        "date_range" | "compare" => Ok(range(value)),
        _ => {
            let known =
                MEMBERS.iter().chain(&PAGINATION_MEMBERS).filter(|name| **name != "pagination").copied();
            Err(InputError::new(codes::UNKNOWN_FIELD, excerpt(key), unknown("parameter", key, known)))
        }
    }
}

fn split(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn read_json(key: &str, value: &str) -> Result<Value, QueryError> {
    serde_json::from_str(value).map_err(|error| {
        let message = format!("the parameter '{key}' does not read as JSON: {error}");
        InputError::new(codes::INVALID_VALUE, key, message)
    })
}

/// `edits:desc`, `time:hour:asc`, or a name alone for ascending.
fn order_pair(part: &str) -> Value {
    match part.rsplit_once(':') {
        Some((name, direction @ ("asc" | "desc"))) => json!([name, direction]),
        _ => json!([part, "asc"]),
    }
}

fn read_include(value: &str) -> Result<Value, QueryError> {
    let mut flags = Map::new();
    for name in split(value) {
        if !INCLUDE_MEMBERS.contains(&name) {
            let message = unknown("extra", name, INCLUDE_MEMBERS);
            return Err(InputError::new(codes::UNKNOWN_FIELD, "include", message));
        }
        flags.insert(name.to_owned(), json!(true));
    }
    Ok(Value::Object(flags))
}

/// `7d`, `FROM,TO`, or `FROM,` without an end.
fn range(value: &str) -> Value {
    match value.split_once(',') {
        None => json!(value),
        Some((from, "")) => json!([number_or_text(from.trim()), null]),
        Some((from, to)) => json!([number_or_text(from.trim()), number_or_text(to.trim())]),
    }
}

fn number_or_text(value: &str) -> Value {
    value.parse::<i64>().map_or_else(|_| json!(value), |number| json!(number))
}

fn flag(value: &str) -> Value {
    match value {
        "true" | "1" | "" => json!(true),
        "false" | "0" => json!(false),
        other => json!(other),
    }
}
