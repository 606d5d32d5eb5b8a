//! The limits around every request: the address it comes from before its credential is looked at, and the headers of its reply.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::{Limits, Stands};
use crate::observe::RequestId;
use crate::problem::Problem;

/// A request that was let in, as far as its address matters to its reply.
pub struct Guard {
    /// None where the address is not counted.
    address: Option<IpAddr>,
}

impl Guard {
    /// Counts a request of a peer; the reply to it where its address is over its limit.
    pub fn enter(
        limits: &Limits,
        request: &Request,
        peer: SocketAddr,
        id: &RequestId,
    ) -> Result<Self, Response> {
        let address = address(limits, request, peer);
        match address.map_or(Ok(()), |address| limits.arrived_from(address, id.arrived().instant)) {
            Ok(()) => Ok(Guard { address }),
            Err(excess) => Err(with_headers(Problem::from(excess).into_response(), None)),
        }
    }

    /// Completes the reply.
    pub fn leave(self, limits: &Limits, response: Response, id: &RequestId) -> Response {
        if let Some(address) = self.address.filter(|_| response.status() == StatusCode::UNAUTHORIZED) {
            limits.failed_credential(address);
        }
        with_headers(response, id.standing())
    }
}

/// Says where the caller stands, or which limit it is over.
fn with_headers(mut response: Response, seen: Option<&Stands>) -> Response {
    let over = response.extensions().get::<Problem>().and_then(|problem| problem.stands.clone());
    if let Some(stands) = over.as_deref().or(seen) {
        stands.write(response.headers_mut());
    }
    response
}

/// The address that is counted; none for health checks, which must answer whatever else happens.
fn address(limits: &Limits, request: &Request, peer: SocketAddr) -> Option<IpAddr> {
    if limits.address.is_none() || request.uri().path().starts_with("/health/") {
        return None;
    }
    Some(limits.proxies.client(peer.ip(), request.headers()))
}
