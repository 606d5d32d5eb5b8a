//! Turning chunks into segments: sort all rows, cut by UTC day, write one file per day.
//!
//! Not here: when a memtable is flushed and the catalog transaction that follows.

use std::sync::Arc;

use arrow_array::UInt32Array;
use tidewater_aggregate::RowsExpected;
use tidewater_model::schema::{Dataset, DatasetId};

use super::files::SegmentFiles;
use super::layout::Layout;
use super::meta::{SegmentId, day_of};
use super::order;
use super::rows::Rows;
use super::writer::SegmentHead;
use crate::chunk::Chunk;
use crate::error::StoreResult;
use crate::sidecar::{Forecasts, Sections, UnitWriter, Written};
use crate::tombstone::Tombstone;
use crate::version::Lsn;

/// Rows gathered at once: they stay in the cache between gathering and encoding.
const GATHER_ROWS: usize = 16 << 10;

/// Rows of one dataset on their way to disk.
pub struct Unsorted<'a> {
    /// The dataset's identity.
    pub dataset_id: DatasetId,
    /// Its definition.
    pub dataset: &'a Arc<Dataset>,
    /// The rows.
    pub chunks: &'a [Arc<Chunk>],
    /// All deletes of the dataset.
    pub tombstones: &'a [Arc<Tombstone>],
    /// About how many bytes a row takes in a segment, where that is known from earlier ones.
    pub row_bytes: Option<f64>,
    /// What is known of which tiers pay.
    pub forecasts: &'a Forecasts,
}

/// Writes the rows of chunks, one segment per UTC day with its sidecar, without those that tombstones hide. The files are
/// durable; the caller puts them into the catalog.
pub fn write_segments(
    files: &SegmentFiles,
    unsorted: &Unsorted<'_>,
    next_id: &dyn Fn() -> SegmentId,
) -> StoreResult<Vec<Written>> {
    let Unsorted { dataset_id, dataset, chunks, tombstones, row_bytes, forecasts } = *unsorted;
    if chunks.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows = Rows::from_chunks(chunks);
    if let Some(visible) = rows.visible(tombstones) {
        rows = rows.take(&visible.set_indices().map(|row| row as u32).collect::<Vec<u32>>().into());
    }
    let row_bytes = row_bytes.unwrap_or_else(|| rows.batch.memory_bytes() as f64 / rows.len().max(1) as f64);
    let sorted = order::sorted(&rows, &dataset.sort, true);
    let tombstones_applied = tombstones.iter().map(|tombstone| tombstone.lsn).max().unwrap_or(Lsn(0));
    let times = rows.batch.times();
    let days: Vec<&[u32]> =
        sorted.chunk_by(|a, b| day_of(times[*a as usize]) == day_of(times[*b as usize])).collect();
    let mut written = Vec::with_capacity(days.len());
    for day_rows in &days {
        let day = day_of(times[day_rows[0] as usize]);
        let head = SegmentHead { dataset_id, dataset, day, id: next_id(), tombstones_applied };
        let count = day_rows.len() as u64;
        let expected = RowsExpected { rows: count, raw_bytes: (row_bytes * count as f64) as u64 };
        let day = Day { files, forecasts, rows: &rows, sorted: day_rows, is_only: days.len() == 1 };
        match day.write(head, expected, next_id) {
            Ok(unit) => written.push(unit),
            Err(error) => {
                files.discard(&dataset.name, &written);
                return Err(error);
            }
        }
    }
    Ok(written)
}

/// The rows of one segment among all that are flushed.
struct Day<'a> {
    files: &'a SegmentFiles,
    forecasts: &'a Forecasts,
    rows: &'a Rows,
    /// Which, in segment order.
    sorted: &'a [u32],
    is_only: bool,
}

impl Day<'_> {
    fn write(
        &self,
        head: SegmentHead<'_>,
        expected: RowsExpected,
        next_id: &dyn Fn() -> SegmentId,
    ) -> StoreResult<Written> {
        let hopeless =
            self.forecasts.hopeless_tiers(head.dataset_id, head.dataset, self.rows, self.sorted, expected);
        let sections = (expected, Sections::FromRowsBeside { hopeless });
        if !self.is_only {
            // The layout depends on the day's own rows: which columns it has, which keys are frequent.
            let own = self.rows.take(&UInt32Array::from(self.sorted.to_vec()));
            let layout = Layout::of_rows(head.dataset, &own);
            let mut writer = UnitWriter::create(self.files, head, layout, sections, next_id)?;
            for first in (0..own.len()).step_by(GATHER_ROWS) {
                writer.write(&own.slice(first, GATHER_ROWS.min(own.len() - first)))?;
            }
            return writer.finish();
        }
        let layout = Layout::of_rows(head.dataset, self.rows);
        let mut writer = UnitWriter::create(self.files, head, layout, sections, next_id)?;
        for part in self.sorted.chunks(GATHER_ROWS) {
            writer.write(&self.rows.take(&UInt32Array::from(part.to_vec())))?;
        }
        writer.finish()
    }
}
