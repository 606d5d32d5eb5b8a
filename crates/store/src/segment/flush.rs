//! Turning chunks into segments: sort all rows, cut by UTC day, write one file per day.
//!
//! Not here: when a memtable is flushed and the catalog transaction that follows.

use std::sync::Arc;

use arrow_array::UInt32Array;
use tidewater_model::schema::{Dataset, DatasetId};

use super::files::SegmentFiles;
use super::layout::Layout;
use super::meta::{SegmentId, SegmentMeta, day_of};
use super::order;
use super::rows::Rows;
use super::writer::{SegmentHead, SegmentWriter};
use crate::chunk::Chunk;
use crate::error::StoreResult;
use crate::tombstone::Tombstone;
use crate::version::Lsn;

/// Rows gathered at once: they stay in the cache between gathering and encoding.
const GATHER_ROWS: usize = 16 << 10;

/// Writes the rows of chunks, one segment per UTC day, without those that tombstones hide. The files are durable; the
/// caller puts them into the catalog. `tombstones` are all of the dataset's.
pub fn write_segments(
    files: &SegmentFiles,
    dataset_id: DatasetId,
    dataset: &Dataset,
    chunks: &[Arc<Chunk>],
    tombstones: &[Arc<Tombstone>],
    next_id: &dyn Fn() -> SegmentId,
) -> StoreResult<Vec<SegmentMeta>> {
    if chunks.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows = Rows::from_chunks(chunks);
    if let Some(visible) = rows.visible(tombstones) {
        rows = rows.take(&visible.set_indices().map(|row| row as u32).collect::<Vec<u32>>().into());
    }
    let sorted = order::sorted(&rows, &dataset.sort, true);
    let tombstones_applied = tombstones.iter().map(|tombstone| tombstone.lsn).max().unwrap_or(Lsn(0));
    let times = rows.batch.times();
    let days: Vec<&[u32]> =
        sorted.chunk_by(|a, b| day_of(times[*a as usize]) == day_of(times[*b as usize])).collect();
    let mut metas = Vec::with_capacity(days.len());
    for day_rows in &days {
        let day = day_of(times[day_rows[0] as usize]);
        let head = SegmentHead { dataset_id, dataset, day, id: next_id(), tombstones_applied };
        match write_day(files, &head, &rows, day_rows, days.len() == 1) {
            Ok(meta) => metas.push(meta),
            Err(error) => {
                files.discard(&dataset.name, &metas);
                return Err(error);
            }
        }
    }
    Ok(metas)
}

fn write_day(
    files: &SegmentFiles,
    head: &SegmentHead<'_>,
    rows: &Rows,
    sorted: &[u32],
    is_only_day: bool,
) -> StoreResult<SegmentMeta> {
    if !is_only_day {
        // The layout depends on the day's own rows: which columns it has, which keys are frequent.
        let own = rows.take(&UInt32Array::from(sorted.to_vec()));
        let mut writer = SegmentWriter::create(files, head, Layout::of_rows(head.dataset, &own))?;
        for first in (0..own.len()).step_by(GATHER_ROWS) {
            writer.write(&own.slice(first, GATHER_ROWS.min(own.len() - first)))?;
        }
        return writer.finish();
    }
    let mut writer = SegmentWriter::create(files, head, Layout::of_rows(head.dataset, rows))?;
    for part in sorted.chunks(GATHER_ROWS) {
        writer.write(&rows.take(&UInt32Array::from(part.to_vec())))?;
    }
    writer.finish()
}
