//! The state of declared roll-ups: how far they are built, what they take, which tiers are stored.

use axum::extract::{RawQuery, State};
use serde_json::{Value, json};
use tidewater_engine::RollupTierStatus;

use crate::app::AppState;
use crate::auth::{self, May};
use crate::body::parameter_values;
use crate::openapi::schema;
use crate::problem::Problem;
use crate::reply::Json;
use crate::routes::datasets::missing;

/// Every declared roll-up and tier. Roll-ups hold the rows of all projects, so this needs a key of all projects.
#[utoipa::path(get, path = "/api/v1/rollups", tag = "admin",
    params(("dataset" = Option<String>, Query, description = "Only this one.")),
    responses((status = 200, body = schema::RollupList)))]
pub async fn rollups(
    State(app): State<AppState>,
    caller: May<auth::Operate>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    caller.all_projects()?;
    let dataset = parameter_values(query.as_deref().unwrap_or(""), "dataset").next().transpose()?;
    let tiers = app.engine.rollup_tiers(dataset.as_deref()).map_err(missing)?;
    Ok(Json(json!({ "rollups": tiers.iter().map(to_json).collect::<Vec<_>>() })))
}

fn to_json(tier: &RollupTierStatus) -> Value {
    let status = &tier.status;
    json!({
        "dataset": &*status.dataset,
        "rollup": &*status.rollup,
        "tier": status.tier,
        "state": tier.state.name(),
        "segments_built": status.segments_built,
        "segments_total": status.segments_total,
        "segments_not_paying": status.skipped_not_paying,
        "rows": status.rows,
        "bytes": status.bytes,
        "raw_bytes": status.raw_bytes,
        "raw_share": (status.raw_bytes > 0).then(|| status.bytes as f64 / status.raw_bytes as f64),
        "watched_since": tier.uses.map(|uses| uses.since.to_string()),
        "last_used": tier.uses.and_then(|uses| uses.last_used).map(|used| used.to_string()),
    })
}
