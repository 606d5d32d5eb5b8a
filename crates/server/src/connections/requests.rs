//! From a connection's requests to their answers and back: tells the connection when a request begins and ends, and whether a
//! body was read to its end.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use super::link::{InFlight, Link};
use crate::front::Front;

/// Answers one request of a connection.
pub fn answer(
    front: &Front,
    link: &Arc<Link>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Outbound>, Infallible>> + use<> {
    let in_flight = link.request();
    let request = request
        .map(|body| if body.is_end_stream() { Body::empty() } else { Body::new(Inbound::new(body, link)) });
    Answer { answering: front.answer(request, link.peer), in_flight: Some(in_flight) }
}

pin_project! {
    /// An answer on its way. Written out, because a future of the compiler's would hold the inner one twice.
    struct Answer<F> {
        #[pin]
        answering: F,
        // Until the answer is there.
        in_flight: Option<InFlight>,
    }
}

impl<F: Future<Output = Response<Body>>> Future for Answer<F> {
    type Output = Result<Response<Outbound>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.answering.poll(context));
        let in_flight = this.in_flight.take().expect("a future that has ended is not asked again");
        Poll::Ready(Ok(answered(response, in_flight)))
    }
}

/// The response as it goes out.
fn answered(mut response: Response<Body>, mut in_flight: InFlight) -> Response<Outbound> {
    let link = in_flight.link();
    if link.must_linger() && !link.is_h2() {
        // The connection ends behind a body that nobody read; who is told does not send the next request on it.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    in_flight.answers();
    response.map(|inner| Outbound { inner, _in_flight: in_flight })
}

/// The body of a request.
struct Inbound {
    inner: Incoming,
    link: Arc<Link>,
    has_ended: bool,
}

impl Inbound {
    fn new(inner: Incoming, link: &Arc<Link>) -> Self {
        Inbound { inner, link: Arc::clone(link), has_ended: false }
    }
}

impl HttpBody for Inbound {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(None | Some(Err(_))) = &polled {
            self.has_ended = true;
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

impl Drop for Inbound {
    fn drop(&mut self) {
        if !self.has_ended && !self.inner.is_end_stream() {
            self.link.left_unread();
        }
    }
}

/// The body of a response; its request is over when it is dropped.
pub struct Outbound {
    inner: Body,
    _in_flight: InFlight,
}

impl HttpBody for Outbound {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
