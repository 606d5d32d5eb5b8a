//! Batches to bytes.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;

use super::{FORMAT_VERSION, LZ4, STORED, tag};
use crate::RowBatch;
use crate::text::StringsRef;

/// Shorter bodies are stored as they are: compression would win a few bytes for some micro-seconds.
const COMPRESS_BYTES_MIN: usize = 512;
/// Compression is kept if it takes off at least one byte in this many.
const COMPRESS_GAIN_MIN: usize = 16;

pub(super) fn encode(batch: &RowBatch, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend([FORMAT_VERSION, STORED]);
    write_body(batch, out);
    let body = &out[start + 2..];
    if body.len() < COMPRESS_BYTES_MIN {
        return;
    }
    let length = u32::try_from(body.len()).expect("callers keep a batch below 4 GiB");
    let compressed = lz4_flex::block::compress(body);
    if compressed.len() + body.len() / COMPRESS_GAIN_MIN <= body.len() {
        out.truncate(start + 1);
        out.push(LZ4);
        out.extend(length.to_le_bytes());
        out.extend(compressed);
    }
}

fn write_body(batch: &RowBatch, out: &mut Vec<u8>) {
    varint(batch.rows() as u64, out);
    let present = batch.columns().iter().flatten().count();
    varint(present as u64, out);
    for (id, array) in batch.columns().iter().enumerate() {
        if let Some(array) = array {
            varint(id as u64, out);
            write_column(array, out);
        }
    }
}

fn write_column(array: &ArrayRef, out: &mut Vec<u8>) {
    match array.data_type() {
        DataType::Timestamp(_, _) => {
            head(tag::TIME, array.nulls(), out);
            integers(array.as_primitive::<TimestampMicrosecondType>().values(), out);
        }
        DataType::Int64 => {
            head(tag::INT, array.nulls(), out);
            integers(array.as_primitive::<Int64Type>().values(), out);
        }
        DataType::Float64 => {
            head(tag::FLOAT, array.nulls(), out);
            out.extend(
                array.as_primitive::<Float64Type>().values().iter().flat_map(|value| value.to_le_bytes()),
            );
        }
        DataType::Boolean => {
            head(tag::BOOL, array.nulls(), out);
            bitmap(array.as_boolean().values(), out);
        }
        DataType::List(_) => {
            head(tag::STRINGS, array.nulls(), out);
            let list = array.as_list::<i32>();
            let range = lengths(list.value_offsets(), out);
            text_of(&list.values().slice(range.0, range.1), out);
        }
        DataType::Map(_, _) => {
            head(tag::MAP, array.nulls(), out);
            let map = array.as_map();
            let range = lengths(map.value_offsets(), out);
            text_of(&map.keys().slice(range.0, range.1), out);
            text_of(&map.values().slice(range.0, range.1), out);
        }
        _ => write_strings(array, out),
    }
}

fn write_strings(array: &ArrayRef, out: &mut Vec<u8>) {
    let nulls = array.logical_nulls();
    match StringsRef::new(array.as_ref()).expect("every other column type is a string") {
        StringsRef::Plain(strings) => {
            head(tag::STRING, nulls.as_ref(), out);
            text(strings, out);
        }
        StringsRef::Coded(coded, values) => {
            head(tag::DICTIONARY, nulls.as_ref(), out);
            varint(values.len() as u64, out);
            text(values, out);
            // The slot of a null row may hold any code, but no byte sequence may stand for a code that is not there.
            let codes = coded.keys().values().iter().map(|&code| {
                let code = code as u32;
                if (code as usize) < values.len() { code } else { 0 }
            });
            unsigned(codes, values.len().saturating_sub(1) as u64, out);
        }
    }
}

/// Elements of lists and maps: plain in memory unless a reader left them as a dictionary.
fn text_of(array: &ArrayRef, out: &mut Vec<u8>) {
    match StringsRef::new(array.as_ref()).expect("elements are strings") {
        StringsRef::Plain(strings) => text(strings, out),
        strings @ StringsRef::Coded(_, _) => {
            let plain: StringArray =
                (0..array.len()).map(|row| Some(strings.get(row).unwrap_or_default())).collect();
            text(&plain, out);
        }
    }
}

fn text(strings: &StringArray, out: &mut Vec<u8>) {
    let (first, length) = lengths(strings.value_offsets(), out);
    out.extend_from_slice(&strings.value_data()[first..first + length]);
}

/// Writes the distances of neighbouring offsets; returns where the first entry begins and how much all entries span.
fn lengths(offsets: &[i32], out: &mut Vec<u8>) -> (usize, usize) {
    let sizes = || offsets.windows(2).map(|ends| (ends[1] - ends[0]) as u32);
    unsigned(sizes(), u64::from(sizes().max().unwrap_or(0)), out);
    let (first, last) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
    (first, last - first)
}

fn head(tag: u8, nulls: Option<&NullBuffer>, out: &mut Vec<u8>) {
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
    out.extend([tag, u8::from(nulls.is_some())]);
    if let Some(nulls) = nulls {
        bitmap(nulls.inner(), out);
    }
}

fn bitmap(bits: &BooleanBuffer, out: &mut Vec<u8>) {
    let start = out.len();
    let bytes = bits.len().div_ceil(8);
    out.extend_from_slice(&bits.sliced().as_slice()[..bytes]);
    let used = bits.len() % 8;
    if used > 0 {
        out[start + bytes - 1] &= (1_u8 << used) - 1;
    }
}

fn integers(values: &[i64], out: &mut Vec<u8>) {
    let base = values.iter().copied().min().unwrap_or(0);
    let highest = values.iter().copied().max().unwrap_or(0);
    out.extend(base.to_le_bytes());
    unsigned(
        values.iter().map(|&value| value.wrapping_sub(base) as u64),
        highest.wrapping_sub(base) as u64,
        out,
    );
}

/// Writes a width that `highest` fits, then every value in it.
fn unsigned<T: Into<u64>>(values: impl ExactSizeIterator<Item = T>, highest: u64, out: &mut Vec<u8>) {
    let start = out.len() + 1;
    match highest {
        0..=0xff => {
            out.push(1);
            out.extend(values.map(|value| value.into() as u8));
        }
        0x100..=0xffff => {
            out.push(2);
            out.resize(start + values.len() * 2, 0);
            let slots = out[start..].as_chunks_mut().0;
            slots
                .iter_mut()
                .zip(values)
                .for_each(|(slot, value)| *slot = (value.into() as u16).to_le_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(4);
            out.resize(start + values.len() * 4, 0);
            let slots = out[start..].as_chunks_mut().0;
            slots
                .iter_mut()
                .zip(values)
                .for_each(|(slot, value)| *slot = (value.into() as u32).to_le_bytes());
        }
        _ => {
            out.push(8);
            out.resize(start + values.len() * 8, 0);
            let slots = out[start..].as_chunks_mut().0;
            slots.iter_mut().zip(values).for_each(|(slot, value)| *slot = value.into().to_le_bytes());
        }
    }
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
