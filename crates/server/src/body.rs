//! Request bodies and URL parameters: reading them within their limits, and what is wrong where they do not read.
//!
//! Not here: rows in a body (`decode`).

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use http_body::Frame;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidewater_decode::{DecodeError, Encoding, decompress};
use tidewater_engine::{EngineError, Permit};

use crate::config::ServerConfig;
use crate::dispatch::Call;
use crate::problem::Problem;

/// Bytes of a JSON body that is not rows (questions, definitions, keys), decompressed. The largest sensible one is a question
/// with thousands of filter values.
const JSON_BODY_BYTES_MAX: usize = 2 << 20;
/// First reservation for a body whose length is not declared, in bytes.
const CHUNK_BYTES: u64 = 64 << 10;

/// A JSON body of any shape.
pub struct JsonBody(pub Value);

/// The bytes of a JSON body, for readers that keep the order of members.
pub struct TextBody(pub Bytes);

impl FromRequest<Call> for TextBody {
    type Rejection = Problem;

    async fn from_request(request: Request, Call { app, .. }: &Call) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let media_type = media_type(request.headers()).unwrap_or_default();
            let detail = format!("this route takes application/json, not '{media_type}'");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
                .at("Content-Type"));
        }
        let encoding = content_encoding(request.headers())?;
        let limit = JSON_BODY_BYTES_MAX;
        let mut permit = app.engine.admit(0)?;
        let body = read(request.into_body(), limit as u64, Pace::of(&app.config.server), &mut permit).await?;
        let body = decompress(encoding, &body, limit).map_err(|error| decode_problem(&error))?;
        Ok(TextBody(body))
    }
}

impl FromRequest<Call> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, call: &Call) -> Result<Self, Problem> {
        let TextBody(body) = TextBody::from_request(request, call).await?;
        json(&body).map(JsonBody)
    }
}

/// Reads a body as JSON.
pub fn json(body: &[u8]) -> Result<Value, Problem> {
    if body.is_empty() {
        return Err(Problem::bad_request("empty_body", "the body is empty; send a JSON object"));
    }
    serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request("invalid_json", format!("the body is not JSON: {error}")))
}

/// Gives a JSON object the shape of `T`.
pub fn from_json<T: DeserializeOwned>(json: Value) -> Result<T, Problem> {
    // A list would be taken for the members in their order.
    if !json.is_object() {
        return Err(Problem::bad_request("invalid_value", "the body does not fit: it must be a JSON object"));
    }
    serde_json::from_value(json).map_err(|error| {
        let text = error.to_string();
        let code = if text.starts_with("unknown field") {
            "unknown_field"
        } else if text.starts_with("missing field") {
            "missing_field"
        } else {
            "invalid_value"
        };
        let field = text.split('`').nth(1).filter(|_| code != "invalid_value").map(str::to_owned);
        Problem { field, ..Problem::bad_request(code, format!("the body does not fit: {text}")) }
    })
}

/// Whether a body is JSON by its media type; one without is taken for it.
fn is_json(headers: &HeaderMap) -> bool {
    if headers.get(CONTENT_TYPE).is_none_or(|value| value.as_bytes() == b"application/json") {
        return true;
    }
    media_type(headers).is_none_or(|name| name == "application/json" || name.ends_with("+json"))
}

/// The media type without its parameters, in lower case.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// How the body is packed.
pub fn content_encoding(headers: &HeaderMap) -> Result<Encoding, Problem> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
    value.to_str().ok().and_then(Encoding::parse).ok_or_else(|| {
        let detail = "bodies may be packed with gzip or zstd, or not at all";
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", detail)
            .at("Content-Encoding")
    })
}

/// How slowly a body may come.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Longest pause.
    idle: Duration,
    /// Bytes per second on average, after a first `idle`; 0: any.
    bytes_per_s_min: u64,
}

impl Pace {
    /// That of the configuration.
    pub fn of(config: &ServerConfig) -> Self {
        Pace {
            idle: Duration::from_millis(config.body_idle_ms),
            bytes_per_s_min: config.body_bytes_per_s_min,
        }
    }

    /// How long to wait for the next bytes when so many have come in so much time.
    fn wait(&self, received: u64, elapsed: Duration) -> Duration {
        if self.bytes_per_s_min == 0 {
            return self.idle;
        }
        let earned = Duration::from_millis(received.saturating_mul(1_000) / self.bytes_per_s_min);
        (self.idle + earned).saturating_sub(elapsed).min(self.idle)
    }
}

