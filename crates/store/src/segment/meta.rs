//! What the catalog knows of a segment, and where its file lies.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidewater_columns::StringsRef;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::DatasetId;
use tidewater_model::time::Timestamp;

use super::rows::Rows;
use crate::chunk::ProjectSpan;
use crate::version::Lsn;

/// The newest segment format this build writes; it reads every earlier one.
pub const FORMAT: u16 = 1;

/// Micro-seconds of a UTC day, the span of a partition.
pub const DAY_US: i64 = 86_400_000_000;

/// The UTC day an instant belongs to, in days since the epoch.
pub fn day_of(time_us: i64) -> i32 {
    time_us.div_euclid(DAY_US) as i32
}

/// A segment's number, unique in a store and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId(pub u64);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The rows of one project: they stand together in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectRows {
    /// Whose.
    pub project: ProjectName,
    /// Index of the first in the file.
    pub first_row: u64,
    /// How many; at least one.
    pub rows: u64,
    /// Least time, micro-seconds since the epoch.
    pub min_us: i64,
    /// Greatest time.
    pub max_us: i64,
}

impl ProjectRows {
    /// The projects of some rows in segment order; `first_row` counts from the first of them.
    ///
    /// # Panics
    /// When a row's project is no valid name.
    pub(crate) fn of(rows: &Rows) -> Vec<ProjectRows> {
        let mut projects = Vec::new();
        ProjectRows::extend(&mut projects, 0, rows.project_names(), rows.batch.times());
        projects
    }

    /// Adds the projects of rows that follow all rows so far.
    pub(super) fn append(projects: &mut Vec<ProjectRows>, rows_so_far: u64, more: &[ProjectRows]) {
        for next in more {
            match projects.last_mut() {
                Some(last) if last.project == next.project => {
                    last.rows += next.rows;
                    last.min_us = last.min_us.min(next.min_us);
                    last.max_us = last.max_us.max(next.max_us);
                }
                _ => projects.push(ProjectRows { first_row: rows_so_far + next.first_row, ..next.clone() }),
            }
        }
    }

    /// Adds rows that begin at index `first_row` of the file and follow all rows so far.
    ///
    /// # Panics
    /// When a row's project is no valid name.
    pub(super) fn extend(
        projects: &mut Vec<ProjectRows>,
        first_row: u64,
        names: StringsRef<'_>,
        times: &[i64],
    ) {
        for (row, &time) in times.iter().enumerate() {
            let name = names.get(row).expect("every row has a project");
            let last = match projects.last_mut() {
                Some(last) if last.project.as_str() == name => last,
                _ => {
                    let project = ProjectName::new(name).expect("rows carry valid project names");
                    let first_row = first_row + row as u64;
                    projects.push(ProjectRows {
                        project,
                        first_row,
                        rows: 0,
                        min_us: i64::MAX,
                        max_us: i64::MIN,
                    });
                    projects.last_mut().expect("just pushed")
                }
            };
            last.rows += 1;
            last.min_us = last.min_us.min(time);
            last.max_us = last.max_us.max(time);
        }
    }
}

/// A live segment as the catalog lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    /// Its number, which is also its file's name.
    pub id: SegmentId,
    /// Whose rows.
    pub dataset: DatasetId,
    /// The UTC day of all its rows, in days since the epoch.
    pub day: i32,
    /// Number of rows; at least one.
    pub rows: u64,
    /// Length of the file.
    pub bytes: u64,
    /// xxh3-64 of the whole file.
    pub checksum: u64,
    /// Where the part of the file begins that has no block checksums in the footer, the footer among it.
    pub tail_offset: u64,
    /// xxh3-64 of that part.
    pub tail_checksum: u64,
    /// Least time, micro-seconds since the epoch.
    pub min_us: i64,
    /// Greatest time.
    pub max_us: i64,
    /// Earliest record among its rows.
    pub min_lsn: Lsn,
    /// Latest record.
    pub max_lsn: Lsn,
    /// Every tombstone up to this record is rewritten out of it.
    pub tombstones_applied: Lsn,
    /// How the file is laid out.
    pub format: u16,
    /// Its projects in the order of their rows, which is the order of their names.
    pub projects: Vec<ProjectRows>,
}

/// A catalog entry is not a segment.
#[derive(Debug, thiserror::Error)]
#[error("not a segment's entry: {0}")]
pub struct InvalidSegmentMeta(String);

