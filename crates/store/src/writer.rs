//! Writing: from a submitted request to a durable, visible one.
//!
//! ```text
//! submit (caller's thread)   encode, hash ids ──► queue, bounded by bytes
//! preparer thread            token check, id check, LSN, frame ──► a group of requests
//! committer thread           write, sync, show, answer
//! ```
//!
//! While the committer syncs one group, the preparer fills the next; it is closed when the committer is free. Only the
//! preparer decides: duplicates, LSNs, log files and the moment of a flush, so these need no lock. A failed write or sync
//! ends all writing (`health`). Not here: the flush itself (`flush`).

mod commit;
mod group;
mod prepare;
mod queue;

use std::time::Instant;

use tidewater_columns::RowBatch;
use tidewater_model::filter::Filter;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::DatasetId;

use crate::error::StoreResult;
use crate::log::{DeleteRecord, Token};
use crate::version::{Lsn, Version};

pub use commit::run_committer;
pub use group::{FlushJob, FlushWaiter};
pub use prepare::{LogPosition, Preparer, drop_rows, tombstone};
pub use queue::{Queue, Refused};

/// Called with the outcome of a write, on the committer's thread: it must be quick.
pub type Done = Box<dyn FnOnce(StoreResult<Receipt>) + Send>;

/// Rows of one request.
pub struct Append {
    /// Where to.
    pub dataset: DatasetId,
    /// Whose.
    pub project: ProjectName,
    /// The rows; at least one.
    pub batch: RowBatch,
    /// The request's idempotency token.
    pub token: Option<Token>,
    /// An opaque part of the reply that is remembered with the token.
    pub extra: Vec<u8>,
    /// Rows that come by themselves, like records of the server's own work: they do not put off the flush after a quiet period.
    pub in_background: bool,
    /// Called once the rows are durable and visible, or with the error.
    pub done: Done,
}

/// A delete.
pub struct Delete {
    /// Where.
    pub dataset: DatasetId,
    /// Whose rows.
    pub project: ProjectName,
    /// First instant, micro-seconds since the epoch.
    pub from_us: i64,
    /// First instant after the range; `i64::MAX` for no bound.
    pub to_us: i64,
    /// Which rows.
    pub filter: Filter,
    /// Called once the rows are gone from every later snapshot, or with the error.
    pub done: Done,
}

/// The reply to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The record that holds it; where nothing was stored, the last record before.
    pub lsn: Lsn,
    /// The same as clients see it.
    pub version: Version,
    /// Rows stored.
    pub accepted: u32,
    /// Rows dropped because their id was accepted before.
    pub duplicates: u32,
    /// What [`Append::extra`] was when the rows were stored.
    pub extra: Vec<u8>,
    /// True for the remembered reply of an earlier request with the same token.
    pub repeated: bool,
}

/// A request on its way to the preparer.
pub enum Submission {
    /// Rows.
    Rows(Box<RowsSubmission>),
    /// A delete.
    Delete(DeleteRecord, Done),
    /// Everything before is to be flushed.
    Flush(FlushWaiter),
}

/// Rows with all that could be done in the caller's thread.
pub struct RowsSubmission {
    /// Where to.
    pub dataset: DatasetId,
    /// Whose.
    pub project: ProjectName,
    /// The rows.
    pub batch: RowBatch,
    /// Hashes of their ids; empty where the dataset has none.
    pub ids: Vec<Option<u128>>,
    /// The request's token; scoped.
    pub token: Option<Token>,
    /// Opaque reply part.
    pub extra: Vec<u8>,
    /// The rows in the form of the log.
    pub payload: Vec<u8>,
    /// See [`Append::in_background`].
    pub in_background: bool,
    /// When it was handed in.
    pub submitted: Instant,
    /// Where the outcome goes.
    pub done: Done,
}

impl Submission {
    /// Bytes it holds while it waits.
    pub fn bytes(&self) -> u64 {
        match self {
            Submission::Rows(rows) => {
                let ids = rows.ids.len() * size_of::<Option<u128>>();
                (rows.batch.memory_bytes() + rows.payload.len() + rows.extra.len() + ids) as u64
            }
            Submission::Delete(record, _) => record.filter.len() as u64,
            Submission::Flush(_) => 0,
        }
    }
}
