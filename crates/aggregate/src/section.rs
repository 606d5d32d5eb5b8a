//! Sections: a roll-up at one tier over one segment's rows, as canonical bytes that are read back column by column.
//!
//! A section has a slice per project; a slice has rows of (bucket start, dimension values, a state per measure), sorted by time and
//! then by the dimensions' values, and each of its columns is read alone. docs/file-format.md draws the bytes. Not here: the file
//! around them (`store`).

use serde::{Deserialize, Serialize};
use tidewater_model::names::ProjectName;
use tidewater_model::schema::Tier;

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
