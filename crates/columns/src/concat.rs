//! Joining one column's arrays from several batches. String columns choose their form anew.
//!
//! Not here: joining whole batches ([`crate::RowBatch::concat`]).

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, new_null_array};
use arrow_buffer::{NullBufferBuilder, ScalarBuffer};
use arrow_schema::DataType;

use crate::intern::{Interner, strings_from};
use crate::text::{DICTIONARY_ROWS_MIN, ROWS_PER_ENTRY_MIN, StringsRef};

/// Distinct values a column may show before they are held against the rows seen so far. It is the size of the sample:
/// a column of unique values costs this many hashes, then it is copied plain.
const DISTINCT_GRACE: usize = 1_024;
/// No code of the joined dictionary yet.
const UNMAPPED: u32 = u32::MAX;

/// Joins arrays of one column, given as (rows, array or null in every row). `None` if there is no array at all. All
/// arrays have one type, except that string columns may mix `Utf8` and `Dictionary(Int32, Utf8)`.
///
/// # Panics
/// When types differ otherwise, or text passes 2 GiB.
pub fn concat_columns(parts: &[(usize, Option<&ArrayRef>)]) -> Option<ArrayRef> {
    let first = parts.iter().find_map(|(_, array)| *array)?;
    if parts.len() == 1 {
        return Some(Arc::clone(first));
    }
    if matches!(first.data_type(), DataType::Utf8 | DataType::Dictionary(_, _)) {
        return Some(concat_strings(parts));
    }
    let arrays: Vec<ArrayRef> = parts
        .iter()
        .map(|(rows, array)| array.map_or_else(|| new_null_array(first.data_type(), *rows), Arc::clone))
        .collect();
    let borrowed: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    Some(arrow_select::concat::concat(&borrowed).expect("one column has one type"))
}

/// Joins string arrays. The result is `Dictionary(Int32, Utf8)` if the rows are at least 64 and at least two of them share
/// an entry on average, else `Utf8`. Dictionaries are joined by their entries, each hashed once; unused entries vanish.
///
/// # Panics
/// When an array holds no strings, or text passes 2 GiB.
pub fn concat_strings(parts: &[(usize, Option<&ArrayRef>)]) -> ArrayRef {
    let rows: usize = parts.iter().map(|(rows, _)| rows).sum();
    let parts: Vec<Part<'_>> = parts.iter().map(|(rows, array)| Part::new(*rows, *array)).collect();
    if rows >= DICTIONARY_ROWS_MIN
        && let Some(coded) = join_coded(&parts, rows)
    {
        return coded;
    }
    join_plain(&parts, rows)
}

/// One input: its rows and its strings, `None` when all are null.
struct Part<'a> {
    rows: usize,
    strings: Option<StringsRef<'a>>,
}

impl<'a> Part<'a> {
    fn new(rows: usize, array: Option<&'a ArrayRef>) -> Self {
        let strings =
            array.map(|array| StringsRef::new(array.as_ref()).expect("a string column holds strings"));
        Part { rows, strings }
    }

    /// Bytes of its text where that is known without looking at each row.
    fn plain_bytes(&self) -> usize {
        match &self.strings {
            Some(StringsRef::Plain(strings)) => {
                let offsets = strings.value_offsets();
                (offsets[self.rows] - offsets[0]) as usize
            }
            _ => 0,
        }
    }

    fn append_nulls(&self, nulls: &mut NullBufferBuilder) {
        let own = match &self.strings {
            None => return nulls.append_n_nulls(self.rows),
            Some(StringsRef::Plain(strings)) => strings.nulls().cloned(),
            Some(StringsRef::Coded(coded, _)) => coded.logical_nulls(),
        };
        match own {
            Some(own) => nulls.append_buffer(&own),
            None => nulls.append_n_non_nulls(self.rows),
        }
    }
}

