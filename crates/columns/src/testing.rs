//! Random batches for the property tests of this crate, and rows as plain values to compare them by.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use tidewater_model::schema::{ColumnId, ColumnType};

use crate::text::StringsRef;
use crate::{RowBatch, data_type};

/// One value of one row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<String>),
    Map(Vec<(String, String)>),
}

/// The columns of every random batch: time, then two strings, int, float, bool, strings, map.
pub const KINDS: [ColumnType; 8] = [
    ColumnType::Time,
    ColumnType::String,
    ColumnType::String,
    ColumnType::Int,
    ColumnType::Float,
    ColumnType::Bool,
    ColumnType::Strings,
    ColumnType::Map,
];

/// Few and similar strings, so that filters hit and dictionaries repeat; with case and non-ASCII letters.
pub fn word() -> impl Strategy<Value = String> + Clone {
    prop::sample::select(vec![
        "", "a", "A", "ab", "Ab", "abc", "b", "é", "É", "ΑΣ", "ας", "zz top", "straße", "İ", "a\0b",
    ])
    .prop_map(str::to_owned)
}

pub fn int() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![
        -3_i64..4,
        Just(i64::MIN),
        Just(i64::MAX),
        Just((1 << 53) + 1),
        Just((1 << 53) - 1),
        Just(1 << 53),
        Just(1_000_000)
    ]
}

pub fn float() -> impl Strategy<Value = f64> + Clone {
    prop_oneof![
        prop::sample::select(vec![-1.5, -0.0, 0.0, 0.5, 1.0, 2.0, 2.5, 1e300, -1e300]),
        Just((1_u64 << 53) as f64),
        Just((1_u64 << 63) as f64),
        Just(-((1_u64 << 63) as f64))
    ]
}

fn cell(kind: ColumnType) -> BoxedStrategy<Cell> {
    match kind {
        ColumnType::Time => (-5_i64..5).prop_map(Cell::Int).boxed(),
        ColumnType::Int | ColumnType::Money => int().prop_map(Cell::Int).boxed(),
        ColumnType::Float => float().prop_map(Cell::Float).boxed(),
        ColumnType::Bool => any::<bool>().prop_map(Cell::Bool).boxed(),
        ColumnType::String => word().prop_map(Cell::Text).boxed(),
        ColumnType::Strings => vec(word(), 0..3).prop_map(Cell::List).boxed(),
        ColumnType::Map => prop::collection::btree_map(word(), word(), 0..3)
            .prop_map(|map| Cell::Map(map.into_iter().collect()))
            .boxed(),
    }
}

fn column(kind: ColumnType, rows: usize) -> BoxedStrategy<Option<ArrayRef>> {
    if kind == ColumnType::Time {
        return vec(cell(kind), rows).prop_map(move |cells| Some(build(kind, false, &cells))).boxed();
    }
    let some = (any::<bool>(), vec(weighted(0.8, cell(kind)), rows)).prop_map(move |(coded, cells)| {
        let cells: Vec<Cell> = cells.into_iter().map(|cell| cell.unwrap_or(Cell::Null)).collect();
        Some(build(kind, coded, &cells))
    });
    prop_oneof![1 => Just(None), 6 => some].boxed()
}

/// Batches of up to `rows_max` rows; some columns absent, some strings as dictionaries, some batches slices of larger ones.
pub fn batch(rows_max: usize) -> impl Strategy<Value = RowBatch> {
    (0..=rows_max, 0..3_usize, 0..3_usize).prop_flat_map(|(rows, before, after)| {
        let whole = before + rows + after;
        let columns: Vec<_> = KINDS.iter().map(|kind| column(*kind, whole)).collect();
        columns.prop_map(move |columns| RowBatch::new(columns).slice(before, rows))
    })
}

