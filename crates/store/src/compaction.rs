//! Compaction: fewer, larger segments with the same rows. `plan` decides while rows come, `settle` when a day is at
//! rest; `merge` does.
//!
//! It takes no LSN and changes no answer. Not here: when it runs and the catalog transaction that swaps files.

mod merge;
mod plan;
mod settle;

pub use merge::merge_segments;
pub use plan::{CompactionJob, CompactionLimits, CompactionReason, plan_compaction};
pub use settle::{Days, plan_settling, settling_pending};
