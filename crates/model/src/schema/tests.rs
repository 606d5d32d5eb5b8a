//! Definitions: what compiles, what is refused and with which words, and what widening keeps.

use serde_json::{Value, json};

use super::*;
use crate::input_error::codes;
use crate::query::{Function, MetricExpr};

fn definition(json: Value) -> DatasetDefinition {
    serde_json::from_value(json).expect("a definition that reads")
}

fn compile(json: Value) -> Result<Dataset, SchemaError> {
    Dataset::compile("edits", definition(json))
}

/// The dataset of API.md.
fn edits() -> Value {
    json!({
        "time": "ts",
        "id": "event_id",
        "sort": ["channel"],
        "columns": {"event_id": "string", "channel": "string", "user": "string", "is_robot": "bool", "added": "int",
                    "score": "float", "cost_usd": "money", "tags": "strings", "props": "map"},
        "metrics": {"edits": {"agg": "count"},
                    "added": {"agg": "sum", "column": "added"},
                    "editors": {"agg": "uniq", "column": "user"},
                    "p95_added": {"agg": "p95", "column": "added"},
                    "robot_share": {"agg": "ratio", "numerator": {"agg": "count", "filters": [["is", "is_robot", [true]]]},
                                    "denominator": {"agg": "count"}}},
        "rollups": [{"name": "channels", "dimensions": ["channel", "is_robot"], "metrics": ["edits", "added", "editors"],
                     "tiers": ["1d", "1h"]}],
        "retention": {"raw": "90d", "1h": "210d", "1d": "1095d"}
    })
}

#[test]
fn the_contracts_example_compiles() {
    let dataset = compile(edits()).expect("the example is valid");
    assert_eq!(dataset.column(ColumnId::TIME).name.as_ref(), "ts");
    assert_eq!(dataset.id, dataset.column_id("event_id"));
    assert_eq!(dataset.sort, vec![dataset.column_id("channel").expect("declared")]);
    assert_eq!(dataset.columns.len(), 10);
    assert_eq!(dataset.rollups[0].tiers, vec![Tier::Hour, Tier::Day]);
    assert_eq!(dataset.retention.raw_us, Some(90 * 86_400_000_000));
    assert_eq!(dataset.retention.tiers_us[&Tier::Day], Some(1_095 * 86_400_000_000));
    assert!(
        matches!(&dataset.metrics["p95_added"], MetricExpr::Measure(m) if m.function == Function::Quantile(950))
    );
    let key = dataset.resolve_column("props.a.b").expect("props is a map");
    assert_eq!((dataset.display(&key).as_str(), dataset.kind(&key)), ("props.a.b", ColumnType::String));
}

#[test]
fn the_time_column_may_stand_among_the_columns() {
    let declared = compile(json!({"time": "ts", "columns": {"a": "int", "ts": "time", "b": "int"}}));
    let columns = declared.expect("valid").columns;
    let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
    assert_eq!(names, ["ts", "a", "b"]);
}

#[test]
fn definitions_keep_their_order_and_read_back() {
    let read = definition(edits());
    let text = serde_json::to_string(&read).expect("plain data");
    assert_eq!(text, edits().to_string());
    assert_eq!(DatasetDefinition::from_json(text.as_bytes()), Ok(read));
}

