//! Measures the decode path on NDJSON files (Linux): `decode_speed FILE…`. Prints, in processor time of one core, MB/s of decoding, and ns per row of joining
//! batches and of writing and reading the log's payload.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use tidewater_columns::{RowBatch, codec};
use tidewater_decode::{Format, Mapping, Options, Unknown, decode};
use tidewater_model::schema::{Dataset, DatasetDefinition};
use tidewater_model::time::Timestamp;

/// Rows of one request, as the load client sends them.
const REQUEST_ROWS: usize = 5_000;
/// Long enough for a stable figure.
const MEASURED: Duration = Duration::from_secs(2);

const TRACES: &str = r#"{"time": "ts", "columns": {"project": "string", "provider": "string", "model": "string",
    "user": "string", "status": "string", "input_tokens": "int", "output_tokens": "int", "duration_ms": "float",
    "cost_usd": "money", "trace_id": "string"}}"#;

fn main() {
    let definition = DatasetDefinition::from_json(TRACES.as_bytes()).expect("the definition above is valid");
    let dataset = Dataset::compile("traces", definition).expect("the definition above is valid");
    let mapping = Mapping::default();
    let options = Options {
        now: Timestamp(4_000_000_000_000_000),
        unknown: Unknown::Reject,
        rows_max: 1_000_000,
        bytes_max: 1 << 30,
        mapping: &mapping,
    };
    for path in std::env::args().skip(1) {
        let bodies = requests(&std::fs::read(&path).expect("a readable file"));
        let body_bytes: usize = bodies.iter().map(Bytes::len).sum();
        let read = |body| decode(Format::Ndjson, body, &dataset, &options).expect("a well-formed body");
        let batches: Vec<RowBatch> = bodies.iter().map(|body| read(body).batch).collect();
        let rows: usize = batches.iter().map(RowBatch::rows).sum();
        println!("{path}: {rows} rows, {} bytes a row", body_bytes / rows.max(1));
        report("decode", rows, body_bytes, || bodies.iter().for_each(|body| drop(black_box(read(body)))));
        let memory: usize = batches.iter().map(RowBatch::memory_bytes).sum();
        let groups: Vec<Vec<&RowBatch>> = batches.chunks(4).map(|group| group.iter().collect()).collect();
        report("concat of 4", rows, memory, || {
            groups.iter().for_each(|group| drop(black_box(RowBatch::concat(group))));
        });
        let mut encoded: Vec<Vec<u8>> = Vec::new();
        report("encode", rows, memory, || {
            encoded = batches
                .iter()
                .map(|batch| {
                    let mut out = Vec::new();
                    codec::encode(batch, &mut out);
                    out
                })
                .collect();
        });
        let encoded_bytes: usize = encoded.iter().map(Vec::len).sum();
        println!("  {} bytes a row in memory, {} encoded", memory / rows.max(1), encoded_bytes / rows.max(1));
        report("decode payload", rows, memory, || {
            encoded.iter().for_each(|bytes| drop(black_box(codec::decode(bytes).expect("just written"))));
        });
    }
}

fn requests(file: &[u8]) -> Vec<Bytes> {
    let lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
    lines.chunks(REQUEST_ROWS).map(|lines| Bytes::from(lines.concat())).collect()
}

fn report(what: &str, rows: usize, bytes: usize, mut run: impl FnMut()) {
    let started = cpu_time();
    let mut rounds = 0;
    while cpu_time() - started < MEASURED {
        run();
        rounds += 1;
    }
    let seconds = (cpu_time() - started).as_secs_f64() / f64::from(rounds);
    let (ns, rate) = (seconds * 1e9 / rows as f64, bytes as f64 / 1e6 / seconds);
    println!("  {what}: {ns:.0} ns a row, {rate:.0} MB/s");
}

/// What this thread has spent on a processor: unlike a clock it leaves out what other programs take.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux accounts for threads");
    let nanoseconds =
        stat.split(' ').next().and_then(|field| field.parse().ok()).expect("the first field is a count");
    Duration::from_nanos(nanoseconds)
}
