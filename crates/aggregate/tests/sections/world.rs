//! A dataset with a roll-up for every kind of state and dimension, and random rows of it.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tidewater_aggregate::{Cell, Reading, StateKind};
use tidewater_columns::{RowBatch, StringsRef};
use tidewater_model::schema::{Dataset, DatasetDefinition};

/// 2026-03-01T00:00:00Z.
pub const START_US: i64 = 1_772_323_200_000_000;

pub fn dataset() -> Arc<Dataset> {
    dataset_kept("{}")
}

/// With this retention.
pub fn dataset_kept(retention: &str) -> Arc<Dataset> {
    let functions = ["sum", "avg", "min", "max", "stddev", "uniq", "p50", "p95", "first", "last"];
    let mut metrics = vec![r#""n": {"agg": "count"}"#.to_owned()];
    for column in ["n", "f", "m"] {
        metrics.extend(
            functions
                .iter()
                .map(|agg| format!(r#""{agg}_{column}": {{"agg": "{agg}", "column": "{column}"}}"#)),
        );
    }
    for agg in ["min", "max", "first", "last", "uniq"] {
        metrics.push(format!(r#""{agg}_user": {{"agg": "{agg}", "column": "user"}}"#));
    }
    metrics.push(r#""uniq_tags": {"agg": "uniq", "column": "tags"}"#.to_owned());
    metrics.push(r#""latest": {"agg": "max", "column": "ts"}"#.to_owned());
    metrics
        .push(r#""odd": {"agg": "sum", "column": "n", "filters": [["is_not", "kind", ["a"]]]}"#.to_owned());
    let definition = format!(
        r#"{{"time": "ts",
            "columns": {{"kind": "string", "user": "string", "tags": "strings", "n": "int", "f": "float", "m": "money",
                         "b": "bool", "props": "map"}},
            "metrics": {{{}}},
            "rollups": [
                {{"name": "all"}},
                {{"name": "kinds", "dimensions": ["kind", "b"], "tiers": ["1h", "1d"]}},
                {{"name": "tags", "dimensions": ["tags", "props.plan"], "metrics": ["n", "sum_m", "uniq_user"], "tiers": ["1d"]}},
                {{"name": "numbers", "dimensions": ["n", "f", "m"], "metrics": ["n", "p50_n", "last_user"], "tiers": ["5m", "1d"]}},
                {{"name": "users", "dimensions": ["user"], "metrics": ["sum_m", "n"], "tiers": ["1h"]}}
            ],
            "retention": {retention}}}"#,
        metrics.join(", ")
    );
    let definition = DatasetDefinition::from_json(definition.as_bytes()).expect("a definition");
    Arc::new(Dataset::compile("things", definition).expect("a dataset"))
}

#[derive(Clone, Debug)]
pub struct Row {
    pub ts: i64,
    pub kind: Option<String>,
    pub user: Option<String>,
    pub tags: Option<Vec<String>>,
    pub n: Option<i64>,
    pub f: Option<f64>,
    pub m: Option<i64>,
    pub b: Option<bool>,
    pub plan: Option<String>,
}

pub fn rows(most: usize) -> impl Strategy<Value = Vec<Row>> {
    (vec(row(), 0..most), any::<bool>()).prop_map(|(mut rows, is_sorted)| {
        if is_sorted {
            rows.sort_by_key(|row| row.ts);
        }
        rows
    })
}

fn row() -> impl Strategy<Value = Row> {
    let int = prop_oneof![6 => -3i64..300, 1 => any::<i64>()];
    let float = prop_oneof![4 => (-40i64..40).prop_map(|value| value as f64 / 4.0), 1 => Just(-0.0), 1 => -1e9..1e9f64];
    let money = prop_oneof![6 => (0i64..5_000).prop_map(|value| value * 500), 1 => any::<i64>()];
    (
        prop_oneof![3 => 0i64..7_200_000_000, 1 => 0i64..172_800_000_000],
        option::of("[abc]"),
        option::of("user-[0-9]{1,3}|é{0,3}"),
        option::of(vec("[xyz\"]{0,2}", 0..3)),
        (option::of(int), option::of(float), option::of(money)),
        option::of(any::<bool>()),
        option::of("free|pro"),
    )
        .prop_map(|(ts, kind, user, tags, (n, f, m), b, plan)| Row {
            ts: START_US + ts,
            kind,
            user,
            tags,
            n,
            f,
            m,
            b,
            plan,
        })
}

/// The same rows every time.
pub fn some_rows() -> Vec<Row> {
    let row = |at: i64| Row {
        ts: START_US + at * 1_300_000_003 % 90_000_000_000,
        kind: (at % 7 > 0).then(|| ["a", "b", "c"][(at % 3) as usize].to_owned()),
        user: (at % 11 > 0).then(|| format!("user-{}", at * at % 23)),
        tags: (at % 5 > 0).then(|| (0..at % 3).map(|tag| format!("t{}", (tag + at) % 4)).collect()),
        n: (at % 13 > 0).then_some(at * 37 % 101 - 9),
        f: (at % 4 > 0).then_some((at % 9) as f64 / 8.0),
        m: Some(at % 17 * 1_500),
        b: (at % 3 > 0).then_some(at % 2 > 0),
        plan: (at % 2 > 0).then(|| "pro".to_owned()),
    };
    (0..70).map(row).collect()
}

pub fn batch(rows: &[Row]) -> RowBatch {
    let times =
        TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.ts)).with_timezone("UTC");
    let kinds: DictionaryArray<arrow_array::types::Int32Type> =
        rows.iter().map(|row| row.kind.as_deref()).collect();
    RowBatch::new(vec![
        Some(Arc::new(times)),
        Some(Arc::new(kinds)),
        Some(Arc::new(rows.iter().map(|row| row.user.as_deref()).collect::<StringArray>())),
        Some(lists(rows)),
        Some(Arc::new(rows.iter().map(|row| row.n).collect::<Int64Array>())),
        Some(Arc::new(rows.iter().map(|row| row.f).collect::<Float64Array>())),
        Some(Arc::new(rows.iter().map(|row| row.m).collect::<Int64Array>())),
        Some(Arc::new(rows.iter().map(|row| row.b).collect::<BooleanArray>())),
        Some(maps(rows)),
    ])
}

fn lists(rows: &[Row]) -> ArrayRef {
    let mut builder =
        ListBuilder::new(StringBuilder::new()).with_field(Field::new("item", DataType::Utf8, false));
    for row in rows {
        row.tags.iter().flatten().for_each(|tag| builder.values().append_value(tag));
        builder.append(row.tags.is_some());
    }
    Arc::new(builder.finish())
}

fn maps(rows: &[Row]) -> ArrayRef {
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
        .with_values_field(Field::new("value", DataType::Utf8, false));
    for row in rows {
        if let Some(plan) = &row.plan {
            builder.keys().append_value("plan");
            builder.values().append_value(plan);
        }
        builder.append(true).expect("as many keys as values");
    }
    Arc::new(builder.finish())
}

/// Each value as text that tells equal values apart from others.
pub fn cells(array: Option<&ArrayRef>, rows: usize) -> Vec<String> {
    let Some(array) = array else { return vec!["null".to_owned(); rows] };
    let text = |row: usize| {
        if let Some(strings) = StringsRef::new(array.as_ref()) {
            return strings.get(row).map_or("null".to_owned(), |text| format!("{text:?}"));
        }
        if array.is_null(row) {
            return "null".to_owned();
        }
        match array.data_type() {
            DataType::List(_) => {
                let list = array.as_list::<i32>().value(row);
                format!("{:?}", list.as_string::<i32>().iter().flatten().collect::<Vec<_>>())
            }
            DataType::Float64 => {
                format!("{:?}", array.as_primitive::<arrow_array::types::Float64Type>().value(row) + 0.0)
            }
            DataType::Boolean => array.as_boolean().value(row).to_string(),
            _ => array.as_primitive::<arrow_array::types::Int64Type>().value(row).to_string(),
        }
    };
    (0..rows).map(text).collect()
}

/// What is read from a kind of state.
pub fn readings(state: StateKind) -> Vec<Reading> {
    match state {
        StateKind::Quantiles => [1, 250, 500, 950, 1_000].into_iter().map(Reading::Quantile).collect(),
        StateKind::IntMean | StateKind::FloatMean => vec![Reading::Value, Reading::Mean],
        _ => vec![Reading::Value],
    }
}

/// Equal, floats to the accuracy of their sums in any order.
pub fn same(a: &Cell, b: &Cell) -> bool {
    match (a, b) {
        (Cell::Float(a), Cell::Float(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()) + 1e-6,
        _ => a == b,
    }
}