#[test]
fn malformed_definitions_say_where() {
    let cases = [
        (r#"{"time": "ts", "colums": {}}"#, "unknown field `colums`"),
        (r#"{"time": "ts", "columns": {"a": "int", "a": "float"}}"#, "'a' is there twice"),
        (r#"{"time": "ts", "metrics": {"a": {"agg": "sum", "colum": "x"}}}"#, "unknown field `colum`"),
        (
            r#"{"time": "ts", "metrics": {"a": {"agg": "ratio", "numerator": {"ag": 1}}}}"#,
            "unknown field `ag`",
        ),
        (r#"{"time": 5}"#, "invalid type"),
        (r#" ["time"]"#, "not a list"),
        ("", "EOF"),
    ];
    for (text, part) in cases {
        let error = DatasetDefinition::from_json(text.as_bytes()).expect_err(text);
        assert_eq!(error.code, codes::INVALID_DEFINITION);
        assert!(error.message.contains(part), "{text}: {error}");
    }
}

#[test]
fn faults_are_named_with_place_and_remedy() {
    let base = || json!({"time": "ts", "columns": {"channel": "string", "added": "int", "tags": "strings", "props": "map"}});
    let with = |member: &str, value: Value| {
        let mut object = base();
        object[member] = value;
        object
    };
    let metric = |value: Value| with("metrics", json!({"m": value}));
    let rollup = |value: Value| with("rollups", json!([value]));
    let column = |name: &str, kind: &str| with("columns", json!({name: kind}));
    let cases = [
        (json!({"columns": {}}), codes::MISSING_FIELD, "time", "\"time\": \"ts\""),
        (json!({"time": "t.s"}), codes::INVALID_NAME, "time", "t.s"),
        (column("_lsn", "int"), codes::INVALID_NAME, "columns._lsn", "reserved"),
        (column("a.b", "int"), codes::INVALID_NAME, "columns.a.b", "a.b"),
        (column("1a", "int"), codes::INVALID_NAME, "columns.1a", "digit"),
        (column("", "int"), codes::INVALID_NAME, "columns.", "1 to 64"),
        (column(&"a".repeat(65), "int"), codes::INVALID_NAME, "columns.", "1 to 64"),
        (column("a", "strng"), codes::INVALID_TYPE, "columns.a", "did you mean 'string'?"),
        (column("a", "zzz"), codes::INVALID_TYPE, "columns.a", "types are string, int"),
        (column("a", "time"), codes::INVALID_TYPE, "columns.a", "one time column"),
        (column("ts", "int"), codes::INVALID_TYPE, "columns.ts", "leave it out"),
        (with("id", json!("chanel")), codes::UNKNOWN_COLUMN, "id", "did you mean 'channel'?"),
        (with("id", json!("tags")), codes::INVALID_TYPE, "id", "strings"),
        (with("sort", json!(["nope"])), codes::UNKNOWN_COLUMN, "sort[0]", "nope"),
        (with("sort", json!(["tags"])), codes::INVALID_TYPE, "sort[0]", "string, int or bool"),
        (with("sort", json!(["ts"])), codes::INVALID_TYPE, "sort[0]", "leave it out"),
        (with("sort", json!(["added", "added"])), codes::DUPLICATE_NAME, "sort[1]", "twice"),
        (
            metric(json!({"agg": "summ", "column": "added"})),
            codes::INVALID_METRIC,
            "metrics.m.agg",
            "did you mean 'sum'?",
        ),
        (metric(json!({"agg": "p0", "column": "added"})), codes::INVALID_METRIC, "metrics.m.agg", "p99.9"),
        (
            metric(json!({"agg": "p100.1", "column": "added"})),
            codes::INVALID_METRIC,
            "metrics.m.agg",
            "p99.9",
        ),
        (metric(json!({"agg": "sum"})), codes::MISSING_FIELD, "metrics.m.column", "needs a column"),
        (metric(json!({"agg": "sum", "column": "add"})), codes::UNKNOWN_COLUMN, "metrics.m.column", "add"),
        (
            metric(json!({"agg": "sum", "column": "channel"})),
            codes::INVALID_METRIC,
            "metrics.m.column",
            "string column",
        ),
        (
            metric(json!({"agg": "sum", "column": "props.x"})),
            codes::INVALID_METRIC,
            "metrics.m.column",
            "string column",
        ),
        (
            metric(json!({"agg": "uniq", "column": "props"})),
            codes::INVALID_METRIC,
            "metrics.m.column",
            "props.plan",
        ),
        (
            metric(json!({"agg": "max", "column": "tags"})),
            codes::INVALID_METRIC,
            "metrics.m.column",
            "one value per row",
        ),
        (
            metric(json!({"agg": "count", "column": "added"})),
            codes::INVALID_METRIC,
            "metrics.m.column",
            "[\"exists\", \"added\"]",
        ),
        (metric(json!({"agg": "count", "as": "x"})), codes::INVALID_METRIC, "metrics.m.as", "leave 'as' out"),
        (
            metric(json!({"agg": "count", "filters": [["is", "chanel", ["x"]]]})),
            codes::UNKNOWN_COLUMN,
            "metrics.m.filters[0][1]",
            "did you mean 'channel'?",
        ),
        (metric(json!({"agg": "count", "numerator": "m"})), codes::INVALID_METRIC, "metrics.m", "ratio"),
        (
            metric(json!({"agg": "ratio", "numerator": {"agg": "count"}})),
            codes::MISSING_FIELD,
            "metrics.m.denominator",
            "needs",
        ),
        (
            metric(json!({"agg": "ratio", "numerator": {"agg": "rate"}, "denominator": {"agg": "count"}})),
            codes::INVALID_METRIC,
            "metrics.m.numerator",
            "plain aggregate",
        ),
        (
            metric(json!({"agg": "ratio", "numerator": "m", "denominator": {"agg": "count"}})),
            codes::INVALID_METRIC,
            "metrics.m.numerator",
            "itself a ratio",
        ),
        (
            metric(
                json!({"agg": "ratio", "numerator": {"agg": "max", "column": "channel"}, "denominator": {"agg": "count"}}),
            ),
            codes::INVALID_METRIC,
            "metrics.m.numerator",
            "number",
        ),
        (with("metrics", json!({"a b": {"agg": "count"}})), codes::INVALID_NAME, "metrics.a b", "a b"),
        (
            rollup(json!({"name": "r", "dimensions": ["chanel"]})),
            codes::UNKNOWN_COLUMN,
            "rollups[0].dimensions[0]",
            "channel",
        ),
        (
            rollup(json!({"name": "r", "dimensions": ["props"]})),
            codes::INVALID_ROLLUP,
            "rollups[0].dimensions[0]",
            "props.KEY",
        ),
        (
            rollup(json!({"name": "r", "dimensions": ["ts"]})),
            codes::INVALID_ROLLUP,
            "rollups[0].dimensions[0]",
            "leave it out",
        ),
        (
            rollup(json!({"name": "r", "metrics": ["x"]})),
            codes::UNKNOWN_METRIC,
            "rollups[0].metrics[0]",
            "unknown metric 'x'",
        ),
        (
            rollup(json!({"name": "r", "tiers": ["2h"]})),
            codes::INVALID_ROLLUP,
            "rollups[0].tiers[0]",
            "1m, 5m, 1h and 1d",
        ),
        (
            rollup(json!({"name": "r", "tiers": []})),
            codes::INVALID_ROLLUP,
            "rollups[0].tiers",
            "leave 'tiers' out",
        ),
        (rollup(json!({"name": "r!"})), codes::INVALID_NAME, "rollups[0].name", "r!"),
        (
            with("rollups", json!([{"name": "r"}, {"name": "r"}])),
            codes::DUPLICATE_NAME,
            "rollups[1].name",
            "twice",
        ),
        (with("retention", json!({"raw": "90"})), codes::INVALID_RETENTION, "retention.raw", "'90d'"),
        (with("retention", json!({"raw": "0d"})), codes::INVALID_RETENTION, "retention.raw", "positive"),
        (
            with("retention", json!({"raw": "99999999999y"})),
            codes::INVALID_RETENTION,
            "retention.raw",
            "positive",
        ),
        (with("retention", json!({"raw": "20000y"})), codes::LIMIT_EXCEEDED, "retention.raw", "forever"),
        (with("retention", json!({"2h": "1d"})), codes::INVALID_RETENTION, "retention.2h", "raw, 1m"),
    ];
    for (json, code, field, part) in cases {
        let error = compile(json.clone()).expect_err(&json.to_string());
        assert_eq!(error.code, code, "{json}: {error:?}");
        assert!(error.field.as_deref().is_some_and(|at| at.starts_with(field)), "{json}: {error:?}");
        assert!(error.message.contains(part), "{json}: {error}");
    }
    let error = Dataset::compile("Edits", definition(base())).expect_err("an upper-case dataset name");
    assert_eq!(error.code, codes::INVALID_NAME);
}

#[test]
fn too_many_columns_are_refused() {
    let columns: serde_json::Map<String, Value> =
        (0..=1_000).map(|i| (format!("c{i}"), json!("int"))).collect();
    let error = compile(json!({"time": "ts", "columns": columns})).expect_err("1,001 columns");
    assert_eq!(error.code, codes::LIMIT_EXCEEDED);
}

#[test]
fn a_ratio_may_name_metrics_declared_after_it() {
    let dataset = compile(json!({"time": "ts", "columns": {"ok": "bool"}, "metrics": {
        "share": {"agg": "ratio", "numerator": "good", "denominator": "rows"},
        "good": {"agg": "count", "filters": [["is", "ok", [true]]]},
        "rows": {"agg": "count"}}}));
    assert!(matches!(dataset.expect("valid").metrics["share"], MetricExpr::Ratio { .. }));
}

#[test]
fn retention_reads_units_and_for_ever() {
    let kept = |text: Value| {
        compile(json!({"time": "ts", "retention": {"raw": text}})).expect("valid").retention.raw_us
    };
    let day = 86_400_000_000;
    assert_eq!(kept(json!("30m")), Some(day / 48));
    assert_eq!(kept(json!("12h")), Some(day / 2));
    assert_eq!(kept(json!("2w")), Some(14 * day));
    assert_eq!(kept(json!("1y")), Some(365 * day));
    assert_eq!(kept(json!("forever")), None);
    assert_eq!(kept(Value::Null), None);
}

#[test]
fn widening_appends_and_never_renumbers() {
    let before = compile(edits()).expect("valid");
    let addition = json!({
        "columns": {"channel": "string", "country": "string"},
        "metrics": {"added": {"agg": "avg", "column": "added"}, "countries": {"agg": "uniq", "column": "country"}},
        "rollups": [{"name": "countries", "dimensions": ["country"]}],
        "retention": {"raw": "30d"}
    });
    let after = before.widen(definition(addition)).expect("a widening");
    assert_eq!(after.columns[..before.columns.len()], before.columns);
    assert_eq!(after.column_id("country").map(ColumnId::index), Some(before.columns.len()));
    assert_eq!(after.metrics.len(), before.metrics.len() + 1);
    assert!(matches!(&after.metrics["added"], MetricExpr::Measure(m) if m.function == Function::Avg));
    assert_eq!(after.rollups.len(), 2);
    assert_eq!(after.retention.raw_us, Some(30 * 86_400_000_000));
    assert_eq!(after.retention.tiers_us, before.retention.tiers_us);
    assert_eq!(Dataset::compile("edits", after.definition.clone()), Ok(after.clone()));
    assert_eq!(before.widen(DatasetDefinition::default()), Ok(before.clone()));
    assert_eq!(before.widen(definition(edits())), Ok(before));
}

#[test]
fn widening_refuses_to_change_what_exists() {
    let before = compile(edits()).expect("valid");
    let cases = [
        (json!({"columns": {"added": "float"}}), "columns.added"),
        (json!({"columns": {"ts": "int"}}), "columns.ts"),
        (json!({"time": "at"}), "time"),
        (json!({"id": "user"}), "id"),
        (json!({"sort": []}), "sort"),
        (json!({"sort": ["channel", "user"]}), "sort"),
    ];
    for (json, field) in cases {
        let error = before.widen(definition(json.clone())).expect_err(&json.to_string());
        assert!(error.is_conflict(), "{json}: {error:?}");
        assert_eq!(error.field.as_deref(), Some(field), "{json}");
    }
    let error = before.widen(definition(json!({"columns": {"x": "strng"}}))).expect_err("an unknown type");
    assert!(!error.is_conflict());
    let error = before.widen(definition(json!({"metrics": {"edits": {"agg": "sum", "column": "user"}}})));
    assert_eq!(error.expect_err("a sum of text").code, codes::INVALID_METRIC);
}
