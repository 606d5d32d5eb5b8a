//! Any bytes as a Csv body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewater_decode::Format;

fuzz_target!(|body: &[u8]| tidewater_fuzz::check_body(Format::Csv, body));
