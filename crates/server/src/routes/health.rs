//! Health and metrics.

use axum::Json;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::app::AppState;
use crate::auth::{self, May};
use crate::exposition;
use crate::openapi::schema;
use crate::problem::Problem;

/// The process runs.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, body = schema::Health)))]
pub async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

/// Every part works; it asks a real question.
#[utoipa::path(get, path = "/health/ready", tag = "health",
    responses((status = 200, body = schema::Health), (status = 503, body = schema::Health)))]
pub async fn ready(State(app): State<AppState>) -> (StatusCode, Json<Value>) {
    let parts = app.engine.readiness().await;
    let is_ready = parts.iter().all(|part| part.fault.is_none());
    let states: Map<String, Value> = parts
        .iter()
        .map(|part| {
            let state = match &part.fault {
                None => json!({ "ok": true }),
                Some(cause) => json!({ "ok": false, "cause": cause }),
            };
            (part.name.to_owned(), state)
        })
        .collect();
    let body = json!({
        "status": if is_ready { "ready" } else { "not_ready" },
        "version": env!("CARGO_PKG_VERSION"),
        "parts": states,
    });
    (if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

/// Counters and gauges as Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, body = String, content_type = "text/plain")))]
pub async fn metrics(State(app): State<AppState>, request: Request) -> Result<Response, Problem> {
    if !app.config.server.metrics_public {
        let (mut parts, _) = request.into_parts();
        May::<auth::Operate>::from_request_parts(&mut parts, &app).await?;
    }
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], exposition::write(&app))
        .into_response())
}
