//! Raw rows: reading them page by page, and deleting them.

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tidewater_engine::{Job, RowFilter, RowsReply, RowsRequest};
use tidewater_model::input_error::InputError;
use tidewater_model::names::ProjectName;
use tidewater_model::query::{Bounds, DateRange, Numbers};
use tidewater_model::time::Zone;

use crate::answer::{Shape, write_cell, write_string};
use crate::app::AppState;
use crate::auth::{self, May};
use crate::body::{JsonBody, from_json};
use crate::observe::RequestId;
use crate::openapi::schema;
use crate::problem::Problem;
use crate::reply::Json;

/// `POST /api/v1/rows` as sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RowsBody {
    dataset: String,
    #[serde(alias = "site_id")]
    project: Option<String>,
    date_range: Option<Value>,
    timezone: Option<String>,
    #[serde(default)]
    filters: Vec<Value>,
    columns: Option<Vec<String>>,
    order: Option<Order>,
    limit: Option<u32>,
    cursor: Option<String>,
    since: Option<String>,
    #[serde(default)]
    numbers: NumbersBody,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Asc,
    Desc,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum NumbersBody {
    #[default]
    Number,
    String,
}

/// `POST /api/v1/rows/delete` as sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteBody {
    dataset: String,
    #[serde(alias = "site_id")]
    project: Option<String>,
    date_range: Option<Value>,
    timezone: Option<String>,
    #[serde(default)]
    filters: Vec<Value>,
}

fn project_name(name: Option<&str>) -> Result<Option<ProjectName>, Problem> {
    let parsed = name.map(ProjectName::new).transpose();
    parsed.map_err(|error| Problem::bad_request("invalid_name", error.to_string()).at("project"))
}

fn row_filter(
    dataset: String,
    date_range: Option<&Value>,
    timezone: Option<String>,
    filters: Vec<Value>,
) -> Result<RowFilter, InputError> {
    let date_range = date_range.map(|json| DateRange::from_json(json, "date_range")).transpose()?;
    Ok(RowFilter { dataset, date_range, timezone, filters, bounds: Bounds::default() })
}

/// Reads a page of rows by time.
#[utoipa::path(post, path = "/api/v1/rows", tag = "rows", request_body = schema::RowsQuestion,
    responses((status = 200, body = schema::RowsAnswer)))]
pub async fn rows(
    State(app): State<AppState>,
    caller: May<auth::Rows>,
    State(id): State<RequestId>,
    JsonBody(json): JsonBody,
) -> Result<Response, Problem> {
    let body: RowsBody = from_json(json)?;
    let project = caller.project(project_name(body.project.as_deref())?.as_ref())?;
    id.set_project(&project);
    let numbers = match body.numbers {
        NumbersBody::Number => Numbers::Number,
        NumbersBody::String => Numbers::String,
    };
    let rows = row_filter(body.dataset, body.date_range.as_ref(), body.timezone, body.filters)?;
    let request = RowsRequest {
        rows: RowFilter { bounds: caller.bounds(), ..rows },
        columns: body.columns,
        is_ascending: matches!(body.order, Some(Order::Asc)),
        limit: body.limit,
        cursor: body.cursor,
        since: body.since,
    };
    let reply = app.engine.rows(request, project).await?;
    let mut response = write(&reply, numbers).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

fn write(reply: &RowsReply, numbers: Numbers) -> Vec<u8> {
    let shape = Shape { numbers, zone: Zone::utc() };
    let mut out = b"{\"rows\":[".to_vec();
    for (index, row) in reply.rows.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        for (index, (name, cell)) in reply.columns.iter().zip(row).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_string(name, &mut out);
            out.push(b':');
            write_cell(cell, &shape, &mut out);
        }
        out.push(b'}');
    }
    let meta = json!({
        "next_cursor": reply.next_cursor,
        "version": reply.version.to_string(),
        "rows_scanned": reply.rows_scanned,
        "elapsed_ms": reply.elapsed_ms,
    });
    out.extend_from_slice(b"],\"meta\":");
    out.extend_from_slice(meta.to_string().as_bytes());
    out.push(b'}');
    out
}

/// Deletes the rows that match. They are gone from every answer when this replies.
#[utoipa::path(post, path = "/api/v1/rows/delete", tag = "rows", request_body = schema::RowsDelete,
    responses((status = 200, body = schema::JobReply)))]
pub async fn delete(
    State(app): State<AppState>,
    caller: May<auth::Delete>,
    JsonBody(json): JsonBody,
) -> Result<Json<Value>, Problem> {
    let body: DeleteBody = from_json(json)?;
    let project = caller.project(project_name(body.project.as_deref())?.as_ref())?;
    let rows = row_filter(body.dataset, body.date_range.as_ref(), body.timezone, body.filters)?;
    let job = app.engine.delete_rows(rows, project).await?;
    Ok(Json(job_json(&job)))
}

/// A job as clients see it.
pub fn job_json(job: &Job) -> Value {
    json!({"job": {
        "id": job.id,
        "kind": job.kind,
        "status": job.status,
        "project": job.project,
        "dataset": job.dataset,
        "deleted": job.rows,
        "sums_kept": job.sums_kept,
        "version": job.version,
        "created_at": job.created_at.to_string(),
        "finished_at": job.finished_at.map(|at| at.to_string()),
    }})
}
