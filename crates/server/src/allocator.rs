//! The allocator: which sizes it asks its library for, and how long the library holds memory back that was freed. For that setting
//! it calls the library directly: the crate around it has no function for it.
#![expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait, and mi_option_set a C function")]

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{c_int, c_long};
use std::time::Duration;

use crate::metrics::process;

// Ingest and queries allocate and free in bursts on several threads, where the system allocator holds memory back.
#[global_allocator]
static ALLOCATOR: Roomy = Roomy;

/// Blocks larger than this and up to [`POOLED_MAX`] come from pages of 4 MiB in mimalloc, one for each thread and size, which it keeps
/// for as long as a single block in them is used. Arrays of columns have such sizes and live for seconds on dozens of
/// threads: of 700 MiB that the process held under overload more than 150 were free blocks in such pages.
const SHARING_MAX: usize = 80 << 10;
/// The largest block that mimalloc puts beside others.
const POOLED_MAX: usize = 512 << 10;

/// mimalloc, asked so that an array has memory of its own, which goes back when it is freed, whoever frees it. What is asked for
/// beyond the block is never touched, so it takes addresses and no memory.
struct Roomy;

impl Roomy {
    /// How many bytes mimalloc is asked for where so many are needed.
    const fn asked(size: usize) -> usize {
        if size > SHARING_MAX && size <= POOLED_MAX { POOLED_MAX + 1 } else { size }
    }

    /// The layout of the block that mimalloc gives.
    fn block(layout: Layout) -> Layout {
        // SAFETY: the alignment is that of a valid layout, and the size is either its own or far below what an alignment can make
        // too large.
        unsafe { Layout::from_size_align_unchecked(Self::asked(layout.size()), layout.align()) }
    }
}

// SAFETY: every block is one of mimalloc, which is a sound allocator, at least as large as its layout says. A block is always given back
// and changed with the layout that it was asked for with: `block` depends on nothing but the layout.
unsafe impl GlobalAlloc for Roomy {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout is not empty, so neither is the block's.
        unsafe { MIMALLOC.alloc(Self::block(layout)) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let block = Self::block(layout);
        if block == layout {
            // SAFETY: as for `alloc`.
            return unsafe { MIMALLOC.alloc_zeroed(layout) };
        }
        // SAFETY: as for `alloc`; the block has at least the layout's bytes. Only those are touched.
        unsafe {
            let bytes = MIMALLOC.alloc(block);
            if !bytes.is_null() {
                bytes.write_bytes(0, layout.size());
            }
            bytes
        }
    }

    unsafe fn dealloc(&self, bytes: *mut u8, layout: Layout) {
        // SAFETY: the caller has the block from here, with this layout.
        unsafe { MIMALLOC.dealloc(bytes, Self::block(layout)) }
    }

    unsafe fn realloc(&self, bytes: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let (held, asked) = (Self::block(layout), Self::asked(new_size));
        if held.size() == asked && asked != new_size {
            return bytes;
        }
        // SAFETY: the caller has the block from here, with this layout, and a valid size is asked for.
        unsafe { MIMALLOC.realloc(bytes, held, asked) }
    }
}

static MIMALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h; its number is part of the library's interface.
const PURGE_DELAY: c_int = 15;
/// mimalloc's own value of it.
#[cfg(test)]
const DEFAULT_DELAY_MS: c_long = 1_000;
/// Milli-seconds before the system gets freed memory back: what one flush or long answer has freed serves the next one. Giving back and
/// asking again costs ingest a third more processor time where it happens at once.
const USUAL_DELAY_MS: c_long = 10_000;
/// How often it is looked how much the process holds: seldom while it is far from the threshold, since a quiet server should not
/// wake up for it.
const FAR_INTERVAL: Duration = Duration::from_secs(1);
const NEAR_INTERVAL: Duration = Duration::from_millis(100);
/// Close to the threshold a burst adds tens of megabytes in the time between two looks otherwise.
const CLOSE_INTERVAL: Duration = Duration::from_millis(20);

unsafe extern "C" {
    fn mi_option_set(option: c_int, value: c_long);
    fn mi_collect(force: bool);
}

/// Has freed memory given back at once for as long as the process holds more than so much. Under overload hundreds of megabytes are
/// allocated and freed in a second: held back they would double what the process takes. Never ends.
pub async fn stay_lean(from_bytes: u64) {
    let mut is_lean = false;
    set_purge_delay(USUAL_DELAY_MS);
    let mut interval = FAR_INTERVAL;
    loop {
        tokio::time::sleep(interval).await;
        let bytes = process::resident_bytes().unwrap_or(0);
        interval = match bytes {
            _ if bytes > from_bytes / 4 * 3 => CLOSE_INTERVAL,
            _ if bytes > from_bytes / 2 => NEAR_INTERVAL,
            _ => FAR_INTERVAL,
        };
        let is_large = bytes > from_bytes;
        if is_large != is_lean {
            is_lean = is_large;
            set_purge_delay(if is_lean { 0 } else { USUAL_DELAY_MS });
            if is_lean {
                // What was freed before would be held for as long as was said then.
                // SAFETY: the function is part of mimalloc, which is linked as this program's allocator; any thread may call it.
                unsafe { mi_collect(true) }
            }
        }
    }
}

fn set_purge_delay(delay_ms: c_long) {
    // SAFETY: the function is part of mimalloc, which is linked as this program's allocator; it takes plain integers and stores one.
    unsafe { mi_option_set(PURGE_DELAY, delay_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" {
        fn mi_option_get(option: c_int) -> c_long;
    }

    const SIZES: [usize; 7] =
        [1, SHARING_MAX, SHARING_MAX + 1, 200_000, POOLED_MAX - 1, POOLED_MAX, POOLED_MAX + 1];

    #[test]
    fn blocks_keep_their_bytes_from_any_size_to_any_other() {
        for from in SIZES {
            for to in SIZES {
                let mut bytes: Vec<u8> = (0..from).map(|place| place as u8).collect();
                bytes.shrink_to_fit();
                bytes.resize(to, 7);
                bytes.shrink_to_fit();
                let expected = |place: usize| if place < from { place as u8 } else { 7 };
                assert!(
                    bytes.iter().enumerate().all(|(place, byte)| *byte == expected(place)),
                    "{from} to {to}"
                );
            }
        }
    }

    #[test]
    fn a_zeroed_block_that_was_used_before_is_zeroed() {
        for size in SIZES {
            for _ in 0..4 {
                let mut bytes = vec![0_u8; size];
                assert!(bytes.iter().all(|byte| *byte == 0), "{size}");
                bytes.fill(1);
            }
        }
    }

    #[test]
    fn arrays_have_memory_of_their_own() {
        let asked = SIZES.map(Roomy::asked);
        let own = POOLED_MAX + 1;
        assert_eq!(asked, [1, SHARING_MAX, own, own, own, own, own]);
    }

    /// A library that numbers its options otherwise would have another one set, and nothing would say so.
    #[test]
    fn the_number_is_that_of_the_purge_delay() {
        // SAFETY: the function takes and gives plain integers.
        assert_eq!(unsafe { mi_option_get(PURGE_DELAY) }, DEFAULT_DELAY_MS);
    }
}
