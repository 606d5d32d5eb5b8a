//! What the machine does to a server: damaged files, a full or unwritable disk, kills in the middle of something.
//!
//! Each ends in a readable error, never a panic, and what is whole stays readable. Random kills under load stand in `crash`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::Server;
use crate::talk::{Sender, ask, define, ingest_ndjson, reply_to, results};

/// Longest time a server that cannot start may take to say so.
const REFUSAL: Duration = Duration::from_secs(30);

fn definition() -> Value {
    json!({"time": "ts", "sort": ["channel"], "columns": {"channel": "string", "n": "int"}, "metrics": {"edits": {"agg": "count"}, "sum": {"agg": "sum", "column": "n"}}})
}

fn rows(day: u64, count: u64) -> String {
    (0..count)
        .map(|n| {
            format!(
                "{{\"ts\":{},\"channel\":\"channel {}\",\"n\":{n}}}\n",
                1_700_000_000 + day * 86_400 + n,
                n % 97
            )
        })
        .collect()
}

fn count(server: &Server, dataset: &str) -> Value {
    results(&ask(server, &json!({"dataset": dataset, "date_range": "all", "metrics": ["edits"]})))[0].1[0]
        .clone()
}

/// Runs `tidewater` on a folder until it ends by itself.
fn run(arguments: &[&str], folder: &Path) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidewater"))
        .args(arguments)
        .current_dir(folder)
        .env("TIDEWATER_STORE__DISK_FREE_MIN_BYTES", "1048576")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let since = Instant::now();
    while child.try_wait().expect("it can be waited for").is_none() {
        if since.elapsed() > REFUSAL {
            child.kill().expect("it can be killed");
            panic!("tidewater {arguments:?} goes on: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().expect("its output")
}

/// A start that is refused, in words that hold each phrase.
fn check_refused(what: &str, folder: &Path, data: &Path, phrases: &[&str]) {
    let output =
        run(&["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().expect("a plain path")], folder);
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{what} starts: {text}");
    assert_ne!(output.status.code(), Some(101), "{what} panics: {text}");
    assert!(!text.contains("panicked"), "{what} panics: {text}");
    for phrase in phrases {
        assert!(text.contains(phrase), "{what}: '{phrase}' is not in: {text}");
    }
}

/// Files under a folder whose names end so.
fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, suffix));
        } else if path.to_string_lossy().ends_with(suffix) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Turns bits of `count` bytes from an offset on.
fn flip(path: &Path, at: usize, count: usize) {
    let mut bytes = std::fs::read(path).expect("a file");
    let end = (at + count).min(bytes.len());
    bytes[at.min(end)..end].iter_mut().for_each(|byte| *byte ^= 0x5a);
    std::fs::write(path, bytes).expect("writable");
}

/// Index just past the last byte of a log that is not zero: logs are preallocated.
fn used(path: &Path) -> usize {
    std::fs::read(path).expect("a file").iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
}

#[test]
fn a_folder_is_opened_by_one_process_and_must_be_one() {
    let server = Server::start();
    define(&server, "edits", &definition());
    ingest_ndjson(&server, "edits", &rows(0, 10));
    check_refused("a second process", server.folder(), &server.data(), &["another process"]);
    ingest_ndjson(&server, "edits", &rows(1, 10));
    assert_eq!(count(&server, "edits"), 20, "the first goes on");

    let file = server.folder().join("a-file");
    std::fs::write(&file, "text").expect("writable");
    check_refused("a file as folder", server.folder(), &file, &["a-file"]);
    check_refused(
        "a folder that cannot be made",
        server.folder(),
        Path::new("/proc/tidewater-data"),
        &["/proc/tidewater-data"],
    );
    check_refused("a read-only folder", server.folder(), Path::new("/sys/kernel"), &["/sys/kernel"]);
}

#[test]
fn a_damaged_segment_fails_its_own_questions_only() {
    let server = Server::start();
    for dataset in ["edits", "other"] {
        define(&server, dataset, &definition());
        for day in [0, 5] {
            ingest_ndjson(&server, dataset, &rows(day, 3_000));
        }
    }
    // A clean stop flushes; from then on the rows lie in one segment per dataset and day.
    let mut server = server.restart();
    assert_eq!((count(&server, "edits"), count(&server, "other")), (json!(6_000), json!(6_000)));
    let segments: Vec<PathBuf> = files(&server.data(), ".parquet")
        .into_iter()
        .filter(|path| {
            path.to_string_lossy().contains("2023-11-14") || path.to_string_lossy().contains("20231114")
        })
        .collect();
    let segments = if segments.is_empty() { files(&server.data(), ".parquet") } else { segments };
    assert!(!segments.is_empty(), "{:?}", files(&server.data(), ""));
    let victim = &segments[0];
    let whole = std::fs::read(victim).expect("a segment");
    let size = whole.len();
    let days = |server: &Server| -> Vec<(u16, Value)> {
        ["edits", "other"].iter().flat_map(|dataset| {
            [["2023-11-14", "2023-11-15"], ["2023-11-19", "2023-11-20"]].map(|range| {
                let reply = reply_to(server, &json!({"dataset": dataset, "date_range": range, "metrics": ["edits", "sum"], "dimensions": ["channel"], "include": {"totals": true}}));
                (reply.status, reply.json())
            })
        }).collect()
    };
    let good = days(&server);
    assert!(good.iter().all(|(status, _)| *status == 200), "{good:?}");
    for (what, at, length) in [
        ("data", 4, size / 3),
        ("footer", size - 60, 40),
        ("length", size - 8, 4),
        ("magic", size - 4, 4),
        ("everything", 0, size),
    ] {
        flip(victim, at, length);
        // A new process has nothing of the file in memory.
        server = server.kill_and_restart();
        let now = days(&server);
        let same = now.iter().zip(&good).filter(|(now, good)| now.1["totals"] == good.1["totals"]).count();
        assert!(same >= 3, "{what}: the other three answers are as before: {now:?}");
        for (status, body) in &now {
            assert!(*status == 200 || *status == 500 || *status == 503, "{what}: {status} {body}");
            assert!(!body.to_string().contains(".parquet"), "{what} leaks a path: {body}");
        }
        assert!(!server.log().contains("panicked"), "{what}: {}", server.log());
        ingest_ndjson(&server, "edits", &rows(9, 1));
        assert_eq!(server.get("/health/live").status, 200);
        let verify = server.get("/api/v1/verify");
        if verify.status == 200 {
            assert!(
                verify.text().contains("damage")
                    || verify.text().contains("checksum")
                    || verify.text().contains("false"),
                "{what}: verify finds it: {}",
                verify.text()
            );
        }
        std::fs::write(victim, &whole).expect("writable");
    }
    let server = server.kill_and_restart();
    assert_eq!(
        days(&server).iter().map(|(status, _)| *status).collect::<Vec<_>>(),
        [200; 4],
        "mended files are read again"
    );
}

#[test]
fn a_damaged_log_is_told_apart_from_a_torn_one() {
    let settings =
        [("TIDEWATER_STORE__FLUSH_INTERVAL_MS", "3600000"), ("TIDEWATER_STORE__LOG_FILE_BYTES", "1048576")];
    let server = Server::start_with(&settings);
    define(&server, "edits", &definition());
    let server = server.kill_and_restart();
    for part in 0..40 {
        ingest_ndjson(&server, "edits", &rows(part % 3, 50));
    }
    assert_eq!(count(&server, "edits"), 2_000);
    server.signal("KILL");
    std::thread::sleep(Duration::from_millis(200));
    let logs = files(&server.data(), ".wal");
    let log = logs.iter().max_by_key(|path| used(path)).expect("a log").clone();
    let whole = std::fs::read(&log).expect("a log");
    let end = used(&log);
    assert!(end > 10_000, "{end} bytes of log");
    let name = log.file_name().expect("a name").to_string_lossy().into_owned();

    flip(&log, end / 2, 3);
    check_refused("a damaged log", server.folder(), &server.data(), &[&name]);
    flip(&log, end / 2, 3);
    assert_eq!(std::fs::read(&log).expect("a log"), whole, "a refused start changed nothing");

    // A torn tail: the last record is cut, or is half garbage. Its rows were perhaps never acknowledged; all before it were.
    std::fs::write(&log, &whole[..end - 20]).expect("writable");
    let server = server.kill_and_restart();
    let left = count(&server, "edits");
    assert_eq!(left, 1_950, "only the last record is gone");
    ingest_ndjson(&server, "edits", &rows(0, 50));
    let server = server.kill_and_restart();
    assert_eq!(count(&server, "edits"), 2_000, "and the log goes on after the cut");
    assert!(!server.log().contains("panicked"));
}

#[test]
fn a_damaged_catalog_is_a_readable_refusal() {
    let server = Server::start();
    define(&server, "edits", &definition());
    ingest_ndjson(&server, "edits", &rows(0, 100));
    let server = server.restart();
    server.signal("KILL");
    std::thread::sleep(Duration::from_millis(200));
    let catalog = server.data().join("catalog.redb");
    let whole = std::fs::read(&catalog).expect("a catalog");
    std::fs::write(&catalog, &whole[..whole.len() / 3]).expect("writable");
    check_refused("half a catalog", server.folder(), &server.data(), &["catalog"]);
    std::fs::write(&catalog, vec![0x5a; whole.len()]).expect("writable");
    check_refused("a catalog of garbage", server.folder(), &server.data(), &["catalog"]);
    std::fs::write(&catalog, &whole).expect("writable");
    let server = server.kill_and_restart();
    assert_eq!(count(&server, "edits"), 100);
}

#[test]
fn a_full_disk_refuses_rows_and_nothing_else() {
    let server = Server::start();
    define(&server, "edits", &definition());
    ingest_ndjson(&server, "edits", &rows(0, 100));
    let full = Server::start_with(&[("TIDEWATER_STORE__DISK_FREE_MIN_BYTES", "1152921504606846976")]);
    drop(server);
    let server = full;
    define(&server, "edits", &definition());
    let refused = server
        .request("POST", "/api/v1/ingest/edits")
        .body("application/x-ndjson", rows(0, 5).as_bytes())
        .send();
    let problem = refused.problem(507, "disk_full");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("disk")), "{problem}");
    assert_eq!(count(&server, "edits"), 0, "questions go on");
    let deleted = server.post("/api/v1/rows/delete", &json!({"dataset": "edits", "date_range": "all"}));
    assert!(deleted.status < 300, "deletes go on: {}", deleted.text());
    assert_eq!(server.get("/health/live").status, 200);
    let ready = server.get("/health/ready");
    assert!(matches!(ready.status, 200 | 503), "{}", ready.text());
}

