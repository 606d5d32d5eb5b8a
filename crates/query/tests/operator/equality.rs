//! Every answer equals the oracle's, however the rows are cut into chunks and however many threads there are.

use std::sync::OnceLock;

use proptest::prelude::*;
use tidewater_model::filter::Filter;
use tidewater_model::query::{
    Dimension, Function, Having, Include, Measure, Metric, MetricExpr, OrderKey, OrderTarget, Query,
};
use tidewater_model::schema::ColumnId;
use tidewater_model::time::{Granularity, RangeStep, ResolvedRange, Timestamp, Zone};
use tidewater_query::{Answer, AnswerRow, Cell, Control, Executor, ExecutorConfig};

use crate::data::{self, COST, KIND, NAME, Row, SCORE, SIZE, TAGS, column};
use crate::oracle;
use crate::questions::{self, DAY, START};

pub fn executor() -> &'static Executor {
    static EXECUTOR: OnceLock<Executor> = OnceLock::new();
    EXECUTOR.get_or_init(|| Executor::new(ExecutorConfig { threads: 3, ..ExecutorConfig::default() }))
}

pub fn ask(query: &Query, rows: &[Row], chunk_rows: usize) -> Answer {
    let view = data::view(rows, chunk_rows, &query.dataset);
    executor().execute(query, &view, &Control::default()).expect("an answer")
}

/// Checks one metric's cell. Percentiles may be off by their bound where they were estimated.
fn check_cell(query: &Query, metric: usize, cell: &Cell, expected: &Cell) {
    let is_estimate = |expr: &MetricExpr| {
        matches!(expr, MetricExpr::Measure(Measure { function: Function::Quantile(_), .. })) && !query.exact
    };
    let tolerance = if is_estimate(&query.metrics[metric].expr) { 0.0101 } else { 1e-9 };
    let is_close = match (cell.as_f64(), expected.as_f64()) {
        (Some(found), Some(wanted)) => (found - wanted).abs() <= tolerance * wanted.abs().max(1e-300),
        _ => false,
    };
    let is_number = matches!(expected, Cell::Float(_)) || is_estimate(&query.metrics[metric].expr);
    assert!(cell == expected || (is_number && is_close), "metric {metric}: {cell:?}, expected {expected:?}");
}

fn check_rows(query: &Query, found: &[AnswerRow], expected: &[AnswerRow]) {
    let dimensions =
        |rows: &[AnswerRow]| -> Vec<Vec<Cell>> { rows.iter().map(|row| row.dimensions.clone()).collect() };
    assert_eq!(dimensions(found), dimensions(expected));
    for (found, expected) in found.iter().zip(expected) {
        for (metric, (cell, wanted)) in found.metrics.iter().zip(&expected.metrics).enumerate() {
            check_cell(query, metric, cell, wanted);
        }
    }
}

pub fn check(query: &Query, rows: &[Row], chunk_rows: usize) {
    check_answer(query, rows, &ask(query, rows, chunk_rows));
}

/// Checks an answer that should be over these rows.
pub fn check_answer(query: &Query, rows: &[Row], answer: &Answer) {
    let expected = oracle::answer(query, rows);
    assert_eq!(answer.total_rows(), expected.rows.len() as u64);
    let all: Vec<AnswerRow> = answer.page(0, u32::MAX).iter().collect();
    check_rows(query, &all, &expected.rows);
    let middle = (expected.rows.len() / 2).min(3);
    assert_eq!(answer.page(middle as u64, 2), all.iter().skip(middle).take(2).cloned().collect());
    if query.include.totals {
        for (metric, (cell, wanted)) in
            answer.totals().expect("asked for").iter().zip(&expected.totals).enumerate()
        {
            check_cell(query, metric, cell, wanted);
        }
    }
    check_others(query, answer, expected.others.filter(|_| query.include.others));
    match (answer.comparison(0, u32::MAX), &query.compare) {
        (None, None) => {}
        (Some(comparison), Some(_)) => {
            assert_eq!(comparison.len(), expected.rows.len());
            for (entry, wanted) in comparison.iter().zip(&expected.comparison) {
                for (metric, cell) in entry.metrics.iter().enumerate() {
                    check_cell(
                        query,
                        metric,
                        cell,
                        wanted.as_ref().map_or(&Cell::Null, |wanted| &wanted[metric]),
                    );
                }
            }
        }
        (found, _) => panic!("a comparison is there if asked for: {found:?}"),
    }
    for (quality, metric) in answer.quality().iter().zip(&query.metrics) {
        let is_sketch =
            matches!(&metric.expr, MetricExpr::Measure(Measure { function: Function::Quantile(_), .. }));
        assert_eq!(quality.exact, !is_sketch || query.exact);
    }
}

