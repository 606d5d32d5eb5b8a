//! Reading rows: what a scan asks, the pieces it is done in, and the batches it yields.
//!
//! A scan is exact about project, time range, LSN bounds and tombstones. The question's own filters are the caller's;
//! here they are only a hint that lets whole row groups and pages be skipped.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::BooleanBuffer;
use tidewater_model::filter::Filter;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::ColumnRef;

use crate::chunk::{Chunk, ProjectSpan};
use crate::error::StoreResult;
use crate::segment::scan::{SegmentBatches, SegmentMorsel};
use crate::segment::{self, Segment, SegmentId};
use crate::sidecar::{Sidecar, SidecarId};
use crate::tombstone::Tombstone;
use crate::version::Lsn;

/// Most rows of one [`ScanBatch`]: the operator checks for cancellation at this grain.
pub const SCAN_BATCH_ROWS_MAX: usize = 65_536;

/// What to read. Times are micro-seconds since the epoch.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// Whose rows; not a filter that could be forgotten.
    pub project: ProjectName,
    /// First instant.
    pub from_us: i64,
    /// First instant after the range; `i64::MAX` for no bound.
    pub to_us: i64,
    /// Only rows that came after this record.
    pub after: Option<Lsn>,
    /// Only rows that came with this record or before.
    pub until: Option<Lsn>,
    /// Columns to read, in the order of [`ScanBatch::columns`].
    pub columns: Vec<ColumnRef>,
    /// Also fill [`ScanBatch::identity`].
    pub identity: bool,
    /// Rows that fail it may be left out, but need not be.
    pub hint: Filter,
}

impl ScanRequest {
    /// True when rows of this record are within the LSN bounds.
    pub fn keeps(&self, lsn: Lsn) -> bool {
        self.after.is_none_or(|after| lsn > after) && self.until.is_none_or(|until| lsn <= until)
    }
}

/// Rows of one unit. Only selected rows exist for the caller.
pub struct ScanBatch {
    /// Rows in every array, selected or not.
    pub rows: usize,
    /// Which rows the scan covers; `None` for all.
    pub selection: Option<BooleanBuffer>,
    /// One entry per requested column; `None` is null in every row. Types as `columns::data_type`, strings plain or
    /// dictionary; a map key reads as such a string array.
    pub columns: Vec<Option<ArrayRef>>,
    /// `_lsn` (`Int64`) and `_pos` (`Int32`), where asked for.
    pub identity: Option<(ArrayRef, ArrayRef)>,
}

/// A part of the data that never changes: the grain of scans and of the partial cache.
#[derive(Clone, Debug)]
pub enum Unit {
    /// Rows in memory.
    Chunk(Arc<Chunk>),
    /// Rows in a file.
    Segment(Arc<Segment>),
    /// Roll-up sections of rows that have expired.
    History(Arc<Sidecar>),
}

/// A unit's identity: in one process it never stands for other rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnitId {
    /// [`Chunk::id`].
    Chunk(u64),
    /// The segment's number.
    Segment(SegmentId),
    /// The sidecar's number.
    History(SidecarId),
}

impl Unit {
    /// What it holds of a project; `None` for nothing.
    pub fn span(&self, project: &ProjectName) -> Option<ProjectSpan> {
        match self {
            Unit::Chunk(chunk) => chunk.span(project),
            Unit::Segment(segment) => segment.span(project),
            Unit::History(sidecar) => sidecar.span(project),
        }
    }

    /// Its identity.
    pub fn id(&self) -> UnitId {
        match self {
            Unit::Chunk(chunk) => UnitId::Chunk(chunk.id()),
            Unit::Segment(segment) => UnitId::Segment(segment.meta().id),
            Unit::History(sidecar) => UnitId::History(sidecar.meta().id),
        }
    }

    /// Its roll-up sections, where there are any.
    pub fn sidecar(&self) -> Option<&Arc<Sidecar>> {
        match self {
            Unit::Chunk(_) => None,
            Unit::Segment(segment) => segment.sidecar(),
            Unit::History(sidecar) => Some(sidecar),
        }
    }

    /// The segment, if it is one.
    pub fn segment(&self) -> Option<&Arc<Segment>> {
        match self {
            Unit::Chunk(_) | Unit::History(_) => None,
            Unit::Segment(segment) => Some(segment),
        }
    }

    /// Splits a scan of raw rows into pieces, leaving out what the request cannot touch; history has none. `tombstones` are
    /// those of the dataset as of the snapshot.
    pub fn scan(
        &self,
        request: &Arc<ScanRequest>,
        tombstones: &[Arc<Tombstone>],
    ) -> StoreResult<Vec<Morsel>> {
        match self {
            Unit::Chunk(chunk) => {
                Ok(ChunkMorsel::plan(chunk, request, tombstones).map(Morsel::Chunk).into_iter().collect())
            }
            Unit::Segment(segment) => {
                let morsels = segment::scan::plan(segment, request, tombstones)?;
                Ok(morsels.into_iter().map(Morsel::Segment).collect())
            }
            Unit::History(_) => Ok(Vec::new()),
        }
    }
}

