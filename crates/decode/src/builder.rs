//! One column under construction. A value is put at a row; the rows skipped before it become null, and everything from a
//! row on can be taken back.

use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, BooleanArray, ListArray, MapArray, PrimitiveArray, StringArray, StructArray};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;
use tidewater_columns::{TextBuilder, data_type};
use tidewater_model::schema::ColumnType;

pub(crate) enum ColumnBuilder {
    /// Time, int and money.
    Ints(Ints),
    Floats(Floats),
    Bools(Bools),
    Text(TextBuilder),
    Lists(Lists),
    Maps(Maps),
}

pub(crate) struct Ints {
    kind: ColumnType,
    values: Vec<i64>,
    nulls: NullBufferBuilder,
}

pub(crate) struct Floats {
    values: Vec<f64>,
    nulls: NullBufferBuilder,
}

pub(crate) struct Bools {
    values: BooleanBufferBuilder,
    nulls: NullBufferBuilder,
}

/// Lists of strings. Elements are added first, then the row is closed over them.
pub(crate) struct Lists {
    offsets: Vec<i32>,
    elements: PlainText,
    nulls: NullBufferBuilder,
}

/// Maps of strings. Entries may come from several members of a row; the row is closed at its end.
pub(crate) struct Maps {
    offsets: Vec<i32>,
    keys: PlainText,
    values: PlainText,
    nulls: NullBufferBuilder,
}

/// Strings end to end.
pub(crate) struct PlainText {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
}

impl ColumnBuilder {
    pub fn new(kind: ColumnType) -> Self {
        let nulls = NullBufferBuilder::new(0);
        match kind {
            ColumnType::Time | ColumnType::Int | ColumnType::Money => {
                ColumnBuilder::Ints(Ints { kind, values: Vec::new(), nulls })
            }
            ColumnType::Float => ColumnBuilder::Floats(Floats { values: Vec::new(), nulls }),
            ColumnType::Bool => ColumnBuilder::Bools(Bools { values: BooleanBufferBuilder::new(0), nulls }),
            ColumnType::String => ColumnBuilder::Text(TextBuilder::new(0)),
            ColumnType::Strings => {
                ColumnBuilder::Lists(Lists { offsets: vec![0], elements: PlainText::new(), nulls })
            }
            ColumnType::Map => ColumnBuilder::Maps(Maps {
                offsets: vec![0],
                keys: PlainText::new(),
                values: PlainText::new(),
                nulls,
            }),
        }
    }

    /// Rows so far.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            ColumnBuilder::Ints(column) => column.values.len(),
            ColumnBuilder::Floats(column) => column.values.len(),
            ColumnBuilder::Bools(column) => column.values.len(),
            ColumnBuilder::Text(column) => column.len(),
            ColumnBuilder::Lists(column) => column.offsets.len() - 1,
            ColumnBuilder::Maps(column) => column.offsets.len() - 1,
        }
    }

    /// Makes rows up to `rows` null where nothing was put; false if there is a value at `rows` already.
    #[inline]
    pub fn make_room(&mut self, rows: usize) -> bool {
        let length = self.len();
        if length < rows {
            self.push_nulls(rows - length);
        }
        length <= rows
    }

    fn push_nulls(&mut self, rows: usize) {
        match self {
            ColumnBuilder::Ints(column) => {
                column.values.resize(column.values.len() + rows, 0);
                column.nulls.append_n_nulls(rows);
            }
            ColumnBuilder::Floats(column) => {
                column.values.resize(column.values.len() + rows, 0.0);
                column.nulls.append_n_nulls(rows);
            }
            ColumnBuilder::Bools(column) => {
                column.values.append_n(rows, false);
                column.nulls.append_n_nulls(rows);
            }
            ColumnBuilder::Text(column) => column.push_nulls(rows),
            ColumnBuilder::Lists(column) => {
                column.offsets.resize(column.offsets.len() + rows, column.elements.len());
                column.nulls.append_n_nulls(rows);
            }
            ColumnBuilder::Maps(column) => {
                column.offsets.resize(column.offsets.len() + rows, column.keys.len());
                column.nulls.append_n_nulls(rows);
            }
        }
    }

    /// Takes back everything from row `rows` on, entries of an open row included.
    pub fn truncate(&mut self, rows: usize) {
        let is_longer = self.len() > rows;
        match self {
            ColumnBuilder::Ints(column) if is_longer => {
                column.values.truncate(rows);
                column.nulls.truncate(rows);
            }
            ColumnBuilder::Floats(column) if is_longer => {
                column.values.truncate(rows);
                column.nulls.truncate(rows);
            }
            ColumnBuilder::Bools(column) if is_longer => {
                column.values.truncate(rows);
                column.nulls.truncate(rows);
            }
            ColumnBuilder::Text(column) => column.truncate(rows),
            ColumnBuilder::Lists(column) => {
                if is_longer {
                    column.offsets.truncate(rows + 1);
                    column.nulls.truncate(rows);
                }
                column.elements.truncate(column.offsets[column.offsets.len() - 1]);
            }
            ColumnBuilder::Maps(column) => {
                if is_longer {
                    column.offsets.truncate(rows + 1);
                    column.nulls.truncate(rows);
                }
                let entries = column.offsets[column.offsets.len() - 1];
                column.keys.truncate(entries);
                column.values.truncate(entries);
            }
            _ => {}
        }
    }

    /// The column; `None` if it is null in every row.
    pub fn finish(mut self, rows: usize) -> Option<ArrayRef> {
        self.make_room(rows);
        let array: ArrayRef = match self {
            ColumnBuilder::Ints(mut column) => {
                let (values, nulls) = (ScalarBuffer::from(column.values), column.nulls.finish());
                match column.kind {
                    ColumnType::Time => Arc::new(
                        PrimitiveArray::<TimestampMicrosecondType>::new(values, nulls)
                            .with_data_type(data_type(ColumnType::Time)),
                    ),
                    _ => Arc::new(PrimitiveArray::<Int64Type>::new(values, nulls)),
                }
            }
            ColumnBuilder::Floats(mut column) => {
                Arc::new(PrimitiveArray::<Float64Type>::new(column.values.into(), column.nulls.finish()))
            }
            ColumnBuilder::Bools(mut column) => {
                Arc::new(BooleanArray::new(column.values.finish(), column.nulls.finish()))
            }
            ColumnBuilder::Text(column) => column.finish(),
            ColumnBuilder::Lists(column) => Arc::new(column.finish()),
            ColumnBuilder::Maps(column) => Arc::new(column.finish()),
        };
        (array.logical_null_count() < rows || rows == 0).then_some(array)
    }
}

