//! The order of rows in a segment: (project, sort columns, time, `_lsn`, `_pos`); strings by UTF-8 bytes, nulls last.
//!
//! [`sorted`] packs each row's key into integers, which sort many times faster than comparing row by row; [`compare`]
//! is the same order for two single rows.

use std::cmp::Ordering;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use tidewater_columns::{Interner, StringsRef};
use tidewater_model::schema::ColumnId;

use super::meta::day_of;
use super::rows::Rows;

/// The rows' indices in segment order. With `by_day` rows of one UTC day stand together, days ascending.
pub fn sorted(rows: &Rows, sort: &[ColumnId], by_day: bool) -> Vec<u32> {
    let count = rows.len();
    let mut key = PackedKey::new(count);
    if by_day {
        key.push(rows.batch.times().iter().map(|time| ordered_i64(i64::from(day_of(*time)))));
    }
    push_column(&mut key, &rows.projects);
    for array in sort.iter().filter_map(|id| rows.batch.column(*id)) {
        push_column(&mut key, array);
    }
    key.push(rows.batch.times().iter().map(|time| ordered_i64(*time)));
    key.push(rows.lsn_values().iter().map(|lsn| ordered_i64(*lsn)));
    key.push(rows.position_values().iter().map(|position| ordered_i64(i64::from(*position))));
    key.sorted()
}

/// How two rows of (maybe) different batches stand to each other.
pub fn compare(a: (&Rows, usize), b: (&Rows, usize), sort: &[ColumnId]) -> Ordering {
    let identity = |(rows, row): (&Rows, usize)| {
        (rows.batch.times()[row], rows.lsn_values()[row], rows.position_values()[row])
    };
    let mut order = a.0.project_names().get(a.1).cmp(&b.0.project_names().get(b.1));
    for id in sort {
        order = order
            .then_with(|| Value::of(a.0.batch.column(*id), a.1).cmp(&Value::of(b.0.batch.column(*id), b.1)));
    }
    order.then_with(|| identity(a).cmp(&identity(b)))
}

/// A sort column's value in one row; null is the greatest. Lists and maps have no order: all their values are equal.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Value<'a> {
    Number(u64),
    Text(&'a str),
    Unordered,
    Null,
}

