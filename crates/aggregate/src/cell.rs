//! One value of an answer.
//!
//! Not here: how it is written as JSON or CSV (`server`).

use std::sync::Arc;

use tidewater_model::time::Timestamp;

/// A typed value of an answer's row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A count, a sum of integers, an integer.
    Int(i128),
    /// A finite double.
    Float(f64),
    /// Money in 1e-9 units.
    Money(i128),
    /// Text.
    Text(Arc<str>),
    /// An instant.
    Time(Timestamp),
    /// A time bucket of a dimension: its start, and the label API.md gives it.
    Bucket(Timestamp, Arc<str>),
    /// A list of strings; only in rows.
    List(Vec<Arc<str>>),
    /// A string-to-string map in stored order; only in rows.
    Map(Vec<(Arc<str>, Arc<str>)>),
}

/// 1e-9 units in one unit of money.
pub const MONEY_UNIT: f64 = 1e9;

impl Cell {
    /// Bytes it holds, where it shares no text with others.
    pub fn memory_bytes(&self) -> usize {
        /// The counts before a shared text.
        const COUNTS_BYTES: usize = 16;
        let text = |text: &Arc<str>| text.len() + COUNTS_BYTES;
        let outside = match self {
            Cell::Text(value) | Cell::Bucket(_, value) => text(value),
            Cell::List(items) => items.iter().map(|item| text(item) + size_of::<Arc<str>>()).sum(),
            Cell::Map(entries) => {
                entries.iter().map(|(key, value)| text(key) + text(value) + 2 * size_of::<Arc<str>>()).sum()
            }
            _ => 0,
        };
        size_of::<Self>() + outside
    }

    /// The value as a number for `having`, ratios and charts (money in whole units); `None` for null and for what is no number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Cell::Int(value) => Some(*value as f64),
            Cell::Float(value) => Some(*value),
            Cell::Money(nanos) => Some(*nanos as f64 / MONEY_UNIT),
            Cell::Bool(value) => Some(f64::from(u8::from(*value))),
            _ => None,
        }
    }

    /// True for [`Cell::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Cell::Null)
    }

    /// A float, or null where the arithmetic left the finite numbers.
    pub fn finite(value: f64) -> Cell {
        if value.is_finite() { Cell::Float(value) } else { Cell::Null }
    }
}
