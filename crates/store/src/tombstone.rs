//! Tombstones: deletes that hide rows at once and are rewritten out later.
//!
//! Not here: their log record and catalog row, and the rewriting itself (`compaction`).

use std::fmt;
use std::sync::Arc;

use tidewater_columns::mask::{CompiledFilter, MaskError};
use tidewater_model::filter::Filter;
use tidewater_model::names::ProjectName;

use crate::segment::SegmentMeta;
use crate::version::Lsn;

/// A delete. It hides rows of its project with a time in `[from_us, to_us)` that came with an earlier record and pass its filter.
pub struct Tombstone {
    /// The record of the delete.
    pub lsn: Lsn,
    /// Whose rows.
    pub project: ProjectName,
    /// First instant, micro-seconds since the epoch.
    pub from_us: i64,
    /// First instant after the range; `i64::MAX` for no bound.
    pub to_us: i64,
    /// The filter in its JSON form, as stored.
    pub text: Arc<str>,
    compiled: Arc<CompiledFilter>,
}

impl Tombstone {
    /// `filter` is what `text` says. Fails on a bad regular expression.
    pub fn new(
        lsn: Lsn,
        project: ProjectName,
        from_us: i64,
        to_us: i64,
        text: Arc<str>,
        filter: &Filter,
    ) -> Result<Self, MaskError> {
        let compiled = Arc::new(CompiledFilter::compile(filter)?);
        Ok(Tombstone { lsn, project, from_us, to_us, text, compiled })
    }

    /// The filter, ready to run.
    pub fn filter(&self) -> &Arc<CompiledFilter> {
        &self.compiled
    }

    /// True if it may hide rows of `project` with these times when the earliest came with `min_lsn`.
    pub fn may_hide(&self, project: &ProjectName, min_us: i64, max_us: i64, min_lsn: Lsn) -> bool {
        self.project == *project && min_lsn < self.lsn && min_us < self.to_us && max_us >= self.from_us
    }

    /// True if a segment may still hold rows it hides: compaction has to rewrite it before the tombstone can be forgotten.
    pub fn is_pending_in(&self, segment: &SegmentMeta) -> bool {
        self.lsn > segment.tombstones_applied
            && segment
                .project(&self.project)
                .is_some_and(|rows| self.may_hide(&self.project, rows.min_us, rows.max_us, segment.min_lsn))
    }
}

impl fmt::Debug for Tombstone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tombstone { lsn, project, from_us, to_us, text, .. } = self;
        write!(f, "Tombstone({lsn:?} {project} [{from_us}, {to_us}) {text})")
    }
}
