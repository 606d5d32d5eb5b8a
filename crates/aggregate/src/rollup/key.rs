//! Measure keys: what a roll-up keeps and what a question needs, told by the computation and never by a metric's name.

use serde_json::{Map, Value, json};
use tidewater_model::filter::{Filter, parse_stored, to_json};
use tidewater_model::query::{Function, Measure};
use tidewater_model::schema::{ColumnRef, ColumnType, Dataset};

use crate::state::{Reading, StateKind, TextRule};

/// A state over a column's values, of the rows that pass a filter.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasureKey {
    /// What is kept.
    pub state: StateKind,
    /// Over which values; `None` counts rows.
    pub column: Option<ColumnRef>,
    /// Of which rows; canonical.
    pub filter: Filter,
}

impl MeasureKey {
    /// How many rows there are: what every roll-up keeps.
    pub fn rows() -> Self {
        MeasureKey { state: StateKind::Count, column: None, filter: Filter::all() }
    }

    /// The state that a measure needs, and how its value is read from it. `exact` asks for states without estimates; percentiles
    /// have none and stay.
    pub fn of(measure: &Measure, dataset: &Dataset, exact: bool) -> (Self, Reading) {
        let kind = measure.column.as_ref().map_or(ColumnType::Int, |column| dataset.kind(column));
        let (state, reading) = state_of(measure.function, kind, exact);
        let filter = measure.filter.clone().canonical();
        (MeasureKey { state, column: measure.column.clone(), filter }, reading)
    }

    /// Whether everything that is read from `wanted` can be read from this.
    pub fn serves(&self, wanted: &MeasureKey) -> bool {
        self.column == wanted.column
            && self.filter == wanted.filter
            && wider(wanted.state, self.state) == self.state
    }

    /// Whether one state can serve both: this one or, after [`Self::widen`], that of the other.
    pub fn is_joined_with(&self, other: &MeasureKey) -> bool {
        self.serves(other) || other.serves(self)
    }

    /// Takes the larger of two states that are [joined](Self::is_joined_with): a mean holds the sum too.
    pub fn widen(&mut self, other: &MeasureKey) {
        self.state = wider(self.state, other.state);
    }

    /// The key as JSON text with the columns' names: the same in every process and version.
    pub fn text(&self, dataset: &Dataset) -> String {
        let mut members = Map::new();
        members.insert("state".to_owned(), json!(self.state.name()));
        if let Some(column) = &self.column {
            members.insert("column".to_owned(), json!(dataset.display(column)));
        }
        if !self.filter.is_all() {
            members.insert("filter".to_owned(), to_json(&self.filter, dataset));
        }
        Value::Object(members).to_string()
    }

    /// Reads [`Self::text`]. `None` where it speaks of a state or a column that is not known here: nothing can be read from it.
    pub fn parse(text: &str, dataset: &Dataset) -> Option<Self> {
        let Value::Object(members) = serde_json::from_str(text).ok()? else { return None };
        if members.keys().any(|name| !["state", "column", "filter"].contains(&name.as_str())) {
            return None;
        }
        let column = match members.get("column") {
            None => None,
            Some(name) => Some(dataset.resolve_column(name.as_str()?).ok()?),
        };
        let filter = match members.get("filter") {
            None => Filter::all(),
            Some(filter) => parse_stored(filter, dataset).ok()?.canonical(),
        };
        Some(MeasureKey { state: StateKind::parse(members.get("state")?.as_str()?)?, column, filter })
    }
}

