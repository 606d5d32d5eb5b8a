//! Scanning a segment: the row groups that can hold what is asked for, and their batches.
//!
//! Exact about project, time range, LSN bounds and tombstones, as [`crate::scan`] promises.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_buffer::BooleanBuffer;
use tidewater_columns::mask::Evaluator;
use tidewater_model::schema::{ColumnId, ColumnRef};

use super::Segment;
use super::footer::{Footer, Place};
use super::layout::PAGE_ROWS;
use super::prune::{Pruner, RowRanges, intersect};
use super::read::{Fetch, GroupReader, RootBatch, roots_of};
use crate::error::StoreResult;
use crate::scan::{ScanBatch, ScanRequest};
use crate::tombstone::Tombstone;

/// Rows of a batch: a column of 8-byte values is then 128 KB, which stays in a core's second-level cache, and page
/// boundaries fall on batch boundaries.
const BATCH_ROWS: usize = PAGE_ROWS;

/// The part of a scan that reads one row group.
pub struct SegmentMorsel {
    plan: Arc<SegmentScan>,
    group: usize,
    /// Rows within the row group; `None` for all.
    ranges: Option<RowRanges>,
    rows: u64,
}

/// What all row groups of one scan share.
struct SegmentScan {
    /// Keeps the file while it is read.
    _segment: Arc<Segment>,
    footer: Arc<Footer>,
    request: Arc<ScanRequest>,
    /// Where the requested columns come from.
    places: Vec<Place>,
    /// Some rows in range of a row group may lie outside the time range.
    check_time: bool,
    /// Some rows may lie outside the LSN bounds.
    check_lsn: bool,
    /// Those that may hide rows.
    tombstones: Vec<Arc<Tombstone>>,
    /// Root columns to read.
    roots: Vec<usize>,
}

/// The morsels of a scan: none where nothing can match.
pub fn plan(
    segment: &Arc<Segment>,
    request: &Arc<ScanRequest>,
    tombstones: &[Arc<Tombstone>],
) -> StoreResult<Vec<SegmentMorsel>> {
    let meta = segment.meta();
    let Some(project) = meta.project(&request.project) else { return Ok(Vec::new()) };
    let out_of_time = project.max_us < request.from_us || project.min_us >= request.to_us;
    let out_of_log = request.after.is_some_and(|after| meta.max_lsn <= after)
        || request.until.is_some_and(|until| meta.min_lsn > until);
    if out_of_time || out_of_log {
        return Ok(Vec::new());
    }
    let footer = segment.footer()?;
    let mine =
        |tombstone: &&Arc<Tombstone>| tombstone.project == request.project && tombstone.is_pending_in(meta);
    let hiding = tombstones.iter().filter(mine).cloned().collect();
    let mut scan = SegmentScan {
        _segment: Arc::clone(segment),
        places: request.columns.iter().map(|reference| footer.place(reference)).collect(),
        check_time: project.min_us < request.from_us || project.max_us >= request.to_us,
        check_lsn: !(request.keeps(meta.min_lsn) && request.keeps(meta.max_lsn)),
        tombstones: hiding,
        roots: Vec::new(),
        request: Arc::clone(request),
        footer,
    };
    scan.roots = scan.needed_roots();
    let scan = Arc::new(scan);
    let rows = project.first_row as usize..(project.first_row + project.rows) as usize;
    Ok(scan.row_groups(rows))
}

impl SegmentScan {
    fn needed_roots(&self) -> Vec<usize> {
        let mut roots = Vec::new();
        self.places.iter().for_each(|place| roots_of(place, &mut roots));
        let hidden = self.footer.hidden;
        if self.check_time || !self.tombstones.is_empty() {
            roots_of(&self.time(), &mut roots);
        }
        if self.check_lsn || !self.tombstones.is_empty() || self.request.identity {
            roots.push(hidden.lsn);
        }
        if self.request.identity {
            roots.push(hidden.position);
        }
        for reference in self.tombstones.iter().flat_map(|tombstone| tombstone.filter().columns()) {
            roots_of(&self.footer.place(reference), &mut roots);
        }
        roots
    }

    fn time(&self) -> Place {
        self.footer.place(&ColumnRef::column(ColumnId::TIME))
    }

