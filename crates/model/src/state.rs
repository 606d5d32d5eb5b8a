//! Mergeable aggregate states: what a unit of rows leaves behind, so that two units can be joined without their rows.
//!
//! Every state has an empty value, takes rows, merges with another of its kind, gives a final value, and has canonical bytes
//! that begin with a version. Merging is commutative and associative, and the empty state changes nothing; for float
//! sums and moments this holds to the accuracy each states, for all others exactly.
//!
//! Not here: which aggregate a metric uses, min and max (plain values), and files.

mod codec;
mod distinct;
mod first_last;
mod float_sum;
mod int_moments;
mod moments;
mod quantiles;

pub use distinct::{Distinct, DistinctParts};
pub use first_last::{First, Last, StateValue};
pub use float_sum::FloatSum;
pub use int_moments::IntMoments;
pub use moments::Moments;
pub use quantiles::{BinCounts, Bins, Quantiles, RankBin};

/// Why bytes are not a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The bytes end too early.
    #[error("a stored {state} state is cut short")]
    Truncated {
        /// The kind of state.
        state: &'static str,
    },
    /// Written by a newer binary.
    #[error(
        "a stored {state} state has version {found}, this binary reads up to {known}: use a newer binary"
    )]
    Version {
        /// The kind of state.
        state: &'static str,
        /// The version in the bytes.
        found: u8,
        /// The newest version known here.
        known: u8,
    },
    /// The bytes break a rule of the format.
    #[error("a stored {state} state is damaged: {rule}")]
    Damaged {
        /// The kind of state.
        state: &'static str,
        /// The broken rule.
        rule: &'static str,
    },
}

#[cfg(test)]
mod tests;
