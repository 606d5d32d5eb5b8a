//! The values of one Parquet column, whatever its width or unit.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, MapArray, StringArray, UInt64Array,
};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use std::borrow::Cow;
use tidewater_columns::StringsRef;
use tidewater_model::schema::{ColumnId, ColumnType};
use tidewater_model::time::Timestamp;

use crate::error::codes;
use crate::mapping::Target;
use crate::number::Number;
use crate::rows::Rows;

/// Whether a column of that type can be read into one of `kind`; single values may still be refused.
pub(super) fn fits(kind: ColumnType, found: &DataType) -> bool {
    let is_decimal = found.is_decimal();
    match kind {
        _ if *found == DataType::Null => true,
        ColumnType::Time => {
            found.is_integer()
                || found.is_floating()
                || is_text(found)
                || matches!(found, DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64)
        }
        ColumnType::String => is_text(found),
        ColumnType::Int | ColumnType::Float => found.is_numeric(),
        ColumnType::Money => found.is_numeric() || is_decimal || is_text(found),
        ColumnType::Bool => *found == DataType::Boolean,
        ColumnType::Strings => element(found).is_some_and(is_text),
        ColumnType::Map => entry(found).is_some(),
    }
}

/// Whether a column's values have a text that can stand in a map.
pub(super) fn fits_key(found: &DataType) -> bool {
    found.is_numeric()
        || is_text(found)
        || matches!(
            found,
            DataType::Null
                | DataType::Boolean
                | DataType::Timestamp(_, _)
                | DataType::Date32
                | DataType::Date64
        )
}

