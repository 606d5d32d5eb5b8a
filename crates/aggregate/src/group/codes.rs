//! One dimension's values as codes `0 .. cardinality`.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use tidewater_model::schema::ColumnType;
use tidewater_model::time::{BucketGrid, Timestamp};

use super::numbers::NumberCodes;
use super::table::SharedMemory;
use super::texts::TextCodes;
use crate::cell::Cell;
use crate::error::AggregateError;
use crate::feed::Rows;
use crate::state::{float_of_order, order_of_float};

/// The code of null, but for time buckets, which are never null.
pub(super) const NULL: u32 = 0;

/// The codes of one dimension.
#[derive(Clone)]
pub enum Codes {
    /// A bucket's code is its index in the grid.
    Buckets(Arc<BucketGrid>),
    /// Strings, map keys and elements of lists.
    Texts(Box<Texts>),
    /// Everything else that is ordered.
    Numbers(Box<Numbers>),
    /// Somebody else gives the codes; all of them are below this.
    Given(usize),
}

/// See [`TextCodes`]; a type of its own so that the enum's size does not show it.
#[derive(Clone)]
pub struct Texts(TextCodes);

/// See [`NumberCodes`].
#[derive(Clone)]
pub struct Numbers {
    codes: NumberCodes,
    kind: ColumnType,
}

impl Codes {
    /// For the time buckets of a grid.
    pub fn buckets(grid: &Arc<BucketGrid>) -> Self {
        Codes::Buckets(Arc::clone(grid))
    }

    /// For a column's values; of a `strings` column its elements.
    pub fn column(kind: ColumnType) -> Self {
        match kind {
            ColumnType::String | ColumnType::Strings | ColumnType::Map => {
                Codes::Texts(Box::new(Texts(TextCodes::new())))
            }
            ColumnType::Time | ColumnType::Int | ColumnType::Float | ColumnType::Bool | ColumnType::Money => {
                Codes::Numbers(Box::new(Numbers { codes: NumberCodes::default(), kind }))
            }
        }
    }

    /// Codes are below this.
    pub fn cardinality(&self) -> usize {
        match self {
            Codes::Buckets(grid) => grid.len(),
            Codes::Texts(texts) => texts.0.cardinality(),
            Codes::Numbers(numbers) => numbers.codes.cardinality(),
            Codes::Given(cardinality) => *cardinality,
        }
    }

    /// Appends the code of each row. `None` is null in every row.
    pub fn encode(
        &mut self,
        array: Option<&ArrayRef>,
        rows: Rows<'_>,
        out: &mut Vec<u32>,
    ) -> Result<(), AggregateError> {
        let Some(array) = array else {
            out.extend(std::iter::repeat_n(NULL, rows.len()));
            return Ok(());
        };
        match self {
            Codes::Buckets(grid) => encode_buckets(grid, array, rows, out),
            Codes::Texts(texts) => {
                texts.0.encode(array, rows, out);
                Ok(())
            }
            Codes::Numbers(numbers) => {
                numbers.encode(array, rows, out);
                Ok(())
            }
            Codes::Given(_) => Err(AggregateError::Inconsistent { what: "these codes are given, not made" }),
        }
    }

    /// The code here of what `other` calls `code`; a new one where it was not met. A bucket is the one with the same start,
    /// [`BucketGrid::OUTSIDE`] where this grid does not hold it.
    pub fn translate(&mut self, other: &Codes, code: u32) -> u32 {
        match (self, other) {
            (Codes::Texts(own), Codes::Texts(other)) => {
                other.0.text(code).map_or(NULL, |text| own.0.code_of(text))
            }
            (Codes::Numbers(own), Codes::Numbers(other)) => {
                other.codes.number(code).map_or(NULL, |number| own.codes.code_of(number))
            }
            (Codes::Buckets(own), Codes::Buckets(other)) if Arc::ptr_eq(own, other) => code,
            (Codes::Buckets(own), Codes::Buckets(other)) => {
                own.index_of_start(other.start(code)).unwrap_or(BucketGrid::OUTSIDE)
            }
            _ => code,
        }
    }

