//! A compiled filter over arrays, one bit per row.
//!
//! Every function takes the rows still in question (`candidates`, `None` for all). Bits outside them are meaningless
//! until the caller has cut them off; that lets costly tests skip rows and `Not` stay a plain inversion.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, ListArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;
use tidewater_model::filter::Comparison;
use tidewater_model::schema::ColumnRef;

use super::CompiledFilter;
use super::compile::{Node, Test};
use crate::text::StringsRef;

/// What a test said of a dictionary's entries.
#[derive(Default)]
pub(super) struct Verdicts {
    /// The dictionary; held, so that its address is not reused by another.
    values: Option<ArrayRef>,
    /// One of `UNKNOWN`, `NO`, `YES` per entry.
    states: Vec<u8>,
    is_complete: bool,
}

const UNKNOWN: u8 = 0;
const NO: u8 = 1;
const YES: u8 = 2;

pub(super) fn evaluate(
    filter: &CompiledFilter,
    verdicts: &mut [Verdicts],
    rows: usize,
    read: &mut dyn FnMut(&ColumnRef) -> Option<ArrayRef>,
) -> BooleanBuffer {
    let arrays = vec![None; filter.columns.len()];
    Run { filter, verdicts, rows, read, arrays }.node(&filter.root, None)
}

struct Run<'a> {
    filter: &'a CompiledFilter,
    verdicts: &'a mut [Verdicts],
    rows: usize,
    read: &'a mut dyn FnMut(&ColumnRef) -> Option<ArrayRef>,
    /// What `read` gave, per column of the filter; the outer `None` is "not asked yet".
    arrays: Vec<Option<Option<ArrayRef>>>,
}

impl Run<'_> {
    fn node(&mut self, node: &Node, candidates: Option<&BooleanBuffer>) -> BooleanBuffer {
        match node {
            Node::And(parts) => self.and(parts, candidates),
            Node::Or(parts) => self.or(parts, candidates),
            Node::Not(part) => !&self.node(part, candidates),
            Node::Leaf(leaf) => self.leaf(*leaf, candidates),
        }
    }

    fn and(&mut self, parts: &[Node], candidates: Option<&BooleanBuffer>) -> BooleanBuffer {
        let mut left = candidates.cloned();
        for part in parts {
            let bits = self.node(part, left.as_ref());
            let both = match left {
                Some(left) => &left & &bits,
                None => bits,
            };
            if !both.has_true() {
                return both;
            }
            left = Some(both);
        }
        left.unwrap_or_else(|| BooleanBuffer::new_set(self.rows))
    }

    fn or(&mut self, parts: &[Node], candidates: Option<&BooleanBuffer>) -> BooleanBuffer {
        let mut found = BooleanBuffer::new_unset(self.rows);
        let mut left = candidates.cloned();
        for part in parts {
            if left.as_ref().is_some_and(|left| !left.has_true()) {
                break;
            }
            let bits = self.node(part, left.as_ref());
            let (hits, misses) = match left {
                Some(left) => (&left & &bits, &left & &!&bits),
                None => (bits.clone(), !&bits),
            };
            found = &found | &hits;
            left = Some(misses);
        }
        found
    }

    fn leaf(&mut self, index: usize, candidates: Option<&BooleanBuffer>) -> BooleanBuffer {
        let leaf = &self.filter.leaves[index];
        let array = match &self.arrays[leaf.column] {
            Some(known) => known.clone(),
            None => {
                let array = (self.read)(&self.filter.columns[leaf.column]);
                self.arrays[leaf.column].insert(array).clone()
            }
        };
        match array {
            Some(array) => test_array(&leaf.test, &array, candidates, &mut self.verdicts[index]),
            None if leaf.test.on_null() => BooleanBuffer::new_set(self.rows),
            None => BooleanBuffer::new_unset(self.rows),
        }
    }
}

fn test_array(
    test: &Test,
    array: &ArrayRef,
    candidates: Option<&BooleanBuffer>,
    verdicts: &mut Verdicts,
) -> BooleanBuffer {
    match array.data_type() {
        DataType::Utf8 | DataType::Dictionary(_, _) => test_strings(test, array, candidates, verdicts),
        DataType::List(_) => test_lists(test, array.as_list::<i32>(), verdicts),
        data_type => {
            let bits = match (test, data_type) {
                (Test::Exists, _) => BooleanBuffer::new_set(array.len()),
                (_, DataType::Int64) => test_ints(test, array.as_primitive::<Int64Type>().values()),
                (_, DataType::Timestamp(_, _)) => {
                    array.as_primitive_opt::<TimestampMicrosecondType>().map_or_else(
                        || BooleanBuffer::new_unset(array.len()),
                        |times| test_ints(test, times.values()),
                    )
                }
                (_, DataType::Float64) => test_floats(test, array.as_primitive::<Float64Type>().values()),
                (_, DataType::Boolean) => test_bools(test, array.as_boolean()),
                _ => BooleanBuffer::new_unset(array.len()),
            };
            decide_nulls(bits, array.nulls(), test.on_null())
        }
    }
}

/// Sets what a null row says, whatever its slot held.
fn decide_nulls(bits: BooleanBuffer, nulls: Option<&NullBuffer>, on_null: bool) -> BooleanBuffer {
    match nulls {
        None => bits,
        Some(valid) if on_null => &bits | &!valid.inner(),
        Some(valid) => &bits & valid.inner(),
    }
}

fn test_ints(test: &Test, values: &[i64]) -> BooleanBuffer {
    match test {
        Test::Is(set) => BooleanBuffer::collect_bool(values.len(), |row| set.has_int(values[row])),
        Test::Compare(order) => {
            let (first, last) = order.ints;
            BooleanBuffer::collect_bool(values.len(), |row| (values[row] >= first) & (values[row] <= last))
        }
        Test::Exists | Test::Text(_) => BooleanBuffer::new_unset(values.len()),
    }
}

