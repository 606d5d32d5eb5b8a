//! Answers stay the oracle's while parts of them are kept: asked again, over other ranges, while units come, go and merge, and after
//! deletes. Questions asked together have the answers they have alone.

use std::sync::Arc;

use proptest::prelude::*;
use tidewater_model::filter::{Filter, Scalar};
use tidewater_model::query::{Dimension, Function, Query};
use tidewater_model::time::Timestamp;
use tidewater_query::{Answer, CacheUse, Control, Executor, ExecutorConfig};
use tidewater_store::{DatasetView, Lsn, Tombstone, Unit};

use crate::data::{self, COST, KIND, NAME, Row, chunks, column, segments};
use crate::equality::{check_answer, executor, many_rows, measure, question};
use crate::questions::{self, DAY, START};

fn view(query: &Query, units: Vec<Unit>, tombstones: Vec<Arc<Tombstone>>) -> DatasetView {
    DatasetView::of_units(data::DATASET, Arc::clone(&query.dataset), units, tombstones)
}

fn ask(query: &Query, view: &DatasetView) -> Answer {
    executor().execute(query, view, &Control::default()).expect("an answer")
}

/// Asks twice: the second time as much as may be is known.
fn check(query: &Query, rows: &[Row], units: &[Unit], tombstones: &[Arc<Tombstone>]) {
    let view = view(query, units.to_vec(), tombstones.to_vec());
    for _ in 0..2 {
        check_answer(query, rows, &ask(query, &view));
    }
}

fn of_chunks(rows: &[Row], chunk_rows: usize) -> Vec<Unit> {
    chunks(rows, chunk_rows).into_iter().map(Unit::Chunk).collect()
}

/// A delete of the rows of two days whose kind is `a`, and whether it hides a row.
pub fn delete() -> (Arc<Tombstone>, impl Fn(&Row) -> bool) {
    let (from, to) = (START, START + 2 * DAY);
    let values = vec![Scalar::String("a".to_owned())];
    let filter = Filter::Is { column: column(KIND), values, case_sensitive: true };
    let text = "kind is a".into();
    let tombstone = Tombstone::new(Lsn(1_000_000), data::project(), from, to, text, &filter);
    let hides = move |row: &Row| {
        !row.is_other_project && (from..to).contains(&row.time) && row.kind.as_deref() == Some("a")
    };
    (Arc::new(tombstone.expect("no regular expression")), hides)
}

proptest! {
    // Each case writes some ten files.
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn answers_are_right_while_units_change(
        mut query in questions::query(), rows in questions::rows(), cuts in (0.0..1.0_f64, 0.0..1.0_f64), shift in 1i64..200,
    ) {
        let cut = |part: f64| (part * rows.len() as f64) as usize;
        let (a, b) = (cut(cuts.0.min(cuts.1)), cut(cuts.0.max(cuts.1)));
        let mut units = segments(&rows[..a], &query.dataset);
        check(&query, &rows[..a], &units, &[]);
        // Rows arrive, are flushed, and more arrive.
        let flushed = segments(&rows[a..b], &query.dataset);
        units.extend(flushed);
        units.extend(of_chunks(&rows[b..], 40));
        check(&query, &rows, &units, &[]);
        // Other ranges of the same shape.
        let range = query.range;
        query.range.from = Timestamp(range.from.0 + shift * 900_000_000);
        query.range.to = range.to.map(|to| Timestamp(to.0 + shift * 900_000_000));
        check(&query, &rows, &units, &[]);
        query.range = range;
        // Segments are merged.
        let mut merged = segments(&rows[..b], &query.dataset);
        merged.extend(of_chunks(&rows[b..], 25));
        check(&query, &rows, &merged, &[]);
        // Rows are deleted.
        let (tombstone, hides) = delete();
        let left: Vec<Row> = rows.iter().filter(|row| !hides(row)).cloned().collect();
        check(&query, &left, &merged, &[tombstone]);
        check(&query, &rows, &units, &[]);
    }

    #[test]
    fn questions_asked_together_have_their_own_answers(
        queries in prop::collection::vec(questions::query(), 2..5), again in any::<prop::sample::Index>(), rows in questions::rows(),
    ) {
        let config = ExecutorConfig { threads: 2, partials_bytes_max: 0, ..ExecutorConfig::default() };
        let executor = Executor::new(config);
        let mut queries = queries;
        // One of them twice, with another order of its rows.
        let mut twin = again.get(&queries).clone();
        twin.order.reverse();
        queries.push(twin);
        let mut units = segments(&rows[..rows.len() / 2], &queries[0].dataset);
        units.extend(of_chunks(&rows[rows.len() / 2..], 30));
        let view = view(&queries[0], units, Vec::new());
        let answers = executor.execute_many(&queries, &view, &Control::default());
        prop_assert_eq!(answers.len(), queries.len());
        for (query, answer) in queries.iter().zip(answers) {
            let answer = answer.expect("an answer");
            prop_assert_eq!(answer.cache_use(), CacheUse::None);
            check_answer(query, &rows, &answer);
        }
    }
}

#[test]
fn only_new_rows_are_read_again() {
    let rows = many_rows(4_000, 50);
    let query = question(vec![measure(Function::Sum, Some(COST))], vec![Dimension::Column(column(NAME))]);
    let mut units = segments(&rows[..3_000], &query.dataset);
    let executor = Executor::new(ExecutorConfig { threads: 2, ..ExecutorConfig::default() });
    let ask = |units: &[Unit], query: &Query| {
        let view = view(query, units.to_vec(), Vec::new());
        let answer = executor.execute(query, &view, &Control::default()).expect("an answer");
        (answer.cache_use(), answer.rows_scanned())
    };
    assert_eq!(ask(&units, &query), (CacheUse::None, 3_000));
    assert_eq!(ask(&units, &query), (CacheUse::All, 0));
    units.extend(of_chunks(&rows[3_000..], 500));
    assert_eq!(ask(&units, &query), (CacheUse::Part, 1_000));
    // A day less: the units of the other days are known.
    let mut later = query.clone();
    later.range.from = Timestamp(START + DAY);
    let of_day = rows[3_000..].iter().filter(|row| row.time >= START + DAY).count() as u64;
    assert_eq!(ask(&units, &later), (CacheUse::Part, of_day));
    // Another shape knows nothing.
    let mut other = query.clone();
    other.dimensions.clear();
    other.order.clear();
    assert_eq!(ask(&units, &other), (CacheUse::None, 4_000));
    let stats = executor.cache_stats();
    assert!(stats.hits > 0 && stats.misses > 0 && stats.bytes > 0 && stats.evictions == 0, "{stats:?}");
}

#[test]
fn questions_asked_together_read_their_rows_once() {
    let rows = many_rows(2_000, 20);
    let sum = question(vec![measure(Function::Sum, Some(COST))], vec![Dimension::Column(column(NAME))]);
    let count = question(vec![measure(Function::Count, None)], vec![Dimension::Column(column(KIND))]);
    let view = view(&sum, of_chunks(&rows, 500), Vec::new());
    let executor = Executor::new(ExecutorConfig { threads: 2, ..ExecutorConfig::default() });
    let control = Control::default();
    let answers = executor.execute_many(&[sum.clone(), count, sum], &view, &control);
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.rows_scanned() == 2_000)));
    assert_eq!(control.progress.rows_scanned(), 2_000);
}
