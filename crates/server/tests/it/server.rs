//! The harness: one `tidewater serve` process in a temporary folder, and a small HTTP client.
//!
//! ```ignore
//! let server = Server::start();                       // fresh folder, free port, admin key `ADMIN_KEY`
//! server.put("/api/v1/datasets/edits", &json!({…})).expect(200);
//! server.ingest("edits", &json!([{…}]));              // expects 200, gives the reply
//! let reply = server.post("/api/v1/query", &json!({…}));
//! assert_eq!(reply.expect(200).json()["results"][0]["metrics"][0], 3);
//! let server = server.restart();                      // SIGTERM, wait, start on the same folder
//! let server = server.kill_and_restart();             // SIGKILL instead
//! ```
//!
//! Requests carry the admin key unless [`Request::key`] says otherwise. When a test fails, the server's log is printed.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The admin key of every server.
pub const ADMIN_KEY: &str = "test-admin-key";
/// Longest wait for a start, a stop, or a condition: far above what is usual, so that a busy machine fails nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub url: String,
    folder: Arc<TempDir>,
    settings: Vec<(String, String)>,
    agent: ureq::Agent,
    /// Lines the server printed before it listened.
    pub printed: Vec<String>,
}

impl Server {
    /// Starts on a fresh folder with the defaults.
    pub fn start() -> Self {
        Server::start_with(&[])
    }

