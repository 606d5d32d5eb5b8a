//! Decoded rows as a Parquet body: the form in which they go to a server once they were mapped here.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Decimal128Array, RecordBatch};
use arrow_schema::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tidewater_columns::RowBatch;
use tidewater_model::schema::{ColumnType, Dataset};

/// Digits of a money value, of which nine are behind the point: what 64 bits of 1e-9 units can hold.
const MONEY_PRECISION: u8 = 19;
const MONEY_SCALE: i8 = 9;

/// Writes the columns that hold anything; the rest is null for the reader.
pub fn parquet_body(dataset: &Dataset, batch: &RowBatch) -> anyhow::Result<Vec<u8>> {
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for (column, array) in dataset.columns.iter().zip(batch.columns()) {
        let Some(array) = array.as_ref().filter(|array| array.null_count() < array.len()) else { continue };
        let array = match column.kind {
            ColumnType::Money => money(array)?,
            _ => Arc::clone(array),
        };
        fields.push(Field::new(&*column.name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
    // The reader shall see plain Parquet types, not how the columns happened to lie in this memory.
    let properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options)?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}

fn money(nanos: &ArrayRef) -> anyhow::Result<ArrayRef> {
    let values = nanos.as_primitive::<Int64Type>().iter().map(|value| value.map(i128::from));
    let decimals: Decimal128Array = values.collect();
    Ok(Arc::new(decimals.with_precision_and_scale(MONEY_PRECISION, MONEY_SCALE)?))
}
