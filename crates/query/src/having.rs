//! Conditions on finished rows.

use tidewater_model::filter::Comparison;
use tidewater_model::query::{Having, HavingComparison};

use tidewater_aggregate::Cell;

/// Whether a row with these metrics stays. Two-valued: null fails every order comparison and equals only null.
pub(crate) fn holds(having: &Having, metric: &dyn Fn(usize) -> Cell) -> bool {
    match having {
        Having::And(parts) => parts.iter().all(|part| holds(part, metric)),
        Having::Or(parts) => parts.iter().any(|part| holds(part, metric)),
        Having::Not(part) => !holds(part, metric),
        Having::Compare { metric: index, how, values } => compare(&metric(*index), *how, values),
    }
}

/// True for the condition every row meets.
pub(crate) fn is_all(having: &Having) -> bool {
    matches!(having, Having::And(parts) if parts.is_empty())
}

fn compare(cell: &Cell, how: HavingComparison, values: &[Option<f64>]) -> bool {
    let number = cell.as_f64();
    match how {
        HavingComparison::Is => values.iter().any(|value| match value {
            None => cell.is_null(),
            Some(value) => number == Some(*value),
        }),
        HavingComparison::Order(order) => {
            let ordered = |number: f64, value: f64| match order {
                Comparison::Gt => number > value,
                Comparison::Gte => number >= value,
                Comparison::Lt => number < value,
                Comparison::Lte => number <= value,
            };
            let value = values.first().copied().flatten();
            number.zip(value).is_some_and(|(number, value)| ordered(number, value))
        }
    }
}
