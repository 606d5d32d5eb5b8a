//! The pages: `/` for a first look at a server, `/docs` for its interface. Each is one file without a build step, and loads nothing from
//! elsewhere.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};

const PAGE: &str = include_str!("page.html");
const DOCS: &str = include_str!("docs.html");
/// Only what is in the page itself, and requests to this server. `unsafe-inline` is for the page's own style and script, which
/// hold nothing from outside: all data is put in as text nodes.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page.
#[utoipa::path(get, path = "/", tag = "health", responses((status = 200, body = String, content_type = "text/html")))]
pub async fn page() -> Response {
    html(PAGE)
}

/// The interactive description of the interface, made in the browser from `/api/v1/openapi.json`.
#[utoipa::path(get, path = "/docs", tag = "health", responses((status = 200, body = String, content_type = "text/html")))]
pub async fn docs() -> Response {
    html(DOCS)
}

fn html(text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