impl Ints {
    #[inline]
    pub fn push(&mut self, value: i64) {
        self.values.push(value);
        self.nulls.append_non_null();
    }
}

impl Floats {
    #[inline]
    pub fn push(&mut self, value: f64) {
        self.values.push(value);
        self.nulls.append_non_null();
    }
}

impl Bools {
    #[inline]
    pub fn push(&mut self, value: bool) {
        self.values.append(value);
        self.nulls.append_non_null();
    }
}

impl Lists {
    pub fn push_element(&mut self, text: &str) {
        self.elements.push(text);
    }

    /// Elements since the last closed row.
    pub fn open_elements(&self) -> usize {
        (self.elements.len() - self.offsets[self.offsets.len() - 1]) as usize
    }

    pub fn close(&mut self) {
        self.offsets.push(self.elements.len());
        self.nulls.append_non_null();
    }

    fn finish(mut self) -> ListArray {
        let DataType::List(field) = data_type(ColumnType::Strings) else { unreachable!("strings are lists") };
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        ListArray::new(field, offsets, Arc::new(self.elements.finish()), self.nulls.finish())
    }
}

impl Maps {
    pub fn push_entry(&mut self, key: &str, value: &str) {
        self.keys.push(key);
        self.values.push(value);
    }

    /// Entries since the last closed row.
    pub fn open_entries(&self) -> usize {
        (self.keys.len() - self.offsets[self.offsets.len() - 1]) as usize
    }

    /// Whether the open row has that key.
    pub fn has_open_key(&self, key: &str) -> bool {
        let open = self.offsets[self.offsets.len() - 1] as usize;
        (open..self.keys.len() as usize).any(|entry| self.keys.get(entry) == key.as_bytes())
    }

    /// A key that the open row has twice.
    pub fn repeated_key(&self) -> Option<&str> {
        let open = self.offsets[self.offsets.len() - 1] as usize;
        let mut keys: Vec<&[u8]> =
            (open..self.keys.len() as usize).map(|entry| self.keys.get(entry)).collect();
        keys.sort_unstable();
        let repeated = keys.windows(2).find(|pair| pair[0] == pair[1])?[0];
        std::str::from_utf8(repeated).ok()
    }

    pub fn close(&mut self) {
        self.offsets.push(self.keys.len());
        self.nulls.append_non_null();
    }

    fn finish(mut self) -> MapArray {
        let DataType::Map(field, is_sorted) = data_type(ColumnType::Map) else {
            unreachable!("maps are maps")
        };
        let DataType::Struct(fields) = field.data_type().clone() else { unreachable!("entries are structs") };
        let columns: Vec<ArrayRef> = vec![Arc::new(self.keys.finish()), Arc::new(self.values.finish())];
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        MapArray::new(field, offsets, StructArray::new(fields, columns, None), self.nulls.finish(), is_sorted)
    }
}

impl PlainText {
    fn new() -> Self {
        PlainText { offsets: vec![0], bytes: Vec::new() }
    }

    fn len(&self) -> i32 {
        self.offsets.len() as i32 - 1
    }

    fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.offsets.push(i32::try_from(self.bytes.len()).expect("a body is shorter than 2 GiB"));
    }

    fn get(&self, entry: usize) -> &[u8] {
        &self.bytes[self.offsets[entry] as usize..self.offsets[entry + 1] as usize]
    }

    fn truncate(&mut self, entries: i32) {
        self.offsets.truncate(entries as usize + 1);
        self.bytes.truncate(self.offsets[entries as usize] as usize);
    }

    fn finish(self) -> StringArray {
        StringArray::new(
            OffsetBuffer::new(ScalarBuffer::from(self.offsets)),
            Buffer::from_vec(self.bytes),
            None,
        )
    }
}
