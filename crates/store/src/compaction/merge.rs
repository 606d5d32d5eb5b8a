//! Merging sorted segments of one day into fewer files, a window of rows at a time.
//!
//! A round takes from every input the rows up to the smallest last row of the decoded batches: they are all that can come
//! next. It joins, sorts and writes them. Memory: one decoded batch and the current pages of each input, twice that for
//! the joined and sorted window, and the compressed pages of one output row group. Not here: what to merge (`plan`).

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::{Array, UInt32Array};
use tidewater_aggregate::{EncodedSection, RowsExpected};
use tidewater_model::schema::{ColumnId, ColumnRef, ColumnType, Dataset};

use crate::error::StoreResult;
use crate::segment::order;
use crate::segment::read::{Fetch, GroupReader, all_roots, roots_of};
use crate::segment::rows::Rows;
use crate::segment::writer::SegmentHead;
use crate::segment::{
    FileColumn, Footer, KeyCounts, Layout, Segment, SegmentFiles, SegmentId, SegmentMeta, text_form,
};
use crate::sidecar::{Sections, UnitWriter, Written, merge_sections};
use crate::tombstone::Tombstone;
use crate::version::Lsn;

/// Rows of a decoded batch of one input; fewer where rows are long.
const BATCH_ROWS_MAX: usize = if cfg!(test) { 7 } else { 4 << 10 };
/// Inputs with more bytes than this go into several files, each cut once it has about so many.
const OUTPUT_BYTES_MAX: u64 = 256 << 20;
/// Rows written between two looks at the throttle.
const WRITE_ROWS: usize = 8 << 10;

/// Merges segments of one dataset and day with their sidecars. Where all rows go into one file, sections that all inputs have are
/// merged as they are; others are derived from the rows. Rows that tombstones hide are left out,
/// so the result may be empty. The new files are durable; the caller swaps them in with one catalog transaction. `tombstones` are all of the dataset's.
/// `throttle` is called every few thousand rows: it may sleep, and `Break` ends the merge with `None`, leaving no files.
pub fn merge_segments(
    files: &SegmentFiles,
    dataset: &Arc<Dataset>,
    inputs: &[Arc<Segment>],
    tombstones: &[Arc<Tombstone>],
    next_id: &dyn Fn() -> SegmentId,
    throttle: &dyn Fn() -> ControlFlow<()>,
) -> StoreResult<Option<Vec<Written>>> {
    let Some(first) = inputs.first() else { return Ok(Some(Vec::new())) };
    let is_one_file = raw_bytes(inputs) <= OUTPUT_BYTES_MAX;
    let known =
        if is_one_file { merge_sections(dataset, inputs, tombstones, throttle)? } else { Some(Vec::new()) };
    let Some(known) = known else { return Ok(None) };
    let mut merge = Merge {
        files,
        dataset,
        first: first.meta(),
        tombstones,
        tombstones_applied: tombstones_applied(inputs, tombstones),
        expected: expected(inputs),
        output_bytes_max: if is_one_file { u64::MAX } else { OUTPUT_BYTES_MAX },
        known,
        next_id,
        throttle,
        finished: Vec::new(),
    };
    match merge.run(inputs) {
        Ok(ControlFlow::Continue(())) => Ok(Some(merge.finished)),
        Ok(ControlFlow::Break(())) => {
            files.discard(&dataset.name, &merge.finished);
            Ok(None)
        }
        Err(error) => {
            files.discard(&dataset.name, &merge.finished);
            Err(error)
        }
    }
}

/// Every tombstone up to here is applied to all rows of the merge.
fn tombstones_applied(inputs: &[Arc<Segment>], tombstones: &[Arc<Tombstone>]) -> Lsn {
    let before = inputs.iter().map(|input| input.meta().tombstones_applied).min();
    let now = tombstones.iter().map(|tombstone| tombstone.lsn).max();
    before.max(now).unwrap_or(Lsn(0))
}

fn raw_bytes(inputs: &[Arc<Segment>]) -> u64 {
    inputs.iter().map(|input| input.meta().bytes).sum()
}