    /// The row groups that hold some of `rows` (counted from the file's first) and may match.
    fn row_groups(self: &Arc<Self>, rows: Range<usize>) -> Vec<SegmentMorsel> {
        let mut morsels = Vec::new();
        let mut first = 0;
        for (group, metadata) in self.footer.parquet().row_groups().iter().enumerate() {
            let count = metadata.num_rows() as usize;
            let own = rows.start.max(first)..rows.end.min(first + count);
            if !own.is_empty() {
                let ranges = self.matching(group, own.start - first..own.end - first);
                let selected: usize = ranges.iter().map(Range::len).sum();
                if selected > 0 {
                    let ranges = (selected < count).then_some(ranges);
                    morsels.push(SegmentMorsel {
                        plan: Arc::clone(self),
                        group,
                        ranges,
                        rows: selected as u64,
                    });
                }
            }
            first += count;
        }
        morsels
    }

    fn matching(&self, group: usize, own: Range<usize>) -> RowRanges {
        let pruner = Pruner::new(&self.footer, group);
        let mut ranges = vec![own];
        if self.check_time {
            ranges = intersect(&ranges, &pruner.in_time(self.request.from_us, self.request.to_us));
        }
        if !ranges.is_empty() && !self.request.hint.is_all() {
            ranges = intersect(&ranges, &pruner.passing(&self.request.hint));
        }
        ranges
    }

    fn batch(&self, read: &RootBatch<'_>, evaluators: &mut [Evaluator]) -> ScanBatch {
        let rows = read.rows();
        let identity = self.request.identity.then(|| {
            let hidden = self.footer.hidden;
            (Arc::clone(read.root(hidden.lsn)), Arc::clone(read.root(hidden.position)))
        });
        ScanBatch {
            rows,
            selection: self.selection(read, evaluators),
            columns: self.places.iter().map(|place| read.at(place)).collect(),
            identity,
        }
    }

    /// Which rows of a batch the scan covers; `None` for all.
    fn selection(&self, read: &RootBatch<'_>, evaluators: &mut [Evaluator]) -> Option<BooleanBuffer> {
        let rows = read.rows();
        let times: Option<ArrayRef> =
            if self.check_time || !self.tombstones.is_empty() { read.at(&self.time()) } else { None };
        let times: &[i64] =
            times.as_ref().map_or(&[], |times| times.as_primitive::<TimestampMicrosecondType>().values());
        let mut selection = None;
        if self.check_time {
            let (from, to) = (self.request.from_us, self.request.to_us);
            and(
                &mut selection,
                BooleanBuffer::collect_bool(rows, |row| times[row] >= from && times[row] < to),
            );
        }
        if !self.check_lsn && self.tombstones.is_empty() {
            return selection.filter(|selection| selection.count_set_bits() < rows);
        }
        let lsns: &[i64] = read.root(self.footer.hidden.lsn).as_primitive::<Int64Type>().values();
        if self.check_lsn {
            let after = self.request.after.map_or(i64::MIN, |lsn| lsn.0);
            let until = self.request.until.map_or(i64::MAX, |lsn| lsn.0);
            and(
                &mut selection,
                BooleanBuffer::collect_bool(rows, |row| lsns[row] > after && lsns[row] <= until),
            );
        }
        for (tombstone, evaluator) in self.tombstones.iter().zip(evaluators) {
            let reached = BooleanBuffer::collect_bool(rows, |row| {
                lsns[row] < tombstone.lsn.0 && times[row] >= tombstone.from_us && times[row] < tombstone.to_us
            });
            if reached.count_set_bits() > 0 {
                let passes =
                    evaluator.evaluate(rows, &mut |reference| read.at(&self.footer.place(reference)));
                and(&mut selection, !&(&reached & &passes));
            }
        }
        selection.filter(|selection| selection.count_set_bits() < rows)
    }
}

fn and(selection: &mut Option<BooleanBuffer>, other: BooleanBuffer) {
    *selection = Some(match selection.take() {
        Some(selection) => &selection & &other,
        None => other,
    });
}

impl SegmentMorsel {
    /// Rows it reads, selected or not.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Fetches the pages.
    pub fn read(self) -> StoreResult<SegmentBatches> {
        let (footer, roots) = (Arc::clone(&self.plan.footer), self.plan.roots.clone());
        let reader =
            GroupReader::open(footer, self.group, self.ranges.as_deref(), roots, BATCH_ROWS, Fetch::Ahead)?;
        let filters = self.plan.tombstones.iter().map(|tombstone| Arc::clone(tombstone.filter()));
        Ok(SegmentBatches { evaluators: filters.map(Evaluator::new).collect(), plan: self.plan, reader })
    }
}

/// Yields the batches of one row group.
pub struct SegmentBatches {
    plan: Arc<SegmentScan>,
    reader: GroupReader,
    /// One per tombstone of the plan.
    evaluators: Vec<Evaluator>,
}

impl Iterator for SegmentBatches {
    type Item = StoreResult<ScanBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.reader.next()?;
        Some(read.map(|read| self.plan.batch(&read, &mut self.evaluators)))
    }
}
