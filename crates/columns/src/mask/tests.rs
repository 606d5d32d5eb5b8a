//! The vectorised evaluation against a naive one, row by row, straight from the words at [`Filter`].

use std::cmp::Ordering;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use tidewater_model::filter::{Comparison, Filter, Scalar, TextMatch};
use tidewater_model::schema::{ColumnId, ColumnRef, ColumnType};

use super::*;
use crate::testing::{Cell, KINDS, batch, build, cells, float, int, word};

fn scalar(kind: ColumnType) -> BoxedStrategy<Scalar> {
    match kind {
        ColumnType::Time => (-5_i64..5).prop_map(Scalar::Time).boxed(),
        ColumnType::Money => int().prop_map(Scalar::Money).boxed(),
        ColumnType::Int | ColumnType::Float => {
            prop_oneof![int().prop_map(Scalar::Int), float().prop_map(Scalar::Float)].boxed()
        }
        ColumnType::Bool => any::<bool>().prop_map(Scalar::Bool).boxed(),
        ColumnType::String | ColumnType::Strings | ColumnType::Map => word().prop_map(Scalar::String).boxed(),
    }
}

fn reference() -> impl Strategy<Value = (ColumnRef, ColumnType)> {
    // One id past the last: a column that was added later.
    (0..=KINDS.len(), word()).prop_map(|(id, key)| match KINDS.get(id) {
        Some(ColumnType::Map) => {
            (ColumnRef { column: ColumnId(id as u16), key: Some(Arc::from(key)) }, ColumnType::String)
        }
        kind => (ColumnRef::column(ColumnId(id as u16)), kind.copied().unwrap_or(ColumnType::String)),
    })
}

fn leaf() -> impl Strategy<Value = Filter> {
    reference().prop_flat_map(|(column, kind)| {
        let value = scalar(kind);
        let values = vec(prop_oneof![1 => Just(Scalar::Null), 4 => value.clone()], 1..12);
        let (is_column, text_column, compare_column) = (column.clone(), column.clone(), column.clone());
        let is = (values, any::<bool>()).prop_map(move |(values, case_sensitive)| Filter::Is {
            column: is_column.clone(),
            values,
            case_sensitive,
        });
        let how = prop::sample::select(vec![
            TextMatch::Contains,
            TextMatch::StartsWith,
            TextMatch::EndsWith,
            TextMatch::Regex,
        ]);
        let text =
            (how, vec(word(), 1..4), any::<bool>()).prop_map(move |(how, patterns, case_sensitive)| {
                Filter::Text { column: text_column.clone(), how, patterns, case_sensitive }
            });
        let how =
            prop::sample::select(vec![Comparison::Gt, Comparison::Gte, Comparison::Lt, Comparison::Lte]);
        let compare = (how, value).prop_map(move |(how, value)| Filter::Compare {
            column: compare_column.clone(),
            how,
            value,
        });
        match kind {
            ColumnType::String => prop_oneof![is, text, compare].boxed(),
            ColumnType::Strings => prop_oneof![is, text].boxed(),
            ColumnType::Bool => is.boxed(),
            _ => prop_oneof![is, compare, Just(Filter::Exists { column })].boxed(),
        }
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    leaf().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Filter::And),
            vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|part| Filter::Not(Box::new(part))),
        ]
    })
}

/// One row, one filter.
fn naive(filter: &Filter, row: &dyn Fn(&ColumnRef) -> Cell) -> bool {
    match filter {
        Filter::And(parts) => parts.iter().all(|part| naive(part, row)),
        Filter::Or(parts) => parts.iter().any(|part| naive(part, row)),
        Filter::Not(part) => !naive(part, row),
        Filter::Exists { column } => !values_of(row(column)).is_empty(),
        Filter::Is { column, values, case_sensitive } => match values_of(row(column)).as_slice() {
            [] => values.contains(&Scalar::Null),
            cells => {
                cells.iter().any(|cell| values.iter().any(|value| is_equal(cell, value, *case_sensitive)))
            }
        },
        Filter::Text { column, how, patterns, case_sensitive } => values_of(row(column)).iter().any(|cell| {
            let Cell::Text(text) = cell else { return false };
            patterns.iter().any(|pattern| matches_text(text, *how, pattern, *case_sensitive))
        }),
        Filter::Compare { column, how, value } => order(&row(column), value).is_some_and(|order| match how {
            Comparison::Gt => order.is_gt(),
            Comparison::Gte => order.is_ge(),
            Comparison::Lt => order.is_lt(),
            Comparison::Lte => order.is_le(),
        }),
    }
}

fn values_of(cell: Cell) -> Vec<Cell> {
    match cell {
        Cell::Null => Vec::new(),
        Cell::List(items) => items.into_iter().map(Cell::Text).collect(),
        cell => vec![cell],
    }
}

fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

