//! Questions: what a request means, what is refused and with which words, and that the echo asks the same again.

use std::cell::Cell;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::filter::Comparison;
use crate::input_error::codes;
use crate::schema::DatasetDefinition;
use crate::time::RangeWord;

/// 2026-03-15T10:20:30Z, a Sunday.
const NOW: Timestamp = Timestamp(1_773_570_030_000_000);

fn dataset() -> Arc<Dataset> {
    let json = json!({
        "time": "ts",
        "columns": {"channel": "string", "user": "string", "is_robot": "bool", "added": "int", "score": "float",
                    "cost": "money", "tags": "strings", "props": "map"},
        "metrics": {"edits": {"agg": "count"},
                    "added": {"agg": "sum", "column": "added"},
                    "first_user": {"agg": "first", "column": "user"},
                    "share": {"agg": "ratio", "numerator": {"agg": "count", "filters": [["is", "is_robot", [true]]]},
                              "denominator": "edits"}}
    });
    let definition: DatasetDefinition = serde_json::from_value(json).expect("a definition");
    Arc::new(Dataset::compile("edits", definition).expect("valid"))
}

fn resolve_at(
    request: &QueryRequest,
    first_row: &dyn Fn() -> Option<Timestamp>,
) -> Result<Query, QueryError> {
    let project = ProjectName::new("wiki").expect("a name");
    resolve(request, &ResolveContext { dataset: dataset(), project, now: NOW, first_row })
}

fn ask(json: Value) -> Result<Query, QueryError> {
    resolve_at(&QueryRequest::from_json(&json)?, &|| None)
}

/// A question with `members` over the least that is needed.
fn with(members: Value) -> Value {
    let mut json = json!({"dataset": "edits", "metrics": ["edits"]});
    let members = members.as_object().expect("an object").clone();
    json.as_object_mut().expect("an object").extend(members);
    json
}

fn instant(text: &str) -> Timestamp {
    crate::time::parse_timestamp(text, &Zone::utc()).expect("a time")
}

fn order_of(json: Value) -> Vec<(OrderTarget, bool)> {
    let query = ask(json).expect("valid");
    query.order.iter().map(|key| (key.target, key.descending)).collect()
}

#[test]
fn the_contracts_example_resolves() {
    let query = ask(json!({
        "dataset": "edits", "project": "wiki",
        "date_range": ["2015-09-12T00:00:00Z", "2015-09-12T12:00:00Z"],
        "timezone": "Asia/Kolkata",
        "metrics": ["edits", "added", {"agg": "p95", "column": "added", "as": "p95"}],
        "dimensions": ["time:hour", "channel"],
        "filters": [["is", "is_robot", [false]], ["not", ["contains", "channel", ["zh"]]]],
        "having": [["gt", "edits", 10]],
        "order_by": [["edits", "desc"]],
        "pagination": {"limit": 100, "cursor": null},
        "include": {"totals": true, "total_rows": true, "fill": true, "explain": true},
        "compare": "previous_period", "format": "rows",
        "exact": false, "max_staleness_ms": 100, "min_version": null
    }));
    let query = query.expect("the example is valid");
    assert_eq!(query.range.from, instant("2015-09-12T00:00:00Z"));
    assert_eq!(query.range.to, Some(instant("2015-09-12T12:00:00Z")));
    assert_eq!(query.compare.map(|range| range.from), Some(instant("2015-09-11T12:00:00Z")));
    assert_eq!(query.zone.name(), "Asia/Kolkata");
    assert_eq!(query.time_dimension(), Some((0, Granularity::Hour)));
    assert_eq!(query.metrics[2].name, "p95");
    assert_eq!((query.limit, query.offset), (100, 0));
    let order = HavingComparison::Order(Comparison::Gt);
    assert_eq!(
        query.having,
        Having::And(vec![Having::Compare { metric: 0, how: order, values: vec![Some(10.0)] }])
    );
    assert!(query.include.fill && query.include.totals && !query.include.partial);
}

