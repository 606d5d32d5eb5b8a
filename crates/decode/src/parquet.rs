//! Parquet bodies. Columns are matched by name and read by value, so that the same limits and checks hold as for text.
//!
//! Accepted: integers of any width, floats, decimals, booleans, timestamps of any unit, dates, strings in any form, lists of
//! strings, maps with string keys. A file's time zone is only a label: its timestamps are UTC; those without one are
//! taken as UTC.

mod body;
mod cells;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, FieldRef, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use tidewater_model::limits::MAP_KEYS_MAX;
use tidewater_model::schema::Dataset;

use self::body::Body;
use self::cells::Cells;
use crate::mapping::Target;
use crate::rows::Rows;
use crate::{DecodeError, Decoded, Options};

/// Rows that are unpacked at a time.
const BATCH_ROWS: usize = 1_024;
/// Most values of one column, elements of lists counted: with their codes and levels they take some 100 MB.
const VALUES_MAX: usize = 10_000_000;

/// Reads a body. The Parquet reader is meant for files one trusts: where a damaged one makes it panic, that is an error.
pub(crate) fn decode(body: &Bytes, dataset: &Dataset, options: &Options<'_>) -> Result<Decoded, DecodeError> {
    let body = Body(body.clone());
    catch_unwind(AssertUnwindSafe(|| read(&body, dataset, options)))
        .unwrap_or(Err(DecodeError::MalformedParquet { source: None }))
}

fn malformed(source: ParquetError) -> DecodeError {
    DecodeError::MalformedParquet { source: Some(source) }
}

fn read(body: &Body, dataset: &Dataset, options: &Options<'_>) -> Result<Decoded, DecodeError> {
    let metadata = ArrowReaderMetadata::load(body, ArrowReaderOptions::new()).map_err(malformed)?;
    check_size(&metadata, options)?;
    let mut rows = Rows::new(dataset, options)?;
    let plan = plan(metadata.schema(), &rows, dataset)?;
    check_pages(body, &plan, options.rows_max)?;
    // Strings stay codes while they are read: a page of a few bytes can stand for a million long strings.
    let hints = ArrowReaderOptions::new().with_schema(Arc::new(coded_strings(metadata.schema())));
    let metadata = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), hints).map_err(malformed)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(body.clone(), metadata);
    let wanted = plan.iter().map(|(column, _)| *column);
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(malformed)?;
    let mut budget = options.bytes_max;
    for batch in reader {
        let batch = batch.map_err(|error| malformed(ParquetError::from(error)))?;
        read_batch(&batch, &plan, &mut rows, &mut budget, options)?;
    }
    Ok(rows.finish())
}

/// What the file itself says of its size; that it does not lie is checked again while reading.
fn check_size(metadata: &ArrowReaderMetadata, options: &Options<'_>) -> Result<(), DecodeError> {
    let file = metadata.metadata();
    let rows = file.file_metadata().num_rows();
    if usize::try_from(rows).is_ok_and(|rows| rows > options.rows_max) {
        return Err(DecodeError::TooManyRows { limit_rows: options.rows_max });
    }
    let bytes: i64 =
        file.row_groups().iter().map(|group| group.total_byte_size().max(0)).fold(0, i64::saturating_add);
    if bytes as u64 > options.bytes_max as u64 {
        return Err(DecodeError::TooLarge { limit_bytes: options.bytes_max });
    }
    Ok(())
}

