//! The limits around every request: the address it comes from before its credential is looked at, and the headers of its reply.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Limits, Stands};
use crate::app::AppState;
use crate::problem::Problem;

/// Where the caller of a request stands, told by whoever finds out who that is to whoever writes the reply's headers.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<OnceLock<Stands>>);

impl Seen {
    /// Notes it. A request has one caller; a second note is about the same and changes nothing.
    pub fn note(&self, stands: Stands) {
        let _ = self.0.set(stands);
    }
}

/// The middleware.
pub async fn guard(State(app): State<AppState>, mut request: Request, next: Next) -> Response {
    let limits = &app.limits;
    let address = address(limits, &request);
    if let Some(Err(excess)) = address.map(|address| limits.arrived_from(address)) {
        return with_headers(Problem::from(excess).into_response(), None);
    }
    let seen = Seen::default();
    request.extensions_mut().insert(seen.clone());
    let response = next.run(request).await;
    if let Some(address) = address.filter(|_| response.status() == StatusCode::UNAUTHORIZED) {
        limits.failed_credential(address);
    }
    with_headers(response, seen.0.get())
}

/// Says where the caller stands, or which limit it is over.
fn with_headers(mut response: Response, seen: Option<&Stands>) -> Response {
    let over = response.extensions().get::<Problem>().and_then(|problem| problem.stands.clone());
    if let Some(stands) = over.as_deref().or(seen) {
        stands.write(response.headers_mut());
    }
    response
}

/// The address that is counted; none for health checks, which must answer whatever else happens, and where there is no address.
fn address(limits: &Limits, request: &Request) -> Option<IpAddr> {
    if limits.address.is_none() || request.uri().path().starts_with("/health/") {
        return None;
    }
    let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
    Some(limits.proxies.client(peer.ip(), request.headers()))
}