#[test]
fn the_order_is_total_and_has_the_contracts_default() {
    use OrderTarget::{Dimension, Metric};
    let cases = [
        (json!({"metrics": ["edits", "added"]}), vec![(Metric(0), true)]),
        (
            json!({"dimensions": ["user", "channel"]}),
            vec![(Metric(0), true), (Dimension(0), false), (Dimension(1), false)],
        ),
        (json!({"dimensions": ["user", "time:day"]}), vec![(Dimension(1), false), (Dimension(0), false)]),
        (
            json!({"dimensions": ["user", "time"], "order_by": [["edits", "asc"], ["time", "desc"]]}),
            vec![(Metric(0), false), (Dimension(1), true), (Dimension(0), false)],
        ),
        (
            json!({"dimensions": ["time:day", "user"], "order_by": [["time:day", "desc"]]}),
            vec![(Dimension(0), true), (Dimension(1), false)],
        ),
        (json!({"dimensions": ["user"], "order_by": [["user", "desc"]]}), vec![(Dimension(0), true)]),
    ];
    for (members, expected) in cases {
        assert_eq!(order_of(with(members.clone())), expected, "{members}");
    }
}

#[test]
fn a_bare_time_takes_its_width_from_the_range() {
    let width = |range: Value, zone: &str| {
        let query =
            ask(with(json!({"dimensions": ["time"], "date_range": range, "timezone": zone}))).expect("valid");
        query.time_dimension().map(|(_, granularity)| granularity.name())
    };
    let cases = [
        (json!("60m"), "minute"),
        (json!("1h"), "minute"),
        (json!("61m"), "5m"),
        (json!("6h"), "5m"),
        (json!("24h"), "hour"),
        (json!("48h"), "hour"),
        (json!("49h"), "day"),
        (json!("7d"), "day"),
        (json!("92d"), "day"),
        (json!("12mo"), "month"),
        (json!("day"), "hour"),
        (json!(["2026-01-01", "2026-04-02"]), "day"),
        (json!(["2026-01-01", "2026-04-03"]), "month"),
        (json!(["2026-03-15T10:00:00Z", null]), "minute"),
        (json!(["2026-03-01", null]), "day"),
    ];
    for (range, expected) in cases {
        assert_eq!(width(range.clone(), "UTC"), Some(expected), "{range}");
    }
    // 92 local days that hold a 25-hour day.
    assert_eq!(width(json!(["2026-09-01", "2026-12-01"]), "Europe/Berlin"), Some("day"));
}

#[test]
fn ranges_default_and_stay_open() {
    let range = |members: Value| ask(with(members)).expect("valid").range;
    let default = range(json!({}));
    assert_eq!((default.from, default.to), (instant("2026-03-14T10:20:00Z"), None));
    let floored = range(json!({"dimensions": ["time:hour"]}));
    assert_eq!(floored.from, instant("2026-03-14T10:00:00Z"));
    let since = range(json!({"date_range": ["2026-03-01", null], "timezone": "Asia/Kolkata"}));
    assert_eq!((since.from, since.to), (instant("2026-02-28T18:30:00Z"), None));
    let numbers = range(json!({"date_range": [1_700_000_000, 1_700_003_600_000_i64]}));
    assert_eq!(numbers.to, Some(Timestamp(1_700_003_600_000_000)));
    let compared =
        ask(with(json!({"date_range": ["2026-03-15T10:00:30Z", null], "compare": "previous_period"})));
    let compared = compared.expect("valid").compare.expect("asked for");
    assert_eq!(
        (compared.from, compared.to),
        (instant("2026-03-15T09:40:30Z"), Some(instant("2026-03-15T10:00:30Z")))
    );
}

#[test]
fn the_first_row_is_looked_up_for_all_only() {
    let calls = Cell::new(0);
    let first_row = || {
        calls.set(calls.get() + 1);
        Some(instant("2020-01-01T00:00:00Z"))
    };
    let request = |range: &str| QueryRequest::from_json(&with(json!({"date_range": range}))).expect("valid");
    resolve_at(&request("7d"), &first_row).expect("valid");
    assert_eq!(calls.get(), 0);
    let query = resolve_at(&request("all"), &first_row).expect("valid");
    assert_eq!((query.range.from, query.range.word), (instant("2020-01-01T00:00:00Z"), Some(RangeWord::All)));
    let empty = resolve_at(&request("all"), &|| None).expect("valid");
    assert_eq!(empty.range.from, NOW);
}

