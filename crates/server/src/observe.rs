//! Around every request: its id and trace, its counters, its one log line, and the body of its problem.

mod asked;
pub mod bodies;
mod events;
mod observer;
mod seen;
mod shape;
mod trace;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::body::HttpBody as _;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tidewater_engine::Access;
use tidewater_model::names::ProjectName;
use tidewater_model::time::Timestamp;

use crate::app::{App, AppState};
use crate::cors;
use crate::limits::Stands;
use crate::metrics::{RouteId, method_name};
use crate::problem::Problem;

pub use asked::{Answered, asked};
pub use events::{About, Event, QuestionEvent, RequestEvent, RowCounts, RowsEvent};
pub use observer::Observer;
pub use seen::{Looked, Seen};
use trace::{TRACEPARENT, write_hex};
pub use trace::{TraceContext, random_id};

/// The header that carries a request's id, in and out.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id taken from a client: it is repeated in replies and logs.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Length of an id that is made here.
const MADE_ID_BYTES: usize = 17;

/// What names a request: its id for people, its place in a trace for tools. Handlers get it as part of their state (`dispatch`).
#[derive(Clone, Debug)]
pub struct RequestId(Arc<Named>);

#[derive(Debug)]
struct Named {
    id: IdText,
    trace: TraceContext,
    route: RouteId,
    arrived: Arrival,
    seen: Seen,
    /// Filled on the way by whoever learns it first.
    caller: OnceLock<Arc<Access>>,
    project: OnceLock<ProjectName>,
    stands: OnceLock<Stands>,
}

/// The text of an id.
#[derive(Debug)]
enum IdText {
    /// The client's.
    Given(Box<str>),
    /// Made here.
    Made([u8; MADE_ID_BYTES]),
}

impl IdText {
    fn as_bytes(&self) -> &[u8] {
        match self {
            IdText::Given(text) => text.as_bytes(),
            IdText::Made(text) => text,
        }
    }
}

/// When a request came, by both clocks. They are read once: on a virtual machine that takes as long as a look into a table.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// By the wall clock.
    pub at: Timestamp,
    /// By the clock that only goes on.
    pub instant: Instant,
}

impl Arrival {
    /// Now.
    pub fn now(app: &App) -> Self {
        Arrival { at: app.engine.now(), instant: Instant::now() }
    }

    /// The wall clock's time so much later.
    fn after(&self, elapsed: Duration) -> Timestamp {
        Timestamp(self.at.0.saturating_add(elapsed.as_micros() as i64))
    }
}

impl RequestId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Digits and a dash, or a string before.
        std::str::from_utf8(self.0.id.as_bytes()).unwrap_or_default()
    }

    /// The trace it belongs to.
    pub fn trace(&self) -> &TraceContext {
        &self.0.trace
    }

    /// Notes who is calling.
    pub fn set_caller(&self, access: &Arc<Access>) {
        // A request has one caller; a second look at its credential finds the same.
        let _ = self.0.caller.set(Arc::clone(access));
    }

    /// Notes whose rows the request means; the first of several stands for all.
    pub fn set_project(&self, project: &ProjectName) {
        let _ = self.0.project.set(project.clone());
    }

    /// Notes where the caller stands with its limit.
    pub fn set_standing(&self, stands: Stands) {
        // A second note would be about the same caller and the same limit.
        let _ = self.0.stands.set(stands);
    }

    /// Where the caller stands, if it has a limit.
    pub fn standing(&self) -> Option<&Stands> {
        self.0.stands.get()
    }

    /// When it came.
    pub fn arrived(&self) -> Arrival {
        self.0.arrived
    }

    /// Which of the usual headers it has.
    pub fn seen(&self) -> Seen {
        self.0.seen
    }

    /// The route it is for.
    pub fn route(&self) -> RouteId {
        self.0.route
    }

    /// The caller's key, by its id.
    pub fn subject(&self) -> Option<&str> {
        self.0.caller.get().map(|access| &*access.subject)
    }

    /// Whose rows it means: as noted, else the one project of its caller.
    pub fn project(&self) -> Option<&ProjectName> {
        self.0.project.get().or_else(|| self.0.caller.get()?.project())
    }

    /// The client's own id where it is short and plain, else a new one; the client's trace, or a new one.
    fn of(headers: &HeaderMap, route: RouteId, arrived: Arrival) -> Self {
        let seen = Seen::of(headers);
        let given = seen.get(Looked::RequestId, headers).and_then(|value| value.to_str().ok());
        let id = match given {
            Some(id) if !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX => IdText::Given(Box::from(id)),
            _ => IdText::Made(made_id()),
        };
        RequestId(Arc::new(Named {
            id,
            trace: TraceContext::of(seen.get(Looked::Traceparent, headers)),
            route,
            arrived,
            seen,
            caller: OnceLock::new(),
            project: OnceLock::new(),
            stands: OnceLock::new(),
        }))
    }

    /// Of some request.
    #[cfg(test)]
    pub fn any() -> Self {
        let arrived = Arrival { at: Timestamp(0), instant: Instant::now() };
        RequestId::of(&HeaderMap::new(), RouteId::NONE, arrived)
    }

    /// Writes the id and the place in the trace into the head of the response.
    fn write(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_bytes(self.0.id.as_bytes()) {
            headers.insert(X_REQUEST_ID, value);
        }
        headers.insert(TRACEPARENT, self.0.trace.header());
    }
}

