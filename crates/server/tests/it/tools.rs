//! Programs that some checks need and not every machine has: finding them, or skipping the check and saying so.
//!
//! With `TIDEWATER_REQUIRE_SERVICES=1` a missing one is a failure, except those named in `TIDEWATER_WITHOUT` (words apart by
//! spaces): that is how `.ci/run` passes on what it could not install and has said so.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program's path: what the variable names, or else the first of `PATH` and `~/go/bin` that has it. `None`, after a word about it,
/// where the check is to be skipped.
pub fn find(program: &str, variable: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "{variable} names {}, which is no file", path.display());
        return Some(path);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join("go/bin"));
    let folders = std::env::split_paths(&path).chain(home).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(program)).find(|path| path.is_file());
    if found.is_none() {
        missing(program);
    }
    found
}

/// Says that a check is skipped for want of something, or fails.
pub fn missing(what: &str) {
    let is_required = std::env::var("TIDEWATER_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
    let without = std::env::var("TIDEWATER_WITHOUT").unwrap_or_default();
    let is_excused = without.split_whitespace().any(|word| word == what);
    assert!(
        !is_required || is_excused,
        "there is no {what} here, and TIDEWATER_REQUIRE_SERVICES asks for it"
    );
    eprintln!("skipped: there is no {what} here");
}

/// The repository's folder.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the source tree is there")
}

/// Runs a program to its end; gives what it said on both outputs.
pub fn run(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, said)
}

/// The same for a program that must succeed.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let (output, said) = run(command);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    said
}
