//! What every handler can reach.

use std::ops::Deref;
use std::sync::Arc;

use axum::body::Bytes;
use tidewater_engine::Engine;

use crate::auth::jwt::Jwts;
use crate::config::Config;
use crate::connections::Connections;
use crate::cors::Origins;
use crate::dispatch::Routes;
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
    /// The ways to the handlers.
    pub routes: Routes,
    /// Figures of requests.
    pub http: HttpMetrics,
    /// Figures of questions and ingest requests.
    pub work: Work,
    /// What is made of events.
    pub observer: Observer,
    /// The OpenAPI document, written once at start.
    pub openapi: Bytes,
}

/// The server's components as their users hold them. Cheap to clone.
///
/// Requests clone it all the time, and a count that all cores write would pass from one to the other with each of them. So the
/// components are counted per connection, and clones are counted by their connection.
#[derive(Clone)]
#[expect(clippy::redundant_allocation, reason = "the outer count is the connection's own")]
pub struct AppState(Arc<Arc<App>>);

impl AppState {
    /// Puts the components together.
    pub fn new(app: App) -> Self {
        AppState(Arc::new(Arc::new(app)))
    }

    /// The same components, whose clones are counted apart from others'.
    pub fn counted_apart(&self) -> Self {
        AppState(Arc::new(Arc::clone(&self.0)))
    }
}

impl Deref for AppState {
    type Target = App;

    fn deref(&self) -> &App {
        &self.0
    }
}
