//! A group: requests that are written with one write and made durable with one sync.

use std::sync::Arc;
use std::time::Instant;

use crate::chunk::Chunk;
use crate::dedup::FrozenDedup;
use crate::error::StoreResult;
use crate::log::FileHeader;
use crate::tombstone::Tombstone;
use crate::version::Lsn;
use tidewater_model::schema::DatasetId;

use super::{Done, Receipt};

/// Called when a flush has ended.
pub type FlushWaiter = Box<dyn FnOnce(StoreResult<()>) + Send>;

/// What the committer gets.
#[derive(Default)]
pub struct Group {
    /// A log file to begin before the frames are written.
    pub open: Option<FileHeader>,
    /// The frames; empty when nothing has to be written.
    pub frames: Vec<u8>,
    /// The last record of all groups so far.
    pub through: Lsn,
    /// Rows to show.
    pub chunks: Vec<(DatasetId, Arc<Chunk>)>,
    /// Deletes to apply.
    pub tombstones: Vec<(DatasetId, Arc<Tombstone>)>,
    /// Answers to give, in order.
    pub replies: Vec<(Done, StoreResult<Receipt>)>,
    /// When its requests with rows were handed in, for the counters.
    pub submitted: Vec<Instant>,
    /// Somebody besides the server itself has a part in it.
    pub in_foreground: bool,
    /// Bytes of its requests, given back to the queue's budget.
    pub queued_bytes: u64,
    /// Rows stored and dropped, for the counters.
    pub rows: (u64, u64),
    /// Sets the memtable aside after this group.
    pub freeze: Option<FlushJob>,
}

/// What a flush is to do.
pub struct FlushJob {
    /// All records up to here.
    pub through: Lsn,
    /// Ids and tokens of those records.
    pub dedup: FrozenDedup,
    /// Who waits for it.
    pub waiters: Vec<FlushWaiter>,
}

impl Group {
    /// True when there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.freeze.is_none()
    }
}
