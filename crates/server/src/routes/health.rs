//! Health and metrics.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::app::AppState;
use crate::auth::{self, May};
use crate::dispatch::Call;
use crate::exposition;
use crate::metrics::to_text;
use crate::openapi::schema;
use crate::problem::Problem;
use crate::reply::Json;

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
pub async fn metrics(State(call): State<Call>, request: Request) -> Result<Response, Problem> {
    let app = call.app.clone();
    let config = &app.config.metrics;
    if !config.enabled {
        let detail = "metrics are switched off (metrics.enabled)";
        return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", detail));
    }
    let is_public = app.config.server.metrics_public && config.token.is_empty();
    if !is_public && !bears(request.headers(), &config.token) {
        let (mut parts, _) = request.into_parts();
        May::<auth::Operate>::from_request_parts(&mut parts, &call).await?;
    }
    // It looks at files, which may wait for a disk.
    let text = tokio::task::spawn_blocking(move || to_text(&exposition::collect(&app)))
        .await
        .map_err(|error| Problem::internal(&error))?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// Whether the request bears the token. The time it takes does not depend on where they differ.
fn bears(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(AUTHORIZATION).map_or(&[][..], HeaderValue::as_bytes);
    let Some((scheme, given)) = given.split_at_checked("Bearer ".len()) else { return false };
    let differs = given.iter().zip(token.as_bytes()).fold(0, |differs, (a, b)| differs | (a ^ b));
    let is_same = std::hint::black_box(differs) == 0 && given.len() == token.len();
    !token.is_empty() && scheme.eq_ignore_ascii_case(b"Bearer ") && is_same
}
