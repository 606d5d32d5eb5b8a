//! Parquet: a piece is some rows of the file, as a Parquet file of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use tidewater_decode::Format;

use super::{PIECE_BYTES_MAX, PIECE_ROWS_MAX, Piece};
use crate::cli::import::source::Source;

/// Reads rows in batches.
pub struct Batches {
    reader: ParquetRecordBatchReader,
    /// For the progress bar: the file is read where its columns lie, so the share of rows stands for the bytes.
    bytes: u64,
    rows: u64,
    read: Arc<AtomicU64>,
    done: u64,
}

impl Batches {
    pub fn new(source: &Source) -> anyhow::Result<Self> {
        let not_parquet = || format!("'{}' is no complete Parquet file", source.path.display());
        let builder = ParquetRecordBatchReaderBuilder::try_new(source.file()?).with_context(not_parquet)?;
        let metadata = builder.metadata();
        let rows = metadata.file_metadata().num_rows().max(0).unsigned_abs();
        let bytes: i64 = metadata
            .row_groups()
            .iter()
            .map(parquet::file::metadata::RowGroupMetaData::total_byte_size)
            .sum();
        let row_bytes = bytes.max(0).unsigned_abs() / rows.max(1);
        let batch_rows = (PIECE_BYTES_MAX as u64 / row_bytes.max(1)).clamp(1, PIECE_ROWS_MAX as u64);
        let reader = builder.with_batch_size(batch_rows as usize).build().with_context(not_parquet)?;
        Ok(Batches { reader, bytes: source.bytes, rows, read: Arc::clone(&source.read), done: 0 })
    }

    pub fn next(&mut self) -> anyhow::Result<Option<Piece>> {
        let Some(batch) = self.reader.next().transpose()? else { return Ok(None) };
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None)?;
        writer.write(&batch)?;
        let body = writer.into_inner()?;
        let first = self.done + 1;
        self.done += batch.num_rows() as u64;
        let share = u128::from(self.bytes) * u128::from(self.done) / u128::from(self.rows.max(1));
        self.read.store(share as u64, Ordering::Relaxed);
        Ok(Some(Piece { body: body.into(), format: Format::Parquet, places: (first..=self.done).collect() }))
    }
}