impl StateKind {
    /// All kinds that are stored, with their names.
    const NAMES: [(StateKind, &'static str); 17] = [
        (StateKind::Count, "count"),
        (StateKind::IntSum, "int_sum"),
        (StateKind::IntMean, "int_mean"),
        (StateKind::FloatSum, "float_sum"),
        (StateKind::FloatMean, "float_mean"),
        (StateKind::Least, "least"),
        (StateKind::Greatest, "greatest"),
        (StateKind::Text(TextRule::Least), "least_text"),
        (StateKind::Text(TextRule::Greatest), "greatest_text"),
        (StateKind::Text(TextRule::First), "first_text"),
        (StateKind::Text(TextRule::Last), "last_text"),
        (StateKind::IntMoments, "int_moments"),
        (StateKind::FloatMoments, "float_moments"),
        (StateKind::Distinct, "distinct"),
        (StateKind::Quantiles, "quantiles"),
        (StateKind::First, "first"),
        (StateKind::Last, "last"),
    ];

    /// The name in a measure key.
    pub fn name(self) -> &'static str {
        let named = StateKind::NAMES.iter().find(|(kind, _)| *kind == self);
        // Sets of every distinct value are never stored, so their name is only for people.
        named.map_or("exact_distinct", |(_, name)| name)
    }

    /// The kinds that are stored.
    pub(crate) fn stored() -> impl Iterator<Item = StateKind> {
        StateKind::NAMES.iter().map(|(kind, _)| *kind)
    }

    /// The stored kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        StateKind::NAMES.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }

    /// Whether a row's time decides what is kept.
    pub fn needs_time(self) -> bool {
        matches!(self, StateKind::First | StateKind::Last | StateKind::Text(TextRule::First | TextRule::Last))
    }
}

/// The state that serves a function over a kind of column, and what is read from it.
fn state_of(function: Function, kind: ColumnType, exact: bool) -> (StateKind, Reading) {
    let is_float = kind == ColumnType::Float;
    let is_text = matches!(kind, ColumnType::String | ColumnType::Strings | ColumnType::Map);
    let of_text = |rule, other| if is_text { StateKind::Text(rule) } else { other };
    match function {
        Function::Count => (StateKind::Count, Reading::Value),
        Function::Sum if is_float => (StateKind::FloatSum, Reading::Value),
        Function::Sum => (StateKind::IntSum, Reading::Value),
        Function::Avg if is_float => (StateKind::FloatMean, Reading::Mean),
        Function::Avg => (StateKind::IntMean, Reading::Mean),
        Function::Min => (of_text(TextRule::Least, StateKind::Least), Reading::Value),
        Function::Max => (of_text(TextRule::Greatest, StateKind::Greatest), Reading::Value),
        Function::First => (of_text(TextRule::First, StateKind::First), Reading::Value),
        Function::Last => (of_text(TextRule::Last, StateKind::Last), Reading::Value),
        Function::Stddev if is_float => (StateKind::FloatMoments, Reading::Value),
        Function::Stddev => (StateKind::IntMoments, Reading::Value),
        Function::Uniq if exact => (StateKind::ExactDistinct, Reading::Value),
        Function::Uniq => (StateKind::Distinct, Reading::Value),
        Function::Quantile(permille) => (StateKind::Quantiles, Reading::Quantile(permille)),
    }
}

/// Of a sum and a mean the mean; else what is held.
fn wider(held: StateKind, wanted: StateKind) -> StateKind {
    match (held, wanted) {
        (StateKind::IntSum, StateKind::IntMean) | (StateKind::FloatSum, StateKind::FloatMean) => wanted,
        _ => held,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(state: StateKind) -> MeasureKey {
        MeasureKey { state, ..MeasureKey::rows() }
    }

    #[test]
    fn only_a_mean_serves_another_state() {
        for (one, _) in StateKind::NAMES {
            for (two, _) in StateKind::NAMES {
                let expected = one == two
                    || matches!(
                        (one, two),
                        (StateKind::IntMean, StateKind::IntSum) | (StateKind::FloatMean, StateKind::FloatSum)
                    );
                assert_eq!(key(one).serves(&key(two)), expected, "{one:?} {two:?}");
                assert_eq!(
                    key(one).is_joined_with(&key(two)),
                    expected || key(two).serves(&key(one)),
                    "{one:?} {two:?}"
                );
            }
        }
        let other = MeasureKey { filter: Filter::none(), ..key(StateKind::IntSum) };
        assert!(!key(StateKind::IntSum).serves(&other) && !other.serves(&key(StateKind::IntSum)));
    }
}
