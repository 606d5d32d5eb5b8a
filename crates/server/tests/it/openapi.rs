//! The interface against its own description: schemathesis reads the OpenAPI document of the real server and sends what it allows and what
//! it forbids (`tests/openapi/`, see its README.md).
//!
//! Skips, saying so, where Python has no schemathesis; with `TIDEWATER_REQUIRE_SERVICES=1` that is a failure.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::{ADMIN_KEY, Server, edit_rows, edits};
use crate::tools;

/// Seconds where `TIDEWATER_SCHEMATHESIS_S` does not say.
const SECONDS: &str = "10";
/// Operations that can take away the very key that is used.
const KEYS: &str = "^/api/v1/keys/";

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// The program `st` beside the Python that has it.
fn schemathesis() -> Option<PathBuf> {
    let python = setting("TIDEWATER_PYTHON", "python3");
    let place = "import schemathesis, sys, os; print(os.path.join(os.path.dirname(sys.executable), 'st'))";
    let found =
        Command::new(python).args(["-c", place]).output().ok().filter(|output| output.status.success());
    let path = found.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let path = path.filter(|path| path.is_file());
    if path.is_none() {
        tools::missing("schemathesis");
    }
    path
}

fn run(program: &Path, server: &Server, key: &str, more: &[&str]) {
    let seconds = setting("TIDEWATER_SCHEMATHESIS_S", SECONDS);
    let seed = setting("TIDEWATER_SCHEMATHESIS_SEED", "1");
    let mut command = Command::new(program);
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // What it keeps between runs goes with the test's folder.
        .current_dir(server.folder())
        .arg("--config-file")
        .arg(tools::repository().join("tests/openapi/schemathesis.toml"))
        .args(["run", &format!("{}/api/v1/openapi.json", server.url), "--no-color"])
        .args(["--header", &format!("Authorization: Bearer {key}")])
        .args(["--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--warnings", "off"])
        .args(["--max-time", &seconds, "--seed", &seed])
        .args(more);
    let (output, said) = tools::run(&mut command);
    println!("{said}");
    assert!(output.status.success(), "the interface is not as it is described:\n{said}");
}

#[test]
fn the_interface_is_as_it_is_described() {
    let Some(program) = schemathesis() else { return };
    let server = Server::start_with(&[
        // It asks faster than any user, from one address.
        ("TIDEWATER_LIMITS__ADMIN_PER_MINUTE", "0"),
        ("TIDEWATER_LIMITS__ADDRESS_PER_MINUTE", "0"),
        ("TIDEWATER_LIMITS__FAILED_CREDENTIAL_COST", "0"),
    ]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server.ingest("edits", &edit_rows(50));
    run(&program, &server, ADMIN_KEY, &["--exclude-path-regex", KEYS]);
    let other = server.create_key(None, &["admin"]);
    run(&program, &server, &other, &["--include-path-regex", KEYS]);
    server.get("/health/ready").expect(200);
}
