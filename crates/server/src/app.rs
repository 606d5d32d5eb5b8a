//! What every handler can reach.

use std::sync::Arc;

use axum::body::Bytes;
use tidewater_engine::Engine;

use crate::config::Config;
use crate::metrics::HttpMetrics;
use crate::replies::Replies;

/// The server's components.
pub struct App {
    /// The database.
    pub engine: Engine,
    /// The configuration it was started with.
    pub config: Config,
    /// Replies to questions in their written form.
    pub replies: Replies,
    /// Requests by route, method and status, and their durations.
    pub http: HttpMetrics,
    /// The OpenAPI document, written once at start.
    pub openapi: Bytes,
}

/// The state of the router.
pub type AppState = Arc<App>;
