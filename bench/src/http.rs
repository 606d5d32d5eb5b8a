//! A minimal HTTP/1.1 client over kept connections, cheap enough to share two cores with the server it loads.
//!
//! It understands what a Tidewater server sends (Content-Length or chunked bodies). No TLS, no redirects, no
//! compression, no pipelining.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::Target;

/// A reply whose body is complete.
pub struct Response {
    pub status: u16,
    pub retry_after: Option<Duration>,
    pub cache: CacheUse,
    /// The server takes no further request on this connection.
    pub closes: bool,
    pub body: Vec<u8>,
}

/// What `X-Cache` said of an answer.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum CacheUse {
    Hit,
    Partial,
    Miss,
    /// No such header: a server without caches, or not an answer.
    Unsaid,
}

impl CacheUse {
    fn of_header(value: &str) -> CacheUse {
        match value {
            "hit" => CacheUse::Hit,
            "partial" => CacheUse::Partial,
            "miss" => CacheUse::Miss,
            _ => CacheUse::Unsaid,
        }
    }
}

impl Response {
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("the body is not JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The status and the beginning of the body, for messages.
    pub fn describe(&self) -> String {
        let shown = &self.body[..self.body.len().min(400)];
        format!("{} {}", self.status, String::from_utf8_lossy(shown))
    }
}

/// How a body's end is found.
#[derive(Debug, PartialEq, Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
}

/// Takes one complete response off the front of `buffer`; `None` while bytes are missing.
pub fn take_response(buffer: &mut Vec<u8>) -> anyhow::Result<Option<Response>> {
    let Some(head_end) = memchr::memmem::find(buffer, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&buffer[..head_end]).context("the response head is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|word| word.parse().ok());
    let status = status.with_context(|| format!("not an HTTP response: {head}"))?;
    let mut framing = Framing::Length(0);
    let mut retry_after = None;
    let mut cache = CacheUse::Unsaid;
    let mut closes = false;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            framing = Framing::Length(value.parse().context("Content-Length is not a number")?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("retry-after") {
            retry_after = value.parse().ok().map(Duration::from_secs);
        } else if name.eq_ignore_ascii_case("x-cache") {
            cache = CacheUse::of_header(value);
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.eq_ignore_ascii_case("close");
        }
    }
    let start = head_end + 4;
    let body = match framing {
        Framing::Length(length) => {
            buffer.get(start..start + length).map(|body| (body.to_vec(), start + length))
        }
        Framing::Chunked => take_chunks(buffer, start)?,
    };
    Ok(body.map(|(body, end)| {
        buffer.drain(..end);
        Response { status, retry_after, cache, closes, body }
    }))
}

/// The joined chunks from `at` on and where they end; trailers are not expected.
fn take_chunks(buffer: &[u8], mut at: usize) -> anyhow::Result<Option<(Vec<u8>, usize)>> {
    let mut body = Vec::new();
    loop {
        let Some(line) = buffer.get(at..).and_then(|rest| memchr::memmem::find(rest, b"\r\n")) else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&buffer[at..at + line]).context("a chunk size is not text")?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or(size).trim(), 16)
            .with_context(|| format!("'{size}' is not a chunk size"))?;
        let start = at + line + 2;
        let Some(chunk) = buffer.get(start..start + size + 2) else { return Ok(None) };
        if size == 0 {
            return Ok(Some((body, start + 2)));
        }
        body.extend_from_slice(&chunk[..size]);
        at = start + size + 2;
    }
}

/// `HOST:PORT` of a URL `http://HOST:PORT`.
pub fn address(url: &str) -> anyhow::Result<&str> {
    let address = url.strip_prefix("http://").context("the URL must begin with http://")?;
    let address = address.trim_end_matches('/');
    ensure!(address.contains(':') && !address.contains('/'), "the URL must be http://HOST:PORT");
    Ok(address)
}

