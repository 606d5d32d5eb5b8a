//! The table of contents of the HTTP interface. Each handler's attribute holds its path, method and schemas; the extractor in its
//! signature holds the permission it asks for (`auth`).

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tidewater_engine::Engine;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::{App, AppState};
use crate::auth::jwt::Jwts;
use crate::config::Config;
use crate::connections::Connections;
use crate::cors::Origins;
use crate::front::Front;
use crate::limits::Limits;
use crate::metrics::HttpMetrics;
use crate::observe::Observer;
use crate::openapi;
use crate::problem::Problem;
use crate::replies::Replies;
use crate::routes::{
    admin, advisor, datasets, health, ingest, keys, page, performance, projects, query, rollups, rows,
};
use crate::work::Work;

/// Every route behind the front, and the state they share.
pub fn router(
    engine: Engine,
    jwts: Option<Arc<Jwts>>,
    config: Config,
    connections: Arc<Connections>,
) -> Result<(Front, AppState), serde_json::Error> {
    let routes = OpenApiRouter::with_openapi(openapi::document())
        .routes(routes!(ingest::ingest)) //                  POST   /api/v1/ingest/{dataset}
        .routes(routes!(health::live)) //                    GET    /health/live
        .routes(routes!(health::ready)) //                   GET    /health/ready
        .routes(routes!(query::query, query::query_get)) //  POST   GET /api/v1/query
        .routes(routes!(query::batch)) //                    POST   /api/v1/query/batch
        .routes(routes!(rows::rows)) //                      POST   /api/v1/rows
        .routes(routes!(rows::delete)) //                    POST   /api/v1/rows/delete
        .routes(routes!(datasets::list)) //                  GET    /api/v1/datasets
        .routes(routes!(datasets::get, datasets::put, datasets::drop)) // GET PUT DELETE /api/v1/datasets/{name}
        .routes(routes!(projects::list, projects::create)) // GET    POST /api/v1/projects
        .routes(routes!(projects::get, projects::change, projects::delete)) // GET PATCH DELETE /api/v1/projects/{name}
        .routes(routes!(ingest::rejects)) //                 GET    /api/v1/ingest/rejects
        .routes(routes!(keys::list, keys::create)) //        GET    POST /api/v1/keys
        .routes(routes!(keys::revoke)) //                    DELETE /api/v1/keys/{id}
        .routes(routes!(keys::rotate)) //                    POST   /api/v1/keys/{id}/rotate
        .routes(routes!(admin::queries)) //                  GET    /api/v1/queries
        .routes(routes!(admin::cancel)) //                   DELETE /api/v1/queries/{id}
        .routes(routes!(admin::job)) //                      GET    /api/v1/jobs/{id}
        .routes(routes!(admin::backup)) //                   POST   /api/v1/backup
        .routes(routes!(admin::verify)) //                   GET    /api/v1/verify
        .routes(routes!(admin::status)) //                   GET    /api/v1/status
        .routes(routes!(rollups::rollups)) //                GET    /api/v1/rollups
        .routes(routes!(advisor::advisor)) //                GET    /api/v1/advisor
        .routes(routes!(performance::performance)) //        GET    /api/v1/performance
        .routes(routes!(performance::queries)) //            GET    /api/v1/performance/queries
        .routes(routes!(performance::ingest)) //             GET    /api/v1/performance/ingest
        .routes(routes!(performance::cache)) //              GET    /api/v1/performance/cache
        .routes(routes!(performance::store)) //              GET    /api/v1/performance/database
        .routes(routes!(performance::reset)) //              POST   /api/v1/performance/reset
        .routes(routes!(health::metrics)) //                 GET    /metrics
        .routes(routes!(openapi::serve)) //                  GET    /api/v1/openapi.json
        .routes(routes!(page::page)) //                      GET    /
        .routes(routes!(page::docs)); //                     GET    /docs
    let (router, document) = routes.split_for_parts();
    let document = openapi::complete(document);
    let app: AppState = Arc::new(App {
        observer: Observer::new(&config, engine.now()),
        engine,
        connections,
        jwts,
        origins: Origins::read(&config.cors.origins),
        replies: Replies::new(config.cache.answers_bytes_max / 2),
        limits: Limits::new(&config.limits, config.server.trusted_proxies.clone()),
        work: Work::new(Duration::from_millis(config.log.slow_query_ms)),
        config,
        http: HttpMetrics::new(document.paths.paths.keys().cloned()),
        openapi: serde_json::to_vec(&document)?.into(),
    });
    let router =
        router.fallback(not_found).method_not_allowed_fallback(wrong_method).with_state(Arc::clone(&app));
    Ok((Front::new(Arc::clone(&app), router), app))
}

async fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing at this path; see /api/v1/openapi.json",
    )
}

async fn wrong_method() -> Problem {
    let detail = "this path does not have this method; see /api/v1/openapi.json";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
