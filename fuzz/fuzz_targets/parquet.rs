//! Any bytes as a Parquet body. The Parquet reader may panic on a damaged file; `decode` makes an error of that, so here only
//! a panic that leaves `decode` counts.
#![no_main]

use std::sync::Once;

use libfuzzer_sys::fuzz_target;
use tidewater_decode::Format;

/// The fuzzer's own hook would end the process at a panic that is about to be caught.
static HOOK: Once = Once::new();

fuzz_target!(|body: &[u8]| {
    HOOK.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    tidewater_fuzz::check_body(Format::Parquet, body);
});
