//! A question's shape: what it computes, without the range and without what only orders or cuts the answer. Questions of one
//! shape share partials, so they are recorded together.
//!
//! Not here: how often a shape was asked (`log`), what a roll-up needs to serve it (`advisor`).

use serde_json::{Value, json};
use tidewater_model::query::{Query, all_filters, normalised};
use tidewater_model::time::{Compare, ResolvedRange, shift};
use xxhash_rust::xxh3::xxh3_64;

/// Members of a question that decide a partial; the others order, cut or deliver the answer.
const SHAPE_MEMBERS: [&str; 5] = ["timezone", "metrics", "dimensions", "filters", "exact"];

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;
/// Classes of ranges given as instants, by length: the steps at which a bare `time` changes its width, and a fortnight. Without
/// classes every pair of dates somebody picks would be a question of its own.
const LENGTH_CLASSES: [(i64, &str); 5] = [
    (HOUR_US, "up to 1h"),
    (6 * HOUR_US, "up to 6h"),
    (48 * HOUR_US, "up to 48h"),
    (14 * DAY_US, "up to 14d"),
    (92 * DAY_US, "up to 92d"),
];
const LONGEST_CLASS: &str = "over 92d";

/// A question as it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    /// The question in a form that asks the same again; a word of its range is kept as the word.
    pub question: Value,
    /// The kind of its range: a word, or a class of lengths.
    pub range: String,
}

impl Asked {
    /// What is recorded of a question that was computed.
    pub fn of(query: &Query) -> Self {
        let mut question = normalised(query);
        // Roll-ups and warming serve what is computed, which is bound by row scope.
        question["filters"] = all_filters(query);
        if let Some(word) = query.range.word {
            question["date_range"] = json!(word.to_string());
            // The instants of a comparison would stand still while the word moves on.
            question["compare"] = compare_word(query).map_or(Value::Null, Value::from);
        }
        if let Some(object) = question.as_object_mut() {
            object.remove("project");
            object.retain(|_, value| !value.is_null());
        }
        Asked { question, range: range_kind(&query.range) }
    }

    /// Identifies the shape among all of one store.
    pub fn key(&self, dataset: &str, project: &str) -> u64 {
        shape_key(dataset, project, &self.question, &self.range)
    }
}

/// See [`Asked::key`].
pub(crate) fn shape_key(dataset: &str, project: &str, question: &Value, range: &str) -> u64 {
    let mut shape: Vec<Value> = SHAPE_MEMBERS.iter().map(|member| question[*member].clone()).collect();
    // The names that metrics have in the answer compute nothing.
    for metric in shape.iter_mut().filter_map(Value::as_array_mut).flatten().filter_map(Value::as_object_mut)
    {
        metric.remove("as");
    }
    xxh3_64(json!([dataset, project, range, shape]).to_string().as_bytes())
}

fn range_kind(range: &ResolvedRange) -> String {
    if let Some(word) = range.word {
        return word.to_string();
    }
    let length_us = range.nominal_to.0 - range.from.0;
    let class = LENGTH_CLASSES.iter().find(|(longest_us, _)| length_us <= *longest_us);
    class.map_or(LONGEST_CLASS, |(_, name)| name).to_owned()
}

/// The word of a question's comparison: the one whose range it is. A comparison with a range of its own has none.
fn compare_word(query: &Query) -> Option<&'static str> {
    let compared = query.compare.as_ref()?;
    let width = query.time_dimension().map(|(_, width)| width);
    let words = [(Compare::PreviousPeriod, "previous_period"), (Compare::YearOverYear, "year_over_year")];
    let means = |compare: &Compare| {
        shift(&query.range, compare, query.now, &query.zone, width).is_ok_and(|shifted| shifted == *compared)
    };
    words.iter().find(|(compare, _)| means(compare)).map(|(_, word)| *word)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidewater_model::names::ProjectName;
    use tidewater_model::query::{QueryRequest, ResolveContext, resolve};
    use tidewater_model::schema::{Dataset, DatasetDefinition};
    use tidewater_model::time::Timestamp;

    use super::*;

    fn asked(question: &Value, now_us: i64) -> Asked {
        let definition = json!({"time": "ts", "columns": {"channel": "string", "added": "int"},
            "metrics": {"edits": {"agg": "count"}}});
        let definition =
            DatasetDefinition::from_json(definition.to_string().as_bytes()).expect("a definition");
        let context = ResolveContext {
            dataset: Arc::new(Dataset::compile("edits", definition).expect("a dataset")),
            project: ProjectName::new("p").expect("a name"),
            now: Timestamp(now_us),
            first_row: &|| None,
        };
        let request = QueryRequest::from_json(question).expect("a question");
        Asked::of(&resolve(&request, &context).expect("it resolves"))
    }

    #[test]
    fn a_shape_leaves_out_range_order_and_names() {
        let now = 1_767_225_600_000_000;
        let base =
            json!({"dataset": "edits", "metrics": ["edits"], "dimensions": ["channel"], "date_range": "7d"});
        let key = |change: &[(&str, Value)], now| {
            let mut question = base.clone();
            for (member, value) in change {
                question[*member] = value.clone();
            }
            asked(&question, now).key("edits", "p")
        };
        let same = key(&[], now);
        for change in [
            ("order_by", json!([["edits", "asc"]])),
            ("pagination", json!({"limit": 3})),
            ("metrics", json!([{"agg": "count", "as": "n"}])),
            ("include", json!({"totals": true})),
        ] {
            assert_eq!(key(std::slice::from_ref(&change), now), same, "{change:?}");
        }
        assert_eq!(key(&[], now + 9 * DAY_US), same, "a word moves on with the clock");
        for change in [
            ("date_range", json!("30d")),
            ("dimensions", json!([])),
            ("timezone", json!("Asia/Kolkata")),
            ("filters", json!([["is", "channel", ["a"]]])),
            ("exact", json!(true)),
        ] {
            assert_ne!(key(std::slice::from_ref(&change), now), same, "{change:?}");
        }
        let picked = |from: &str, to: &str| key(&[("date_range", json!([from, to]))], now);
        assert_eq!(picked("2026-01-01", "2026-01-09"), picked("2025-03-03", "2025-03-12"));
        assert_ne!(picked("2026-01-01", "2026-01-01"), picked("2025-03-03", "2025-03-12"));
    }

    #[test]
    fn what_is_recorded_asks_the_same_again() {
        let now = 1_767_225_600_000_000;
        for compare in ["previous_period", "year_over_year"] {
            let question = json!({"dataset": "edits", "metrics": ["edits"], "dimensions": ["time:day"],
                "date_range": "month", "compare": compare, "filters": [["gt", "added", 3]]});
            let first = asked(&question, now);
            assert_eq!(first.question["date_range"], "month");
            assert_eq!(first.question["compare"], compare);
            assert_eq!(asked(&first.question, now), first);
            assert_eq!(asked(&first.question, now + DAY_US), first);
        }
    }
}
