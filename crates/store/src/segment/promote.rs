//! How `map` columns lie in a segment: frequent keys become string columns of their own, the rest stays a map.
//!
//! Not here: the names of those columns (`layout`).

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, MapArray, StringArray, StructArray};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;
use hashbrown::HashMap;
use tidewater_columns::{StringsRef, TextBuilder, data_type};
use tidewater_model::schema::ColumnType;

/// Columns a segment makes of one map's keys at most: each costs a column chunk per row group, used or not.
const PROMOTED_KEYS_MAX: usize = 64;
/// A key is promoted when at least one row in so many has it: below that a mostly null column is no gain.
const ROWS_PER_KEY_MAX: u64 = 10;
/// Longer keys stay in the map, in bytes: they become column names.
const PROMOTED_KEY_BYTES_MAX: usize = 128;

/// Counts in how many rows each key of a map column occurs.
#[derive(Default)]
pub struct KeyCounts {
    rows: u64,
    counts: HashMap<Arc<str>, u64>,
}

/// Distinct keys that are counted. A key in a tenth of all rows is among the first this many of any mix worth promoting.
const COUNTED_KEYS_MAX: usize = 16_384;

impl KeyCounts {
    /// Adds rows that have no map at all.
    pub fn add_nulls(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Adds the rows of a column's array; only maps have keys.
    pub fn add_array(&mut self, array: &ArrayRef) {
        if let Some(map) = as_map(array) {
            self.add(map);
        }
    }

    fn add(&mut self, map: &MapArray) {
        self.rows += map.len() as u64;
        let Some(keys) = StringsRef::new(map.keys().as_ref()) else { return };
        for row in (0..map.len()).filter(|row| map.is_valid(*row)) {
            for key in entries(map, row).filter_map(|entry| keys.get(entry)) {
                if let Some(count) = self.counts.get_mut(key) {
                    *count += 1;
                } else if self.counts.len() < COUNTED_KEYS_MAX {
                    self.counts.insert(Arc::from(key), 1);
                }
            }
        }
    }

    /// The keys to promote, sorted.
    pub fn promoted(self) -> Vec<Arc<str>> {
        let rows = self.rows;
        let frequent = self.counts.into_iter().filter(|(key, count)| {
            *count >= rows.div_ceil(ROWS_PER_KEY_MAX).max(1) && key.len() <= PROMOTED_KEY_BYTES_MAX
        });
        let mut keys: Vec<(Arc<str>, u64)> = frequent.collect();
        keys.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        keys.truncate(PROMOTED_KEYS_MAX);
        let mut keys: Vec<Arc<str>> = keys.into_iter().map(|(key, _)| key).collect();
        keys.sort_unstable();
        keys
    }
}

fn entries(map: &MapArray, row: usize) -> std::ops::Range<usize> {
    let offsets = map.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

/// Takes `keys` out of a map: one string array per key, and the map of the other entries.
pub fn split(map: &MapArray, keys: &[Arc<str>]) -> (Vec<ArrayRef>, ArrayRef) {
    let places: HashMap<&str, usize> = keys.iter().enumerate().map(|(place, key)| (&**key, place)).collect();
    let mut promoted: Vec<TextBuilder> = keys.iter().map(|_| TextBuilder::new(map.len())).collect();
    let mut rest = MapBuilder::new(map.len());
    let texts = StringsRef::new(map.keys().as_ref()).zip(StringsRef::new(map.values().as_ref()));
    for row in 0..map.len() {
        if let Some((names, values)) = texts.filter(|_| map.is_valid(row)) {
            for (name, value) in entries(map, row).filter_map(|entry| names.get(entry).zip(values.get(entry)))
            {
                match places.get(name) {
                    // A map has a key once; should it not, the first counts, as everywhere.
                    Some(&place) if promoted[place].len() == row => promoted[place].push(value),
                    Some(_) => {}
                    None => rest.entry(name, value),
                }
            }
        }
        for builder in promoted.iter_mut().filter(|builder| builder.len() == row) {
            builder.push_nulls(1);
        }
        rest.end_row();
    }
    (promoted.into_iter().map(TextBuilder::finish).collect(), rest.finish(map))
}

/// Puts promoted keys back: the inverse of [`split`], entries sorted by key.
pub fn join(rest: &MapArray, promoted: &[(Arc<str>, ArrayRef)]) -> ArrayRef {
    let columns: Vec<(&str, StringsRef<'_>)> = promoted
        .iter()
        .filter_map(|(key, array)| StringsRef::new(array.as_ref()).map(|strings| (&**key, strings)))
        .collect();
    let texts = StringsRef::new(rest.keys().as_ref()).zip(StringsRef::new(rest.values().as_ref()));
    let mut out = MapBuilder::new(rest.len());
    let mut row_entries: Vec<(&str, &str)> = Vec::new();
    for row in 0..rest.len() {
        row_entries.clear();
        if let Some((names, values)) = texts.filter(|_| rest.is_valid(row)) {
            row_entries
                .extend(entries(rest, row).filter_map(|entry| names.get(entry).zip(values.get(entry))));
            row_entries.extend(columns.iter().filter_map(|(key, strings)| Some((*key, strings.get(row)?))));
            row_entries.sort_unstable();
        }
        row_entries.iter().for_each(|(name, value)| out.entry(name, value));
        out.end_row();
    }
    out.finish(rest)
}

/// Builds a map array row by row; its nulls are those of another array.
struct MapBuilder {
    names: TextBuilder,
    values: TextBuilder,
    offsets: Vec<i32>,
}

impl MapBuilder {
    fn new(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        MapBuilder { names: TextBuilder::new(rows), values: TextBuilder::new(rows), offsets }
    }

    fn entry(&mut self, name: &str, value: &str) {
        self.names.push(name);
        self.values.push(value);
    }

    fn end_row(&mut self) {
        let end = i32::try_from(self.names.len()).expect("one batch's maps have fewer than 2^31 entries");
        self.offsets.push(end);
    }

    fn finish(self, nulls_of: &MapArray) -> ArrayRef {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        let (names, values) = (plain(self.names.finish()), plain(self.values.finish()));
        map_array(offsets, names, values, nulls_of)
    }
}

/// A string array without a dictionary: what the entries of a map are made of.
fn plain(array: ArrayRef) -> ArrayRef {
    match StringsRef::new(array.as_ref()) {
        Some(strings @ StringsRef::Coded(_, _)) => Arc::new(StringArray::from_iter_values(
            (0..array.len()).map(|row| strings.get(row).unwrap_or_default()),
        )),
        _ => array,
    }
}

fn map_array(offsets: OffsetBuffer<i32>, names: ArrayRef, values: ArrayRef, nulls_of: &MapArray) -> ArrayRef {
    let DataType::Map(field, sorted) = data_type(ColumnType::Map) else {
        unreachable!("a map column holds maps")
    };
    let DataType::Struct(fields) = field.data_type() else { unreachable!("a map's entries are a struct") };
    let entries = StructArray::new(fields.clone(), vec![names, values], None);
    Arc::new(MapArray::new(Arc::clone(&field), offsets, entries, nulls_of.nulls().cloned(), sorted))
}

/// A map array as files name its parts, as the rest of the system names them.
pub fn rename(map: &MapArray) -> ArrayRef {
    let (names, values) = (Arc::clone(map.keys()), Arc::clone(map.values()));
    map_array(map.offsets().clone(), names, values, map)
}

/// The map behind an array, if it is one.
pub fn as_map(array: &ArrayRef) -> Option<&MapArray> {
    array.as_map_opt()
}

#[cfg(test)]
mod tests;
