//! Datasets: what columns and metrics there are.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::{Value, json};
use tidewater_engine::{EngineError, is_own_dataset};
use tidewater_model::names::check_name;
use tidewater_model::schema::{Dataset, DatasetDefinition};

use crate::app::AppState;
use crate::auth::{self, May, reserved};
use crate::body::TextBody;
use crate::dispatch::Name;
use crate::openapi::schema;
use crate::problem::Problem;
use crate::reply::Json;

/// In a path a name that does not exist is 404; in a body it is 400.
pub(super) fn missing(error: EngineError) -> Problem {
    let problem = Problem::from(error);
    match problem.code {
        "unknown_dataset" => Problem { status: StatusCode::NOT_FOUND, field: None, ..problem },
        _ => problem,
    }
}

fn to_json(dataset: &Dataset) -> Result<Value, Problem> {
    let mut object = json!({ "name": &*dataset.name });
    let definition = serde_json::to_value(&dataset.definition).map_err(|error| Problem::internal(&error))?;
    if let (Some(object), Value::Object(definition)) = (object.as_object_mut(), definition) {
        object.extend(definition);
    }
    Ok(object)
}

/// Refuses the server's own dataset.
fn not_own(name: &str) -> Result<(), Problem> {
    if is_own_dataset(name) { Err(reserved()) } else { Ok(()) }
}

/// Every dataset with its definition and the number of rows the caller can see.
#[utoipa::path(get, path = "/api/v1/datasets", tag = "datasets", responses((status = 200, body = schema::DatasetList)))]
pub async fn list(State(app): State<AppState>, caller: May<auth::Schema>) -> Result<Response, Problem> {
    let project = caller.visible()?;
    let counts = app.engine.row_counts(project.as_ref());
    // Whoever is bound to some rows shall not learn how many others there are.
    let may_count = !caller.is_bound_to_rows();
    let listed = counts.iter().map(|(dataset, rows)| Listed {
        name: &dataset.name,
        definition: &dataset.definition,
        rows: may_count.then_some(*rows),
    });
    Ok(Json(List { datasets: listed.collect() }).into_response())
}

/// See [`list`].
#[derive(Serialize)]
struct List<'a> {
    datasets: Vec<Listed<'a>>,
}

/// A dataset in the list.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    #[serde(flatten)]
    definition: &'a DatasetDefinition,
    rows: Option<u64>,
}

/// One dataset's definition.
#[utoipa::path(get, path = "/api/v1/datasets/{name}", tag = "datasets", params(("name" = String, Path)),
    responses((status = 200, body = schema::Dataset)))]
pub async fn get(
    State(app): State<AppState>,
    _caller: May<auth::Schema>,
    Name(name): Name,
) -> Result<Json<Value>, Problem> {
    let dataset = app.engine.dataset(&name).map_err(missing)?;
    to_json(&dataset).map(Json)
}

/// Creates or widens a dataset. What the definition does not name stays. A dataset holds the rows of all projects, and its
/// retention deletes them, so this needs a key of all projects, as dropping one does.
#[utoipa::path(put, path = "/api/v1/datasets/{name}", tag = "datasets", params(("name" = String, Path)),
    request_body = schema::Definition,
    responses((status = 200, body = schema::Dataset, description = "Widened."),
        (status = 201, body = schema::Dataset, description = "Created.")))]
pub async fn put(
    State(app): State<AppState>,
    caller: May<auth::Define>,
    Name(name): Name,
    TextBody(body): TextBody,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.all_projects()?;
    not_own(&name)?;
    check_name(&name).map_err(|error| Problem::bad_request("invalid_name", error.to_string()))?;
    let definition = DatasetDefinition::from_json(&body)?;
    let (dataset, is_new) = app.engine.put_dataset(name, definition).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(to_json(&dataset)?)))
}

/// Drops a dataset with the rows of all projects.
#[utoipa::path(delete, path = "/api/v1/datasets/{name}", tag = "datasets", params(("name" = String, Path)),
    responses((status = 204, description = "Dropped.")))]
pub async fn drop(
    State(app): State<AppState>,
    caller: May<auth::Define>,
    Name(name): Name,
) -> Result<StatusCode, Problem> {
    caller.all_projects()?;
    not_own(&name)?;
    app.engine.drop_dataset(name).await.map_err(missing)?;
    Ok(StatusCode::NO_CONTENT)
}
