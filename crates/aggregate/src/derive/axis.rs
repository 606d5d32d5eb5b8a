//! The values of one dimension among the rows of one project: as codes while rows come, then in order.
//!
//! All roll-ups of a dataset that have the dimension share it, so that each value is looked up once.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringArray};
use tidewater_columns::StringsRef;
use tidewater_model::schema::ColumnType;

use crate::feed::Rows;
use crate::group::Codes;
use crate::section::dimension::{ValueKind, Values, write_values};

/// A dimension's values met so far, and the codes of the rows of the last batch.
pub(super) struct Axis {
    kind: ValueKind,
    codes: Codes,
    /// Of the last batch.
    pub rows: Vec<u32>,
}

/// The values in order.
pub(super) struct Sorted {
    /// The values' bytes in a section.
    pub bytes: Vec<u8>,
    /// Of each code its place in the order, from 1; of null 0.
    pub ranks: Vec<u32>,
}

impl Axis {
    pub fn new(kind: ValueKind) -> Self {
        let column = match kind {
            ValueKind::Text | ValueKind::List => ColumnType::String,
            ValueKind::Int => ColumnType::Int,
            ValueKind::Float => ColumnType::Float,
            ValueKind::Bool => ColumnType::Bool,
        };
        Axis { kind, codes: Codes::column(column), rows: Vec::new() }
    }

    pub fn cardinality(&self) -> usize {
        self.codes.cardinality()
    }

    /// Takes the values of the next batch. `None` is null in every row.
    pub fn encode(&mut self, array: Option<&ArrayRef>, rows: usize) {
        self.rows.clear();
        let texts = array.filter(|_| self.kind == ValueKind::List).and_then(list_texts);
        let array = if self.kind == ValueKind::List { texts.as_ref() } else { array };
        let encoded = self.codes.encode(array, Rows::All(rows), &mut self.rows);
        encoded.expect("only time buckets and given codes can fail, and these are codes of a column");
    }

    /// Puts the values in order: numbers as numbers, texts by UTF-8 bytes.
    pub fn sort(&self) -> Sorted {
        let codes = 1..self.cardinality() as u32;
        let mut ranks = vec![0; self.cardinality()];
        let bytes = if matches!(self.kind, ValueKind::Text | ValueKind::List) {
            let text = |code: u32| self.codes.text(code).unwrap_or_default();
            let shared = shared_beginning(codes.clone().map(|code| text(code).as_bytes()));
            let mut order: Vec<(u64, u32)> =
                codes.map(|code| (beginning(&text(code).as_bytes()[shared..]), code)).collect();
            order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| text(a.1).cmp(text(b.1))));
            order.iter().zip(1..).for_each(|((_, code), rank)| ranks[*code as usize] = rank);
            let texts: Vec<&str> = order.iter().map(|(_, code)| text(*code)).collect();
            write_values(self.kind, &Values::Texts(&texts))
        } else {
            let mut numbers: Vec<(i64, u32)> =
                codes.filter_map(|code| self.codes.number(code).map(|number| (number, code))).collect();
            numbers.sort_unstable();
            numbers.iter().zip(1..).for_each(|((_, code), rank)| ranks[*code as usize] = rank);
            let numbers: Vec<i64> = numbers.iter().map(|(number, _)| *number).collect();
            write_values(self.kind, &Values::Numbers(&numbers))
        };
        Sorted { bytes, ranks }
    }
}

/// The first bytes as a number that orders as they do, which spares most comparisons of texts.
fn beginning(text: &[u8]) -> u64 {
    let mut bytes = [0; size_of::<u64>()];
    let len = text.len().min(bytes.len());
    bytes[..len].copy_from_slice(&text[..len]);
    u64::from_be_bytes(bytes)
}

/// How many bytes at their beginning all texts have in common, as names of one kind often do.
fn shared_beginning<'a>(mut texts: impl Iterator<Item = &'a [u8]>) -> usize {
    let Some(first) = texts.next() else { return 0 };
    let shared = |len: usize, text: &[u8]| match text.get(..len) == Some(&first[..len]) {
        true => len,
        false => first[..len].iter().zip(text).take_while(|(a, b)| a == b).count(),
    };
    texts.fold(first.len(), shared)
}

/// Each list as JSON text.
fn list_texts(array: &ArrayRef) -> Option<ArrayRef> {
    let lists = array.as_list_opt::<i32>()?;
    let strings = StringsRef::new(lists.values().as_ref())?;
    let ends = lists.value_offsets();
    let text = |row: usize| {
        let elements = ends[row] as usize..ends[row + 1] as usize;
        let list: Vec<&str> = elements.filter_map(|element| strings.get(element)).collect();
        serde_json::json!(list).to_string()
    };
    let texts: StringArray = (0..lists.len()).map(|row| lists.is_valid(row).then(|| text(row))).collect();
    Some(Arc::new(texts))
}