/// The bytes before a body of `length` bytes.
pub fn write_head(head: &mut Vec<u8>, target: &Target, verb_and_path: &str, kind: &str, length: usize) {
    let Target { url, key, .. } = target;
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    // Writing to a vector cannot fail.
    let _ = write!(
        head,
        "{verb_and_path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
}

/// A blocking connection that carries one request at a time.
pub struct Connection {
    target: Target,
    stream: TcpStream,
    head: Vec<u8>,
    received: Vec<u8>,
    chunk: Box<[u8]>,
    /// The server has said that it closes.
    is_closing: bool,
}

/// A question may scan everything; longer than this is a hang.
const REPLY_TIMEOUT: Duration = Duration::from_secs(120);

impl Connection {
    pub fn open(target: &Target) -> anyhow::Result<Connection> {
        Ok(Connection {
            target: target.clone(),
            stream: connect(target)?,
            head: Vec::new(),
            received: Vec::new(),
            chunk: vec![0; 64 * 1024].into_boxed_slice(),
            is_closing: false,
        })
    }

    pub fn get(&mut self, path: &str) -> anyhow::Result<Response> {
        self.send(&format!("GET {path}"), "application/json", &[])
    }

    pub fn post(&mut self, path: &str, kind: &str, body: &[u8]) -> anyhow::Result<Response> {
        self.send(&format!("POST {path}"), kind, body)
    }

    /// Posts, and posts again as long as the server says it is full (429 and 503), after the pause it asks for.
    /// Counts the refusals in `retries`.
    pub fn post_until_taken(
        &mut self,
        path: &str,
        kind: &str,
        body: &[u8],
        retries: &mut u64,
    ) -> anyhow::Result<Response> {
        loop {
            let response = self.post(path, kind, body)?;
            match response.status {
                200 => return Ok(response),
                429 | 503 => {
                    *retries += 1;
                    std::thread::sleep(response.retry_after.unwrap_or(Duration::from_millis(100)));
                }
                _ => bail!("POST {path}: {}", response.describe()),
            }
        }
    }

    fn send(&mut self, verb_and_path: &str, kind: &str, body: &[u8]) -> anyhow::Result<Response> {
        if self.is_closing {
            self.stream = connect(&self.target)?;
            self.received.clear();
            self.is_closing = false;
        }
        self.head.clear();
        write_head(&mut self.head, &self.target, verb_and_path, kind, body.len());
        self.stream.write_all(&self.head)?;
        self.stream.write_all(body)?;
        loop {
            let read =
                self.stream.read(&mut self.chunk).with_context(|| format!("{verb_and_path}: no reply"))?;
            ensure!(read > 0, "{verb_and_path}: the server closed the connection");
            self.received.extend_from_slice(&self.chunk[..read]);
            if let Some(response) = take_response(&mut self.received)? {
                self.is_closing = response.closes;
                return Ok(response);
            }
        }
    }
}

fn connect(target: &Target) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address(&target.url)?)
        .with_context(|| format!("cannot connect to {}", target.url))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both framings parse, and every proper prefix is recognised as incomplete.
    #[test]
    fn responses_are_taken_only_when_complete() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, None, CacheUse::Unsaid, "hello"),
            (
                "HTTP/1.1 429 Slow\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n",
                429,
                Some(2),
                CacheUse::Unsaid,
                "",
            ),
            (
                "HTTP/1.1 200 OK\r\nX-Cache: partial\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
                200,
                None,
                CacheUse::Partial,
                "abc0123456789",
            ),
        ];
        for (text, status, retry_after, cache, body) in cases {
            for cut in 0..text.len() {
                let mut buffer = text.as_bytes()[..cut].to_vec();
                assert!(take_response(&mut buffer).expect("a prefix is no error").is_none(), "cut at {cut}");
            }
            let mut buffer = [text.as_bytes(), b"HTTP/1.1 next"].concat();
            let response = take_response(&mut buffer).expect("valid").expect("complete");
            assert_eq!(response.status, status);
            assert_eq!(response.retry_after, retry_after.map(Duration::from_secs));
            assert_eq!(response.cache, cache);
            assert_eq!(response.body, body.as_bytes());
            assert_eq!(buffer, b"HTTP/1.1 next");
        }
    }
}