/// What one output file is about to hold.
fn expected(inputs: &[Arc<Segment>]) -> RowsExpected {
    let rows: u64 = inputs.iter().map(|input| input.meta().rows).sum();
    let raw_bytes = raw_bytes(inputs);
    let files = raw_bytes.div_ceil(OUTPUT_BYTES_MAX).max(1);
    RowsExpected { rows: rows / files, raw_bytes: raw_bytes / files }
}

struct Merge<'a> {
    files: &'a SegmentFiles,
    dataset: &'a Arc<Dataset>,
    /// Tells dataset and day.
    first: &'a SegmentMeta,
    tombstones: &'a [Arc<Tombstone>],
    tombstones_applied: Lsn,
    expected: RowsExpected,
    /// An output file is cut at about this size. Inputs that fit one file are not cut, though it may become a little larger than they are:
    /// their sections are those of one file.
    output_bytes_max: u64,
    /// The sections of the one output file, as far as they are known without its rows.
    known: Vec<EncodedSection>,
    next_id: &'a dyn Fn() -> SegmentId,
    throttle: &'a dyn Fn() -> ControlFlow<()>,
    /// Complete output files.
    finished: Vec<Written>,
}

impl<'a> Merge<'a> {
    fn run(&mut self, inputs: &[Arc<Segment>]) -> StoreResult<ControlFlow<()>> {
        let mut streams = inputs.iter().map(Stream::open).collect::<StoreResult<Vec<_>>>()?;
        streams.retain(|stream| stream.batch.is_some());
        let Some(layout) = layout(self.dataset, &streams)? else { return Ok(ControlFlow::Continue(())) };
        let mut writer: Option<UnitWriter<'_>> = None;
        while let Some(window) = self.next_window(&mut streams)? {
            for first in (0..window.len()).step_by(WRITE_ROWS) {
                if (self.throttle)().is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                let mut out = match writer.take() {
                    Some(out) => out,
                    None => {
                        let layout = layout.clone();
                        let known = Sections::Known(std::mem::take(&mut self.known));
                        let sections = (self.expected, known);
                        UnitWriter::create(self.files, self.head(), layout, sections, self.next_id)?
                    }
                };
                out.write(&window.slice(first, WRITE_ROWS.min(window.len() - first)))?;
                if out.bytes() < self.output_bytes_max {
                    writer = Some(out);
                } else {
                    self.finished.push(out.finish()?);
                }
            }
        }
        if let Some(out) = writer {
            self.finished.push(out.finish()?);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn head(&self) -> SegmentHead<'a> {
        SegmentHead {
            dataset_id: self.first.dataset,
            dataset: self.dataset,
            day: self.first.day,
            id: (self.next_id)(),
            tombstones_applied: self.tombstones_applied,
        }
    }

    /// The next rows of the output, sorted; `None` at the end.
    fn next_window(&self, streams: &mut Vec<Stream>) -> StoreResult<Option<Rows>> {
        let sort = &self.dataset.sort;
        loop {
            let lasts = streams.iter().filter_map(Stream::last_row);
            let Some(bound) = lasts.min_by(|a, b| order::compare((a, 0), (b, 0), sort)) else {
                return Ok(None);
            };
            let mut parts = Vec::with_capacity(streams.len());
            for stream in streams.iter_mut() {
                parts.extend(stream.take_until(&bound, sort)?);
            }
            streams.retain(|stream| stream.batch.is_some());
            let joined = Rows::concat(&parts);
            let mut rows = if parts.len() == 1 {
                joined
            } else {
                joined.take(&UInt32Array::from(order::sorted(&joined, sort, false)))
            };
            if let Some(visible) = rows.visible(self.tombstones) {
                rows = rows.take(&visible.set_indices().map(|row| row as u32).collect::<Vec<u32>>().into());
            }
            if rows.len() > 0 {
                return Ok(Some(rows));
            }
        }
    }
}

/// One input: its rows from first to last.
struct Stream {
    footer: Arc<Footer>,
    next_group: usize,
    reader: Option<GroupReader>,
    /// Decoded rows not yet taken; `None` at the end, never empty.
    batch: Option<Rows>,
}

impl Stream {
    fn open(segment: &Arc<Segment>) -> StoreResult<Self> {
        let footer = segment.footer()?;
        let mut stream = Stream { footer, next_group: 0, reader: None, batch: None };
        stream.advance()?;
        Ok(stream)
    }

