//! Pages of raw rows: together they are the filtered rows in order, each once.

use proptest::prelude::*;
use tidewater_model::filter::{Comparison, Filter, Scalar};
use tidewater_model::time::Timestamp;
use tidewater_query::{Cell, Control, RowKey, RowsQuery};
use tidewater_store::Lsn;

use crate::data::{self, NAME, Row, SIZE, TAGS, TIME, column, plan_key};
use crate::equality::executor;
use crate::questions::{self, DAY, START};

fn question(limit: u32, descending: bool) -> RowsQuery {
    RowsQuery {
        dataset: data::dataset(),
        project: data::project(),
        from: Timestamp(START + DAY / 2),
        to: Some(Timestamp(START + 3 * DAY)),
        filter: Filter::all(),
        columns: vec![column(TIME), column(NAME), column(SIZE), column(TAGS), plan_key()],
        descending,
        limit,
        after: None,
        until: None,
        since: None,
    }
}

fn cells(row: &Row) -> Vec<Cell> {
    let text = |text: &Option<String>| text.as_deref().map_or(Cell::Null, |text| Cell::Text(text.into()));
    vec![
        Cell::Time(Timestamp(row.time)),
        text(&row.name),
        row.size.map_or(Cell::Null, |size| Cell::Int(size.into())),
        row.tags
            .as_ref()
            .map_or(Cell::Null, |tags| Cell::List(tags.iter().map(|tag| tag.as_str().into()).collect())),
        text(&row.plan),
    ]
}

proptest! {
    #[test]
    fn pages_neither_skip_nor_repeat(
        rows in questions::rows(), chunk_rows in 1usize..100, limit in 1u32..40, descending: bool, is_filtered: bool,
    ) {
        let mut query = question(limit, descending);
        if is_filtered {
            query.filter = Filter::Compare { column: column(SIZE), how: Comparison::Gt, value: Scalar::Int(3) };
        }
        // The view numbers records in order of rows, so arrival order is the order of the vector.
        let mut expected: Vec<&Row> = rows
            .iter()
            .filter(|row| !row.is_other_project && row.time >= query.from.0 && row.time < START + 3 * DAY)
            .filter(|row| !is_filtered || row.size.is_some_and(|size| size > 3))
            .collect();
        expected.sort_by_key(|row| row.time);
        if descending {
            expected.reverse();
        }
        let view = data::view(&rows, chunk_rows, &query.dataset);
        let mut found = Vec::new();
        loop {
            let page = executor().rows(&query, &view, &Control::default()).expect("a page");
            prop_assert!(page.rows.len() <= limit as usize);
            found.extend(page.rows);
            match page.next {
                Some(key) => query.after = Some(key),
                None => break,
            }
        }
        let expected: Vec<Vec<Cell>> = expected.into_iter().map(cells).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_version_bounds_both_ways() {
    let rows: Vec<Row> = (0..30).map(|index| Row { time: START + DAY + index, ..Row::default() }).collect();
    let mut query = question(1_000, true);
    let view = data::view(&rows, 10, &query.dataset);
    let count =
        |query: &RowsQuery| executor().rows(query, &view, &Control::default()).expect("a page").rows.len();
    assert_eq!(count(&query), 30);
    // Ten rows a chunk in records of three: 4 records a chunk.
    query.until = Some(Lsn(4));
    assert_eq!(count(&query), 10);
    query.since = Some(Lsn(1));
    assert_eq!(count(&query), 7);
    query.after = Some(RowKey { time_us: START + DAY + 5, lsn: Lsn(2), position: 2 });
    assert_eq!(count(&query), 2);
}
