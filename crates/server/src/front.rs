//! What stands around the router: everything a request passes on its way to a handler, and its response on the way back.
//!
//! ```text
//! connection ─► observe (id, counters, log) ─► guard (address) ─► packing ─► panics ─► dispatch ─► handler
//! ```
//!
//! These are functions that call each other, not layers of the framework: every layer there clones the whole stack below it into
//! boxes for each request, and moves the request from one to the next, which took longer than the work itself. Not here: which
//! routes there are (`router`), how one is found (`dispatch`), what a handler asks of its caller (`auth`), the connection
//! (`connections`).

use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use axum::extract::Request;
use axum::response::Response;

use crate::app::AppState;
use crate::dispatch::{Answering, Call};
use crate::limits::Guard;
use crate::observe::{Observed, RequestId, bodies, panicked};
use crate::packing::Packing;

/// The way from a connection to the handlers and back. Cheap to clone.
#[derive(Clone)]
pub struct Front(AppState);

impl Front {
    /// In front of all routes.
    pub fn new(app: AppState) -> Self {
        Front(app)
    }

    /// The same for one connection.
    pub fn of_connection(&self) -> Self {
        Front(self.0.counted_apart())
    }

    /// Answers a request of a peer. What needs the request is done before the future is made, which so has no room for one.
    pub fn answer(&self, request: Request, peer: SocketAddr) -> impl Future<Output = Response> + use<> {
        let observed = Observed::begin(&self.0, &request);
        let entered = match observed.preflight(&request) {
            Some(response) => Err(response),
            None => Inside::enter(&self.0, observed.id(), request, peer),
        };
        async move {
            let response = match entered {
                Ok(Inside { guard, packing, answering }) => {
                    let mut response = caught(answering).await;
                    if packing.is_due(&mut response) {
                        // Boxed, so that requests without it need no room for it.
                        response = Box::pin(packing.pack(response)).await;
                    }
                    guard.leave(&observed.app().limits, response, observed.id())
                }
                Err(response) => response,
            };
            observed.end(response)
        }
    }
}

/// A request that was let in.
struct Inside {
    guard: Guard,
    packing: Packing,
    answering: Answering,
}

impl Inside {
    fn enter(app: &AppState, id: &RequestId, request: Request, peer: SocketAddr) -> Result<Self, Response> {
        let request = bodies::count_request(app, id.route(), request);
        let guard = Guard::enter(&app.limits, &request, peer, id)?;
        let packing = Packing::asked(request.headers(), id.seen());
        let answering = app.routes.answer(request, Call { app: app.clone(), id: id.clone() });
        Ok(Inside { guard, packing, answering })
    }
}

/// Runs a handler. One that panics ends its own request and no other.
async fn caught(mut answering: Answering) -> Response {
    poll_fn(|context| {
        // What a handler shares with others is behind locks that a panic leaves usable or poisoned.
        let polled = catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(context)));
        polled.unwrap_or_else(|_panic| Poll::Ready(panicked()))
    })
    .await
}
