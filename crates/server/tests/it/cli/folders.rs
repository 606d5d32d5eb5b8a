//! `verify`, `backup`, `restore`.

use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Running, printed, refused, tidewater, verb};
use crate::server::server_with_edits;

fn on_folder(home: &Path, arguments: &[&str]) -> std::process::Command {
    let mut command = tidewater(home);
    command.args(arguments);
    command
}

/// How many edits a server on that folder finds.
fn edits_in(home: &Path, data: &str) -> u64 {
    let mut command = on_folder(home, &["serve", "--listen", "127.0.0.1:0", "--data", data]);
    command.env("TIDEWATER_ADMIN_KEY", "test-admin-key");
    let running = Running::start(command);
    let lines = running.until("tidewater listens on ");
    let url = lines.last().and_then(|line| line.strip_prefix("tidewater listens on ")).expect("an address");
    let ask = [
        "query",
        "-d",
        "edits",
        "-m",
        "edits",
        "-r",
        "all",
        "--csv",
        "--key",
        "test-admin-key",
        "--url",
        url,
    ];
    let answer = printed(on_folder(home, &ask));
    running.stop();
    answer.lines().nth(1).expect("a row").trim().parse().expect("a number")
}

#[test]
fn a_backup_of_a_running_server_becomes_a_data_folder() {
    let server = server_with_edits(30);
    let home = server.folder().to_owned();
    let said = refused(on_folder(&home, &["verify", "--data", "data"]));
    assert!(said.contains("another process"), "{said}");
    printed(verb(&server, &["backup", "--to", "backup-today"]));
    server.ingest("edits", &json!([{"ts": 1_767_225_600, "event_id": "later"}]));
    assert!(printed(on_folder(&home, &["verify", "--data", "backup-today"])).contains("is whole"));
    printed(on_folder(&home, &["restore", "backup-today", "--data", "restored"]));
    let again = refused(on_folder(&home, &["restore", "backup-today", "--data", "restored"]));
    assert!(again.contains("not empty"), "{again}");
    let taken = refused(verb(&server, &["backup", "--to", "restored"]));
    assert!(taken.contains("not empty"), "{taken}");
    assert_eq!(edits_in(&home, "restored"), 30);
    let table = printed(on_folder(&home, &["verify", "--data", "restored"]));
    assert!(table.contains("rows in segments") && table.contains("is whole"), "{table}");
}

#[test]
fn a_closed_folder_is_copied_whole() {
    let home = tempfile::tempdir().expect("a folder");
    std::fs::write(home.path().join("edits.csv"), "ts,added\n2026-01-01,1\n2026-01-02,2\n").expect("written");
    printed(on_folder(home.path(), &["import", "edits.csv", "-d", "edits", "--create", "--data", "data"]));
    printed(on_folder(home.path(), &["backup", "--data", "data", "--to", "copy"]));
    assert!(printed(on_folder(home.path(), &["verify", "--data", "copy"])).contains("is whole"));
}

#[test]
fn damage_is_found() {
    let home = tempfile::tempdir().expect("a folder");
    let rows: String = (0..2_000).map(|n| format!("2026-01-01T00:00:00Z,{n}\n")).collect();
    std::fs::write(home.path().join("edits.csv"), format!("ts,added\n{rows}")).expect("written");
    printed(on_folder(home.path(), &["import", "edits.csv", "-d", "edits", "--create", "--data", "data"]));
    let segment = first_segment(&home.path().join("data")).expect("a segment");
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(&segment).expect("opened");
    let mut byte = [0];
    file.seek(std::io::SeekFrom::Start(100)).expect("sought");
    file.read_exact(&mut byte).expect("read");
    file.seek(std::io::SeekFrom::Start(100)).expect("sought");
    file.write_all(&[byte[0] ^ 1]).expect("written");
    let said = refused(on_folder(home.path(), &["verify", "--data", "data"]));
    assert!(said.contains("damaged: ") && said.contains("is damaged"), "{said}");
}

fn first_segment(dir: &Path) -> Option<PathBuf> {
    for entry in std::fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "parquet") {
            return Some(path);
        }
        if let Some(found) = first_segment(&path) {
            return Some(found);
        }
    }
    None
}
