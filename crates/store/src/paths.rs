//! Every path of a data folder. The layout stands in `docs/file-format.md`.
//!
//! Not here: where a segment's file lies (`segment::segment_path`).

use std::path::{Path, PathBuf};

use crate::version::Lsn;

/// The lock file that keeps a second process out.
pub fn lock_path(data_dir: &Path) -> PathBuf {
    data_dir.join("LOCK")
}

/// The catalog.
pub fn catalog_path(data_dir: &Path) -> PathBuf {
    data_dir.join("catalog.redb")
}

/// Folder of log files.
pub fn log_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("wal")
}

/// The log file that begins with a record: `wal/FIRSTLSN.wal`.
pub fn log_path(data_dir: &Path, first: Lsn) -> PathBuf {
    log_dir(data_dir).join(format!("{:016x}.wal", first.0))
}

/// The first record of a log file, from its name.
pub fn log_first_lsn(path: &Path) -> Option<Lsn> {
    let name = path.file_name()?.to_str()?.strip_suffix(".wal")?;
    if name.len() != 16 {
        return None;
    }
    i64::from_str_radix(name, 16).ok().map(Lsn)
}

/// Folder of deduplication runs.
pub fn run_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("dedup")
}

/// A deduplication run: `dedup/ID.run`.
pub fn run_path(data_dir: &Path, id: u64) -> PathBuf {
    run_dir(data_dir).join(format!("{id:016x}.run"))
}

/// Folder that holds one folder per dataset.
pub fn datasets_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("datasets")
}
