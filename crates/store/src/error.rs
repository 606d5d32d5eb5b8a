//! The one error of this crate. Paths appear here for the operator's log; the server never shows them to clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewater_model::schema::SchemaError;

/// Result with [`StoreError`].
pub type StoreResult<T> = Result<T, StoreError>;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An operation on a file failed.
    #[error("{operation} {path}", path = path.display())]
    Io {
        /// What was tried: "write", "sync", …
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what its name and checksums promise.
    #[error("{path} is damaged at byte {offset}: {reason}", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A file was written by a newer build.
    #[error("{path} has format {found}, this build reads up to {known}", path = path.display())]
    NewerFormat {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest this build knows.
        known: u32,
    },
    /// The catalog could not be read or written.
    #[error("{operation} of the catalog")]
    Catalog {
        /// What was tried.
        operation: &'static str,
        /// Why; boxed, because it is far larger than the other variants.
        #[source]
        source: Box<redb::Error>,
    },
    /// A catalog row does not have its form.
    #[error("the catalog's {table} row {key} does not read: {reason}")]
    CatalogRow {
        /// Which table.
        table: &'static str,
        /// Which row.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// Another process holds the data folder.
    #[error("another process uses {path}: stop it, or choose another data folder", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// An earlier write or sync failed: nothing more is accepted until a restart, because what the disk holds is unknown.
    #[error("the store takes no writes since an earlier failure: {cause}")]
    Poisoned {
        /// The failure.
        cause: Arc<str>,
    },
    /// A flush failed; it is tried again while the store is open. Nothing is lost: the rows are in the log.
    #[error("a flush failed: {cause}")]
    Flush {
        /// The failure.
        cause: Arc<str>,
    },
    /// More bytes are in flight than the limit allows; to be tried again.
    #[error("the store has too many bytes in flight: try again")]
    Full,
    /// Free space is below the reserve.
    #[error(
        "{free_bytes} bytes are free on the disk and {min_bytes} are kept in reserve for deletes and compaction"
    )]
    DiskFull {
        /// Free now.
        free_bytes: u64,
        /// The reserve.
        min_bytes: u64,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// An idempotency token came with another body than before.
    #[error("the idempotency token was used with another body")]
    TokenConflict,
    /// No such dataset.
    #[error("there is no such dataset")]
    UnknownDataset,
    /// A dataset's definition does not compile or does not widen the old one.
    #[error("the dataset definition is not accepted")]
    Schema(
        /// What is wrong.
        #[source]
        SchemaError,
    ),
    /// A delete's filter cannot be run.
    #[error("the filter cannot be run: {reason}")]
    Filter {
        /// What is wrong.
        reason: String,
    },
    /// The rows do not fit the store's limits.
    #[error("{what} of {value} is over the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// A backup or restore target is not an empty folder.
    #[error("{path} is not empty", path = path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
}

impl StoreError {
    /// For `map_err` beside a file operation.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Io { operation, path, source }
    }

    /// The whole chain of causes in one line, for logs and for [`StoreError::Poisoned`].
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }
}
