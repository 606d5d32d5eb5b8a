//! The roll-up advisor: which roll-ups the recorded questions would be served by.

use axum::extract::{RawQuery, State};
use serde_json::{Value, json};
use tidewater_engine::{Advised, Suggestion};

use crate::app::AppState;
use crate::auth::{self, May};
use crate::body::parameter_values;
use crate::openapi::schema;
use crate::problem::Problem;
use crate::reply::Json;
use crate::routes::datasets::missing;

/// Questions shown with a suggestion, those that cost most first.
const EXAMPLES_MAX: usize = 3;

/// What to declare and what to drop, from the questions recorded so far. Sizes are estimates from a sample of real rows.
#[utoipa::path(get, path = "/api/v1/advisor", tag = "admin",
    params(("dataset" = Option<String>, Query, description = "Only this one."),
        ("project" = Option<String>, Query, description = "Only questions of this project.")),
    responses((status = 200, body = schema::AdviceList)))]
pub async fn advisor(
    State(app): State<AppState>,
    caller: May<auth::Operate>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let dataset = parameter_values(query.as_deref().unwrap_or(""), "dataset").next().transpose()?;
    let project = caller.visible()?;
    let advised = app.engine.advise(dataset.as_deref(), project.as_ref()).await.map_err(missing)?;
    let datasets: Result<Vec<Value>, Problem> = advised.iter().map(to_json).collect();
    Ok(Json(json!({ "datasets": datasets? })))
}

fn to_json(advised: &Advised) -> Result<Value, Problem> {
    let advice = &advised.advice;
    let list = |suggestions: &[Suggestion]| {
        suggestions
            .iter()
            .map(|suggestion| suggestion_json(advised, suggestion))
            .collect::<Result<Vec<_>, _>>()
    };
    let unserved = advice.unserved.iter().map(|(reason, questions, raw_us)| {
        json!({"reason": reason.name(), "questions": questions, "raw_ms": ms(*raw_us)})
    });
    let unpaid =
        advised.tiers_not_paying.iter().map(|(rollup, tier)| json!({"rollup": &**rollup, "tier": tier}));
    let unused = advice
        .unused
        .iter()
        .map(|unused| json!({"rollup": unused.rollup, "since": unused.since.to_string()}));
    Ok(json!({
        "dataset": advice.dataset,
        "recorded_since": advised.since.map(|since| since.to_string()),
        "questions": advice.questions,
        "raw_ms": ms(advice.raw_us),
        "covered_raw_ms": ms(advice.covered_us),
        "raw_rows": advised.raw_rows,
        "raw_bytes": advised.raw_bytes,
        "suggestions": list(&advice.suggestions)?,
        "not_paying": list(&advice.not_paying)?,
        "unused": unused.collect::<Vec<_>>(),
        "tiers_not_paying": unpaid.collect::<Vec<_>>(),
        "unserved": unserved.collect::<Vec<_>>(),
    }))
}

fn suggestion_json(advised: &Advised, suggestion: &Suggestion) -> Result<Value, Problem> {
    let share_of = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let tiers = suggestion.tiers.iter().map(|tier| {
        json!({
            "tier": tier.tier.name(),
            "rows": tier.rows,
            "bytes": tier.bytes,
            "rows_share": share_of(tier.rows, advised.raw_rows),
            "bytes_share": (advised.raw_bytes > 0).then(|| share_of(tier.bytes, advised.raw_bytes)),
            "pays": tier.pays,
            "sample_rows": tier.sample_rows,
            "sample_groups": tier.sample_groups,
        })
    });
    let examples = advised.examples(suggestion, EXAMPLES_MAX).map(|(project, record)| {
        json!({
            "project": project.as_str(),
            "question": record.question,
            "asked": record.asked(),
            "raw_ms": ms(record.raw_us),
            "last_asked": record.last_asked.to_string(),
        })
    });
    Ok(json!({
        "definition": serde_json::to_value(&suggestion.definition).map_err(|error| Problem::internal(&error))?,
        "widens": suggestion.widens,
        "serves": {
            "questions": suggestion.questions,
            "asked": suggestion.asked,
            "raw_ms": ms(suggestion.raw_us),
            "raw_share": share_of(suggestion.raw_us, advised.advice.raw_us),
        },
        "estimate": {
            "sampled_project": advised.sampled_project.as_ref().map(|project| project.as_str()),
            "tiers": tiers.collect::<Vec<_>>(),
        },
        "examples": examples.collect::<Vec<_>>(),
    }))
}

fn ms(micros: u64) -> f64 {
    micros as f64 / 1e3
}
