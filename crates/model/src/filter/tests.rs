//! Filters: what each form means, what is refused, and parse ∘ print = id.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::input_error::codes;
use crate::limits::FILTER_DEPTH_MAX;
use crate::schema::{ColumnType, Dataset, DatasetDefinition};
use crate::time::Zone;

fn dataset() -> Dataset {
    let json = json!({"time": "ts", "columns": {"channel": "string", "ok": "bool", "added": "int", "score": "float",
                      "cost": "money", "tags": "strings", "props": "map"}});
    let definition: DatasetDefinition = serde_json::from_value(json).expect("a definition");
    Dataset::compile("d", definition).expect("valid")
}

fn column(name: &str) -> ColumnRef {
    dataset().resolve_column(name).expect("a column of the test dataset")
}

fn parse(json: Value) -> Result<Filter, FilterError> {
    let zone = Zone::get("Asia/Kolkata").expect("a zone");
    parse_filter(&json, &dataset(), &zone)
}

fn is(name: &str, values: Vec<Scalar>) -> Filter {
    Filter::Is { column: column(name), values, case_sensitive: true }
}

fn text(name: &str, how: TextMatch, pattern: &str, case_sensitive: bool) -> Filter {
    Filter::Text { column: column(name), how, patterns: vec![pattern.to_owned()], case_sensitive }
}

fn compare(name: &str, how: Comparison, value: Scalar) -> Filter {
    Filter::Compare { column: column(name), how, value }
}

fn not(filter: Filter) -> Filter {
    Filter::Not(Box::new(filter))
}

#[test]
fn every_operator_reads() {
    let name = |text: &str| Scalar::String(text.to_owned());
    let cases = [
        (json!(["is", "channel", ["a", null]]), is("channel", vec![name("a"), Scalar::Null])),
        (json!(["is_not", "channel", ["a"]]), not(is("channel", vec![name("a")]))),
        (json!(["is", "ok", [true]]), is("ok", vec![Scalar::Bool(true)])),
        (
            json!(["is", "added", [5, "6", 7.0]]),
            is("added", vec![Scalar::Int(5), Scalar::Int(6), Scalar::Int(7)]),
        ),
        (json!(["is", "score", [1, 0.5]]), is("score", vec![Scalar::Float(1.0), Scalar::Float(0.5)])),
        (
            json!(["is", "cost", [0.1, "0.000000001"]]),
            is("cost", vec![Scalar::Money(100_000_000), Scalar::Money(1)]),
        ),
        (json!(["is", "tags", ["a"]]), is("tags", vec![name("a")])),
        (json!(["is", "props.plan", ["pro"]]), is("props.plan", vec![name("pro")])),
        (json!(["is", "props", [null]]), not(Filter::Exists { column: column("props") })),
        (json!(["is", "ts", [1_000]]), is("ts", vec![Scalar::Time(1_000_000_000)])),
        (json!(["contains", "channel", ["a"]]), text("channel", TextMatch::Contains, "a", true)),
        (json!(["contains_not", "channel", ["a"]]), not(text("channel", TextMatch::Contains, "a", true))),
        (json!(["starts_with", "tags", ["a"]]), text("tags", TextMatch::StartsWith, "a", true)),
        (json!(["ends_with", "props.x", ["a"]]), text("props.x", TextMatch::EndsWith, "a", true)),
        (
            json!(["matches", "channel", ["^a"], {"case_sensitive": false}]),
            text("channel", TextMatch::Regex, "^a", false),
        ),
        (json!(["matches_not", "channel", ["^a"], {}]), not(text("channel", TextMatch::Regex, "^a", true))),
        (json!(["gt", "channel", "m"]), compare("channel", Comparison::Gt, name("m"))),
        (json!(["gte", "ts", "1970-01-01T05:30:00"]), compare("ts", Comparison::Gte, Scalar::Time(0))),
        (json!(["lt", "ts", "1970-01-01T00:00:01Z"]), compare("ts", Comparison::Lt, Scalar::Time(1_000_000))),
        (json!(["exists", "props"]), Filter::Exists { column: column("props") }),
        (json!(["and", []]), Filter::all()),
        (json!(["or", [["exists", "ok"]]]), Filter::Or(vec![Filter::Exists { column: column("ok") }])),
        (json!(["not", ["exists", "ok"]]), not(Filter::Exists { column: column("ok") })),
    ];
    for (json, expected) in cases {
        assert_eq!(parse(json.clone()), Ok(expected), "{json}");
    }
}

