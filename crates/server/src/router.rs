//! The table of contents of the HTTP interface. Each handler's attribute holds its path, method and schemas; the extractor in its
//! signature holds the permission it asks for (`auth`).

use std::sync::Arc;
use std::time::Duration;

use tidewater_engine::Engine;

use crate::app::{App, AppState};
use crate::auth::jwt::Jwts;
use crate::config::Config;
use crate::connections::Connections;
use crate::cors::Origins;
use crate::dispatch::{Table, handled};
use crate::front::Front;
use crate::limits::Limits;
use crate::metrics::HttpMetrics;
use crate::observe::Observer;
use crate::openapi;
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
    let Table { routes, document } = Table::new(openapi::document())
        .with(handled!(ingest::ingest)) //                  POST   /api/v1/ingest/{dataset}
        .with(handled!(health::live)) //                    GET    /health/live
        .with(handled!(health::ready)) //                   GET    /health/ready
        .with(handled!(query::query, query::query_get)) //  POST   GET /api/v1/query
        .with(handled!(query::batch)) //                    POST   /api/v1/query/batch
        .with(handled!(rows::rows)) //                      POST   /api/v1/rows
        .with(handled!(rows::delete)) //                    POST   /api/v1/rows/delete
        .with(handled!(datasets::list)) //                  GET    /api/v1/datasets
        .with(handled!(datasets::get, datasets::put, datasets::drop)) // GET PUT DELETE /api/v1/datasets/{name}
        .with(handled!(projects::list, projects::create)) // GET    POST /api/v1/projects
        .with(handled!(projects::get, projects::change, projects::delete)) // GET PATCH DELETE /api/v1/projects/{name}
        .with(handled!(ingest::rejects)) //                 GET    /api/v1/ingest/rejects
        .with(handled!(keys::list, keys::create)) //        GET    POST /api/v1/keys
        .with(handled!(keys::revoke)) //                    DELETE /api/v1/keys/{id}
        .with(handled!(keys::rotate)) //                    POST   /api/v1/keys/{id}/rotate
        .with(handled!(admin::queries)) //                  GET    /api/v1/queries
        .with(handled!(admin::cancel)) //                   DELETE /api/v1/queries/{id}
        .with(handled!(admin::job)) //                      GET    /api/v1/jobs/{id}
        .with(handled!(admin::backup)) //                   POST   /api/v1/backup
        .with(handled!(admin::verify)) //                   GET    /api/v1/verify
        .with(handled!(admin::status)) //                   GET    /api/v1/status
        .with(handled!(rollups::rollups)) //                GET    /api/v1/rollups
        .with(handled!(advisor::advisor)) //                GET    /api/v1/advisor
        .with(handled!(performance::performance)) //        GET    /api/v1/performance
        .with(handled!(performance::queries)) //            GET    /api/v1/performance/queries
        .with(handled!(performance::ingest)) //             GET    /api/v1/performance/ingest
        .with(handled!(performance::cache)) //              GET    /api/v1/performance/cache
        .with(handled!(performance::store)) //              GET    /api/v1/performance/database
        .with(handled!(performance::reset)) //              POST   /api/v1/performance/reset
        .with(handled!(health::metrics)) //                 GET    /metrics
        .with(handled!(openapi::serve)) //                  GET    /api/v1/openapi.json
        .with(handled!(page::page)) //                      GET    /
        .with(handled!(page::docs)); //                     GET    /docs
    let document = openapi::complete(document);
    let app = AppState::new(App {
        observer: Observer::new(&config, engine.now()),
        engine,
        connections,
        jwts,
        origins: Origins::read(&config.cors.origins),
        replies: Replies::new(config.cache.answers_bytes_max / 2),
        limits: Limits::new(&config.limits, config.server.trusted_proxies.clone()),
        work: Work::new(Duration::from_millis(config.log.slow_query_ms)),
        config,
        http: HttpMetrics::new(routes.templates()),
        routes,
        openapi: serde_json::to_vec(&document)?.into(),
    });
    Ok((Front::new(app.clone()), app))
}
