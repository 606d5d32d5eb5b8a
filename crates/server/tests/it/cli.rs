//! The verbs next to `serve`, run as a user runs them.

mod demo;
mod folders;
mod import;
mod real_files;
mod verbs;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::server::{ADMIN_KEY, Server};

/// Longest silence of a verb: far above what is usual, so that a busy machine fails nothing.
const PATIENCE: Duration = Duration::from_secs(120);

/// The binary with its state in `home`, and no setting of the one who runs the tests.
fn tidewater(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewater"));
    command
        .current_dir(home)
        .env_remove("TIDEWATER_URL")
        .env_remove("TIDEWATER_KEY")
        .env("XDG_STATE_HOME", home.join("state"))
        .env("TIDEWATER_STORE__DISK_FREE_MIN_BYTES", "1048576");
    command
}

/// A verb that talks to `server` with the admin key.
fn verb(server: &Server, arguments: &[&str]) -> Command {
    let mut command = tidewater(server.folder());
    command.args(arguments).env("TIDEWATER_URL", &server.url).env("TIDEWATER_KEY", ADMIN_KEY);
    command
}

/// What a verb printed on standard output, once it succeeded.
#[track_caller]
fn printed(mut command: Command) -> String {
    let output = command.output().expect("the binary runs");
    assert!(output.status.success(), "{command:?}: {}", both(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// What a verb said, once it failed with 1.
#[track_caller]
fn refused(mut command: Command) -> String {
    let output = command.output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(1), "{command:?}: {}", both(&output));
    both(&output)
}

fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A verb that runs until it is told to stop.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("the binary runs");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Running { child, lines }
    }

    /// Lines up to the first that begins with `prefix`.
    #[track_caller]
    fn until(&self, prefix: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line =
                self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no '{prefix}' after {lines:?}"));
            lines.push(line);
            if lines.last().is_some_and(|line| line.starts_with(prefix)) {
                return lines;
            }
        }
    }

    /// SIGTERM, then waits for a clean end.
    fn stop(mut self) {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(sent.expect("kill runs").success());
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A value of an answer with one row.
fn only_value(server: &Server, question: &serde_json::Value) -> serde_json::Value {
    server.query(question)["results"][0]["metrics"][0].clone()
}
