//! Raw rows by time (`POST /rows`): keyset pages that neither skip nor repeat while rows arrive.
//!
//! Two steps: the keys of the page's rows (`keys`: reads time, identity and the filter's columns, from the newest on and no further
//! than needed), then the asked columns of just those rows (`fetch`).

mod fetch;
mod keys;

use std::sync::Arc;

use tidewater_model::filter::Filter;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{ColumnRef, Dataset};
use tidewater_model::time::Timestamp;
use tidewater_store::{DatasetView, Lsn, ScanRequest};

use crate::budget::QueryBudget;
use crate::control::Control;
use crate::error::ExecuteError;
use crate::pool::Pool;
use tidewater_aggregate::Cell;

/// Most rows of one page of raw rows.
pub const ROWS_PAGE_MAX: u32 = 1_000;

/// A row's place in the order of rows: time, then arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// Micro-seconds since the epoch.
    pub time_us: i64,
    /// The record it came with.
    pub lsn: Lsn,
    /// Its place in that record.
    pub position: i32,
}

/// Which rows are asked for.
#[derive(Clone, Debug)]
pub struct RowsQuery {
    /// The dataset.
    pub dataset: Arc<Dataset>,
    /// Whose rows.
    pub project: ProjectName,
    /// First instant.
    pub from: Timestamp,
    /// First instant after the range; `None` for no bound.
    pub to: Option<Timestamp>,
    /// Only rows that pass it.
    pub filter: Filter,
    /// Columns (or map keys) of the answer, in order.
    pub columns: Vec<ColumnRef>,
    /// Newest first.
    pub descending: bool,
    /// Rows of this page; more than [`ROWS_PAGE_MAX`] are not given.
    pub limit: u32,
    /// Only rows past this one, in the asked direction.
    pub after: Option<RowKey>,
    /// Only rows that came with this record or before: the version the first page saw.
    pub until: Option<Lsn>,
    /// Only rows that came after this record.
    pub since: Option<Lsn>,
}

/// A page of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct RowsPage {
    /// Cells in the order of [`RowsQuery::columns`].
    pub rows: Vec<Vec<Cell>>,
    /// Where the next page goes on; `None` at the end.
    pub next: Option<RowKey>,
    /// Rows read.
    pub rows_scanned: u64,
    /// Bytes of decoded columns looked at.
    pub bytes_scanned: u64,
}

impl RowsQuery {
    /// What every scan of this question has in common.
    fn request(&self, columns: Vec<ColumnRef>, from_us: i64, to_us: i64) -> ScanRequest {
        ScanRequest {
            project: self.project.clone(),
            from_us,
            to_us,
            after: self.since,
            until: self.until,
            columns,
            identity: true,
            hint: self.filter.clone(),
        }
    }

    /// Whether a row with this key lies past the last page's end.
    fn is_ahead(&self, key: RowKey) -> bool {
        match self.after {
            None => true,
            Some(after) if self.descending => key < after,
            Some(after) => key > after,
        }
    }
}

/// Reads a page.
pub(crate) fn read_page(
    pool: &Pool,
    budget: &Arc<QueryBudget>,
    query: &RowsQuery,
    view: &DatasetView,
    control: &Control,
) -> Result<RowsPage, ExecuteError> {
    let limit = query.limit.min(ROWS_PAGE_MAX) as usize;
    // One more row than asked for tells whether there is a next page.
    let mut found = keys::find(pool, query, view, control, limit + 1)?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let rows = fetch::fetch(pool, budget, query, view, control, &found)?;
    Ok(RowsPage {
        rows,
        next: found.last().copied().filter(|_| has_more),
        rows_scanned: control.progress.rows_scanned(),
        bytes_scanned: control.progress.bytes_scanned(),
    })
}

/// The instants `[from, to)` the page's rows lie in: the question's, cut at the last page's end.
fn page_range(query: &RowsQuery) -> (i64, i64) {
    let (mut from_us, mut to_us) = (query.from.0, query.to.map_or(i64::MAX, |to| to.0));
    match query.after {
        Some(after) if query.descending => to_us = to_us.min(after.time_us.saturating_add(1)),
        Some(after) => from_us = from_us.max(after.time_us),
        None => {}
    }
    (from_us, to_us)
}