pub fn build(kind: ColumnType, coded: bool, cells: &[Cell]) -> ArrayRef {
    let int = |cell: &Cell| if let Cell::Int(value) = cell { Some(*value) } else { None };
    match kind {
        ColumnType::Time => {
            let times: TimestampMicrosecondArray = cells.iter().map(int).collect();
            Arc::new(times.with_data_type(data_type(kind)))
        }
        ColumnType::Int | ColumnType::Money => Arc::new(cells.iter().map(int).collect::<Int64Array>()),
        ColumnType::Float => Arc::new(
            cells
                .iter()
                .map(|cell| if let Cell::Float(value) = cell { Some(*value) } else { None })
                .collect::<Float64Array>(),
        ),
        ColumnType::Bool => Arc::new(
            cells
                .iter()
                .map(|cell| if let Cell::Bool(value) = cell { Some(*value) } else { None })
                .collect::<BooleanArray>(),
        ),
        ColumnType::String => build_strings(coded, cells),
        ColumnType::Strings => {
            let field = Field::new("item", DataType::Utf8, false);
            let mut builder = ListBuilder::new(StringBuilder::new()).with_field(field);
            for cell in cells {
                if let Cell::List(items) = cell {
                    items.iter().for_each(|item| builder.values().append_value(item));
                    builder.append(true);
                } else {
                    builder.append(false);
                }
            }
            Arc::new(builder.finish())
        }
        ColumnType::Map => build_maps(cells),
    }
}

fn build_strings(coded: bool, cells: &[Cell]) -> ArrayRef {
    let texts = cells.iter().map(|cell| if let Cell::Text(text) = cell { Some(text.as_str()) } else { None });
    if !coded {
        return Arc::new(texts.collect::<StringArray>());
    }
    // With an entry that no row uses, as a filtered batch has.
    let mut values = vec!["unused"];
    let codes: Int32Array = texts
        .map(|text| {
            text.map(|text| match values.iter().position(|value| *value == text) {
                Some(at) => at as i32,
                None => {
                    values.push(text);
                    values.len() as i32 - 1
                }
            })
        })
        .collect();
    Arc::new(DictionaryArray::new(codes, Arc::new(StringArray::from(values))))
}

fn build_maps(cells: &[Cell]) -> ArrayRef {
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
        .with_values_field(Field::new("value", DataType::Utf8, false));
    for cell in cells {
        let is_map = if let Cell::Map(entries) = cell {
            for (key, value) in entries {
                builder.keys().append_value(key);
                builder.values().append_value(value);
            }
            true
        } else {
            false
        };
        builder.append(is_map).expect("as many keys as values");
    }
    Arc::new(builder.finish())
}

/// The cells of a column, whatever its form in memory.
pub fn cells(array: Option<&ArrayRef>, rows: usize) -> Vec<Cell> {
    let Some(array) = array else { return vec![Cell::Null; rows] };
    (0..rows).map(|row| cell_at(array, row)).collect()
}

fn cell_at(array: &ArrayRef, row: usize) -> Cell {
    if let Some(strings) = StringsRef::new(array.as_ref()) {
        return strings.get(row).map_or(Cell::Null, |text| Cell::Text(text.to_owned()));
    }
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Timestamp(_, _) => Cell::Int(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Int64 => Cell::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Cell::Bool(array.as_boolean().value(row)),
        DataType::List(_) => Cell::List(texts(&array.as_list::<i32>().value(row))),
        _ => {
            let entries = array.as_map().value(row);
            Cell::Map(texts(entries.column(0)).into_iter().zip(texts(entries.column(1))).collect())
        }
    }
}

fn texts(array: &ArrayRef) -> Vec<String> {
    array.as_string::<i32>().iter().flatten().map(str::to_owned).collect()
}

/// All columns' cells, so that batches compare by content.
pub fn table(batch: &RowBatch) -> Vec<Vec<Cell>> {
    (0..KINDS.len()).map(|id| cells(batch.column(ColumnId(id as u16)), batch.rows())).collect()
}
