//! Bytes to batches. Every length is checked against the bytes that are left before anything is allocated for it.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Int32Array, ListArray, MapArray, PrimitiveArray, StringArray,
    StructArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;
use tidewater_model::limits::COLUMNS_MAX;
use tidewater_model::schema::ColumnType;

use super::{BODY_BYTES_MAX, CodecError, FORMAT_VERSION, LZ4, STORED, tag};
use crate::{RowBatch, data_type};

/// An LZ4 byte stands for at most this many bytes (a run length grows by 255 per byte).
const LZ4_RATIO_MAX: usize = 255;

type Result<T> = std::result::Result<T, CodecError>;

fn malformed<T>(what: &'static str) -> Result<T> {
    Err(CodecError::Malformed(what))
}

pub(super) fn decode(bytes: &[u8]) -> Result<RowBatch> {
    let [version, compression, rest @ ..] = bytes else { return malformed("it ends in the head") };
    if *version != FORMAT_VERSION {
        return Err(CodecError::Version(*version));
    }
    let body = match *compression {
        STORED => Cow::Borrowed(rest),
        LZ4 => Cow::Owned(unpack(rest)?),
        _ => return malformed("unknown compression"),
    };
    let mut reader = Reader { rest: &body };
    let batch = reader.batch()?;
    if reader.rest.is_empty() { Ok(batch) } else { malformed("bytes are left over") }
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>> {
    let Some((length, block)) = bytes.split_first_chunk::<4>() else {
        return malformed("it ends in the head");
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > BODY_BYTES_MAX || length > block.len().saturating_mul(LZ4_RATIO_MAX) {
        return malformed("the body's length cannot be true");
    }
    let mut body = vec![0; length];
    let written = lz4_flex::block::decompress_into(block, &mut body).map_err(CodecError::Unpack)?;
    if written == length { Ok(body) } else { malformed("the body's length is wrong") }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn batch(&mut self) -> Result<RowBatch> {
        let rows = self.varint()?;
        // The time column takes at least a byte per row.
        let Some(rows) = usize::try_from(rows).ok().filter(|rows| *rows <= self.rest.len()) else {
            return malformed("more rows than bytes");
        };
        let present = self.varint()?;
        let mut columns: Vec<Option<ArrayRef>> = Vec::new();
        for _ in 0..present {
            let id = self.varint()?;
            if id >= COLUMNS_MAX as u64 || (id as usize) < columns.len() {
                return malformed("column ids do not ascend or are too large");
            }
            columns.resize(id as usize, None);
            columns.push(Some(self.column(rows, id == 0)?));
        }
        match columns.first() {
            Some(Some(_)) => Ok(RowBatch::new(columns)),
            _ => malformed("the time column is missing"),
        }
    }

    fn column(&mut self, rows: usize, is_time: bool) -> Result<ArrayRef> {
        let [tag, validity] = *self.array()?;
        let nulls = match validity {
            0 => None,
            1 => Some(NullBuffer::new(self.bitmap(rows)?)),
            _ => return malformed("unknown validity"),
        };
        if is_time != (tag == tag::TIME) || (is_time && nulls.is_some()) {
            return malformed("the first column alone holds times, without nulls");
        }
        Ok(match tag {
            tag::TIME => {
                let times = PrimitiveArray::<TimestampMicrosecondType>::new(self.integers(rows)?, None);
                Arc::new(times.with_data_type(data_type(ColumnType::Time)))
            }
            tag::INT => Arc::new(PrimitiveArray::<Int64Type>::new(self.integers(rows)?, nulls)),
            tag::FLOAT => {
                let bytes = self.take(rows.saturating_mul(8))?;
                let values: Vec<f64> =
                    bytes.as_chunks::<8>().0.iter().map(|chunk| f64::from_le_bytes(*chunk)).collect();
                Arc::new(PrimitiveArray::<Float64Type>::new(ScalarBuffer::from(values), nulls))
            }
            tag::BOOL => Arc::new(BooleanArray::new(self.bitmap(rows)?, nulls)),
            tag::STRING => Arc::new(self.text(rows, nulls)?),
            tag::DICTIONARY => self.dictionary(rows, nulls)?,
            tag::STRINGS => self.strings(rows, nulls)?,
            tag::MAP => self.map(rows, nulls)?,
            _ => return malformed("unknown column type"),
        })
    }

    fn dictionary(&mut self, rows: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let Some(entries) =
            usize::try_from(self.varint()?).ok().filter(|entries| *entries <= self.rest.len())
        else {
            return malformed("more entries than bytes");
        };
        let values = self.text(entries, None)?;
        let codes = self.unsigned(rows, |code: u32| code as i32)?;
        let highest = codes.iter().copied().max().unwrap_or(0);
        let is_all_null = nulls.as_ref().map_or(0, NullBuffer::null_count) == rows;
        if codes.iter().any(|code| *code < 0) || (highest as usize >= entries && !is_all_null) {
            return malformed("a code without an entry");
        }
        let keys = Int32Array::new(ScalarBuffer::from(codes), nulls);
        let array = DictionaryArray::try_new(keys, Arc::new(values));
        array.map(|array| Arc::new(array) as ArrayRef).or_else(|_| malformed("a code without an entry"))
    }

    fn strings(&mut self, rows: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let offsets = self.offsets(rows)?;
        let elements = self.text(last(&offsets), None)?;
        let DataType::List(field) = data_type(ColumnType::Strings) else { return malformed("no list") };
        match ListArray::try_new(field, offsets, Arc::new(elements), nulls) {
            Ok(array) => Ok(Arc::new(array)),
            Err(_) => malformed("lists do not fit their elements"),
        }
    }

    fn map(&mut self, rows: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let offsets = self.offsets(rows)?;
        let entries = last(&offsets);
        let keys: ArrayRef = Arc::new(self.text(entries, None)?);
        let values: ArrayRef = Arc::new(self.text(entries, None)?);
        let DataType::Map(field, is_sorted) = data_type(ColumnType::Map) else { return malformed("no map") };
        let DataType::Struct(fields) = field.data_type().clone() else { return malformed("no map") };
        let array = StructArray::try_new_with_length(fields, vec![keys, values], None, entries)
            .and_then(|entries| MapArray::try_new(field, offsets, entries, nulls, is_sorted));
        match array {
            Ok(array) => Ok(Arc::new(array)),
            Err(_) => malformed("maps do not fit their entries"),
        }
    }

    fn text(&mut self, entries: usize, nulls: Option<NullBuffer>) -> Result<StringArray> {
        let offsets = self.offsets(entries)?;
        let bytes = self.take(last(&offsets))?;
        match StringArray::try_new(offsets, Buffer::from_vec(bytes.to_vec()), nulls) {
            Ok(array) => Ok(array),
            Err(_) => malformed("text is not UTF-8"),
        }
    }

    fn offsets(&mut self, entries: usize) -> Result<OffsetBuffer<i32>> {
        let lengths = self.unsigned(entries, |length: u32| length)?;
        let mut offsets = Vec::with_capacity(entries + 1);
        let mut end = 0_u64;
        offsets.push(0);
        for length in lengths {
            end += u64::from(length);
            offsets.push(end as i32);
        }
        // The sum never falls, so that if its last value fits, all do.
        if end > i32::MAX as u64 {
            return malformed("lengths sum up to more than 2 GiB");
        }
        Ok(OffsetBuffer::new(ScalarBuffer::from(offsets)))
    }

    fn integers(&mut self, rows: usize) -> Result<ScalarBuffer<i64>> {
        let base = i64::from_le_bytes(*self.array()?);
        if self.rest.first() == Some(&8) {
            self.rest = &self.rest[1..];
            let bytes = self.take(rows.saturating_mul(8))?;
            let add = |chunk: &[u8; 8]| base.wrapping_add(i64::from_le_bytes(*chunk));
            return Ok(bytes.as_chunks::<8>().0.iter().map(add).collect::<Vec<i64>>().into());
        }
        Ok(self.unsigned(rows, |value| base.wrapping_add(i64::from(value)))?.into())
    }

    /// A width of at most four bytes and as many numbers.
    fn unsigned<T>(&mut self, count: usize, map: impl Fn(u32) -> T) -> Result<Vec<T>> {
        let [width] = *self.array()?;
        if !matches!(width, 1 | 2 | 4) {
            return malformed("unknown width");
        }
        let bytes = self.take(count.saturating_mul(usize::from(width)))?;
        Ok(match width {
            1 => bytes.iter().map(|byte| map(u32::from(*byte))).collect(),
            2 => bytes.as_chunks().0.iter().map(|chunk| map(u32::from(u16::from_le_bytes(*chunk)))).collect(),
            _ => bytes.as_chunks().0.iter().map(|chunk| map(u32::from_le_bytes(*chunk))).collect(),
        })
    }

    fn bitmap(&mut self, rows: usize) -> Result<BooleanBuffer> {
        let bytes = self.take(rows.div_ceil(8))?;
        Ok(BooleanBuffer::new(Buffer::from_vec(bytes.to_vec()), 0, rows))
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = *self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        malformed("a varint of more than 10 bytes")
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N]> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(head)
            }
            None => malformed("it ends too early"),
        }
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8]> {
        match self.rest.split_at_checked(bytes) {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(head)
            }
            None => malformed("it ends too early"),
        }
    }
}

fn last(offsets: &OffsetBuffer<i32>) -> usize {
    offsets.last() as usize
}
