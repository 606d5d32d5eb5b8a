//! API keys: made, listed, rotated and revoked by an administrator.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tidewater_engine::{
    ApiKey, Engine, GRACE_MAX, ListedKey, NewKey, Permissions, Role, Scope, is_own_project,
};
use tidewater_model::names::ProjectName;
use tidewater_model::time::{Timestamp, parse_timestamp_utc};

use crate::app::AppState;
use crate::auth::{self, Caller, May, reserved};
use crate::body::{JsonBody, TextBody, from_json};
use crate::dispatch::Name;
use crate::openapi::schema;
use crate::problem::Problem;
use crate::reply::Json;

/// `POST /api/v1/keys` as sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyBody {
    name: String,
    project: Option<String>,
    scopes: Vec<Scope>,
    expires_at: Option<String>,
    role: Option<Role>,
    #[serde(default)]
    filters: Vec<Value>,
    #[serde(default)]
    publishable: bool,
    #[serde(default)]
    origins: Vec<String>,
}

/// `POST /api/v1/keys/{id}/rotate` as sent.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateBody {
    #[serde(default)]
    grace_s: u64,
}

fn to_json(key: &ApiKey) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "project": key.project,
        "scopes": key.scopes,
        "role": key.role(),
        "filters": key.filters,
        "publishable": key.is_publishable(),
        "origins": key.origins,
        "created_at": key.created_at.to_string(),
        "expires_at": text(key.expires_at),
        "rotated_at": text(key.rotated_at),
    })
}

fn text(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

fn listed(listed: &ListedKey) -> Value {
    let mut object = to_json(&listed.key);
    object["last_used_at"] = Value::from(text(listed.last_used_at));
    object["replaced_secret_until"] = Value::from(text(listed.replaced_until));
    object
}

/// Every key the caller may manage, without secrets.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", responses((status = 200, body = schema::KeyList)))]
pub async fn list(State(app): State<AppState>, caller: May<auth::Keys>) -> Result<Json<Value>, Problem> {
    let own = caller.visible()?;
    let keys = app.engine.keys().list();
    let visible = keys
        .iter()
        .filter(|listed| own.as_ref().is_none_or(|own| listed.key.project.as_deref() == Some(own.as_str())));
    Ok(Json(json!({ "keys": visible.map(listed).collect::<Vec<_>>() })))
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
    new.check()?;
    may_make(&caller, new.project.as_ref())?;
    may_give(&caller, new.permissions())?;
    let now = app.engine.now();
    let (key, secret) = app.engine.blocking(move |engine| engine.keys().create(new, now)).await?;
    tracing::info!(subject = caller.subject(), key = key.id, "a key was made");
    Ok((StatusCode::CREATED, Json(with_secret(&key, secret))))
}

fn with_secret(key: &ApiKey, secret: String) -> Value {
    let mut object = to_json(key);
    object["key"] = Value::from(secret);
    object
}

/// Whoever does not reach all projects makes keys for its own only.
fn may_make(caller: &Caller, project: Option<&ProjectName>) -> Result<(), Problem> {
    if project.is_some_and(|project| is_own_project(project.as_str())) {
        return Err(reserved());
    }
    let is_allowed = match project {
        Some(project) => caller.reaches(project.as_str()),
        None => caller.all_projects().is_ok(),
    };
    if is_allowed {
        return Ok(());
    }
    let detail = "this caller does not reach all projects and can make keys for its own only";
    Err(Problem::new(StatusCode::FORBIDDEN, "wrong_project", detail).at("project"))
}

/// Nobody gives more than they have: else a caller whose permissions were narrowed could make itself a key without that.
fn may_give(caller: &Caller, permissions: Permissions) -> Result<(), Problem> {
    caller.all_rows()?;
    if caller.permissions().hold(permissions) {
        return Ok(());
    }
    let detail = "a key cannot have permissions that whoever makes or rotates it does not have";
    Err(Problem::new(StatusCode::FORBIDDEN, "missing_scope", detail))
}

fn read(body: KeyBody) -> Result<NewKey, Problem> {
    let project = body.project.as_deref().map(ProjectName::new).transpose();
    let project =
        project.map_err(|error| Problem::bad_request("invalid_name", error.to_string()).at("project"))?;
    let expires_at = body.expires_at.as_ref().map(|text| parse_timestamp_utc(text.as_bytes())).transpose();
    let expires_at = expires_at
        .map_err(|error| Problem::bad_request("invalid_time", error.to_string()).at("expires_at"))?;
    if body.publishable == body.origins.is_empty() {
        let detail = "a publishable key needs 'origins', the web origins its pages come from, and only such a key has them";
        return Err(Problem::bad_request("missing_field", detail).at("origins"));
    }
    Ok(NewKey {
        name: body.name,
        project,
        scopes: body.scopes,
        expires_at,
        role: body.role,
        filters: body.filters,
        origins: body.origins,
    })
}

/// Gives a key another secret, which is in this reply and nowhere else. With `grace_s` the one before it stays good that long.
#[utoipa::path(post, path = "/api/v1/keys/{id}/rotate", tag = "keys", params(("id" = String, Path)),
    request_body = Option<schema::Rotation>,
    responses((status = 200, body = schema::CreatedKey)))]
pub async fn rotate(
    State(app): State<AppState>,
    caller: May<auth::Keys>,
    Name(id): Name,
    TextBody(body): TextBody,
) -> Result<Json<Value>, Problem> {
    let body: RotateBody =
        if body.is_empty() { RotateBody::default() } else { from_json(crate::body::json(&body)?)? };
    let grace = Duration::from_secs(body.grace_s);
    if grace > GRACE_MAX {
        let detail = format!("'grace_s' is at most {} seconds", GRACE_MAX.as_secs());
        return Err(Problem::bad_request("limit_exceeded", detail).at("grace_s"));
    }
    let own = caller.visible()?.map(|project| project.to_string());
    may_give(&caller, app.engine.keys().permissions(&id, own.as_deref())?)?;
    let now = app.engine.now();
    let rotated = move |engine: &Engine| engine.keys().rotate(&id, own.as_deref(), grace, now);
    let (key, secret) = app.engine.blocking(rotated).await?;
    tracing::info!(subject = caller.subject(), key = key.id, "a key was rotated");
    Ok(Json(with_secret(&key, secret)))
}

/// Revokes a key at once.
#[utoipa::path(delete, path = "/api/v1/keys/{id}", tag = "keys", params(("id" = String, Path)),
    responses((status = 204, description = "Revoked.")))]
pub async fn revoke(
    State(app): State<AppState>,
    caller: May<auth::Keys>,
    Name(id): Name,
) -> Result<StatusCode, Problem> {
    let own = caller.visible()?.map(|project| project.to_string());
    let revoked = id.clone();
    app.engine.blocking(move |engine| engine.keys().revoke(&id, own.as_deref())).await?;
    tracing::info!(subject = caller.subject(), key = revoked, "a key was revoked");
    Ok(StatusCode::NO_CONTENT)
}