    /// Turns codes of `other` into those here; new ones where values were not met. Fails where a bucket lies outside of the grid here.
    pub(super) fn translate_all(&mut self, other: &Codes, codes: &mut [u32]) -> Result<(), AggregateError> {
        /// Not looked up yet. Only codes that are used are: a grid may have many buckets without rows.
        const UNKNOWN: u32 = u32::MAX;
        let mut known = vec![UNKNOWN; other.cardinality()];
        if let (Codes::Texts(own), Codes::Texts(other)) = (&mut *self, other) {
            own.0.translate_all(&other.0, codes, &mut known);
        } else {
            for code in codes.iter() {
                if known[*code as usize] == UNKNOWN {
                    known[*code as usize] = self.translate(other, *code);
                }
            }
        }
        codes.iter_mut().for_each(|code| *code = known[*code as usize]);
        // Texts and numbers have far fewer codes than that.
        match codes.contains(&BucketGrid::OUTSIDE) {
            true => Err(AggregateError::Inconsistent { what: "a part's time bucket lies outside the range" }),
            false => Ok(()),
        }
    }

    /// See [`TextCodes::adopt`].
    pub(super) fn adopt(&mut self, other: &Codes) -> Option<Vec<u32>> {
        match (self, other) {
            (Codes::Texts(own), Codes::Texts(other)) => own.0.adopt(&other.0),
            _ => None,
        }
    }

    /// Gives back room that is left over.
    pub(super) fn shrink(&mut self) {
        if let Codes::Texts(texts) = self {
            texts.0.shrink();
        }
    }

    /// The order of two codes' values, null last both ways.
    pub fn compare(&self, a: u32, b: u32, descending: bool) -> Ordering {
        match self {
            Codes::Buckets(_) if descending => b.cmp(&a),
            Codes::Buckets(_) => a.cmp(&b),
            Codes::Texts(texts) => texts.0.compare(a, b, descending),
            Codes::Numbers(numbers) => numbers.codes.compare(a, b, descending),
            Codes::Given(_) if descending => b.cmp(&a),
            Codes::Given(_) => a.cmp(&b),
        }
    }

    /// The place of each code's value in the order of [`Self::compare`].
    pub fn ranks(&self, descending: bool) -> Vec<u32> {
        let codes = self.cardinality() as u32;
        match self {
            Codes::Buckets(_) | Codes::Given(_) if descending => (0..codes).rev().collect(),
            Codes::Buckets(_) | Codes::Given(_) => (0..codes).collect(),
            Codes::Texts(_) | Codes::Numbers(_) => {
                let mut order: Vec<u32> = (0..codes).collect();
                order.sort_unstable_by(|a, b| self.compare(*a, *b, descending));
                let mut ranks = vec![0; order.len()];
                order.iter().zip(0..).for_each(|(code, rank)| ranks[*code as usize] = rank);
                ranks
            }
        }
    }

    /// The value behind a code.
    pub fn cell(&self, code: u32) -> Cell {
        match self {
            Codes::Buckets(grid) => Cell::Bucket(grid.start(code), grid.label(code).into()),
            Codes::Texts(texts) => texts.0.shared(code).map_or(Cell::Null, Cell::Text),
            Codes::Numbers(numbers) => {
                numbers.codes.number(code).map_or(Cell::Null, |number| match numbers.kind {
                    ColumnType::Float => Cell::Float(float_of_order(number)),
                    ColumnType::Bool => Cell::Bool(number != 0),
                    ColumnType::Money => Cell::Money(i128::from(number)),
                    ColumnType::Time => Cell::Time(Timestamp(number)),
                    _ => Cell::Int(i128::from(number)),
                })
            }
            Codes::Given(_) => Cell::Null,
        }
    }

    /// The text behind a code; `None` for null and for other kinds of values.
    pub fn text(&self, code: u32) -> Option<&str> {
        match self {
            Codes::Texts(texts) => texts.0.text(code),
            _ => None,
        }
    }

