//! What is said over a connection, in plain: notes when a request begins and which protocol it speaks, and gives a body to
//! refusals that the HTTP library writes by itself.
//!
//! A request whose head does not read (too long, no HTTP) never reaches a handler; the library answers it with a bare status line. It
//! is replaced here, so that these are problems with a request id like all others. Not here: bytes on the wire (`wire`).

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::Refusal;
use super::link::Link;
use super::wire::Wire;
use crate::observe::next_request_id;
use crate::problem::{PROBLEM_JSON, Problem};

/// How an HTTP/2 client with prior knowledge begins, as far as it differs from any HTTP/1.1 method.
const H2_PREFACE: &[u8] = b"PRI";
/// How every refusal of the library begins.
const CLIENT_ERROR: &[u8] = b"HTTP/1.1 4";
/// What every response of ours has in its head, and none of the library's.
const OURS: &[u8] = b"x-request-id: ";

/// A connection's bytes, encrypted or not.
#[derive(Debug)]
pub enum Transport {
    /// As they are.
    Plain(Wire),
    /// Over TLS; boxed, because its state is large.
    Tls(Box<TlsStream<Wire>>),
}

/// The bytes of a connection after decryption.
#[derive(Debug)]
pub struct Talk {
    transport: Transport,
    link: Arc<Link>,
    has_begun: bool,
    replacement: Option<Replacement>,
}

/// A refusal that goes out instead of the library's.
#[derive(Debug)]
struct Replacement {
    bytes: Vec<u8>,
    written: usize,
}

impl Talk {
    /// Nothing has been said yet.
    pub fn new(transport: Transport, link: Arc<Link>) -> Self {
        Talk { transport, link, has_begun: false, replacement: None }
    }

    /// Notes a bare refusal among the bytes to be written.
    fn look(&mut self, bytes: &[u8]) {
        let is_refusal = bytes.starts_with(CLIENT_ERROR) && self.replacement.is_none() && !self.link.is_h2();
        if is_refusal && let Some(bytes) = replacement(bytes, &self.link) {
            self.link.left_unread();
            self.replacement = Some(Replacement { bytes, written: 0 });
        }
    }

    /// Writes the replacement, if there is one, to its end; then the `whole` of what it replaces counts as written.
    fn poll_replacement(&mut self, context: &mut Context<'_>, whole: usize) -> Poll<Option<Result<usize>>> {
        let Some(replacement) = &mut self.replacement else { return Poll::Ready(None) };
        while replacement.written < replacement.bytes.len() {
            let rest = &replacement.bytes[replacement.written..];
            match ready!(Pin::new(&mut self.transport).poll_write(context, rest)) {
                Ok(written) => replacement.written += written,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        self.replacement = None;
        Poll::Ready(Some(Ok(whole)))
    }
}

/// The response to send instead of a bare one; none where it is ours already.
fn replacement(bytes: &[u8], link: &Link) -> Option<Vec<u8>> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = &bytes[..end];
    if head.windows(OURS.len()).any(|window| window == OURS) {
        return None;
    }
    let head = std::str::from_utf8(head).ok()?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    let problem = problem(StatusCode::from_u16(code).ok()?, link);
    let (id, status) = (next_request_id(), problem.status);
    let body = problem.to_json(&id).to_string();
    let date = head.lines().find(|line| line.starts_with("date: ")).unwrap_or("cache-control: no-store");
    let length = body.len();
    Some(
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {PROBLEM_JSON}\r\nconnection: close\r\ncontent-length: {length}\r\n\
             x-request-id: {id}\r\n{date}\r\n\r\n{body}"
        )
        .into_bytes(),
    )
}

fn problem(status: StatusCode, link: &Link) -> Problem {
    let home = link.home();
    let limits = home.limits();
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            home.count(Refusal::HeadTooLarge);
            let detail = format!(
                "the request line and headers may have {} bytes and {} fields; put a long question into the body of a POST",
                limits.head_bytes_max, limits.headers_max
            );
            Problem::new(status, "headers_too_large", detail)
        }
        StatusCode::URI_TOO_LONG => {
            home.count(Refusal::HeadTooLarge);
            let detail = "the URL is too long; put a long question into the body of a POST";
            Problem::new(status, "url_too_long", detail)
        }
        _ => {
            home.count(Refusal::Malformed);
            Problem::new(status, "malformed_request", "the request line or its headers are not HTTP")
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        match self.get_mut() {
            Transport::Plain(wire) => Pin::new(wire).poll_read(context, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        match self.get_mut() {
            Transport::Plain(wire) => Pin::new(wire).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        match self.get_mut() {
            Transport::Plain(wire) => Pin::new(wire).poll_write_vectored(context, slices),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Transport::Plain(wire) => wire.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Transport::Plain(wire) => Pin::new(wire).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Transport::Plain(wire) => Pin::new(wire).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl AsyncRead for Talk {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.transport).poll_read(context, buffer))?;
        let heard = &buffer.filled()[before..];
        if !heard.is_empty() {
            if !self.has_begun {
                self.has_begun = true;
                if heard.starts_with(H2_PREFACE) {
                    self.link.speaks_h2();
                }
            }
            self.link.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Talk {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.look(bytes);
        match ready!(self.poll_replacement(context, bytes.len())) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(&mut self.transport).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.look(slices.first().map_or(&[], |slice| slice));
        let whole = slices.iter().map(|slice| slice.len()).sum();
        match ready!(self.poll_replacement(context, whole)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(&mut self.transport).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.transport).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(context)
    }
}
