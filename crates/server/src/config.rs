//! Configuration: defaults < `tidewater.toml` < `TIDEWATER_SECTION__FIELD` < flags. One file per concern below.
//!
//! Not here: what the limits do (`engine`, `store`), flags (`main`).

mod auth;
mod cache;
mod cors;
mod ingest;
mod limits;
mod load;
mod log;
mod metrics;
mod observe;
mod otlp;
mod query;
mod secret;
mod server;
mod store;
mod tls;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidewater_model::schema::DatasetDefinition;

pub use auth::{AuthConfig, JwtConfig};
pub use cache::CacheConfig;
pub use cors::CorsConfig;
pub use ingest::IngestConfig;
pub use limits::LimitsConfig;
pub use load::{Sources, load};
pub use log::{LogConfig, LogFormat};
pub use metrics::MetricsConfig;
pub use observe::ObserveConfig;
pub use otlp::OtlpConfig;
pub use query::QueryConfig;
pub use server::ServerConfig;
pub use store::StoreSection;
pub use tls::{TlsConfig, TlsVersion};

/// The whole configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// HTTP.
    pub server: ServerConfig,
    /// Encryption of connections.
    pub tls: TlsConfig,
    /// Web pages of other sites.
    pub cors: CorsConfig,
    /// The embedded store.
    pub store: StoreSection,
    /// Questions.
    pub query: QueryConfig,
    /// Answers that callers share, and what is kept ready for questions.
    pub cache: CacheConfig,
    /// Rows coming in.
    pub ingest: IngestConfig,
    /// How much one caller, one project and one address may ask.
    pub limits: LimitsConfig,
    /// Log lines.
    pub log: LogConfig,
    /// What monitoring systems fetch.
    pub metrics: MetricsConfig,
    /// What the server keeps about its own work.
    pub observe: ObserveConfig,
    /// Export of the server's own traces and metrics.
    pub otlp: OtlpConfig,
    /// Credentials.
    pub auth: AuthConfig,
    /// Datasets to create or widen at start, as `PUT /api/v1/datasets/NAME` would.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub datasets: BTreeMap<String, DatasetDefinition>,
}

impl Config {
    /// The configuration as TOML, without secrets: what `serve --print-config` shows.
    pub fn print(&self) -> Result<String, toml::ser::Error> {
        let mut shown = self.clone();
        shown.auth.admin_key.redact();
        shown.auth.jwt.secret.redact();
        if !shown.otlp.headers.is_empty() {
            "(set)".clone_into(&mut shown.otlp.headers);
        }
        if !shown.metrics.token.is_empty() {
            "(set)".clone_into(&mut shown.metrics.token);
        }
        toml::to_string_pretty(&shown)
    }
}