fn check_others(query: &Query, answer: &Answer, expected: Option<(Vec<Cell>, Vec<Cell>)>) {
    let (others, (metrics, compared)) = match (answer.others(), expected) {
        (Some(others), Some(expected)) => (others, expected),
        (found, expected) => {
            return assert!(found.is_none() && expected.is_none(), "{found:?}, {expected:?}");
        }
    };
    let check = |found: &[Cell], expected: &[Cell]| {
        assert_eq!(found.len(), expected.len());
        for (metric, (cell, wanted)) in found.iter().zip(expected).enumerate() {
            check_cell(query, metric, cell, wanted);
        }
    };
    check(&others.metrics, &metrics);
    assert_eq!(others.comparison.is_some(), query.compare.is_some());
    if let Some(found) = &others.comparison {
        check(found, &compared);
    }
}

proptest! {
    #[test]
    fn any_answer_is_the_oracles(query in questions::query(), rows in questions::rows(), chunk_rows in 1usize..300) {
        check(&query, &rows, chunk_rows);
    }
}

pub fn measure(function: Function, column: Option<ColumnId>) -> Metric {
    let measure = Measure { function, column: column.map(data::column), filter: Filter::all() };
    Metric { name: "m".to_owned(), expr: MetricExpr::Measure(measure) }
}

/// A question over four days from [`START`], ordered by its dimensions.
pub fn question(metrics: Vec<Metric>, dimensions: Vec<Dimension>) -> Query {
    let to = Timestamp(START + 4 * DAY);
    Query {
        dataset: data::dataset(),
        project: data::project(),
        range: ResolvedRange {
            from: Timestamp(START),
            to: Some(to),
            nominal_to: to,
            word: None,
            step: RangeStep::Length(4 * DAY),
        },
        zone: Zone::utc(),
        order: (0..dimensions.len())
            .map(|index| OrderKey { target: OrderTarget::Dimension(index), descending: false })
            .collect(),
        metrics,
        dimensions,
        filter: Filter::all(),
        asked_filter: None,
        having: Having::And(Vec::new()),
        limit: 100,
        offset: 0,
        include: Include { totals: true, ..Include::default() },
        compare: None,
        exact: false,
        max_points: None,
        now: Timestamp(START + 30 * DAY),
    }
}

/// Rows with `names` different names, spread over four days.
pub fn many_rows(count: usize, names: usize) -> Vec<Row> {
    let step = 4 * DAY / count as i64;
    (0..count)
        .map(|index| Row {
            time: START + index as i64 * step,
            kind: Some(["a", "b", "c"][index % 3].to_owned()),
            name: Some(format!("name {}", index * 7_919 % names)),
            size: Some((index * 31 % 1_000) as i64),
            score: Some((index * 17 % 997) as f64 / 4.0),
            cost: Some(index as i64 * 1_000_003),
            tags: Some(vec![format!("t{}", index % 5), "all".to_owned()]),
            ..Row::default()
        })
        .collect()
}

