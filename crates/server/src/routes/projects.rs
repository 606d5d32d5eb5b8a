//! Projects: whose rows there are. A project needs no creation to be used; it has a title where it was given one.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tidewater_engine::{EngineError, Project, is_own_project};
use tidewater_model::names::ProjectName;

use crate::app::AppState;
use crate::auth::{self, Caller, May, reserved};
use crate::body::{JsonBody, from_json};
use crate::dispatch::Name;
use crate::openapi::schema;
use crate::problem::Problem;
use crate::reply::Json;
use crate::routes::rows::job_json;

/// `POST /api/v1/projects` as sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBody {
    name: String,
    title: Option<String>,
}

/// `PATCH /api/v1/projects/{name}` as sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    // Null takes the title away; absent is nothing to change.
    #[serde(default, deserialize_with = "present")]
    title: Option<Option<String>>,
    name: Option<Value>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn to_json(name: &ProjectName, project: &Project) -> Value {
    json!({
        "name": name.as_str(),
        "title": project.title,
        "created_at": project.created_at.map(|at| at.to_string()),
        "state": if project.deleted_by.is_some() { "deleting" } else { "active" },
        "job": project.deleted_by,
    })
}

/// The name in a path, where the caller reaches it; others' projects look as if they were not there.
fn meant(caller: &Caller, name: &str) -> Result<ProjectName, Problem> {
    let name =
        ProjectName::new(name).map_err(|error| Problem::bad_request("invalid_name", error.to_string()))?;
    if caller.sees(name.as_str())? && !is_own_project(name.as_str()) {
        return Ok(name);
    }
    Err(EngineError::UnknownProject.into())
}

/// Projects that have rows or were created, as far as the caller reaches them.
#[utoipa::path(get, path = "/api/v1/projects", tag = "projects", responses((status = 200, body = schema::ProjectList)))]
pub async fn list(State(app): State<AppState>, caller: May<auth::Schema>) -> Result<Json<Value>, Problem> {
    let (mut names, mut details) = (Vec::new(), Vec::new());
    for (name, project) in app.engine.projects() {
        if caller.sees(name.as_str())? && !is_own_project(name.as_str()) {
            details.push(to_json(&name, &project));
            names.push(Value::from(name.as_str()));
        }
    }
    Ok(Json(json!({ "projects": names, "details": details })))
}

/// One project.
#[utoipa::path(get, path = "/api/v1/projects/{name}", tag = "projects", params(("name" = String, Path)),
    responses((status = 200, body = schema::Project)))]
pub async fn get(
    State(app): State<AppState>,
    caller: May<auth::Schema>,
    Name(name): Name,
) -> Result<Json<Value>, Problem> {
    let name = meant(&caller, &name)?;
    let project = app.engine.project(&name)?;
    Ok(Json(to_json(&name, &project)))
}

/// Creates a project.
#[utoipa::path(post, path = "/api/v1/projects", tag = "projects", request_body = schema::NewProject,
    responses((status = 201, body = schema::Project)))]
pub async fn create(
    State(app): State<AppState>,
    caller: May<auth::Projects>,
    JsonBody(json): JsonBody,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let body: NewBody = from_json(json)?;
    let name = ProjectName::new(&body.name)
        .map_err(|error| Problem::bad_request("invalid_name", error.to_string()).at("name"))?;
    if is_own_project(name.as_str()) {
        return Err(reserved());
    }
    if !caller.reaches(name.as_str()) {
        caller.all_projects()?;
    }
    let project = app.engine.create_project(name.clone(), body.title).await?;
    tracing::info!(subject = caller.subject(), project = name.as_str(), "a project was created");
    Ok((StatusCode::CREATED, Json(to_json(&name, &project))))
}

/// Changes a project's title. Its name is part of every stored row and never changes.
#[utoipa::path(patch, path = "/api/v1/projects/{name}", tag = "projects", params(("name" = String, Path)),
    request_body = schema::ProjectChange, responses((status = 200, body = schema::Project)))]
pub async fn change(
    State(app): State<AppState>,
    caller: May<auth::Projects>,
    Name(name): Name,
    JsonBody(json): JsonBody,
) -> Result<Json<Value>, Problem> {
    let name = meant(&caller, &name)?;
    let body: ChangeBody = from_json(json)?;
    if body.name.is_some() {
        let detail =
            "a project's name is part of every stored row and never changes; give it another 'title'";
        return Err(Problem::bad_request("immutable_name", detail).at("name"));
    }
    let title = body.title.ok_or_else(|| {
        Problem::bad_request("missing_field", "say the new 'title', or null for none").at("title")
    })?;
    let project = app.engine.retitle_project(name.clone(), title).await?;
    Ok(Json(to_json(&name, &project)))
}

/// Deletes a project: its keys end at once and it takes no more rows; its rows in all datasets and all that was derived from them
/// go in the background. The job is done when no file of the store holds any of them. Earlier backups do.
#[utoipa::path(delete, path = "/api/v1/projects/{name}", tag = "projects", params(("name" = String, Path)),
    responses((status = 202, body = schema::JobReply, description = "The job has begun.")))]
pub async fn delete(
    State(app): State<AppState>,
    caller: May<auth::Projects>,
    Name(name): Name,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let name = meant(&caller, &name)?;
    let job = app.engine.delete_project(name.clone()).await?;
    tracing::info!(subject = caller.subject(), project = name.as_str(), "a project is being deleted");
    Ok((StatusCode::ACCEPTED, Json(job_json(&job))))
}