/// The file's columns that are read, by place, and where they go. Dropped ones are in it only if they are counted.
fn plan(schema: &Schema, rows: &Rows<'_>, dataset: &Dataset) -> Result<Vec<(usize, Target)>, DecodeError> {
    let mut plan: Vec<(usize, Target)> = Vec::new();
    for (place, field) in schema.fields().iter().enumerate() {
        let name = field.name();
        let target = rows.targets.resolve(name);
        match &target {
            Target::Refused => {
                let message = rows.targets.refusal(name);
                return Err(DecodeError::UnknownColumn { name: name.clone(), message });
            }
            Target::Column(id) if !cells::fits(rows.kind(*id), field.data_type()) => {
                let expected = dataset.column(*id).kind.name();
                return Err(unsupported(field, expected));
            }
            Target::Key(_, _) if !cells::fits_key(field.data_type()) => {
                return Err(unsupported(field, "map"));
            }
            Target::Column(_) | Target::Key(_, _) if plan.iter().any(|(_, known)| *known == target) => {
                return Err(DecodeError::DuplicateColumn { name: name.clone() });
            }
            Target::Column(_) | Target::Key(_, _) | Target::Ignored => plan.push((place, target)),
            Target::Inside => {}
        }
    }
    Ok(plan)
}

fn unsupported(field: &Field, expected: &'static str) -> DecodeError {
    DecodeError::UnsupportedType {
        name: field.name().clone(),
        found: field.data_type().to_string(),
        expected,
    }
}

/// The schema with all text as codes, in lists and maps too.
fn coded_strings(schema: &Schema) -> Schema {
    let fields: Vec<FieldRef> = schema.fields().iter().map(coded).collect();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

fn coded(field: &FieldRef) -> FieldRef {
    let code = |values: DataType| DataType::Dictionary(Box::new(DataType::Int32), Box::new(values));
    let found = match field.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        found => found,
    };
    let coded = match found {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => code(DataType::Utf8),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => code(DataType::Binary),
        DataType::List(element) => DataType::List(coded(element)),
        DataType::LargeList(element) => DataType::LargeList(coded(element)),
        DataType::Map(entries, is_sorted) => DataType::Map(coded(entries), *is_sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(coded).collect()),
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(coded))
}

/// Refuses a file whose pages hold more values than its rows can have: a page of a few bytes can stand for thousands of
/// millions of them, and the reader makes room for all.
fn check_pages(body: &Body, plan: &[(usize, Target)], rows_max: usize) -> Result<(), DecodeError> {
    let file = SerializedFileReader::new(body.clone()).map_err(malformed)?;
    let schema = file.metadata().file_metadata().schema_descr_ptr();
    let is_read = |leaf: &usize| plan.iter().any(|(column, _)| *column == schema.get_column_root_idx(*leaf));
    for leaf in (0..schema.num_columns()).filter(is_read) {
        let is_nested = schema.column(leaf).max_rep_level() > 0;
        let values_max =
            if is_nested { rows_max.saturating_mul(MAP_KEYS_MAX) } else { rows_max }.min(VALUES_MAX);
        let mut values = 0_usize;
        for group in 0..file.num_row_groups() {
            let group = file.get_row_group(group).map_err(malformed)?;
            let mut pages = group.get_column_page_reader(leaf).map_err(malformed)?;
            while let Some(page) = pages.peek_next_page().map_err(malformed)? {
                values = values.saturating_add(page.num_levels.or(page.num_rows).unwrap_or(0));
                if values > values_max {
                    return Err(DecodeError::TooManyRows { limit_rows: rows_max });
                }
                pages.skip_next_page().map_err(malformed)?;
            }
        }
    }
    Ok(())
}

fn read_batch(
    batch: &RecordBatch,
    plan: &[(usize, Target)],
    rows: &mut Rows<'_>,
    budget: &mut usize,
    options: &Options<'_>,
) -> Result<(), DecodeError> {
    // The reader keeps the order of the file's columns, which is the plan's.
    let columns: Result<Vec<Cells<'_>>, _> = batch.columns().iter().map(Cells::new).collect();
    let columns = columns.map_err(|error| malformed(ParquetError::from(error)))?;
    for row in 0..batch.num_rows() {
        let mut bytes = 0;
        for ((_, target), cells) in plan.iter().zip(&columns) {
            bytes += cells.put(row, target, rows);
        }
        match budget.checked_sub(bytes) {
            Some(left) => *budget = left,
            None => return Err(DecodeError::TooLarge { limit_bytes: options.bytes_max }),
        }
        rows.finish_row(|| b"")?;
    }
    Ok(())
}