#[test]
fn unnamed_metrics_get_names_that_differ() {
    let query = ask(json!({"dataset": "edits", "dimensions": ["channel"], "metrics": [
        {"agg": "count"}, {"agg": "count", "filters": [["exists", "user"]]}, {"agg": "p99.9", "column": "added"},
        {"agg": "uniq", "column": "props.plan"}, {"agg": "sum", "column": "added"}, {"agg": "sum", "column": "cost", "as": "sum_added"},
        {"agg": "rate"}, {"agg": "rate", "column": "added"}, {"agg": "ratio", "numerator": "edits", "denominator": "added"}]}));
    let names: Vec<String> = query.expect("valid").metrics.into_iter().map(|metric| metric.name).collect();
    assert_eq!(
        names,
        [
            "count",
            "count_2",
            "p99_9_added",
            "uniq_props_plan",
            "sum_added_2",
            "sum_added",
            "rate",
            "rate_added",
            "ratio"
        ]
    );
}

#[test]
fn faults_are_named_with_place_and_remedy() {
    let metric = |value: Value| with(json!({"metrics": [value]}));
    let cases = [
        (json!([]), codes::INVALID_TYPE, "", "a question is an object"),
        (json!({"metrics": ["edits"]}), codes::MISSING_FIELD, "dataset", "needs 'dataset'"),
        (json!({"dataset": "edits"}), codes::MISSING_FIELD, "metrics", "needs 'metrics'"),
        (with(json!({"metrics": []})), codes::MISSING_FIELD, "metrics", "{\"agg\": \"count\"}"),
        (with(json!({"metrcs": []})), codes::UNKNOWN_FIELD, "metrcs", "did you mean 'metrics'?"),
        (
            with(json!({"others": true, "exact": true, "metrics": [{"agg": "p95", "column": "added"}]})),
            codes::INVALID_VALUE,
            "others",
            "leave 'exact' out",
        ),
        (
            with(json!({"others": true, "metrics": [{"agg": "count", "as": "others"}]})),
            codes::DUPLICATE_NAME,
            "others",
            "with 'as'",
        ),
        (with(json!({"others": 1})), codes::INVALID_TYPE, "others", "true or false"),
        (with(json!({"limit": 5})), codes::UNKNOWN_FIELD, "limit", "unknown member 'limit'"),
        (with(json!({"project": "A b"})), codes::INVALID_NAME, "project", "a-z"),
        (with(json!({"project": "a", "site_id": "b"})), codes::INVALID_VALUE, "site_id", "differ"),
        (with(json!({"dataset": 5})), codes::INVALID_TYPE, "dataset", "must be text, not 5"),
        (with(json!({"timezone": "Asia/Kolkatta"})), codes::UNKNOWN_TIMEZONE, "timezone", "Asia/Kolkata"),
        (with(json!({"date_range": "7x"})), codes::INVALID_DATE_RANGE, "date_range", "7d"),
        (with(json!({"date_range": ["2026-01-01"]})), codes::INVALID_DATE_RANGE, "date_range", "[from, to]"),
        (with(json!({"date_range": 7})), codes::INVALID_DATE_RANGE, "date_range", "7 is not a date range"),
        (
            with(json!({"date_range": ["2026-02-30", "2026-03-01"]})),
            codes::INVALID_TIME,
            "date_range[0]",
            "calendar",
        ),
        (
            with(json!({"date_range": ["2026-01-01", true]})),
            codes::INVALID_TIME,
            "date_range[1]",
            "not a time",
        ),
        (
            with(json!({"date_range": ["2026-02-01", "2026-01-01"]})),
            codes::INVALID_DATE_RANGE,
            "date_range",
            "before",
        ),
        (with(json!({"date_range": [null, null]})), codes::INVALID_TIME, "date_range[0]", "not a time"),
        (metric(json!("edit")), codes::UNKNOWN_METRIC, "metrics[0]", "did you mean 'edits'?"),
        (metric(json!("count")), codes::UNKNOWN_METRIC, "metrics[0]", "{\"agg\": \"count\"}"),
        (metric(json!(5)), codes::INVALID_METRIC, "metrics[0]", "the name of a metric"),
        (metric(json!({"column": "added"})), codes::MISSING_FIELD, "metrics[0].agg", "count, sum"),
        (
            metric(json!({"agg": "sum", "colum": "added"})),
            codes::UNKNOWN_FIELD,
            "metrics[0].colum",
            "did you mean 'column'?",
        ),
        (
            metric(json!({"agg": "sum", "column": "channel"})),
            codes::INVALID_METRIC,
            "metrics[0].column",
            "int, float or money",
        ),
        (
            metric(json!({"agg": "count", "column": "user"})),
            codes::INVALID_METRIC,
            "metrics[0].column",
            "[\"exists\", \"user\"]",
        ),
        (
            metric(json!({"agg": "count", "filters": [["is", "x", [1]]]})),
            codes::UNKNOWN_COLUMN,
            "metrics[0].filters[0][1]",
            "'x'",
        ),
        (
            metric(json!({"agg": "ratio", "numerator": "edits", "denominator": "share"})),
            codes::INVALID_METRIC,
            "metrics[0].denominator",
            "plain aggregate",
        ),
        (
            metric(json!({"agg": "ratio", "numerator": "first_user", "denominator": "edits"})),
            codes::INVALID_METRIC,
            "metrics[0].numerator",
            "number",
        ),
        (
            metric(json!({"agg": "ratio", "numerator": {"agg": "count", "as": "n"}, "denominator": "edits"})),
            codes::INVALID_METRIC,
            "metrics[0].numerator.as",
            "leave 'as' out",
        ),
        (metric(json!({"agg": "count", "as": ""})), codes::INVALID_NAME, "metrics[0].as", "1 to 128"),
        (with(json!({"metrics": ["edits", "edits"]})), codes::DUPLICATE_NAME, "metrics[1]", "'as'"),
        (
            with(json!({"metrics": ["added"], "dimensions": ["added"]})),
            codes::DUPLICATE_NAME,
            "metrics[0]",
            "'as'",
        ),
        (with(json!({"metrics": vec!["edits"; 101]})), codes::LIMIT_EXCEEDED, "metrics", "limit of 100"),
        (
            with(json!({"dimensions": ["chanel"]})),
            codes::UNKNOWN_DIMENSION,
            "dimensions[0]",
            "did you mean 'channel'?",
        ),
        (
            with(json!({"dimensions": ["tiem"]})),
            codes::UNKNOWN_DIMENSION,
            "dimensions[0]",
            "did you mean 'time'?",
        ),
        (
            with(json!({"dimensions": ["time:houer"]})),
            codes::UNKNOWN_DIMENSION,
            "dimensions[0]",
            "did you mean 'hour'?",
        ),
        (with(json!({"dimensions": ["ts"]})), codes::INVALID_DIMENSION, "dimensions[0]", "time:hour"),
        (with(json!({"dimensions": ["props"]})), codes::INVALID_DIMENSION, "dimensions[0]", "props.KEY"),
        (
            with(json!({"dimensions": ["time:hour", "time"]})),
            codes::INVALID_DIMENSION,
            "dimensions[1]",
            "one time dimension",
        ),
        (with(json!({"dimensions": ["user", "user"]})), codes::DUPLICATE_NAME, "dimensions[1]", "twice"),
        (with(json!({"dimensions": [5]})), codes::INVALID_TYPE, "dimensions[0]", "not 5"),
        (with(json!({"dimensions": vec!["user"; 9]})), codes::LIMIT_EXCEEDED, "dimensions", "limit of 8"),
        (with(json!({"filters": ["is", "user", ["x"]]})), codes::INVALID_FILTER, "filters", "brackets"),
        (with(json!({"filters": [["is", "user", [5]]]})), codes::INVALID_VALUE, "filters[0][2][0]", "\"5\""),
        (with(json!({"filters": {}})), codes::INVALID_TYPE, "filters", "a list of filters"),
        (
            with(json!({"having": [["gt", "edit", 1]]})),
            codes::UNKNOWN_METRIC,
            "having[0][1]",
            "did you mean 'edits'?",
        ),
        (with(json!({"having": [["gt", "edits", "x"]]})), codes::INVALID_VALUE, "having[0][2]", "finite"),
        (
            with(json!({"having": [["ge", "edits", 1]]})),
            codes::INVALID_FILTER,
            "having[0][0]",
            "did you mean",
        ),
        (with(json!({"having": [["gt", "edits"]]})), codes::INVALID_FILTER, "having[0]", "METRIC, NUMBER"),
        (with(json!({"having": ["gt", "edits", 1]})), codes::INVALID_FILTER, "having", "brackets"),
        (
            with(json!({"metrics": ["first_user"], "having": [["is", "first_user", [1]]]})),
            codes::INVALID_TYPE,
            "having[0][1]",
            "is none",
        ),
        (
            with(json!({"order_by": [["added", "desc"]]})),
            codes::INVALID_ORDER,
            "order_by[0]",
            "there are: edits",
        ),
        (
            with(json!({"order_by": [["edits", "down"]]})),
            codes::INVALID_VALUE,
            "order_by[0]",
            "'asc' or 'desc'",
        ),
        (
            with(json!({"order_by": [["edits", "asc"], ["edits", "asc"]]})),
            codes::DUPLICATE_NAME,
            "order_by[1]",
            "once",
        ),
        (
            with(json!({"pagination": {"limit": 10_001}})),
            codes::LIMIT_EXCEEDED,
            "pagination.limit",
            "1 to 10000",
        ),
        (with(json!({"pagination": {"limit": 0}})), codes::LIMIT_EXCEEDED, "pagination.limit", "1 to 10000"),
        (with(json!({"pagination": {"limit": -1}})), codes::INVALID_TYPE, "pagination.limit", "from 0 up"),
        (
            with(json!({"pagination": {"page": 1}})),
            codes::UNKNOWN_FIELD,
            "pagination.page",
            "limit, cursor, offset",
        ),
        (
            with(json!({"pagination": {"cursor": "c", "offset": 5}})),
            codes::INVALID_VALUE,
            "pagination.offset",
            "leave",
        ),
        (
            with(json!({"include": {"total": true}})),
            codes::UNKNOWN_FIELD,
            "include.total",
            "did you mean 'totals'?",
        ),
        (with(json!({"include": {"totals": 1}})), codes::INVALID_TYPE, "include.totals", "true or false"),
        (with(json!({"compare": "last_period"})), codes::INVALID_DATE_RANGE, "compare", "previous_period"),
        (
            with(json!({"compare": ["2026-01-01", null]})),
            codes::INVALID_DATE_RANGE,
            "compare",
            "needs an end",
        ),
        (with(json!({"format": "object"})), codes::INVALID_VALUE, "format", "did you mean 'objects'?"),
        (with(json!({"numbers": "text"})), codes::INVALID_VALUE, "numbers", "number or string"),
        (with(json!({"exact": "yes"})), codes::INVALID_TYPE, "exact", "true or false"),
        (
            with(json!({"max_points": 2, "dimensions": ["time"]})),
            codes::LIMIT_EXCEEDED,
            "max_points",
            "3 to 10000",
        ),
        (with(json!({"max_points": 100})), codes::INVALID_VALUE, "max_points", "time:hour"),
    ];
    for (json, code, field, part) in cases {
        let shown = crate::names::excerpt(&json.to_string());
        let error = ask(json).expect_err(&shown);
        assert_eq!(error.code, code, "{shown}: {error:?}");
        assert_eq!(error.field.as_deref().unwrap_or_default(), field, "{shown}: {error:?}");
        assert!(error.message.contains(part), "{shown}: {error}");
    }
}

