//! `import`: every format, mapping, refused rows, and what happens after an interrupt.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use super::{PATIENCE, only_value, printed, refused, verb};
use crate::server::{Server, edits};

fn import(server: &Server, arguments: &[&str]) -> Command {
    verb(server, &[&["import"], arguments].concat())
}

fn write(server: &Server, name: &str, content: &[u8]) {
    fs::write(server.folder().join(name), content).expect("written");
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

fn with_edits() -> Server {
    let server = Server::start();
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server
}

fn count(dataset: &str) -> Value {
    json!({"dataset": dataset, "metrics": [{"agg": "count"}], "date_range": "all"})
}

fn rows(server: &Server, dataset: &str) -> Value {
    let question = json!({"dataset": dataset, "date_range": "all", "order": "asc", "limit": 100});
    server.post("/api/v1/rows", &question).expect(200).json()["rows"].clone()
}

#[test]
fn columns_are_mapped_and_constants_set() {
    let server = with_edits();
    let csv = b"When,Page,Delta,Price,Lang\n2026-01-01T00:00:00Z,\"a, b\",5,0.000000001,en\n2026-01-01T00:00:01Z,c,-7,,de\n";
    write(&server, "page edits.csv.gz", &gzip(csv));
    let mapping = [
        "--time",
        "When",
        "--map",
        "channel=Page",
        "--map",
        "added=Delta",
        "--map",
        "cost_usd=Price",
        "--map",
        "props.lang=Lang",
    ];
    let constants = ["--set", "user=importer", "--set", "is_robot=true", "--set", "props.source=file"];
    let said =
        printed(import(&server, &[&["page edits.csv.gz", "-d", "edits"], &mapping[..], &constants].concat()));
    assert!(said.contains("2 rows stored in "), "{said}");
    let stored = rows(&server, "edits");
    let of = |index: usize, name: &str| stored[index][name].clone();
    assert_eq!((of(0, "channel"), of(0, "added"), of(1, "added")), (json!("a, b"), json!(5), json!(-7)));
    assert_eq!((of(0, "user"), of(0, "is_robot")), (json!("importer"), json!(true)));
    assert_eq!(of(0, "props"), json!({"lang": "en", "source": "file"}));
    assert!(
        of(0, "cost_usd")
            .to_string()
            .trim_matches('"')
            .parse::<f64>()
            .is_ok_and(|cost| (cost - 1e-9).abs() < 1e-15)
    );
    assert_eq!(of(1, "cost_usd"), Value::Null);
}

#[test]
fn refused_rows_are_named_by_line_and_fail_the_verb() {
    let server = with_edits();
    let lines = "{\"ts\":1767225600,\"added\":1}\n\n{\"ts\":1767225601,\"added\":\"many\"}\nnot json\n{\"ts\":1767225602,\"added\":3,\"adde\":4}\n";
    write(&server, "edits.ndjson", lines.as_bytes());
    let said = refused(import(&server, &["edits.ndjson", "-d", "edits"]));
    assert!(said.contains("1 rows stored, 3 refused"), "{said}");
    for place in ["edits.ndjson, line 3: ", "edits.ndjson, line 4: ", "edits.ndjson, line 5: "] {
        assert!(said.contains(place), "{place} in {said}");
    }
    assert!(said.contains("did you mean 'added'"), "{said}");
    let said = printed(import(
        &server,
        &["edits.ndjson", "-d", "edits", "--again", "--allow-rejects", "--unknown", "ignore"],
    ));
    assert!(said.contains("2 rows stored, 2 refused"), "{said}");
    assert_eq!(only_value(&server, &count("edits")), json!(3));
}

#[test]
fn a_file_is_not_imported_twice_by_accident() {
    let server = with_edits();
    write(&server, "edits.json", b"[{\"ts\":1767225600,\n \"added\":1}, {\"ts\":1767225601}]");
    let run = |more: &[&str]| import(&server, &[&["edits.json", "-d", "edits"], more].concat());
    printed(run(&[]));
    let again = refused(run(&[]));
    assert!(
        again.contains("was imported into 'edits' already (2 rows)") && again.contains("--again"),
        "{again}"
    );
    fs::rename(server.folder().join("edits.json"), server.folder().join("renamed.json")).expect("renamed");
    assert!(refused(import(&server, &["renamed.json", "-d", "edits"])).contains("already"));
    assert_eq!(only_value(&server, &count("edits")), json!(2));
    fs::rename(server.folder().join("renamed.json"), server.folder().join("edits.json")).expect("renamed");
    printed(run(&["--again"]));
    assert_eq!(only_value(&server, &count("edits")), json!(4));
    printed(run(&["--project", "other"]));
    assert_eq!(only_value(&server, &count("edits")), json!(4));
}

#[test]
fn parquet_keeps_its_types() {
    let server = Server::start();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("At", Arc::new(TimestampMillisecondArray::from(vec![1_767_225_600_123, 1_767_225_601_000]))),
        ("n", Arc::new(Int32Array::from(vec![Some(7), None]))),
        ("share", Arc::new(Float64Array::from(vec![0.5, -1.25]))),
        ("ok", Arc::new(BooleanArray::from(vec![true, false]))),
        ("name", Arc::new(StringArray::from(vec!["ä", ""]))),
        (
            "price",
            Arc::new(Decimal128Array::from(vec![199, 5]).with_precision_and_scale(10, 2).expect("a decimal")),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    write(&server, "sales.parquet", &writer.into_inner().expect("finished"));
    let said = super::both(
        &import(&server, &["sales.parquet", "-d", "sales", "--create"]).output().expect("it runs"),
    );
    assert!(said.contains("dataset 'sales' is created") && said.contains("2 rows stored"), "{said}");
    let definition = server.get("/api/v1/datasets/sales").expect(200).json();
    let types = json!({"n": "int", "share": "float", "ok": "bool", "name": "string", "price": "money"});
    assert_eq!((&definition["time"], &definition["columns"]), (&json!("At"), &types));
    let stored = rows(&server, "sales");
    assert_eq!(stored[0]["At"], "2026-01-01T00:00:00.123Z");
    assert_eq!(
        (&stored[0]["n"], &stored[1]["n"], &stored[1]["share"]),
        (&json!(7), &Value::Null, &json!(-1.25))
    );
    assert_eq!(
        (&stored[0]["name"], &stored[1]["name"], &stored[1]["ok"]),
        (&json!("ä"), &json!(""), &json!(false))
    );
    let sum =
        json!({"dataset": "sales", "date_range": "all", "metrics": [{"agg": "sum", "column": "price"}]});
    assert_eq!(
        only_value(&server, &sum).to_string().trim_matches('"').parse::<f64>().expect("a number"),
        2.04
    );
    write(&server, "half.parquet", &fs::read(server.folder().join("sales.parquet")).expect("read")[..300]);
    let half = refused(import(&server, &["half.parquet", "-d", "sales"]));
    assert!(half.contains("no complete Parquet file"), "{half}");
}

#[test]
fn mistakes_are_explained() {
    let server = with_edits();
    write(&server, "a.csv", b"ts,adde\n1767225600,1\n");
    write(&server, "notes", b"just text");
    let cases: [(&[&str], &str); 6] = [
        (&["missing.csv", "-d", "edits"], "cannot open 'missing.csv'"),
        (&["a.csv", "-d", "nothing"], "there is no dataset 'nothing'"),
        (&["a.csv", "-d", "edits"], "did you mean 'added'"),
        (&["a.csv", "-d", "edits", "--map", "addd=adde"], "did you mean 'added'"),
        (&["notes", "-d", "edits"], "give --format"),
        (&["a.csv", "-d", "new", "--create", "--time", "When"], "no column 'When'"),
    ];
    for (arguments, expected) in cases {
        let said = refused(import(&server, arguments));
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    assert_eq!(only_value(&server, &count("edits")), json!(0));
}

/// Rows of the file that is interrupted: enough for several pieces of 20,000.
const MANY: usize = 150_000;

#[test]
fn an_interrupted_import_goes_on_and_counts_every_row_once() {
    let server = Server::start();
    server.put("/api/v1/datasets/points", &json!({"time": "ts", "columns": {"n": "int"}})).expect(201);
    let lines: String = (0..MANY).map(|n| format!("{},{n}\n", 1_767_225_600 + n)).collect();
    write(&server, "points.csv", format!("ts,n\n{lines}").as_bytes());
    // Killed several times, each a little further on.
    for kills in 1..=3 {
        let mut child = import(&server, &["points.csv", "-d", "points"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let since = Instant::now();
        while only_value(&server, &count("points")).as_u64() < Some(20_000 * kills) {
            assert!(since.elapsed() < PATIENCE, "rows arrive");
            if child.try_wait().expect("it can be asked").is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().expect("killed");
        child.wait().expect("waited for");
    }
    let mut last = import(&server, &["points.csv", "-d", "points"]);
    let output = last.output().expect("the binary runs");
    let said = super::both(&output);
    assert!(output.status.success() || said.contains("already"), "{said}");
    let question = json!({"dataset": "points", "date_range": "all", "exact": true,
        "metrics": [{"agg": "count"}, {"agg": "uniq", "column": "n"}, {"agg": "sum", "column": "n"}]});
    let sum = MANY * (MANY - 1) / 2;
    assert_eq!(server.query(&question)["results"][0]["metrics"], json!([MANY, MANY, sum]));
}

#[test]
fn a_server_that_takes_little_gets_little() {
    let server = Server::start_with(&[("TIDEWATER_SERVER__BODY_BYTES_MAX", "400000")]);
    server
        .put("/api/v1/datasets/points", &json!({"time": "ts", "columns": {"n": "int", "text": "string"}}))
        .expect(201);
    // Text that does not compress: bodies are over the server's limit and are sent in halves.
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{state:016x}")
    };
    let lines: String =
        (0..30_000).map(|n| format!("{},{n},{}{}\n", 1_767_225_600 + n, noise(), noise())).collect();
    write(&server, "points.csv", format!("ts,n,text\n{lines}").as_bytes());
    let said = printed(import(&server, &["points.csv", "-d", "points"]));
    assert!(said.contains("30,000 rows stored"), "{said}");
    assert_eq!(only_value(&server, &count("points")), json!(30_000));
}
