//! Checks one segment file against its catalog entry: every byte, every row.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;

use tidewater_model::schema::Dataset;
use xxhash_rust::xxh3::Xxh3;

use super::files::SegmentFiles;
use super::footer::Footer;
use super::meta::{SegmentMeta, day_of, segment_path};
use super::order;
use super::read::{Fetch, GroupReader, all_roots};
use super::rows::Rows;
use super::source::damaged;
use crate::error::{StoreError, StoreResult};
use crate::tombstone::Tombstone;

/// Rows decoded at once.
const BATCH_ROWS: usize = 8 << 10;
/// Bytes hashed at once.
const READ_BYTES: usize = 1 << 20;

/// What was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentCheck {
    /// Rows read.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Reads a segment completely: its checksum, its rows' number, order, day, projects, times and records, and that rows
/// of tombstones it claims to be rid of are gone. The first thing that is wrong is the error.
pub fn verify_segment(
    files: &SegmentFiles,
    dataset: &Dataset,
    meta: &SegmentMeta,
    tombstones: &[Arc<Tombstone>],
) -> StoreResult<SegmentCheck> {
    let path = segment_path(files.data_dir(), &dataset.name, meta.day, meta.id);
    check_sum(files, &path, meta)?;
    let footer = Arc::new(Footer::open(files.disk(), &path, dataset, meta)?);
    let applied: Vec<Arc<Tombstone>> =
        tombstones.iter().filter(|tombstone| tombstone.lsn <= meta.tombstones_applied).cloned().collect();
    let mut checked = Checked { path: &path, dataset, meta, tombstones: &applied, rows: 0, last: None };
    for group in 0..footer.parquet().num_row_groups() {
        let roots = all_roots(&footer);
        let mut reader = GroupReader::open(Arc::clone(&footer), group, None, roots, BATCH_ROWS, Fetch::Lazy)?;
        while let Some(batch) = reader.next() {
            checked.add(batch?.into_rows())?;
        }
    }
    if checked.rows != meta.rows {
        return Err(damaged(&path, 0, format!("holds {} rows, the catalog says {}", checked.rows, meta.rows)));
    }
    Ok(SegmentCheck { rows: checked.rows, bytes: meta.bytes })
}

fn check_sum(files: &SegmentFiles, path: &Path, meta: &SegmentMeta) -> StoreResult<()> {
    let file = files.disk().open_read(path).map_err(|error| damaged(path, 0, format!("cannot be opened: {error}")))?;
    let io = |source| StoreError::Io { operation: "read", path: path.to_owned(), source };
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0_u64;
    loop {
        let read = file.read_at(&mut buffer, offset).map_err(io)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        offset += read as u64;
    }
    if offset != meta.bytes {
        return Err(damaged(path, offset, format!("is {offset} bytes long, the catalog says {}", meta.bytes)));
    }
    if hash.digest() != meta.checksum {
        return Err(damaged(path, 0, "the checksum of the file does not fit"));
    }
    Ok(())
}

/// Progress through the rows of a file.
struct Checked<'a> {
    path: &'a Path,
    dataset: &'a Dataset,
    meta: &'a SegmentMeta,
    tombstones: &'a [Arc<Tombstone>],
    rows: u64,
    /// The last row of the batch before.
    last: Option<Rows>,
}

impl Checked<'_> {
    fn add(&mut self, rows: Rows) -> StoreResult<()> {
        if rows.len() == 0 {
            return Ok(());
        }
        if let Some(row) = self.first_out_of_order(&rows) {
            return self.wrong(row, "is out of order");
        }
        let (names, times, lsns) = (rows.project_names(), rows.batch.times(), rows.lsn_values());
        for (row, &time) in times.iter().enumerate() {
            let at = self.rows + row as u64;
            let next = self.meta.projects.partition_point(|project| project.first_row <= at);
            let project = next.checked_sub(1).map(|index| &self.meta.projects[index]);
            if !project.is_some_and(|project| names.get(row) == Some(project.project.as_str())) {
                return self.wrong(row, "is not of the project the catalog says");
            }
            if project.is_some_and(|project| time < project.min_us || time > project.max_us)
                || day_of(time) != self.meta.day
            {
                return self.wrong(row, "has a time outside the bounds in the catalog");
            }
            if lsns[row] < self.meta.min_lsn.0 || lsns[row] > self.meta.max_lsn.0 {
                return self.wrong(row, "came with a record outside the bounds in the catalog");
            }
        }
        if rows.visible(self.tombstones).is_some() {
            return self.wrong(0, "or one after it should have been deleted");
        }
        self.rows += rows.len() as u64;
        self.last = Some(rows.slice(rows.len() - 1, 1));
        Ok(())
    }

    fn first_out_of_order(&self, rows: &Rows) -> Option<usize> {
        let sort = &self.dataset.sort;
        let follows = |row: usize| match row.checked_sub(1) {
            Some(before) => order::compare((rows, before), (rows, row), sort) == Ordering::Less,
            None => self.last.as_ref().is_none_or(|last| order::compare((last, 0), (rows, 0), sort) == Ordering::Less),
        };
        (0..rows.len()).find(|row| !follows(*row))
    }

    fn wrong(&self, row: usize, what: &str) -> StoreResult<()> {
        Err(damaged(self.path, 0, format!("row {} {what}", self.rows + row as u64)))
    }
}
