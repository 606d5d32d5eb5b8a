//! Sidecars: the roll-up sections of one segment, or of history whose raw rows have expired, in one immutable file.
//!
//! A sidecar is derived from the very rows its segment holds, or joined from the sidecars of the segments that it was merged from,
//! and enters the catalog with it. It has a number of its own, so
//! that it can be replaced while its segment stays. The format stands in `docs/file-format.md`. Not here: what a section's
//! bytes mean (`aggregate`), when sidecars are made anew or merged (`maintenance`).

mod beside;
mod build;
mod file;
mod footer;
mod forecast;
mod hiding;
mod history;
mod merge;
mod meta;
mod verify;
mod writer;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_buffer::BooleanBuffer;
use tidewater_aggregate::SectionSlice;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{ColumnRef, Dataset};

use crate::chunk::ProjectSpan;
use crate::error::StoreResult;
use crate::segment::{SegmentFiles, check_length};
use crate::tombstone::Tombstone;
use crate::version::Lsn;

pub use build::Written;
pub(crate) use build::{Sections, UnitWriter, build_sidecar};
pub(crate) use file::SidecarFooter;
pub use file::Wanted;
pub use forecast::Forecasts;
pub use history::plan_history_merge;
pub(crate) use history::{merge_history, trim};
pub(crate) use merge::merge_sections;
pub use meta::{InvalidSidecarMeta, SIDECAR_FORMAT, SectionInfo, SidecarId, SidecarMeta, sidecar_path};
pub(crate) use verify::verify_sidecar;

/// The roll-up sections of one unit. Its file is opened when first read; what is read is checked against checksums.
#[derive(Debug)]
pub struct Sidecar {
    file: Arc<File>,
    dataset: Arc<Dataset>,
    meta: SidecarMeta,
}

/// The file behind a sidecar; it can pass from a segment to history.
#[derive(Debug)]
struct File {
    files: Arc<SegmentFiles>,
    id: SidecarId,
    /// `None` where no section pays: then there is no file.
    path: Option<PathBuf>,
    replaced: AtomicBool,
}

/// What one section holds of one project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceInfo {
    /// Number of rows: one per bucket and group.
    pub rows: u64,
    /// First instant of the first bucket, micro-seconds since the epoch.
    pub min_us: i64,
    /// First instant of the last bucket.
    pub max_us: i64,
    /// Bytes of all its columns in the file.
    pub bytes: u64,
}

impl Sidecar {
    /// The sidecar a catalog entry stands for. Fails when its file is missing or has another length.
    pub fn open(
        files: &Arc<SegmentFiles>,
        dataset: &Arc<Dataset>,
        meta: SidecarMeta,
    ) -> StoreResult<Arc<Self>> {
        let path = meta.has_file().then(|| sidecar_path(files.data_dir(), &dataset.name, meta.day, meta.id));
        if let Some(path) = &path {
            check_length(files.disk(), path, meta.bytes)?;
        }
        let file = File { files: Arc::clone(files), id: meta.id, path, replaced: AtomicBool::new(false) };
        Ok(Arc::new(Sidecar { file: Arc::new(file), dataset: Arc::clone(dataset), meta }))
    }

    /// The same file under another entry of the catalog.
    pub(crate) fn with_meta(&self, meta: SidecarMeta) -> Arc<Self> {
        Arc::new(Sidecar { file: Arc::clone(&self.file), dataset: Arc::clone(&self.dataset), meta })
    }

    /// A sidecar of the same dataset.
    pub(crate) fn open_beside(&self, meta: SidecarMeta) -> StoreResult<Arc<Self>> {
        Sidecar::open(&self.file.files, &self.dataset, meta)
    }

    /// What the catalog knows of it.
    pub fn meta(&self) -> &SidecarMeta {
        &self.meta
    }

    /// Where its file is; `None` where no section pays.
    pub fn path(&self) -> Option<&Path> {
        self.file.path.as_deref()
    }

    /// Its sections. Each holds all rows of the unit.
    pub fn sections(&self) -> &[SectionInfo] {
        &self.meta.sections
    }

    /// Every delete up to this record is applied to all its rows.
    pub fn tombstones_applied(&self) -> Lsn {
        self.meta.tombstones_applied
    }

    /// The raw rows that history was derived from, where it has rows of the project. A segment tells its own span.
    pub fn span(&self, project: &ProjectName) -> Option<ProjectSpan> {
        self.meta.span(project)
    }

    /// What a section holds of a project; `None` for nothing. Of history that had rows of the project it is never `None`: where
    /// deletes took them all, that is what is known of them.
    pub fn slice(&self, section: usize, project: &ProjectName) -> StoreResult<Option<SliceInfo>> {
        let Some(footer) = self.footer()? else { return Ok(None) };
        let known = footer.slice(section, project).map(|slice| slice.info());
        let span = self.meta.span(project).filter(|_| section < self.meta.sections.len());
        let emptied =
            |span: ProjectSpan| SliceInfo { rows: 0, min_us: span.min_us, max_us: span.max_us, bytes: 0 };
        Ok(known.or_else(|| span.map(emptied)))
    }

