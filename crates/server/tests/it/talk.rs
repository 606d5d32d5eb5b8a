//! What the checks say to a server again and again.

use std::time::Duration;

use serde_json::Value;

use crate::server::{ADMIN_KEY, Reply, Server};

/// One request with the admin key, or with the credential among `headers`; an empty one means none.
pub fn call(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let is_credential = |name: &str| name == "authorization" || name == "x-api-key";
    let mut request = server.request(method, path);
    if headers.iter().any(|(name, _)| is_credential(name)) {
        request = request.key(None);
    }
    for (name, value) in headers.iter().filter(|(name, value)| !(is_credential(name) && value.is_empty())) {
        request = request.header(name, value);
    }
    request.raw(body).send()
}

/// Sends to one server from any thread, also while it dies.
#[derive(Clone)]
pub struct Sender {
    url: String,
    agent: ureq::Agent,
}

impl Sender {
    /// A sender with connections of its own.
    pub fn to(server: &Server) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)));
        Sender { url: server.url.clone(), agent: config.build().into() }
    }

    /// Status and body, or `None` where the server did not answer.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut request = self
            .agent
            .post(format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {ADMIN_KEY}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send(body).ok()?;
        Some((response.status().as_u16(), response.body_mut().read_to_vec().ok()?))
    }
}

/// Creates or widens a dataset.
pub fn define(server: &Server, name: &str, definition: &Value) {
    let reply = server.put(&format!("/api/v1/datasets/{name}"), definition);
    assert!(reply.status < 300, "{name}: {}", reply.text());
}

/// Sends rows, again after a while where the server is full, and gives the reply.
pub fn ingest_ndjson(server: &Server, dataset: &str, body: &str) -> Value {
    for _ in 0..200 {
        let path = format!("/api/v1/ingest/{dataset}");
        let reply = call(server, "POST", &path, &[("content-type", "application/x-ndjson")], body.as_bytes());
        if !matches!(reply.status, 429 | 503) {
            assert_eq!(reply.status, 200, "{}", reply.text());
            return reply.json();
        }
        assert!(reply.header("retry-after").is_some(), "a full server says when to come back");
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the server stays full");
}

/// Puts a question.
pub fn reply_to(server: &Server, question: &Value) -> Reply {
    server.post("/api/v1/query", question)
}

/// Puts a question that has an answer.
pub fn ask(server: &Server, question: &Value) -> Value {
    let reply = reply_to(server, question);
    assert_eq!(reply.status, 200, "{question}: {}", reply.text());
    reply.json()
}

/// Dimensions and metrics of each row of an answer.
pub fn results(answer: &Value) -> Vec<(Vec<Value>, Vec<Value>)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_else(|| panic!("a list: {answer}"));
    list(&answer["results"]).iter().map(|row| (list(&row["dimensions"]), list(&row["metrics"]))).collect()
}

/// Text as it stands in a URL.
pub fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}
