//! A number for every thread, for whatever is kept in parts so that threads on different cores seldom write the same memory: a counter
//! that two cores add to in turns costs each of them more than the work it counts.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Parts: threads that serve requests rarely share one.
pub const SHARDS: usize = 8;

/// The part of the calling thread.
pub fn own() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
    }
    OWN.with(Cell::get)
}
