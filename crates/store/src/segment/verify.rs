//! Checks one segment file against its catalog entry: every byte, every row.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;

use tidewater_model::names::ProjectName;
use tidewater_model::schema::Dataset;
use xxhash_rust::xxh3::Xxh3;

use super::files::SegmentFiles;
use super::footer::Footer;
use super::meta::{ProjectRows, SegmentMeta, day_of, segment_path};
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
    check_sum(files, &path, meta.bytes, meta.checksum)?;
    let footer = Arc::new(Footer::open(files.disk(), &path, dataset, meta)?);
    let applied: Vec<Arc<Tombstone>> =
        tombstones.iter().filter(|tombstone| tombstone.lsn <= meta.tombstones_applied).cloned().collect();
    let mut checked = Checked::new(&path, dataset, meta, &applied);
    for group in 0..footer.parquet().num_row_groups() {
        let roots = all_roots(&footer);
        let mut reader = GroupReader::open(Arc::clone(&footer), group, None, roots, BATCH_ROWS, Fetch::Lazy)?;
        while let Some(batch) = reader.next() {
            checked.add(batch?.into_rows())?;
        }
    }
    checked.finish()?;
    Ok(SegmentCheck { rows: meta.rows, bytes: meta.bytes })
}

/// Reads a file and compares its length and the hash of all its bytes with what the catalog says.
pub fn check_sum(files: &SegmentFiles, path: &Path, bytes: u64, checksum: u64) -> StoreResult<()> {
    let file = files
        .disk()
        .open_read(path)
        .map_err(|error| damaged(path, 0, format!("cannot be opened: {error}")))?;
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
    if offset != bytes {
        return Err(damaged(path, offset, format!("is {offset} bytes long, the catalog says {bytes}")));
    }
    if hash.digest() != checksum {
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
    /// What the rows so far say of the projects, in order.
    projects: Vec<ProjectRows>,
    min_lsn: i64,
    max_lsn: i64,
}

impl<'a> Checked<'a> {
    fn new(
        path: &'a Path,
        dataset: &'a Dataset,
        meta: &'a SegmentMeta,
        tombstones: &'a [Arc<Tombstone>],
    ) -> Self {
        let (min_lsn, max_lsn) = (i64::MAX, i64::MIN);
        Checked {
            path,
            dataset,
            meta,
            tombstones,
            rows: 0,
            last: None,
            projects: Vec::new(),
            min_lsn,
            max_lsn,
        }
    }

    fn add(&mut self, rows: Rows) -> StoreResult<()> {
        if rows.len() == 0 {
            return Ok(());
        }
        if let Some(row) = self.first_out_of_order(&rows) {
            return self.wrong(row, "is out of order");
        }
        if let Some(row) = rows.batch.times().iter().position(|time| day_of(*time) != self.meta.day) {
            return self.wrong(row, "is of another day");
        }
        if rows.visible(self.tombstones).is_some() {
            return self.wrong(0, "or one soon after it should have been deleted");
        }
        let names = rows.project_names();
        if let Some(row) =
            (0..rows.len()).find(|row| names.get(*row).is_none_or(|name| ProjectName::new(name).is_err()))
        {
            return self.wrong(row, "has no valid project");
        }
        ProjectRows::extend(&mut self.projects, self.rows, names, rows.batch.times());
        for lsn in rows.lsn_values() {
            self.min_lsn = self.min_lsn.min(*lsn);
            self.max_lsn = self.max_lsn.max(*lsn);
        }
        self.rows += rows.len() as u64;
        self.last = Some(rows.slice(rows.len() - 1, 1));
        Ok(())
    }

    /// Compares what all rows said with the catalog.
    fn finish(&self) -> StoreResult<()> {
        let meta = self.meta;
        let min_us = self.projects.iter().map(|project| project.min_us).min();
        let max_us = self.projects.iter().map(|project| project.max_us).max();
        let facts = [
            (self.rows == meta.rows, "the number of rows"),
            (self.projects == meta.projects, "the projects, their rows or their times"),
            (min_us == Some(meta.min_us) && max_us == Some(meta.max_us), "the span of times"),
            (self.min_lsn == meta.min_lsn.0 && self.max_lsn == meta.max_lsn.0, "the span of records"),
        ];
        match facts.iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, what)) => Err(damaged(self.path, 0, format!("{what} differ from the catalog's"))),
        }
    }

    fn first_out_of_order(&self, rows: &Rows) -> Option<usize> {
        let sort = &self.dataset.sort;
        let follows = |row: usize| match row.checked_sub(1) {
            Some(before) => order::compare((rows, before), (rows, row), sort) == Ordering::Less,
            None => self
                .last
                .as_ref()
                .is_none_or(|last| order::compare((last, 0), (rows, 0), sort) == Ordering::Less),
        };
        (0..rows.len()).find(|row| !follows(*row))
    }

    fn wrong(&self, row: usize, what: &str) -> StoreResult<()> {
        Err(damaged(self.path, 0, format!("row {} {what}", self.rows + row as u64)))
    }
}