    /// Starts on a fresh folder with environment variables like `("TIDEWATER_QUERY__TIMEOUT_MS", "50")`.
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let folder = Arc::new(TempDir::new().expect("a temporary folder"));
        let own = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Server::spawn(folder, own)
    }

    fn spawn(folder: Arc<TempDir>, settings: Vec<(String, String)>) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.path().join("log.txt"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewater"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path().join("data"))
            .current_dir(folder.path())
            .env("TIDEWATER_ADMIN_KEY", ADMIN_KEY)
            .env("TIDEWATER_LOG__LEVEL", "info")
            // Every answer shows what was acknowledged before it was asked for; `cache` tests ticks.
            .env("TIDEWATER_CACHE__TICK_MS", "0")
            // Test machines may have little room.
            .env("TIDEWATER_STORE__DISK_FREE_MIN_BYTES", "1048576")
            // Tests count rows and files; `records` tests the server's own.
            .env("TIDEWATER_OBSERVE__RECORDS", "false")
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::from(log.expect("a log file")));
        let mut child = command.spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (url, printed) = wait_until_listening(stdout, &folder.path().join("log.txt"));
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        let agent = config.build().into();
        Server { child, url, folder, settings, agent, printed }
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder around the data folder, for files of a test; removed at its end.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log.txt")).unwrap_or_default()
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, like `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.expect("kill runs").success(), "the signal was sent");
    }

    /// A signal by name, like `TERM`, then waits for the end.
    pub fn stop(mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.wait()
    }

    fn wait(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the process can be waited for") {
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "the server stops in time; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM, then a new process on the same folder.
    pub fn restart(mut self) -> Self {
        self.signal("TERM");
        let status = self.wait();
        assert!(status.success(), "{status}; the log:\n{}", self.log());
        Server::spawn(Arc::clone(&self.folder), self.settings.clone())
    }

    /// SIGKILL, then a new process on the same folder.
    pub fn kill_and_restart(mut self) -> Self {
        self.kill_and_respawn();
        self
    }

    /// The same in place.
    pub fn kill_and_respawn(&mut self) {
        self.child.kill().expect("the process can be killed");
        self.wait();
        *self = Server::spawn(Arc::clone(&self.folder), self.settings.clone());
    }

    /// A request to be filled in.
    pub fn request(&self, method: &str, path: &str) -> Request<'_> {
        Request {
            server: self,
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            key: Some(ADMIN_KEY.to_owned()),
            body: Vec::new(),
        }
    }

    /// GET.
    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path).send()
    }

    /// POST of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.request("POST", path).json(body).send()
    }

    /// PUT of JSON.
    pub fn put(&self, path: &str, body: &Value) -> Reply {
        self.request("PUT", path).json(body).send()
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Reply {
        self.request("DELETE", path).send()
    }

    /// Sends rows as JSON and expects 200.
    pub fn ingest(&self, dataset: &str, rows: &Value) -> Value {
        self.post(&format!("/api/v1/ingest/{dataset}"), rows).expect(200).json()
    }

    /// Asks a question and expects 200.
    pub fn query(&self, question: &Value) -> Value {
        self.post("/api/v1/query", question).expect(200).json()
    }

    /// Makes a key and gives its secret.
    pub fn create_key(&self, project: Option<&str>, scopes: &[&str]) -> String {
        let body = json!({"name": "a test's key", "project": project, "scopes": scopes});
        let reply = self.post("/api/v1/keys", &body).expect(201).json();
        reply["key"].as_str().expect("the reply has the key").to_owned()
    }

    /// One sample of `/metrics`, by its full name with labels.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").expect(200).text();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Waits until a condition holds.
    pub fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let since = Instant::now();
        while !condition() {
            assert!(since.elapsed() < PATIENCE, "{what}; the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{}", self.log());
        }
    }
}

/// Reads what the server prints until it says where it listens; goes on reading so that it never blocks.
fn wait_until_listening(stdout: impl Read + Send + 'static, log: &Path) -> (String, Vec<String>) {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut printed = Vec::new();
    let mut url = None;
    loop {
        // The key follows the address at once, if there is one.
        let patience = if url.is_some() { Duration::from_millis(50) } else { PATIENCE };
        match (lines.recv_timeout(patience), url) {
            (Ok(line), found) => {
                url = found.or_else(|| line.strip_prefix("tidewater listens on ").map(str::to_owned));
                printed.push(line);
            }
            (Err(_), Some(url)) => return (url, printed),
            (Err(_), None) => {
                panic!("the server did not start:\n{}", std::fs::read_to_string(log).unwrap_or_default())
            }
        }
    }
}

/// A request under construction.
pub struct Request<'a> {
    server: &'a Server,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    key: Option<String>,
    body: Vec<u8>,
}

impl Request<'_> {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another key than the admin's; `None` for no credential.
    pub fn key(mut self, key: Option<&str>) -> Self {
        self.key = key.map(str::to_owned);
        self
    }

    /// A JSON body.
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string().as_bytes())
    }

    /// A body of any kind.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.header("content-type", content_type)
    }

    /// A body without a content type.
    pub fn raw(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// Sends it and reads the whole reply.
    pub fn send(self) -> Reply {
        let mut builder = ureq::http::Request::builder()
            .method(self.method.as_str())
            .uri(format!("{}{}", self.server.url, self.path));
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        if let Some(key) = &self.key {
            builder = builder.header("authorization", format!("Bearer {key}"));
        }
        let request = builder.body(self.body).expect("the request is well formed");
        let mut response = self.server.agent.run(request).expect("the server answers");
        let headers = response.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("?").to_owned()))
            .collect();
        let status = response.status().as_u16();
        let body =
            response.body_mut().with_config().limit(1 << 30).read_to_vec().expect("the reply's body arrives");
        Reply { status, headers, body }
    }
}

/// A whole reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// The body, unpacked.
    pub body: Vec<u8>,
}

impl Reply {
    /// Checks the status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Checks that it is a problem with this status and code; gives its body.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Value {
        let json = self.expect(status).json();
        assert_eq!(json["code"], code, "{json:#}");
        json
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Replaces what differs from run to run, so that a body can be a snapshot.
pub fn stable(mut json: Value) -> Value {
    const VARYING: [&str; 12] = [
        "request_id",
        "version",
        "as_of",
        "elapsed_ms",
        "bytes_scanned",
        "created_at",
        "finished_at",
        "started_at",
        "id",
        "key",
        "next_cursor",
        "at",
    ];
    match &mut json {
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                let is_varying = VARYING.contains(&name.as_str()) && (value.is_string() || value.is_number());
                *value = if is_varying { Value::from(format!("[{name}]")) } else { stable(value.take()) };
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = stable(item.take())),
        _ => {}
    }
    json
}

/// The dataset most tests use.
pub fn edits() -> Value {
    json!({
        "time": "ts",
        "id": "event_id",
        "sort": ["channel"],
        "columns": {"event_id": "string", "channel": "string", "user": "string", "is_robot": "bool", "added": "int",
            "score": "float", "cost_usd": "money", "tags": "strings", "props": "map"},
        "metrics": {"edits": {"agg": "count"},
            "added": {"agg": "sum", "column": "added"},
            "editors": {"agg": "uniq", "column": "user"},
            "cost": {"agg": "sum", "column": "cost_usd"}}
    })
}

/// `count` edits, one a minute from 2026-01-01T00:00:00Z, on channels a, b and c in turn.
pub fn edit_rows(count: usize) -> Value {
    let row = |index: usize| {
        json!({
            "ts": 1_767_225_600 + 60 * index, "event_id": format!("e{index}"), "channel": (["a", "b", "c"][index % 3]),
            "user": format!("u{}", index % 7), "is_robot": index.is_multiple_of(2), "added": index, "cost_usd": 0.001,
        })
    };
    (0..count).map(row).collect()
}

/// A server with `count` edits in the dataset `edits`.
pub fn server_with_edits(count: usize) -> Server {
    let server = Server::start();
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server.ingest("edits", &edit_rows(count));
    server
}
