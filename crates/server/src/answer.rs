//! Answers on the wire: JSON, NDJSON, CSV and Parquet, chosen by `Accept`, with an `ETag` over what is deterministic.
//!
//! Not here: what is in an answer (`engine`, `query`).

mod coding;
mod columnar;
mod csv;
mod json;
mod parts;

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tidewater_engine::{CacheUse, QueryReply};
use tidewater_model::query::{Dimension, Query};
use tidewater_query::{AnswerRow, Cell};
use tokio::sync::Semaphore;

use crate::problem::Problem;

pub use coding::{Coding, PACKED_BYTES_MIN};
pub use json::{Shape, explained, write_cell, write_string};
pub use parts::Sheet;

/// Larger bodies are packed on another thread, because that takes a milli-second and more.
const PACKED_INLINE_BYTES_MAX: usize = 128 << 10;
/// Parquet's registered media type.
pub const PARQUET: &str = "application/vnd.apache.parquet";
/// Newline-delimited JSON.
pub const NDJSON: &str = "application/x-ndjson";

/// About what an answer takes besides its rows, a row without its values, and each of them, seldom more. Room that is not needed is
/// not touched; growing copies what is written so far.
const BYTES_USUAL: usize = 768;
const ROW_BYTES_USUAL: usize = 32;
const CELL_BYTES_USUAL: usize = 24;
/// Fields of a response's head that are set here and on the rest of its way.
const HEADERS_RESERVED: usize = 12;

/// Says whether a reply came from a cache.
pub const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// A wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// The JSON object of API.md.
    Json,
    /// One JSON object a row.
    Ndjson,
    /// A header row, then rows (RFC 4180).
    Csv,
    /// One row group.
    Parquet,
}

impl Wire {
    /// The first format of `Accept` that is known, by its quality; JSON where nothing is asked for.
    pub fn negotiate(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(accept) = headers.get(ACCEPT) else { return Ok(Wire::Json) };
        let text = accept.to_str().unwrap_or("");
        let mut best: Option<(f32, Wire)> = None;
        for part in text.split(',') {
            let mut fields = part.split(';').map(str::trim);
            let wire = match fields.next().unwrap_or("").to_ascii_lowercase().as_str() {
                "application/json" | "application/*" | "*/*" | "" => Wire::Json,
                NDJSON | "application/ndjson" | "application/jsonl" => Wire::Ndjson,
                "text/csv" | "text/*" => Wire::Csv,
                PARQUET => Wire::Parquet,
                _ => continue,
            };
            let quality =
                fields.find_map(|field| field.strip_prefix("q=")).and_then(|q| q.parse().ok()).unwrap_or(1.0);
            if quality > 0.0 && best.is_none_or(|(most, _)| quality > most) {
                best = Some((quality, wire));
            }
        }
        best.map(|(_, wire)| wire).ok_or_else(|| {
            let detail = format!("answers come as application/json, {NDJSON}, text/csv or {PARQUET}");
            Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", detail).at("Accept")
        })
    }

    fn media_type(self) -> &'static str {
        match self {
            Wire::Json => "application/json",
            Wire::Ndjson => NDJSON,
            Wire::Csv => "text/csv; charset=utf-8",
            Wire::Parquet => PARQUET,
        }
    }
}

/// How a caller wants its answer, and which one it has.
pub struct Wanted {
    /// The format.
    pub wire: Wire,
    /// The packing.
    pub coding: Coding,
    /// `If-None-Match`.
    known: Vec<HeaderValue>,
}

impl<S: Sync> FromRequestParts<S> for Wanted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let headers = &parts.headers;
        Ok(Wanted {
            wire: Wire::negotiate(headers)?,
            coding: Coding::negotiate(headers),
            known: headers.get_all(IF_NONE_MATCH).iter().cloned().collect(),
        })
    }
}

/// Names of an answer's columns, dimensions first.
pub(crate) fn column_names(query: &Query) -> Vec<String> {
    let dimensions = query.dimensions.iter().map(|dimension| match dimension {
        Dimension::Time(_) => "time".to_owned(),
        Dimension::Column(column) => query.dataset.display(column),
    });
    dimensions.chain(query.metrics.iter().map(|metric| metric.name.clone())).collect()
}

