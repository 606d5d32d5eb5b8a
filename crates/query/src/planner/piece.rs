//! What the planner decides.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use tidewater_model::schema::Tier;

/// Where a piece's rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The rows as they were sent.
    Raw,
    /// The section of this index in [`super::UnitFacts::sections`].
    Section(usize),
}

/// A measure of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PieceMeasure {
    /// Its index in [`super::Question::measures`].
    pub measure: usize,
    /// The index of the key that serves it in [`super::SectionFacts::measures`]; 0 for raw rows.
    pub stored: usize,
    /// Whether its filter is still to be evaluated on the rows read: always for raw rows with a filter, for a section where the
    /// stored state has none.
    pub filtered: bool,
}

/// A part of a unit that one source answers. The pieces of a unit hold every measure at every instant of range ∩ unit once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Piece {
    /// The first instant. `None` where the piece begins with the unit, so that equal pieces of different ranges are equal. For a
    /// section: rows whose cell begins at or after it.
    pub from_us: Option<i64>,
    /// The first instant after it, likewise. A section's cell may end after it only where the unit has no rows there.
    pub to_us: Option<i64>,
    /// What is read.
    pub source: Source,
    /// What is computed, in the order of the question's measures; at least one.
    pub measures: Vec<PieceMeasure>,
}

/// A unit's pieces, and what reading them is expected to cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitPlan {
    /// In order of time; none where range and unit do not meet.
    pub pieces: Vec<Piece>,
    /// Nano-seconds of one core.
    pub cost_ns: u64,
    /// A section row's time is its cell's start, which may lie before the unit's first row and so in an earlier bucket: times below
    /// this instant count as this instant when rows are put into buckets.
    pub least_us: i64,
}

/// A part of a range that no source of a unit answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first instant after the last part that is missing.
    pub until_us: i64,
}

/// The sources of an answer, for `meta.source`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceSummary {
    sections: BTreeSet<(Arc<str>, Tier)>,
    raw: bool,
}

impl SourceSummary {
    /// Adds raw rows.
    pub fn add_raw(&mut self) {
        self.raw = true;
    }

    /// Adds a section.
    pub fn add_section(&mut self, rollup: &Arc<str>, tier: Tier) {
        if !self.sections.contains(&(Arc::clone(rollup), tier)) {
            self.sections.insert((Arc::clone(rollup), tier));
        }
    }

    /// Adds those of another part.
    pub fn add(&mut self, other: &SourceSummary) {
        self.raw |= other.raw;
        other.sections.iter().for_each(|(rollup, tier)| self.add_section(rollup, *tier));
    }

    /// The coarsest resolution that numbers came from; `None` where all came from raw rows.
    pub fn coarsest(&self) -> Option<Tier> {
        self.sections.iter().map(|(_, tier)| *tier).max()
    }
}

impl fmt::Display for SourceSummary {
    /// `rollup:channels/1h + rollup:users/1d + raw`; `raw` where nothing was read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (rollup, tier)) in self.sections.iter().enumerate() {
            let joint = if place == 0 { "" } else { " + " };
            write!(f, "{joint}rollup:{rollup}/{}", tier.name())?;
        }
        match (self.sections.is_empty(), self.raw) {
            (true, _) => f.write_str("raw"),
            (false, true) => f.write_str(" + raw"),
            (false, false) => Ok(()),
        }
    }
}