/// A new id, for what has no request of its own.
pub fn next_request_id() -> String {
    String::from_utf8_lossy(&made_id()).into_owned()
}

/// A new id, for a request without one: eight digits that tell processes apart, a dash, and a count.
fn made_id() -> [u8; MADE_ID_BYTES] {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let count = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let mut id = [b'-'; MADE_ID_BYTES];
    write_hex(&process_id().to_be_bytes(), &mut id[..8]);
    // After four billion requests the count begins anew.
    write_hex(&count[4..], &mut id[9..]);
    id
}

/// Distinguishes ids of this process from those before a restart.
fn process_id() -> u32 {
    static ID: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *ID.get_or_init(|| getrandom::u32().unwrap_or_else(|_| std::process::id()))
}

/// A request from its head to the head of its answer.
pub struct Observed {
    app: AppState,
    id: RequestId,
    method: Method,
    origin: cors::Asked,
    received_bytes: Option<u64>,
    is_answered: bool,
}

impl Observed {
    /// Counts a request and names it.
    pub fn begin(app: &AppState, request: &Request) -> Self {
        let arrived = Arrival::now(app);
        let route = app.routes.of(request.uri().path());
        let id = RequestId::of(request.headers(), route, arrived);
        app.http.began();
        Observed {
            app: app.clone(),
            method: request.method().clone(),
            origin: cors::asked(app, request, id.seen()),
            id,
            received_bytes: request.body().size_hint().exact(),
            is_answered: false,
        }
    }

    /// The server's components.
    pub fn app(&self) -> &AppState {
        &self.app
    }

    /// Its names.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// The answer to a browser that asks before it sends; none for any other request.
    pub fn preflight(&self, request: &Request) -> Option<Response> {
        cors::preflight(&self.origin, request)
    }

    /// Completes the answer, counts it and tells about it.
    pub fn end(mut self, response: Response) -> Response {
        self.is_answered = true;
        let Observed { app, id, method, received_bytes, .. } = &self;
        let Arrival { instant, .. } = id.arrived();
        let (route, elapsed) = (id.route(), instant.elapsed());
        app.http.answered(route, method, response.status(), elapsed);
        let mut response = complete(response, id, method, app.http.route_name(route), elapsed);
        cors::mark(&self.origin, response.headers_mut());
        let event = Event::Request(RequestEvent {
            at: id.arrived().after(elapsed),
            route,
            method: method_name(method),
            status: response.status().as_u16(),
            elapsed_us: elapsed.as_micros() as u64,
            received_bytes: *received_bytes,
            sent_bytes: response.body().size_hint().exact(),
            id: id.clone(),
        });
        app.observer.note(event, &app.http);
        bodies::count_response(app, route, response)
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        // Its client went away, and the future that answers it was dropped.
        if !self.is_answered {
            self.app.http.abandoned();
            self.app.http.ended();
        }
    }
}

/// Adds what every response has, logs it, and writes the body of a problem.
fn complete(
    mut response: Response,
    id: &RequestId,
    method: &Method,
    route: &str,
    elapsed: Duration,
) -> Response {
    if let Some(problem) = problem_of(&mut response) {
        log(&problem, id, method, route);
        let headers = std::mem::take(response.headers_mut());
        response = problem.render(id.as_str());
        // `Allow` of a 405 and the like stay; what describes the old body does not.
        let kept = headers.into_iter().filter_map(|(name, value)| Some((name?, value)));
        for (name, value) in kept.filter(|(name, _)| *name != CONTENT_LENGTH && *name != CONTENT_TYPE) {
            response.headers_mut().insert(name, value);
        }
    } else {
        tracing::debug!(
            request_id = id.as_str(), %method, route, status = response.status().as_u16(),
            elapsed_us = elapsed.as_micros() as u64, "request"
        );
    }
    id.write(response.headers_mut());
    response
}

/// The problem a response carries. The framework's own refusals (a path that is not UTF-8) are plain text and become one.
fn problem_of(response: &mut Response) -> Option<Problem> {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return Some(problem);
    }
    let is_text = || {
        response.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/plain"))
    };
    let is_refusal = response.status().is_client_error() && is_text();
    is_refusal.then(|| Problem { status: response.status(), ..unreadable() })
}

/// The refusal of a request that is HTTP and yet cannot be read.
pub fn unreadable() -> Problem {
    Problem::bad_request("malformed_request", "the request line or its headers do not read")
}

fn log(problem: &Problem, id: &RequestId, method: &Method, route: &str) {
    let (request_id, status, code) = (id.as_str(), problem.status.as_u16(), problem.code);
    match &problem.cause {
        Some(cause) => {
            let trace_id = id.trace().id();
            tracing::error!(request_id, trace_id, %method, route, status, code, cause, "request failed");
        }
        None => {
            tracing::debug!(request_id, %method, route, status, code, detail = problem.detail, "request refused")
        }
    }
}

/// What a panic in a handler becomes. The panic itself was logged by the hook of `serve`.
pub fn panicked() -> Response {
    Problem {
        cause: Some("panic".to_owned()),
        ..Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server failed on this request; the cause is in its log under this request id",
        )
    }
    .into_response()
}
