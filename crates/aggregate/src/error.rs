//! The one error of this crate.

/// Why rows cannot be grouped.
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
}
