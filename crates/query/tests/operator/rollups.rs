//! Answers from roll-ups are the oracle's: sections of random roll-ups stand beside the rows, in any mixture with raw rows; and what has
//! expired is answered from what outlives it or refused with a start that works.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tidewater_model::filter::Filter;
use tidewater_model::query::{Dimension, Function, Having, Measure, MetricExpr, OrderTarget, Query};
use tidewater_model::schema::{ColumnRef, Dataset, Retention, Rollup, Tier};
use tidewater_model::time::{Granularity, Timestamp, Zone};
use tidewater_query::{Answer, CacheUse, Control, ExecuteError, Executor, ExecutorConfig};
use tidewater_store::{DatasetView, Unit};

use crate::data::{self, COST, FLAG, KIND, NAME, Row, SCORE, SIZE, TAGS, chunks, column, plan_key, segments};
use crate::equality::{check_answer, executor, many_rows, measure, question};
use crate::questions::{self, DAY, START};

/// What one declared roll-up of a case is made of.
#[derive(Clone, Debug)]
struct Declared {
    /// It has the question's columns beside its own.
    covers: bool,
    dimensions: Vec<ColumnRef>,
    tiers: Vec<Tier>,
    /// Without the question's first metric.
    lacks_one: bool,
}

fn declared() -> impl Strategy<Value = Declared> {
    let columns = vec![
        column(KIND),
        column(NAME),
        column(SIZE),
        column(SCORE),
        column(FLAG),
        column(COST),
        column(TAGS),
        plan_key(),
    ];
    (
        prop::bool::weighted(0.7),
        proptest::sample::subsequence(columns, 0..3),
        proptest::sample::subsequence(Tier::ALL.to_vec(), 1..=4),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(covers, dimensions, tiers, lacks_one)| Declared {
            covers,
            dimensions,
            tiers,
            lacks_one,
        })
}

fn measures(expr: &MetricExpr) -> Vec<&Measure> {
    match expr {
        MetricExpr::Measure(measure) | MetricExpr::Rate(measure) => vec![measure],
        MetricExpr::Ratio { numerator, denominator } => vec![numerator, denominator],
    }
}

/// Every column that a question groups by or filters on, the time aside.
fn columns_of(query: &Query) -> Vec<ColumnRef> {
    let mut columns: Vec<&ColumnRef> = Vec::new();
    query.filter.columns(&mut columns);
    for measure in query.metrics.iter().flat_map(|metric| measures(&metric.expr)) {
        measure.filter.columns(&mut columns);
    }
    let grouped = query.dimensions.iter().filter_map(|dimension| match dimension {
        Dimension::Time(_) => None,
        Dimension::Column(column) => Some(column),
    });
    let mut columns: Vec<ColumnRef> = columns.into_iter().chain(grouped).cloned().collect();
    columns.retain(|column| column.column != data::TIME);
    columns
}

/// The dataset with these roll-ups over the question's metrics. Every tier outlives the raw rows, so that all are kept.
fn with_rollups(query: &Query, declared: &[Declared], raw_us: i64) -> Arc<Dataset> {
    let mut dataset = Dataset::clone(&query.dataset);
    for (index, metric) in query.metrics.iter().enumerate() {
        dataset.metrics.insert(format!("m{index}").into(), metric.expr.clone());
    }
    dataset.rollups = declared
        .iter()
        .enumerate()
        .map(|(index, declared)| {
            let mut dimensions = declared.dimensions.clone();
            for column in columns_of(query).into_iter().filter(|_| declared.covers) {
                if !dimensions.contains(&column) {
                    dimensions.push(column);
                }
            }
            let first = usize::from(declared.lacks_one);
            let metrics = (first..query.metrics.len()).map(|index| format!("m{index}").into()).collect();
            Rollup { name: format!("r{index}").into(), dimensions, metrics, tiers: declared.tiers.clone() }
        })
        .collect();
    let tiers_us: BTreeMap<Tier, Option<i64>> = Tier::ALL.into_iter().map(|tier| (tier, None)).collect();
    dataset.retention = Retention { raw_us: Some(raw_us), tiers_us };
    Arc::new(dataset)
}

const LONG: i64 = 10_000 * DAY;

fn view(query: &Query, units: &[Unit]) -> DatasetView {
    DatasetView::of_units(data::DATASET, Arc::clone(&query.dataset), units.to_vec(), Vec::new())
}

