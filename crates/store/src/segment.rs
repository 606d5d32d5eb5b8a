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

pub use files::{FOOTER_BYTES_MAX, SegmentFiles};
pub use flush::write_segments;
pub(crate) use footer::Footer;
pub(crate) use layout::{FileColumn, Layout, text_form};
pub use meta::{
    DAY_US, FORMAT, InvalidSegmentMeta, ProjectRows, SegmentId, SegmentMeta, day_of, segment_path,
};
pub(crate) use promote::KeyCounts;
pub use verify::{SegmentCheck, verify_segment};

/// A live segment. Its file is opened when first read; what is read is checked against checksums.
#[derive(Debug)]
pub struct Segment {
    files: Arc<SegmentFiles>,
    dataset: Arc<Dataset>,
    meta: SegmentMeta,
    path: PathBuf,
    replaced: AtomicBool,
}

impl Segment {
    /// The segment a catalog entry stands for. Fails when its file is missing or has another length.
    pub fn open(
        files: &Arc<SegmentFiles>,
        dataset: &Arc<Dataset>,
        meta: SegmentMeta,
    ) -> StoreResult<Arc<Self>> {
        let path = segment_path(files.data_dir(), &dataset.name, meta.day, meta.id);
        source::check_length(files.disk(), &path, meta.bytes)?;
        let replaced = AtomicBool::new(false);
        Ok(Arc::new(Segment { files: Arc::clone(files), dataset: Arc::clone(dataset), meta, path, replaced }))
    }

    /// What the catalog knows of it.
    pub fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    /// Where its file is.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// What it holds of a project.
    pub fn span(&self, project: &ProjectName) -> Option<ProjectSpan> {
        self.meta.span(project)
    }

    /// Says that the catalog lists it no more: the file goes with the last snapshot that holds the segment.
    pub fn mark_replaced(&self) {
        self.replaced.store(true, Ordering::Release);
    }

    pub(crate) fn footer(&self) -> StoreResult<Arc<Footer>> {
        if let Some(footer) = self.files.cached_footer(self.meta.id) {
            return Ok(footer);
        }
        let footer = Arc::new(Footer::open(self.files.disk(), &self.path, &self.dataset, &self.meta)?);
        self.files.cache_footer(self.meta.id, &footer);
        Ok(footer)
    }
}

impl Drop for Segment {
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
