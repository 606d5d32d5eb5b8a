//! Random questions asked of the real binary and of DuckDB, which must agree. The comparison is a Python program
//! (`tests/differential/`, see its README.md), because that is where DuckDB is at home; this starts it.
//!
//! Skips, saying so, where Python has no `duckdb`; with `TIDEWATER_REQUIRE_SERVICES=1` that is a failure.

use std::path::Path;
use std::process::Command;

/// Questions where `TIDEWATER_DIFFERENTIAL_QUESTIONS` does not say: about fifteen seconds.
const QUESTIONS: &str = "200";

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

#[test]
fn random_questions_have_the_answers_of_another_engine() {
    let python = setting("TIDEWATER_PYTHON", "python3");
    let found = Command::new(&python).args(["-c", "import duckdb"]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        let missing = format!("{python} has no duckdb; see tests/differential/README.md");
        assert!(setting("TIDEWATER_REQUIRE_SERVICES", "0") != "1", "{missing}");
        eprintln!("skipped: {missing}");
        return;
    }
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/differential/run");
    let mut command = Command::new(&python);
    // What Python compiles must not be left in the source tree.
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(program)
        .args(["--binary", env!("CARGO_BIN_EXE_tidewater")]);
    command.args(["--questions", &setting("TIDEWATER_DIFFERENTIAL_QUESTIONS", QUESTIONS)]);
    command.args(["--seed", &setting("TIDEWATER_DIFFERENTIAL_SEED", "1")]);
    command.args(["--rollups-min", &setting("TIDEWATER_DIFFERENTIAL_ROLLUPS_MIN", "0")]);
    match std::env::var("TIDEWATER_REAL_DATA") {
        Ok(folder) => _ = command.args(["--real", &folder]),
        Err(_) => eprintln!("without recorded data: TIDEWATER_REAL_DATA is not set"),
    }
    let output = command.output().expect("Python runs");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
