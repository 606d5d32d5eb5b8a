//! A question's shape as one line for people: what it computes, without a single value of a filter, since these may be personal.
//!
//! Made from the question as asked, so that a question that failed has one too. Not here: the shapes that warming and the advisor
//! record (`engine::questions`), which keep values.

use std::fmt::Write as _;

use serde_json::Value;
use tidewater_model::names::excerpt;
use tidewater_model::query::{DateRange, MetricInput, QueryRequest};
use tidewater_model::time::RangeSpec;

/// Longest shape, in bytes; what is longer is cut.
const SHAPE_BYTES_MAX: usize = 400;

/// `edits, p95(added) by time:hour, channel where is_robot is ?, channel contains ? over 7d`.
pub fn describe(request: &QueryRequest) -> String {
    let mut out = String::with_capacity(96);
    join(&mut out, ", ", &request.metrics, metric);
    if !request.dimensions.is_empty() {
        out.push_str(" by ");
        join(&mut out, ", ", &request.dimensions, |out, name| out.push_str(&excerpt(name)));
    }
    for (word, filters) in [(" where ", &request.filters), (" having ", &request.having)] {
        if !filters.is_empty() {
            out.push_str(word);
            join(&mut out, ", ", filters, filter);
        }
    }
    out.push_str(" over ");
    match &request.date_range {
        None => out.push_str("24h"),
        Some(DateRange::Spec(RangeSpec::Word(word))) => put(&mut out, format_args!("{word}")),
        Some(DateRange::Spec(RangeSpec::Bounds(..))) => out.push_str("a range"),
        Some(DateRange::Since(_)) => out.push_str("all since"),
    }
    if request.compare.is_some() {
        out.push_str(", compared");
    }
    if request.exact {
        out.push_str(", exact");
    }
    if let Some(zone) = request.timezone.as_deref().filter(|zone| *zone != "UTC") {
        put(&mut out, format_args!(" in {}", excerpt(zone)));
    }
    cut(out)
}

fn metric(out: &mut String, input: &MetricInput) {
    let inline = match input {
        MetricInput::Named(name) => return out.push_str(&excerpt(name)),
        MetricInput::Inline(inline) => inline,
    };
    put(out, format_args!("{}(", excerpt(&inline.agg)));
    let parts = inline.numerator.iter().chain(&inline.denominator);
    match &inline.column {
        Some(column) => out.push_str(&excerpt(column)),
        None => join(out, " / ", parts, metric),
    }
    if !inline.filters.is_empty() {
        out.push_str(" where ");
        join(out, ", ", &inline.filters, filter);
    }
    out.push(')');
}

fn filter(out: &mut String, json: &Value) {
    let parts = json.as_array().map_or(&[][..], Vec::as_slice);
    let word = |value: &Value| excerpt(value.as_str().unwrap_or("?"));
    match parts {
        [Value::String(op), Value::Array(inner)] if op == "and" || op == "or" => {
            out.push('(');
            join(out, &format!(" {op} "), inner, filter);
            out.push(')');
        }
        [Value::String(op), inner] if op == "not" => {
            out.push_str("not ");
            filter(out, inner);
        }
        [op, column] => put(out, format_args!("{} {}", word(column), word(op))),
        [op, column, ..] => put(out, format_args!("{} {} ?", word(column), word(op))),
        _ => out.push('?'),
    }
}

fn join<T>(
    out: &mut String,
    between: &str,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut String, T),
) {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push_str(between);
        }
        // A question may be a megabyte of filters; what will be cut need not be written.
        if out.len() > SHAPE_BYTES_MAX {
            return;
        }
        write(out, item);
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String cannot fail");
}

fn cut(mut text: String) -> String {
    if text.len() > SHAPE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(SHAPE_BYTES_MAX));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shape(question: &Value) -> String {
        describe(&QueryRequest::from_json(question).expect("a question"))
    }

    #[test]
    fn a_shape_shows_no_value() {
        let question = json!({"dataset": "edits", "dimensions": ["time:hour", "channel"], "date_range": "7d",
            "metrics": ["edits", {"agg": "p95", "column": "added", "filters": [["is", "user", ["secret"]]]},
                {"agg": "ratio", "numerator": "edits", "denominator": {"agg": "count"}}],
            "filters": [["is", "is_robot", [false]], ["not", ["contains", "user", ["secret"], {"case_sensitive": false}]],
                ["or", [["exists", "channel"], ["gt", "added", 471_100]]]],
            "having": [["gt", "edits", 471_100]], "compare": "previous_period", "timezone": "Asia/Kolkata", "exact": true});
        let shape = shape(&question);
        assert_eq!(
            shape,
            "edits, p95(added where user is ?), ratio(edits / count()) by time:hour, channel where is_robot is ?, \
             not user contains ?, (channel exists or added gt ?) having edits gt ? over 7d, compared, exact in Asia/Kolkata"
        );
    }

    #[test]
    fn ranges_and_values_make_no_shapes_of_their_own() {
        let of = |user: &str, from: &str| {
            shape(&json!({"dataset": "edits", "metrics": ["edits"], "filters": [["is", "user", [user]]],
                "date_range": [from, "2026-01-09"]}))
        };
        assert_eq!(of("a", "2026-01-01"), of("b", "2026-01-02"));
        assert_eq!(of("a", "2026-01-01"), "edits where user is ? over a range");
    }

    #[test]
    fn a_huge_question_has_a_short_shape() {
        let filters: Vec<Value> = (0..5_000).map(|n| json!(["is", format!("größe{n}"), [1]])).collect();
        let shape = shape(&json!({"dataset": "edits", "metrics": ["edits"], "filters": filters}));
        assert!(shape.len() <= SHAPE_BYTES_MAX + '…'.len_utf8() && shape.ends_with('…'), "{}", shape.len());
    }
}
