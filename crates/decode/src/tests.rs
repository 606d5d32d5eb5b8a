//! Every format on the same dataset: values, limits, what is refused and that the rest is kept.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use bytes::Bytes;
use tidewater_columns::{StringsRef, map_key};
use tidewater_model::schema::{Dataset, DatasetDefinition};
use tidewater_model::time::Timestamp;

use super::*;

/// 2026-11-20T00:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp(1_795_132_800_000_000);

pub(crate) fn dataset() -> Dataset {
    let definition = r#"{"time": "ts", "columns": {"model": "string", "tokens": "int", "score": "float",
        "ok": "bool", "cost": "money", "tags": "strings", "props": "map"}}"#;
    let definition = DatasetDefinition::from_json(definition.as_bytes()).expect("a definition");
    Dataset::compile("llm", definition).expect("a dataset")
}

pub(crate) fn options(mapping: &Mapping) -> Options<'_> {
    Options { now: NOW, unknown: Unknown::Reject, rows_max: 1_000, bytes_max: 1 << 20, mapping }
}

pub(crate) fn read(format: Format, body: &[u8]) -> Result<Decoded, DecodeError> {
    read_with(format, body, Unknown::Reject, &Mapping::default())
}

fn read_with(
    format: Format,
    body: &[u8],
    unknown: Unknown,
    mapping: &Mapping,
) -> Result<Decoded, DecodeError> {
    let options = Options { unknown, ..options(mapping) };
    decode(format, &Bytes::copy_from_slice(body), &dataset(), &options)
}

pub(crate) fn column(decoded: &Decoded, name: &str) -> Option<ArrayRef> {
    decoded.batch.column(dataset().column_id(name).expect("a column")).cloned()
}

/// A column's values as short texts, `-` for null.
pub(crate) fn shown(decoded: &Decoded, name: &str) -> Vec<String> {
    let rows = decoded.batch.rows();
    let Some(array) = column(decoded, name) else { return vec!["-".to_owned(); rows] };
    (0..rows).map(|row| shown_value(&array, row)).collect()
}

fn shown_value(array: &ArrayRef, row: usize) -> String {
    if let Some(strings) = StringsRef::new(array) {
        return strings.get(row).unwrap_or("-").to_owned();
    }
    if array.is_null(row) {
        return "-".to_owned();
    }
    match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).to_string(),
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(row);
            list.as_string::<i32>().iter().map(|text| text.unwrap_or("-")).collect::<Vec<_>>().join("|")
        }
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_string::<i32>());
            let entry = |at| format!("{}={}", keys.value(at), values.value(at));
            (0..entries.len()).map(entry).collect::<Vec<_>>().join("|")
        }
        other => format!("{other}"),
    }
}

fn code(result: &Result<Decoded, DecodeError>) -> &'static str {
    match result {
        Ok(decoded) => decoded.errors.first().map_or("", |error| error.code),
        Err(error) => error.code(),
    }
}

