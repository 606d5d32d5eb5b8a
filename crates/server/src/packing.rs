//! Packing response bodies for clients that ask for it (`Accept-Encoding`), whatever the route.
//!
//! Answers to questions come packed already, so that a kept one is packed once (`answer::coding`); they pass as they are, like
//! everything small. Not here: bodies of requests (`body`).

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody as _};
use axum::http::header::{ACCEPT_ENCODING, VARY};
use axum::http::{HeaderMap, HeaderValue, Request, Response};
use tower_http::compression::Compression;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate, SizeAbove};
use tower_service::Service;

use crate::answer::{PACKED_BYTES_MIN, PARQUET};
use crate::observe::{Looked, Seen};

/// What a request asks of the packing of its response: each of its `Accept-Encoding`.
pub struct Packing(Vec<HeaderValue>);

impl Packing {
    /// Reads the head of a request.
    pub fn asked(headers: &HeaderMap, seen: Seen) -> Self {
        if !seen.has(Looked::AcceptEncoding) {
            return Packing(Vec::new());
        }
        Packing(headers.get_all(ACCEPT_ENCODING).iter().cloned().collect())
    }

    /// Whether a response is to be packed. One that is not, because nobody asks for it, says so to caches.
    pub fn is_due(&self, response: &mut Response<Body>) -> bool {
        let bytes = response.body().size_hint().exact();
        // Most are small, and their heads need not be looked at.
        if bytes.is_some_and(|bytes| bytes < PACKED_BYTES_MIN as u64) {
            return false;
        }
        // A handler that says what its response varies by has packed it, or left it as it is, on purpose; it leaves what is written
        // while it is sent.
        let is_varied = response.headers().contains_key(VARY);
        if (is_varied && bytes.is_some()) || !worth_it().should_compress(response) {
            return false;
        }
        if self.0.is_empty() && !is_varied {
            response.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
        }
        !self.0.is_empty()
    }

    /// Packs a response.
    pub async fn pack(self, response: Response<Body>) -> Response<Body> {
        let mut request = Request::new(());
        request.headers_mut().extend(self.0.into_iter().map(|value| (ACCEPT_ENCODING, value)));
        let Ok(response) =
            Compression::new(Once(Some(response))).compress_when(worth_it()).call(request).await;
        response.map(Body::new)
    }
}

fn worth_it() -> impl Predicate {
    SizeAbove::new(PACKED_BYTES_MIN as u64)
        .and(DefaultPredicate::new())
        .and(NotForContentType::const_new(PARQUET))
}

/// A response as the service that the library packs the responses of.
struct Once(Option<Response<Body>>);

impl Service<Request<()>> for Once {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        ready(Ok(self.0.take().unwrap_or_default()))
    }
}
