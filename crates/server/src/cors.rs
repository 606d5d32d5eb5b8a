//! Which web pages of other sites may use the interface (the Fetch standard's CORS protocol).
//!
//! An origin may be named in the configuration, for everything, or by a publishable key, for sending rows. A preflight has no
//! credential, so for rows it asks whether any key is good for the origin; the key itself is checked with the request (`auth`). Keys
//! travel in headers and not in cookies, so nothing here allows credentials.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::observe::{Looked, Seen};
use crate::problem::Problem;

/// Where rows are sent to.
const INGEST: &str = "/api/v1/ingest/";
const METHODS: &str = "GET, POST, PUT, PATCH, DELETE";
/// What a page may send beside what every page may.
const HEADERS: &str = "authorization, content-type, content-encoding, idempotency-key, if-none-match, last-event-id, traceparent, \
     x-api-key, x-project, x-request-id";
/// What a page may read beside what every page may.
const EXPOSED: &str = "age, content-encoding, etag, idempotency-replayed, ratelimit, ratelimit-policy, retry-after, server-timing, \
     traceparent, x-cache, x-request-id, x-served-from-cache";
/// How long a browser may remember a preflight, in seconds: as long as the strictest one does.
const MAX_AGE_S: &str = "600";

/// The origins of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    all: bool,
    list: Vec<Box<[u8]>>,
}

impl Origins {
    /// Reads a list apart by commas or spaces.
    pub fn read(text: &str) -> Self {
        let words = || text.split([',', ' ']).filter(|word| !word.is_empty());
        let plain = |word: &str| word.trim_end_matches('/').to_ascii_lowercase().into_bytes().into();
        Origins { all: words().any(|word| word == "*"), list: words().map(plain).collect() }
    }

    fn allow(&self, origin: &[u8]) -> bool {
        self.all || self.list.iter().any(|known| **known == *origin)
    }
}

/// What a request's origin may do.
pub enum Asked {
    /// It does not come from a page of another site, or does not say so.
    Here,
    /// It may use this path.
    Allowed(HeaderValue),
    /// It may not.
    Refused,
}

/// Looks at a request.
pub fn asked(app: &App, request: &Request, seen: Seen) -> Asked {
    let Some(origin) = seen.get(Looked::Origin, request.headers()) else { return Asked::Here };
    let is_publishable = || {
        let path = request.uri().path();
        path.starts_with(INGEST)
            && origin.to_str().is_ok_and(|origin| app.engine.keys().serves_origin(origin))
    };
    if app.origins.allow(origin.as_bytes()) || is_publishable() {
        Asked::Allowed(origin.clone())
    } else {
        Asked::Refused
    }
}

/// The answer to a browser that asks before it sends; none for any other request.
pub fn preflight(asked: &Asked, request: &Request<Body>) -> Option<Response> {
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    match asked {
        Asked::Allowed(_) if is_preflight => {
            let headers = [
                (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
                (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
                (ACCESS_CONTROL_MAX_AGE, MAX_AGE_S),
            ];
            Some((StatusCode::NO_CONTENT, headers).into_response())
        }
        Asked::Refused if is_preflight => {
            let detail = "pages of this origin may not use this path; name the origin in cors.origins, or in a publishable key for \
                 sending rows";
            Some(Problem::new(StatusCode::FORBIDDEN, "wrong_origin", detail).at("Origin").into_response())
        }
        _ => None,
    }
}

/// Tells the browser that the page may read the response.
pub fn mark(asked: &Asked, headers: &mut HeaderMap) {
    match asked {
        Asked::Here => return,
        Asked::Allowed(origin) => {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
        Asked::Refused => {}
    }
    headers.append(VARY, HeaderValue::from_static("Origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_whole() {
        let origins = Origins::read("https://app.example.org, http://localhost:3000/");
        for (origin, expected) in [
            ("https://app.example.org", true),
            ("http://localhost:3000", true),
            ("http://app.example.org", false),
            ("https://app.example.org.evil.example", false),
            ("https://app.example.org:8443", false),
            ("null", false),
        ] {
            assert_eq!(origins.allow(origin.as_bytes()), expected, "{origin}");
        }
        assert!(Origins::read("*").allow(b"https://anything.example"));
        assert!(!Origins::read("").allow(b""));
    }
}
