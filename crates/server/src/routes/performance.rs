//! How fast the server is: what it has done since its start or since a reset.

use axum::extract::State;
use serde_json::{Value, json};
use tidewater_model::names::ProjectName;
use tidewater_store::HistogramCounts;

use crate::app::{App, AppState};
use crate::auth::{self, May};
use crate::metrics::{ProcessFacts, start_time_seconds};
use crate::openapi::schema;
use crate::problem::Problem;
use crate::reply::Json;

/// Requests, questions and rows in sums; with a key of all projects also caches, queues and the process.
#[utoipa::path(get, path = "/api/v1/performance", tag = "performance",
    params(("project" = Option<String>, Query, description = "Only this one.")),
    responses((status = 200, body = schema::AnyObject)))]
pub async fn performance(
    State(app): State<AppState>,
    caller: May<auth::Operate>,
) -> Result<Json<Value>, Problem> {
    let own = caller.visible()?;
    looked_up(app, move |app| {
        let mut body = app.observer.performance(&app.http).totals(own.as_ref());
        body["queries"]["slow_query_ms"] = Value::from(app.config.log.slow_query_ms);
        if own.is_none() {
            body["cache"] = caches(app);
            body["database"] = database(app);
            body["system"] = system();
        }
        body
    })
    .await
}

/// Questions by route, dataset and shape, and the latest and slowest with their plans.
#[utoipa::path(get, path = "/api/v1/performance/queries", tag = "performance",
    params(("project" = Option<String>, Query, description = "Only this one.")),
    responses((status = 200, body = schema::AnyObject)))]
pub async fn queries(
    State(app): State<AppState>,
    caller: May<auth::Operate>,
) -> Result<Json<Value>, Problem> {
    let own = caller.visible()?;
    looked_up(app, move |app| app.observer.performance(&app.http).queries(own.as_ref(), &app.http)).await
}

/// Rows by dataset; with a key of all projects also the stages on their way.
#[utoipa::path(get, path = "/api/v1/performance/ingest", tag = "performance",
    params(("project" = Option<String>, Query, description = "Only this one.")),
    responses((status = 200, body = schema::AnyObject)))]
pub async fn ingest(State(app): State<AppState>, caller: May<auth::Operate>) -> Result<Json<Value>, Problem> {
    let own = caller.visible()?;
    looked_up(app, move |app| {
        let mut body = app.observer.performance(&app.http).ingest(own.as_ref());
        if own.is_none() {
            body["stages"] = ingest_stages(app);
        }
        body
    })
    .await
}

/// Every cache: what it has answered since the start, and what it holds. Caches are shared by all projects, so this needs a key of
/// all projects.
#[utoipa::path(get, path = "/api/v1/performance/cache", tag = "performance",
    responses((status = 200, body = schema::AnyObject)))]
pub async fn cache(State(app): State<AppState>, caller: May<auth::Operate>) -> Result<Json<Value>, Problem> {
    caller.all_projects()?;
    Ok(Json(caches(&app)))
}

/// The store, and how full queues and pools are. Needs a key of all projects.
#[utoipa::path(get, path = "/api/v1/performance/database", tag = "performance",
    responses((status = 200, body = schema::AnyObject)))]
pub async fn store(State(app): State<AppState>, caller: May<auth::Operate>) -> Result<Json<Value>, Problem> {
    caller.all_projects()?;
    looked_up(app, database).await
}

/// Begins the windows anew: for all, or for the one project the caller sees. Counters of `/metrics` go on.
#[utoipa::path(post, path = "/api/v1/performance/reset", tag = "performance",
    params(("project" = Option<String>, Query, description = "Only this one.")),
    responses((status = 200, body = schema::AnyObject)))]
pub async fn reset(State(app): State<AppState>, caller: May<auth::Operate>) -> Result<Json<Value>, Problem> {
    let own: Option<ProjectName> = caller.visible()?;
    let now = app.engine.now();
    app.observer.performance(&app.http).reset(own.as_ref(), now);
    Ok(Json(json!({
        "reset": own.as_ref().map_or("all projects", ProjectName::as_str), "at": now.to_string(),
    })))
}

