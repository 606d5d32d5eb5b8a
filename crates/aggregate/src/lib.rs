//! Aggregation kernels: rows become groups, and each group keeps mergeable states.
//!
//! `group` turns dimension values into dense group numbers, `state` keeps one column of states per measure and feeds it whole
//! batches, `select` finds exact percentiles in a second pass. Questions and roll-ups are made by the same kernels, which is why their
//! numbers agree: `rollup` says what a dataset's roll-ups keep, `derive` makes it from rows, and `section` holds its bytes. Pure. Not here: which rows are read
//! (`store`), planning and answers (`query`).

mod cell;
mod derive;
mod dictionary;
mod error;
mod feed;
mod group;
mod hash;
mod rollup;
mod section;
mod select;
mod state;

pub use cell::Cell;
pub use derive::{Derivation, Derived, RowsExpected, VisibleSlice, join_sections, join_slices};
pub use error::AggregateError;
pub use feed::{Feed, Keys, Rows, Scratch, subset};
pub use group::{Codes, Expansion, Groups, SharedMemory};
pub use rollup::{MeasureKey, RollupPlan, RollupTier, derived_for, outlives_raw, rollup_plans};
pub use section::{EncodedSection, EncodedSlice, EncodedStates, SectionHead, SectionSlice, SliceBytes};
pub use select::Selection;
pub use state::{Input, Reading, StateKind, States, TextRule, Words, float_of_order, order_of_float};