fn is_text(found: &DataType) -> bool {
    match found {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn element(found: &DataType) -> Option<&DataType> {
    match found {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            Some(field.data_type())
        }
        _ => None,
    }
}

/// The value type of a map with text keys and values that have a text.
fn entry(found: &DataType) -> Option<&DataType> {
    let DataType::Map(entries, _) = found else { return None };
    let DataType::Struct(fields) = entries.data_type() else { return None };
    match fields.as_ref() {
        [key, value] if is_text(key.data_type()) && fits_key(value.data_type()) => Some(value.data_type()),
        _ => None,
    }
}

/// A column's values in the few forms they are read in.
pub(super) enum Cells<'a> {
    Null,
    Ints(Int64Array),
    Unsigned(UInt64Array),
    Floats(Float64Array),
    /// Decimals of any width, printed: digits are what money and numbers are read from.
    Decimals(StringArray),
    Bools(&'a BooleanArray),
    /// Micro-seconds since the epoch.
    Times(Int64Array),
    /// The strings, and the column they were made from: what is null only here was no UTF-8.
    Texts(ArrayRef, &'a ArrayRef),
    Lists(ListArray, ArrayRef),
    Maps(&'a MapArray, ArrayRef, ArrayRef),
}

impl<'a> Cells<'a> {
    pub fn new(array: &'a ArrayRef) -> Result<Self, ArrowError> {
        Ok(match array.data_type() {
            DataType::Null => Cells::Null,
            DataType::UInt64 => Cells::Unsigned(array.as_primitive::<UInt64Type>().clone()),
            found if found.is_integer() => {
                Cells::Ints(convert(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            found if found.is_floating() => {
                Cells::Floats(convert(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
            }
            found if found.is_decimal() => {
                Cells::Decimals(convert(array, &DataType::Utf8)?.as_string().clone())
            }
            DataType::Boolean => Cells::Bools(array.as_boolean()),
            DataType::Timestamp(unit, _) => Cells::Times(micros(&convert(array, &DataType::Int64)?, *unit)),
            DataType::Date64 => {
                Cells::Times(micros(&convert(array, &DataType::Int64)?, TimeUnit::Millisecond))
            }
            DataType::Date32 => {
                let days = convert(&convert(array, &DataType::Date64)?, &DataType::Int64)?;
                Cells::Times(micros(&days, TimeUnit::Millisecond))
            }
            DataType::List(_) => lists(array.as_list::<i32>().clone())?,
            DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
                lists(convert(array, &DataType::List(field.clone()))?.as_list::<i32>().clone())?
            }
            DataType::Map(_, _) => {
                let map = array.as_map();
                Cells::Maps(map, texts(map.keys())?, texts(map.values())?)
            }
            _ => Cells::Texts(texts(array)?, array),
        })
    }

    /// Puts the value of a row where the plan says; returns the bytes of text it holds.
    pub fn put(&self, row: usize, target: &Target, rows: &mut Rows<'_>) -> usize {
        match target {
            Target::Column(id) => self.put_column(row, *id, rows),
            Target::Key(id, key) => match self.text(row) {
                Some(text) => {
                    rows.push_entry(*id, key, &text);
                    text.len() + key.len()
                }
                None => 0,
            },
            Target::Ignored => {
                rows.ignore_unknown();
                0
            }
            Target::Inside | Target::Refused => 0,
        }
    }

    fn put_column(&self, row: usize, id: ColumnId, rows: &mut Rows<'_>) -> usize {
        match self {
            Cells::Ints(values) if values.is_valid(row) => rows.put_integer(id, values.value(row)),
            Cells::Unsigned(values) if values.is_valid(row) => {
                put_digits(rows, id, &values.value(row).to_string())
            }
            Cells::Floats(values) if values.is_valid(row) => rows.put_double(id, values.value(row)),
            Cells::Decimals(values) if values.is_valid(row) => put_digits(rows, id, values.value(row)),
            Cells::Bools(values) if values.is_valid(row) => rows.put_bool(id, values.value(row)),
            Cells::Times(values) if values.is_valid(row) => match Timestamp::checked(values.value(row)) {
                Some(time) => rows.put_time(id, time),
                None => rows.fail_column(id, codes::INVALID_TIME, || "the time is out of range".to_owned()),
            },
            Cells::Texts(strings, source) => {
                match StringsRef::new(strings).and_then(|strings| strings.get(row)) {
                    Some(text) => {
                        rows.put_text(id, text);
                        return text.len();
                    }
                    None if source.is_valid(row) => {
                        rows.fail_column(id, codes::INVALID_UTF8, || "the bytes are no UTF-8".to_owned());
                    }
                    None => {}
                }
            }
            Cells::Lists(lists, elements) if lists.is_valid(row) => {
                return put_list(lists, elements, row, id, rows);
            }
            Cells::Maps(map, keys, values) if map.is_valid(row) => {
                return put_map(map, keys, values, row, id, rows);
            }
            _ => {}
        }
        8
    }

    /// The value as a text for a map.
    fn text(&self, row: usize) -> Option<Cow<'_, str>> {
        Some(match self {
            Cells::Ints(values) if values.is_valid(row) => values.value(row).to_string().into(),
            Cells::Unsigned(values) if values.is_valid(row) => values.value(row).to_string().into(),
            Cells::Floats(values) if values.is_valid(row) => values.value(row).to_string().into(),
            Cells::Decimals(values) if values.is_valid(row) => values.value(row).into(),
            Cells::Bools(values) if values.is_valid(row) => values.value(row).to_string().into(),
            Cells::Times(values) if values.is_valid(row) => {
                Timestamp::checked(values.value(row))?.to_string().into()
            }
            Cells::Texts(strings, _) => StringsRef::new(strings)?.get(row)?.into(),
            _ => return None,
        })
    }
}

fn put_digits(rows: &mut Rows<'_>, id: ColumnId, digits: &str) {
    match Number::parse(digits) {
        Some(number) => rows.put_number(id, number),
        None => rows.fail_type(id, digits),
    }
}

fn put_list(lists: &ListArray, elements: &ArrayRef, row: usize, id: ColumnId, rows: &mut Rows<'_>) -> usize {
    let (Some(strings), true) = (StringsRef::new(elements), rows.open_list(id)) else { return 0 };
    let mut bytes = 0;
    for element in lists.value_offsets()[row]..lists.value_offsets()[row + 1] {
        match strings.get(element as usize) {
            Some(text) => {
                bytes += text.len();
                rows.push_element(id, text);
            }
            None => rows.fail_column(id, codes::INVALID_TYPE, || "a list of strings holds a null".to_owned()),
        }
    }
    rows.close_list(id);
    bytes
}

fn put_map(
    map: &MapArray,
    keys: &ArrayRef,
    values: &ArrayRef,
    row: usize,
    id: ColumnId,
    rows: &mut Rows<'_>,
) -> usize {
    let (Some(keys), Some(values)) = (StringsRef::new(keys), StringsRef::new(values)) else { return 0 };
    let mut bytes = 0;
    rows.open_map(id);
    for entry in map.value_offsets()[row]..map.value_offsets()[row + 1] {
        // A null value drops its key, as in JSON.
        if let (Some(key), Some(value)) = (keys.get(entry as usize), values.get(entry as usize)) {
            bytes += key.len() + value.len();
            rows.push_entry(id, key, value);
        }
    }
    bytes
}

fn lists<'a>(lists: ListArray) -> Result<Cells<'a>, ArrowError> {
    let elements = texts(lists.values())?;
    Ok(Cells::Lists(lists, elements))
}

/// Values as text; what was codes stays codes.
fn texts(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Dictionary(_, _) => {
            convert(array, &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)))
        }
        _ => convert(array, &DataType::Utf8),
    }
}

/// Micro-seconds, rounded down; a count that has none becomes one that no calendar has, so that its row is refused.
fn micros(array: &ArrayRef, unit: TimeUnit) -> Int64Array {
    array.as_primitive::<Int64Type>().unary(|count| match unit {
        TimeUnit::Second => count.saturating_mul(1_000_000),
        TimeUnit::Millisecond => count.saturating_mul(1_000),
        TimeUnit::Microsecond => count,
        TimeUnit::Nanosecond => count.div_euclid(1_000),
    })
}

/// Values that do not fit become null.
fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(array, to, &CastOptions { safe: true, ..CastOptions::default() })
}