fn ask(query: &Query, units: &[Unit]) -> Result<Answer, ExecuteError> {
    executor().execute(query, &view(query, units), &Control::default())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn answers_from_rollups_are_the_oracles(
        mut query in questions::query(), rows in questions::rows(), declared in prop::collection::vec(declared(), 1..4),
        cut in 0.0..1.0_f64,
    ) {
        query.dataset = with_rollups(&query, &declared, LONG);
        let cut = (cut * rows.len() as f64) as usize;
        let mut units = segments(&rows[..cut], &query.dataset);
        units.extend(segments(&rows[cut..], &query.dataset));
        for _ in 0..2 {
            check_answer(&query, &rows, &ask(&query, &units).expect("an answer"));
        }
        let mut units = segments(&rows[..cut], &query.dataset);
        units.extend(chunks(&rows[cut..], 50).into_iter().map(Unit::Chunk));
        check_answer(&query, &rows, &ask(&query, &units).expect("an answer"));
    }

    #[test]
    fn what_has_expired_is_answered_or_refused_with_a_start_that_works(
        mut query in questions::query(), rows in questions::rows(), declared in prop::collection::vec(declared(), 1..3),
        kept in 0i64..400,
    ) {
        query.compare = None;
        if query.exact {
            // What it is ordered by may be an estimate now.
            query.exact = false;
            query.order.retain(|key| matches!(key.target, OrderTarget::Dimension(_)));
            query.having = Having::And(Vec::new());
        }
        query.dataset = with_rollups(&query, &declared, kept * 900_000_000);
        let units = segments(&rows, &query.dataset);
        match ask(&query, &units) {
            Ok(answer) => check_answer(&query, &rows, &answer),
            Err(ExecuteError::RangeNotCovered { from }) => {
                prop_assert!(from > query.range.from);
                let mut part = query.clone();
                part.include.partial = true;
                let answer = ask(&part, &units).expect("a part");
                let covered = answer.covered_from().expect("only a part is covered");
                prop_assert!(covered <= from);
                if part.range.to.is_none_or(|to| covered < to) {
                    part.range.from = covered;
                    check_answer(&part, &rows, &ask(&part, &units).expect("what is covered is answered"));
                }
                if query.range.to.is_none_or(|to| from < to) {
                    query.range.from = from;
                    check_answer(&query, &rows, &ask(&query, &units).expect("the start that was named"));
                }
            }
            Err(other) => panic!("{other}"),
        }
    }
}

fn sum_by_name() -> Query {
    let mut query = question(vec![measure(Function::Sum, Some(COST))], vec![Dimension::Column(column(NAME))]);
    let daily = Declared {
        covers: true,
        dimensions: Vec::new(),
        tiers: vec![Tier::Hour, Tier::Day],
        lacks_one: false,
    };
    query.dataset = with_rollups(&query, &[daily], LONG);
    query
}

#[test]
fn sections_stand_in_for_rows() {
    let rows = many_rows(4_000, 10);
    let query = sum_by_name();
    let mut units = segments(&rows[..3_000], &query.dataset);
    units.extend(chunks(&rows[3_000..], 500).into_iter().map(Unit::Chunk));
    let executor = Executor::new(ExecutorConfig { threads: 2, ..ExecutorConfig::default() });
    let ask = |query: &Query, units: &[Unit]| {
        executor.execute(query, &view(query, units), &Control::default()).expect("an answer")
    };
    let answer = ask(&query, &units);
    assert_eq!((answer.source(), answer.cache_use()), ("rollup:r0/1d + raw", CacheUse::None));
    assert!(answer.rows_scanned() < 1_100, "{}", answer.rows_scanned());
    check_answer(&query, &rows, &answer);
    // Known parts know where they came from.
    let again = ask(&query, &units[..units.len() - 2]);
    assert_eq!((again.source(), again.cache_use(), again.rows_scanned()), ("rollup:r0/1d", CacheUse::All, 0));
    // Days of another zone need hours.
    let mut local = query.clone();
    local.dimensions.insert(0, Dimension::Time(Granularity::Day));
    local.zone = Zone::get("Europe/Berlin").expect("a zone");
    local.order.clear();
    let answer = ask(&local, &units[..units.len() - 2]);
    assert!(answer.source().contains("rollup:r0/1h"), "{}", answer.source());
    // What no roll-up holds is read from rows.
    let mut other = query.clone();
    let kind = column(KIND);
    other.filter = Filter::Exists { column: kind };
    assert_eq!(ask(&other, &units).source(), "raw");
}

#[test]
fn a_delete_is_seen_before_sections_are_made_anew() {
    let rows = many_rows(2_000, 10);
    let query = sum_by_name();
    let units = segments(&rows, &query.dataset);
    assert!(ask(&query, &units).expect("an answer").source().starts_with("rollup"));
    let (tombstone, hides) = crate::cache::delete();
    let left: Vec<Row> = rows.iter().filter(|row| !hides(row)).cloned().collect();
    let view = DatasetView::of_units(data::DATASET, Arc::clone(&query.dataset), units, vec![tombstone]);
    for _ in 0..2 {
        let answer = executor().execute(&query, &view, &Control::default()).expect("an answer");
        assert_eq!(answer.source(), "rollup:r0/1d + raw", "days that the delete does not touch");
        check_answer(&query, &left, &answer);
    }
}

#[test]
fn a_column_of_its_own_is_no_reason_for_raw_rows() {
    let rows = many_rows(2_000, 10);
    let mut query = sum_by_name();
    query.dimensions.clear();
    query.order.clear();
    query.range.from = Timestamp(START + DAY / 2);
    let units = segments(&rows, &query.dataset);
    let answer = ask(&query, &units).expect("an answer");
    assert!(
        answer.source().contains("rollup:r0/1d") && answer.source().contains("rollup:r0/1h"),
        "{}",
        answer.source()
    );
    check_answer(&query, &rows, &answer);
}
