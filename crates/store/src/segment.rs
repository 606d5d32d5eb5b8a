//! Segments: immutable Parquet files that hold one UTC day of one dataset, sorted.
//!
//! Row order is (project, the dataset's sort columns, time, `_lsn`, `_pos`); strings by UTF-8 bytes, nulls last. The file
//! format stands in `docs/file-format.md`. Not here: which segments are live (the catalog), when they are merged
//! (`compaction`).

mod files;
mod flush;
mod footer;
mod layout;
mod meta;
pub(crate) mod order;
mod promote;
mod prune;
pub(crate) mod read;
pub(crate) mod rows;
pub(crate) mod scan;
mod sink;
mod source;
mod verify;
pub(crate) mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidewater_model::names::ProjectName;
use tidewater_model::schema::Dataset;

use crate::chunk::ProjectSpan;
use crate::error::StoreResult;
use crate::sidecar::{Sidecar, SidecarMeta};

pub use files::{FOOTER_BYTES_MAX, SegmentFiles};
pub use flush::{Unsorted, write_segments};
pub(crate) use footer::Footer;
pub(crate) use layout::{FileColumn, Layout, text_form};
pub use meta::{
    DAY_US, FORMAT, InvalidSegmentMeta, ProjectRows, SegmentId, SegmentMeta, day_folder, day_of, segment_path,
};
pub(crate) use promote::KeyCounts;
pub(crate) use sink::{Sink, block_checksum, io_error};
pub(crate) use source::{check_length, damaged};
pub(crate) use verify::check_sum;
pub use verify::{SegmentCheck, verify_segment};

/// A live segment and the sidecar derived from it. Files are opened when first read; what is read is checked against checksums.
#[derive(Debug)]
pub struct Segment {
    raw: Arc<RawFile>,
    sidecar: Option<Arc<Sidecar>>,
}

/// The Parquet file; it stays the same when the sidecar beside it is replaced.
#[derive(Debug)]
struct RawFile {
    files: Arc<SegmentFiles>,
    dataset: Arc<Dataset>,
    meta: SegmentMeta,
    path: PathBuf,
    replaced: AtomicBool,
}

impl Segment {
    /// The segment a catalog entry stands for, and its sidecar's entry. Fails when a file is missing or has another length.
    pub fn open(
        files: &Arc<SegmentFiles>,
        dataset: &Arc<Dataset>,
        meta: SegmentMeta,
        sidecar: Option<SidecarMeta>,
    ) -> StoreResult<Arc<Self>> {
        let path = segment_path(files.data_dir(), &dataset.name, meta.day, meta.id);
        source::check_length(files.disk(), &path, meta.bytes)?;
        let sidecar = sidecar.map(|sidecar| Sidecar::open(files, dataset, sidecar)).transpose()?;
        let (files, dataset) = (Arc::clone(files), Arc::clone(dataset));
        let raw = RawFile { files, dataset, meta, path, replaced: AtomicBool::new(false) };
        Ok(Arc::new(Segment { raw: Arc::new(raw), sidecar }))
    }

    /// The same rows with another sidecar.
    pub(crate) fn with_sidecar(&self, sidecar: Option<Arc<Sidecar>>) -> Arc<Self> {
        Arc::new(Segment { raw: Arc::clone(&self.raw), sidecar })
    }

    /// What the catalog knows of it.
    pub fn meta(&self) -> &SegmentMeta {
        &self.raw.meta
    }

    /// Where its file is.
    pub fn path(&self) -> &std::path::Path {
        &self.raw.path
    }

    /// Its roll-up sections; `None` where there are none.
    pub fn sidecar(&self) -> Option<&Arc<Sidecar>> {
        self.sidecar.as_ref().filter(|sidecar| sidecar.meta().has_file())
    }

    /// What the catalog lists beside it, be it with a file or without.
    pub(crate) fn sidecar_entry(&self) -> Option<&Arc<Sidecar>> {
        self.sidecar.as_ref()
    }

    /// The hash of the roll-ups its sidecar was derived for; 0 for none.
    pub fn derived_for(&self) -> u64 {
        self.sidecar.as_ref().map_or(0, |sidecar| sidecar.meta().derived_for)
    }

    /// What it holds of a project.
    pub fn span(&self, project: &ProjectName) -> Option<ProjectSpan> {
        self.raw.meta.span(project)
    }

    /// Says that the catalog lists neither it nor its sidecar any more: the files go with the last snapshot that holds them.
    pub fn mark_replaced(&self) {
        self.mark_raw_replaced();
        if let Some(sidecar) = &self.sidecar {
            sidecar.mark_replaced();
        }
    }

    /// The same of the raw file alone.
    pub(crate) fn mark_raw_replaced(&self) {
        self.raw.replaced.store(true, Ordering::Release);
    }

    pub(crate) fn footer(&self) -> StoreResult<Arc<Footer>> {
        let RawFile { files, dataset, meta, path, .. } = &*self.raw;
        if let Some(footer) = files.cached_footer(meta.id) {
            return Ok(footer);
        }
        let footer = Arc::new(Footer::open(files.disk(), path, dataset, meta)?);
        files.cache_footer(meta.id, &footer);
        Ok(footer)
    }
}

impl Drop for RawFile {
    fn drop(&mut self) {
        if !self.replaced.load(Ordering::Acquire) {
            return;
        }
        self.files.forget_footer(self.meta.id);
        if let Err(error) = self.files.disk().remove(&self.path) {
            // The next start removes files the catalog does not name.
            tracing::warn!(path = %self.path.display(), %error, "a replaced segment stays until the next start");
        }
    }
}

#[cfg(test)]
mod tests;
