//! From the bytes of a request or a file to a [`RowBatch`](tidewater_columns::RowBatch): JSON, NDJSON, CSV, TSV, Parquet, plain or compressed.
//!
//! Rows stand or fall one by one: a bad row is left out and reported, the others are kept. Pure: bytes and `now` in,
//! columns and errors out. It is not: HTTP (`server`), deduplication (`store`).

mod builder;
mod compression;
mod csv;
mod error;
mod json;
mod mapping;
mod number;
mod options;
mod parquet;
mod rows;
#[cfg(test)]
mod tests;
mod utf8;

use bytes::Bytes;
use tidewater_columns::RowBatch;
use tidewater_model::schema::Dataset;

pub use compression::{Encoding, decompress};
pub use error::{DecodeError, RowError, codes};
pub use mapping::Mapping;
pub use options::{Format, Options, Unknown};

/// What a body held.
#[derive(Debug)]
pub struct Decoded {
    /// The good rows, in the order they stood in the body.
    pub batch: RowBatch,
    /// For each row of `batch` its index in the body, counted from 0 over good and bad rows.
    pub row_index: Vec<u32>,
    /// Rows that were left out.
    pub rejected: u64,
    /// What was wrong with the first of them, at most [`ROW_ERRORS_MAX`].
    pub errors: Vec<RowError>,
    /// Members of rows that were dropped because no column has their name (`Unknown::Ignore`).
    pub unknown_ignored: u64,
}

/// Refused rows that are described; the others are only counted.
pub const ROW_ERRORS_MAX: usize = 20;

/// Reads a decompressed body. Fails as a whole only where no row can be told from the next; see [`DecodeError`].
pub fn decode(
    format: Format,
    body: &Bytes,
    dataset: &Dataset,
    options: &Options<'_>,
) -> Result<Decoded, DecodeError> {
    if body.is_empty() {
        return Err(DecodeError::Empty);
    }
    match format {
        Format::Json => json::decode_document(body, dataset, options),
        Format::Ndjson => json::decode_lines(body, dataset, options),
        Format::Csv => csv::decode(body, b',', dataset, options),
        Format::Tsv => csv::decode(body, b'\t', dataset, options),
        Format::Parquet => parquet::decode(body, dataset, options),
    }
}
