//! What every handler can reach.

use std::sync::Arc;

use axum::body::Bytes;
use tidewater_engine::Engine;

use crate::auth::jwt::Jwts;
use crate::config::Config;
use crate::connections::Connections;
use crate::cors::Origins;
use crate::limits::Limits;
use crate::metrics::HttpMetrics;
use crate::observe::Observer;
use crate::replies::Replies;
use crate::work::Work;

/// The server's components.
pub struct App {
    /// The database.
    pub engine: Engine,
    /// Verifies JWTs; none where no key for them is configured.
    pub jwts: Option<Arc<Jwts>>,
    /// The configuration it was started with.
    pub config: Config,
    /// Who is connected.
    pub connections: Arc<Connections>,
    /// Web pages of other sites that may ask.
    pub origins: Origins,
    /// Replies to questions in their written form.
    pub replies: Replies,
    /// How much callers, projects and addresses may ask.
    pub limits: Limits,
    /// Figures of requests.
    pub http: HttpMetrics,
    /// Figures of questions and ingest requests.
    pub work: Work,
    /// What is made of events.
    pub observer: Observer,
    /// The OpenAPI document, written once at start.
    pub openapi: Bytes,
}

/// The state of the router.
pub type AppState = Arc<App>;
