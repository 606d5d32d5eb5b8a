//! Raw rows by time (`POST /rows`): keyset pages that neither skip nor repeat while rows arrive.

use std::sync::Arc;

use tidewater_model::filter::Filter;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{ColumnRef, Dataset};
use tidewater_model::time::Timestamp;
use tidewater_store::Lsn;

use crate::cell::Cell;

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
