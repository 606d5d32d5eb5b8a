//! What was wrong with a dataset definition, a filter or a question: one shape, so that one place maps it to a reply.
//!
//! Not here: HTTP statuses (`server`), and errors of rows (`decode`) or of execution (`query`).

use std::fmt;

use serde_json::{Map, Value};

use crate::names::{excerpt, suggest};

/// A fault in what a user asked for. The message is one sentence or two: what was wrong with which value, and what would
/// be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InputError {
    /// A stable snake_case word, see [`codes`].
    pub code: &'static str,
    /// Where in the object it stands (`filters[1][2]`), if it stands at one place.
    pub field: Option<String>,
    /// For people.
    pub message: String,
}

/// The words an [`InputError`] can carry.
pub mod codes {
    /// A widening that would change what exists (a type, the id, the time column, the sort).
    pub const SCHEMA_CONFLICT: &str = "schema_conflict";
    /// A dataset, column, metric or roll-up name that is not of the form.
    pub const INVALID_NAME: &str = "invalid_name";
    /// A column, metric, roll-up or answer name that is there twice.
    pub const DUPLICATE_NAME: &str = "duplicate_name";
    /// A column type that does not exist or does not fit its use.
    pub const INVALID_TYPE: &str = "invalid_type";
    /// A metric whose function, column or parts do not fit.
    pub const INVALID_METRIC: &str = "invalid_metric";
    /// A roll-up whose parts do not fit.
    pub const INVALID_ROLLUP: &str = "invalid_rollup";
    /// A retention that is not like `90d`.
    pub const INVALID_RETENTION: &str = "invalid_retention";
    /// JSON that is not the object that was expected.
    pub const INVALID_DEFINITION: &str = "invalid_definition";
    /// A column the dataset does not have.
    pub const UNKNOWN_COLUMN: &str = "unknown_column";
    /// A metric the dataset does not have.
    pub const UNKNOWN_METRIC: &str = "unknown_metric";
    /// A dimension that is neither a column nor a time bucket.
    pub const UNKNOWN_DIMENSION: &str = "unknown_dimension";
    /// A dimension that cannot be grouped by, or a second time dimension.
    pub const INVALID_DIMENSION: &str = "invalid_dimension";
    /// An order by something the question does not ask for.
    pub const INVALID_ORDER: &str = "invalid_order";
    /// A member the object does not have.
    pub const UNKNOWN_FIELD: &str = "unknown_field";
    /// A member that must be there.
    pub const MISSING_FIELD: &str = "missing_field";
    /// A filter of the wrong shape, or an operator that does not fit its column.
    pub const INVALID_FILTER: &str = "invalid_filter";
    /// A value that does not fit where it stands.
    pub const INVALID_VALUE: &str = "invalid_value";
    /// A regular expression that does not compile.
    pub const INVALID_REGEX: &str = "invalid_regex";
    /// A time that is none.
    pub const INVALID_TIME: &str = "invalid_time";
    /// A range that is none, or is empty.
    pub const INVALID_DATE_RANGE: &str = "invalid_date_range";
    /// A zone the tz database does not have.
    pub const UNKNOWN_TIMEZONE: &str = "unknown_timezone";
    /// A dataset that the caller's row scope does not fit (HTTP 403).
    pub const ROW_SCOPE: &str = "row_scope";
    /// Something besides cost metrics, for a caller who may see only these (HTTP 403).
    pub const COST_ONLY: &str = "cost_only";
    /// Past one of [`crate::limits`].
    pub const LIMIT_EXCEEDED: &str = "limit_exceeded";
}

impl InputError {
    /// An error at a place.
    pub fn new(code: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        InputError { code, field: Some(field.into()), message: message.into() }
    }

    /// Whether the request was well formed but contradicts what is stored (HTTP 409 rather than 400).
    pub fn is_conflict(&self) -> bool {
        self.code == codes::SCHEMA_CONFLICT
    }

    /// Whether the question is good and its caller may not ask it (HTTP 403 rather than 400).
    pub fn is_forbidden(&self) -> bool {
        matches!(self.code, codes::ROW_SCOPE | codes::COST_ONLY)
    }

    /// The same error, with its place seen from the object around it: `[1]` in `filters` is `filters[1]`.
    pub fn within(mut self, outer: &str) -> Self {
        self.field = Some(match self.field {
            None => outer.to_owned(),
            Some(inner) if inner.is_empty() || inner.starts_with('[') => format!("{outer}{inner}"),
            Some(inner) => format!("{outer}.{inner}"),
        });
        self
    }
}

/// "unknown {what} '{name}'" with the nearest known name, or with the known names where they are few.
pub(crate) fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    /// More names than this make the message a wall.
    const LISTED_MAX: usize = 12;
    let known: Vec<&str> = known.into_iter().collect();
    let name_shown = excerpt(name);
    if let Some(nearest) = suggest(name, known.iter().copied()) {
        return format!("unknown {what} '{name_shown}'; did you mean '{nearest}'?");
    }
    match known.len() {
        0 => format!("unknown {what} '{name_shown}'; there is none"),
        1..=LISTED_MAX => format!("unknown {what} '{name_shown}'; known: {}", known.join(", ")),
        count => format!("unknown {what} '{name_shown}'; there are {count}, none is similar"),
    }
}

/// Refuses members of `object` that are not in `known`.
pub(crate) fn check_members(
    object: &Map<String, Value>,
    known: &[&str],
    outer: &str,
) -> Result<(), InputError> {
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let message = unknown("member", name, known.iter().copied());
            let error = InputError::new(codes::UNKNOWN_FIELD, excerpt(name), message);
            Err(if outer.is_empty() { error } else { error.within(outer) })
        }
    }
}

/// A JSON value as a message shows it: its text, shortened.
pub(crate) struct Shown<'a>(pub &'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Array(_) => f.write_str("a list"),
            Value::Object(_) => f.write_str("an object"),
            Value::String(text) => write!(f, "\"{}\"", excerpt(text)),
            other => write!(f, "{other}"),
        }
    }
}
