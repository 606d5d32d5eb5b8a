//! The embedded store: a durable log, in-memory chunks, Parquet segments and a catalog, seen through snapshots.
//!
//! Synchronous. It knows rows, not questions: aggregation is `query`'s, formats of users are `decode`'s.

mod backup;
mod catalog;
mod chunk;
mod clock;
pub mod compaction;
mod config;
mod dedup;
pub mod disk;
mod error;
mod flush;
mod health;
mod histogram;
mod log;
mod maintenance;
mod memtable;
mod os;
mod paths;
mod random;
mod recovery;
mod retention;
mod scan;
pub mod segment;
mod shared;
mod sidecar;
mod snapshot;
mod state;
mod stats;
mod store;
mod tombstone;
mod verify;
mod version;
mod writer;

pub use backup::restore;
pub use chunk::{Chunk, ProjectSpan, Run};
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::StoreConfig;
pub use error::{StoreError, StoreResult};
pub use histogram::{Histogram, HistogramCounts};
pub use log::Token;
pub use maintenance::RollupStatus;
pub use retention::{RetentionPlan, SegmentAge, plan_retention};
pub use scan::{
    ChunkMorsel, Morsel, MorselReader, SCAN_BATCH_ROWS_MAX, ScanBatch, ScanRequest, Unit, UnitId,
};
pub use shared::CommitHook;
pub use sidecar::{
    Forecasts, InvalidSidecarMeta, SIDECAR_FORMAT, SectionInfo, Sidecar, SidecarId, SidecarMeta, SliceInfo,
    Wanted, Written, plan_history_merge, sidecar_path,
};
pub use snapshot::{DatasetView, Snapshot};
pub use stats::StoreStats;
pub use store::Store;
pub use tombstone::Tombstone;
pub use verify::{VerifyReport, verify};
pub use version::{InvalidVersion, Lsn, StoreId, Version};
pub use writer::{Append, Delete, Done, Receipt};
