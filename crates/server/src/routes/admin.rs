//! For operators: running questions, jobs, backups, checks, state.

use std::path::PathBuf;

use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tidewater_engine::EngineError;

use crate::app::AppState;
use crate::auth::{self, May};
use crate::dispatch::Name;
use crate::openapi::schema;
use crate::problem::{Problem, chain};
use crate::reply::Json;
use crate::routes::rows::job_json;

/// Running questions.
#[utoipa::path(get, path = "/api/v1/queries", tag = "admin", responses((status = 200, body = schema::RunningList)))]
pub async fn queries(
    State(app): State<AppState>,
    caller: May<auth::Operate>,
) -> Result<Json<Value>, Problem> {
    let mut list = Vec::new();
    for query in app.engine.running() {
        if caller.sees(query.project.as_str())? {
            list.push(json!({
                "id": query.id.to_string(),
                "project": query.project.as_str(),
                "dataset": query.dataset,
                "started_at": query.started_at.to_string(),
                "elapsed_ms": query.elapsed_ms,
            }));
        }
    }
    Ok(Json(json!({ "queries": list })))
}

/// Cancels a running question; its caller gets 503 `query_cancelled`.
#[utoipa::path(delete, path = "/api/v1/queries/{id}", tag = "admin", params(("id" = String, Path)),
    responses((status = 204, description = "Cancelled.")))]
pub async fn cancel(
    State(app): State<AppState>,
    caller: May<auth::Operate>,
    Name(id): Name,
) -> Result<StatusCode, Problem> {
    let id: u64 = id.parse().map_err(|_| Problem::from(EngineError::UnknownQuery))?;
    let running = app.engine.running();
    let meant = running.iter().find(|query| query.id == id).ok_or(EngineError::UnknownQuery)?;
    if !caller.sees(meant.project.as_str())? {
        return Err(EngineError::UnknownQuery.into());
    }
    app.engine.cancel(id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A job's state.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "admin", params(("id" = String, Path)),
    responses((status = 200, body = schema::JobReply)))]
pub async fn job(
    State(app): State<AppState>,
    caller: May<auth::Delete>,
    Name(id): Name,
) -> Result<Json<Value>, Problem> {
    let job = app.engine.jobs().get(&id)?;
    if caller.sees(&job.project)? { Ok(Json(job_json(&job))) } else { Err(EngineError::UnknownJob.into()) }
}

/// Copies a consistent state of all data into the configured backup folder while the server goes on.
#[utoipa::path(post, path = "/api/v1/backup", tag = "admin", responses((status = 201, body = schema::Backup)))]
pub async fn backup(
    State(app): State<AppState>,
    caller: May<auth::Operate>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.all_projects()?;
    let now = app.engine.now();
    let name = format!("backup-{}", now.to_string().replace([':', '.'], "-"));
    let target = backup_folder(&app).join(&name);
    // For whoever shares the server's disk, like `tidewater backup --to`.
    let path = std::path::absolute(&target).unwrap_or_else(|_| target.clone());
    let started = std::time::Instant::now();
    app.engine.blocking(move |engine| Ok(engine.store().backup(&target)?)).await?;
    let body = json!({
        "name": name, "path": path.display().to_string(), "created_at": now.to_string(), "elapsed_ms": started.elapsed().as_secs_f64() * 1e3,
    });
    Ok((StatusCode::CREATED, Json(body)))
}

fn backup_folder(app: &AppState) -> PathBuf {
    let store = &app.config.store;
    if store.backup_dir.is_empty() {
        PathBuf::from(&store.data_dir).join("backups")
    } else {
        PathBuf::from(&store.backup_dir)
    }
}

/// Reads every file and compares it with its checksums and the catalog.
#[utoipa::path(get, path = "/api/v1/verify", tag = "admin", responses((status = 200, body = schema::Verification)))]
pub async fn verify(State(app): State<AppState>, caller: May<auth::Operate>) -> Result<Json<Value>, Problem> {
    caller.all_projects()?;
    let report = app.engine.blocking(|engine| Ok(engine.store().verify()?)).await?;
    for problem in &report.problems {
        tracing::error!(problem = chain(problem), "verification found damage");
    }
    Ok(Json(json!({
        "ok": report.problems.is_empty(), "segments": report.segments, "rows": report.rows,
        "rollup_files": report.sidecars, "problems": report.problems.len(),
    })))
}

/// The state of the server in a few figures.
#[utoipa::path(get, path = "/api/v1/status", tag = "admin", responses((status = 200, body = schema::Status)))]
pub async fn status(State(app): State<AppState>, _caller: May<auth::Status>) -> Result<Json<Value>, Problem> {
    let stats = app.engine.store().stats();
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "memtable_rows": stats.memtable_rows,
        "memtable_bytes": stats.memtable_bytes,
        "segments": stats.segments,
        "segment_bytes": stats.segment_bytes,
        "log_bytes": stats.log_bytes,
        "compaction_pending": stats.compaction_pending,
        "running_queries": app.engine.running_count(),
    })))
}
