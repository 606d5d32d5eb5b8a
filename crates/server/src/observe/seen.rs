//! Which of the headers that every request is asked for a request has. Most have none of them, and one walk over the names that are
//! there takes less time than a look-up for each that is not.

use axum::http::header::{ACCEPT_ENCODING, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::X_REQUEST_ID;
use super::trace::TRACEPARENT;

/// The header that names a project.
const X_PROJECT: HeaderName = HeaderName::from_static("x-project");

/// A header that every request is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// `Accept-Encoding`.
    AcceptEncoding,
    /// `Origin`.
    Origin,
    /// `traceparent`.
    Traceparent,
    /// `X-Project`.
    Project,
    /// `X-Request-Id`.
    RequestId,
}

/// By [`Looked`].
static NAMES: [HeaderName; 5] = [ACCEPT_ENCODING, ORIGIN, TRACEPARENT, X_PROJECT, X_REQUEST_ID];

/// Which of them were seen, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(u8);

impl Seen {
    /// Walks over the head of a request.
    pub fn of(headers: &HeaderMap) -> Self {
        let bit =
            |name: &HeaderName| NAMES.iter().position(|looked| looked == name).map_or(0, |place| 1 << place);
        Seen(headers.keys().map(bit).fold(0, |seen, bit| seen | bit))
    }

    /// Whether a header is there.
    pub fn has(self, header: Looked) -> bool {
        self.0 & 1 << header as u8 != 0
    }

    /// The first value of a header in the head that was walked over.
    pub fn get(self, header: Looked, headers: &HeaderMap) -> Option<&HeaderValue> {
        self.has(header).then(|| headers.get(&NAMES[header as usize])).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_seen_and_nothing_else() {
        let all = [
            (Looked::AcceptEncoding, "accept-encoding"),
            (Looked::Origin, "origin"),
            (Looked::Traceparent, "traceparent"),
            (Looked::Project, "x-project"),
            (Looked::RequestId, "x-request-id"),
        ];
        for (header, name) in all {
            let headers = HeaderMap::from_iter([
                (HeaderName::from_static("host"), HeaderValue::from_static("h")),
                (HeaderName::from_static(name), HeaderValue::from_static("first")),
                (HeaderName::from_static("x-other"), HeaderValue::from_static("o")),
            ]);
            let seen = Seen::of(&headers);
            assert_eq!(seen.get(header, &headers).map(HeaderValue::as_bytes), Some(&b"first"[..]), "{name}");
            assert!(all.iter().all(|(other, _)| seen.has(*other) == (*other == header)), "{name}");
        }
        assert_eq!(Seen::of(&HeaderMap::new()), Seen::default());
    }
}