#[test]
fn all_types_are_read_from_all_texts() {
    let json = br#"{"ts":"2026-01-02T03:04:05.678901Z","model":"gpt \"4\" \u00e9\ud83d\ude00","tokens":-7,"score":2.5e-1,
        "ok":true,"cost":0.000125,"tags":["a","b\n"],"props":{"plan":"pro","seats":3,"beta":false,"none":null,"deep":{"x":[1, 2]}}}"#;
    let csv = "\u{feff}ts,model,tokens,score,ok,cost,tags,props\r\n2026-01-02T03:04:05.678901Z,\"gpt \"\"4\"\" é😀\",-7,.25,1,\
        0.000125,\"[\"\"a\"\",\"\"b\\n\"\"]\",\"{\"\"plan\"\":\"\"pro\"\",\"\"seats\"\":3,\"\"beta\"\":false,\"\"deep\"\":{\"\"x\"\":[1, 2]}}\"\r\n";
    let line = String::from_utf8_lossy(json).replace('\n', " ");
    for (format, body) in
        [(Format::Json, &json[..]), (Format::Ndjson, line.as_bytes()), (Format::Csv, csv.as_bytes())]
    {
        let decoded = read(format, body).expect("well-formed");
        assert_eq!(decoded.errors, [], "{format:?}");
        assert_eq!(decoded.batch.times(), [1_767_323_045_678_901]);
        assert_eq!(shown(&decoded, "model"), ["gpt \"4\" é😀"]);
        assert_eq!(shown(&decoded, "tokens"), ["-7"]);
        assert_eq!(shown(&decoded, "score"), ["0.25"]);
        assert_eq!(shown(&decoded, "ok"), ["true"]);
        assert_eq!(shown(&decoded, "cost"), ["125000"]);
        assert_eq!(shown(&decoded, "tags"), ["a|b\n"]);
        assert_eq!(shown(&decoded, "props"), ["plan=pro|seats=3|beta=false|deep={\"x\":[1, 2]}"]);
    }
}

#[test]
fn a_row_without_values_is_a_row_at_now() {
    for (format, body) in [
        (Format::Json, "{}"),
        (Format::Ndjson, "\n{\"ts\":null,\"model\":null}\r\n\n"),
        (Format::Csv, "ts,model\n,\n"),
    ] {
        let decoded = read(format, body.as_bytes()).expect("well-formed");
        assert_eq!(decoded.batch.times(), [NOW.0], "{format:?}");
        assert!(decoded.batch.columns()[1..].iter().all(Option::is_none));
    }
}

