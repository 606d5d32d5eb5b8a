//! What the fuzz targets share: one dataset with a column of every type, and the checks on whatever was decoded.

use bytes::Bytes;
use tidewater_columns::codec;
use tidewater_decode::{Format, Mapping, Options, Unknown, decode};
use tidewater_model::schema::{Dataset, DatasetDefinition};
use tidewater_model::time::Timestamp;

const DEFINITION: &str = r#"{"time": "ts", "columns": {"model": "string", "tokens": "int", "score": "float",
    "ok": "bool", "cost": "money", "tags": "strings", "props": "map"},
    "metrics": {"rows": {"agg": "count"}, "p95": {"agg": "p95", "column": "score"}}}"#;

/// A column of every type.
pub fn dataset() -> Dataset {
    let definition = DatasetDefinition::from_json(DEFINITION.as_bytes()).expect("the definition above is valid");
    Dataset::compile("fuzz", definition).expect("the definition above is valid")
}

/// Decodes a body in every way there is to treat unknown members; the outcome must add up and survive the log's form.
pub fn check_body(format: Format, body: &[u8]) {
    let (dataset, mapping, body) = (dataset(), Mapping::default(), Bytes::copy_from_slice(body));
    for unknown in [Unknown::Reject, Unknown::Ignore, Unknown::Props] {
        let options = Options {
            now: Timestamp(1_800_000_000_000_000),
            unknown,
            rows_max: 10_000,
            bytes_max: 1 << 20,
            mapping: &mapping,
        };
        let Ok(decoded) = decode(format, &body, &dataset, &options) else { continue };
        assert_eq!(decoded.row_index.len(), decoded.batch.rows());
        assert!(decoded.errors.len() as u64 <= decoded.rejected);
        assert!(decoded.row_index.is_sorted());
        let mut bytes = Vec::new();
        codec::encode(&decoded.batch, &mut bytes);
        let back = codec::decode(&bytes).expect("what was written can be read");
        assert_eq!(back.rows(), decoded.batch.rows());
    }
}