fn test_floats(test: &Test, values: &[f64]) -> BooleanBuffer {
    let rows = values.len();
    match test {
        Test::Is(set) => BooleanBuffer::collect_bool(rows, |row| set.has_float(values[row])),
        Test::Compare(order) => match order.floats {
            Some((Comparison::Gt, bound)) => BooleanBuffer::collect_bool(rows, |row| values[row] > bound),
            Some((Comparison::Gte, bound)) => BooleanBuffer::collect_bool(rows, |row| values[row] >= bound),
            Some((Comparison::Lt, bound)) => BooleanBuffer::collect_bool(rows, |row| values[row] < bound),
            Some((Comparison::Lte, bound)) => BooleanBuffer::collect_bool(rows, |row| values[row] <= bound),
            None => BooleanBuffer::new_unset(rows),
        },
        Test::Exists | Test::Text(_) => BooleanBuffer::new_unset(rows),
    }
}

fn test_bools(test: &Test, array: &BooleanArray) -> BooleanBuffer {
    match test {
        Test::Is(set) => match (set.holds_true, set.holds_false) {
            (true, true) => BooleanBuffer::new_set(array.len()),
            (true, false) => array.values().clone(),
            (false, true) => !array.values(),
            (false, false) => BooleanBuffer::new_unset(array.len()),
        },
        Test::Exists | Test::Text(_) | Test::Compare(_) => BooleanBuffer::new_unset(array.len()),
    }
}

fn test_strings(
    test: &Test,
    array: &ArrayRef,
    candidates: Option<&BooleanBuffer>,
    verdicts: &mut Verdicts,
) -> BooleanBuffer {
    let Some(strings) = StringsRef::new(array.as_ref()) else {
        return BooleanBuffer::new_unset(array.len());
    };
    let nulls = array.logical_nulls();
    let bits = match (test, strings) {
        (Test::Exists, _) => BooleanBuffer::new_set(array.len()),
        (_, StringsRef::Plain(strings)) => match candidates {
            Some(candidates) => BooleanBuffer::collect_bool(array.len(), |row| {
                candidates.value(row) && test.on_text(strings.value(row))
            }),
            None => BooleanBuffer::collect_bool(array.len(), |row| test.on_text(strings.value(row))),
        },
        (_, StringsRef::Coded(coded, values)) => {
            verdicts.settle(test, coded.values(), values, coded.keys().values(), nulls.as_ref(), candidates);
            let codes: &[i32] = coded.keys().values();
            let states = verdicts.states.as_slice();
            BooleanBuffer::collect_bool(codes.len(), |row| states.get(codes[row] as usize) == Some(&YES))
        }
    };
    decide_nulls(bits, nulls.as_ref(), test.on_null())
}

impl Verdicts {
    /// Makes sure that every entry the rows in question use has a verdict. A dictionary larger than the batch is only
    /// asked for what is used.
    fn settle(
        &mut self,
        test: &Test,
        dictionary: &ArrayRef,
        values: &arrow_array::StringArray,
        codes: &[i32],
        nulls: Option<&NullBuffer>,
        candidates: Option<&BooleanBuffer>,
    ) {
        if !self.values.as_ref().is_some_and(|known| same_strings(known, dictionary)) {
            self.values = Some(Arc::clone(dictionary));
            self.states.clear();
            self.states.resize(values.len(), UNKNOWN);
            self.is_complete = false;
        }
        if self.is_complete {
            return;
        }
        let verdict = |code: usize| if test.on_text(values.value(code)) { YES } else { NO };
        if values.len() <= codes.len() {
            for (code, state) in self.states.iter_mut().enumerate().filter(|(_, state)| **state == UNKNOWN) {
                *state = verdict(code);
            }
            self.is_complete = true;
            return;
        }
        for (row, &code) in codes.iter().enumerate() {
            let is_asked = candidates.is_none_or(|candidates| candidates.value(row));
            if is_asked
                && nulls.is_none_or(|nulls| nulls.is_valid(row))
                && self.states[code as usize] == UNKNOWN
            {
                self.states[code as usize] = verdict(code as usize);
            }
        }
    }
}

/// True if both arrays are views of the same memory, which a reader may have wrapped anew for each batch.
fn same_strings(a: &ArrayRef, b: &ArrayRef) -> bool {
    if Arc::ptr_eq(a, b) {
        return true;
    }
    let (Some(a), Some(b)) = (a.as_string_opt::<i32>(), b.as_string_opt::<i32>()) else { return false };
    std::ptr::eq(a.value_offsets(), b.value_offsets())
        && std::ptr::eq(a.value_data(), b.value_data())
        && a.null_count() == b.null_count()
}

/// Any element may match; a null or empty list is null.
fn test_lists(test: &Test, lists: &ListArray, verdicts: &mut Verdicts) -> BooleanBuffer {
    let offsets = lists.value_offsets();
    let (first, last) = (offsets[0] as usize, offsets[lists.len()] as usize);
    let elements = lists.values().slice(first, last - first);
    let hits = match test {
        Test::Compare(_) => BooleanBuffer::new_unset(elements.len()),
        _ => test_strings(test, &elements, None, verdicts),
    };
    BooleanBuffer::collect_bool(lists.len(), |row| {
        let range = offsets[row] as usize - first..offsets[row + 1] as usize - first;
        if lists.is_null(row) || range.is_empty() {
            return test.on_null();
        }
        range.into_iter().any(|element| hits.value(element))
    })
}