/// A piece of one unit's scan that one thread reads; pieces of a unit are read in any order, in parallel.
pub enum Morsel {
    /// A whole chunk.
    Chunk(ChunkMorsel),
    /// One row group of a segment.
    Segment(SegmentMorsel),
}

impl Morsel {
    /// At most so many rows will be read, for cost estimates.
    pub fn rows_max(&self) -> u64 {
        match self {
            Morsel::Chunk(morsel) => morsel.chunk.batch().rows() as u64,
            Morsel::Segment(morsel) => morsel.rows(),
        }
    }

    /// Starts reading.
    pub fn read(self) -> StoreResult<MorselReader> {
        match self {
            Morsel::Chunk(morsel) => Ok(MorselReader::Chunk(morsel)),
            Morsel::Segment(morsel) => morsel.read().map(|batches| MorselReader::Segment(Box::new(batches))),
        }
    }
}

/// Yields a morsel's batches of at most [`SCAN_BATCH_ROWS_MAX`] rows.
pub enum MorselReader {
    /// Slices of a chunk.
    Chunk(ChunkMorsel),
    /// Pages of a row group.
    Segment(Box<SegmentBatches>),
}

impl Iterator for MorselReader {
    type Item = StoreResult<ScanBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            MorselReader::Chunk(morsel) => morsel.next_batch().map(Ok),
            MorselReader::Segment(batches) => batches.next(),
        }
    }
}

/// The scan of one chunk, and how far it has come.
pub struct ChunkMorsel {
    chunk: Arc<Chunk>,
    request: Arc<ScanRequest>,
    /// Those that may hide rows of the chunk.
    tombstones: Vec<Arc<Tombstone>>,
    /// Rows yielded so far.
    done: usize,
    /// Selection and columns of the whole chunk, made with the first batch.
    whole: Option<ScanBatch>,
}

impl ChunkMorsel {
    fn plan(chunk: &Arc<Chunk>, request: &Arc<ScanRequest>, tombstones: &[Arc<Tombstone>]) -> Option<Self> {
        let span = chunk.span(&request.project)?;
        if span.max_us < request.from_us || span.min_us >= request.to_us {
            return None;
        }
        let min_lsn = chunk.min_lsn();
        let hiding = tombstones
            .iter()
            .filter(|tombstone| tombstone.may_hide(&request.project, span.min_us, span.max_us, min_lsn));
        Some(ChunkMorsel {
            chunk: Arc::clone(chunk),
            request: Arc::clone(request),
            tombstones: hiding.cloned().collect(),
            done: 0,
            whole: None,
        })
    }

    fn next_batch(&mut self) -> Option<ScanBatch> {
        let rows = self.chunk.batch().rows();
        if self.done >= rows {
            return None;
        }
        let whole = self.whole.take().unwrap_or_else(|| self.scan());
        let (first, count) = (self.done, SCAN_BATCH_ROWS_MAX.min(rows - self.done));
        self.done += count;
        if first == 0 && count == rows {
            return Some(whole);
        }
        let part = whole.slice(first, count);
        self.whole = Some(whole);
        Some(part)
    }

    fn scan(&self) -> ScanBatch {
        let (chunk, request) = (&self.chunk, &self.request);
        let mut selection =
            chunk.select(&request.project, request.from_us, request.to_us, |lsn| request.keeps(lsn));
        for tombstone in &self.tombstones {
            let reached =
                chunk.select(&request.project, tombstone.from_us, tombstone.to_us, |lsn| lsn < tombstone.lsn);
            let passes = tombstone.filter().mask(chunk.batch());
            let hidden = reached.map_or(passes.clone(), |reached| &reached & &passes);
            selection = Some(selection.map_or(!&hidden, |selection| &selection & &!&hidden));
        }
        ScanBatch {
            rows: chunk.batch().rows(),
            selection,
            columns: request.columns.iter().map(|reference| chunk.batch().read(reference)).collect(),
            identity: request.identity.then(|| chunk.identity()),
        }
    }
}

impl ScanBatch {
    /// Rows `first .. first + rows`, without copying.
    fn slice(&self, first: usize, rows: usize) -> ScanBatch {
        let part = |array: &ArrayRef| array.slice(first, rows);
        ScanBatch {
            rows,
            selection: self.selection.as_ref().map(|selection| selection.slice(first, rows)),
            columns: self.columns.iter().map(|column| column.as_ref().map(part)).collect(),
            identity: self.identity.as_ref().map(|(lsns, positions)| (part(lsns), part(positions))),
        }
    }
}
