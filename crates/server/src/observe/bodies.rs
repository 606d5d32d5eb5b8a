//! Bytes of bodies, also of those whose length is only known at their end.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use http_body::{Frame, SizeHint};

use crate::app::AppState;
use crate::metrics::RouteId;

/// Counts the body of a request: now where its length is declared, else when it has been read.
pub fn count_request(app: &AppState, route: RouteId, request: Request<Body>) -> Request<Body> {
    match request.body().size_hint().exact() {
        Some(bytes) => {
            app.http.received(route, bytes);
            request
        }
        None => request.map(|body| Body::new(Counted::new(app, route, false, body))),
    }
}

/// Counts the body of a response and ends the request: now where its length is known, else with its last byte.
pub fn count_response(app: &AppState, route: RouteId, response: Response<Body>) -> Response<Body> {
    match response.body().size_hint().exact() {
        Some(bytes) => {
            app.http.sent(route, bytes);
            app.http.ended();
            response
        }
        None => response.map(|body| Body::new(Counted::new(app, route, true, body))),
    }
}

/// A body that is counted when it is dropped: at its end, or where one side gave up.
struct Counted {
    app: AppState,
    route: RouteId,
    is_response: bool,
    bytes: u64,
    inner: Body,
}

impl Counted {
    fn new(app: &AppState, route: RouteId, is_response: bool, inner: Body) -> Self {
        Counted { app: app.clone(), route, is_response, bytes: 0, inner }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.is_response {
            self.app.http.sent(self.route, self.bytes);
            self.app.http.ended();
        } else {
            self.app.http.received(self.route, self.bytes);
        }
    }
}
