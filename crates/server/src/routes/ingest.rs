//! Rows on their way in, and the latest that were refused.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{RawQuery, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tidewater_decode::{Format, Unknown};
use tidewater_engine::{IngestReply, IngestRequest, Origin, is_own_dataset, is_own_project};
use tidewater_model::limits::IDEMPOTENCY_TOKEN_BYTES_MAX;
use tidewater_model::names::ProjectName;

use crate::app::AppState;
use crate::auth::{self, Caller, May, reserved};
use crate::body::{Pace, content_encoding, media_type, read, url_parameters};
use crate::dispatch::Name;
use crate::observe::{Event, RequestId, RowCounts, RowsEvent};
use crate::openapi::schema;
use crate::problem::Problem;
use crate::reply::Json;

/// Refused rows in one reply of `GET /api/v1/ingest/rejects`.
const REJECTS_MAX: usize = 1_000;

/// Stores rows. The reply is sent when they are durable.
#[utoipa::path(post, path = "/api/v1/ingest/{dataset}", tag = "ingest",
    params(("dataset" = String, Path),
        ("unknown" = Option<String>, Query, description = "`reject` (default), `ignore` or `props`."),
        ("project" = Option<String>, Query, description = "Whose rows, for a key of all projects."),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key with the same body stores once.")),
    request_body(description = "Rows: an object, an array of objects, lines, CSV with a header row, or Parquet.",
        content((schema::Row = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.parquet"))),
    responses((status = 200, body = schema::IngestReply)))]
pub async fn ingest(
    State(app): State<AppState>,
    caller: May<auth::Ingest>,
    Name(dataset): Name,
    State(id): State<RequestId>,
    request: Request,
) -> Result<Response, Problem> {
    let started = Instant::now();
    let name = Arc::from(dataset.as_str());
    let stored = store(&app, &caller, dataset, &id, request).await;
    let elapsed = started.elapsed();
    app.work.ingest_durations.add_duration(elapsed);
    let (rows, response) = match stored {
        Ok(reply) => {
            let IngestReply { accepted, rejected, duplicates, .. } = reply;
            (RowCounts { accepted, rejected, duplicates }, respond(&reply))
        }
        Err(problem) => (RowCounts::default(), Err(problem)),
    };
    // Without a project it got no further than its head.
    if let Some(project) = id.project().cloned() {
        let status = response.as_ref().map_or_else(|problem| problem.status, Response::status).as_u16();
        let (at, elapsed_us) = (app.engine.now(), elapsed.as_micros() as u64);
        let event = RowsEvent { at, id, project, dataset: name, elapsed_us, rows, status };
        app.observer.note(Event::Rows(event), &app.http);
    }
    response
}

/// Reads the body and stores its rows.
async fn store(
    app: &AppState,
    caller: &Caller,
    dataset: String,
    id: &RequestId,
    request: Request,
) -> Result<IngestReply, Problem> {
    let project = caller.project(None)?;
    id.set_project(&project);
    if is_own_project(project.as_str()) || is_own_dataset(&dataset) {
        return Err(reserved());
    }
    let format = format(request.headers())?;
    let encoding = content_encoding(request.headers())?;
    let token = idempotency_key(request.headers())?;
    let unknown = unknown_columns(request.uri().query())?;
    let server = &app.config.server;
    within_limits(app, caller, &project)?;
    let mut permit = app.engine.admit(0)?;
    let began = Instant::now();
    let body = read(request.into_body(), server.body_bytes_max, Pace::of(server), &mut permit).await?;
    app.work.reading.add_duration(began.elapsed());
    let bytes = body.len() as u64;
    let stored_for = project.clone();
    let request = IngestRequest {
        dataset,
        project,
        format,
        encoding,
        body,
        unknown,
        token,
        origin: Origin::Client,
        permit,
    };
    let reply = app.engine.ingest(request).await.map_err(|error| {
        // What does not read has made work too.
        app.limits.sent(caller.subject(), 0, bytes);
        let problem = Problem::from(error);
        match problem.code {
            // The name stands in the path.
            "unknown_dataset" => Problem { status: StatusCode::NOT_FOUND, field: None, ..problem },
            _ => problem,
        }
    })?;
    charge(app, caller, &stored_for, &reply);
    Ok(reply)
}

/// Whether the key may send rows, and the project store them.
fn within_limits(app: &AppState, caller: &Caller, project: &ProjectName) -> Result<(), Problem> {
    app.limits.may_send(caller.subject())?;
    if app.limits.has_quotas() {
        let (used, day_left) = app.engine.usage_today(project)?;
        app.limits.may_store(used, day_left)?;
    }
    Ok(())
}

/// Charges what was sent to the key, and what was stored to the project.
fn charge(app: &AppState, caller: &Caller, project: &ProjectName, reply: &IngestReply) {
    app.limits.sent(caller.subject(), reply.accepted + reply.rejected + reply.duplicates, reply.bytes);
    if !app.limits.has_quotas() || reply.is_repeated || reply.accepted == 0 {
        return;
    }
    if let Err(error) = app.engine.count_usage(project, reply.accepted, reply.bytes) {
        // The rows are stored, and the reply must say so.
        tracing::warn!(error = &error as &dyn std::error::Error, "rows of a project are not counted");
    }
}

fn format(headers: &HeaderMap) -> Result<Format, Problem> {
    let media_type = media_type(headers);
    media_type.as_deref().and_then(Format::from_media_type).ok_or_else(|| {
        let known = "application/json, application/x-ndjson, text/csv or application/vnd.apache.parquet";
        let detail = match media_type {
            Some(other) => {
                format!("rows come as {known}, not as '{}'", tidewater_model::names::excerpt(&other))
            }
            None => format!("say with Content-Type how the rows are written: {known}"),
        };
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail).at("Content-Type")
    })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(token) if !token.is_empty() && token.len() <= IDEMPOTENCY_TOKEN_BYTES_MAX => {
            Ok(Some(token.to_owned()))
        }
        _ => {
            let detail = format!("an Idempotency-Key is 1 to {IDEMPOTENCY_TOKEN_BYTES_MAX} plain characters");
            Err(Problem::bad_request("invalid_idempotency_key", detail).at("Idempotency-Key"))
        }
    }
}

