//! Decoding pages of one row group into arrays as the rest of the system knows them.
//!
//! Not here: choosing rows (`prune`), what a scan selects (`scan`).

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use tidewater_columns::{RowBatch, data_type, map_key};
use tidewater_model::schema::{ColumnId, ColumnRef, ColumnType};

use super::footer::{Footer, Place, guarded, parquet_error};
use super::layout::retype;
use super::promote;
use super::rows::Rows;
use super::source::{PageSource, damaged};
use crate::error::StoreResult;

/// How pages come from the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// All needed bytes of the row group at once: fastest.
    Ahead,
    /// Page by page: least memory.
    Lazy,
}

/// Bytes of values in one batch aimed at, so that a batch of long strings stays far from what memory budgets allow.
const BATCH_BYTES: usize = 4 << 20;

/// Reads some root columns of some rows of one row group.
pub struct GroupReader {
    footer: Arc<Footer>,
    group: usize,
    /// What is read, ascending: the order of a batch's columns.
    roots: Vec<usize>,
    reader: ParquetRecordBatchReader,
}

/// A decoded batch: arrays of some root columns.
pub struct RootBatch<'a> {
    footer: &'a Footer,
    roots: &'a [usize],
    batch: RecordBatch,
}

impl GroupReader {
    /// Opens the pages of `roots` that hold rows of `ranges` (all rows for `None`). Batches have `batch_rows` rows, fewer
    /// where rows are long.
    pub fn open(
        footer: Arc<Footer>,
        group: usize,
        ranges: Option<&[Range<usize>]>,
        mut roots: Vec<usize>,
        batch_rows: usize,
        fetch: Fetch,
    ) -> StoreResult<Self> {
        roots.sort_unstable();
        roots.dedup();
        let batch_rows = (BATCH_BYTES / row_bytes(&footer, group, &roots)).clamp(1, batch_rows);
        let file = Arc::clone(&footer.file);
        let source = match fetch {
            Fetch::Ahead => PageSource::fetch(file, &byte_ranges(&footer, group, &roots, ranges))?,
            Fetch::Lazy => PageSource::lazy(file),
        };
        let offset = footer.parquet().row_group(group).file_offset().unwrap_or(0) as u64;
        let path = footer.file.path().to_owned();
        let reader = guarded(&path, offset, || {
            let schema = footer.parquet().file_metadata().schema_descr();
            let mut builder =
                ParquetRecordBatchReaderBuilder::new_with_metadata(source, footer.arrow.clone())
                    .with_row_groups(vec![group])
                    .with_projection(ProjectionMask::roots(schema, roots.iter().copied()))
                    .with_batch_size(batch_rows);
            if let Some(ranges) = ranges {
                builder = builder.with_row_selection(selection(ranges));
            }
            builder.build().map_err(|error| parquet_error(&path, offset, error))
        })?;
        Ok(GroupReader { footer, group, roots, reader })
    }

    /// The next batch; `None` at the end.
    pub fn next(&mut self) -> Option<StoreResult<RootBatch<'_>>> {
        let path = self.footer.file.path();
        let offset = self.footer.parquet().row_group(self.group).file_offset().unwrap_or(0) as u64;
        let reader = &mut self.reader;
        let batch = guarded(path, offset, || {
            reader.next().transpose().map_err(|error| match error {
                arrow_schema::ArrowError::ExternalError(source) => {
                    match source.downcast::<parquet::errors::ParquetError>() {
                        Ok(error) => parquet_error(path, offset, *error),
                        Err(other) => damaged(path, offset, other.to_string()),
                    }
                }
                other => damaged(path, offset, other.to_string()),
            })
        });
        let batch = batch.transpose()?;
        Some(batch.map(|batch| RootBatch { footer: &self.footer, roots: &self.roots, batch }))
    }
}

