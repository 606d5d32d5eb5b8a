//! `query`, `datasets`, `keys`, `completions` and `--help`.

use std::process::Command;

use serde_json::{Value, json};

use super::{printed, refused, tidewater, verb};
use crate::server::{Server, edits, server_with_edits};

#[test]
fn answers_come_as_a_table_json_or_csv() {
    let server = server_with_edits(9);
    let question = [
        "query",
        "-d",
        "edits",
        "-m",
        "edits,added",
        "-g",
        "channel",
        "-r",
        "all",
        "--order-by",
        "added:asc",
    ];
    let with = |more: &[&str]| printed(verb(&server, &[&question[..], more].concat()));
    let table = "channel  edits  added\n───────  ─────  ─────\na            3      9\nb            3     12\nc            3     15\n";
    assert_eq!(with(&[]), table);
    assert_eq!(
        with(&["--csv"]).lines().map(str::trim_end).collect::<Vec<_>>(),
        ["channel,edits,added", "a,3,9", "b,3,12", "c,3,15"]
    );
    let answer: Value = serde_json::from_str(&with(&["--json"])).expect("JSON");
    assert_eq!(answer["results"][0], json!({"dimensions": ["a"], "metrics": [3, 9]}));
    let whole = r#"{"dataset":"edits","metrics":["edits"],"date_range":"all"}"#;
    assert_eq!(printed(verb(&server, &["query", whole])), "edits\n─────\n    9\n");
    let filtered = with(&["-f", r#"["is","channel",["b"]]"#, "--limit", "1"]);
    assert_eq!(filtered, "channel  edits  added\n───────  ─────  ─────\nb            3     12\n");
    let inline = printed(verb(&server, &["query", "-d", "edits", "-m", "max:added,uniq:user", "-r", "all"]));
    assert_eq!(inline, "max_added  uniq_user\n─────────  ─────────\n        8          7\n");
}

#[test]
fn mistakes_are_explained() {
    let server = server_with_edits(1);
    let typo = refused(verb(&server, &["query", "-d", "edits", "-m", "edist", "-r", "all"]));
    assert!(typo.contains("did you mean 'edits'"), "{typo}");
    let nameless = refused(verb(&server, &["query", "-m", "edits"]));
    assert!(nameless.contains("--dataset"), "{nameless}");
    let keyless = refused({
        let mut command = verb(&server, &["datasets"]);
        command.env_remove("TIDEWATER_KEY");
        command
    });
    assert!(keyless.contains("TIDEWATER_KEY"), "{keyless}");
    let mut nobody = tidewater(server.folder());
    nobody.args(["datasets", "--url", "http://127.0.0.1:1"]);
    let nobody = refused(nobody);
    assert!(nobody.contains("no server answers at http://127.0.0.1:1"), "{nobody}");
}

#[test]
fn datasets_are_listed_shown_defined_and_dropped() {
    let server = Server::start();
    assert!(printed(verb(&server, &["datasets"])).starts_with("no datasets yet"));
    let file = server.folder().join("edits.json");
    std::fs::write(&file, edits().to_string()).expect("written");
    printed(verb(&server, &["datasets", "define", "edits", "@edits.json"]));
    printed(verb(&server, &["datasets", "define", "web", "preset:events"]));
    let list = printed(verb(&server, &["datasets", "list"]));
    let names: Vec<&str> = list.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["edits", "web"]);
    let shown: Value =
        serde_json::from_str(&printed(verb(&server, &["datasets", "show", "edits"]))).expect("JSON");
    assert_eq!(shown["columns"]["added"], "int");
    let unknown = refused(verb(&server, &["datasets", "define", "x", "preset:evens"]));
    assert!(unknown.contains("events, llm, machines"), "{unknown}");
    printed(verb(&server, &["datasets", "drop", "edits", "--yes"]));
    let gone = refused(verb(&server, &["datasets", "show", "edits"]));
    assert!(gone.contains("unknown_dataset"), "{gone}");
}

#[test]
fn keys_are_created_listed_and_revoked() {
    let server = server_with_edits(2);
    let key = printed(verb(&server, &["keys", "create", "reader", "--bind", "default", "--scope", "query"]));
    let key = key.trim();
    let ask = |key: &str| {
        let mut command = verb(&server, &["query", "-d", "edits", "-m", "edits", "-r", "all"]);
        command.env("TIDEWATER_KEY", key);
        command
    };
    assert!(printed(ask(key)).contains('2'));
    let list = printed(verb(&server, &["keys", "list"]));
    let line = list.lines().find(|line| line.contains("reader")).expect("the key is listed");
    assert!(!list.contains(key) && line.contains("default") && line.contains("query"), "{list}");
    let id = line.split_whitespace().next().expect("an id");
    printed(verb(&server, &["keys", "revoke", id]));
    assert!(refused(ask(key)).contains("401"));
}

#[test]
fn every_verb_has_help_with_examples_and_shells_complete_it() {
    let home = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let mut command = tidewater(home.path());
        command.args(arguments);
        printed(command)
    };
    for name in [
        "serve",
        "demo",
        "import",
        "query",
        "datasets",
        "keys",
        "advise",
        "rollups",
        "health",
        "verify",
        "backup",
        "restore",
        "completions",
    ] {
        let help = run(&[name, "--help"]);
        assert!(help.contains("Examples:") && help.contains(&format!("tidewater {name}")), "{help}");
    }
    let script = run(&["completions", "bash"]);
    assert!(script.contains("--allow-rejects") && script.contains("tidewater"), "{script}");
    let file = home.path().join("completions.bash");
    std::fs::write(&file, script).expect("written");
    if let Ok(status) = Command::new("bash").arg("-n").arg(&file).status() {
        assert!(status.success(), "the script is valid");
    }
    for shell in ["zsh", "fish", "powershell", "elvish"] {
        assert!(run(&["completions", shell]).contains("restore"), "{shell}");
    }
}

