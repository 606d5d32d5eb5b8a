//! What reading a source is expected to cost, in nano-seconds of one core. Only the order of such figures matters.
//!
//! The figures for raw rows are those of docs/benchmarks.md, times two for its two cores: 20 million rows in 262 ms for totals with
//! distinct users, 320 ms for sums by day and provider, 504 ms for sums by user.

use tidewater_aggregate::StateKind;

use super::facts::{Question, RawFacts};

/// A raw row in a segment: decoding its time and passing it on.
const RAW_ROW_NS: f64 = 6.0;
/// A dimension of a raw row: decoding, its code, its group.
const RAW_DIMENSION_NS: f64 = 10.0;
/// A raw row outside the interval: sorted by time last, it is decoded with those inside.
const RAW_PASSED_OVER_NS: f64 = 4.0;
/// In memory nothing is decoded.
const IN_MEMORY_SHARE: f64 = 0.6;
/// Opening a segment and its row groups.
const RAW_OPEN_NS: f64 = 100_000.0;
/// A row of a section, which is only unpacked: the design allows 24 ns with one dimension and two measures.
const SECTION_ROW_NS: f64 = 4.0;
/// A dimension of a section's row.
const SECTION_DIMENSION_NS: f64 = 10.0;
/// Opening a section: one read for each of its columns, and its dictionaries.
const SECTION_OPEN_NS: f64 = 30_000.0;

/// The costs of one question's sources for a set of measures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prices {
    raw_row_ns: f64,
    section_row_ns: f64,
}

impl Prices {
    /// `measures` are indices of the question's measures.
    pub fn new(question: &Question, measures: &[usize]) -> Self {
        let dimensions = (question.dimensions.len() + usize::from(question.grid.is_some())) as f64;
        let mut columns = Vec::new();
        question.filter.columns(&mut columns);
        let filters = columns.len() as f64;
        let states = |price: fn(StateKind) -> f64| -> f64 {
            measures.iter().map(|measure| price(question.measures[*measure].key.state)).sum()
        };
        Prices {
            raw_row_ns: RAW_ROW_NS + (dimensions + filters) * RAW_DIMENSION_NS + states(raw_state_ns),
            section_row_ns: SECTION_ROW_NS
                + (dimensions + filters) * SECTION_DIMENSION_NS
                + states(section_state_ns),
        }
    }

    /// A section's rows, `share` of them.
    pub fn section(&self, rows: u64, share: f64) -> f64 {
        SECTION_OPEN_NS + rows as f64 * share * self.section_row_ns
    }

    /// Raw rows, `share` of them in the interval.
    pub fn raw(&self, raw: RawFacts, share: f64) -> f64 {
        let rows = raw.rows as f64;
        let scan = rows * (share * self.raw_row_ns + (1.0 - share) * RAW_PASSED_OVER_NS);
        if raw.in_memory { scan * IN_MEMORY_SHARE } else { RAW_OPEN_NS + scan }
    }
}

/// Updating a state with a value.
fn raw_state_ns(state: StateKind) -> f64 {
    match state {
        StateKind::Count => 1.0,
        StateKind::Distinct | StateKind::Quantiles => 15.0,
        StateKind::ExactDistinct => 40.0,
        StateKind::Text(_) => 20.0,
        _ => 5.0,
    }
}

/// Merging a stored state: a sketch has some thirty bins or values (docs/file-format.md).
fn section_state_ns(state: StateKind) -> f64 {
    match state {
        StateKind::Count => 1.0,
        StateKind::Distinct | StateKind::ExactDistinct => 400.0,
        StateKind::Quantiles => 100.0,
        StateKind::Text(_) => 30.0,
        _ => 5.0,
    }
}
