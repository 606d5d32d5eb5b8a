//! The allocator, and the one setting of it: how long it holds memory back that was freed. It calls the library directly: the crate around
//! it has no function for the setting.
#![expect(unsafe_code, reason = "mi_option_set is a C function")]

use std::ffi::{c_int, c_long};
use std::time::Duration;

use crate::metrics::process;

// Ingest and queries allocate and free in bursts on several threads, where the system allocator holds memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h; its number is part of the library's interface.
const PURGE_DELAY: c_int = 15;
/// Milli-seconds before the system gets freed memory back: mimalloc's default. Giving back and asking again costs ingest a third
/// more processor time where it happens at once.
const USUAL_DELAY_MS: c_long = 1_000;
/// How often it is looked how much the process holds: seldom while it is far from the threshold, since a quiet server should not
/// wake up for it.
const FAR_INTERVAL: Duration = Duration::from_secs(1);
const NEAR_INTERVAL: Duration = Duration::from_millis(100);
/// Close to the threshold a burst adds tens of megabytes in the time between two looks otherwise.
const CLOSE_INTERVAL: Duration = Duration::from_millis(20);

unsafe extern "C" {
    fn mi_option_set(option: c_int, value: c_long);
}

/// Has freed memory given back at once for as long as the process holds more than so much. Under overload hundreds of megabytes are
/// allocated and freed in a second: held back for a second they would double what the process takes. Never ends.
pub async fn stay_lean(from_bytes: u64) {
    let mut is_lean = false;
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
            let delay_ms = if is_lean { 0 } else { USUAL_DELAY_MS };
            // SAFETY: the function is part of mimalloc, which is linked as this program's allocator; it takes plain integers and
            // stores one.
            unsafe { mi_option_set(PURGE_DELAY, delay_ms) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" {
        fn mi_option_get(option: c_int) -> c_long;
    }

    /// A library that numbers its options otherwise would have another one set, and nothing would say so.
    #[test]
    fn the_number_is_that_of_the_purge_delay() {
        // SAFETY: the function takes and gives plain integers.
        assert_eq!(unsafe { mi_option_get(PURGE_DELAY) }, USUAL_DELAY_MS);
    }
}
