//! Files written by the Arrow writer, whole, cut and damaged.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, MapBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array,
    Float64Array, Int16Array, Int64Array, LargeStringArray, RecordBatch, StringArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;

use crate::tests::{NOW, dataset, options, read, shown};
use crate::{DecodeError, Decoded, Format, Mapping, Options, Unknown, decode};

fn file(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("memory takes all");
    writer.into_inner().expect("memory takes all")
}

fn array<T: arrow_array::Array + 'static>(array: T) -> ArrayRef {
    Arc::new(array)
}

fn read_columns(columns: Vec<(&str, ArrayRef)>) -> Result<Decoded, DecodeError> {
    read(Format::Parquet, &file(columns))
}

#[test]
fn columns_of_many_types_are_read() {
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("a"), Some("b")]);
    tags.append_null();
    let mut props = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    props.keys().append_value("plan");
    props.values().append_value("pro");
    props.append(true).expect("a map");
    props.append(true).expect("a map");
    let decoded = read_columns(vec![
        ("ts", array(TimestampNanosecondArray::from(vec![1_500, -1]).with_timezone("Asia/Kolkata"))),
        ("model", array(LargeStringArray::from(vec![Some("é"), None]))),
        ("tokens", array(Int16Array::from(vec![Some(-3), None]))),
        ("score", array(Float32Array::from(vec![0.5, -1.0]))),
        ("ok", array(BooleanArray::from(vec![Some(true), None]))),
        ("cost", array(Decimal128Array::from(vec![125, -1]).with_precision_and_scale(10, 6).expect("fits"))),
        ("tags", array(tags.finish())),
        ("props", array(props.finish())),
    ])
    .expect("a file");
    assert_eq!(decoded.errors, []);
    assert_eq!(decoded.batch.times(), [1, -1]);
    assert_eq!(shown(&decoded, "model"), ["é", "-"]);
    assert_eq!(shown(&decoded, "tokens"), ["-3", "-"]);
    assert_eq!(shown(&decoded, "score"), ["0.5", "-1"]);
    assert_eq!(shown(&decoded, "ok"), ["true", "-"]);
    assert_eq!(shown(&decoded, "cost"), ["125000", "-1000"]);
    assert_eq!(shown(&decoded, "tags"), ["a|b", "-"]);
    assert_eq!(shown(&decoded, "props"), ["plan=pro", ""]);
}

#[test]
fn times_come_in_every_unit() {
    for (times, expected) in [
        (array(TimestampSecondArray::from(vec![7])), 7_000_000),
        (array(TimestampMillisecondArray::from(vec![7]).with_timezone("+05:30")), 7_000),
        (array(Date32Array::from(vec![1])), 86_400_000_000),
        (array(Int64Array::from(vec![1_700_000_000_000])), 1_700_000_000_000_000),
        (array(StringArray::from(vec!["1970-01-01T00:00:01Z"])), 1_000_000),
        (array(Int64Array::from(vec![None])), NOW.0),
    ] {
        assert_eq!(read_columns(vec![("ts", times)]).expect("a file").batch.times(), [expected]);
    }
}

#[test]
fn bad_values_cost_their_rows_only() {
    for (name, values, expected) in [
        ("tokens", array(UInt64Array::from(vec![1, u64::MAX, 3])), "out_of_range"),
        ("tokens", array(Float64Array::from(vec![1.0, 2.5, 3.0])), "invalid_type"),
        ("score", array(Float64Array::from(vec![1.0, f64::NAN, 3.0])), "out_of_range"),
        ("cost", array(Float64Array::from(vec![0.1, 1e10, 0.3])), "out_of_range"),
        ("model", array(BinaryArray::from_vec(vec![b"a", b"\xff", b"c"])), "invalid_utf8"),
        ("ts", array(TimestampSecondArray::from(vec![0, NOW.0 / 1_000_000 + 3_601, 1])), "time_in_future"),
        ("ts", array(TimestampSecondArray::from(vec![0, 300_000_000_000, 1])), "invalid_time"),
    ] {
        let decoded = read_columns(vec![(name, values)]).expect("a file");
        assert_eq!(decoded.row_index, [0, 2], "{name} {expected}");
        assert_eq!(decoded.errors[0].code, expected, "{name}");
        assert_eq!(decoded.errors[0].field.as_deref(), Some(name));
    }
}

#[test]
fn money_from_floats_is_rounded() {
    let decoded = read_columns(vec![("cost", array(Float64Array::from(vec![0.1 + 0.2, -0.000_125])))]);
    assert_eq!(shown(&decoded.expect("a file"), "cost"), ["300000000", "-125000"]);
}

#[test]
fn types_that_cannot_fit_refuse_the_body() {
    for (name, values) in [
        ("model", array(Int64Array::from(vec![1]))),
        ("tokens", array(StringArray::from(vec!["1"]))),
        ("ok", array(Int64Array::from(vec![1]))),
        ("props", array(StringArray::from(vec!["{}"]))),
    ] {
        let error = read_columns(vec![(name, values)]).expect_err("another type");
        assert_eq!((error.code(), error.field()), ("invalid_type", Some(name)));
    }
    let error =
        read_columns(vec![("modle", array(StringArray::from(vec!["x"])))]).expect_err("no such column");
    assert_eq!(error.to_string(), "unknown column 'modle'; did you mean 'model'?");
}

#[test]
fn unknown_columns_become_keys() {
    let mapping = Mapping::default();
    let body = file(vec![
        ("seats", array(Int64Array::from(vec![Some(3), None]))),
        ("plan", array(StringArray::from(vec!["pro", "free"]))),
    ]);
    let options = Options { unknown: Unknown::Props, ..options(&mapping) };
    let decoded = decode(Format::Parquet, &body.into(), &dataset(), &options).expect("a file");
    assert_eq!(shown(&decoded, "props"), ["seats=3|plan=pro", "plan=free"]);
}

#[test]
fn repeated_long_strings_count_at_full_length() {
    let long = StringArray::from(vec!["x".repeat(10_000)]);
    let coded = DictionaryArray::<Int32Type>::new(vec![0; 900].into(), Arc::new(long));
    let body = file(vec![("model", array(coded))]);
    assert!(body.len() < 30_000, "{} bytes", body.len());
    let error = read(Format::Parquet, &body).expect_err("nine megabytes");
    assert_eq!(error.code(), "body_too_large");
}

fn sample() -> Vec<u8> {
    file(vec![
        ("ts", array(Int64Array::from_iter_values(0..300))),
        ("model", array(StringArray::from_iter_values((0..300).map(|row| format!("m{}", row % 9))))),
        ("cost", array(Float64Array::from_iter_values((0..300).map(f64::from)))),
    ])
}

#[test]
fn half_a_file_is_refused() {
    let whole = sample();
    assert_eq!(read(Format::Parquet, &whole).expect("a file").batch.rows(), 300);
    for cut in [whole.len() / 2, whole.len() - 1, 4, 12] {
        assert_eq!(read(Format::Parquet, &whole[..cut]).expect_err("cut short").code(), "malformed_parquet");
    }
}

proptest! {
    #[test]
    fn damaged_files_do_not_panic(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = sample();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = read(Format::Parquet, &bytes);
    }
}