#[test]
fn literals_between_values_keep_comparisons_right() {
    use Comparison::{Gt, Gte, Lt, Lte};
    let cases = [
        (json!(["gt", "added", 5.5]), compare("added", Gt, Scalar::Int(5))),
        (json!(["gte", "added", 5.5]), compare("added", Gt, Scalar::Int(5))),
        (json!(["lt", "added", 5.5]), compare("added", Lte, Scalar::Int(5))),
        (json!(["lte", "added", -5.5]), compare("added", Lte, Scalar::Int(-6))),
        (json!(["lt", "added", 1e30]), compare("added", Lte, Scalar::Int(i64::MAX))),
        (json!(["gt", "added", 18_446_744_073_709_551_615_u64]), compare("added", Gt, Scalar::Int(i64::MAX))),
        (json!(["gt", "added", -1e30]), compare("added", Gte, Scalar::Int(i64::MIN))),
        (json!(["lt", "added", -1e30]), compare("added", Lt, Scalar::Int(i64::MIN))),
        (json!(["gt", "cost", "0.1234567891"]), compare("cost", Gt, Scalar::Money(123_456_789))),
        (json!(["lte", "cost", "-0.1234567891"]), compare("cost", Lte, Scalar::Money(-123_456_790))),
        // 2^53 + 1 lies between two doubles.
        (
            json!(["lt", "score", 9_007_199_254_740_993_i64]),
            compare("score", Lte, Scalar::Float(9_007_199_254_740_992.0)),
        ),
        (
            json!(["gte", "score", 9_007_199_254_740_993_i64]),
            compare("score", Gt, Scalar::Float(9_007_199_254_740_992.0)),
        ),
        (json!(["lt", "ts", "1970-01-01T00:00:00.0000015Z"]), compare("ts", Lte, Scalar::Time(1))),
        (
            json!(["gte", "ts", 1_700_000_000_000_000_001_i64]),
            compare("ts", Gt, Scalar::Time(1_700_000_000_000_000)),
        ),
        (json!(["is", "added", [5.5]]), Filter::none()),
        (json!(["is", "added", [5.5, 5]]), is("added", vec![Scalar::Int(5)])),
        (json!(["is_not", "cost", ["1e-10"]]), not(Filter::none())),
    ];
    for (json, expected) in cases {
        assert_eq!(parse(json.clone()), Ok(expected), "{json}");
    }
}

