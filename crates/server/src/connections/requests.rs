//! From a connection's requests to the router and back: tells the connection when a request begins and ends, and whether a
//! body was read to its end.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use axum::routing::future::RouteFuture;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tower_service::Service as _;

use super::link::{InFlight, Link};

/// The router as one connection sees it.
#[derive(Clone, Debug)]
pub struct Requests {
    router: Router,
    link: Arc<Link>,
}

impl Requests {
    /// All requests of a connection.
    pub fn new(router: Router, link: Arc<Link>) -> Self {
        Requests { router, link }
    }
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<Outbound>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let in_flight = self.link.request();
        let mut request = request.map(|body| {
            if body.is_end_stream() { Body::empty() } else { Body::new(Inbound::new(body, &self.link)) }
        });
        request.extensions_mut().insert(ConnectInfo(self.link.peer));
        Answering { future: self.router.clone().call(request), in_flight: Some(in_flight) }
    }
}

pin_project_lite::pin_project! {
    /// The response on its way.
    pub struct Answering {
        #[pin]
        future: RouteFuture<Infallible>,
        in_flight: Option<InFlight>,
    }
}

impl Future for Answering {
    type Output = Result<Response<Outbound>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(context))?;
        let mut in_flight = this.in_flight.take();
        if let Some(in_flight) = &mut in_flight {
            in_flight.answers();
        }
        Poll::Ready(Ok(response.map(|inner| Outbound { inner, _in_flight: in_flight })))
    }
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
    _in_flight: Option<InFlight>,
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
