//! A small HTTP client for the verbs that talk to a server: address, credential, problems as readable errors.
//!
//! Not here: what is asked; each verb builds its own requests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// Longest wait for a whole reply; a server's own query deadline is shorter.
const REPLY_TIMEOUT: Duration = Duration::from_secs(120);
/// Tries of one request before [`Client::exchange_patiently`] gives up.
const TRIES_MAX: u32 = 12;
/// Longest pause between two tries, whatever the server asks for.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Pause before the second try where the server names none; doubled for every further one.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Largest reply read into memory, in bytes: a page of 10,000 wide rows is far below.
const REPLY_BYTES_MAX: u64 = 256 << 20;

/// Where the server is and who asks.
#[derive(Clone, Debug, clap::Args)]
pub struct Remote {
    /// The server's address.
    #[arg(long, env = "TIDEWATER_URL", default_value = "http://127.0.0.1:8321")]
    pub url: String,
    /// An API key with the scope the verb needs.
    #[arg(long, env = "TIDEWATER_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// File with the certificate of an authority in PEM: an https server is trusted if this authority signed its certificate, and no
    /// other one is. Default: the authorities that browsers trust.
    #[arg(long, env = "TIDEWATER_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The project, for keys that are not bound to one.
    #[arg(long)]
    pub project: Option<String>,
}

/// Whatever a server answered.
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// Seconds after which another try makes sense, where the server names them.
    pub retry_after_s: Option<u64>,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).context("the server's reply is not JSON")
    }
}

/// A refused request.
#[derive(Debug, thiserror::Error)]
#[error("{detail} (HTTP {status}, {code})")]
pub struct Refused {
    /// The HTTP status, 400 and above.
    pub status: u16,
    /// The problem's stable word.
    pub code: String,
    /// The problem's sentence.
    pub detail: String,
    /// Seconds after which another try makes sense, where the server names them.
    pub retry_after_s: Option<u64>,
}

/// Talks to one server with one key.
pub struct Client {
    agent: ureq::Agent,
    remote: Remote,
}

impl Client {
    /// Opens no connection yet.
    pub fn new(remote: &Remote) -> anyhow::Result<Self> {
        let roots = remote.ca.as_deref().map_or(Ok(RootCerts::WebPki), authorities)?;
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(REPLY_TIMEOUT))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        Ok(Client { agent: config.into(), remote: remote.clone() })
    }

    /// GET; a problem becomes an error.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send("GET", path, &[], &[])?.json()
    }

    /// Sends JSON and reads JSON.
    pub fn send_json(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(method, path, &[("content-type", "application/json")], body.to_string().as_bytes())?.json()
    }

    /// One request; a status of 400 or above is a [`Refused`].
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Reply> {
        let reply = self.exchange(method, path, headers, body)?;
        if reply.status < 400 { Ok(reply) } else { Err(self.refused(&reply).into()) }
    }

    /// One request; whatever status comes back is a reply.
    pub fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Reply> {
        let url = format!("{}{path}", self.remote.url.trim_end_matches('/'));
        let mut request = ureq::http::Request::builder().method(method).uri(&url);
        if let Some(key) = &self.remote.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if let Some(project) = &self.remote.project {
            request = request.header("x-project", project);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).with_context(|| format!("'{url}' is not an address"))?;
        let mut response = self.agent.run(request).with_context(|| self.unreachable())?;
        let status = response.status().as_u16();
        let retry_after_s =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_vec();
        let body = body.context("the reply broke off")?;
        Ok(Reply { status, body, retry_after_s })
    }

    /// Like [`Self::exchange`], but comes back while the server is full or away: for requests that may be sent twice.
    pub fn exchange_patiently(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Reply> {
        let mut tries = 0;
        loop {
            let reply = self.exchange(method, path, headers, body);
            let answered = match &reply {
                Ok(reply) => Some((reply.status, reply.retry_after_s)),
                Err(_) => None,
            };
            match pause(tries, answered) {
                Some(pause) => std::thread::sleep(pause),
                None => return reply,
            }
            tries += 1;
        }
    }

    fn unreachable(&self) -> String {
        format!(
            "no server answers at {}; start one with 'tidewater serve' or name another with --url",
            self.remote.url
        )
    }

    /// What a reply of status 400 or above says.
    pub fn refused(&self, reply: &Reply) -> Refused {
        let Reply { status, body, retry_after_s } = reply;
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let word = |name: &str| problem[name].as_str().map(str::to_owned);
        let mut detail =
            word("detail").unwrap_or_else(|| String::from_utf8_lossy(body).chars().take(500).collect());
        if *status == 401 && self.remote.key.is_none() {
            detail = "the server wants a key: give --key or set TIDEWATER_KEY".to_owned();
        }
        let code = word("code").unwrap_or_else(|| "unknown".to_owned());
        Refused { status: *status, code, detail, retry_after_s: *retry_after_s }
    }
}

/// The certificates in a file.
fn authorities(path: &Path) -> anyhow::Result<RootCerts> {
    let pem = std::fs::read(path).with_context(|| format!("cannot read '{}'", path.display()))?;
    let items = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    let found: Vec<_> =
        items.collect::<Result<_, _>>().with_context(|| format!("'{}' is not PEM", path.display()))?;
    if found.is_empty() {
        bail!("'{}' holds no certificate in PEM", path.display());
    }
    Ok(RootCerts::new_with_certs(&found))
}

/// The pause before the next try of a request that was answered with a status and `Retry-After`, or not at all; `None` when
/// another try would end like this one.
fn pause(tries: u32, answered: Option<(u16, Option<u64>)>) -> Option<Duration> {
    let doubled = PAUSE_MIN.saturating_mul(1 << tries.min(16));
    let wanted = match answered {
        None => doubled,
        Some((429 | 503, retry_after_s)) => retry_after_s.map_or(doubled, Duration::from_secs),
        Some(_) => return None,
    };
    (tries < TRIES_MAX).then_some(wanted.min(PAUSE_MAX))
}

/// Percent-encodes one path segment or query value.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Reads a JSON argument: `-` is standard input, `@FILE` a file, anything else the text itself.
pub fn json_argument(argument: &str) -> anyhow::Result<Value> {
    let text = match argument.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("cannot read '{path}'"))?,
        None if argument == "-" => {
            std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?
        }
        None => argument.to_owned(),
    };
    let value: Value = serde_json::from_str(&text).map_err(|error| anyhow!("not JSON: {error}"))?;
    if !value.is_object() {
        bail!("expected a JSON object, got: {}", text.chars().take(80).collect::<String>());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_follow_the_server_and_end() {
        assert_eq!(pause(0, Some((503, Some(2)))), Some(Duration::from_secs(2)));
        assert_eq!(pause(0, Some((429, Some(3_600)))), Some(PAUSE_MAX));
        assert_eq!(pause(2, None), Some(Duration::from_secs(1)));
        assert_eq!(
            [pause(0, Some((507, None))), pause(0, Some((200, None))), pause(TRIES_MAX, None)],
            [None; 3]
        );
    }

    #[test]
    fn encoded_text_is_one_segment() {
        assert_eq!(encode("a-b_c.d~e"), "a-b_c.d~e");
        assert_eq!(encode("a/b?ü"), "a%2Fb%3F%C3%BC");
    }
}
