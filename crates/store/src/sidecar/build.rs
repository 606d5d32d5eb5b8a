//! Deriving a segment's sidecar from its rows: while they are written, or later from the file.
//!
//! Not here: which rows those are (`segment::flush`, `compaction`), what is derived (`aggregate`), sections that need no rows
//! (`merge`).

use std::ops::ControlFlow;
use std::sync::Arc;

use tidewater_aggregate::{Derivation, Derived, EncodedSection, RowsExpected, derived_for};
use tidewater_columns::RowBatch;
use tidewater_model::schema::{Dataset, Tier};

use super::beside::Beside;
use super::meta::{SidecarId, SidecarMeta};
use super::writer::{SidecarHead, write_sidecar};
use crate::error::StoreResult;
use crate::segment::read::{Fetch, GroupReader, all_roots};
use crate::segment::rows::Rows;
use crate::segment::writer::{SegmentHead, SegmentWriter};
use crate::segment::{Layout, ProjectRows, Segment, SegmentFiles, SegmentId, SegmentMeta};
use crate::tombstone::Tombstone;

/// Rows from which on a thread of its own is worth its start: about a milli-second of deriving.
const BESIDE_ROWS_MIN: u64 = 2_048;
/// Rows decoded at once when a sidecar is derived from a file.
const BATCH_ROWS: usize = 8 << 10;

/// A segment's file and its sidecar's as they are on disk, before the catalog names them.
#[derive(Clone, Debug)]
pub struct Written {
    /// The segment.
    pub segment: SegmentMeta,
    /// Its sidecar; `None` in a dataset without roll-ups.
    pub sidecar: Option<SidecarMeta>,
}

impl Written {
    /// The segment with its sidecar.
    pub fn open(self, files: &Arc<SegmentFiles>, dataset: &Arc<Dataset>) -> StoreResult<Arc<Segment>> {
        Segment::open(files, dataset, self.segment, self.sidecar)
    }
}

/// Writes one segment and its sidecar from the same rows.
pub struct UnitWriter<'a> {
    files: &'a SegmentFiles,
    head: SegmentHead<'a>,
    sidecar_id: SidecarId,
    segment: SegmentWriter<'a>,
    deriving: Deriving,
}

/// Where a unit's sections come from.
pub enum Sections {
    /// From the rows, without the tiers that are known not to pay, by a thread of its own beside the one that writes them: whoever waits
    /// for a flush waits half as long.
    FromRowsBeside { hopeless: Vec<(String, Tier)> },
    /// From the rows, but for those that are known already.
    Known(Vec<EncodedSection>),
}

enum Deriving {
    /// No roll-up is declared.
    Nothing,
    Here(Box<Derivation>),
    Beside(Beside),
}

impl<'a> UnitWriter<'a> {
    /// Creates the segment's file under a temporary name.
    pub fn create(
        files: &'a SegmentFiles,
        head: SegmentHead<'a>,
        layout: Layout,
        (expected, sections): (RowsExpected, Sections),
        next_id: &dyn Fn() -> SegmentId,
    ) -> StoreResult<Self> {
        let segment = SegmentWriter::create(files, &head, layout)?;
        let (known, hopeless, is_beside) = match sections {
            Sections::FromRowsBeside { hopeless } => (Vec::new(), hopeless, expected.rows >= BESIDE_ROWS_MIN),
            Sections::Known(known) => (known, Vec::new(), false),
        };
        let deriving = match Derivation::new(head.dataset, expected, known) {
            None => Deriving::Nothing,
            Some(mut derivation) => {
                derivation.leave_out(&hopeless);
                match is_beside {
                    true => Deriving::Beside(Beside::start(derivation)?),
                    false => Deriving::Here(Box::new(derivation)),
                }
            }
        };
        let sidecar_id = SidecarId(next_id().0);
        Ok(UnitWriter { files, head, sidecar_id, segment, deriving })
    }

    /// About how many bytes the segment has so far.
    pub fn bytes(&self) -> u64 {
        self.segment.bytes()
    }

