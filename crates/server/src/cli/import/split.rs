//! A file in pieces that can be decoded one by one: each is a whole body of a few thousand rows.
//!
//! Where a piece ends depends on the file's content and the constants below alone, so that a second run makes the same pieces.
//! Not here: what the rows mean (`decode`).

mod csv;
mod json;
mod lines;
mod parquet;

use bytes::Bytes;
use tidewater_decode::Format;

use super::source::Source;

/// Rows of one piece at most.
pub const PIECE_ROWS_MAX: usize = 20_000;
/// Bytes of one piece, after which no row is added. Below a server's default limit for one body (16 MiB), even when numbers
/// of two characters become columns of eight bytes.
pub const PIECE_BYTES_MAX: usize = 2 << 20;
/// Largest row that is read: what a server takes as a whole body by default.
const ROW_BYTES_MAX: usize = 16 << 20;

/// Some rows of a file.
pub struct Piece {
    /// The rows, in the form of `format`.
    pub body: Bytes,
    /// How the body is written: not always as the file is.
    pub format: Format,
    /// Where each row of the body stands in the file.
    pub places: Vec<u64>,
}

/// Reads a file piece by piece.
pub enum Splitter {
    /// One object per line.
    Lines(lines::Lines),
    /// Records with a header, separated by commas or tabs.
    Csv(csv::Records),
    /// An array of objects, or objects after each other.
    Json(json::Elements),
    /// Row groups.
    Parquet(parquet::Batches),
}

impl Splitter {
    /// From the beginning of the file.
    pub fn new(source: &Source) -> anyhow::Result<Self> {
        Ok(match source.format {
            Format::Ndjson => Splitter::Lines(lines::Lines::new(source.reader()?)),
            Format::Csv => Splitter::Csv(csv::Records::new(source.reader()?, b',')),
            Format::Tsv => Splitter::Csv(csv::Records::new(source.reader()?, b'\t')),
            Format::Json => Splitter::Json(json::Elements::new(source.reader()?)),
            Format::Parquet => Splitter::Parquet(parquet::Batches::new(source)?),
        })
    }

    /// The next piece, or `None` after the last.
    pub fn next(&mut self) -> anyhow::Result<Option<Piece>> {
        match self {
            Splitter::Lines(lines) => lines.next(),
            Splitter::Csv(records) => records.next(),
            Splitter::Json(elements) => elements.next(),
            Splitter::Parquet(batches) => batches.next(),
        }
    }

    /// What [`Piece::places`] counts.
    pub fn place_name(format: Format) -> &'static str {
        match format {
            Format::Ndjson | Format::Csv | Format::Tsv => "line",
            Format::Json | Format::Parquet => "row",
        }
    }
}

/// Whether a piece takes another row.
fn is_full(rows: usize, bytes: usize) -> bool {
    rows >= PIECE_ROWS_MAX || bytes >= PIECE_BYTES_MAX
}
