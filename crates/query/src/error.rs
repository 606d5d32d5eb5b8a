//! The one error of this crate. Every message names the value that was too much and what would be right.

use tidewater_aggregate::AggregateError;
use tidewater_model::time::{TimeError, Timestamp};
use tidewater_store::StoreError;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The question's groups, texts and sketches do not fit into its memory.
    #[error(
        "this question needs more than {} MiB of memory (at least {} MiB): add filters, use fewer dimensions or a coarser \
         time bucket",
        mebibytes(*.limit), mebibytes_up(*.needed)
    )]
    Memory {
        /// Bytes it would have needed to go on.
        needed: usize,
        /// Bytes one question may have.
        limit: usize,
    },
    /// Other questions hold the memory that this one would need. Worth another try.
    #[error(
        "all questions together are at their limit of {} MiB of memory: try again, or ask for less at a time",
        mebibytes(*.limit)
    )]
    Busy {
        /// Bytes all questions may have together.
        limit: usize,
    },
    /// It costs more than the caller allowed ([`crate::Control`]). Who allowed so little asks again and allows more.
    #[error("the question costs more than it may here")]
    Costly {
        /// Time of one core: estimated where nothing was read yet, else spent.
        cost: std::time::Duration,
    },
    /// The deadline passed.
    #[error("the question took longer than its time limit: add filters, or use a shorter date range")]
    Deadline,
    /// Somebody cancelled it.
    #[error("the question was cancelled")]
    Cancelled,
    /// The answer would be larger than answers may be.
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
    /// Rows of the range were dropped by retention and nothing else covers them.
    #[error(
        "rows before {from} have expired, so the whole date range cannot be answered: start at {from} or later, or ask \
         with include.partial"
    )]
    RangeNotCovered {
        /// The earliest start that can be answered.
        from: Timestamp,
    },
    /// The time buckets of the range cannot be numbered.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// A filter cannot be evaluated.
    #[error("a filter cannot be used")]
    Filter(#[source] tidewater_columns::mask::MaskError),
    /// The rows could not be read.
    #[error("rows could not be read")]
    Store(#[from] StoreError),
    /// The store contradicts itself.
    #[error("the stored rows are inconsistent: {what}; run verify")]
    Inconsistent {
        /// How.
        what: &'static str,
    },
    /// A roll-up's bytes could not be read.
    #[error("a stored roll-up could not be read")]
    Section(#[source] AggregateError),
    /// A worker thread panicked; the cause is in the log.
    #[error("the question failed inside the server")]
    Panicked,
}

impl From<AggregateError> for ExecuteError {
    fn from(error: AggregateError) -> Self {
        match error {
            AggregateError::Limit { what, found, max, remedy } => {
                ExecuteError::Limit { what, found, max, remedy }
            }
            AggregateError::Inconsistent { what } => ExecuteError::Inconsistent { what },
            AggregateError::Damaged { .. } | AggregateError::Version { .. } | AggregateError::State(_) => {
                ExecuteError::Section(error)
            }
        }
    }
}

const MEBIBYTE: usize = 1 << 20;

fn mebibytes(bytes: usize) -> usize {
    bytes / MEBIBYTE
}

fn mebibytes_up(bytes: usize) -> usize {
    bytes.div_ceil(MEBIBYTE)
}
