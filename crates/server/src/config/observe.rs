//! `[observe]`: what the server keeps about its own work.

use serde::{Deserialize, Serialize};

/// What the server keeps about its own work.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObserveConfig {
    /// Shapes of questions that `GET /api/v1/performance/queries` tells apart; the others count together. Default 256: about 2 MB.
    /// `TIDEWATER_OBSERVE__SHAPES_MAX`.
    pub shapes_max: usize,
}

impl Default for ObserveConfig {
    fn default() -> Self {
        ObserveConfig { shapes_max: 256 }
    }
}
