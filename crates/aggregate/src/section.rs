//! Sections: a roll-up at one tier over one segment's rows, as canonical bytes that are read back column by column.
//!
//! A section has a slice per project; a slice has rows of (bucket start, dimension values, a state per measure), sorted by time and
//! then by the dimensions' values, and each of its columns is read alone. docs/file-format.md draws the bytes. Not here: the file
//! around them (`store`).

mod bytes;
pub(crate) mod dimension;
mod floats;
mod lanes;
pub(crate) mod measure;
mod merge;
mod packed;
mod same;
mod texts;
pub(crate) mod time;

use std::ops::Range;

use ::bytes::Bytes;
use arrow_array::{ArrayRef, TimestampMicrosecondArray};
use serde::{Deserialize, Serialize};
use tidewater_model::names::ProjectName;
use tidewater_model::schema::Tier;

use crate::error::AggregateError;
use bytes::{damaged, require};

pub use merge::EncodedStates;

/// Version of every column's bytes.
const VERSION: u8 = 1;

/// What a section holds. It stands beside the section's bytes, so that they are read without the dataset as it was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionHead {
    /// Name of the roll-up.
    pub rollup: String,
    /// Its resolution.
    pub tier: Tier,
    /// The dimensions as a user writes them: `channel`, `props.plan`.
    pub dimensions: Vec<String>,
    /// The measures as [`crate::MeasureKey::text`]; the first counts rows.
    pub measures: Vec<String>,
}

/// A section's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedSection {
    /// What it holds.
    pub head: SectionHead,
    /// One per project that has rows, in the order they were derived.
    pub projects: Vec<EncodedSlice>,
}

impl EncodedSection {
    /// Rows of all slices.
    pub fn rows(&self) -> u64 {
        self.projects.iter().map(|slice| slice.rows).sum()
    }

    /// Bytes of all slices.
    pub fn bytes(&self) -> u64 {
        self.projects.iter().map(EncodedSlice::bytes).sum()
    }
}

/// The rows of one project in a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedSlice {
    /// Whose rows.
    pub project: ProjectName,
    /// How many: groups, not raw rows.
    pub rows: u64,
    /// Start of the first bucket, in micro-seconds.
    pub min_us: i64,
    /// Start of the last bucket, in micro-seconds.
    pub max_us: i64,
    /// The bytes of the time, then of each dimension, then of each measure; each is read alone.
    pub columns: Vec<Vec<u8>>,
}

impl EncodedSlice {
    /// Bytes of all columns.
    pub fn bytes(&self) -> u64 {
        self.columns.iter().map(|column| column.len() as u64).sum()
    }
}

/// Rows of a slice with the columns that were asked for.
#[derive(Clone, Debug)]
pub struct SectionSlice {
    /// How many.
    pub rows: usize,
    /// The start of each row's bucket; empty where it was not asked for.
    pub times: TimestampMicrosecondArray,
    /// The dimensions asked for, in the order asked: strings as `Dictionary(Int32, Utf8)`, lists as `List(Utf8)`, money as `Int64`.
    /// `None` is null in every row.
    pub dimensions: Vec<Option<ArrayRef>>,
    /// The measures asked for, in the order asked.
    pub measures: Vec<EncodedStates>,
}

/// The bytes of a slice, of the columns that are read.
#[derive(Clone, Debug)]
pub struct SliceBytes<'a> {
    /// The slice's resolution.
    pub tier: Tier,
    /// The slice's rows.
    pub rows: u64,
    /// The time column, which tells the rows of a range.
    pub time: &'a [u8],
    /// Whether each row's time is wanted as well.
    pub wants_times: bool,
    /// The dimensions that are read.
    pub dimensions: Vec<&'a [u8]>,
    /// The measures that are read.
    pub measures: Vec<Bytes>,
}

/// Rows of one slice: more than a segment has.
const ROWS_MAX: u64 = 1 << 31;

impl SectionSlice {
    /// Reads the rows whose bucket begins in `from_us .. to_us`.
    pub fn decode(slice: SliceBytes<'_>, within_us: Range<i64>) -> Result<Self, AggregateError> {
        require(slice.rows <= ROWS_MAX, "a slice has more rows than a segment")?;
        let (total, width_us) = (slice.rows as usize, slice.tier.width_us());
        let runs = time::read(slice.time, total, width_us)?;
        let before = |limit_us: i64| runs.iter().take_while(move |run| run.bucket * width_us < limit_us);
        let first: usize = before(within_us.start).map(|run| run.rows).sum();
        let end: usize = before(within_us.end).map(|run| run.rows).sum();
        let rows = end.saturating_sub(first);
        // Arrays are bounded by their bytes, times are not: with them read first, damaged runs cannot claim rows that are not there.
        let dimensions = slice.dimensions.iter().map(|bytes| dimension::read(bytes, total, first, rows));
        let dimensions = dimensions.collect::<Result<Vec<_>, _>>()?;
        let mut times = Vec::new();
        if slice.wants_times {
            times.try_reserve_exact(rows).map_err(|_| damaged("a slice has more rows than fit"))?;
            for run in before(within_us.end).skip(before(within_us.start).count()) {
                times.extend(std::iter::repeat_n(run.bucket * width_us, run.rows));
            }
        }
        let measures =
            slice.measures.into_iter().map(|bytes| EncodedStates::new(bytes, total, first..first + rows));
        Ok(SectionSlice {
            rows,
            times: TimestampMicrosecondArray::from(times).with_timezone("UTC"),
            dimensions,
            measures: measures.collect(),
        })
    }
}

impl EncodedSlice {
    /// Reads all rows and columns.
    pub fn decode(&self, tier: Tier, dimensions: usize) -> Result<SectionSlice, AggregateError> {
        let columns = self.columns.get(1..).and_then(|columns| columns.split_at_checked(dimensions));
        let (of_dimensions, of_measures) = columns.ok_or(damaged("a slice has too few columns"))?;
        let slice = SliceBytes {
            tier,
            rows: self.rows,
            time: &self.columns[0],
            wants_times: true,
            dimensions: of_dimensions.iter().map(Vec::as_slice).collect(),
            measures: of_measures.iter().map(|column| Bytes::copy_from_slice(column)).collect(),
        };
        SectionSlice::decode(slice, i64::MIN..i64::MAX)
    }
}
