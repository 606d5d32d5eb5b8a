//! The reader against `serde_json`, and rows against a naive reading of them.

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::scan::{LoneSurrogate, Scanner};
use crate::tests::{read, shown};
use crate::{Decoded, Format};

fn is_json(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.skip_value().is_ok() && scanner.peek().is_none()
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e6..1e6).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".{0,4}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn takes_what_is_json(value in value(), pretty: bool) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        prop_assert!(is_json(&text), "{}", text);
    }

    #[test]
    fn agrees_with_serde_json_on_damaged_text(
        value in value(),
        at in any::<prop::sample::Index>(),
        length in 0..3_usize,
        put in "[\\[\\]{}\",:0-9eE.+ntf\\\\u \n\u{1}-]{0,3}",
    ) {
        let mut characters: Vec<char> = value.to_string().chars().collect();
        let from = at.index(characters.len());
        let to = (from + length).min(characters.len());
        characters.splice(from..to, put.chars());
        let text: String = characters.into_iter().collect();
        let expected = serde_json::from_str::<IgnoredAny>(&text).is_ok();
        prop_assert_eq!(is_json(&text), expected, "{}", text);
    }

    #[test]
    fn agrees_with_serde_json_on_noise(text in "[\\[\\]{}\",:019eE.+ntrufalse\\\\ -]{0,14}") {
        prop_assert_eq!(is_json(&text), serde_json::from_str::<IgnoredAny>(&text).is_ok(), "{}", text);
    }

    #[test]
    fn strings_stand_for_what_serde_json_reads(raw in "([a-zé😀 ]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}|\\\\ud83d\\\\ude0[0-9]){0,12}") {
        let text = format!("\"{raw}\"");
        let string = Scanner::new(&text).string().expect("a string");
        let mut scratch = String::new();
        match (string.decode(&mut scratch), serde_json::from_str::<String>(&text)) {
            (Ok(own), Ok(expected)) => prop_assert_eq!(own, expected),
            (Err(LoneSurrogate), Err(_)) => {}
            (own, expected) => prop_assert!(false, "{:?} {:?}", own, expected),
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = read(Format::Json, &bytes);
        let _ = read(Format::Ndjson, &bytes);
        let _ = read(Format::Csv, &bytes);
        let _ = read(Format::Tsv, &bytes);
    }

}

proptest! {
    #[test]
    fn rows_stand_or_fall_alone(rows in prop::collection::vec(row(), 1..80)) {
        let lines: String = rows.iter().map(|row| format!("{}\n", text(row))).collect();
        let array = format!("[{}]", rows.iter().map(text).collect::<Vec<_>>().join(","));
        for (format, body) in [(Format::Ndjson, lines), (Format::Json, array)] {
            check(&read(format, body.as_bytes()).expect("well-formed"), &rows)?;
        }
    }
}

/// Members of a row in the order they are written.
type Row = Vec<(&'static str, Value)>;

fn row() -> impl Strategy<Value = Row> {
    let wrong = prop_oneof![8 => Just(None), 1 => Just(Some(json!([[]])))];
    let members = (
        prop::option::of((0..400_i32).prop_map(|value| json!(format!("model {value}")))),
        prop::option::of((-5..5_i64).prop_map(Value::from)),
        prop::option::of(prop::collection::vec("[a-c]{0,2}", 0..3).prop_map(Value::from)),
        prop::option::of(prop::collection::btree_map("[a-c]", "[x-z]{0,2}", 0..3)),
        wrong,
    );
    (members, any::<prop::sample::Index>()).prop_map(|((model, tokens, tags, props, wrong), turn)| {
        let props =
            props.map(|map| Value::Object(map.into_iter().map(|(key, value)| (key, json!(value))).collect()));
        let members =
            [("model", model), ("tokens", tokens), ("tags", tags), ("props", props), ("score", wrong)];
        let mut row: Row = members.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let members = row.len();
        row.rotate_left(turn.index(members + 1));
        row
    })
}

fn text(row: &Row) -> String {
    Value::Object(row.iter().map(|(name, value)| (name.to_string(), value.clone())).collect::<Map<_, _>>())
        .to_string()
}

fn check(decoded: &Decoded, rows: &[Row]) -> Result<(), TestCaseError> {
    let is_good = |row: &Row| row.iter().all(|(name, _)| *name != "score");
    let good: Vec<&Row> = rows.iter().filter(|row| is_good(row)).collect();
    prop_assert_eq!(decoded.batch.rows(), good.len());
    prop_assert_eq!(decoded.rejected as usize, rows.len() - good.len());
    for name in ["model", "tokens", "tags", "props"] {
        let expected: Vec<String> = good
            .iter()
            .map(|row| {
                row.iter().find(|(own, _)| *own == name).map_or("-".to_owned(), |(_, value)| plain(value))
            })
            .collect();
        prop_assert_eq!(shown(decoded, name), expected);
    }
    Ok(())
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join("|"),
        Value::Object(members) => {
            members.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect::<Vec<_>>().join("|")
        }
        other => other.to_string(),
    }
}
