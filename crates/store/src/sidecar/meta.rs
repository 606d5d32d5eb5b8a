//! What the catalog knows of a sidecar, and where its file lies.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewater_aggregate::SectionHead;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{DatasetId, Tier};

use crate::chunk::ProjectSpan;
use crate::segment::{SegmentId, day_folder};
use crate::tombstone::Tombstone;
use crate::version::Lsn;

/// The newest sidecar format this build writes; it reads every earlier one.
pub const SIDECAR_FORMAT: u16 = 1;

/// A sidecar's number, from the same counter as segments and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SidecarId(pub u64);

impl fmt::Display for SidecarId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One section of a sidecar: one roll-up at one tier over all rows of the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionInfo {
    /// What it holds.
    pub head: Arc<SectionHead>,
    /// Its place among the sidecar's sections.
    pub index: usize,
    /// Bytes of its columns in the file.
    pub bytes: u64,
    /// Its rows, of all projects.
    pub rows: u64,
}

/// A live sidecar as the catalog lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarMeta {
    /// Its number, which is also its file's name.
    pub id: SidecarId,
    /// Whose rows.
    pub dataset: DatasetId,
    /// The segment it was derived from; `None` for history, whose raw rows have expired.
    pub segment: Option<SegmentId>,
    /// The first UTC day of its rows, in days since the epoch.
    pub day: i32,
    /// Length of the file; 0 where no section pays, which has no file.
    pub bytes: u64,
    /// xxh3-64 of the whole file.
    pub checksum: u64,
    /// The hash of the roll-ups it was derived for.
    pub derived_for: u64,
    /// Every tombstone up to this record is applied to its rows.
    pub tombstones_applied: Lsn,
    /// How the file is laid out.
    pub format: u16,
    /// History only: its projects with the raw rows they were derived from, in order of name.
    pub projects: Vec<(ProjectName, ProjectSpan)>,
    /// Roll-ups and tiers that were derived and not kept, since they would take too large a part of the raw bytes.
    pub not_paying: Vec<(String, Tier)>,
    /// Its sections.
    pub sections: Vec<SectionInfo>,
}

/// A catalog entry is not a sidecar.
#[derive(Debug, thiserror::Error)]
#[error("not a sidecar's entry: {0}")]
pub struct InvalidSidecarMeta(String);

impl SidecarMeta {
    /// False where no section pays.
    pub fn has_file(&self) -> bool {
        self.bytes > 0
    }

    /// Of history: the raw rows of a project it was derived from.
    pub fn span(&self, project: &ProjectName) -> Option<ProjectSpan> {
        let index = self.projects.binary_search_by(|(name, _)| name.cmp(project)).ok()?;
        Some(self.projects[index].1)
    }

    /// Of history: the least and greatest time of its rows.
    pub fn time_span(&self) -> Option<(i64, i64)> {
        let spans = self.projects.iter().map(|(_, span)| (span.min_us, span.max_us));
        spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Of history: its rows of a delete's project, where the delete is not applied and speaks of their time. All of them are
    /// older than such a delete.
    pub(crate) fn hidden_span(&self, tombstone: &Tombstone) -> Option<ProjectSpan> {
        self.span(&tombstone.project).filter(|span| {
            tombstone.lsn > self.tombstones_applied
                && span.min_us < tombstone.to_us
                && span.max_us >= tombstone.from_us
        })
    }

    /// The form kept in the catalog: JSON, because a person who repairs a store can read it.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(&Entry::from(self)).expect("a struct of numbers and strings has a JSON form")
    }

    /// Reads that form.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidSidecarMeta> {
        let entry: Entry =
            serde_json::from_slice(bytes).map_err(|error| InvalidSidecarMeta(error.to_string()))?;
        entry.into_meta()
    }
}

/// Where a sidecar's file lies: `DATA/datasets/DATASET/rollup/YYYY-MM-DD/ID.rollup`.
pub fn sidecar_path(data_dir: &Path, dataset: &str, day: i32, id: SidecarId) -> PathBuf {
    let folder = data_dir.join("datasets").join(dataset).join("rollup").join(day_folder(day));
    folder.join(format!("{id}.rollup"))
}

/// The catalog's form. Field names are part of the format.
#[derive(Serialize, Deserialize)]
struct Entry {
    id: u64,
    dataset: u32,
    segment: Option<u64>,
    day: i32,
    bytes: u64,
    checksum: u64,
    derived_for: u64,
    tombstones_applied: i64,
    format: u16,
    /// Name, rows, least and greatest time.
    projects: Vec<(String, u64, i64, i64)>,
    /// Roll-up and tier.
    not_paying: Vec<(String, Tier)>,
    sections: Vec<SectionEntry>,
}

#[derive(Serialize, Deserialize)]
struct SectionEntry {
    head: SectionHead,
    rows: u64,
    bytes: u64,
}

impl From<&SidecarMeta> for Entry {
    fn from(meta: &SidecarMeta) -> Self {
        let projects = meta.projects.iter();
        let sections = meta.sections.iter();
        Entry {
            id: meta.id.0,
            dataset: meta.dataset.0,
            segment: meta.segment.map(|segment| segment.0),
            day: meta.day,
            bytes: meta.bytes,
            checksum: meta.checksum,
            derived_for: meta.derived_for,
            tombstones_applied: meta.tombstones_applied.0,
            format: meta.format,
            projects: projects
                .map(|(name, span)| (name.to_string(), span.rows, span.min_us, span.max_us))
                .collect(),
            not_paying: meta.not_paying.clone(),
            sections: sections
                .map(|section| SectionEntry {
                    head: SectionHead::clone(&section.head),
                    rows: section.rows,
                    bytes: section.bytes,
                })
                .collect(),
        }
    }
}

impl Entry {
    fn into_meta(self) -> Result<SidecarMeta, InvalidSidecarMeta> {
        let wrong = |what: &str| InvalidSidecarMeta(format!("sidecar {:016x} {what}", self.id));
        let mut projects = Vec::with_capacity(self.projects.len());
        for (name, rows, min_us, max_us) in &self.projects {
            let name = ProjectName::new(name).map_err(|error| InvalidSidecarMeta(error.to_string()))?;
            projects.push((name, ProjectSpan { rows: *rows, min_us: *min_us, max_us: *max_us }));
        }
        if !projects.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(wrong("does not list its projects in order"));
        }
        if self.segment.is_none() && (projects.is_empty() || self.bytes == 0) {
            return Err(wrong("is history without rows"));
        }
        let sections = self.sections.into_iter().enumerate().map(|(index, section)| SectionInfo {
            head: Arc::new(section.head),
            index,
            bytes: section.bytes,
            rows: section.rows,
        });
        Ok(SidecarMeta {
            id: SidecarId(self.id),
            dataset: DatasetId(self.dataset),
            segment: self.segment.map(SegmentId),
            day: self.day,
            bytes: self.bytes,
            checksum: self.checksum,
            derived_for: self.derived_for,
            tombstones_applied: Lsn(self.tombstones_applied),
            format: self.format,
            projects,
            not_paying: self.not_paying,
            sections: sections.collect(),
        })
    }
}
