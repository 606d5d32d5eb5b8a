//! Writes one segment file from rows that come in segment order, and tells what the catalog keeps of it.
//!
//! Not here: the order (`order`), cutting into files (`flush`, `compaction::merge`).

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use tidewater_model::schema::{ColumnType, Dataset, DatasetId};

use super::files::SegmentFiles;
use super::layout::{self, Layout};
use super::meta::{FORMAT, ProjectRows, SegmentId, SegmentMeta, segment_path};
use super::promote;
use super::rows::Rows;
use super::sink::{Sink, io_error};
use crate::error::{StoreError, StoreResult};
use crate::version::Lsn;

/// What is known of a segment before its first row.
pub struct SegmentHead<'a> {
    /// The dataset's identity.
    pub dataset_id: DatasetId,
    /// Its definition.
    pub dataset: &'a Arc<Dataset>,
    /// The UTC day.
    pub day: i32,
    /// The number it gets.
    pub id: SegmentId,
    /// Every tombstone up to this one is applied to its rows.
    pub tombstones_applied: Lsn,
}

/// A segment file while it is written; dropped before [`SegmentWriter::finish`] it leaves nothing behind.
pub struct SegmentWriter<'a> {
    parquet: ArrowWriter<Sink<'a>>,
    layout: Layout,
    meta: SegmentMeta,
}

impl<'a> SegmentWriter<'a> {
    /// Creates the file under a temporary name.
    pub fn create(files: &'a SegmentFiles, head: &SegmentHead<'_>, layout: Layout) -> StoreResult<Self> {
        let path = segment_path(files.data_dir(), &head.dataset.name, head.day, head.id);
        let sink = Sink::create(&**files.disk(), &path)?;
        let options =
            ArrowWriterOptions::new().with_properties(layout.properties()).with_skip_arrow_metadata(true);
        let mut parquet = ArrowWriter::try_new_with_options(sink, layout.schema(), options)
            .map_err(|error| write_error(&path, error))?;
        for (key, value) in footer_entries(head.dataset, &layout) {
            parquet.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        let meta = SegmentMeta {
            id: head.id,
            dataset: head.dataset_id,
            day: head.day,
            rows: 0,
            bytes: 0,
            checksum: 0,
            tail_offset: 0,
            tail_checksum: 0,
            min_us: i64::MAX,
            max_us: i64::MIN,
            min_lsn: Lsn(i64::MAX),
            max_lsn: Lsn(i64::MIN),
            tombstones_applied: head.tombstones_applied,
            format: FORMAT,
            projects: Vec::new(),
        };
        Ok(SegmentWriter { parquet, layout, meta })
    }

    /// About how many bytes the file has so far.
    pub fn bytes(&self) -> u64 {
        (self.parquet.bytes_written() + self.parquet.in_progress_size()) as u64
    }

    /// Appends rows; they follow all earlier ones in segment order. `projects` are theirs.
    pub fn write(&mut self, rows: &Rows, projects: &[ProjectRows]) -> StoreResult<()> {
        let batch = self.record_batch(rows);
        self.parquet.write(&batch).map_err(|error| write_error(self.parquet.inner().path(), error))?;
        self.note_rows(rows, projects);
        Ok(())
    }

    /// Completes the file: durable, under its final name.
    pub fn finish(mut self) -> StoreResult<SegmentMeta> {
        let path = self.parquet.inner().path().to_owned();
        let fail = |error| write_error(&path, error);
        self.parquet.flush().map_err(fail)?;
        self.parquet.sync().map_err(|error| io_error("write", &path, error))?;
        let blocks: String =
            self.parquet.inner_mut().begin_tail().iter().map(|sum| format!("{sum:08x}")).collect();
        self.parquet.append_key_value_metadata(KeyValue::new(layout::META_BLOCKS.to_owned(), blocks));
        let sealed = self.parquet.into_inner().map_err(fail)?.seal()?;
        self.meta.bytes = sealed.bytes;
        self.meta.checksum = sealed.checksum;
        self.meta.tail_offset = sealed.tail_offset;
        self.meta.tail_checksum = sealed.tail_checksum;
        Ok(self.meta)
    }

    /// The rows as the file's root columns.
    fn record_batch(&self, rows: &Rows) -> RecordBatch {
        let mut arrays: Vec<ArrayRef> = vec![Arc::clone(&rows.projects)];
        for column in &self.layout.columns {
            let Some(array) = rows.batch.column(column.id) else {
                let width = 1 + column.promoted.len();
                let types = std::iter::once(layout::file_type(column.kind))
                    .chain(std::iter::repeat_n(arrow_schema::DataType::Utf8, width - 1));
                arrays.extend(types.map(|kind| arrow_array::new_null_array(&kind, rows.len())));
                continue;
            };
            match promote::as_map(array) {
                Some(map) if column.kind == ColumnType::Map => {
                    let (promoted, rest) = promote::split(map, &column.promoted);
                    arrays.push(rest);
                    arrays.extend(promoted);
                }
                _ => arrays.push(layout::retype(array, column.kind)),
            }
        }
        arrays.push(Arc::clone(&rows.lsns));
        arrays.push(Arc::clone(&rows.positions));
        let schema = self.layout.schema();
        // Strings may be coded in one batch and plain in the next; the Parquet writer takes both.
        let fields = schema.fields().iter().zip(&arrays);
        let fields: Vec<Field> =
            fields.map(|(field, array)| Field::new(field.name(), array.data_type().clone(), true)).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .expect("one array per field, all of one length")
    }

    fn note_rows(&mut self, rows: &Rows, projects: &[ProjectRows]) {
        let meta = &mut self.meta;
        for lsn in rows.lsn_values() {
            meta.min_lsn.0 = meta.min_lsn.0.min(*lsn);
            meta.max_lsn.0 = meta.max_lsn.0.max(*lsn);
        }
        ProjectRows::append(&mut meta.projects, meta.rows, projects);
        meta.rows += rows.len() as u64;
        meta.min_us = meta.projects.iter().map(|project| project.min_us).min().unwrap_or(i64::MAX);
        meta.max_us = meta.projects.iter().map(|project| project.max_us).max().unwrap_or(i64::MIN);
    }
}

fn footer_entries(dataset: &Dataset, layout: &Layout) -> [(&'static str, String); 3] {
    let promoted: serde_json::Map<String, serde_json::Value> = layout
        .columns
        .iter()
        .filter(|column| !column.promoted.is_empty())
        .map(|column| (column.name.to_string(), column.promoted.iter().map(|key| key.to_string()).collect()))
        .collect();
    [
        (layout::META_FORMAT, FORMAT.to_string()),
        (layout::META_DATASET, dataset.name.to_string()),
        (layout::META_PROMOTED, serde_json::Value::Object(promoted).to_string()),
    ]
}

/// The Parquet writer fails where its file does.
fn write_error(path: &std::path::Path, error: ParquetError) -> StoreError {
    io_error("write", path, std::io::Error::other(error))
}