    /// Decodes the next batch.
    fn advance(&mut self) -> StoreResult<()> {
        self.batch = None;
        loop {
            if let Some(reader) = &mut self.reader
                && let Some(batch) = reader.next()
            {
                let rows = batch?.into_rows();
                if rows.len() > 0 {
                    self.batch = Some(rows);
                    return Ok(());
                }
                continue;
            }
            if self.next_group == self.footer.parquet().num_row_groups() {
                return Ok(());
            }
            let (footer, roots) = (Arc::clone(&self.footer), all_roots(&self.footer));
            let reader =
                GroupReader::open(footer, self.next_group, None, roots, BATCH_ROWS_MAX, Fetch::Lazy)?;
            self.reader = Some(reader);
            self.next_group += 1;
        }
    }

    fn last_row(&self) -> Option<Rows> {
        let batch = self.batch.as_ref()?;
        Some(batch.slice(batch.len() - 1, 1))
    }

    /// Takes the rows of the decoded batch up to and including `bound`.
    fn take_until(&mut self, bound: &Rows, sort: &[ColumnId]) -> StoreResult<Option<Rows>> {
        let Some(batch) = &self.batch else { return Ok(None) };
        let count =
            partition_point(batch.len(), |row| order::compare((batch, row), (bound, 0), sort).is_le());
        if count == 0 {
            return Ok(None);
        }
        let taken = batch.slice(0, count);
        if count == batch.len() {
            self.advance()?;
        } else {
            self.batch = Some(batch.slice(count, batch.len() - count));
        }
        Ok(Some(taken))
    }
}

/// The first index where `holds` is false; it holds for a prefix.
fn partition_point(len: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// The layout of the output: columns any input has, strings coded where a sample repeats, map keys counted anew.
fn layout(dataset: &Dataset, streams: &[Stream]) -> StoreResult<Option<Layout>> {
    let heads: Vec<Rows> = streams.iter().filter_map(|stream| stream.batch.clone()).collect();
    if heads.is_empty() {
        return Ok(None);
    }
    let sample = Rows::concat(&heads);
    let mut columns = Vec::new();
    for (index, column) in dataset.columns.iter().enumerate() {
        let id = ColumnId(index as u16);
        let stored: Vec<_> =
            streams.iter().filter_map(|stream| Some((stream, stream.footer.stored(id)?))).collect();
        if stored.is_empty() {
            continue;
        }
        let nullable = stored.len() < streams.len()
            || stored.iter().any(|(stream, stored)| stream.footer.is_nullable(stored.root));
        let promoted = match column.kind {
            ColumnType::Map => promoted_keys(id, streams)?,
            _ => Vec::new(),
        };
        let mut forms = stored.iter().map(|(stream, stored)| stream.footer.text_form(stored.root));
        let sampled = sample.batch.column(id).filter(|array| array.logical_null_count() < array.len());
        let mut text = sampled.map(text_form).or_else(|| forms.clone().next()).unwrap_or_default();
        text.bloom |= forms.any(|form| form.bloom);
        let name = Arc::clone(&column.name);
        columns.push(FileColumn { id, name, kind: column.kind, nullable, text, promoted });
    }
    Ok(Some(Layout { columns, id: dataset.id }))
}

/// Reads one map column of all inputs to count its keys.
fn promoted_keys(id: ColumnId, streams: &[Stream]) -> StoreResult<Vec<Arc<str>>> {
    let reference = ColumnRef::column(id);
    let mut counts = KeyCounts::default();
    for stream in streams {
        let footer = &stream.footer;
        let place = footer.place(&reference);
        let mut roots = Vec::new();
        roots_of(&place, &mut roots);
        for group in 0..footer.parquet().num_row_groups() {
            let (footer, roots) = (Arc::clone(footer), roots.clone());
            let mut reader = GroupReader::open(footer, group, None, roots, BATCH_ROWS_MAX, Fetch::Lazy)?;
            while let Some(batch) = reader.next() {
                let batch = batch?;
                match batch.at(&place) {
                    Some(map) => counts.add_array(&map),
                    None => counts.add_nulls(batch.rows() as u64),
                }
            }
        }
    }
    Ok(counts.promoted())
}