impl SegmentMeta {
    /// What it holds of a project.
    pub fn project(&self, project: &ProjectName) -> Option<&ProjectRows> {
        let index = self.projects.binary_search_by(|rows| rows.project.cmp(project)).ok()?;
        Some(&self.projects[index])
    }

    /// The same in the form shared with chunks.
    pub fn span(&self, project: &ProjectName) -> Option<ProjectSpan> {
        let rows = self.project(project)?;
        Some(ProjectSpan { rows: rows.rows, min_us: rows.min_us, max_us: rows.max_us })
    }

    /// The form kept in the catalog: JSON, because a person who repairs a store can read it.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(&Entry::from(self)).expect("a struct of numbers and strings has a JSON form")
    }

    /// Reads that form.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidSegmentMeta> {
        let entry: Entry =
            serde_json::from_slice(bytes).map_err(|error| InvalidSegmentMeta(error.to_string()))?;
        entry.into_meta()
    }
}

/// Where a segment's file lies: `DATA/datasets/DATASET/raw/YYYY-MM-DD/ID.parquet`.
pub fn segment_path(data_dir: &Path, dataset: &str, day: i32, id: SegmentId) -> PathBuf {
    data_dir.join("datasets").join(dataset).join("raw").join(day_folder(day)).join(format!("{id}.parquet"))
}

/// The name of a UTC day's folder: `YYYY-MM-DD`.
pub fn day_folder(day: i32) -> String {
    let mut date = Timestamp(i64::from(day) * DAY_US).to_string();
    date.truncate(10);
    date
}

/// The catalog's form. Field names are part of the format.
#[derive(Serialize, Deserialize)]
struct Entry {
    id: u64,
    dataset: u32,
    day: i32,
    rows: u64,
    bytes: u64,
    checksum: u64,
    tail_offset: u64,
    tail_checksum: u64,
    min_us: i64,
    max_us: i64,
    min_lsn: i64,
    max_lsn: i64,
    tombstones_applied: i64,
    format: u16,
    /// Name, rows, least and greatest time.
    projects: Vec<(String, u64, i64, i64)>,
}

impl From<&SegmentMeta> for Entry {
    fn from(meta: &SegmentMeta) -> Self {
        let projects = meta.projects.iter();
        Entry {
            id: meta.id.0,
            dataset: meta.dataset.0,
            day: meta.day,
            rows: meta.rows,
            bytes: meta.bytes,
            checksum: meta.checksum,
            tail_offset: meta.tail_offset,
            tail_checksum: meta.tail_checksum,
            min_us: meta.min_us,
            max_us: meta.max_us,
            min_lsn: meta.min_lsn.0,
            max_lsn: meta.max_lsn.0,
            tombstones_applied: meta.tombstones_applied.0,
            format: meta.format,
            projects: projects.map(|p| (p.project.to_string(), p.rows, p.min_us, p.max_us)).collect(),
        }
    }
}

impl Entry {
    fn into_meta(self) -> Result<SegmentMeta, InvalidSegmentMeta> {
        let mut projects = Vec::with_capacity(self.projects.len());
        let mut first_row = 0_u64;
        for (name, rows, min_us, max_us) in self.projects {
            let project = ProjectName::new(&name).map_err(|error| InvalidSegmentMeta(error.to_string()))?;
            projects.push(ProjectRows { project, first_row, rows, min_us, max_us });
            first_row = first_row.saturating_add(rows);
        }
        if first_row != self.rows || self.rows == 0 || !projects.is_sorted_by(|a, b| a.project < b.project) {
            return Err(InvalidSegmentMeta(format!("segment {:016x} does not add up", self.id)));
        }
        Ok(SegmentMeta {
            id: SegmentId(self.id),
            dataset: DatasetId(self.dataset),
            day: self.day,
            rows: self.rows,
            bytes: self.bytes,
            checksum: self.checksum,
            tail_offset: self.tail_offset,
            tail_checksum: self.tail_checksum,
            min_us: self.min_us,
            max_us: self.max_us,
            min_lsn: Lsn(self.min_lsn),
            max_lsn: Lsn(self.max_lsn),
            tombstones_applied: Lsn(self.tombstones_applied),
            format: self.format,
            projects,
        })
    }
}
