//! Any bytes as a Ndjson body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewater_decode::Format;

fuzz_target!(|body: &[u8]| tidewater_fuzz::check_body(Format::Ndjson, body));