#[test]
fn many_groups_use_every_kind_of_table() {
    let rows = many_rows(20_000, 3_000);
    let metrics = || {
        vec![
            measure(Function::Count, None),
            measure(Function::Sum, Some(COST)),
            measure(Function::Uniq, Some(NAME)),
        ]
    };
    let columns = |ids: &[ColumnId]| ids.iter().map(|id| Dimension::Column(column(*id))).collect::<Vec<_>>();
    for (dimensions, grouping) in [
        (columns(&[KIND]), "array"),
        (columns(&[NAME]), "array"),
        (columns(&[NAME, SIZE, SCORE]), "hash"),
        (columns(&[NAME, SIZE, SCORE, COST, KIND, TAGS]), "hash"),
    ] {
        let mut query = question(metrics(), dimensions);
        query.include.explain = true;
        query.exact = true;
        for chunk_rows in [999, 20_000] {
            check(&query, &rows, chunk_rows);
            let answer = ask(&query, &rows, chunk_rows);
            assert_eq!(answer.explain().grouping, grouping);
        }
    }
}

#[test]
fn estimates_keep_their_bounds() {
    let rows = many_rows(30_000, 5_000);
    let metrics = vec![measure(Function::Uniq, Some(NAME)), measure(Function::Quantile(950), Some(COST))];
    let query = question(metrics, vec![Dimension::Column(column(KIND))]);
    let expected = oracle::answer(&query, &rows);
    let answer = ask(&query, &rows, 7_000);
    for (row, wanted) in answer.page(0, 10).iter().zip(&expected.rows) {
        for (metric, bound) in [(0, 0.033), (1, 0.01)] {
            let (found, wanted) = (row.metrics[metric].as_f64(), wanted.metrics[metric].as_f64());
            let (found, wanted) = (found.expect("a number"), wanted.expect("a number"));
            assert!((found - wanted).abs() <= bound * wanted, "{found}, exactly {wanted}");
        }
    }
    let quality: Vec<(bool, f64)> =
        answer.quality().iter().map(|quality| (quality.exact, quality.relative_error)).collect();
    assert_eq!(quality, [(false, 0.033), (false, 0.01)]);
}

#[test]
fn no_rows_still_give_an_answer() {
    let metrics = vec![
        measure(Function::Count, None),
        measure(Function::Sum, Some(SIZE)),
        measure(Function::Uniq, Some(NAME)),
        measure(Function::Avg, Some(SIZE)),
        measure(Function::Quantile(500), Some(SCORE)),
    ];
    let mut query = question(metrics, Vec::new());
    query.include.fill = true;
    let cells = vec![Cell::Int(0), Cell::Int(0), Cell::Int(0), Cell::Null, Cell::Null];
    assert_eq!(
        ask(&query, &[], 1).page(0, 10),
        [AnswerRow { dimensions: Vec::new(), metrics: cells.clone() }].into_iter().collect()
    );
    query.dimensions = vec![Dimension::Column(column(KIND))];
    assert!(ask(&query, &[], 1).page(0, 10).is_empty());
    query.dimensions = vec![Dimension::Time(Granularity::Day)];
    let filled = ask(&query, &[], 1).page(0, 10);
    assert_eq!(filled.len(), 4);
    assert!(filled.iter().all(|row| row.metrics == cells));
}

#[test]
fn a_series_is_thinned_to_its_shape() {
    let rows = many_rows(4_000, 10);
    let mut query = question(
        vec![measure(Function::Sum, Some(COST))],
        vec![Dimension::Time(Granularity::Minutes15), Dimension::Column(column(KIND))],
    );
    query.max_points = Some(20);
    let answer = ask(&query, &rows, 512);
    assert_eq!(answer.total_rows(), 60);
    let whole = {
        query.max_points = None;
        ask(&query, &rows, 512)
    };
    let all: Vec<AnswerRow> = whole.page(0, u32::MAX).iter().collect();
    assert!(answer.page(0, 100).iter().all(|row| all.contains(&row)));
}
