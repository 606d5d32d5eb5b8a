//! Any bytes as a batch in the log's form: what can be read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewater_columns::codec;

fuzz_target!(|bytes: &[u8]| {
    let Ok(batch) = codec::decode(bytes) else { return };
    let mut out = Vec::new();
    codec::encode(&batch, &mut out);
    let back = codec::decode(&out).expect("what was written can be read");
    assert_eq!(back.rows(), batch.rows());
});
