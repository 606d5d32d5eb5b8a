//! A batch as compact bytes: the payload of the log.
//!
//! Requests are often a single row, so the form has a few bytes of overhead per column where Arrow IPC has a kilobyte and
//! a half. It carries no checksum (the log's record has one) and no names (ids are enough beside the dataset). Strings
//! keep the form they have in memory, plain or dictionary. All numbers are little-endian.
//!
//! ```text
//! 0  u8      format version, 1
//! 1  u8      compression: 0 none, 1 LZ4 block
//! 2  u32     length of the body before compression             (only with compression 1)
//!    body
//!
//! body:
//!    varint  rows                          varint: unsigned LEB128, at most 10 bytes
//!    varint  columns that follow, at least 1
//!    per column, ids ascending, the first is the time column (id 0):
//!       varint  column id
//!       u8      type
//!       u8      validity: 0 every row has a value; 1 a bitmap follows
//!       bitmap  a bit per row, least significant first, set where there is a value; padded to a byte with zeros
//!       data
//!
//! data by type:
//!    1 time        integers (micro-seconds since the epoch); validity is always 0
//!    2 int, money  integers
//!    3 float       f64 per row
//!    4 bool        bitmap
//!    5 string      text of one entry per row
//!    6 dictionary  varint entries, text of that many entries, u8 width, a code (u8, u16 or u32) per row
//!    7 strings     lengths (elements per row), text of all elements
//!    8 map         lengths (entries per row), text of all keys, text of all values
//!
//! integers:  i64 base, u8 width (1, 2, 4 or 8), per row an unsigned number of that width: value - base (modulo 2^64)
//! lengths:   u8 width (1, 2 or 4), per entry an unsigned number of that width
//! text:      lengths (bytes per entry), then the bytes of all entries, each valid UTF-8
//! ```
//!
//! A null row has a slot in the data whose content means nothing (0, empty, code 0).

mod read;
#[cfg(test)]
mod tests;
mod write;

use crate::RowBatch;

/// The version this code writes; it reads no other.
const FORMAT_VERSION: u8 = 1;

const STORED: u8 = 0;
const LZ4: u8 = 1;

/// The longest body that is read, before compression, in bytes. It is far above one request's rows, and keeps a damaged
/// length from asking for all memory.
pub const BODY_BYTES_MAX: usize = 1 << 30;

/// Tags of the types, as they stand in the bytes.
mod tag {
    pub const TIME: u8 = 1;
    pub const INT: u8 = 2;
    pub const FLOAT: u8 = 3;
    pub const BOOL: u8 = 4;
    pub const STRING: u8 = 5;
    pub const DICTIONARY: u8 = 6;
    pub const STRINGS: u8 = 7;
    pub const MAP: u8 = 8;
}

/// Bytes are no batch.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Written by a newer program, or not written by this one at all.
    #[error("batch format version {0} is not known")]
    Version(u8),
    /// The content contradicts itself.
    #[error("malformed batch: {0}")]
    Malformed(&'static str),
    /// The compressed body cannot be unpacked.
    #[error("the batch's body cannot be unpacked")]
    Unpack(#[source] lz4_flex::block::DecompressError),
}

/// Appends a batch to `out`. Arrays have the types of [`crate::data_type`], strings plain or dictionary.
///
/// # Panics
/// When an array has another type, or the batch is 4 GiB or larger: builders make only those types, callers bound a batch.
pub fn encode(batch: &RowBatch, out: &mut Vec<u8>) {
    write::encode(batch, out);
}

/// Reads a batch that fills `bytes`. Never panics, whatever the bytes; memory is bounded by a small multiple of the body's
/// length, which is bounded by [`BODY_BYTES_MAX`] and by what LZ4 can expand `bytes` to.
pub fn decode(bytes: &[u8]) -> Result<RowBatch, CodecError> {
    read::decode(bytes)
}
