//! Any bytes as a packed body: the output keeps its limit.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidewater_decode::{Encoding, decompress};

const LIMIT_BYTES: usize = 1 << 16;

fuzz_target!(|body: &[u8]| {
    let body = Bytes::copy_from_slice(body);
    for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
        if let Ok(out) = decompress(encoding, &body, LIMIT_BYTES) {
            assert!(out.len() <= LIMIT_BYTES);
        }
    }
});
