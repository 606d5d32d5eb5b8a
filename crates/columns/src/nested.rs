//! Reading into `map` and `strings` columns.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, ListArray, MapArray, new_null_array};
use arrow_buffer::{NullBufferBuilder, ScalarBuffer};
use arrow_schema::DataType;

use crate::intern::Interner;
use crate::text::{StringsRef, TextBuilder};

/// The value of `key` in each row's map as a string array (plain or dictionary); null where the map lacks it or is null.
pub fn map_key(map: &MapArray, key: &str) -> ArrayRef {
    let (Some(keys), Some(values)) =
        (StringsRef::new(map.keys().as_ref()), StringsRef::new(map.values().as_ref()))
    else {
        return new_null_array(&DataType::Utf8, map.len());
    };
    let mut out = TextBuilder::new(map.len());
    for (row, ends) in map.value_offsets().windows(2).enumerate() {
        let entry = if map.is_null(row) {
            None
        } else {
            (ends[0] as usize..ends[1] as usize).find(|&entry| keys.get(entry) == Some(key))
        };
        match entry.and_then(|entry| values.get(entry)) {
            Some(value) => out.push(value),
            None => out.push_nulls(1),
        }
    }
    out.finish()
}

/// A `strings` column turned into one row per element.
pub struct Exploded {
    /// The row each element came from, ascending.
    pub rows: Vec<u32>,
    /// The elements, `Dictionary(Int32, Utf8)`, as many as `rows`.
    pub elements: ArrayRef,
}

/// One entry per distinct element of each row. A row whose list is null or empty gives one null entry: an empty list
/// counts as null, so that every row belongs to at least one group.
pub fn explode(lists: &ListArray) -> Exploded {
    let mut rows = Vec::with_capacity(lists.len());
    let mut codes: Vec<i32> = Vec::with_capacity(lists.len());
    let mut nulls = NullBufferBuilder::new(lists.len());
    let mut interner = Interner::default();
    // The row after the one in which a code was last seen, so that 0 means never.
    let mut seen: Vec<u32> = Vec::new();
    let strings = StringsRef::new(lists.values().as_ref());
    for (row, ends) in lists.value_offsets().windows(2).enumerate() {
        let before = rows.len();
        let mark = row as u32 + 1;
        let range = if lists.is_null(row) { 0..0 } else { ends[0] as usize..ends[1] as usize };
        for text in range.filter_map(|element| strings.and_then(|strings| strings.get(element))) {
            let code = interner.intern(text) as usize;
            if code == seen.len() {
                seen.push(0);
            }
            if seen[code] != mark {
                seen[code] = mark;
                rows.push(row as u32);
                codes.push(code as i32);
                nulls.append_non_null();
            }
        }
        if rows.len() == before {
            rows.push(row as u32);
            codes.push(0);
            nulls.append_null();
        }
    }
    let keys = Int32Array::new(ScalarBuffer::from(codes), nulls.finish());
    Exploded { rows, elements: Arc::new(DictionaryArray::new(keys, interner.into_values())) }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use tidewater_model::schema::ColumnType;

    use super::*;
    use crate::testing::{Cell, build, cells};

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    #[test]
    fn a_row_counts_once_per_element() {
        let list = |items: &[&str]| Cell::List(items.iter().map(|item| item.to_string()).collect());
        let array = build(
            ColumnType::Strings,
            false,
            &[list(&["x"]), list(&["a", "b", "a"]), Cell::Null, list(&[]), list(&["a"])],
        );
        let exploded = explode(array.slice(1, 4).as_list::<i32>());
        assert_eq!(exploded.rows, [0, 0, 1, 2, 3]);
        let read = cells(Some(&exploded.elements), 5);
        assert_eq!(read, [text("a"), text("b"), Cell::Null, Cell::Null, text("a")]);
    }

    #[test]
    fn a_key_reads_as_a_nullable_string() {
        let map =
            |key: &str, value: &str| Cell::Map(vec![("k".into(), "1".into()), (key.into(), value.into())]);
        let array =
            build(ColumnType::Map, false, &[map("a", "x"), map("b", "y"), Cell::Null, Cell::Map(Vec::new())]);
        let read = |key| cells(Some(&map_key(array.slice(1, 3).as_map(), key)), 3);
        assert_eq!(read("b"), [text("y"), Cell::Null, Cell::Null]);
        assert_eq!(read("k"), [text("1"), Cell::Null, Cell::Null]);
        assert_eq!(read("zz"), [Cell::Null, Cell::Null, Cell::Null]);
    }
}
