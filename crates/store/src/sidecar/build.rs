//! Deriving a segment's sidecar from its rows: while they are written, or later from the file.
//!
//! Not here: which rows those are (`segment::flush`, `compaction`), what is derived (`aggregate`).

use std::ops::ControlFlow;
use std::sync::Arc;

use tidewater_aggregate::{Derivation, Derived, RowsExpected, derived_for};
use tidewater_model::schema::Dataset;

use super::meta::{SidecarId, SidecarMeta};
use super::writer::{SidecarHead, write_sidecar};
use crate::error::StoreResult;
use crate::segment::read::{Fetch, GroupReader, all_roots};
use crate::segment::rows::Rows;
use crate::segment::writer::{SegmentHead, SegmentWriter};
use crate::segment::{Layout, ProjectRows, Segment, SegmentFiles, SegmentId, SegmentMeta};
use crate::tombstone::Tombstone;

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
    derivation: Option<Derivation>,
}

impl<'a> UnitWriter<'a> {
    /// Creates the segment's file under a temporary name.
    pub fn create(
        files: &'a SegmentFiles,
        head: SegmentHead<'a>,
        layout: Layout,
        expected: RowsExpected,
        next_id: &dyn Fn() -> SegmentId,
    ) -> StoreResult<Self> {
        let segment = SegmentWriter::create(files, &head, layout)?;
        let derivation = Derivation::new(head.dataset, expected);
        let sidecar_id = SidecarId(next_id().0);
        Ok(UnitWriter { files, head, sidecar_id, segment, derivation })
    }

    /// About how many bytes the segment has so far.
    pub fn bytes(&self) -> u64 {
        self.segment.bytes()
    }

    /// Appends rows; they follow all earlier ones in segment order.
    pub fn write(&mut self, rows: &Rows) -> StoreResult<()> {
        let projects = ProjectRows::of(rows);
        if let Some(derivation) = &mut self.derivation {
            add(derivation, rows, &projects);
        }
        self.segment.write(rows, &projects)
    }

    /// Completes both files: durable, under their final names.
    pub fn finish(self) -> StoreResult<Written> {
        let segment = self.segment.finish()?;
        let Some(derivation) = self.derivation else { return Ok(Written { segment, sidecar: None }) };
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
fn add(derivation: &mut Derivation, rows: &Rows, projects: &[ProjectRows]) {
    for part in projects {
        derivation.add(&part.project, &rows.batch.slice(part.first_row as usize, part.rows as usize));
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
    let Some(derived) = derive(dataset, segment, tombstones, throttle)? else { return Ok(None) };
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

/// What a segment's rows yield without those that tombstones hide; `None` when the throttle ended it.
pub fn derive(
    dataset: &Arc<Dataset>,
    segment: &Segment,
    tombstones: &[Arc<Tombstone>],
    throttle: &dyn Fn() -> ControlFlow<()>,
) -> StoreResult<Option<Derived>> {
    let meta = segment.meta();
    let expected = RowsExpected { rows: meta.rows, raw_bytes: meta.bytes };
    let Some(mut derivation) = Derivation::new(dataset, expected) else {
        return Ok(Some(Derived::default()));
    };
    let footer = segment.footer()?;
    for group in 0..footer.parquet().num_row_groups() {
        let roots = all_roots(&footer);
        let mut reader = GroupReader::open(Arc::clone(&footer), group, None, roots, BATCH_ROWS, Fetch::Lazy)?;
        while let Some(batch) = reader.next() {
            if throttle().is_break() {
                return Ok(None);
            }
            let mut rows = batch?.into_rows();
            if let Some(visible) = rows.visible(tombstones) {
                rows = rows.take(&visible.set_indices().map(|row| row as u32).collect::<Vec<u32>>().into());
            }
            add(&mut derivation, &rows, &ProjectRows::of(&rows));
        }
    }
    Ok(Some(derivation.finish(meta.bytes)))
}