/// The name of the member or column that tells the row of all other groups from a row of null values.
pub(crate) const OTHERS: &str = "others";

/// The row of all groups past this page, if the page has one, and its comparison.
fn others(reply: &QueryReply) -> Option<(AnswerRow, Option<AnswerRow>)> {
    let others = reply.facts.others.as_ref().filter(|_| reply.request.cursor.is_none())?;
    let row = |metrics: &Vec<Cell>| AnswerRow {
        dimensions: vec![Cell::Null; reply.query.dimensions.len()],
        metrics: metrics.clone(),
    };
    Some((row(&others.metrics), others.comparison.as_ref().map(row)))
}

/// Puts an answer as JSON on a sheet: for batches.
pub fn put_json(reply: QueryReply, sheet: &mut Sheet) {
    let mut parts = json::answer(&reply);
    parts.push_text(json::end(&reply));
    sheet.push(reply, parts);
}

/// Large replies that are packed at once. Each takes a core while it lasts; hundreds at a time would each take a thread and its memory, and
/// finish no sooner.
static PACKERS: Semaphore = Semaphore::const_new(4);

/// A reply in its written form, as often sent as wanted.
#[derive(Clone, Debug)]
pub struct Written {
    body: Bytes,
    etag: HeaderValue,
    wire: Wire,
    /// Of the body.
    coding: Coding,
}

/// A name for an answer in a format. It is a weak one: what tells how the answer came about may differ.
fn etag(hash: u128, wire: Wire) -> HeaderValue {
    let text = format!("W/\"{:032x}\"", hash ^ wire as u128);
    HeaderValue::from_maybe_shared(Bytes::from(text)).expect("letters and digits make a header")
}

/// Whether a reply is sent while it is written. Parquet is not: its end tells where its parts are, and it is packed anyway.
pub fn is_streamed(reply: &QueryReply, wire: Wire) -> bool {
    wire != Wire::Parquet && parts::is_large(parts::cells(reply))
}

/// The response of a reply that is written while it is sent, or 304.
pub fn stream(reply: QueryReply, wanted: &Wanted, cache: CacheUse, elapsed: Duration) -> Response {
    let wire = wanted.wire;
    let mut parts = match wire {
        Wire::Ndjson => json::lines(&reply),
        Wire::Csv => csv::table(&reply),
        Wire::Json | Wire::Parquet => json::answer(&reply),
    };
    // The whole content would have to be written once more to name the answer by it; its version and its ends do.
    let mut ends = Vec::new();
    parts.write_ends(&reply, &mut ends);
    let etag = etag(json::hash(&reply, &ends, &json::question(&reply)), wire);
    if wire == Wire::Json {
        parts.push_text(json::end(&reply));
    }
    let mut response = if knows(&wanted.known, etag.as_bytes()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut sheet = Sheet::default();
        sheet.push(reply, parts);
        let mut response = Response::new(Body::new(sheet));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(wire.media_type()));
        response
    };
    set_head(response.headers_mut(), etag, cache, elapsed);
    response
}

impl Written {
    /// Writes a reply.
    pub fn new(reply: &QueryReply, wire: Wire) -> Result<Self, Problem> {
        let rows_bytes = reply.page.rows.len() * ROW_BYTES_USUAL + parts::cells(reply) * CELL_BYTES_USUAL;
        let mut body = Vec::with_capacity(BYTES_USUAL + rows_bytes);
        json::answer(reply).write_all(reply, &mut body);
        let question = json::question(reply);
        let etag = etag(json::hash(reply, &body, &question), wire);
        match wire {
            Wire::Json => json::about(reply, &question, &mut body),
            Wire::Parquet => body = columnar::parquet(reply)?,
            Wire::Ndjson | Wire::Csv => {
                body.clear();
                let mut parts = if wire == Wire::Csv { csv::table(reply) } else { json::lines(reply) };
                parts.write_all(reply, &mut body);
            }
        }
        // It may be kept, and what is kept is counted by its length.
        body.shrink_to_fit();
        Ok(Written { body: Bytes::from(body), etag, wire, coding: Coding::Identity })
    }

