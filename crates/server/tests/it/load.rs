//! A short run of every load test in `tests/load/` on the real server: it shows that the scripts work and that their truth checks hold.
//! Their bounds on latency are stretched, because this server is a debug build on a machine that does other things.
//!
//! Needs k6 (`go install go.k6.io/k6@v1.8.1`), in `PATH`, `~/go/bin` or where `TIDEWATER_K6` says; see `tools`.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::server::{ADMIN_KEY, Server};
use crate::tools::{find, repository, run, succeed};

const SCRIPTS: [&str; 5] = ["queries", "aggregations", "ingest", "mixed", "stress"];
/// Rows of the fixed data: enough for several hours of each day to hold some.
const ROWS: &str = "5000";

#[test]
fn load_tests_pass_notice_wrong_answers_and_regressions() {
    let Some(k6) = find("k6", "TIDEWATER_K6") else { return };
    // Shared answers are part of what the scripts expect; the harness switches them off.
    let settings = [
        ("TIDEWATER_CACHE__TICK_MS", "100"),
        ("TIDEWATER_STORE__FLUSH_INTERVAL_MS", "200"),
        // As tests/load/README.md says.
        ("TIDEWATER_LIMITS__ADMIN_PER_MINUTE", "0"),
        ("TIDEWATER_LIMITS__ADDRESS_PER_MINUTE", "0"),
    ];
    let server = Server::start_with(&settings);
    let results = server.folder().join("results");
    std::fs::create_dir(&results).expect("a folder for results");
    for script in SCRIPTS {
        println!("{}", succeed(&mut load_test(&k6, &server, script, &results)));
    }
    regressions_are_noticed(&results);
    wrong_answers_are_noticed(&k6, &server, &results);
}

fn load_test(k6: &Path, server: &Server, script: &str, results: &Path) -> Command {
    let mut command = Command::new(k6);
    command
        .args(["run", "--quiet", "--no-color"])
        .arg(repository().join("tests/load").join(format!("{script}.js")))
        .env("K6_NO_USAGE_REPORT", "true")
        .env("TIDEWATER_URL", &server.url)
        .env("TIDEWATER_KEY", ADMIN_KEY)
        .env("LOAD_RESULTS", results)
        .env("LOAD_PROFILE", "test")
        .env("LOAD_ROWS", ROWS)
        .env("LOAD_VUS", "4")
        .env("LOAD_DURATION", "3s")
        .env("LOAD_BASELINE", "1s")
        .env("LOAD_BATCH", "50")
        .env("LOAD_ROWS_PER_S", "500")
        .env("LOAD_PATIENCE", "100");
    command
}

/// One row more in the fixed days: totals are no longer what the scripts know, and they must say so.
fn wrong_answers_are_noticed(k6: &Path, server: &Server, results: &Path) {
    let row = json!([{"ts": "2026-01-30T23:59:59Z", "run": "other", "tokens": 1, "cost_usd": "0.1", "model": "elm", "status": "ok"}]);
    server.ingest(&format!("load_{ROWS}"), &row);
    let (output, said) = run(&mut load_test(k6, server, "queries", results));
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("MISSED checks: rate==1"), "{said}");
}

/// The comparison passes equal figures and fails on half the throughput, twice the latency, twice the processor time.
fn regressions_are_noticed(results: &Path) {
    let newest = std::fs::read_dir(results).expect("the results").map(|entry| entry.expect("a file").path());
    let of_queries = |path: &std::path::PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("queries-test-"))
    };
    let path = newest.into_iter().find(of_queries).expect("queries.js wrote its result");
    let result: Value = serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON");
    let history = |ratio: &str, factor: f64| {
        let folder = results.join(format!("{ratio}-{factor}"));
        std::fs::create_dir(&folder).expect("a folder");
        let mut later = result.clone();
        later["finished_at"] = json!("2999-01-01T00:00:00Z");
        let changed =
            later["ratios"][ratio].as_f64().unwrap_or_else(|| panic!("{ratio} in {result}")) * factor;
        later["ratios"][ratio] = json!(changed);
        for (name, content) in [("a.json", &result), ("b.json", &later)] {
            std::fs::write(folder.join(name), content.to_string()).expect("written");
        }
        compare(&folder)
    };
    let (equal, said) = history("requests", 1.0);
    assert!(equal, "{said}");
    for (ratio, factor) in [("requests", 0.5), ("p95_load", 2.0), ("server_cpu", 2.0)] {
        let (passes, said) = history(ratio, factor);
        assert!(!passes && said.contains(&format!("WRONG: {ratio} is ")), "{said}");
    }
}

fn compare(folder: &Path) -> (bool, String) {
    let python = std::env::var("TIDEWATER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = repository().join("tests/load/compare.py");
    let (output, said) = run(Command::new(python).arg(script).arg(folder).arg("--require"));
    (output.status.success(), said)
}
