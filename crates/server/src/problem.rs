//! The one place where errors become HTTP: RFC 9457 problems with a stable `code`.
//!
//! What a client reads never holds a path, a stack trace or the text of an inner error: those go to the log, once, together with
//! the request id (`observe`).

use std::error::Error;
use std::fmt::Write as _;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tidewater_engine::EngineError;
use tidewater_model::input_error::InputError;
use tidewater_query::ExecuteError;
use tidewater_store::StoreError;

use crate::limits::Stands;

/// The media type of problems.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error as a client sees it.
#[derive(Clone, Debug)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// A stable snake_case word.
    pub code: &'static str,
    /// What was wrong with which value, and what would be right.
    pub detail: String,
    /// Where in the request it stands.
    pub field: Option<String>,
    /// When to come back, in seconds.
    pub retry_after_s: Option<u64>,
    /// Further members.
    pub members: Map<String, Value>,
    /// The limit that is used up, for the headers.
    pub stands: Option<Box<Stands>>,
    /// For the log only.
    pub cause: Option<String>,
}

impl Problem {
    /// A problem without further members.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Problem {
            status,
            code,
            detail: detail.into(),
            field: None,
            retry_after_s: None,
            members: Map::new(),
            stands: None,
            cause: None,
        }
    }

    /// 400.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 500, with the chain of causes for the log.
    pub fn internal(error: &dyn Error) -> Self {
        Problem {
            cause: Some(chain(error)),
            ..Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the server failed on this request; the cause is in its log under this request id",
            )
        }
    }

    /// 503 with `Retry-After`.
    pub fn unavailable(code: &'static str, detail: impl Into<String>, retry_after_s: u64) -> Self {
        Problem {
            retry_after_s: Some(retry_after_s),
            ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
        }
    }

    /// The same problem at a place.
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The same problem with its cause for the log.
    fn caused_by(mut self, error: &dyn Error) -> Self {
        self.cause = Some(chain(error));
        self
    }

    /// The problem as a JSON object.
    pub fn to_json(&self, request_id: &str) -> Value {
        let mut object = json!({
            "type": format!("urn:tidewater:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        if let Some(members) = object.as_object_mut() {
            if let Some(field) = &self.field {
                members.insert("field".to_owned(), Value::from(field.as_str()));
            }
            members.insert("request_id".to_owned(), Value::from(request_id));
            members.extend(self.members.clone());
        }
        object
    }

    /// The full response; `observe` calls it, since it knows the request id.
    pub fn render(&self, request_id: &str) -> Response {
        let body = self.to_json(request_id).to_string();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 6750 3.1: an error is named only to callers that showed something.
            let challenge = match self.code {
                "missing_credentials" => "Bearer",
                _ => "Bearer error=\"invalid_token\"",
            };
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

impl IntoResponse for Problem {
    /// An empty response that carries the problem; `observe` writes its body.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<InputError> for Problem {
    fn from(error: InputError) -> Self {
        let status = match &error {
            error if error.is_conflict() => StatusCode::CONFLICT,
            error if error.is_forbidden() => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        };
        Problem { field: error.field.clone(), ..Problem::new(status, error.code, error.message) }
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        Problem::from(&error)
    }
}

impl From<&EngineError> for Problem {
    fn from(error: &EngineError) -> Self {
        let detail = error.to_string();
        match error {
            EngineError::Input(error) => error.clone().into(),
            EngineError::Decode(error) => crate::body::decode_problem(error),
            EngineError::Store(error) => error.into(),
            EngineError::Query(error) => error.into(),
            EngineError::Shared(error) => Problem::from(&**error),
            EngineError::UnknownDataset { .. } => {
                Problem::bad_request("unknown_dataset", detail).at("dataset")
            }
            EngineError::Overloaded { retry_after_s, .. } => {
                Problem::unavailable("overloaded", detail, *retry_after_s)
            }
            EngineError::VersionNotReached { .. } => {
                Problem::unavailable("version_not_reached", detail, 1).at("min_version")
            }
            EngineError::InvalidVersion { field, .. } => {
                Problem::bad_request("invalid_version", detail).at(*field)
            }
            EngineError::InvalidCursor => Problem::bad_request("invalid_cursor", detail).at("cursor"),
            EngineError::CursorExpired => {
                Problem::new(StatusCode::GONE, "cursor_expired", detail).at("cursor")
            }
            EngineError::UnknownKey => Problem::new(StatusCode::NOT_FOUND, "unknown_key", detail),
            EngineError::UnknownJob => Problem::new(StatusCode::NOT_FOUND, "unknown_job", detail),
            EngineError::UnknownProject => Problem::new(StatusCode::NOT_FOUND, "unknown_project", detail),
            EngineError::ProjectExists { .. } => {
                Problem::new(StatusCode::CONFLICT, "project_exists", detail).at("name")
            }
            EngineError::ProjectDeleting { .. } => {
                Problem::new(StatusCode::CONFLICT, "project_deleting", detail).at("project")
            }
            EngineError::UnknownQuery => Problem::new(StatusCode::NOT_FOUND, "unknown_query", detail),
            EngineError::TooMany { .. } => Problem::new(StatusCode::CONFLICT, "limit_exceeded", detail),
            EngineError::ShuttingDown => Problem::unavailable("shutting_down", detail, 5),
            EngineError::Record { .. }
            | EngineError::KeyRecord { .. }
            | EngineError::Random(_)
            | EngineError::Spill { .. }
            | EngineError::Panicked => Problem::internal(error),
        }
    }
}

impl From<&ExecuteError> for Problem {
    fn from(error: &ExecuteError) -> Self {
        let detail = error.to_string();
        let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
        match error {
            ExecuteError::Memory { .. } => Problem::new(unprocessable, "memory_limit_exceeded", detail),
            ExecuteError::Busy { .. } => Problem::unavailable("overloaded", detail, 1),
            ExecuteError::Costly { .. } => Problem::unavailable("overloaded", detail, 1),
            ExecuteError::Deadline => Problem::unavailable("query_timeout", detail, 5),
            ExecuteError::Cancelled => Problem::unavailable("query_cancelled", detail, 1),
            ExecuteError::Limit { .. } => Problem::bad_request("limit_exceeded", detail),
            ExecuteError::RangeNotCovered { from } => {
                let mut problem = Problem::new(unprocessable, "range_not_covered", detail).at("date_range");
                problem.members.insert("earliest_from".to_owned(), Value::from(from.to_string()));
                problem
            }
            ExecuteError::Time(_) => Problem::bad_request("limit_exceeded", detail).at("dimensions"),
            ExecuteError::Filter(_) => {
                Problem::bad_request("invalid_filter", detail).at("filters").caused_by(error)
            }
            ExecuteError::Store(error) => error.into(),
            ExecuteError::Inconsistent { .. } | ExecuteError::Section(_) | ExecuteError::Panicked => {
                Problem::internal(error)
            }
        }
    }
}

impl From<&StoreError> for Problem {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Schema(input) => input.clone().into(),
            StoreError::UnknownDataset => {
                Problem::new(StatusCode::NOT_FOUND, "unknown_dataset", "this dataset was dropped just now")
            }
            StoreError::Filter { .. } => Problem {
                cause: Some(chain(error)),
                ..Problem::bad_request("invalid_filter", "one of the filters cannot be run").at("filters")
            },
            StoreError::TooLarge { .. } => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "limit_exceeded", error.to_string())
            }
            StoreError::Full => {
                Problem::unavailable("overloaded", "the store is writing as fast as it can; try again", 1)
            }
            StoreError::DiskFull { .. } => Problem::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "disk_full",
                "the disk is almost full, so no rows are taken; questions and deletes still work",
            ),
            StoreError::TokenConflict => Problem::new(
                StatusCode::CONFLICT,
                "idempotency_conflict",
                "this Idempotency-Key came with another body before; use a new key for new rows",
            )
            .at("Idempotency-Key"),
            StoreError::Poisoned { .. } => Problem {
                cause: Some(chain(error)),
                ..Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store_failed",
                    "an earlier write to the disk failed, so nothing can be stored until the server is restarted; questions still work",
                )
            },
            StoreError::Closed => Problem::unavailable("shutting_down", "the server is shutting down", 5),
            _ => Problem::internal(error),
        }
    }
}

/// An error with all its sources, for the log.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        write!(text, ": {error}").expect("writing to a String cannot fail");
        source = error.source();
    }
    text
}