/// Runs what may wait for a lock or a disk where it may.
async fn looked_up(
    app: AppState,
    look: impl FnOnce(&App) -> Value + Send + 'static,
) -> Result<Json<Value>, Problem> {
    let body = tokio::task::spawn_blocking(move || look(&app)).await;
    body.map(Json).map_err(|error| Problem::internal(&error))
}

fn caches(app: &App) -> Value {
    let (answers, partials, replies) =
        (app.engine.answer_stats(), app.engine.partial_stats(), app.replies.stats());
    let (answers_max, partials_max) = app.engine.cache_limits();
    let level = |(hits, misses): (u64, u64), (bytes, limit): (u64, u64), evictions: u64| {
        let asked = hits + misses;
        json!({
            "hits": hits, "misses": misses, "hit_share": (asked > 0).then(|| hits as f64 / asked as f64),
            "bytes": bytes, "limit_bytes": limit, "evictions": evictions,
        })
    };
    // A question is answered by the first level that can.
    let (hits, asked) = (replies.hits + answers.hits, replies.hits + answers.hits + answers.misses);
    json!({
        "since": started_at(),
        "hit_share": (asked > 0).then(|| hits as f64 / asked as f64),
        "bytes": replies.bytes + answers.bytes + partials.bytes,
        "levels": {
            "replies": level((replies.hits, replies.misses), (replies.bytes, app.replies.bytes_max()), replies.evictions),
            "answers": level((answers.hits, answers.misses), (answers.bytes, answers_max), answers.evictions),
            "partials": level((partials.hits, partials.misses), (partials.bytes, partials_max), partials.evictions),
        },
        "shared_computations": answers.shared,
    })
}

fn database(app: &App) -> Value {
    let stats = app.engine.store().stats();
    let queues = app.engine.queues();
    let queues = queues.iter().map(|queue| {
        let share = (queue.limit > 0).then(|| queue.used as f64 / queue.limit as f64);
        (queue.queue.to_owned(), json!({"used": queue.used, "limit": queue.limit, "share": share}))
    });
    json!({
        "queues": queues.collect::<serde_json::Map<_, _>>(),
        "memtable": {"rows": stats.memtable_rows, "bytes": stats.memtable_bytes},
        "segments": {"count": stats.segments, "rows": stats.segment_rows, "bytes": stats.segment_bytes,
            "rollup_bytes": stats.rollup_bytes, "history_bytes": stats.history_bytes},
        "log": {"bytes": stats.log_bytes, "syncs": stats.syncs.count(), "sync_average_ms": average_ms(&stats.syncs)},
        "background": {"flushes": stats.flushes, "flush_failures": stats.flush_failures,
            "compactions": stats.compactions, "compaction_pending": stats.compaction_pending,
            "rollup_segments_pending": stats.rollup_segments_pending, "segments_expired": stats.segments_expired},
        "refused": {"full": stats.refused_full, "disk": stats.refused_disk},
        "disk": {"free_bytes": stats.disk_free_bytes, "size_bytes": stats.disk_total_bytes},
        "poisoned": stats.poisoned.is_some(),
    })
}

fn ingest_stages(app: &App) -> Value {
    let stats = app.engine.store().stats();
    let stage = |counts: &HistogramCounts| json!({"count": counts.count(), "average_ms": average_ms(counts)});
    json!({
        "since": started_at(),
        "read": stage(&app.work.reading.read()),
        "decode": stage(&app.engine.counters().decoding.0.read()),
        "queue": stage(&stats.requests_queued),
        "sync": stage(&stats.requests_synced),
    })
}

fn average_ms(counts: &HistogramCounts) -> Option<f64> {
    let count = counts.count();
    (count > 0).then(|| (counts.sum as f64 / count as f64).round() / 1e3)
}

fn system() -> Value {
    let facts = ProcessFacts::read();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": started_at(),
        "uptime_seconds": uptime_seconds(),
        "cpus": facts.cpus,
        "cpu_seconds": facts.cpu_seconds,
        "memory": {"resident_bytes": facts.resident_bytes, "limit_bytes": facts.memory_limit_bytes},
        "threads": facts.threads,
        "open_fds": facts.open_fds,
    })
}

fn started_at() -> String {
    tidewater_model::time::Timestamp((start_time_seconds() * 1e6) as i64).to_string()
}

fn uptime_seconds() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0.0, |now| ((now.as_secs_f64() - start_time_seconds()) * 1e3).round() / 1e3)
}