#[test]
fn faults_are_named_with_place_and_remedy() {
    let deep = (0..40).fold(json!(["exists", "ok"]), |inner, _| json!(["not", inner]));
    let cases = [
        (json!("x"), codes::INVALID_FILTER, "", "not a filter"),
        (json!([]), codes::INVALID_FILTER, "", "not a filter"),
        (json!([5]), codes::INVALID_FILTER, "", "not a filter"),
        (json!(["contians", "channel", ["x"]]), codes::INVALID_FILTER, "[0]", "did you mean 'contains'?"),
        (json!(["is", "chanel", ["x"]]), codes::UNKNOWN_COLUMN, "[1]", "did you mean 'channel'?"),
        (json!(["is", "channel.x", ["x"]]), codes::UNKNOWN_COLUMN, "[1]", "has no keys"),
        (json!(["is", "prop.x", ["x"]]), codes::UNKNOWN_COLUMN, "[1]", "did you mean 'props'?"),
        (json!(["is", "props.", ["x"]]), codes::UNKNOWN_COLUMN, "[1]", "props.KEY"),
        (json!(["is", 5, ["x"]]), codes::INVALID_FILTER, "", "name of a column"),
        (json!(["is", "channel", "x"]), codes::INVALID_FILTER, "[2]", "must be a list"),
        (json!(["is", "channel", []]), codes::INVALID_FILTER, "[2]", "empty"),
        (json!(["is", "channel", [5]]), codes::INVALID_VALUE, "[2][0]", "\"5\""),
        (json!(["is", "ok", [1]]), codes::INVALID_VALUE, "[2][0]", "true or false"),
        (json!(["is", "added", ["x"]]), codes::INVALID_VALUE, "[2][0]", "column 'added' of type int"),
        (json!(["is", "added", [true]]), codes::INVALID_VALUE, "[2][0]", "write a number"),
        (json!(["is", "score", ["inf"]]), codes::INVALID_VALUE, "[2][0]", "finite"),
        (json!(["is", "score", ["1e999"]]), codes::INVALID_VALUE, "[2][0]", "finite"),
        (json!(["gt", "cost", 5_000_000.123_456_789]), codes::INVALID_VALUE, "[2]", "text in quotes"),
        (json!(["is", "props", ["x"]]), codes::INVALID_VALUE, "[2][0]", "props.plan"),
        (json!(["is", "ts", ["soon"]]), codes::INVALID_TIME, "[2][0]", "RFC 3339"),
        (
            json!(["is", "channel", ["x"], {"case": false}]),
            codes::UNKNOWN_FIELD,
            "[3].case",
            "case_sensitive",
        ),
        (
            json!(["is", "channel", ["x"], {"case_sensitive": 1}]),
            codes::INVALID_VALUE,
            "[3].case_sensitive",
            "true or false",
        ),
        (json!(["is", "channel", ["x"], "y"]), codes::INVALID_FILTER, "[3]", "case_sensitive"),
        (json!(["contains", "added", ["x"]]), codes::INVALID_FILTER, "[1]", "of type int"),
        (json!(["contains", "props", ["x"]]), codes::INVALID_FILTER, "[1]", "props.KEY"),
        (json!(["contains", "channel", [null]]), codes::INVALID_VALUE, "[2][0]", "[null]"),
        (json!(["matches", "channel", ["a("]]), codes::INVALID_REGEX, "[2][0]", "unclosed group"),
        (json!(["matches", "channel", ["(a)\\1"]]), codes::INVALID_REGEX, "[2][0]", "backreference"),
        (
            json!(["matches", "channel", ["((a{100}){100}){100}"]]),
            codes::LIMIT_EXCEEDED,
            "[2][0]",
            "too large",
        ),
        (json!(["gt", "ok", true]), codes::INVALID_FILTER, "[1]", "use 'is'"),
        (json!(["gt", "added", null]), codes::INVALID_VALUE, "[2]", "null"),
        (json!(["gt", "added", [1]]), codes::INVALID_VALUE, "[2]", "a list"),
        (json!(["gt", "added"]), codes::INVALID_FILTER, "", "one value"),
        (json!(["exists", "ok", 1]), codes::INVALID_FILTER, "", "nothing else"),
        (json!(["and", ["exists", "ok"]]), codes::INVALID_FILTER, "[1][0]", "not a filter"),
        (json!(["or", "x"]), codes::INVALID_FILTER, "", "[FILTER"),
        (json!(["not"]), codes::INVALID_FILTER, "", "one filter"),
        (
            json!(["and", [["exists", "ok"], ["not", ["gt", "ok", 1]]]]),
            codes::INVALID_FILTER,
            "[1][1][1][1]",
            "use 'is'",
        ),
        (deep, codes::LIMIT_EXCEEDED, "[1][1]", "deeper than 32"),
        (json!(["is", "added", vec![1; 10_001]]), codes::LIMIT_EXCEEDED, "[2]", "10000"),
        (
            json!(["or", vec![json!(["exists", "ok"]); 1_000]]),
            codes::LIMIT_EXCEEDED,
            "[1][999]",
            "1000 filters",
        ),
        (json!(["matches", "channel", vec!["a"; 65]]), codes::LIMIT_EXCEEDED, "[2][64]", "64 regular"),
    ];
    for (json, code, field, part) in cases {
        let shown = crate::names::excerpt(&json.to_string());
        let error = parse(json).expect_err(&shown);
        assert_eq!(error.code, code, "{shown}: {error:?}");
        assert!(error.field.as_deref().is_some_and(|at| at.starts_with(field)), "{shown}: {error:?}");
        assert!(error.message.contains(part), "{shown}: {error}");
    }
}

