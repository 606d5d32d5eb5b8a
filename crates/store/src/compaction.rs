//! Compaction: fewer, larger segments with the same rows. `plan` decides, `merge` does.
//!
//! It takes no LSN and changes no answer. Not here: when it runs and the catalog transaction that swaps files.

mod merge;
mod plan;

pub use merge::merge_segments;
pub use plan::{CompactionJob, CompactionLimits, CompactionReason, plan_compaction};
