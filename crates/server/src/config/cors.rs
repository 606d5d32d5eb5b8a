//! `[cors]`: web pages of other sites.

use serde::{Deserialize, Serialize};

/// Web pages of other sites.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorsConfig {
    /// Origins whose pages may use the interface, apart by commas, like `https://app.example.org, http://localhost:3000`; `*` for all.
    /// Default empty: none, but a publishable key may send rows from the pages it is good for. `TIDEWATER_CORS__ORIGINS`.
    pub origins: String,
}
