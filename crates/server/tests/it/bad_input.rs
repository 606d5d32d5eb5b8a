//! Everything a client can get wrong: each fault has its status, its stable `code` and a sentence that names it, the good rows
//! beside it are stored, and the server goes on.
//!
//! Not here: faults of the disk (`faults`), and reaching for another tenant's rows (`tenants`).

use std::io::Write as _;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use serde_json::{Value, json};

use crate::server::{Reply, Server};
use crate::talk::{ask, call, define, ingest_ndjson, percent_encoded, results};

/// What is sent, its type and encoding, the body, the rows accepted and rejected, the code of the first error.
type BodyCase<'a> = (&'a str, (&'a str, &'a str), &'a [u8], u64, u64, &'a str);
/// What is sent, method, path, headers, body, and the status and code it must get.
type RouteCase<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

const JSON: (&str, &str) = ("content-type", "application/json");
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const CSV: (&str, &str) = ("content-type", "text/csv");
const PARQUET: (&str, &str) = ("content-type", "application/vnd.apache.parquet");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

fn start() -> Server {
    let server = Server::start();
    define(
        &server,
        "edits",
        &json!({"time": "ts", "id": "event_id", "columns": {"event_id": "string", "channel": "string", "model": "string",
                "is_robot": "bool", "added": "int", "score": "float", "cost_usd": "money", "tags": "strings", "props": "map"},
                "metrics": {"edits": {"agg": "count"}, "cost": {"agg": "sum", "column": "cost_usd"}}}),
    );
    server
}

fn stored(server: &Server) -> i64 {
    let answer = ask(server, &json!({"dataset": "edits", "date_range": "all", "metrics": ["edits"]}));
    results(&answer)[0].1[0].as_i64().expect("a count")
}

/// What no reply may hold: places in the source, on the disk, or another engine's words.
fn check_leaks(what: &str, text: &str) {
    for trace in [
        "panicked",
        "/src/",
        ".rs:",
        "/tmp",
        "/var/",
        "/home",
        ".wal",
        "SELECT ",
        "backtrace",
        "RUST_",
        "thread '",
        "os error",
        "Err(",
        "ArrowError",
        "ParquetError",
    ] {
        assert!(!text.contains(trace), "{what} leaks '{trace}': {text}");
    }
}