/// The rows as codes, or `None` as soon as too few of them share an entry.
fn join_coded(parts: &[Part<'_>], rows: usize) -> Option<ArrayRef> {
    let mut interner = Interner::default();
    let mut codes: Vec<i32> = Vec::with_capacity(rows);
    let mut nulls = NullBufferBuilder::new(rows);
    // Batches read from one file share one dictionary; its map serves them all.
    let mut map: Vec<u32> = Vec::new();
    let mut mapped: *const u8 = std::ptr::null();
    for part in parts {
        part.append_nulls(&mut nulls);
        match &part.strings {
            None => codes.resize(codes.len() + part.rows, 0),
            Some(StringsRef::Plain(strings)) => {
                for row in 0..part.rows {
                    if strings.is_null(row) {
                        codes.push(0);
                        continue;
                    }
                    codes.push(interner.intern(strings.value(row)) as i32);
                    if interner.len() * ROWS_PER_ENTRY_MIN > codes.len() + DISTINCT_GRACE * ROWS_PER_ENTRY_MIN
                    {
                        return None;
                    }
                }
            }
            Some(StringsRef::Coded(coded, values)) => {
                let identity = Arc::as_ptr(coded.values()).cast::<u8>();
                if identity != mapped {
                    map.clear();
                    map.resize(values.len(), UNMAPPED);
                    mapped = identity;
                }
                for (row, &code) in coded.keys().values().iter().enumerate() {
                    let known = map.get(code as usize).copied().unwrap_or(UNMAPPED);
                    if known != UNMAPPED {
                        codes.push(known as i32);
                    } else if coded.keys().is_null(row) || values.is_null(code as usize) {
                        codes.push(0);
                    } else {
                        let new = interner.intern(values.value(code as usize));
                        map[code as usize] = new;
                        codes.push(new as i32);
                    }
                }
                if interner.len() * ROWS_PER_ENTRY_MIN > codes.len() + DISTINCT_GRACE * ROWS_PER_ENTRY_MIN {
                    return None;
                }
            }
        }
    }
    if interner.len() * ROWS_PER_ENTRY_MIN > rows {
        return None;
    }
    let keys = Int32Array::new(ScalarBuffer::from(codes), nulls.finish());
    Some(Arc::new(DictionaryArray::new(keys, interner.into_values())))
}

fn join_plain(parts: &[Part<'_>], rows: usize) -> ArrayRef {
    let mut offsets: Vec<i32> = Vec::with_capacity(rows + 1);
    // Text that grows by doubling would be copied on the way and counted in budgets with the room it does not use.
    let mut bytes: Vec<u8> = Vec::with_capacity(parts.iter().map(Part::plain_bytes).sum());
    let mut nulls = NullBufferBuilder::new(rows);
    offsets.push(0);
    for part in parts {
        part.append_nulls(&mut nulls);
        let base = end(&bytes);
        match &part.strings {
            None => offsets.resize(offsets.len() + part.rows, base),
            Some(StringsRef::Plain(strings)) => {
                let own = strings.value_offsets();
                let (first, last) = (own[0], own[part.rows]);
                bytes.extend_from_slice(&strings.value_data()[first as usize..last as usize]);
                end(&bytes);
                offsets.extend(own[1..].iter().map(|offset| base + (offset - first)));
            }
            Some(strings @ StringsRef::Coded(_, _)) => {
                for row in 0..part.rows {
                    bytes.extend_from_slice(strings.get(row).unwrap_or_default().as_bytes());
                    offsets.push(end(&bytes));
                }
            }
        }
    }
    Arc::new(strings_from(offsets, bytes, nulls.finish()))
}

fn end(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).expect("the text of one column stays below 2 GiB")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidewater_model::schema::ColumnType;

    use super::*;
    use crate::RowBatch;
    use crate::testing::{Cell, batch, build, cells, table};

    fn strings(coded: bool, rows: usize, distinct: usize) -> ArrayRef {
        let values: Vec<Cell> =
            (0..rows).map(|row| Cell::Text(format!("value {}", row % distinct))).collect();
        build(ColumnType::String, coded, &values)
    }

    #[test]
    fn the_form_follows_the_repeats() {
        for (what, parts, expected_entries) in [
            ("two dictionaries", [strings(true, 3_000, 24), strings(true, 2_000, 30)], Some(30)),
            ("dictionary and plain", [strings(true, 3_000, 24), strings(false, 2_000, 2_000)], Some(2_000)),
            ("plain that repeats", [strings(false, 3_000, 24), strings(false, 2_000, 24)], Some(24)),
            ("unique values", [strings(false, 5_000, 5_000), strings(false, 1_000, 1_000)], None),
            ("unique values in dictionaries", [strings(true, 2_500, 2_500), strings(true, 20, 20)], None),
            ("few rows", [strings(true, 20, 1), strings(true, 20, 1)], None),
        ] {
            let rows = parts[0].len() + parts[1].len();
            let joined =
                concat_strings(&[(parts[0].len(), Some(&parts[0])), (parts[1].len(), Some(&parts[1]))]);
            let entries = match StringsRef::new(joined.as_ref()) {
                Some(StringsRef::Coded(_, values)) => Some(values.len()),
                _ => None,
            };
            assert_eq!(entries, expected_entries, "{what}");
            let expected =
                [cells(Some(&parts[0]), parts[0].len()), cells(Some(&parts[1]), parts[1].len())].concat();
            assert_eq!(cells(Some(&joined), rows), expected, "{what}");
        }
    }

    proptest! {
        #[test]
        fn joins_rows_in_order(batches in prop::collection::vec(batch(60), 1..6)) {
            let borrowed: Vec<&RowBatch> = batches.iter().collect();
            let joined = RowBatch::concat(&borrowed);
            let mut expected = table(&batches[0]);
            for batch in &batches[1..] {
                expected.iter_mut().zip(table(batch)).for_each(|(column, more)| column.extend(more));
            }
            prop_assert_eq!(table(&joined), expected);
            for index in 0..joined.columns().len() {
                let is_there = batches.iter().any(|batch| batch.columns()[index].is_some());
                prop_assert_eq!(joined.columns()[index].is_some(), is_there);
            }
        }

        #[test]
        fn filter_and_take_pick_the_same_rows(batch in batch(60), seed: u64) {
            let bits = arrow_buffer::BooleanBuffer::collect_bool(batch.rows(), |row| seed.rotate_left(row as u32) & 1 == 1);
            let indices: arrow_array::UInt32Array = bits.set_indices().map(|row| row as u32).collect();
            prop_assert_eq!(table(&batch.filter(&bits)), table(&batch.take(&indices)));
            prop_assert_eq!(batch.filter(&bits).rows(), bits.count_set_bits());
        }
    }
}