    /// Reads a project's rows of a section.
    pub fn read(
        &self,
        section: usize,
        project: &ProjectName,
        wanted: &Wanted<'_>,
    ) -> StoreResult<Option<SectionSlice>> {
        let Some(footer) = self.footer()? else { return Ok(None) };
        let Some(info) = self.meta.sections.get(section) else { return Ok(None) };
        footer.read(section, &info.head, project, wanted)
    }

    /// Of history: true if a delete that is not yet applied takes rows out of a section. It does only where its filter reads
    /// nothing but the section's dimensions and its range ends between cells. What else it speaks of cannot be told apart
    /// any more, and stays as part of sums.
    pub fn is_hidden_by(&self, section: usize, tombstone: &Tombstone) -> bool {
        let Some(info) = self.meta.sections.get(section) else { return false };
        let Some(span) = self.meta.hidden_span(tombstone) else { return false };
        let (columns, range) = (tombstone.filter().columns(), (tombstone.from_us, tombstone.to_us));
        hiding::reaches(&info.head, &self.dataset, span, columns, range)
    }

    /// Of history: which rows of a project's slice no delete takes, in the order of [`Sidecar::read`]; `None` for all of them.
    pub fn visible(
        &self,
        section: usize,
        project: &ProjectName,
        tombstones: &[Arc<Tombstone>],
        within_us: Range<i64>,
    ) -> StoreResult<Option<BooleanBuffer>> {
        let Some(info) = self.meta.sections.get(section) else { return Ok(None) };
        let mut visible: Option<BooleanBuffer> = None;
        let hiding = tombstones.iter().filter(|tombstone| tombstone.project == *project);
        for tombstone in hiding.filter(|tombstone| self.is_hidden_by(section, tombstone)) {
            let columns = tombstone.filter().columns();
            let Some(places) = hiding::places(&info.head, &self.dataset, columns) else { continue };
            let wanted =
                Wanted { dimensions: &places, measures: &[], times: true, within_us: within_us.clone() };
            let Some(slice) = self.read(section, project, &wanted)? else { return Ok(None) };
            let kept = !&hiding::hidden(&slice, &info.head, tombstone);
            visible = Some(visible.map_or(kept.clone(), |visible| &visible & &kept));
        }
        Ok(visible.filter(|visible| visible.count_set_bits() < visible.len()))
    }

    /// Of history: the sections, as "roll-up/tier", whose sums would keep counting rows that a delete of these columns' values
    /// takes in `[from_us, to_us)`.
    pub(crate) fn sums_kept(
        &self,
        project: &ProjectName,
        columns: &[ColumnRef],
        range: (i64, i64),
    ) -> Vec<String> {
        let Some(span) =
            self.meta.span(project).filter(|span| span.min_us < range.1 && span.max_us >= range.0)
        else {
            return Vec::new();
        };
        let kept = self
            .meta
            .sections
            .iter()
            .filter(|info| !hiding::reaches(&info.head, &self.dataset, span, columns, range));
        kept.map(|info| format!("{}/{}", info.head.rollup, info.head.tier.name())).collect()
    }

    /// True if a delete still has to be rewritten out of history: until then it cannot be forgotten.
    pub(crate) fn is_pending(&self, tombstone: &Tombstone) -> bool {
        (0..self.meta.sections.len()).any(|section| self.is_hidden_by(section, tombstone))
    }

    /// Says that the catalog lists it no more: the file goes with the last snapshot that holds it.
    pub(crate) fn mark_replaced(&self) {
        self.file.replaced.store(true, Ordering::Release);
    }

    fn footer(&self) -> StoreResult<Option<Arc<SidecarFooter>>> {
        let Some(path) = &self.file.path else { return Ok(None) };
        let files = &self.file.files;
        if let Some(footer) = files.cached_sidecar(self.meta.id) {
            return Ok(Some(footer));
        }
        let footer = Arc::new(SidecarFooter::open(files.disk(), path, &self.meta)?);
        files.cache_sidecar(self.meta.id, &footer);
        Ok(Some(footer))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if !self.replaced.load(Ordering::Acquire) {
            return;
        }
        self.files.forget_sidecar(self.id);
        let Some(path) = &self.path else { return };
        if let Err(error) = self.files.disk().remove(path) {
            // The next start removes files the catalog does not name.
            tracing::warn!(path = %path.display(), %error, "a replaced sidecar stays until the next start");
        }
    }
}

#[cfg(test)]
mod tests;