/// Every refusal is a problem of RFC 9457 with the request's id; `detail` holds each phrase.
fn check_problem(what: &str, reply: &Reply, status: u16, code: &str, phrases: &[&str]) {
    let text = reply.text();
    assert_eq!(reply.status, status, "{what}: {text}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{what}");
    let problem = reply.json();
    assert_eq!(problem["code"], code, "{what}: {text}");
    assert_eq!(problem["status"], status, "{what}: {text}");
    assert!(problem["type"].is_string() && problem["title"].is_string(), "{what}: {text}");
    let id = reply.header("x-request-id").unwrap_or_else(|| panic!("{what} has no X-Request-Id"));
    assert_eq!(problem["request_id"], id, "{what}");
    let detail = problem["detail"].as_str().unwrap_or_else(|| panic!("{what}: {text}"));
    for phrase in phrases {
        assert!(detail.contains(phrase), "{what}: '{phrase}' is not in: {detail}");
    }
    assert!(text.len() < 8_000, "{what}: a problem of {} bytes", text.len());
    check_leaks(what, &text);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn parquet_file(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("a writer");
    writer.write(batch).expect("memory");
    writer.close().expect("memory");
    bytes
}

/// A row between two good ones: it alone is refused, with its index, field, code and reason.
#[test]
fn a_bad_row_is_refused_alone() {
    let server = start();
    let long = "x".repeat(5 << 20);
    let wide: String = (0..100_000).map(|index| format!(",\"c{index}\":1")).collect();
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let many_keys: String = (0..3_000).map(|index| format!(",\"k{index}\":\"v\"")).collect();
    let year_ahead = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(9_000)).to_string();
    let cases: Vec<(&str, String, Value, &str, &str)> = vec![
        ("text for int", r#"{"added": "many"}"#.into(), json!("added"), "invalid_type", "many"),
        ("object for int", r#"{"added": {"a": 1}}"#.into(), json!("added"), "invalid_type", ""),
        ("fraction for int", r#"{"added": 1.5}"#.into(), json!("added"), "invalid_type", "1.5"),
        ("number for string", r#"{"channel": 5}"#.into(), json!("channel"), "invalid_type", "5"),
        ("text for bool", r#"{"is_robot": "maybe"}"#.into(), json!("is_robot"), "invalid_type", "maybe"),
        ("text for strings", r#"{"tags": 7}"#.into(), json!("tags"), "invalid_type", ""),
        ("number in strings", r#"{"tags": ["a", 7]}"#.into(), json!("tags"), "invalid_type", ""),
        ("text for map", r#"{"props": "a"}"#.into(), json!("props"), "invalid_type", ""),
        ("text for money", r#"{"cost_usd": "dear"}"#.into(), json!("cost_usd"), "invalid_type", "dear"),
        (
            "i64 overflow",
            r#"{"added": 9223372036854775808}"#.into(),
            json!("added"),
            "out_of_range",
            "9223372036854775808",
        ),
        (
            "i64 underflow",
            r#"{"added": -9223372036854775809}"#.into(),
            json!("added"),
            "out_of_range",
            "-9223372036854775809",
        ),
        ("float overflow", r#"{"score": 1e999}"#.into(), json!("score"), "out_of_range", "1e999"),
        (
            "money overflow",
            r#"{"cost_usd": 99999999999999}"#.into(),
            json!("cost_usd"),
            "out_of_range",
            "99999999999999",
        ),
        (
            "money too fine",
            r#"{"cost_usd": 0.0000000001}"#.into(),
            json!("cost_usd"),
            "money_precision",
            "0.0000000001",
        ),
        ("bad time", r#"{"ts": "yesterday"}"#.into(), json!("ts"), "invalid_time", "yesterday"),
        (
            "no such day",
            r#"{"ts": "2024-02-30T00:00:00Z"}"#.into(),
            json!("ts"),
            "invalid_time",
            "2024-02-30",
        ),
        ("bool for time", r#"{"ts": true}"#.into(), json!("ts"), "invalid_type", ""),
        ("time far ahead", format!(r#"{{"ts": "{year_ahead}"}}"#), json!("ts"), "time_in_future", "ahead"),
        ("time in year 9998", r#"{"ts": "9998-12-31T23:59:59Z"}"#.into(), json!("ts"), "time_in_future", ""),
        (
            "unknown column",
            r#"{"modle": "gpt"}"#.into(),
            json!("modle"),
            "unknown_column",
            "did you mean 'model'",
        ),
        (
            "twice the same column",
            r#"{"added": 1, "added": 2}"#.into(),
            json!("added"),
            "duplicate_field",
            "twice",
        ),
        ("5 MB string", format!(r#"{{"channel": "{long}"}}"#), json!("channel"), "too_long", "1048576"),
        ("5 MB in a list", format!(r#"{{"tags": ["{long}"]}}"#), json!("tags"), "too_long", "1048576"),
        ("100,000 columns", format!(r#"{{"channel": "a"{wide}}}"#), Value::Null, "", ""),
        (
            "3,000 map keys",
            format!(r#"{{"props": {{"k": "v"{many_keys}}}}}"#),
            json!("props"),
            "limit_exceeded",
            "1024",
        ),
        ("nested 10,000 deep", format!(r#"{{"props": {{"a": {deep}}}}}"#), json!("props"), "too_deep", ""),
        ("deep in an unknown column", format!(r#"{{"what": {deep}}}"#), Value::Null, "", ""),
        ("broken JSON", r#"{"added": 1"#.into(), Value::Null, "malformed_json", ""),
        ("no object", "[1, 2]".into(), Value::Null, "", ""),
        ("NaN", r#"{"score": NaN}"#.into(), Value::Null, "malformed_json", ""),
        ("Infinity", r#"{"score": -Infinity}"#.into(), Value::Null, "malformed_json", ""),
        ("a lone surrogate", r#"{"channel": "\ud800"}"#.into(), Value::Null, "invalid_utf8", ""),
        ("two objects in one line", r#"{"added": 1}{"added": 2}"#.into(), Value::Null, "malformed_json", ""),
        ("a raw control character", "{\"channel\": \"a\u{1}b\"}".into(), Value::Null, "malformed_json", ""),
    ];
    for (what, bad, field, code, phrase) in &cases {
        let before = stored(&server);
        let good = "{\"ts\":1700000000,\"channel\":\"good\"}";
        let reply = call(
            &server,
            "POST",
            "/api/v1/ingest/edits",
            &[NDJSON],
            format!("{good}\n{bad}\n{good}\n").as_bytes(),
        );
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
        let json = reply.json();
        assert_eq!((&json["accepted"], &json["rejected"]), (&json!(2), &json!(1)), "{what}: {json}");
        let error = &json["errors"][0];
        assert_eq!(error["index"], 1, "{what}: {json}");
        assert!(code.is_empty() || error["code"] == *code, "{what}: {json}");
        assert!(field.is_null() || error["field"] == *field, "{what}: {json}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(phrase)), "{what}: {json}");
        assert!(reply.text().len() < 4_000, "{what}: {} bytes", reply.text().len());
        check_leaks(what, &reply.text());
        assert_eq!(stored(&server), before + 2, "{what}: the good rows are there");

        let alone = call(&server, "POST", "/api/v1/ingest/edits", &[NDJSON], bad.as_bytes());
        assert_eq!(
            (alone.status, &alone.json()["accepted"], &alone.json()["rejected"]),
            (400, &json!(0), &json!(1)),
            "{what}: all rows invalid"
        );
        assert!(alone.json()["errors"].is_array() && alone.json()["code"].is_string(), "{what}");
        assert_eq!(stored(&server), before + 2, "{what}: nothing of it");
    }
    for unknown in ["ignore", "props"] {
        let path = format!("/api/v1/ingest/edits?unknown={unknown}");
        let body = format!("{{\"channel\": \"a\"{wide}}}\n{{\"ts\":1700000000}}\n");
        let reply = call(&server, "POST", &path, &[NDJSON], body.as_bytes());
        assert_eq!(reply.json()["errors"][0]["code"], "limit_exceeded", "{}", reply.text());
        assert_eq!(reply.json()["accepted"], 1, "{}", reply.text());
    }
    let many: String = (0..50).map(|_| "{\"added\":\"x\"}\n").collect();
    let reply = ingest_ndjson(&server, "edits", &format!("{many}{{\"ts\":1700000000}}\n"));
    assert_eq!(
        (&reply["rejected"], reply["errors"].as_array().map(Vec::len)),
        (&json!(50), Some(20)),
        "the first 20 are listed"
    );

    let rejects = server.get("/api/v1/ingest/rejects");
    assert_eq!(rejects.status, 200, "{}", rejects.text());
    assert!(rejects.text().contains("invalid_type") && rejects.text().len() < 4 << 20, "bounded");
}

/// Bytes that are odd but right: they come back as they were sent.
#[test]
fn odd_text_is_kept_to_the_byte() {
    let server = start();
    let odd = [
        "nul\u{0}byte",
        "\u{feff}bom",
        "\u{202e}rtl",
        "emoji 👩‍👩‍👧",
        "\u{fffd}",
        "tab\tand\nline",
        "\"quotes\" \\ back",
        "' OR 1=1 --",
        "<script>",
        "",
        " ",
    ];
    let body: String = odd
        .iter()
        .map(|text| {
            format!(
                "{}\n",
                json!({"ts": 1_700_000_000, "channel": text, "tags": [text], "props": {*text: text}})
            )
        })
        .collect();
    assert_eq!(ingest_ndjson(&server, "edits", &body)["accepted"], odd.len());
    for text in odd {
        let question = json!({"dataset": "edits", "date_range": "all", "metrics": ["edits"], "dimensions": ["channel"],
                              "filters": [["is", "channel", [text]], ["is", "tags", [text]]]});
        assert_eq!(results(&ask(&server, &question)), vec![(vec![json!(text)], vec![json!(1)])], "{text:?}");
    }
    let pages = server
        .post(
            "/api/v1/rows",
            &json!({"dataset": "edits", "date_range": "all", "columns": ["channel", "props"]}),
        )
        .json();
    for row in pages["rows"].as_array().expect("rows") {
        let text = row["channel"].as_str().expect("text");
        assert_eq!(row["props"][text], text, "{row}");
    }
}

/// Whole bodies that cannot be read: nothing of them is stored.
#[test]
fn an_unreadable_body_is_refused_whole() {
    let server = start();
    let good = b"{\"ts\":1700000000,\"channel\":\"good\"}\n".repeat(40);
    let bomb = gzip(&b" ".repeat(200 << 20));
    let zstd_bomb = zstd::bulk::compress(&vec![b' '; 200 << 20], 1).expect("memory");
    let zipped = gzip(&good);
    let batch = RecordBatch::try_from_iter([
        ("ts", Arc::new(Int64Array::from(vec![1_700_000_000_i64; 3000])) as ArrayRef),
        ("channel", Arc::new(StringArray::from_iter_values((0..3000).map(|n| format!("c{n}")))) as ArrayRef),
    ])
    .expect("equal lengths");
    let parquet = parquet_file(&batch);
    let wrong_type = parquet_file(
        &RecordBatch::try_from_iter([("added", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)])
            .expect("one column"),
    );
    let unknown = parquet_file(
        &RecordBatch::try_from_iter([("modle", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)])
            .expect("one column"),
    );
    let path = "/api/v1/ingest/edits";
    type Case<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, Vec<u8>, u16, &'a str, &'a [&'a str]);
    let cases: Vec<Case> = vec![
        ("empty", path, vec![NDJSON], vec![], 400, "empty_body", &["empty"]),
        ("empty JSON", path, vec![JSON], vec![], 400, "empty_body", &["empty"]),
        ("only blank lines", path, vec![NDJSON], b"\n\n \n".to_vec(), 400, "empty_body", &["empty"]),
        ("empty CSV", path, vec![CSV], vec![], 400, "empty_body", &["empty"]),
        ("empty Parquet", path, vec![PARQUET], vec![], 400, "empty_body", &["empty"]),
        ("no type", path, vec![], good.clone(), 415, "unsupported_media_type", &["application/x-ndjson"]),
        (
            "wrong type",
            path,
            vec![("content-type", "text/xml")],
            good.clone(),
            415,
            "unsupported_media_type",
            &["text/xml"],
        ),
        (
            "wrong encoding",
            path,
            vec![NDJSON, ("content-encoding", "br")],
            good.clone(),
            415,
            "unsupported_encoding",
            &["gzip"],
        ),
        (
            "cut gzip",
            path,
            vec![NDJSON, GZIP],
            zipped[..zipped.len() / 2].to_vec(),
            400,
            "malformed_encoding",
            &["gzip"],
        ),
        (
            "gzip without its end",
            path,
            vec![NDJSON, GZIP],
            zipped[..zipped.len() - 4].to_vec(),
            400,
            "malformed_encoding",
            &["gzip"],
        ),
        ("no gzip", path, vec![NDJSON, GZIP], good.clone(), 400, "malformed_encoding", &["gzip"]),
        (
            "no zstd",
            path,
            vec![NDJSON, ("content-encoding", "zstd")],
            good.clone(),
            400,
            "malformed_encoding",
            &["zstd"],
        ),
        ("gzip bomb", path, vec![NDJSON, GZIP], bomb, 413, "body_too_large", &["16777216"]),
        (
            "zstd bomb",
            path,
            vec![NDJSON, ("content-encoding", "zstd")],
            zstd_bomb,
            413,
            "body_too_large",
            &["16777216"],
        ),
        ("17 MiB", path, vec![NDJSON], b" ".repeat(17 << 20), 413, "body_too_large", &["16777216"]),
        (
            "half a Parquet file",
            path,
            vec![PARQUET],
            parquet[..parquet.len() / 2].to_vec(),
            400,
            "malformed_parquet",
            &["Parquet"],
        ),
        (
            "Parquet's end only",
            path,
            vec![PARQUET],
            parquet[parquet.len() / 2..].to_vec(),
            400,
            "malformed_parquet",
            &["Parquet"],
        ),
        ("no Parquet", path, vec![PARQUET], good.clone(), 400, "malformed_parquet", &["Parquet"]),
        ("Parquet of another type", path, vec![PARQUET], wrong_type, 400, "invalid_type", &["added"]),
        (
            "Parquet with an unknown column",
            path,
            vec![PARQUET],
            unknown,
            400,
            "unknown_column",
            &["did you mean 'model'"],
        ),
        (
            "CSV with an unknown column",
            path,
            vec![CSV],
            b"modle\nx\n".to_vec(),
            400,
            "unknown_column",
            &["did you mean 'model'"],
        ),
        (
            "CSV with a column twice",
            path,
            vec![CSV],
            b"channel,channel\nx,y\n".to_vec(),
            400,
            "duplicate_field",
            &["channel"],
        ),
        (
            "broken JSON list",
            path,
            vec![JSON],
            b"[{\"channel\":\"a\"},{\"channel\":".to_vec(),
            400,
            "malformed_json",
            &["line 1"],
        ),
        (
            "text after the list",
            path,
            vec![JSON],
            b"[{\"channel\":\"a\"}] and".to_vec(),
            400,
            "malformed_json",
            &[],
        ),
        ("a number", path, vec![JSON], b"17".to_vec(), 400, "malformed_json", &[]),
        ("a list nested 100,000 deep", path, vec![JSON], b"[".repeat(100_000), 400, "", &[]),
        (
            "unknown dataset",
            "/api/v1/ingest/editz",
            vec![NDJSON],
            good.clone(),
            404,
            "unknown_dataset",
            &["editz"],
        ),
        (
            "a dataset's name with a path",
            "/api/v1/ingest/..%2F..%2Fetc",
            vec![NDJSON],
            good.clone(),
            404,
            "",
            &[],
        ),
        (
            "bad project",
            "/api/v1/ingest/edits?project=No%20Name",
            vec![NDJSON],
            good.clone(),
            400,
            "invalid_name",
            &[],
        ),
        ("bad X-Project", path, vec![NDJSON, ("x-project", "../up")], good.clone(), 400, "invalid_name", &[]),
        (
            "bad unknown",
            "/api/v1/ingest/edits?unknown=keep",
            vec![NDJSON],
            good.clone(),
            400,
            "invalid_value",
            &["ignore", "props"],
        ),
        (
            "long token",
            path,
            vec![NDJSON, ("idempotency-key", &LONG_TOKEN)],
            good.clone(),
            400,
            "invalid_idempotency_key",
            &["256"],
        ),
    ];
    let bytes_before = resident_bytes(&server);
    for (what, path, headers, body, status, code, phrases) in &cases {
        let reply = call(&server, "POST", path, headers, body);
        let code = if code.is_empty() {
            reply.json()["code"].as_str().unwrap_or_default().to_owned()
        } else {
            (*code).to_owned()
        };
        check_problem(what, &reply, *status, &code, phrases);
        assert_eq!(stored(&server), 0, "{what}: nothing of it is stored");
    }
    for (media, body) in [(JSON, "[]"), (CSV, "ts,channel\n")] {
        let reply = call(&server, "POST", path, &[media], body.as_bytes());
        assert_eq!(
            (reply.status, &reply.json()["accepted"]),
            (200, &json!(0)),
            "no rows are no fault: {}",
            reply.text()
        );
    }
    let grown = resident_bytes(&server).saturating_sub(bytes_before);
    assert!(grown < 200 << 20, "bombs took {grown} bytes");
    assert_eq!(ingest_ndjson(&server, "edits", std::str::from_utf8(&good).expect("UTF-8"))["accepted"], 40);
    let reply = call(&server, "POST", path, &[NDJSON, GZIP], &zipped);
    assert_eq!(reply.json()["accepted"], 40, "{}", reply.text());
    let reply = call(&server, "POST", path, &[PARQUET], &parquet);
    assert_eq!(reply.json()["accepted"], 3000, "{}", reply.text());
}

static LONG_TOKEN: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| "t".repeat(300));

/// The most memory the process has taken so far.
fn resident_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).expect("kB") * 1024
}

/// Rows of CSV and bytes that are no text: the rest is stored.
#[test]
fn csv_and_bytes_that_are_no_text() {
    let server = start();
    let cases: Vec<BodyCase> = vec![
        (
            "a short row",
            CSV,
            b"ts,channel,added\n1700000000,a,1\n1700000000,b\n1700000000,c,3\n",
            2,
            1,
            "ragged_row",
        ),
        (
            "a long row",
            CSV,
            b"ts,channel,added\n1700000000,a,1\n1700000000,b,2,9,9\n1700000000,c,3\n",
            2,
            1,
            "ragged_row",
        ),
        (
            "a broken quote",
            CSV,
            b"ts,channel,added\n1700000000,a,1\n1700000000,\"b\"x,2\n1700000000,c,3\n",
            2,
            1,
            "malformed_csv",
        ),
        (
            "a quote that never ends",
            CSV,
            b"ts,channel,added\n1700000000,a,1\n1700000000,\"b,2\n1700000000,c,3\n",
            2,
            1,
            "malformed_csv",
        ),
        ("no number", CSV, b"ts,channel,added\n1700000000,a,one\n1700000000,b,2\n", 1, 1, "invalid_type"),
        ("NaN", CSV, b"ts,score\n1700000000,NaN\n1700000000,2\n", 1, 1, ""),
        ("inf", CSV, b"ts,score\n1700000000,inf\n1700000000,-Infinity\n1700000000,2\n", 1, 2, ""),
        ("no UTF-8 in CSV", CSV, b"ts,channel\n1700000000,\xff\xfe\n1700000000,b\n", 1, 1, "invalid_utf8"),
        (
            "no UTF-8 in JSON",
            NDJSON,
            b"{\"ts\":1700000000,\"channel\":\"\xc3\x28\"}\n{\"ts\":1700000000,\"channel\":\"b\"}\n",
            1,
            1,
            "invalid_utf8",
        ),
        (
            "an overlong encoding",
            NDJSON,
            b"{\"ts\":1700000000,\"channel\":\"\xc0\xaf\"}\n{\"ts\":1700000000,\"channel\":\"b\"}\n",
            1,
            1,
            "invalid_utf8",
        ),
        ("NUL bytes between rows", NDJSON, b"{\"ts\":1700000000}\n\0\0\0\n{\"ts\":1700000000}\n", 2, 1, ""),
        (
            "bad rows in a list",
            JSON,
            b"[{\"ts\":1700000000},{\"ts\":1700000000,\"added\":\"x\"},7,null,{\"ts\":1700000000}]",
            2,
            3,
            "invalid_type",
        ),
    ];
    for (what, media, body, accepted, rejected, code) in cases {
        let before = stored(&server);
        let reply = call(&server, "POST", "/api/v1/ingest/edits", &[media], body);
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
        let json = reply.json();
        assert_eq!(
            (json["accepted"].as_u64(), json["rejected"].as_u64()),
            (Some(accepted), Some(rejected)),
            "{what}: {json}"
        );
        assert!(code.is_empty() || json["errors"][0]["code"] == code, "{what}: {json}");
        check_leaks(what, &reply.text());
        assert_eq!(stored(&server) - before, accepted as i64, "{what}");
    }
    let batch = RecordBatch::try_from_iter([
        ("ts", Arc::new(Int64Array::from(vec![1_700_000_000, 9_000_000_000, 1_700_000_000])) as ArrayRef),
        ("channel", Arc::new(StringArray::from(vec!["a", "ahead", "c"])) as ArrayRef),
    ])
    .expect("equal lengths");
    let reply = call(&server, "POST", "/api/v1/ingest/edits", &[PARQUET], &parquet_file(&batch));
    assert_eq!((reply.status, &reply.json()["accepted"]), (200, &json!(2)), "{}", reply.text());
    assert_eq!(
        (&reply.json()["errors"][0]["index"], &reply.json()["errors"][0]["code"]),
        (&json!(1), &json!("time_in_future"))
    );
}

/// A question with members replaced.
fn asked(members: Value) -> Value {
    let mut question = json!({"dataset": "edits", "date_range": "all", "metrics": ["edits"]});
    for (name, value) in members.as_object().expect("an object") {
        question[name] = value.clone();
    }
    question
}

#[test]
fn a_bad_question_is_told_what_is_wrong() {
    let server = start();
    ingest_ndjson(
        &server,
        "edits",
        "{\"ts\":1700000000,\"channel\":\"a\",\"added\":1}\n{\"ts\":1700000000,\"channel\":\"b\"}\n",
    );
    let many: Vec<Value> = (0..10_000).map(|n| json!(["is", "channel", [format!("c{n}")]])).collect();
    let values: Vec<String> = (0..10_001).map(|n| format!("c{n}")).collect();
    let deep = (0..50).fold(json!(["is", "channel", ["a"]]), |inner, _| json!(["not", inner]));
    let metrics: Vec<Value> = (0..101).map(|n| json!({"agg": "count", "as": format!("m{n}")})).collect();
    let cases: Vec<(&str, Value, u16, &str, &[&str])> = vec![
        ("unknown dataset", asked(json!({"dataset": "editz"})), 400, "unknown_dataset", &["editz", "edits"]),
        ("no dataset", json!({"metrics": ["edits"]}), 400, "missing_field", &["dataset"]),
        ("unknown member", asked(json!({"metricz": []})), 400, "unknown_field", &["metricz", "metrics"]),
        (
            "unknown metric",
            asked(json!({"metrics": ["edit"]})),
            400,
            "unknown_metric",
            &["did you mean 'edits'"],
        ),
        ("no metrics", asked(json!({"metrics": []})), 400, "", &["metrics"]),
        (
            "unknown aggregate",
            asked(json!({"metrics": [{"agg": "summ", "column": "added"}]})),
            400,
            "",
            &["summ"],
        ),
        (
            "unknown metric column",
            asked(json!({"metrics": [{"agg": "sum", "column": "aded"}]})),
            400,
            "unknown_column",
            &["did you mean 'added'"],
        ),
        (
            "sum of text",
            asked(json!({"metrics": [{"agg": "sum", "column": "channel"}]})),
            400,
            "",
            &["channel"],
        ),
        ("p101", asked(json!({"metrics": [{"agg": "p101", "column": "added"}]})), 400, "", &["p101"]),
        ("101 metrics", asked(json!({"metrics": metrics})), 400, "limit_exceeded", &["100"]),
        (
            "two metrics of one name",
            asked(json!({"metrics": ["edits", "edits"]})),
            400,
            "duplicate_name",
            &["edits"],
        ),
        ("unknown dimension", asked(json!({"dimensions": ["chanel"]})), 400, "", &["did you mean 'channel'"]),
        ("unknown unit", asked(json!({"dimensions": ["time:fortnight"]})), 400, "", &["fortnight"]),
        (
            "two time dimensions",
            asked(json!({"dimensions": ["time:day", "time:hour"]})),
            400,
            "invalid_dimension",
            &[],
        ),
        (
            "nine dimensions",
            asked(
                json!({"dimensions": ["props.a", "props.b", "props.c", "props.d", "props.e", "props.f", "props.g", "props.h", "props.i"]}),
            ),
            400,
            "limit_exceeded",
            &["8"],
        ),
        (
            "a map as dimension",
            asked(json!({"dimensions": ["props"]})),
            400,
            "invalid_dimension",
            &["props."],
        ),
        (
            "unknown zone",
            asked(json!({"timezone": "Europe/Berlyn"})),
            400,
            "unknown_timezone",
            &["Europe/Berlyn"],
        ),
        (
            "from after to",
            asked(json!({"date_range": ["2024-02-01T00:00:00Z", "2024-01-01T00:00:00Z"]})),
            400,
            "invalid_date_range",
            &[],
        ),
        (
            "empty range",
            asked(json!({"date_range": ["2024-02-01T00:00:00Z", "2024-02-01T00:00:00Z"]})),
            400,
            "invalid_date_range",
            &[],
        ),
        (
            "unknown word",
            asked(json!({"date_range": "fortnight"})),
            400,
            "invalid_date_range",
            &["fortnight"],
        ),
        ("bad date", asked(json!({"date_range": ["2024-02-30", "2024-03-01"]})), 400, "", &["2024-02-30"]),
        ("a range of one", asked(json!({"date_range": ["2024-02-01"]})), 400, "invalid_date_range", &[]),
        (
            "too many buckets",
            asked(
                json!({"date_range": ["1970-01-01", "2020-01-01"], "dimensions": ["time:minute"], "include": {"fill": true}}),
            ),
            400,
            "limit_exceeded",
            &[],
        ),
        (
            "unknown filter column",
            asked(json!({"filters": [["is", "chanel", ["a"]]]})),
            400,
            "unknown_column",
            &["did you mean 'channel'"],
        ),
        (
            "unknown operator",
            asked(json!({"filters": [["iz", "channel", ["a"]]]})),
            400,
            "invalid_filter",
            &["iz"],
        ),
        ("filter without values", asked(json!({"filters": [["is", "channel"]]})), 400, "invalid_filter", &[]),
        ("filter that is no list", asked(json!({"filters": {"channel": "a"}})), 400, "", &["filters"]),
        ("text beside an int", asked(json!({"filters": [["gt", "added", "x"]]})), 400, "", &["x"]),
        ("10,000 filters", asked(json!({"filters": many})), 400, "limit_exceeded", &["1000"]),
        (
            "10,001 values",
            asked(json!({"filters": [["is", "channel", values]]})),
            400,
            "limit_exceeded",
            &["10000"],
        ),
        ("50 levels", asked(json!({"filters": [deep]})), 400, "limit_exceeded", &["32"]),
        (
            "regex bomb",
            asked(json!({"filters": [["matches", "channel", ["(a{1000}){1000}"]]]})),
            400,
            "",
            &[],
        ),
        (
            "nested repeats",
            asked(json!({"filters": [["matches", "channel", ["((((a{100}){100}){100}){100})"]]]})),
            400,
            "",
            &[],
        ),
        (
            "broken regex",
            asked(json!({"filters": [["matches", "channel", ["a("]]]})),
            400,
            "invalid_regex",
            &["a("],
        ),
        (
            "back-reference",
            asked(json!({"filters": [["matches", "channel", ["(a)\\1"]]]})),
            400,
            "invalid_regex",
            &[],
        ),
        (
            "having of another metric",
            asked(json!({"having": [["gt", "cost", 1]]})),
            400,
            "unknown_metric",
            &["cost"],
        ),
        (
            "order by another metric",
            asked(json!({"order_by": [["cost", "desc"]]})),
            400,
            "invalid_order",
            &["cost"],
        ),
        ("unknown direction", asked(json!({"order_by": [["edits", "down"]]})), 400, "", &["down"]),
        (
            "huge limit",
            asked(json!({"pagination": {"limit": 10_001}})),
            400,
            "limit_exceeded",
            &["10000", "10001"],
        ),
        ("limit 0", asked(json!({"pagination": {"limit": 0}})), 400, "", &["limit"]),
        ("negative limit", asked(json!({"pagination": {"limit": -1}})), 400, "", &["limit"]),
        ("negative offset", asked(json!({"pagination": {"offset": -1}})), 400, "", &["offset"]),
        ("offset past 64 bits", asked(json!({"pagination": {"offset": 1e30}})), 400, "", &["offset"]),
        ("bad cursor", asked(json!({"pagination": {"cursor": "AAAA"}})), 400, "invalid_cursor", &[]),
        ("empty cursor", asked(json!({"pagination": {"cursor": ""}})), 400, "invalid_cursor", &[]),
        ("unknown format", asked(json!({"format": "xml"})), 400, "", &["xml"]),
        ("unknown numbers", asked(json!({"numbers": "roman"})), 400, "", &["roman"]),
        ("bad version", asked(json!({"min_version": "yesterday"})), 400, "invalid_version", &[]),
        ("bad project", asked(json!({"project": "No Name"})), 400, "", &["No Name"]),
        (
            "max_points 1",
            asked(json!({"dimensions": ["time:day"], "max_points": 1})),
            400,
            "",
            &["max_points"],
        ),
        ("bad compare", asked(json!({"compare": "last_week"})), 400, "", &["last_week"]),
        ("a list", json!([]), 400, "", &[]),
        ("a dimension of bytes", asked(json!({"dimensions": [7]})), 400, "", &["7"]),
    ];
    for (what, question, status, code, phrases) in &cases {
        let reply = server.post("/api/v1/query", question);
        let code = if code.is_empty() {
            reply.json()["code"].as_str().unwrap_or_default().to_owned()
        } else {
            (*code).to_owned()
        };
        check_problem(what, &reply, *status, &code, phrases);
    }
    assert_eq!(stored(&server), 2);

    let linear = asked(
        json!({"filters": [["matches", "channel", ["(a+)+$", "(a|a)*b", "^(([a-z])+.)+[A-Z]([a-z])+$"]]]}),
    );
    assert_eq!(
        server.post("/api/v1/query", &linear).status,
        200,
        "an expression that backtracks elsewhere is harmless"
    );
    let rows = |members: Value| {
        let mut body = json!({"dataset": "edits", "date_range": "all"});
        for (name, value) in members.as_object().expect("an object") {
            body[name] = value.clone();
        }
        server.post("/api/v1/rows", &body)
    };
    for (what, members, code, phrase) in [
        ("limit 1,001", json!({"limit": 1_001}), "limit_exceeded", "1000"),
        ("unknown column", json!({"columns": ["chanel"]}), "unknown_column", "did you mean 'channel'"),
        ("bad cursor", json!({"cursor": "x"}), "invalid_cursor", ""),
        ("bad order", json!({"order": "up"}), "invalid_value", "up"),
        ("bad since", json!({"since": "x"}), "invalid_version", ""),
        ("unknown member", json!({"colums": []}), "unknown_field", "colums"),
        ("negative limit", json!({"limit": -5}), "invalid_value", "-5"),
    ] {
        check_problem(what, &rows(members), 400, code, &[phrase]);
    }
    assert_eq!(rows(json!({})).status, 200);
}

#[test]
fn cursors_belong_to_their_question() {
    let server = start();
    let body: String =
        (0..50).map(|n| format!("{{\"ts\":{},\"channel\":\"c{n}\"}}\n", 1_700_000_000 + n)).collect();
    ingest_ndjson(&server, "edits", &body);
    let first = asked(json!({"dimensions": ["channel"], "pagination": {"limit": 10}}));
    let cursor = ask(&server, &first)["meta"]["next_cursor"].clone();
    assert!(cursor.is_string());
    let mut other = asked(json!({"dimensions": ["added"], "pagination": {"limit": 10, "cursor": cursor}}));
    check_problem(
        "another question",
        &server.post("/api/v1/query", &other),
        400,
        "invalid_cursor",
        &["question"],
    );
    other = first.clone();
    other["pagination"]["cursor"] = cursor.clone();
    other["filters"] = json!([["is_not", "channel", ["c1"]]]);
    check_problem(
        "another filter",
        &server.post("/api/v1/query", &other),
        400,
        "invalid_cursor",
        &["question"],
    );
    let mut tampered = first.clone();
    let mut text = cursor.as_str().expect("text").to_owned().into_bytes();
    let middle = text.len() / 2;
    text[middle] = if text[middle] == b'A' { b'B' } else { b'A' };
    tampered["pagination"]["cursor"] = json!(String::from_utf8(text).expect("text"));
    let reply = server.post("/api/v1/query", &tampered);
    assert!(matches!(reply.status, 400 | 410), "a changed cursor: {}", reply.text());
    let in_rows =
        server.post("/api/v1/rows", &json!({"dataset": "edits", "date_range": "all", "cursor": cursor}));
    check_problem("a query's cursor in /rows", &in_rows, 400, "invalid_cursor", &[]);

    let page =
        server.post("/api/v1/rows", &json!({"dataset": "edits", "date_range": "all", "limit": 5})).json();
    let cursor = page["meta"]["next_cursor"].clone();
    let other = json!({"dataset": "edits", "date_range": "all", "limit": 5, "cursor": cursor, "filters": [["is", "channel", ["c7"]]]});
    check_problem(
        "another filter in /rows",
        &server.post("/api/v1/rows", &other),
        400,
        "invalid_cursor",
        &[],
    );
}

#[test]
fn wrong_doors() {
    let server = start();
    let question = asked(json!({})).to_string();
    let no_key = [("authorization", ""), JSON];
    let bad_key = [("authorization", "Bearer tw_0000000000000000"), JSON];
    let basic = [("authorization", "Basic YTpi"), JSON];
    let q = percent_encoded("{\"dataset\":");
    let nested = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let bad_q = format!("/api/v1/query?q={q}");
    let cases: Vec<RouteCase> = vec![
        ("unknown route", "GET", "/api/v1/nothing", &[], "", 404, "not_found"),
        ("unknown root", "GET", "/nothing/../etc/passwd", &[], "", 404, "not_found"),
        ("wrong method", "DELETE", "/api/v1/query", &[], "", 405, "method_not_allowed"),
        ("GET on ingest", "GET", "/api/v1/ingest/edits", &[], "", 405, "method_not_allowed"),
        ("PATCH on a dataset", "PATCH", "/api/v1/datasets/edits", &[JSON], "{}", 405, "method_not_allowed"),
        ("no key", "POST", "/api/v1/query", &no_key, &question, 401, "missing_credentials"),
        ("an unknown key", "POST", "/api/v1/query", &bad_key, &question, 401, "invalid_credentials"),
        ("another scheme", "POST", "/api/v1/query", &basic, &question, 401, "invalid_credentials"),
        ("no key on ingest", "POST", "/api/v1/ingest/edits", &no_key, "{}", 401, "missing_credentials"),
        ("no key on keys", "GET", "/api/v1/keys", &no_key, "", 401, "missing_credentials"),
        ("no key on datasets", "GET", "/api/v1/datasets", &no_key, "", 401, "missing_credentials"),
        ("malformed JSON", "POST", "/api/v1/query", &[JSON], "{\"dataset\": ", 400, "invalid_json"),
        ("empty question", "POST", "/api/v1/query", &[JSON], "", 400, "empty_body"),
        (
            "wrong type",
            "POST",
            "/api/v1/query",
            &[("content-type", "text/plain")],
            &question,
            415,
            "unsupported_media_type",
        ),
        ("200 levels", "POST", "/api/v1/query", &[JSON], &nested, 400, "invalid_json"),
        ("malformed q", "GET", &bad_q, &[], "", 400, "invalid_json"),
        (
            "unknown parameter",
            "GET",
            "/api/v1/query?dataset=edits&metrics=edits&metricz=a",
            &[],
            "",
            400,
            "unknown_field",
        ),
        ("unknown dataset", "GET", "/api/v1/datasets/editz", &[], "", 404, "unknown_dataset"),
        ("dropping an unknown dataset", "DELETE", "/api/v1/datasets/editz", &[], "", 404, "unknown_dataset"),
        ("an unknown key id", "DELETE", "/api/v1/keys/nothing", &[], "", 404, "unknown_key"),
        ("an unknown running query", "DELETE", "/api/v1/queries/nothing", &[], "", 404, "unknown_query"),
        ("a batch without queries", "POST", "/api/v1/query/batch", &[JSON], "{}", 400, "missing_field"),
        ("a batch of 51", "POST", "/api/v1/query/batch", &[JSON], &BATCH_OF_51, 400, "limit_exceeded"),
        (
            "a key without scopes",
            "POST",
            "/api/v1/keys",
            &[JSON],
            "{\"name\":\"a\",\"project\":null,\"scopes\":[]}",
            400,
            "",
        ),
        (
            "a key with an unknown scope",
            "POST",
            "/api/v1/keys",
            &[JSON],
            "{\"name\":\"a\",\"project\":null,\"scopes\":[\"root\"]}",
            400,
            "",
        ),
        (
            "a dataset's bad name",
            "PUT",
            "/api/v1/datasets/No%20Name",
            &[JSON],
            "{\"time\":\"ts\",\"columns\":{\"a\":\"int\"}}",
            400,
            "invalid_name",
        ),
        (
            "an unknown column type",
            "PUT",
            "/api/v1/datasets/new",
            &[JSON],
            "{\"time\":\"ts\",\"columns\":{\"a\":\"integer\"}}",
            400,
            "invalid_type",
        ),
        (
            "a type that changes",
            "PUT",
            "/api/v1/datasets/edits",
            &[JSON],
            "{\"time\":\"ts\",\"columns\":{\"added\":\"string\"}}",
            409,
            "schema_conflict",
        ),
        (
            "a metric of an unknown column",
            "PUT",
            "/api/v1/datasets/new",
            &[JSON],
            "{\"time\":\"ts\",\"columns\":{\"aa\":\"int\"},\"metrics\":{\"m\":{\"agg\":\"sum\",\"column\":\"ab\"}}}",
            400,
            "unknown_column",
        ),
        (
            "an unacceptable form",
            "POST",
            "/api/v1/query",
            &[JSON, ("accept", "image/png")],
            &question,
            406,
            "not_acceptable",
        ),
    ];
    for (what, method, path, headers, body, status, code) in cases {
        let reply = call(&server, method, path, headers, body.as_bytes());
        if what == "an unacceptable form" && reply.status == 200 {
            continue;
        }
        let code = if code.is_empty() {
            reply.json()["code"].as_str().unwrap_or_default().to_owned()
        } else {
            code.to_owned()
        };
        check_problem(what, &reply, status, &code, &[]);
    }
    for path in ["/health/live", "/health/ready", "/metrics", "/api/v1/openapi.json"] {
        let reply = call(&server, "GET", path, &[("authorization", "")], b"");
        assert_eq!(reply.status, 200, "{path} needs no credential: {}", reply.text());
        assert!(reply.header("x-request-id").is_some(), "{path}");
    }
    assert_eq!(server.get("/health/ready").json()["status"], "ready");
    let openapi = server.get("/api/v1/openapi.json").json();
    assert!(openapi["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    for path in ["/api/v1/query", "/api/v1/ingest/{dataset}", "/api/v1/rows", "/api/v1/keys"] {
        assert!(openapi["paths"][path].is_object(), "{path} is documented");
    }
}

static BATCH_OF_51: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
    json!({"queries": vec![json!({"dataset": "edits", "metrics": ["edits"]}); 51]}).to_string()
});

/// Requests that are no HTTP, or stop half-way, end their own connection only.
#[test]
fn broken_connections_harm_nobody() {
    use std::io::Read as _;
    let server = start();
    let address = server.url.strip_prefix("http://").expect("a URL");
    let probes: [&[u8]; 6] = [
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/v1/ingest/edits HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"POST /api/v1/ingest/edits HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /api/v1/ingest/edits HTTP/1.1\r\nhost: a\r\ncontent-length: 500\r\n\r\n{\"ts\":17",
        b"GET /%zz%00%ff?project=%ff HTTP/1.1\r\nhost: a\r\n\r\n",
    ];
    for probe in probes {
        let mut stream = std::net::TcpStream::connect(address).expect("the server listens");
        stream.write_all(probe).expect("loopback");
        stream.shutdown(std::net::Shutdown::Write).expect("loopback");
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        check_leaks("a broken request", &String::from_utf8_lossy(&reply));
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(1 << 20));
    let mut stream = std::net::TcpStream::connect(address).expect("the server listens");
    let _ = stream.write_all(long.as_bytes());
    assert_eq!(stored(&server), 0);
    assert_eq!(server.get("/health/ready").status, 200);
}

/// A million groups: the right answer within the memory limit, or a clear refusal; then the server goes on.
#[test]
fn a_dimension_of_a_million_values() {
    let server = Server::start_with(&[("TIDEWATER_QUERY__MEMORY_BYTES_PER_QUERY_MAX", "33554432")]);
    define(
        &server,
        "wide",
        &json!({"time": "ts", "columns": {"user": "string", "n": "int"}, "metrics": {"rows": {"agg": "count"}}}),
    );
    for part in 0..10 {
        let body: String = (0..100_000)
            .map(|n| format!("{{\"ts\":1700000000,\"user\":\"user-{part}-{n}\",\"n\":{n}}}\n"))
            .collect();
        ingest_ndjson(&server, "wide", &body);
    }
    let before = resident_bytes(&server);
    let metrics =
        json!(["rows", {"agg": "uniq", "column": "n", "as": "u"}, {"agg": "p95", "column": "n", "as": "p"}]);
    let heavy = json!({"dataset": "wide", "date_range": "all", "dimensions": ["user"], "metrics": metrics});
    let reply = server.post("/api/v1/query", &heavy);
    match reply.status {
        200 => assert_eq!(results(&reply.json())[0].1[0], 1),
        _ => check_problem("a million groups", &reply, 422, "memory_limit_exceeded", &["memory"]),
    }
    let grown = resident_bytes(&server).saturating_sub(before);
    assert!(grown < 160 << 20, "a question limited to 32 MiB took {grown} bytes");
    let narrow = json!({"dataset": "wide", "date_range": "all", "metrics": ["rows", {"agg": "uniq", "column": "user", "as": "u"}]});
    let answer = ask(&server, &narrow);
    assert_eq!(results(&answer)[0].1[0], 1_000_000);
    let users = results(&answer)[0].1[1].as_f64().expect("a number");
    assert!((users - 1e6).abs() <= 0.033 * 1e6, "{users} users");
    let top = json!({"dataset": "wide", "date_range": "all", "dimensions": ["user"], "metrics": ["rows"], "pagination": {"limit": 3}, "order_by": [["user", "asc"]]});
    let reply = server.post("/api/v1/query", &top);
    match reply.status {
        200 => assert_eq!(results(&reply.json())[0].0, vec![json!("user-0-0")]),
        _ => check_problem("a million small groups", &reply, 422, "memory_limit_exceeded", &["memory"]),
    }
}