    /// Appends rows; they follow all earlier ones in segment order.
    pub fn write(&mut self, rows: &Rows) -> StoreResult<()> {
        let projects = ProjectRows::of(rows);
        match &mut self.deriving {
            Deriving::Nothing => {}
            Deriving::Here(derivation) => add(derivation, &rows.batch, &projects),
            Deriving::Beside(beside) => beside.add(&rows.batch, &projects),
        }
        self.segment.write(rows, &projects)
    }

    /// Completes both files: durable, under their final names.
    pub fn finish(self) -> StoreResult<Written> {
        let segment = self.segment.finish()?;
        let derivation = match self.deriving {
            Deriving::Nothing => return Ok(Written { segment, sidecar: None }),
            Deriving::Here(derivation) => *derivation,
            Deriving::Beside(beside) => beside.end(),
        };
        let derived = derivation.finish(segment.bytes);
        let head = SidecarHead {
            id: self.sidecar_id,
            dataset: self.head.dataset_id,
            name: &self.head.dataset.name,
            segment: Some(segment.id),
            day: segment.day,
            derived_for: derived_for(self.head.dataset),
            tombstones_applied: segment.tombstones_applied,
            projects: Vec::new(),
        };
        match write_sidecar(self.files, head, derived) {
            Ok(sidecar) => Ok(Written { segment, sidecar: Some(sidecar) }),
            Err(error) => {
                self.files.discard(&self.head.dataset.name, &[Written { segment, sidecar: None }]);
                Err(error)
            }
        }
    }
}

/// Feeds rows in segment order, project by project.
pub fn add(derivation: &mut Derivation, rows: &RowBatch, projects: &[ProjectRows]) {
    for part in projects {
        derivation.add(&part.project, &rows.slice(part.first_row as usize, part.rows as usize));
    }
}

/// Derives a sidecar anew from the rows of a segment's file that no tombstone hides. The file is durable; the caller swaps it in
/// with one catalog transaction. `throttle` is called every few thousand rows: it may sleep, and `Break` ends the work
/// with `None`, leaving no file.
pub fn build_sidecar(
    files: &SegmentFiles,
    dataset: &Arc<Dataset>,
    segment: &Segment,
    tombstones: &[Arc<Tombstone>],
    id: SidecarId,
    throttle: &dyn Fn() -> ControlFlow<()>,
) -> StoreResult<Option<SidecarMeta>> {
    let meta = segment.meta();
    let Some(derived) = derive(dataset, segment, tombstones, &mut |_| throttle())? else { return Ok(None) };
    let latest = tombstones.iter().map(|tombstone| tombstone.lsn).max();
    let head = SidecarHead {
        id,
        dataset: meta.dataset,
        name: &dataset.name,
        segment: Some(meta.id),
        day: meta.day,
        derived_for: derived_for(dataset),
        tombstones_applied: latest.unwrap_or_default().max(meta.tombstones_applied),
        projects: Vec::new(),
    };
    write_sidecar(files, head, derived).map(Some)
}

/// What a segment's rows yield without those that tombstones hide; `look` sees the rows as they pass, and may end it: then `None`.
pub fn derive(
    dataset: &Arc<Dataset>,
    segment: &Segment,
    tombstones: &[Arc<Tombstone>],
    look: &mut dyn FnMut(&RowBatch) -> ControlFlow<()>,
) -> StoreResult<Option<Derived>> {
    let meta = segment.meta();
    let expected = RowsExpected { rows: meta.rows, raw_bytes: meta.bytes };
    let Some(mut derivation) = Derivation::new(dataset, expected, Vec::new()) else {
        return Ok(Some(Derived::default()));
    };
    let footer = segment.footer()?;
    for group in 0..footer.parquet().num_row_groups() {
        let roots = all_roots(&footer);
        let mut reader = GroupReader::open(Arc::clone(&footer), group, None, roots, BATCH_ROWS, Fetch::Lazy)?;
        while let Some(batch) = reader.next() {
            let mut rows = batch?.into_rows();
            if look(&rows.batch).is_break() {
                return Ok(None);
            }
            if let Some(visible) = rows.visible(tombstones) {
                rows = rows.take(&visible.set_indices().map(|row| row as u32).collect::<Vec<u32>>().into());
            }
            add(&mut derivation, &rows.batch, &ProjectRows::of(&rows));
        }
    }
    Ok(Some(derivation.finish(meta.bytes)))
}