impl<'a> Value<'a> {
    fn of(array: Option<&'a ArrayRef>, row: usize) -> Self {
        let Some(array) = array else { return Value::Null };
        if let Some(strings) = StringsRef::new(array.as_ref()) {
            return strings.get(row).map_or(Value::Null, Value::Text);
        }
        if !has_order(array.data_type()) {
            return Value::Unordered;
        }
        if array.is_null(row) {
            return Value::Null;
        }
        Value::Number(match array.data_type() {
            DataType::Int64 => ordered_i64(array.as_primitive::<Int64Type>().value(row)),
            DataType::Float64 => ordered_f64(array.as_primitive::<Float64Type>().value(row)),
            DataType::Boolean => u64::from(array.as_boolean().value(row)),
            _ => ordered_i64(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        })
    }
}

fn has_order(data_type: &DataType) -> bool {
    !matches!(data_type, DataType::List(_) | DataType::Map(_, _))
}

/// Order-preserving map from signed to unsigned.
fn ordered_i64(value: i64) -> u64 {
    value as u64 ^ (1 << 63)
}

/// The order of `f64::total_cmp`, as an integer.
fn ordered_f64(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn push_column(key: &mut PackedKey, array: &ArrayRef) {
    if !has_order(array.data_type()) {
        return;
    }
    if let Some(strings) = StringsRef::new(array.as_ref()) {
        return push_strings(key, strings);
    }
    if let Some(nulls) = array.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
        key.push(nulls.iter().map(|valid| u64::from(!valid)));
    }
    // The value under a null is arbitrary, so it must not decide anything.
    let valid = |row: usize, value: u64| if array.is_valid(row) { value } else { ordered_i64(0) };
    match array.data_type() {
        DataType::Int64 => {
            let values = array.as_primitive::<Int64Type>().values();
            key.push(values.iter().enumerate().map(|(row, value)| valid(row, ordered_i64(*value))));
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            key.push(values.iter().enumerate().map(|(row, value)| valid(row, ordered_f64(*value))));
        }
        DataType::Boolean => {
            let values = array.as_boolean().values();
            key.push(values.iter().enumerate().map(|(row, value)| valid(row, u64::from(value))));
        }
        _ => {
            let values = array.as_primitive::<TimestampMicrosecondType>().values();
            key.push(values.iter().enumerate().map(|(row, value)| valid(row, ordered_i64(*value))));
        }
    }
}

/// Strings go in by the rank of their dictionary entry; null ranks after all of them.
fn push_strings(key: &mut PackedKey, strings: StringsRef<'_>) {
    match strings {
        StringsRef::Coded(coded, values) => {
            let ranks =
                ranks(values.len(), |code| values.is_valid(code).then(|| values.value(code).as_bytes()));
            let null = values.len() as u64;
            let codes = coded.keys();
            key.push(codes.values().iter().enumerate().map(|(row, code)| {
                if codes.is_null(row) {
                    null
                } else {
                    ranks.get(*code as usize).copied().map_or(null, u64::from)
                }
            }));
        }
        StringsRef::Plain(plain) => {
            let mut interner = Interner::default();
            let codes: Vec<Option<u32>> =
                plain.iter().map(|text| text.map(|text| interner.intern(text))).collect();
            let ranks = ranks(interner.len(), |code| Some(interner.get(code as u32)));
            let null = ranks.len() as u64;
            key.push(codes.iter().map(|code| code.map_or(null, |code| u64::from(ranks[code as usize]))));
        }
    }
}

/// The rank of each entry by bytes: equal entries share one, null entries rank last.
fn ranks<'a>(entries: usize, text: impl Fn(usize) -> Option<&'a [u8]>) -> Vec<u32> {
    let mut order: Vec<u32> = (0..entries as u32).collect();
    let value = |entry: &u32| {
        let text = text(*entry as usize);
        (text.is_none(), text)
    };
    order.sort_unstable_by(|a, b| value(a).cmp(&value(b)));
    let mut ranks = vec![0; entries];
    let mut rank = 0;
    for (index, entry) in order.iter().enumerate() {
        if value(entry).0 {
            rank = entries as u32;
        } else if index > 0 && value(entry) != value(&order[index - 1]) {
            rank += 1;
        }
        ranks[*entry as usize] = rank;
    }
    ranks
}

/// Keys of all rows, the most significant part first, in as few bits as the values' ranges allow.
struct PackedKey {
    rows: usize,
    /// Full words, then the one being filled.
    words: Vec<Vec<u128>>,
    /// Bits used in the last word.
    used: u32,
}

impl PackedKey {
    fn new(rows: usize) -> Self {
        PackedKey { rows, words: vec![vec![0; rows]], used: 0 }
    }

    /// Appends a part: one value per row.
    fn push(&mut self, values: impl Iterator<Item = u64> + Clone) {
        let (mut min, mut max) = (u64::MAX, 0);
        for value in values.clone() {
            min = min.min(value);
            max = max.max(value);
        }
        let bits = if max > min { 64 - (max - min).leading_zeros() } else { 0 };
        if bits == 0 {
            return;
        }
        if self.used + bits > 128 {
            self.words.push(vec![0; self.rows]);
            self.used = 0;
        }
        self.used += bits;
        let word = self.words.last_mut().expect("there is always a word");
        for (key, value) in word.iter_mut().zip(values) {
            *key = *key << bits | u128::from(value - min);
        }
    }

    fn sorted(mut self) -> Vec<u32> {
        let row_bits = usize::BITS - self.rows.leading_zeros();
        if self.words.len() == 1 && self.used + row_bits <= 128 {
            let mut keys = self.words.swap_remove(0);
            for (row, key) in keys.iter_mut().enumerate() {
                *key = *key << row_bits | row as u128;
            }
            // The stable sort finds runs that are sorted already, which merges and time-ordered arrivals are made of.
            keys.sort();
            let mask = (1_u128 << row_bits) - 1;
            return keys.into_iter().map(|key| (key & mask) as u32).collect();
        }
        let mut order: Vec<u32> = (0..self.rows as u32).collect();
        order.sort_by(|a, b| {
            let words = self.words.iter().map(|word| word[*a as usize].cmp(&word[*b as usize]));
            words.fold(Ordering::Equal, Ordering::then)
        });
        order
    }
}

#[cfg(test)]
mod tests;
