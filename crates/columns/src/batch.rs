//! `RowBatch`: rows of one dataset as one array per column.
//!
//! Not here: hidden columns (project, `_lsn`, `_pos`); those belong to `store`.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, Field, Fields, TimeUnit};
use arrow_select::filter::FilterBuilder;
use arrow_select::take::take;
use tidewater_model::schema::{ColumnId, ColumnRef, ColumnType};

use crate::concat::concat_columns;
use crate::nested::map_key;

/// The Arrow type a column's values have in memory. A `string` column may also be `Dictionary(Int32, Utf8)`: readers
/// of a batch handle both. Money is `Int64` in 1e-9 units.
pub fn data_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Time => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
        ColumnType::String => DataType::Utf8,
        ColumnType::Int | ColumnType::Money => DataType::Int64,
        ColumnType::Float => DataType::Float64,
        ColumnType::Bool => DataType::Boolean,
        ColumnType::Strings => DataType::List(Arc::new(Field::new("item", DataType::Utf8, false))),
        ColumnType::Map => {
            let entries = Fields::from(vec![
                Field::new("key", DataType::Utf8, false),
                Field::new("value", DataType::Utf8, false),
            ]);
            DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
        }
    }
}

/// Rows of one dataset. `columns[i]` belongs to `ColumnId(i)`; a missing entry, or one past the end, is null in every row.
/// The time column is always there.
#[derive(Clone, Debug)]
pub struct RowBatch {
    rows: usize,
    columns: Vec<Option<ArrayRef>>,
}

impl RowBatch {
    /// Takes arrays of equal length; the first must be the time column.
    ///
    /// # Panics
    /// When the time column is missing or the lengths differ: callers build all columns together.
    pub fn new(columns: Vec<Option<ArrayRef>>) -> Self {
        let rows = columns.first().and_then(Option::as_ref).expect("the time column comes first").len();
        assert!(
            columns.iter().flatten().all(|array| array.len() == rows),
            "columns of one batch have one length"
        );
        RowBatch { rows, columns }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// A column's array; `None` is null in every row.
    pub fn column(&self, id: ColumnId) -> Option<&ArrayRef> {
        self.columns.get(id.index()).and_then(Option::as_ref)
    }

    /// All columns, by id.
    pub fn columns(&self) -> &[Option<ArrayRef>] {
        &self.columns
    }

    /// The rows' times, micro-seconds since the epoch.
    pub fn times(&self) -> &[i64] {
        let array = self.column(ColumnId::TIME).expect("the time column is always there");
        array.as_primitive::<TimestampMicrosecondType>().values()
    }

    /// Bytes of all buffers, for budgets.
    pub fn memory_bytes(&self) -> usize {
        self.columns.iter().flatten().map(|array| array.get_array_memory_size()).sum()
    }

    /// What a reference reads: a column, or one key of a `map` column as a string array. `None` is null in every row.
    pub fn read(&self, reference: &ColumnRef) -> Option<ArrayRef> {
        let array = self.column(reference.column)?;
        match &reference.key {
            None => Some(Arc::clone(array)),
            Some(key) => array.as_map_opt().map(|map| map_key(map, key)),
        }
    }

    /// The rows whose bit is set, in order. Dictionaries are shared with the result, not rebuilt.
    ///
    /// # Panics
    /// When the mask has another length than the batch.
    pub fn filter(&self, mask: &BooleanBuffer) -> RowBatch {
        assert_eq!(mask.len(), self.rows, "a mask has one bit per row");
        let kept = mask.count_set_bits();
        if kept == self.rows {
            return self.clone();
        }
        let predicate = FilterBuilder::new(&BooleanArray::new(mask.clone(), None)).optimize().build();
        self.map(kept, |array| {
            predicate.filter(array.as_ref()).expect("a mask as long as the array filters any type")
        })
    }

    /// The rows at `indices`, in that order; a row may be taken more than once.
    ///
    /// # Panics
    /// When an index is out of bounds.
    pub fn take(&self, indices: &UInt32Array) -> RowBatch {
        self.map(indices.len(), |array| {
            take(array.as_ref(), indices, None).expect("indices lie inside the batch")
        })
    }

    /// Rows `offset .. offset + rows`, without copying.
    ///
    /// # Panics
    /// When the range passes the end.
    pub fn slice(&self, offset: usize, rows: usize) -> RowBatch {
        assert!(offset + rows <= self.rows, "a slice lies inside its batch");
        self.map(rows, |array| array.slice(offset, rows))
    }

    /// All rows of all batches, in order. Small dictionaries become one; strings that repeat enough become one (see
    /// [`crate::concat_strings`]); a column that only some batches have is null in the others, one that none has stays absent.
    ///
    /// # Panics
    /// Without any batch, or when the text of one column passes 2 GiB: callers bound what they hold in memory far below.
    pub fn concat(batches: &[&RowBatch]) -> RowBatch {
        let rows = batches.iter().map(|batch| batch.rows).sum();
        let width = batches.iter().map(|batch| batch.columns.len()).max().expect("at least one batch");
        let columns = (0..width)
            .map(|index| {
                let parts: Vec<(usize, Option<&ArrayRef>)> = batches
                    .iter()
                    .map(|batch| (batch.rows, batch.columns.get(index).and_then(Option::as_ref)))
                    .collect();
                concat_columns(&parts)
            })
            .collect();
        RowBatch { rows, columns }
    }

    fn map(&self, rows: usize, mut each: impl FnMut(&ArrayRef) -> ArrayRef) -> RowBatch {
        RowBatch { rows, columns: self.columns.iter().map(|column| column.as_ref().map(&mut each)).collect() }
    }
}