#[test]
fn filters_of_all_metrics_count_together() {
    let metric = |index: usize| json!({"agg": "count", "as": format!("m{index}"), "filters": vec![json!(["exists", "user"]); 12]});
    let metrics: Vec<Value> = (0..90).map(metric).collect();
    let error = ask(json!({"dataset": "edits", "metrics": metrics})).expect_err("1,080 filters");
    assert_eq!(error.code, codes::LIMIT_EXCEEDED);
}

#[test]
fn the_plain_get_form_means_the_same() {
    let get = |params: &[(&str, &str)]| QueryRequest::from_params(params.iter().copied());
    let plain = get(&[
        ("dataset", "edits"),
        ("metrics", "edits, added"),
        ("dimensions", "time:hour,channel"),
        ("date_range", "7d"),
        ("filters", r#"[["is","is_robot",[false]]]"#),
        ("order_by", "edits:desc,time:hour"),
        ("limit", "5"),
        ("offset", "10"),
        ("include", "totals,fill"),
        ("compare", "2026-01-01,2026-01-07"),
        ("exact", "1"),
        ("others", "true"),
        ("max_points", "50"),
        ("numbers", "string"),
        ("having", r#"[["gt","edits",1]]"#),
        ("min_version", "v1"),
        ("max_staleness_ms", "0"),
        ("site_id", "wiki"),
    ]);
    let posted = QueryRequest::from_json(&json!({
        "dataset": "edits", "metrics": ["edits", "added"], "dimensions": ["time:hour", "channel"], "date_range": "7d",
        "filters": [["is", "is_robot", [false]]], "order_by": [["edits", "desc"], ["time:hour", "asc"]],
        "pagination": {"limit": 5, "offset": 10}, "include": {"totals": true, "fill": true}, "compare": ["2026-01-01", "2026-01-07"],
        "exact": true, "others": true, "max_points": 50, "numbers": "string", "having": [["gt", "edits", 1]], "min_version": "v1",
        "max_staleness_ms": 0, "site_id": "wiki"}));
    assert_eq!(plain, posted);
    let base = [("dataset", "edits"), ("metrics", r#"[{"agg":"count"}]"#)];
    let since = get(&[base[0], base[1], ("date_range", "1700000000,")]).expect("valid").date_range;
    assert_eq!(
        since,
        Some(DateRange::Since(crate::time::RangeBound::Instant(Timestamp(1_700_000_000_000_000))))
    );
    let cases = [
        (("metric", "edits"), codes::UNKNOWN_FIELD, "did you mean 'metrics'?"),
        (("dataset", "edits"), codes::DUPLICATE_NAME, "twice"),
        (("limit", "many"), codes::INVALID_TYPE, "whole number"),
        (("filters", "is"), codes::INVALID_VALUE, "JSON"),
        (("include", "total"), codes::UNKNOWN_FIELD, "did you mean 'totals'?"),
        (("exact", "maybe"), codes::INVALID_TYPE, "true or false"),
    ];
    for (param, code, part) in cases {
        let error = get(&[base[0], base[1], param]).expect_err(param.0);
        assert_eq!(error.code, code, "{param:?}: {error:?}");
        assert!(error.message.contains(part), "{param:?}: {error}");
    }
}

/// The echo of a question and the question the echo asks.
fn echo_twice(json: &Value) -> (Value, Value, Query, Query) {
    let request = QueryRequest::from_json(json).expect("valid");
    let query = resolve_at(&request, &|| None).expect("valid");
    let echo = normalised(&query);
    let again_request = QueryRequest::from_json(&echo).expect("the echo is a request");
    let again = resolve_at(&again_request, &|| None).expect("the echo resolves");
    (echo, normalised(&again), query, again)
}

#[test]
fn the_echo_fills_in_defaults() {
    let (echo, ..) = echo_twice(&with(json!({"dimensions": ["time"]})));
    let expected = json!({
        "dataset": "edits", "project": "wiki", "date_range": ["2026-03-14T10:00:00Z", null], "timezone": "UTC",
        "metrics": [{"agg": "count", "as": "edits"}], "dimensions": ["time:hour"], "filters": [], "having": [],
        "order_by": [["time:hour", "asc"]], "pagination": {"limit": 1000, "offset": 0},
        "include": {"totals": false, "total_rows": false, "fill": false, "explain": false, "partial": false,
                    "others": false},
        "compare": null, "exact": false, "max_points": null
    });
    assert_eq!(echo.to_string(), expected.to_string());
}

#[test]
fn questions_that_mean_the_same_have_one_echo() {
    let pairs = [
        (
            json!({"filters": [["is", "user", ["b", "a"]], ["exists", "tags"]]}),
            json!({"filters": [["exists", "tags"], ["is", "user", ["a", "b", "a"]]], "project": "wiki"}),
        ),
        (json!({"metrics": ["edits"]}), json!({"metrics": [{"agg": "count", "as": "edits"}]})),
        (
            json!({"dimensions": ["user"]}),
            json!({"dimensions": ["user"], "order_by": [["edits", "desc"]], "timezone": "utc"}),
        ),
        (
            json!({"date_range": "24h"}),
            json!({"pagination": {"limit": 1000, "offset": 0}, "include": {"fill": true}}),
        ),
        (
            json!({"date_range": ["2026-01-01", "2026-01-02"]}),
            json!({"date_range": [1_767_225_600, "2026-01-03T05:30:00+05:30"], "max_staleness_ms": 0}),
        ),
    ];
    for (one, other) in pairs {
        let (first, ..) = echo_twice(&with(one.clone()));
        let (second, ..) = echo_twice(&with(other.clone()));
        assert_eq!(first.to_string(), second.to_string(), "{one} and {other}");
    }
}

fn any_metric() -> impl Strategy<Value = Value> {
    let filters = prop_oneof![
        Just(json!([])),
        Just(json!([["is_not", "user", ["a", null]]])),
        Just(json!([["gt", "cost", "0.5"], ["matches", "props.x", ["^a"], {"case_sensitive": false}]])),
    ];
    let metric = prop_oneof![
        Just(json!({"agg": "count"})),
        Just(json!({"agg": "p99.9", "column": "score"})),
        Just(json!({"agg": "uniq", "column": "props.plan"})),
        Just(json!({"agg": "rate", "column": "cost"})),
        Just(json!({"agg": "last", "column": "ts"})),
        Just(
            json!({"agg": "ratio", "numerator": "added", "denominator": {"agg": "count", "filters": [["exists", "user"]]}})
        ),
    ];
    (metric, filters).prop_map(|(mut metric, filters)| {
        metric["filters"] = filters;
        metric
    })
}

fn any_request() -> impl Strategy<Value = Value> {
    let ranges = vec![
        json!("7d"),
        json!("day"),
        json!("90m"),
        json!("6mo"),
        json!(["2026-01-01", null]),
        json!(["2025-11-01", "2026-02-01"]),
    ];
    let dimensions = vec![
        json!([]),
        json!(["time"]),
        json!(["channel", "time:week"]),
        json!(["tags", "props.plan"]),
        json!(["time:15m"]),
    ];
    let filters = vec![
        json!([]),
        json!([["or", [["lt", "added", 5.5], ["is", "tags", ["x", null]]]]]),
        json!([["gte", "ts", "2026-01-01"], ["not", ["is", "cost", [0.1, "7"]]]]),
    ];
    let having = vec![
        json!([]),
        json!([["or", [["gt", "m0", 1.5], ["not", ["is", "m0", [1, null]]]]], ["exists", "m0"]]),
    ];
    let zones = vec!["UTC", "Asia/Kolkata", "Australia/Lord_Howe", "America/New_York"];
    let compares = vec![Value::Null, json!("previous_period"), json!("year_over_year"), json!("30d")];
    let select = prop::sample::select::<Value>;
    (select(ranges), select(dimensions), select(filters), select(having), prop::sample::select(zones), select(compares),
     prop::collection::vec(any_metric(), 1..4), any::<(bool, bool, bool)>(), 1_u32..10_000)
        .prop_map(|(range, dimensions, filters, having, zone, compare, mut metrics, (fill, exact, last), limit)| {
            metrics[0]["as"] = json!("m0");
            if metrics[0]["agg"] == "last" {
                metrics[0] = json!({"agg": "count", "as": "m0"});
            }
            let order = if last { json!([["m0", "asc"]]) } else { json!([]) };
            json!({"dataset": "edits", "date_range": range, "dimensions": dimensions, "filters": filters, "having": having,
                   "timezone": zone, "compare": compare, "metrics": metrics, "include": {"fill": fill}, "exact": exact,
                   "order_by": order, "pagination": {"limit": limit}})
        })
}

proptest! {
    #[test]
    fn the_echo_asks_the_same_again(json in any_request()) {
        let (echo, echo_again, query, again) = echo_twice(&json);
        prop_assert_eq!(echo.to_string(), echo_again.to_string());
        prop_assert_eq!(query.metrics, again.metrics);
        prop_assert_eq!(query.dimensions, again.dimensions);
        prop_assert_eq!(query.filter, again.filter);
        prop_assert_eq!(query.having, again.having);
        prop_assert_eq!(query.order, again.order);
        prop_assert_eq!((query.range.from, query.range.to), (again.range.from, again.range.to));
        prop_assert_eq!(query.compare.map(|range| (range.from, range.to)), again.compare.map(|range| (range.from, range.to)));
    }
}
