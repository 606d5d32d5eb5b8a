//! `demo`: what it prints works as printed, and a second start goes on without counting a row twice.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{Running, refused, tidewater};

fn demo(home: &Path) -> Command {
    let mut command = tidewater(home);
    command.args(["demo", "--days", "1", "--listen", "127.0.0.1:0", "--data", "demo"]);
    command
}

/// Address and key out of a printed line `curl -s -H 'Authorization: Bearer KEY' 'URL'`.
fn parts(line: &str) -> (String, String) {
    let quoted: Vec<&str> = line.split('\'').collect();
    (quoted[1].strip_prefix("Authorization: Bearer ").expect("a key").to_owned(), quoted[3].to_owned())
}

fn get(key: &str, url: &str) -> Value {
    let mut reply =
        ureq::get(url).header("authorization", format!("Bearer {key}")).call().expect("an answer");
    serde_json::from_slice(&reply.body_mut().read_to_vec().expect("a body")).expect("JSON")
}

/// All rows of a dataset, and how many different ids they have.
fn rows_and_ids(key: &str, server: &str, dataset: &str, id: &str) -> (u64, u64) {
    let question = json!({"dataset": dataset, "date_range": "all", "exact": true,
        "metrics": [{"agg": "count"}, {"agg": "uniq", "column": id}]});
    let mut reply = ureq::post(format!("{server}/api/v1/query"))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .send(question.to_string())
        .expect("an answer");
    let answer: Value =
        serde_json::from_slice(&reply.body_mut().read_to_vec().expect("a body")).expect("JSON");
    let metrics = &answer["results"][0]["metrics"];
    (metrics[0].as_u64().expect("a count"), metrics[1].as_u64().expect("a count"))
}

#[test]
fn the_printed_lines_work_and_a_second_start_goes_on() {
    let home = tempfile::tempdir().expect("a folder");
    let mut before = [0; 3];
    let mut first_key = None;
    for _ in 0..2 {
        let running = Running::start(demo(home.path()));
        let lines = running.until("New rows keep coming");
        let curls: Vec<&String> = lines.iter().filter(|line| line.starts_with("curl ")).collect();
        assert_eq!(curls.len(), 3, "{lines:#?}");
        for line in &curls {
            let (key, url) = parts(line);
            let answer = get(&key, &url);
            assert!(answer["results"].as_array().is_some_and(|rows| !rows.is_empty()), "{line}: {answer}");
            if let Ok(output) = Command::new("sh").args(["-c", line]).output()
                && output.status.code() != Some(127)
            {
                let same: Value = serde_json::from_slice(&output.stdout).expect("JSON");
                assert_eq!(
                    same["results"].as_array().map(Vec::len),
                    answer["results"].as_array().map(Vec::len)
                );
            }
        }
        let (key, url) = parts(curls[0]);
        assert_eq!(*first_key.get_or_insert_with(|| key.clone()), key, "the key stays");
        let server = url.split("/api").next().expect("an address");
        let datasets = [("events", "event_id"), ("llm", "trace_id"), ("machines", "event_id")];
        for ((dataset, id), before) in datasets.into_iter().zip(&mut before) {
            let (rows, ids) = rows_and_ids(&key, server, dataset, id);
            assert_eq!(rows, ids, "{dataset} holds a row twice");
            assert!(rows > 500 && rows >= *before, "{dataset}: {rows} rows, {before} before");
            *before = rows;
        }
        running.stop();
    }
}

#[test]
fn a_folder_of_other_data_is_left_alone() {
    let home = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(home.path().join("demo")).expect("made");
    std::fs::write(home.path().join("demo/catalog.redb"), "precious").expect("written");
    let said = refused(demo(home.path()));
    assert!(said.contains("the demo did not make"), "{said}");
    assert_eq!(
        std::fs::read_to_string(home.path().join("demo/catalog.redb")).expect("still there"),
        "precious"
    );
}
