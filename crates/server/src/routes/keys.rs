//! API keys: made, listed and revoked by an administrator.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tidewater_engine::{ApiKey, KEY_NAME_BYTES_MAX, NewKey, Scope};
use tidewater_model::names::ProjectName;
use tidewater_model::time::parse_timestamp_utc;

use crate::app::AppState;
use crate::auth::{self, May};
use crate::body::{JsonBody, from_json};
use crate::openapi::schema;
use crate::problem::Problem;

/// `POST /api/v1/keys` as sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyBody {
    name: String,
    project: Option<String>,
    scopes: Vec<Scope>,
    expires_at: Option<String>,
}

fn to_json(key: &ApiKey) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "project": key.project,
        "scopes": key.scopes,
        "created_at": key.created_at.to_string(),
        "expires_at": key.expires_at.map(|at| at.to_string()),
    })
}

/// Every key the caller may manage, without secrets.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", responses((status = 200, body = schema::KeyList)))]
pub async fn list(State(app): State<AppState>, caller: May<auth::Keys>) -> Result<Json<Value>, Problem> {
    let own = caller.visible()?;
    let keys = app.engine.keys().list();
    let visible =
        keys.iter().filter(|key| own.as_ref().is_none_or(|own| key.project.as_deref() == Some(own.as_str())));
    Ok(Json(json!({ "keys": visible.map(|key| to_json(key)).collect::<Vec<_>>() })))
}

/// Makes a key. Its secret is in this reply and nowhere else.
#[utoipa::path(post, path = "/api/v1/keys", tag = "keys", request_body = schema::NewKey,
    responses((status = 201, body = schema::CreatedKey)))]
pub async fn create(
    State(app): State<AppState>,
    caller: May<auth::Keys>,
    JsonBody(json): JsonBody,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let body: KeyBody = from_json(json)?;
    let new = read(body)?;
    // An administrator of one project makes keys for that project only.
    if let Some(own) = caller.own_project() {
        match &new.project {
            Some(project) if project == own => {}
            _ => {
                let detail = format!("this key belongs to project '{own}' and can make keys for it only");
                return Err(Problem::new(StatusCode::FORBIDDEN, "wrong_project", detail).at("project"));
            }
        }
    }
    let now = app.engine.now();
    let (key, secret) = app.engine.blocking(move |engine| engine.keys().create(new, now)).await?;
    tracing::info!(subject = caller.subject(), key = key.id, "a key was made");
    let mut object = to_json(&key);
    object["key"] = Value::from(secret);
    Ok((StatusCode::CREATED, Json(object)))
}

fn read(body: KeyBody) -> Result<NewKey, Problem> {
    if body.name.trim().is_empty() || body.name.len() > KEY_NAME_BYTES_MAX {
        let detail = format!("a key needs a name of 1 to {KEY_NAME_BYTES_MAX} bytes");
        return Err(Problem::bad_request("invalid_name", detail).at("name"));
    }
    if body.scopes.is_empty() {
        let detail = "a key needs at least one scope of ingest, query and admin";
        return Err(Problem::bad_request("missing_field", detail).at("scopes"));
    }
    let project = body.project.as_deref().map(ProjectName::new).transpose();
    let project =
        project.map_err(|error| Problem::bad_request("invalid_name", error.to_string()).at("project"))?;
    let expires_at = body.expires_at.as_ref().map(|text| parse_timestamp_utc(text.as_bytes())).transpose();
    let expires_at = expires_at
        .map_err(|error| Problem::bad_request("invalid_time", error.to_string()).at("expires_at"))?;
    Ok(NewKey { name: body.name, project, scopes: body.scopes, expires_at })
}

/// Revokes a key at once.
#[utoipa::path(delete, path = "/api/v1/keys/{id}", tag = "keys", params(("id" = String, Path)),
    responses((status = 204, description = "Revoked.")))]
pub async fn revoke(
    State(app): State<AppState>,
    caller: May<auth::Keys>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let own = caller.own_project().map(ToString::to_string);
    let revoked = id.clone();
    app.engine.blocking(move |engine| engine.keys().revoke(&id, own.as_deref())).await?;
    tracing::info!(subject = caller.subject(), key = revoked, "a key was revoked");
    Ok(StatusCode::NO_CONTENT)
}
