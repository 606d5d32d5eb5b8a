//! What every handler can reach.

use std::sync::Arc;

use axum::body::Bytes;
use tidewater_engine::Engine;

use crate::config::Config;
use crate::metrics::HttpMetrics;

/// The server's components.
pub struct App {
    /// The database.
    pub engine: Engine,
    /// The configuration it was started with.
    pub config: Config,
    /// Requests by route, method and status, and their durations.
    pub http: HttpMetrics,
    /// The OpenAPI document, written once at start.
    pub openapi: Bytes,
}

/// The state of the router.
pub type AppState = Arc<App>;