/// Reads a body of at most `limit` bytes; every byte is covered by the permit before it is kept.
pub async fn read(mut body: Body, limit: u64, pace: Pace, permit: &mut Permit) -> Result<Bytes, Problem> {
    let full = |_| {
        Problem::from(EngineError::Overloaded {
            what: "too many bytes of requests are in memory",
            retry_after_s: 1,
        })
    };
    let declared = body.size_hint().exact();
    if declared.is_some_and(|bytes| bytes > limit) {
        return Err(too_large(limit));
    }
    permit.cover(declared.unwrap_or(CHUNK_BYTES)).map_err(full)?;
    let mut first = Bytes::new();
    let mut rest: Vec<u8> = Vec::new();
    // Most bodies are there with their heads; no clock is asked before one has to be waited for.
    let mut waiting_since = None;
    loop {
        let frame = match at_once(&mut body).await {
            Some(frame) => frame,
            None => {
                let since: Instant = *waiting_since.get_or_insert_with(Instant::now);
                let wait = pace.wait((first.len() + rest.len()) as u64, since.elapsed());
                let next = poll_fn(|context| Pin::new(&mut body).poll_frame(context));
                tokio::time::timeout(wait, next).await.map_err(|_| {
                    let detail = "the body stopped arriving, or came too slowly; send it again";
                    Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail)
                })?
            }
        };
        let data = match frame {
            None => break,
            Some(Err(_)) => {
                return Err(Problem::bad_request("incomplete_body", "the connection ended inside the body"));
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(_trailers) => continue,
            },
        };
        let so_far = (first.len() + rest.len() + data.len()) as u64;
        if so_far > limit {
            return Err(too_large(limit));
        }
        permit.cover(so_far).map_err(full)?;
        // A small body is one frame, which is kept as it is.
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.reserve(declared.unwrap_or(so_far * 2) as usize);
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { Bytes::from(rest) })
}

/// A frame of a body, or its end, where that is there already.
async fn at_once(body: &mut Body) -> Option<Option<Result<Frame<Bytes>, axum::Error>>> {
    poll_fn(|context| match Pin::new(&mut *body).poll_frame(context) {
        Poll::Ready(frame) => Poll::Ready(Some(frame)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn too_large(limit: u64) -> Problem {
    let detail = format!("the body is longer than {limit} bytes (decompressed); send fewer rows at a time");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

/// A body that does not read as a whole.
pub fn decode_problem(error: &DecodeError) -> Problem {
    let status = if error.is_too_large() { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
    Problem {
        field: error.field().map(str::to_owned),
        ..Problem::new(status, error.code(), error.to_string())
    }
}

/// The decoded pairs of a query string.
pub fn url_parameters(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((unescape(name)?, unescape(value)?))
        })
        .collect()
}

/// The decoded values of one parameter of a query string.
pub fn parameter_values<'a>(
    query: &'a str,
    name: &'a str,
) -> impl Iterator<Item = Result<String, Problem>> + 'a {
    query.split('&').filter_map(move |pair| {
        let (found, value) = pair.split_once('=').unwrap_or((pair, ""));
        match unescape(found) {
            Ok(found) if found == name => Some(unescape(value)),
            Ok(_) => None,
            Err(problem) => Some(Err(problem)),
        }
    })
}

/// `application/x-www-form-urlencoded`, as the URL standard reads it.
fn unescape(text: &str) -> Result<String, Problem> {
    percent_decoded(&text.replace('+', " "))
        .ok_or_else(|| Problem::bad_request("invalid_utf8", "the URL holds bytes that are not UTF-8"))
}

/// Text with its percent-encoded bytes decoded; none where the outcome is not UTF-8.
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b'%' => match tail.get(..2).and_then(hex_pair) {
                Some(value) => {
                    bytes.push(value);
                    rest = &tail[2..];
                }
                None => bytes.push(b'%'),
            },
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_to_keep_its_pace() {
        let (ms, pace) =
            (Duration::from_millis, Pace { idle: Duration::from_millis(1_000), bytes_per_s_min: 100 });
        for (received, elapsed, expected) in [
            (0, ms(0), ms(1_000)),
            // A fast sender may pause for the whole time, a slow one for what it is ahead.
            (1_000, ms(5_000), ms(1_000)),
            (100, ms(1_500), ms(500)),
            (100, ms(3_000), ms(0)),
        ] {
            assert_eq!(pace.wait(received, elapsed), expected, "{received} in {elapsed:?}");
        }
        assert_eq!(Pace { bytes_per_s_min: 0, ..pace }.wait(1, ms(900_000)), ms(1_000));
    }

    #[test]
    fn url_parameters_are_unescaped() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("a=1&b=x%20y+z", &[("a", "1"), ("b", "x y z")]),
            ("q=%7B%22a%22%3A1%7D", &[("q", "{\"a\":1}")]),
            ("a", &[("a", "")]),
            ("a=100%", &[("a", "100%")]),
        ];
        for (query, expected) in cases {
            let pairs = url_parameters(query).expect("they read");
            let pairs: Vec<(&str, &str)> =
                pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(&pairs, expected, "{query}");
        }
        assert!(url_parameters("a=%FF").is_err());
    }
}
