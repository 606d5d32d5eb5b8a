//! What stands around the router: everything a request passes on its way to a handler, and its response on the way back.
//!
//! ```text
//! connection ─► observe (id, counters, log) ─► guard (address) ─► packing ─► panics ─► router ─► handler
//! ```
//!
//! These are functions that call each other, not layers of the framework: every layer there clones the whole stack below it into
//! boxes for each request, which took longer than the work itself. Not here: routes and handlers (`router`), what a
//! handler asks of its caller (`auth`), the connection (`connections`).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use tower_service::Service as _;

use crate::app::AppState;
use crate::limits::guard;
use crate::observe::{observe, panicked};
use crate::packing::Packing;

/// The way from a connection to the handlers and back. Cheap to clone.
#[derive(Clone)]
pub struct Front {
    app: AppState,
    router: Router,
}

impl Front {
    /// In front of all routes.
    pub fn new(app: AppState, router: Router) -> Self {
        Front { app, router }
    }

    /// Answers a request of a peer.
    pub async fn answer(&self, request: Request, peer: SocketAddr) -> Response {
        let app = &self.app;
        observe(app, request, async |request, id| {
            guard(&app.limits, request, peer, id, async |request| {
                let packing = Packing::asked(&request);
                packing.apply(route(self.router.clone(), request).await).await
            })
            .await
        })
        .await
    }
}

/// Runs the handler. One that panics ends its own request and no other.
async fn route(mut router: Router, request: Request) -> Response {
    let mut answering = pin!(router.call(request));
    std::future::poll_fn(|context| {
        // What a handler shares with others is behind locks that a panic leaves usable or poisoned.
        match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(context))) {
            Ok(polled) => polled.map(|Ok::<_, Infallible>(response)| response),
            Err(_panic) => Poll::Ready(panicked()),
        }
    })
    .await
}
