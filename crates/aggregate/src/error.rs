//! The one error of this crate.

use tidewater_model::state::StateError;

/// Why rows cannot be grouped, or bytes are no section.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AggregateError {
    /// There would be more of something than there may be.
    #[error("{what}: {found} is over the limit of {max}; {remedy}")]
    Limit {
        /// Of what there is too much.
        what: &'static str,
        /// How much there is, or at least is.
        found: u64,
        /// How much there may be.
        max: u64,
        /// What to do.
        remedy: &'static str,
    },
    /// The rows contradict what is known of them.
    #[error("the stored rows are inconsistent: {what}; run verify")]
    Inconsistent {
        /// How.
        what: &'static str,
    },
    /// Bytes of a section break a rule of its format.
    #[error("a roll-up column is damaged: {rule}")]
    Damaged {
        /// The broken rule.
        rule: &'static str,
    },
    /// A column was written by a newer binary.
    #[error("a roll-up column has version {found}, this binary reads up to {known}: use a newer binary")]
    Version {
        /// The version in the bytes.
        found: u8,
        /// The newest version known here.
        known: u8,
    },
    /// A state in a section is none.
    #[error("a roll-up column is damaged")]
    State(#[from] StateError),
}