    /// The same reply with its body packed, where that is worth it.
    pub async fn packed(self, coding: Coding) -> Self {
        let is_worth_it = self.body.len() >= PACKED_BYTES_MIN && self.wire != Wire::Parquet;
        if coding == Coding::Identity || !is_worth_it {
            return self;
        }
        let packed = if self.body.len() <= PACKED_INLINE_BYTES_MAX {
            coding.pack(&self.body).ok()
        } else {
            // The semaphore is never closed.
            let _place = PACKERS.acquire().await.ok();
            let body = self.body.clone();
            tokio::task::spawn_blocking(move || coding.pack(&body).ok()).await.ok().flatten()
        };
        match packed {
            Some(packed) => Written { body: Bytes::from(packed), coding, ..self },
            None => self,
        }
    }

    /// Bytes it holds.
    pub fn memory_bytes(&self) -> usize {
        self.body.len() + self.etag.len() + size_of::<Self>()
    }

    /// The whole response, or 304 where the caller has this answer already. `elapsed` is the time the server took.
    pub fn respond(&self, wanted: &Wanted, cache: CacheUse, elapsed: Duration) -> Response {
        let mut response = if knows(&wanted.known, self.etag.as_bytes()) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut response = self.body.clone().into_response();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.wire.media_type()));
            if let Some(coding) = self.coding.name() {
                response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
            }
            response
        };
        set_head(response.headers_mut(), self.etag.clone(), cache, elapsed);
        response
    }
}

/// The fields that every answer has in its head.
fn set_head(head: &mut HeaderMap, etag: HeaderValue, cache: CacheUse, elapsed: Duration) {
    head.reserve(HEADERS_RESERVED);
    head.insert(ETAG, etag);
    head.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    head.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding, Authorization"));
    head.insert(X_CACHE, HeaderValue::from_static(cache.name()));
    head.insert(SERVER_TIMING, server_timing(elapsed));
}

/// Time in the server, in milli-seconds with three digits of micro-seconds.
fn server_timing(elapsed: Duration) -> HeaderValue {
    let us = elapsed.as_micros() as u64;
    let (mut ms, mut rest) = (itoa::Buffer::new(), itoa::Buffer::new());
    // The leading one keeps the zeros of the digits behind the point.
    let text = ["query;dur=", ms.format(us / 1_000), ".", &rest.format(1_000 + us % 1_000)[1..]].concat();
    HeaderValue::from_maybe_shared(Bytes::from(text)).expect("letters and digits make a header")
}

/// RFC 9110 13.1.2: weak comparison against a list of tags.
fn knows(known: &[HeaderValue], etag: &[u8]) -> bool {
    let opaque = |tag: &[u8]| -> usize { if tag.starts_with(b"W/") { 2 } else { 0 } };
    let wanted = &etag[opaque(etag)..];
    known
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|tag| tag == b"*" || &tag[opaque(tag)..] == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn accept_is_read_by_quality() {
        let cases = [
            ("text/csv", Some(Wire::Csv)),
            ("*/*", Some(Wire::Json)),
            ("text/html, text/csv;q=0.5, application/json;q=0.9", Some(Wire::Json)),
            ("application/vnd.apache.parquet", Some(Wire::Parquet)),
            ("application/x-ndjson;q=1", Some(Wire::Ndjson)),
            ("image/png", None),
        ];
        for (accept, expected) in cases {
            assert_eq!(Wire::negotiate(&headers(ACCEPT, accept)).ok(), expected, "{accept}");
        }
        assert_eq!(Wire::negotiate(&HeaderMap::new()).ok(), Some(Wire::Json));
    }

    #[test]
    fn timing_keeps_its_zeros() {
        for (us, expected) in [(0, "0.000"), (7, "0.007"), (1_050, "1.050"), (12_345_678, "12345.678")] {
            let timing = server_timing(Duration::from_micros(us));
            assert_eq!(timing.to_str().expect("text"), format!("query;dur={expected}"));
        }
    }

    #[test]
    fn if_none_match_compares_weakly() {
        for (value, expected) in [
            ("\"abc\"", true),
            ("W/\"abc\"", true),
            ("\"x\", W/\"abc\"", true),
            ("*", true),
            ("\"ab\"", false),
        ] {
            assert_eq!(knows(&[HeaderValue::from_static(value)], b"W/\"abc\""), expected, "{value}");
        }
    }
}
