//! The one name in a path: of a dataset, a project, a key.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::Call;
use crate::body::percent_decoded;
use crate::observe::unreadable;
use crate::problem::Problem;

/// What stands in the path at the place of the template's name, decoded.
pub struct Name(pub String);

impl FromRequestParts<Call> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, call: &Call) -> Result<Self, Problem> {
        let path = parts.uri.path();
        // A route without a name has no handler that asks for one.
        let name = call.app.routes.name_in(call.id.route(), path).unwrap_or_default();
        percent_decoded(name).map(Name).ok_or_else(unreadable)
    }
}