#[test]
fn a_list_of_filters_holds_together() {
    let parse = |json: Value| parse_filters(&json, &dataset(), &Zone::utc());
    assert_eq!(parse(Value::Null), Ok(Filter::all()));
    assert_eq!(parse(json!([])), Ok(Filter::all()));
    assert_eq!(parse(json!([["exists", "ok"]])), Ok(Filter::Exists { column: column("ok") }));
    let error = parse(json!(["exists", "ok"])).expect_err("brackets are missing");
    assert!(error.message.contains("one more pair of brackets"), "{error}");
    let error = parse(json!([["exists", "ok"], ["exists", "no"]])).expect_err("an unknown column");
    assert_eq!(error.field.as_deref(), Some("filters[1][1]"));
}

#[test]
fn what_was_accepted_stays_readable_when_stored() {
    let dataset = dataset();
    let deepest =
        |leaf: Value| (1..FILTER_DEPTH_MAX).fold(leaf, |inner, _| json!(["or", [["exists", "ok"], inner]]));
    let lists = [
        Value::Array((0..1_000).map(|value| json!(["is_not", "added", [value]])).collect()),
        Value::Array((0..500).map(|value| json!(["not", ["gt", "added", value]])).collect()),
        json!([deepest(json!(["is_not", "channel", ["x"]])), ["exists", "added"]]),
    ];
    for list in lists {
        let filter = parse_filters(&list, &dataset, &Zone::utc()).expect("within the limits");
        let text = to_json(&filter, &dataset).to_string();
        let stored = serde_json::from_str(&text).expect("JSON text");
        assert_eq!(parse_stored(&stored, &dataset), Ok(filter));
    }
}

#[test]
fn rearranged_filters_have_one_canonical_form() {
    let canonical = |json: Value| parse(json).expect("valid").canonical();
    let pairs = [
        (json!(["is", "added", [2, 1, 2]]), json!(["is", "added", [1, 2]])),
        (
            json!(["and", [["exists", "ok"], ["exists", "added"]]]),
            json!(["and", [["exists", "added"], ["exists", "ok"]]]),
        ),
        (json!(["and", [["and", [["exists", "ok"]]], ["exists", "ok"]]]), json!(["exists", "ok"])),
        (json!(["not", ["not", ["exists", "ok"]]]), json!(["exists", "ok"])),
        (json!(["and", [["exists", "ok"], ["is", "added", [0.5]]]]), json!(["or", []])),
        (json!(["or", [["exists", "ok"], ["and", []]]]), json!(["and", []])),
        (json!(["contains", "channel", ["b", "a", "b"]]), json!(["contains", "channel", ["a", "b"]])),
        (json!(["is_not", "channel", ["a"]]), json!(["not", ["is", "channel", ["a"]]])),
    ];
    for (one, other) in pairs {
        assert_eq!(canonical(one.clone()), canonical(other.clone()), "{one} and {other}");
    }
}

fn any_scalar(kind: ColumnType) -> BoxedStrategy<Scalar> {
    match kind {
        ColumnType::Bool => any::<bool>().prop_map(Scalar::Bool).boxed(),
        ColumnType::Int => any::<i64>().prop_map(Scalar::Int).boxed(),
        ColumnType::Float => prop::num::f64::NORMAL.prop_map(Scalar::Float).boxed(),
        ColumnType::Money => any::<i64>().prop_map(Scalar::Money).boxed(),
        ColumnType::Time => {
            (-60_000_000_000_000_000_i64..250_000_000_000_000_000).prop_map(Scalar::Time).boxed()
        }
        ColumnType::String | ColumnType::Strings | ColumnType::Map => {
            any::<String>().prop_map(Scalar::String).boxed()
        }
    }
}

fn any_column() -> impl Strategy<Value = (ColumnRef, ColumnType)> {
    let names = ["ts", "channel", "ok", "added", "score", "cost", "tags", "props.plan", "props.a.b"];
    prop::sample::select(names.to_vec()).prop_map(|name| (column(name), dataset().kind(&column(name))))
}

