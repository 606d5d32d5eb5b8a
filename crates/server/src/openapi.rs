//! The OpenAPI 3.1 document: paths from the handlers' attributes, shapes from `schema`, and what every route shares.

pub mod schema;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use tidewater_engine::permission_table;
use utoipa::OpenApi as _;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, ResponseBuilder};

use crate::app::AppState;
use crate::problem::PROBLEM_JSON;

/// Paths that need no credential.
const OPEN_PATHS: [&str; 6] =
    ["/", "/docs", "/health/live", "/health/ready", "/metrics", "/api/v1/openapi.json"];

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Tidewater",
        description = "Events, traces and metrics in; exact and fresh answers out.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(schema::Problem))
)]
struct Document;

/// The document before any route is added.
pub fn document() -> OpenApi {
    let mut document = Document::openapi();
    let description = document.info.description.get_or_insert_default();
    description.push_str("\n\n## Roles and permissions\n\n");
    description.push_str(&permission_table());
    document
}

/// Adds what every operation shares: how it fails, and how callers show who they are.
pub fn complete(mut document: OpenApi) -> OpenApi {
    let components = document.components.get_or_insert_default();
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let header = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key")));
    components.add_security_scheme("bearer", bearer);
    components.add_security_scheme("api_key", header);
    for (path, item) in &mut document.paths.paths {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            complete_operation(operation, OPEN_PATHS.contains(&path.as_str()));
        }
    }
    document
}

fn complete_operation(operation: &mut Operation, is_open: bool) {
    for (status, description) in [
        ("4XX", "The request is refused; `code` and `detail` say why."),
        ("5XX", "The server cannot answer now; `Retry-After` says when to come back."),
    ] {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new().description(description).content(PROBLEM_JSON, content).build();
        operation.responses.responses.entry(status.to_owned()).or_insert(response.into());
    }
    if !is_open {
        let schemes = ["bearer", "api_key"].map(|name| SecurityRequirement::new(name, Vec::<String>::new()));
        operation.security = Some(schemes.into());
    }
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "health",
    responses((status = 200, body = schema::AnyObject, description = "OpenAPI 3.1.")))]
pub async fn serve(State(app): State<AppState>) -> Response {
    ([(CONTENT_TYPE, "application/json")], app.openapi.clone()).into_response()
}