impl RootBatch<'_> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// A root column as it is in the file.
    ///
    /// # Panics
    /// When it was not asked for.
    pub fn root(&self, root: usize) -> &ArrayRef {
        let index = self.roots.binary_search(&root).expect("only requested columns are read");
        self.batch.column(index)
    }

    /// The values behind a place; `None` is null in every row.
    pub fn at(&self, place: &Place) -> Option<ArrayRef> {
        match place {
            Place::Absent => None,
            Place::Root(root) => Some(in_memory(self.root(*root))),
            Place::MapEntry(root, key) => self.root(*root).as_map_opt().map(|map| map_key(map, key)),
            Place::WholeMap(root, promoted) => {
                let rest = self.root(*root).as_map_opt()?;
                if promoted.is_empty() {
                    return Some(promote::rename(rest));
                }
                let keys = promoted.iter().map(|(key, root)| (Arc::clone(key), Arc::clone(self.root(*root))));
                Some(promote::join(rest, &keys.collect::<Vec<_>>()))
            }
        }
    }

    /// All of it, as rows of the dataset. The reader was opened with [`all_roots`].
    pub fn into_rows(self) -> Rows {
        let hidden = self.footer.hidden;
        let columns = (0..self.footer.width()).map(|index| {
            let reference = ColumnRef::column(ColumnId(index as u16));
            self.at(&self.footer.place(&reference))
        });
        Rows {
            batch: RowBatch::new(columns.collect()),
            projects: Arc::clone(self.root(hidden.project)),
            lsns: Arc::clone(self.root(hidden.lsn)),
            positions: Arc::clone(self.root(hidden.position)),
        }
    }
}

/// The mean size of a row's values, before compression.
fn row_bytes(footer: &Footer, group: usize, roots: &[usize]) -> usize {
    let row_group = footer.parquet().row_group(group);
    let leaves = roots.iter().flat_map(|root| footer.leaves(*root));
    let bytes: i64 = leaves.map(|leaf| row_group.column(leaf).uncompressed_size()).sum();
    (bytes.max(0) as usize / row_group.num_rows().max(1) as usize).max(1)
}

/// Every root column of a file.
pub fn all_roots(footer: &Footer) -> Vec<usize> {
    (0..footer.arrow.schema().fields().len()).collect()
}

/// The root columns a place reads.
pub fn roots_of(place: &Place, out: &mut Vec<usize>) {
    match place {
        Place::Absent => {}
        Place::Root(root) | Place::MapEntry(root, _) => out.push(*root),
        Place::WholeMap(root, promoted) => {
            out.push(*root);
            out.extend(promoted.iter().map(|(_, root)| *root));
        }
    }
}

/// A column of the file with the type it has in memory: the same bytes.
fn in_memory(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Decimal64(_, _) => retype(array, ColumnType::Money),
        DataType::List(_) => {
            let list: &ListArray = array.as_list();
            let DataType::List(field) = data_type(ColumnType::Strings) else { return Arc::clone(array) };
            let (offsets, values) = (list.offsets().clone(), Arc::clone(list.values()));
            Arc::new(ListArray::new(field, offsets, values, list.nulls().cloned()))
        }
        _ => Arc::clone(array),
    }
}

fn selection(ranges: &[Range<usize>]) -> RowSelection {
    let mut selectors = Vec::with_capacity(ranges.len() * 2);
    let mut at = 0;
    for range in ranges {
        if range.start > at {
            selectors.push(RowSelector::skip(range.start - at));
        }
        selectors.push(RowSelector::select(range.len()));
        at = range.end;
    }
    RowSelection::from(selectors)
}

/// The bytes of the pages that hold rows of `ranges`, ascending.
fn byte_ranges(
    footer: &Footer,
    group: usize,
    roots: &[usize],
    ranges: Option<&[Range<usize>]>,
) -> Vec<Range<u64>> {
    let parquet = footer.parquet();
    let row_group = parquet.row_group(group);
    let index = parquet.page_index_for_row_group(group);
    let mut bytes = Vec::new();
    for leaf in roots.iter().flat_map(|root| footer.leaves(*root)) {
        let (start, length) = row_group.column(leaf).byte_range();
        let (Some(ranges), Some(pages)) = (ranges, index.page_locations(leaf)) else {
            bytes.push(start..start + length);
            continue;
        };
        // What stands before the first data page is the dictionary.
        let first_page = pages.first().map_or(start + length, |page| page.offset as u64);
        if first_page > start {
            bytes.push(start..first_page);
        }
        for (page, location) in pages.iter().enumerate() {
            let first = location.first_row_index as usize;
            let end = pages.get(page + 1).map_or(usize::MAX, |next| next.first_row_index as usize);
            let needed = ranges.partition_point(|range| range.end <= first);
            if ranges.get(needed).is_some_and(|range| range.start < end) {
                let offset = location.offset as u64;
                bytes.push(offset..offset + location.compressed_page_size as u64);
            }
        }
    }
    bytes
}