#[test]
fn a_kill_during_a_backup_or_a_delete_harms_nothing() {
    let mut server = Server::start_with(&[("TIDEWATER_STORE__MEMTABLE_BYTES_MAX", "200000")]);
    define(&server, "edits", &definition());
    for day in 0..6 {
        ingest_ndjson(&server, "edits", &rows(day, 4_000));
    }
    let delete =
        json!({"dataset": "edits", "date_range": "all", "filters": [["is", "channel", ["channel 5"]]]})
            .to_string();
    for (path, body, wait_ms) in [
        ("/api/v1/backup", "{}", 3),
        ("/api/v1/backup", "{}", 15),
        ("/api/v1/rows/delete", delete.as_str(), 2),
    ] {
        let (sender, path, body) = (Sender::to(&server), path.to_owned(), body.to_owned());
        let thread = std::thread::spawn(move || {
            sender.post(&path, &[("content-type", "application/json")], body.as_bytes())
        });
        std::thread::sleep(Duration::from_millis(wait_ms));
        server = server.kill_and_restart();
        let reply = thread.join().expect("no panic");
        let left = count(&server, "edits").as_i64().expect("a count");
        let deleted: i64 = 6 * (0..4_000).filter(|n| n % 97 == 5).count() as i64;
        if body_is_delete(&reply) {
            assert_eq!(left, 24_000 - deleted, "an acknowledged delete holds");
        } else {
            assert!(left == 24_000 || left == 24_000 - deleted, "{left}: a delete is whole or not at all");
        }
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
    let verified = server.get("/api/v1/verify");
    assert_eq!(verified.status, 200, "{}", verified.text());
}

fn body_is_delete(reply: &Option<(u16, Vec<u8>)>) -> bool {
    reply
        .as_ref()
        .is_some_and(|(status, body)| *status < 300 && String::from_utf8_lossy(body).contains("\"delete"))
}
