//! Start, stop, restart, configuration.

use std::process::Command;

use serde_json::json;

use crate::server::{Server, edit_rows, edits, server_with_edits};

#[test]
fn sigterm_ends_with_0_and_leaves_nothing_to_replay() {
    let server = server_with_edits(20);
    let server = server.restart();
    let question = json!({"dataset": "edits", "metrics": ["edits"], "date_range": "all"});
    assert_eq!(server.query(&question)["results"][0]["metrics"][0], 20);
    assert_eq!(server.metric("tidewater_memtable_rows"), Some(0.0), "the stop flushed");
    assert_eq!(server.metric("tidewater_replay_rows"), Some(0.0));
    assert!(server.stop("INT").success());
}

#[test]
fn sigkill_loses_nothing_that_was_acknowledged() {
    let server = server_with_edits(20).kill_and_restart();
    let question = json!({"dataset": "edits", "metrics": ["edits"], "date_range": "all"});
    assert_eq!(server.query(&question)["results"][0]["metrics"][0], 20);
    assert_eq!(server.metric("tidewater_replay_rows"), Some(20.0));
}

#[test]
fn the_first_start_prints_a_random_key_once() {
    let server = Server::start_with(&[("TIDEWATER_ADMIN_KEY", "")]);
    let key = server
        .printed
        .iter()
        .find_map(|line| line.strip_prefix("admin key, shown only now: "))
        .expect("a key")
        .to_owned();
    let ask = |server: &Server| server.request("GET", "/api/v1/datasets").key(Some(&key)).send().status;
    assert_eq!(ask(&server), 200);
    let server = server.restart();
    assert!(server.printed.iter().all(|line| !line.contains("admin key")), "{:?}", server.printed);
    assert_eq!(ask(&server), 200);
}

#[test]
fn datasets_of_the_configuration_are_there_at_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("tidewater.toml");
    let text = "[datasets.clicks]\ntime = \"at\"\n[datasets.clicks.columns]\npage = \"string\"\n\
        [datasets.clicks.metrics.clicks]\nagg = \"count\"\n";
    std::fs::write(&file, text).expect("written");
    let output = serve(folder.path(), &["--print-config"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("[datasets.clicks"), "{output:?}");
}

fn serve(folder: &std::path::Path, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewater"));
    command.arg("serve").args(arguments).current_dir(folder).env("TIDEWATER_SERVER__LISTEN", "127.0.0.1:0");
    command.output().expect("the binary runs")
}

#[test]
fn configuration_is_printed_and_checked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let printed = serve(folder.path(), &["--print-config", "--data", "elsewhere"]);
    let text = String::from_utf8(printed.stdout).expect("it is text");
    assert!(text.contains("data_dir = \"elsewhere\""), "{text}");
    std::fs::write(folder.path().join("tidewater.toml"), "[store]\nmemtable_byte_max = 1\n")
        .expect("written");
    let refused = serve(folder.path(), &[]);
    assert!(!refused.status.success());
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains("did you mean 'store.memtable_bytes_max'"), "{error}");
}

#[test]
fn a_second_server_on_the_same_folder_is_refused() {
    let server = Server::start();
    let data = server.data();
    let second = serve(server.folder(), &["--data", data.to_str().expect("a plain path")]);
    assert!(!second.status.success());
    let error = String::from_utf8_lossy(&second.stderr);
    assert!(error.contains("another process"), "{error}");
    server.get("/health/ready").expect(200);
}

#[test]
fn small_flushes_change_no_answer() {
    let server = Server::start_with(&[("TIDEWATER_STORE__FLUSH_INTERVAL_MS", "50")]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    let question = json!({"dataset": "edits", "metrics": ["edits", "added"], "date_range": "all"});
    server.ingest("edits", &edit_rows(100));
    let before = server.query(&question)["results"].clone();
    server.wait_until("the memtable is flushed", || server.metric("tidewater_memtable_rows") == Some(0.0));
    assert!(server.metric("tidewater_segments").is_some_and(|segments| segments >= 1.0));
    assert_eq!(server.query(&question)["results"], before);
}