    /// The number behind a code, floats as numbers in their order; `None` for null and for other kinds of values.
    pub fn number(&self, code: u32) -> Option<i64> {
        match self {
            Codes::Numbers(numbers) => numbers.codes.number(code),
            _ => None,
        }
    }

    /// Lets go of the dictionary that the last rows came with.
    pub fn forget_dictionary(&mut self) {
        if let Codes::Texts(texts) = self {
            texts.0.forget_dictionary();
        }
    }

    /// The start of a time bucket in micro-seconds; 0 for other dimensions.
    pub fn bucket_start_us(&self, code: u32) -> i64 {
        match self {
            Codes::Buckets(grid) => grid.start(code).0,
            Codes::Texts(_) | Codes::Numbers(_) | Codes::Given(_) => 0,
        }
    }

    /// What copies share.
    pub(super) fn shared_memory(&self) -> Option<SharedMemory> {
        match self {
            Codes::Texts(texts) => Some(texts.0.shared_memory()),
            Codes::Buckets(_) | Codes::Given(_) | Codes::Numbers(_) => None,
        }
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Codes::Buckets(_) | Codes::Given(_) => 0,
            Codes::Texts(texts) => texts.0.memory_bytes(),
            Codes::Numbers(numbers) => numbers.codes.memory_bytes(),
        }
    }
}

impl Numbers {
    fn encode(&mut self, array: &ArrayRef, rows: Rows<'_>, out: &mut Vec<u32>) {
        match array.data_type() {
            DataType::Int64 => {
                let values = array.as_primitive::<Int64Type>().values();
                self.encode_with(array, rows, out, |row| values[row]);
            }
            DataType::Timestamp(_, _) => {
                let values = array.as_primitive::<TimestampMicrosecondType>().values();
                self.encode_with(array, rows, out, |row| values[row]);
            }
            DataType::Float64 => {
                let values = array.as_primitive::<Float64Type>().values();
                self.encode_with(array, rows, out, |row| order_of_float(values[row]));
            }
            DataType::Boolean => {
                let values = array.as_boolean().values();
                self.encode_with(array, rows, out, |row| i64::from(values.value(row)));
            }
            _ => out.extend(std::iter::repeat_n(NULL, rows.len())),
        }
    }

    #[inline]
    fn encode_with(
        &mut self,
        array: &ArrayRef,
        rows: Rows<'_>,
        out: &mut Vec<u32>,
        value: impl Fn(usize) -> i64,
    ) {
        let codes = &mut self.codes;
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        let code = |row: usize| match nulls {
            Some(nulls) if nulls.is_null(row) => NULL,
            _ => codes.code_of(value(row)),
        };
        match rows {
            Rows::All(rows) => out.extend((0..rows).map(code)),
            Rows::List(rows) => out.extend(rows.iter().map(|row| *row as usize).map(code)),
        }
    }
}

/// Orders codes of which [`NULL`] is none and any other stands for value `code − 1`.
pub(super) fn null_last(a: u32, b: u32, descending: bool, order: impl Fn(u32, u32) -> Ordering) -> Ordering {
    match (a.checked_sub(1), b.checked_sub(1)) {
        (Some(a), Some(b)) if descending => order(b, a),
        (Some(a), Some(b)) => order(a, b),
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
    }
}

fn encode_buckets(
    grid: &BucketGrid,
    array: &ArrayRef,
    rows: Rows<'_>,
    out: &mut Vec<u32>,
) -> Result<(), AggregateError> {
    let times = array.as_primitive::<TimestampMicrosecondType>().values();
    let first = out.len();
    match rows {
        Rows::All(rows) => grid.indices(&times[..rows], out),
        Rows::List(rows) => {
            let times: Vec<i64> = rows.iter().map(|row| times[*row as usize]).collect();
            grid.indices(&times, out);
        }
    }
    // The grid covers the unit's own span, so a row outside it means that the span is wrong.
    match out[first..].contains(&BucketGrid::OUTSIDE) {
        true => {
            Err(AggregateError::Inconsistent { what: "a row's time lies outside the span its unit states" })
        }
        false => Ok(()),
    }
}
