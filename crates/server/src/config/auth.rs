//! `[auth]`: credentials.

use serde::{Deserialize, Serialize};

/// Credentials.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// An admin key that is made at start where it does not exist yet. Default empty: the first start makes a random one and
    /// prints it once. `TIDEWATER_ADMIN_KEY` or `TIDEWATER_AUTH__ADMIN_KEY`.
    pub admin_key: String,
}