fn any_leaf() -> impl Strategy<Value = Filter> {
    let is_text = |kind: ColumnType| matches!(kind, ColumnType::String | ColumnType::Strings);
    let is = (any_column(), any::<bool>()).prop_flat_map(move |((column, kind), sensitive)| {
        let value = prop_oneof![1 => Just(Scalar::Null), 4 => any_scalar(kind)];
        let case_sensitive = sensitive || !is_text(kind);
        prop::collection::vec(value, 1..4).prop_map(move |values| Filter::Is {
            column: column.clone(),
            values,
            case_sensitive,
        })
    });
    let hows = vec![TextMatch::Contains, TextMatch::StartsWith, TextMatch::EndsWith, TextMatch::Regex];
    let text = (
        prop::sample::select(vec!["channel", "tags", "props.x"]),
        prop::sample::select(hows),
        prop::collection::vec("[a-z ü.]{0,5}", 1..4),
        any::<bool>(),
    )
        .prop_map(|(name, how, patterns, case_sensitive)| Filter::Text {
            column: column(name),
            how,
            patterns,
            case_sensitive,
        });
    let orders = vec![Comparison::Gt, Comparison::Gte, Comparison::Lt, Comparison::Lte];
    let names = vec!["ts", "channel", "added", "score", "cost", "props.x"];
    let compare = (prop::sample::select(names), prop::sample::select(orders)).prop_flat_map(|(name, how)| {
        any_scalar(dataset().kind(&column(name))).prop_map(move |value| Filter::Compare {
            column: column(name),
            how,
            value,
        })
    });
    prop_oneof![is, text, compare, any_column().prop_map(|(column, _)| Filter::Exists { column })]
}

fn any_filter() -> impl Strategy<Value = Filter> {
    any_leaf().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|part| Filter::Not(Box::new(part))),
        ]
    })
}

proptest! {
    #[test]
    fn printed_filters_read_back_equal(filter in any_filter(), through_text in any::<bool>()) {
        let dataset = dataset();
        let mut json = to_json(&filter, &dataset);
        if through_text {
            json = serde_json::from_str(&json.to_string()).expect("JSON text");
        }
        prop_assert_eq!(parse_filter(&json, &dataset, &Zone::utc()), Ok(filter.clone()));
        prop_assert_eq!(parse_stored(&json, &dataset), Ok(filter));
    }

    #[test]
    fn the_canonical_form_is_stable_and_blind_to_order(filter in any_filter(), other in any_filter()) {
        let canonical = filter.clone().canonical();
        prop_assert_eq!(canonical.clone().canonical(), canonical.clone());
        let forth = Filter::And(vec![filter.clone(), other.clone()]).canonical();
        let back = Filter::And(vec![other, filter.clone(), filter]).canonical();
        prop_assert_eq!(forth, back);
        let dataset = dataset();
        let list = json!([to_json(&canonical, &dataset)]);
        prop_assert_eq!(parse_filters(&list, &dataset, &Zone::utc()), Ok(canonical));
    }

    #[test]
    fn an_int_column_compares_with_any_decimal_as_numbers_do(value in -1_000_i64..1_000, tenths in -10_000_i64..10_000) {
        let literal = format!("{}{}.{}", if tenths < 0 { "-" } else { "" }, tenths.abs() / 10, tenths.abs() % 10);
        for (name, expected) in [("gt", value * 10 > tenths), ("gte", value * 10 >= tenths),
                                 ("lt", value * 10 < tenths), ("lte", value * 10 <= tenths)] {
            let Ok(Filter::Compare { how, value: Scalar::Int(bound), .. }) = parse(json!([name, "added", literal])) else {
                return Err(TestCaseError::fail("a comparison with an int"));
            };
            let holds = match how {
                Comparison::Gt => value > bound,
                Comparison::Gte => value >= bound,
                Comparison::Lt => value < bound,
                Comparison::Lte => value <= bound,
            };
            prop_assert_eq!(holds, expected, "{} {} {}", value, name, literal);
        }
    }

    #[test]
    fn no_json_makes_the_parser_panic(text in "[\\[\\]{}\",a-z0-9.:e-]{0,40}", name in "[a-z.]{0,8}", depth in 0_usize..3) {
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        for operator in ["is", "gt", "matches", "and", "not", "exists"] {
            let mut json = json!([operator, name, value]);
            for _ in 0..depth {
                json = json!(["not", json]);
            }
            let _ = parse(json);
            let _ = parse(json!([operator, "added", value]));
            let _ = parse(json!([operator, "ts", [value]]));
        }
    }
}

#[test]
fn keys_are_shared_text() {
    assert_eq!(column("props.plan").key, Some(Arc::from("plan")));
}
