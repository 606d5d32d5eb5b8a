//! Filters: which rows a question, a metric or a delete speaks of. Resolved against a dataset, two-valued.
//!
//! Not here: the JSON form (`parse`, `literal`, `print`), and evaluation over columns (`columns::mask`).

mod canonical;
mod literal;
mod parse;
mod print;

use crate::schema::ColumnRef;

pub use parse::{FilterError, FilterParser, compile_regex, parse_filter, parse_filters, parse_stored};
pub use print::to_json;

#[cfg(test)]
mod tests;

/// A typed literal; its kind always fits the column it stands beside.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// Absent.
    Null,
    /// For `bool` columns.
    Bool(bool),
    /// For `int` columns.
    Int(i64),
    /// For `float` columns; finite.
    Float(f64),
    /// For `money` columns, in 1e-9 units.
    Money(i64),
    /// For `string` and `strings` columns and map keys.
    String(String),
    /// For the time column, micro-seconds since the epoch.
    Time(i64),
}

/// How a text operator matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TextMatch {
    /// The value holds the pattern.
    Contains,
    /// The value begins with the pattern.
    StartsWith,
    /// The value ends with the pattern.
    EndsWith,
    /// The value holds a match of the regular expression (linear time, no backtracking).
    Regex,
}

/// An order comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Comparison {
    /// `>`
    Gt,
    /// `>=`
    Gte,
    /// `<`
    Lt,
    /// `<=`
    Lte,
}

/// A predicate over one row. Two-valued: on a null `Is` asks whether null is among the values, `Text` and `Compare`
/// are false, and `Not` turns that round. On a `strings` column any element may match; an empty list counts as null.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// All hold; empty is true.
    And(Vec<Filter>),
    /// Any holds; empty is false.
    Or(Vec<Filter>),
    /// Does not hold.
    Not(Box<Filter>),
    /// The column equals one of the values.
    Is {
        /// What is looked at.
        column: ColumnRef,
        /// At least one; may hold `Null`.
        values: Vec<Scalar>,
        /// False compares by simple Unicode lower case.
        case_sensitive: bool,
    },
    /// The column's text matches one of the patterns.
    Text {
        /// A string, strings or map-key reference.
        column: ColumnRef,
        /// How.
        how: TextMatch,
        /// At least one.
        patterns: Vec<String>,
        /// False compares by simple Unicode lower case (for `Regex` the `(?i)` flag).
        case_sensitive: bool,
    },
    /// The column stands in that order to the value.
    Compare {
        /// An int, float, money, time or string reference (strings by UTF-8 bytes).
        column: ColumnRef,
        /// The order.
        how: Comparison,
        /// Never null.
        value: Scalar,
    },
    /// The column is not null.
    Exists {
        /// What is looked at.
        column: ColumnRef,
    },
}

impl Filter {
    /// The filter every row passes.
    pub fn all() -> Self {
        Filter::And(Vec::new())
    }

    /// True for [`Filter::all`].
    pub fn is_all(&self) -> bool {
        matches!(self, Filter::And(parts) if parts.is_empty())
    }

    /// Every column reference in it, in order, with repeats.
    pub fn columns<'a>(&'a self, out: &mut Vec<&'a ColumnRef>) {
        match self {
            Filter::And(parts) | Filter::Or(parts) => parts.iter().for_each(|part| part.columns(out)),
            Filter::Not(part) => part.columns(out),
            Filter::Is { column, .. }
            | Filter::Text { column, .. }
            | Filter::Compare { column, .. }
            | Filter::Exists { column } => out.push(column),
        }
    }
}
