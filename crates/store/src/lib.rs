//! The embedded store: a durable log, in-memory chunks, Parquet segments and a catalog, seen through snapshots.
//!
//! Synchronous. It knows rows, not questions: aggregation is `query`'s, formats of users are `decode`'s.

mod chunk;
pub mod disk;
mod error;
mod os;
mod scan;
mod snapshot;
mod version;

pub use chunk::{Chunk, ProjectSpan, Run};
pub use error::{StoreError, StoreResult};
pub use scan::{Morsel, MorselReader, SCAN_BATCH_ROWS_MAX, ScanBatch, ScanRequest, Unit};
pub use snapshot::DatasetView;
pub use version::{InvalidVersion, Lsn, StoreId, Version};