#[test]
fn advice_and_roll_ups_are_shown() {
    let server = server_with_edits(3_000);
    assert!(printed(verb(&server, &["advise"])).starts_with("edits: no questions are recorded yet"));
    assert!(printed(verb(&server, &["rollups"])).contains("tidewater advise"));
    let question = json!({"dataset": "edits", "metrics": ["added"], "dimensions": ["time:day", "channel"], "date_range": "all"});
    server.query(&question);
    let advice = printed(verb(&server, &["advise", "--dataset", "edits"]));
    let command =
        advice.lines().find_map(|line| line.trim().strip_prefix("tidewater datasets define edits '"));
    let definition = command.and_then(|rest| rest.strip_suffix('\'')).expect("a command to paste");
    printed(verb(&server, &["datasets", "define", "edits", definition]));
    let json: Value = serde_json::from_str(&printed(verb(&server, &["advise", "--json"]))).expect("JSON");
    assert_eq!(json["datasets"][0]["suggestions"], json!([]), "{json:#}");
    let rollups = printed(verb(&server, &["rollups"]));
    assert!(rollups.lines().any(|line| line.starts_with("edits    channel  1d ")), "{rollups}");
    let json: Value = serde_json::from_str(&printed(verb(&server, &["rollups", "--json"]))).expect("JSON");
    assert_eq!(json["rollups"][0]["rollup"], "channel");
}

#[test]
fn readiness_is_an_exit_status() {
    let server = server_with_edits(1);
    // A probe has no key.
    let health = |arguments: &[&str]| {
        let mut command = tidewater(server.folder());
        command.arg("health").args(arguments);
        command
    };
    assert_eq!(printed(health(&["--url", &server.url])), "ready\n");
    assert_eq!(printed(health(&["--url", &server.url, "--live"])), "live\n");
    // Nothing listens on the port that nobody can be given.
    assert!(refused(health(&["--url", "http://127.0.0.1:1"])).contains("no server answers"));
}
