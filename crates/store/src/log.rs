//! The log: every acknowledged write in order, on disk before it is acknowledged.
//!
//! `record` is what one write says, `file` how records lie in a file, `replay` how files are read back after a restart.
//! Not here: grouping and syncing (`writer`). The format stands byte by byte in `docs/file-format.md`.

mod file;
mod record;
mod replay;

pub use file::{FileHeader, FrameWriter, HEADER_BYTES, LogFile};
pub use record::{DeleteRecord, Record, RowsHead, RowsRecord, Token};
pub use replay::{LogCheck, LogReader};

#[cfg(test)]
mod tests;
