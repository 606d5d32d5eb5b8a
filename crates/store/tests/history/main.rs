//! The store's history under test: what was acknowledged is there, once, whatever happens to the process or its disk.
#![allow(clippy::unwrap_used, missing_docs)]

mod world;

mod backup;
mod crash;
mod crash_rollups;
mod datasets;
mod deletes;
mod durable;
mod faults;
mod repeats;
mod rollups;
mod settling;
mod stall;
mod sums;
