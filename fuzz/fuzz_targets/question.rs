//! Any JSON as a filter, which is compiled too, and as a question.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewater_columns::mask::CompiledFilter;
use tidewater_model::filter::parse_filter;
use tidewater_model::query::QueryRequest;
use tidewater_model::time::Zone;

fuzz_target!(|bytes: &[u8]| {
    let Ok(json) = serde_json::from_slice(bytes) else { return };
    let _ = QueryRequest::from_json(&json);
    if let Ok(filter) = parse_filter(&json, &tidewater_fuzz::dataset(), &Zone::utc()) {
        CompiledFilter::compile(&filter).expect("a filter that was accepted compiles");
    }
});
