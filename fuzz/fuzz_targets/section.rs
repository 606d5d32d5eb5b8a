//! Any bytes in the place of a column of a roll-up's section: they are read, or refused with the rule they break.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tidewater_aggregate::{Derivation, EncodedSection, Keys, MeasureKey, Reading, Rows, RowsExpected, States};
use tidewater_columns::RowBatch;
use tidewater_decode::{Format, Mapping, Options, Unknown, decode};
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{ColumnType, Dataset, DatasetDefinition};
use tidewater_model::time::Timestamp;

const DEFINITION: &str = r#"{"time": "ts",
    "columns": {"model": "string", "tokens": "int", "score": "float", "ok": "bool", "cost": "money", "tags": "strings"},
    "metrics": {"rows": {"agg": "count"}, "mean": {"agg": "avg", "column": "cost"}, "sum": {"agg": "avg", "column": "score"},
        "p95": {"agg": "p95", "column": "score"}, "models": {"agg": "uniq", "column": "model"},
        "last": {"agg": "last", "column": "model"}, "first": {"agg": "first", "column": "tokens"},
        "spread": {"agg": "stddev", "column": "cost"}, "wide": {"agg": "stddev", "column": "score"},
        "most": {"agg": "max", "column": "score"}},
    "rollups": [{"name": "all", "dimensions": ["model", "tags", "tokens", "score", "ok"], "tiers": ["1h"]}]}"#;

const ROWS: &[u8] = br#"{"ts": 1800000000, "model": "a", "tokens": 7, "score": 1.5, "ok": true, "cost": "0.5", "tags": ["x", "y"]}
{"ts": 1800000001, "model": "b", "tokens": -7, "score": -2.25, "ok": false, "cost": "1"}
{"ts": 1800009000, "model": "a", "tokens": 70000, "score": 0, "cost": "-2.000000001", "tags": []}"#;

static WORLD: LazyLock<(Arc<Dataset>, EncodedSection)> = LazyLock::new(|| {
    let definition = DatasetDefinition::from_json(DEFINITION.as_bytes()).expect("the definition above is valid");
    let dataset = Arc::new(Dataset::compile("fuzz", definition).expect("the definition above is valid"));
    let expected = RowsExpected { rows: 3, raw_bytes: 1 << 40 };
    let mut derivation = Derivation::new(&dataset, expected, Vec::new()).expect("there is a roll-up");
    derivation.add(&ProjectName::new("fuzz").expect("a project's name"), &rows(&dataset));
    let section = derivation.finish(1 << 40).sections.remove(0);
    (dataset, section)
});

fn rows(dataset: &Dataset) -> RowBatch {
    let mapping = Mapping::default();
    let options = Options {
        now: Timestamp(1_800_000_000_000_000),
        unknown: Unknown::Reject,
        rows_max: 10,
        bytes_max: 1 << 20,
        mapping: &mapping,
    };
    decode(Format::Ndjson, &bytes::Bytes::from_static(ROWS), dataset, &options).expect("the rows above are valid").batch
}

fuzz_target!(|bytes: &[u8]| {
    let [place, bytes @ ..] = bytes else { return };
    let (dataset, section) = &*WORLD;
    let mut slice = section.projects[0].clone();
    let columns = slice.columns.len();
    slice.columns[usize::from(*place) % columns] = bytes.to_vec();
    let Ok(decoded) = slice.decode(section.head.tier, section.head.dimensions.len()) else { return };
    for (text, measure) in section.head.measures.iter().zip(&decoded.measures) {
        let key = MeasureKey::parse(text, dataset).expect("own text");
        let mut states = States::new(key.state, true);
        states.resize(1);
        if states.merge_encoded(measure, Rows::All(decoded.rows), Keys::One(0)).is_ok() {
            let _ = states.cell(0, Reading::Value, ColumnType::Int);
            let _ = states.cell(0, Reading::Quantile(950), ColumnType::Float);
        }
    }
});
