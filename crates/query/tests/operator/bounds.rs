//! Memory, deadline, cancellation, retention: a question that cannot be answered says why and leaves nothing behind.

use std::sync::Arc;
use std::time::Instant;

use tidewater_model::query::{Dimension, Function};
use tidewater_model::time::{Granularity, Timestamp};
use tidewater_query::{CacheUse, CancelToken, Control, ExecuteError, Executor, ExecutorConfig};
use tidewater_store::{DatasetView, Unit};

use crate::data::{self, COST, KIND, NAME, SCORE, column};
use crate::equality::{check_answer, many_rows, measure, question};
use crate::questions::{DAY, START};

fn small(memory_bytes_max: usize) -> Executor {
    let query_memory_bytes_max = memory_bytes_max;
    Executor::new(ExecutorConfig {
        threads: 2,
        memory_bytes_max,
        query_memory_bytes_max,
        ..ExecutorConfig::default()
    })
}

#[test]
fn too_many_groups_are_refused_with_a_remedy() {
    let rows = many_rows(30_000, 30_000);
    let query =
        question(vec![measure(Function::Quantile(950), Some(COST))], vec![Dimension::Column(column(NAME))]);
    let view = data::view(&rows, 10_000, &query.dataset);
    let executor = small(1 << 20);
    let error = executor.execute(&query, &view, &Control::default()).expect_err("too large");
    assert!(matches!(error, ExecuteError::Memory { limit: 1_048_576, .. }), "{error}");
    assert!(error.to_string().contains("more than 1 MiB"), "{error}");
    assert_eq!(executor.memory_bytes(), 0);
    let few = question(vec![measure(Function::Count, None)], vec![Dimension::Column(column(KIND))]);
    assert!(executor.execute(&few, &view, &Control::default()).is_ok());
    assert_eq!(executor.memory_bytes(), 0);
}

#[test]
fn groups_that_are_kept_apart_need_not_fit_more_than_once() {
    let rows = many_rows(60_000, 8_000);
    let (old, rest) = rows.split_at(20_000);
    let (settled, growing) = rest.split_at(20_000);
    let query = question(vec![measure(Function::Count, None)], vec![Dimension::Column(column(NAME))]);
    let mut units = data::segments(old, &query.dataset);
    for (rows, chunk_rows) in [(settled, 20_000), (growing, 5_000)] {
        units.extend(data::chunks(rows, chunk_rows).into_iter().map(Unit::Chunk));
    }
    let view = DatasetView::of_units(data::DATASET, Arc::clone(&query.dataset), units, Vec::new());
    // One thread, so that as much is held each time.
    let executor = |query_memory_bytes_max, partials_bytes_max| {
        Executor::new(ExecutorConfig {
            threads: 1,
            query_memory_bytes_max,
            partials_bytes_max,
            ..ExecutorConfig::default()
        })
    };
    let ask = |executor: &Executor| {
        let answer = executor.execute(&query, &view, &Control::default())?;
        check_answer(&query, &rows, &answer);
        Ok(answer)
    };
    let answer = ask(&executor(64 << 20, 64 << 20)).expect("an answer");
    let peak = answer.explain().memory_bytes_peak;
    let half = executor(peak / 2, 64 << 20);
    let answer = ask(&half).expect("half of that is enough for one band after another");
    assert!(answer.cache_use() != CacheUse::None, "what the bands came to was kept");
    assert_eq!(answer.rows_scanned(), 60_000, "it says what was read for it");
    assert!(ask(&half).expect("again").rows_scanned() < 60_000, "and serves the next question");
    ask(&executor(peak / 2, 64 << 10)).expect("where nothing can be kept too");
    let refused = ask(&executor(peak / 8, 64 << 20));
    assert!(matches!(refused, Err(ExecuteError::Memory { .. })), "they have to fit once");
}

#[test]
fn filling_a_million_buckets_is_refused() {
    let rows = many_rows(3_000, 1_000);
    let mut query = question(
        vec![measure(Function::Count, None)],
        vec![Dimension::Time(Granularity::Minute), Dimension::Column(column(NAME))],
    );
    query.include.fill = true;
    let view = data::view(&rows, 1_000, &query.dataset);
    let error = small(8 << 20).execute(&query, &view, &Control::default()).expect_err("5.7 million rows");
    assert!(matches!(error, ExecuteError::Memory { .. }), "{error}");
}

#[test]
fn a_question_stops_when_told() {
    let query = question(vec![measure(Function::Count, None)], Vec::new());
    let view = data::view(&many_rows(1_000, 10), 100, &query.dataset);
    let cancel = CancelToken::default();
    cancel.cancel();
    let executor = small(1 << 20);
    let cancelled = Control { cancel, ..Control::default() };
    assert!(matches!(executor.execute(&query, &view, &cancelled), Err(ExecuteError::Cancelled)));
    let late = Control { deadline: Some(Instant::now()), ..Control::default() };
    assert!(matches!(executor.execute(&query, &view, &late), Err(ExecuteError::Deadline)));
}

#[test]
fn progress_tells_what_was_read() {
    let query = question(vec![measure(Function::Sum, Some(SCORE))], Vec::new());
    let view = data::view(&many_rows(1_000, 10), 100, &query.dataset);
    let control = Control::default();
    let answer = small(1 << 20).execute(&query, &view, &control).expect("an answer");
    assert_eq!((answer.rows_scanned(), control.progress.rows_total()), (1_000, 1_000));
    assert_eq!(answer.bytes_scanned(), 8_000);
}

#[test]
fn expired_rows_are_no_silent_part() {
    let mut query = question(vec![measure(Function::Count, None)], Vec::new());
    query.dataset = data::dataset_kept(Some(2 * DAY));
    query.now = Timestamp(START + 4 * DAY);
    let view = data::view(&many_rows(400, 10), 100, &query.dataset);
    let executor = small(1 << 20);
    let error = executor.execute(&query, &view, &Control::default()).expect_err("expired");
    assert!(matches!(error, ExecuteError::RangeNotCovered { from } if from.0 == START + 2 * DAY), "{error}");
    query.include.partial = true;
    let answer = executor.execute(&query, &view, &Control::default()).expect("a part");
    assert_eq!(answer.covered_from(), Some(Timestamp(START + 2 * DAY)));
    assert_eq!(answer.rows_scanned(), 200);
}