fn matches_text(text: &str, how: TextMatch, pattern: &str, case_sensitive: bool) -> bool {
    if how == TextMatch::Regex {
        let pattern = if case_sensitive { pattern.to_owned() } else { format!("(?i){pattern}") };
        return regex::Regex::new(&pattern).expect("words are expressions").is_match(text);
    }
    let fold = |text: &str| if case_sensitive { text.to_owned() } else { lower(text) };
    let (text, pattern) = (fold(text), fold(pattern));
    match how {
        TextMatch::Contains => text.contains(&pattern),
        TextMatch::StartsWith => text.starts_with(&pattern),
        _ => text.ends_with(&pattern),
    }
}

fn is_equal(cell: &Cell, value: &Scalar, case_sensitive: bool) -> bool {
    match (cell, value) {
        (Cell::Text(text), Scalar::String(value)) if !case_sensitive => lower(text) == lower(value),
        (Cell::Bool(cell), Scalar::Bool(value)) => cell == value,
        _ => order(cell, value) == Some(Ordering::Equal),
    }
}

fn order(cell: &Cell, value: &Scalar) -> Option<Ordering> {
    Some(match (cell, value) {
        (Cell::Int(cell), Scalar::Int(value) | Scalar::Money(value) | Scalar::Time(value)) => cell.cmp(value),
        (Cell::Float(cell), Scalar::Float(value)) => cell.partial_cmp(value)?,
        (Cell::Int(cell), Scalar::Float(value)) => order_int_float(*cell, *value),
        (Cell::Float(cell), Scalar::Int(value)) => order_int_float(*value, *cell).reverse(),
        (Cell::Text(cell), Scalar::String(value)) => cell.as_bytes().cmp(value.as_bytes()),
        _ => return None,
    })
}

/// Exact: a finite float past the range of 128 bits saturates to a side no `i64` is on.
fn order_int_float(int: i64, float: f64) -> Ordering {
    i128::from(int)
        .cmp(&(float.trunc() as i128))
        .then_with(|| 0.0_f64.partial_cmp(&float.fract()).expect("finite"))
}

fn read_naive(batch: &RowBatch, row: usize, reference: &ColumnRef) -> Cell {
    let cell = cells(batch.column(reference.column), batch.rows()).swap_remove(row);
    match (&reference.key, cell) {
        (None, cell) => cell,
        (Some(key), Cell::Map(entries)) => entries
            .into_iter()
            .find(|(own, _)| **own == **key)
            .map_or(Cell::Null, |(_, value)| Cell::Text(value)),
        (Some(_), _) => Cell::Null,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn equals_the_naive_evaluation(filter in filter(), batches in vec(batch(24), 1..3)) {
        let compiled = Arc::new(CompiledFilter::compile(&filter).expect("words are expressions"));
        let mut evaluator = Evaluator::new(compiled);
        for batch in &batches {
            // The second time the verdicts on the dictionary's entries are remembered.
            for part in [batch.slice(0, batch.rows() / 2), batch.clone()] {
                let mask = evaluator.evaluate(part.rows(), &mut |reference| part.read(reference));
                prop_assert_eq!(mask.len(), part.rows());
                for row in 0..part.rows() {
                    let expected = naive(&filter, &|reference| read_naive(&part, row, reference));
                    prop_assert_eq!(mask.value(row), expected, "row {} of {:?}", row, part);
                }
            }
        }
    }
}

#[test]
fn columns_are_read_once_and_only_if_they_matter() {
    let exists = |id| Filter::Exists { column: ColumnRef::column(ColumnId(id)) };
    let filter = Filter::And(vec![exists(1), exists(1), exists(2)]);
    let compiled = Arc::new(CompiledFilter::compile(&filter).expect("no expressions"));
    assert_eq!(compiled.columns().len(), 2);
    let mut asked = Vec::new();
    let mask = Evaluator::new(compiled).evaluate(3, &mut |reference| {
        asked.push(reference.column.0);
        None
    });
    assert!(!mask.has_true());
    assert_eq!(asked, [1]);
}

#[test]
fn a_bad_expression_is_an_error() {
    let filter = |pattern: &str| Filter::Text {
        column: ColumnRef::column(ColumnId(1)),
        how: TextMatch::Regex,
        patterns: vec![pattern.to_owned()],
        case_sensitive: true,
    };
    for pattern in ["(", r"((a{1,1000}){1,1000}){1,1000}", r"(a)\1"] {
        assert!(
            matches!(CompiledFilter::compile(&filter(pattern)), Err(MaskError::Regex { .. })),
            "{pattern}"
        );
    }
}

#[test]
fn text_is_folded_letter_by_letter() {
    let column =
        build(ColumnType::String, false, &[Cell::Text("ΑΣ".to_owned()), Cell::Text("ας".to_owned())]);
    let times = build(ColumnType::Time, false, &[Cell::Int(0), Cell::Int(0)]);
    let filter = Filter::Is {
        column: ColumnRef::column(ColumnId(1)),
        values: vec![Scalar::String("ασ".to_owned())],
        case_sensitive: false,
    };
    let compiled = Arc::new(CompiledFilter::compile(&filter).expect("no expressions"));
    let mask = compiled.mask(&RowBatch::new(vec![Some(times), Some(column)]));
    assert_eq!((mask.value(0), mask.value(1)), (true, false));
}