/// One bad value between two good rows.
#[test]
fn a_bad_value_costs_its_row_only() {
    let long = format!(r#""model":"{}""#, "x".repeat((1 << 20) + 1));
    let deep = format!(r#""props":{{"a":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let deep_known = format!(r#""model":{}{}"#, "[".repeat(10_000), "]".repeat(10_000));
    let members = (0..100_000).map(|member| format!(r#""m{member}":1"#)).collect::<Vec<_>>().join(",");
    let elements = format!(r#""tags":[{}]"#, vec![r#""x""#; 1_025].join(","));
    let keys = (0..1_025).map(|key| format!(r#""k{key}":1"#)).collect::<Vec<_>>().join(",");
    let keys = format!(r#""props":{{{keys}}}"#);
    for (member, expected, field) in [
        (r#""tokens":"7""#, "invalid_type", Some("tokens")),
        (r#""tokens":1.5"#, "invalid_type", Some("tokens")),
        (r#""tokens":true"#, "invalid_type", Some("tokens")),
        (r#""tokens":[1]"#, "invalid_type", Some("tokens")),
        (r#""tokens":9223372036854775808"#, "out_of_range", Some("tokens")),
        (r#""score":"x""#, "invalid_type", Some("score")),
        (r#""score":1e999"#, "out_of_range", Some("score")),
        (r#""model":5"#, "invalid_type", Some("model")),
        (r#""model":{"a":1}"#, "invalid_type", Some("model")),
        (r#""ok":"true""#, "invalid_type", Some("ok")),
        (r#""ok":1"#, "invalid_type", Some("ok")),
        (r#""cost":0.0000000001"#, "money_precision", Some("cost")),
        (r#""cost":"12,5""#, "invalid_type", Some("cost")),
        (r#""cost":1e10"#, "out_of_range", Some("cost")),
        (r#""tags":"a""#, "invalid_type", Some("tags")),
        (r#""tags":["a",1]"#, "invalid_type", Some("tags")),
        (r#""props":"a""#, "invalid_type", Some("props")),
        (r#""props":{"a":1,"b":2,"a":3}"#, "duplicate_field", Some("props")),
        (r#""props":{"a":1},"props.a":"2""#, "duplicate_field", Some("props")),
        (r#""ts":"yesterday""#, "invalid_time", Some("ts")),
        (r#""ts":"2026-02-30T00:00:00Z""#, "invalid_time", Some("ts")),
        (r#""ts":"2026-11-20T01:00:01Z""#, "time_in_future", Some("ts")),
        (r#""ts":1e25"#, "invalid_time", Some("ts")),
        (r#""modle":"x""#, "unknown_column", Some("modle")),
        (r#""model":"a","model":"b""#, "duplicate_field", Some("model")),
        (r#""model":"\ud800""#, "invalid_utf8", Some("model")),
        (r#""\udc00":1"#, "invalid_utf8", None),
        (&long, "too_long", Some("model")),
        (&deep, "too_deep", Some("props")),
        (&deep_known, "invalid_type", Some("model")),
        (&members, "unknown_column", Some("m0")),
        (&elements, "limit_exceeded", Some("tags")),
        (&keys, "limit_exceeded", Some("props")),
    ] {
        let (good, other) =
            (r#"{"tokens":1,"tags":["x"],"props":{"p":"1"}}"#, r#"{"tokens":2,"tags":["y"]}"#);
        let lines = format!("{good}\n{{\"tokens_\":0,{member}}}\n{other}\n").replace(r#""tokens_":0,"#, "");
        let array = format!("[{good},{{{member}}},{other}]");
        for (format, body) in [(Format::Ndjson, &lines), (Format::Json, &array)] {
            let shown_member = &member[..member.len().min(60)];
            let decoded =
                read(format, body.as_bytes()).unwrap_or_else(|error| panic!("{shown_member}: {error}"));
            assert_eq!(decoded.errors[0].code, expected, "{shown_member}");
            assert_eq!(decoded.errors[0].field.as_deref(), field, "{shown_member}");
            assert_eq!((decoded.errors[0].index, decoded.rejected), (1, 1), "{shown_member}");
            assert_eq!(decoded.row_index, [0, 2], "{shown_member}");
            assert_eq!(shown(&decoded, "tokens"), ["1", "2"], "{shown_member}");
            assert_eq!(shown(&decoded, "tags"), ["x", "y"], "{shown_member}");
            assert_eq!(shown(&decoded, "props"), ["p=1", "-"], "{shown_member}");
        }
    }
}

#[test]
fn messages_name_value_and_remedy() {
    for (row, expected) in [
        (r#"{"modle":1}"#, "unknown column 'modle'; did you mean 'model'?"),
        (r#"{"tokens":"7"}"#, "expected a whole number, found the string \"7\""),
        (r#"{"cost":0.0000000001}"#, "'0.0000000001' is no amount of money: more than 9 fraction digits"),
        (r#"{"tokens":1"#, "malformed JSON at column 12: expected ',' or '}' after a member"),
        (r#"[1]"#, "expected an object, found a list"),
    ] {
        let decoded = read(Format::Ndjson, row.as_bytes()).expect("a body");
        assert_eq!(decoded.errors[0].message, expected, "{row}");
        assert_eq!(decoded.errors[0].excerpt, row);
    }
}

#[test]
fn only_the_first_errors_are_described() {
    let body = "{\"x\":1}\n".repeat(50);
    let decoded = read(Format::Ndjson, body.as_bytes()).expect("a body");
    assert_eq!((decoded.errors.len(), decoded.rejected, decoded.batch.rows()), (ROW_ERRORS_MAX, 50, 0));
}

#[test]
fn whole_bodies_are_refused_with_a_code() {
    for (format, body, expected) in [
        (Format::Json, &b""[..], "empty_body"),
        (Format::Json, b" \n", "empty_body"),
        (Format::Ndjson, b" \n\n", "empty_body"),
        (Format::Csv, b"\n\n", "empty_body"),
        (Format::Json, b"[{\"tokens\":1},", "malformed_json"),
        (Format::Json, b"{\"tokens\":NaN}", "malformed_json"),
        (Format::Json, b"{\"tokens\":1} {}", "malformed_json"),
        (Format::Json, b"7", "malformed_json"),
        (Format::Json, b"\x00", "malformed_json"),
        (Format::Csv, b"ts,nope\n1,2\n", "unknown_column"),
        (Format::Csv, b"ts,model,model\n1,2,3\n", "duplicate_field"),
        (Format::Csv, b"ts,,model\n1,2,3\n", "malformed_csv"),
        (Format::Csv, b"ts,\"model\n1,2\n", "malformed_csv"),
        (Format::Parquet, b"PAR1 this is none", "malformed_parquet"),
    ] {
        assert_eq!(code(&read(format, body)), expected, "{format:?} {:?}", String::from_utf8_lossy(body));
    }
    let error = read(Format::Json, b"[\n{\"tokens\":1},\n {\"tokens\" 1}]").expect_err("malformed");
    assert_eq!(error.to_string(), "malformed JSON at line 3, column 12: expected ':' after a member's name");
}

#[test]
fn too_many_rows_are_refused() {
    for (format, body) in [
        (Format::Ndjson, "{}\n".repeat(1_001)),
        (Format::Json, format!("[{}{{}}]", "{},".repeat(1_000))),
        (Format::Csv, format!("tokens\n{}", "1\n".repeat(1_001))),
    ] {
        assert_eq!(code(&read(format, body.as_bytes())), "too_many_rows");
    }
}

#[test]
fn bytes_that_are_no_text_cost_their_row_only() {
    let csv = b"tokens,model\n1,a\n2,\xff\xfe\n3,c\n";
    let lines = b"{\"tokens\":1,\"model\":\"a\"}\n{\"tokens\":2,\"model\":\"\xff\xfe\"}\n{\"tokens\":3,\"model\":\"c\"}";
    let array = b"[{\"tokens\":1,\"model\":\"a\"},{\"tokens\":2,\"model\":\"\xff\xfe\"},{\"tokens\":3,\"model\":\"c\"}]";
    for (format, body) in [(Format::Csv, &csv[..]), (Format::Ndjson, lines), (Format::Json, array)] {
        let decoded = read(format, body).expect("a body");
        assert_eq!(decoded.errors[0].code, "invalid_utf8", "{format:?}");
        assert_eq!(shown(&decoded, "tokens"), ["1", "3"], "{format:?}");
        assert_eq!(shown(&decoded, "model"), ["a", "c"], "{format:?}");
    }
}

#[test]
fn an_escaped_nul_is_text() {
    let decoded = read(Format::Json, br#"{"model":"a\u0000b"}"#).expect("a body");
    assert_eq!(shown(&decoded, "model"), ["a\0b"]);
}

#[test]
fn csv_rows_that_do_not_fit_are_refused_one_by_one() {
    let body = b"tokens,model,props.plan\n1,a,pro\n2,b\n3,c,free,x\n4,\"d\"e,x\n5,\"\",\nx,y,z\n6,,\n";
    let decoded = read(Format::Csv, body).expect("a body");
    let codes: Vec<_> = decoded.errors.iter().map(|error| (error.index, error.code)).collect();
    assert_eq!(codes, [(1, "ragged_row"), (2, "ragged_row"), (3, "malformed_csv"), (5, "invalid_type")]);
    assert_eq!(decoded.row_index, [0, 4, 6]);
    assert_eq!(shown(&decoded, "tokens"), ["1", "5", "6"]);
    assert_eq!(shown(&decoded, "model"), ["a", "", "-"]);
    assert_eq!(shown(&decoded, "props"), ["plan=pro", "-", "-"]);
    assert_eq!(decoded.errors[0].message, "line 3 has 2 fields, the header has 3");
}

#[test]
fn csv_refuses_numbers_that_are_none() {
    for (column, field, expected) in [
        ("score", "NaN", "out_of_range"),
        ("score", "inf", "out_of_range"),
        ("score", "-Infinity", "out_of_range"),
        ("score", "1e999", "out_of_range"),
        ("score", "abc", "invalid_type"),
        ("tokens", "0x10", "invalid_type"),
        ("tokens", "9223372036854775808", "out_of_range"),
        ("ok", "yes", "invalid_type"),
        ("cost", "99999999999", "out_of_range"),
        ("tags", "a;b", "malformed_json"),
    ] {
        let decoded = read(Format::Csv, format!("{column}\n{field}\n").as_bytes()).expect("a body");
        assert_eq!(decoded.errors[0].code, expected, "{column} {field}");
    }
    let decoded = read(Format::Csv, b"tokens,score\n007,5.\n1e3,+1\n").expect("a body");
    assert_eq!(
        (shown(&decoded, "tokens"), shown(&decoded, "score")),
        (vec!["7".into(), "1000".into()], vec!["5".into(), "1".into()])
    );
}

#[test]
fn tsv_has_no_quotes() {
    let decoded = read(Format::Tsv, b"tokens\tmodel\n1\t\"a, \"b\n").expect("a body");
    assert_eq!(shown(&decoded, "model"), ["\"a, \"b"]);
}

#[test]
fn unknown_members_go_where_they_are_sent() {
    let body = br#"{"tokens":1,"plan":"pro","seats":3,"deep":{"a":[1]},"gone":null}"#;
    let none = Mapping::default();
    let ignored = read_with(Format::Json, body, Unknown::Ignore, &none).expect("a body");
    assert_eq!((ignored.unknown_ignored, ignored.batch.rows()), (4, 1));
    let props = read_with(Format::Json, body, Unknown::Props, &none).expect("a body");
    assert_eq!(shown(&props, "props"), ["plan=pro|seats=3|deep={\"a\":[1]}"]);
    let key = map_key(column(&props, "props").expect("a map").as_map(), "seats");
    assert_eq!(shown_value(&key, 0), "3");
    let csv = read_with(Format::Csv, b"tokens,plan\n1,pro\n2,\n", Unknown::Props, &none).expect("a body");
    assert_eq!(shown(&csv, "props"), ["plan=pro", "-"]);
}

#[test]
fn a_mapping_renames_and_fills_in() {
    let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
    let mapping = Mapping {
        fields: owned(&[
            ("@timestamp", "ts"),
            ("actor.login", "model"),
            ("actor.id", "tokens"),
            ("a.b.c", "props.c"),
        ]),
        constants: owned(&[("ok", "true"), ("props.source", "github"), ("score", "1.5")]),
    };
    let body = br#"{"@timestamp":0,"actor":{"id":7,"login":"x","url":"u"},"a":{"b":{"c":[1]},"z":2},"model":"kept out","score":2}
        {"actor":"no object","ok":false}"#;
    let decoded = read_with(Format::Ndjson, body, Unknown::Ignore, &mapping).expect("a body");
    assert_eq!(decoded.errors, []);
    assert_eq!(decoded.batch.times(), [0, NOW.0]);
    assert_eq!(shown(&decoded, "model"), ["x", "-"]);
    assert_eq!(shown(&decoded, "tokens"), ["7", "-"]);
    assert_eq!(shown(&decoded, "ok"), ["true", "false"]);
    assert_eq!(shown(&decoded, "score"), ["2", "1.5"]);
    assert_eq!(shown(&decoded, "props"), ["c=[1]|source=github", "source=github"]);
    let bad = Mapping { fields: owned(&[("x", "modle")]), constants: Default::default() };
    assert_eq!(code(&read_with(Format::Json, b"{}", Unknown::Ignore, &bad)), "invalid_mapping");
}

#[test]
fn repeating_strings_become_codes() {
    let lines: String = (0..900).map(|row| format!("{{\"model\":\"m{}\"}}\n", row % 7)).collect();
    let decoded = read(Format::Ndjson, lines.as_bytes()).expect("a body");
    let array = column(&decoded, "model").expect("a column");
    assert!(matches!(array.data_type(), DataType::Dictionary(_, _)));
}