fn unknown_columns(query: Option<&str>) -> Result<Unknown, Problem> {
    let Some(query) = query else { return Ok(Unknown::Reject) };
    let mut unknown = Unknown::Reject;
    for (name, value) in url_parameters(query)? {
        match (name.as_str(), value.as_str()) {
            ("unknown", "reject") => unknown = Unknown::Reject,
            ("unknown", "ignore") => unknown = Unknown::Ignore,
            ("unknown", "props") => unknown = Unknown::Props,
            ("unknown", other) => {
                let detail = format!(
                    "'unknown' must be reject, ignore or props, not '{}'",
                    tidewater_model::names::excerpt(other)
                );
                return Err(Problem::bad_request("invalid_value", detail).at("unknown"));
            }
            ("project", _) => {}
            (other, _) => {
                let other = tidewater_model::names::excerpt(other);
                let detail = format!("unknown parameter '{other}'; known: unknown, project");
                return Err(Problem::bad_request("unknown_parameter", detail).at(other));
            }
        }
    }
    Ok(unknown)
}

fn respond(reply: &IngestReply) -> Result<Response, Problem> {
    if reply.is_refused() {
        let detail = format!("all {} rows were refused; 'errors' says why", reply.rejected);
        return Err(Problem {
            members: members(reply)?,
            ..Problem::bad_request("all_rows_rejected", detail)
        });
    }
    let body = if reply.errors.is_empty() && reply.rejected == 0 && reply.ignored == 0 {
        // The reply to one good event, written without a tree of values.
        let IngestReply { accepted, duplicates, version, .. } = reply;
        format!(
            "{{\"accepted\":{accepted},\"rejected\":0,\"duplicates\":{duplicates},\"errors\":[],\"version\":\"{version}\"}}"
        )
    } else {
        Value::Object(members(reply)?).to_string()
    };
    let mut response = Bytes::from(body).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if reply.is_repeated {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn members(reply: &IngestReply) -> Result<Map<String, Value>, Problem> {
    let errors = serde_json::to_value(&reply.errors).map_err(|error| Problem::internal(&error))?;
    let mut members = Map::new();
    members.insert("accepted".to_owned(), Value::from(reply.accepted));
    members.insert("rejected".to_owned(), Value::from(reply.rejected));
    members.insert("duplicates".to_owned(), Value::from(reply.duplicates));
    if reply.ignored > 0 {
        members.insert("ignored".to_owned(), Value::from(reply.ignored));
    }
    members.insert("errors".to_owned(), errors);
    members.insert("version".to_owned(), Value::from(reply.version.to_string()));
    Ok(members)
}

/// The latest refused rows with their reasons, newest first.
#[utoipa::path(get, path = "/api/v1/ingest/rejects", tag = "ingest",
    params(("project" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "At most 1,000.")),
    responses((status = 200, body = schema::RejectList)))]
pub async fn rejects(
    State(app): State<AppState>,
    caller: May<auth::Operate>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let parameters = url_parameters(query.as_deref().unwrap_or(""))?;
    let limit = match parameters.iter().find(|(name, _)| name == "limit") {
        None => 100,
        Some((_, text)) => match text.parse() {
            Ok(limit @ 1..=REJECTS_MAX) => limit,
            _ => {
                let detail = format!("'limit' must be a number from 1 to {REJECTS_MAX}");
                return Err(Problem::bad_request("invalid_value", detail).at("limit"));
            }
        },
    };
    let rows = app.engine.rejects(caller.visible()?.as_ref(), limit);
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "at": row.at.to_string(), "project": row.project, "dataset": row.dataset, "index": row.index,
                "field": row.field, "code": row.code, "message": row.message, "row": row.row,
            })
        })
        .collect();
    Ok(Json(json!({ "rejects": rows })))
}
