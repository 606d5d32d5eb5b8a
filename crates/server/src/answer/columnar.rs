//! Answers as Parquet: one typed column per dimension and metric. Time buckets are instants, money is a decimal with nine
//! fraction digits. Where the row of all other groups was asked for, a last column says which row it is.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use arrow_schema::{ArrowError, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tidewater_engine::QueryReply;
use tidewater_query::{AnswerRow, Cell};

use super::json::{Shape, write_cell};
use super::{OTHERS, column_names, others};
use crate::problem::Problem;

/// Digits of a decimal that holds any sum of integers or of money: the most that Parquet readers agree on.
const PRECISION: u8 = 38;
/// Fraction digits of money.
const MONEY_SCALE: i8 = 9;

pub(super) fn parquet(reply: &QueryReply) -> Result<Vec<u8>, Problem> {
    let batch = batch(reply).map_err(|error| Problem::internal(&error))?;
    let properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut out = Vec::new();
    let written = ArrowWriter::try_new(&mut out, batch.schema(), Some(properties)).and_then(|mut writer| {
        writer.write(&batch)?;
        writer.close()
    });
    written.map_err(|error| Problem::internal(&error))?;
    Ok(out)
}

fn batch(reply: &QueryReply) -> Result<RecordBatch, ArrowError> {
    let dimensions = reply.query.dimensions.len();
    let mut names = column_names(&reply.query);
    let others = others(reply).map(|(row, _)| row);
    let shown = reply.page.rows.len();
    let rows: Vec<AnswerRow> = reply.page.rows.iter().chain(others).collect();
    let arrays: Result<Vec<ArrayRef>, ArrowError> = (0..names.len())
        .map(|index| {
            let cells = rows.iter().map(|row| match index.checked_sub(dimensions) {
                None => &row.dimensions[index],
                Some(metric) => &row.metrics[metric],
            });
            array(&cells.collect::<Vec<_>>(), reply)
        })
        .collect();
    let mut arrays = arrays?;
    if reply.query.include.others {
        let is_others = (0..rows.len()).map(|row| Some(row >= shown));
        arrays.push(Arc::new(is_others.collect::<BooleanArray>()));
        names.push(OTHERS.to_owned());
    }
    let fields: Vec<Field> = names
        .into_iter()
        .zip(&arrays)
        .map(|(name, array)| Field::new(name, array.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}

/// An array of the type of the first cell that is not null; all cells of a column have one type.
fn array(cells: &[&Cell], reply: &QueryReply) -> Result<ArrayRef, ArrowError> {
    let ints = || cells.iter().map(|cell| if let Cell::Int(value) = cell { Some(*value) } else { None });
    let array: ArrayRef = match cells.iter().find(|cell| !cell.is_null()) {
        Some(Cell::Bool(_)) => Arc::new(
            cells
                .iter()
                .map(|cell| if let Cell::Bool(value) = cell { Some(*value) } else { None })
                .collect::<BooleanArray>(),
        ),
        Some(Cell::Int(_)) if ints().flatten().all(|value| i64::try_from(value).is_ok()) => Arc::new(
            ints().map(|value| value.and_then(|value| i64::try_from(value).ok())).collect::<Int64Array>(),
        ),
        Some(Cell::Int(_)) => {
            Arc::new(ints().collect::<Decimal128Array>().with_precision_and_scale(PRECISION, 0)?)
        }
        Some(Cell::Float(_)) => Arc::new(cells.iter().map(|cell| cell.as_f64()).collect::<Float64Array>()),
        Some(Cell::Money(_)) => {
            let units =
                cells.iter().map(|cell| if let Cell::Money(units) = cell { Some(*units) } else { None });
            Arc::new(units.collect::<Decimal128Array>().with_precision_and_scale(PRECISION, MONEY_SCALE)?)
        }
        Some(Cell::Time(_) | Cell::Bucket(..)) => {
            let times = cells.iter().map(|cell| match cell {
                Cell::Time(time) | Cell::Bucket(time, _) => Some(time.0),
                _ => None,
            });
            Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        _ => texts(cells, reply),
    };
    Ok(array)
}

/// Texts as they are; anything else that has no column type as its JSON.
fn texts(cells: &[&Cell], reply: &QueryReply) -> ArrayRef {
    let shape = Shape { numbers: Default::default(), zone: reply.query.zone.clone() };
    let mut builder = StringBuilder::new();
    let mut json = Vec::new();
    for cell in cells {
        match cell {
            Cell::Null => builder.append_null(),
            Cell::Text(text) => builder.append_value(text),
            other => {
                json.clear();
                write_cell(other, &shape, &mut json);
                builder.append_value(String::from_utf8_lossy(&json));
            }
        }
    }
    Arc::new(builder.finish())
}
