//! A dimension of a slice: its distinct values in order, and for each row which of them it has.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field};
use tidewater_model::schema::ColumnType;

use super::VERSION;
use super::bytes::{Reader, damaged, require};
use super::packed::{Packed, write_codes, write_signed};
use super::texts;
use crate::error::AggregateError;
use crate::state::float_of_order;

/// What kind of values a dimension has, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueKind {
    /// Strings and keys of maps.
    Text = 0,
    /// Lists of strings, each as the JSON text of the list.
    List = 1,
    /// Whole numbers and money.
    Int = 2,
    /// Floats, as numbers in their order.
    Float = 3,
    /// 0 and 1.
    Bool = 4,
}

impl ValueKind {
    pub fn of(kind: ColumnType) -> Self {
        match kind {
            ColumnType::String | ColumnType::Map => ValueKind::Text,
            ColumnType::Strings => ValueKind::List,
            ColumnType::Time | ColumnType::Int | ColumnType::Money => ValueKind::Int,
            ColumnType::Float => ValueKind::Float,
            ColumnType::Bool => ValueKind::Bool,
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, AggregateError> {
        let kinds = [ValueKind::Text, ValueKind::List, ValueKind::Int, ValueKind::Float, ValueKind::Bool];
        let tag = reader.u8()?;
        kinds.into_iter().find(|kind| *kind as u8 == tag).ok_or(damaged("the kind of a dimension is unknown"))
    }
}

/// The distinct values of a dimension, ascending, without null.
pub(crate) enum Values<'a> {
    Texts(&'a [&'a str]),
    Numbers(&'a [i64]),
}

/// The bytes of a dimension's values; each slice of one project has the same, followed by its codes.
pub(crate) fn write_values(kind: ValueKind, values: &Values<'_>) -> Vec<u8> {
    let mut out = vec![VERSION, kind as u8];
    match values {
        Values::Texts(values) => texts::write(values, &mut out),
        Values::Numbers(values) => write_signed(values, &mut out),
    }
    out
}

/// A whole dimension: `codes` are 0 for null and else the place of the value from 1.
pub(crate) fn write(values: &[u8], codes: &[u32], cardinality: usize) -> Vec<u8> {
    let mut out = values.to_vec();
    write_codes(codes, cardinality as u32, &mut out);
    out
}

/// Reads the rows `first .. first + rows` of a dimension with `total` rows. `None` is null in every row.
pub(super) fn read(
    bytes: &[u8],
    total: usize,
    first: usize,
    rows: usize,
) -> Result<Option<ArrayRef>, AggregateError> {
    let mut reader = Reader::new(bytes);
    reader.version(VERSION)?;
    let kind = ValueKind::read(&mut reader)?;
    let values = match kind {
        ValueKind::Text | ValueKind::List => Dictionary::Texts(texts::read(&mut reader)?),
        ValueKind::Int | ValueKind::Float | ValueKind::Bool => {
            let values = Packed::read(&mut reader)?;
            Dictionary::Numbers(
                values.numbers(0..values.len()).into_iter().map(|value| value as i64).collect(),
            )
        }
    };
    let codes = Packed::read_exact(&mut reader, total)?;
    reader.end()?;
    let mut places = Vec::with_capacity(rows);
    let mut most = 0;
    codes.for_each_part(first..first + rows, |codes| {
        // One less than the code, so that null is the value that no place has; a code that is too large stays so.
        places.extend(codes.iter().map(|code| code.wrapping_sub(1).min(u64::from(u32::MAX)) as u32));
        most = codes.iter().fold(most, |most, code| most.max(*code));
    });
    require(most <= values.len() as u64 && values.len() < NULL as usize, "a code has no value")?;
    if values.len() == 0 {
        return Ok(None);
    }
    values.array(kind, places).map(Some)
}

/// The kind of a dimension, as its bytes tell.
pub(crate) fn kind_of(bytes: &[u8]) -> Result<ValueKind, AggregateError> {
    let mut reader = Reader::new(bytes);
    reader.version(VERSION)?;
    ValueKind::read(&mut reader)
}

/// The place of null.
const NULL: u32 = u32::MAX;

enum Dictionary {
    Texts(StringArray),
    Numbers(Vec<i64>),
}

impl Dictionary {
    fn len(&self) -> usize {
        match self {
            Dictionary::Texts(texts) => texts.len(),
            Dictionary::Numbers(numbers) => numbers.len(),
        }
    }

    fn array(self, kind: ValueKind, places: Vec<u32>) -> Result<ArrayRef, AggregateError> {
        let nulls =
            places.contains(&NULL).then(|| places.iter().map(|place| *place != NULL).collect::<NullBuffer>());
        match self {
            Dictionary::Texts(texts) if kind == ValueKind::List => lists(&texts, &places),
            Dictionary::Texts(texts) => {
                // Null rows need some place; the first is always there.
                let keys: Vec<i32> = match &nulls {
                    None => places.into_iter().map(|place| place as i32).collect(),
                    Some(_) => {
                        places.into_iter().map(|place| if place == NULL { 0 } else { place as i32 }).collect()
                    }
                };
                let keys = Int32Array::new(keys.into(), nulls);
                let coded = DictionaryArray::<Int32Type>::try_new(keys, Arc::new(texts));
                Ok(Arc::new(coded.map_err(|_| damaged("a code has no value"))?))
            }
            Dictionary::Numbers(numbers) => {
                let values =
                    places.iter().map(|place| numbers.get(*place as usize).copied().unwrap_or_default());
                Ok(match kind {
                    ValueKind::Float => Arc::new(Float64Array::new(
                        values.map(float_of_order).collect::<Vec<_>>().into(),
                        nulls,
                    )),
                    ValueKind::Bool => {
                        Arc::new(BooleanArray::new(values.map(|value| value != 0).collect(), nulls))
                    }
                    _ => Arc::new(Int64Array::new(values.collect::<Vec<_>>().into(), nulls)),
                })
            }
        }
    }
}

/// Lists from their JSON texts.
fn lists(texts: &StringArray, places: &[u32]) -> Result<ArrayRef, AggregateError> {
    let parse =
        |text: &str| serde_json::from_str::<Vec<String>>(text).map_err(|_| damaged("a list is no JSON"));
    let parsed = texts.iter().flatten().map(parse).collect::<Result<Vec<_>, _>>()?;
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(Arc::new(Field::new(
        "item",
        DataType::Utf8,
        false,
    )));
    for place in places {
        match parsed.get(*place as usize) {
            Some(list) => {
                list.iter().for_each(|text| builder.values().append_value(text));
                builder.append(true);
            }
            None => builder.append(false),
        }
    }
    Ok(Arc::new(builder.finish()))
}
