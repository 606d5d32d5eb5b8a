//! Questions: one, one in a URL, or up to fifty from one snapshot.

use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tidewater_model::limits::BATCH_QUERIES_MAX;
use tidewater_model::query::QueryRequest;

use crate::answer::{self, Wire};
use crate::app::AppState;
use crate::auth::Asks;
use crate::body::{JsonBody, url_parameters};
use crate::observe::RequestId;
use crate::openapi::schema;
use crate::problem::Problem;

/// Answers a question.
#[utoipa::path(post, path = "/api/v1/query", tag = "query", request_body = schema::Question,
    responses((status = 200, body = schema::Answer), (status = 304, description = "The caller has this answer.")))]
pub async fn query(
    State(app): State<AppState>,
    Asks(caller): Asks,
    headers: HeaderMap,
    JsonBody(json): JsonBody,
) -> Result<Response, Problem> {
    let wire = Wire::negotiate(&headers)?;
    let request = QueryRequest::from_json(&json)?;
    ask(&app, &caller, request, wire, &headers).await
}

/// Answers a question in a URL: `?q=` holds the JSON, or each member is a parameter.
#[utoipa::path(get, path = "/api/v1/query", tag = "query",
    params(("q" = Option<String>, Query, description = "The question as JSON."),
        ("dataset" = Option<String>, Query, description = "Without `q`."),
        ("metrics" = Option<String>, Query, description = "Without `q`: names, separated by commas."),
        ("dimensions" = Option<String>, Query, description = "Without `q`: names, separated by commas."),
        ("date_range" = Option<String>, Query, description = "Without `q`: a word, or two times separated by a comma.")),
    responses((status = 200, body = schema::Answer), (status = 304, description = "The caller has this answer.")))]
pub async fn query_get(
    State(app): State<AppState>,
    Asks(caller): Asks,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
) -> Result<Response, Problem> {
    let wire = Wire::negotiate(&headers)?;
    let parameters = url_parameters(raw.as_deref().unwrap_or(""))?;
    let request = match parameters.iter().find(|(name, _)| name == "q").cloned() {
        Some((_, text)) => {
            let json: Value = serde_json::from_str(&text).map_err(|error| {
                Problem::bad_request("invalid_json", format!("'q' is not JSON: {error}")).at("q")
            })?;
            QueryRequest::from_json(&json)?
        }
        None => QueryRequest::from_params(parameters)?,
    };
    ask(&app, &caller, request, wire, &headers).await
}

async fn ask(
    app: &AppState,
    caller: &crate::auth::Caller,
    request: QueryRequest,
    wire: Wire,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let project = caller.project(request.project.as_ref())?;
    let reply = app.engine.query(request, project).await?;
    answer::respond(&reply, wire, headers)
}

/// Answers up to fifty questions from one snapshot; each gets an answer or a problem.
#[utoipa::path(post, path = "/api/v1/query/batch", tag = "query", request_body = schema::Batch,
    responses((status = 200, body = schema::BatchAnswer)))]
pub async fn batch(
    State(app): State<AppState>,
    Asks(caller): Asks,
    request_id: axum::Extension<RequestId>,
    JsonBody(json): JsonBody,
) -> Result<Response, Problem> {
    let questions = json.get("queries").and_then(Value::as_array).ok_or_else(|| {
        Problem::bad_request("missing_field", "a batch is an object like {\"queries\": [QUESTION, …]}")
            .at("queries")
    })?;
    if questions.len() > BATCH_QUERIES_MAX {
        let detail =
            format!("{} questions are over the limit of {BATCH_QUERIES_MAX} in one batch", questions.len());
        return Err(Problem::bad_request("limit_exceeded", detail).at("queries"));
    }
    let prepared: Vec<Result<_, Problem>> = questions
        .iter()
        .map(|json| {
            let request = QueryRequest::from_json(json)?;
            let project = caller.project(request.project.as_ref())?;
            Ok((request, project))
        })
        .collect();
    let asked = prepared.iter().flatten().cloned().collect();
    let mut replies = app.engine.query_batch(asked).await.into_iter();
    let mut out = b"{\"answers\":[".to_vec();
    for (index, prepared) in prepared.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let answer = prepared.and_then(|_| match replies.next() {
            Some(Ok(reply)) => Ok(answer::to_json(&reply)),
            Some(Err(error)) => Err(error.into()),
            None => Err(Problem::bad_request("internal", "the question was not answered")),
        });
        match answer {
            Ok(json) => out.extend_from_slice(&json),
            Err(problem) => {
                out.extend_from_slice(problem.to_json(request_id.as_str()).to_string().as_bytes())
            }
        }
    }
    out.extend_from_slice(b"]}");
    let mut response = out.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
