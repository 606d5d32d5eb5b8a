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

/// What a request asks of the packing of its response.
pub struct Packing(Option<HeaderMap>);

impl Packing {
    /// Reads a request.
    pub fn asked(request: &Request<Body>) -> Self {
        let headers = request.headers();
        let asked = || headers.get_all(ACCEPT_ENCODING).iter().map(|value| (ACCEPT_ENCODING, value.clone()));
        Packing(headers.contains_key(ACCEPT_ENCODING).then(|| asked().collect()))
    }

    /// Packs a response that is worth it.
    pub async fn apply(self, mut response: Response<Body>) -> Response<Body> {
        let worth_it = SizeAbove::new(PACKED_BYTES_MIN as u64)
            .and(DefaultPredicate::new())
            .and(NotForContentType::const_new(PARQUET));
        // A handler that says what its response varies by has packed it, or left it as it is, on purpose; it leaves what is written
        // while it is sent.
        let is_varied = response.headers().contains_key(VARY);
        let is_whole = response.body().size_hint().exact().is_some();
        if (is_varied && is_whole) || !worth_it.should_compress(&response) {
            return response;
        }
        let Some(headers) = self.0 else {
            if !is_varied {
                response.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
            }
            return response;
        };
        let mut request = Request::new(());
        *request.headers_mut() = headers;
        let Ok(response) = Compression::new(Once(Some(response))).compress_when(worth_it).call(request).await;
        response.map(Body::new)
    }
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
