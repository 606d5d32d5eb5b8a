//! `tidewater serve`: from configuration to a listening server and back to nothing.
//!
//! The order of a start: configuration, log, store (which replays its log), engine, datasets of the configuration, first key,
//! listener. The order of a stop, on SIGTERM or SIGINT:
//!
//! 1. readiness turns false, ingest is refused and no new connection is taken;
//! 2. running requests may end, for at most `server.drain_ms`;
//! 3. questions that still run are cancelled, waiting ones refused;
//! 4. the store flushes what is in memory to segments and closes its files;
//! 5. the process exits with 0. A second signal exits at once: what was acknowledged is in the log.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tidewater_engine::{Engine, EngineConfig, NewKey, Scope};
use tidewater_query::{Executor, ExecutorConfig};
use tidewater_store::{Clock, Store, SystemClock};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::app::AppState;
use crate::auth::jwt::Jwts;
use crate::config::Config;
use crate::connections::{self, Connections, Tls};
use crate::{allocator, logging, router};

/// Longest wait for the last records of the server's own work to be stored.
const LAST_RECORDS_MAX: Duration = Duration::from_secs(2);

/// What a started server tells whoever started it.
#[derive(Clone, Debug)]
pub struct Started {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub is_encrypted: bool,
    /// The admin key, where this start made a random one.
    pub admin_key: Option<String>,
}

/// Runs a server until a signal; `started` is called once it listens.
pub fn run(config: Config, started: impl FnOnce(&Started)) -> Result<()> {
    logging::start(&config.log)?;
    logging::log_panics();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.server.threads > 0 {
        builder.worker_threads(config.server.threads);
    }
    let runtime = builder.enable_all().build().context("cannot start the threads of the server")?;
    runtime.block_on(serve(config, started))
}

/// Opens the data folder and everything above it. Blocks while the log is replayed.
pub fn open(config: &Config) -> Result<Engine> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let disk = Arc::new(tidewater_store::disk::RealDisk);
    let store = Store::open(config.store.to_store_config(), disk, Arc::clone(&clock))
        .context("cannot open the data folder")?;
    let defaults = ExecutorConfig::default();
    let executor = Executor::new(ExecutorConfig {
        threads: if config.query.threads > 0 { config.query.threads } else { defaults.threads },
        memory_bytes_max: config.query.memory_bytes_max,
        query_memory_bytes_max: config.query.memory_bytes_per_query_max,
        partials_bytes_max: config.cache.partials_bytes_max,
    });
    let engine =
        Engine::open(store, executor, clock, engine_config(config)).context("cannot read keys and jobs")?;
    for (name, definition) in &config.datasets {
        let put = engine.store().put_dataset(name, definition.clone());
        put.with_context(|| format!("the dataset '{name}' of the configuration is not accepted"))?;
    }
    Ok(engine)
}

fn engine_config(config: &Config) -> EngineConfig {
    let (query, ingest) = (&config.query, &config.ingest);
    EngineConfig {
        ingest_bytes_max: ingest.in_flight_bytes_max,
        body_bytes_max: config.server.body_bytes_max,
        inline_body_bytes_max: ingest.inline_body_bytes_max,
        queries_running_max: query.running_max,
        heavy_running_max: query.heavy_running_max,
        heavy_from: Duration::from_millis(query.heavy_from_ms),
        queries_waiting_max: query.waiting_max,
        wait_max: Duration::from_millis(query.wait_max_ms),
        query_timeout: Duration::from_millis(query.timeout_ms),
        version_wait: Duration::from_millis(query.version_wait_ms),
        answers_bytes_max: config.cache.answers_bytes_max / 2,
        tick: Duration::from_millis(config.cache.tick_ms),
        gather: Duration::from_millis(config.cache.gather_ms),
        cursor_bytes_max: query.cursor_bytes_max,
        cursor_spill_bytes_max: query.cursor_spill_bytes_max,
        cursor_ttl: Duration::from_millis(query.cursor_ttl_ms),
        rejects_bytes_max: ingest.rejects_bytes_max,
        rejects_redacted: ingest.rejects_redacted,
        questions_max: config.cache.questions_max,
        questions_save_interval: Duration::from_millis(config.cache.questions_save_ms.max(1)),
        usage_save_interval: Duration::from_millis(config.limits.usage_save_ms.max(1)),
        warm_questions_max: config.cache.warm_questions_max,
        ..EngineConfig::new(PathBuf::from(&config.store.data_dir))
    }
}

/// Makes sure there is an admin key; returns its secret where it was made up here.
pub fn first_key(engine: &Engine, config: &Config) -> Result<Option<String>> {
    let admin = NewKey {
        name: "first admin key".to_owned(),
        scopes: vec![Scope::Ingest, Scope::Query, Scope::Admin],
        ..NewKey::default()
    };
    let given = config.auth.admin_key.expose().trim();
    if !given.is_empty() {
        engine.keys().ensure(admin, given, engine.now()).context("cannot store the admin key")?;
        return Ok(None);
    }
    if !engine.keys().is_empty() {
        return Ok(None);
    }
    let (_, secret) = engine.keys().create(admin, engine.now()).context("cannot store the admin key")?;
    Ok(Some(secret))
}

async fn serve(config: Config, started: impl FnOnce(&Started)) -> Result<()> {
    let listen = config.server.listen.clone();
    let drain = Duration::from_millis(config.server.drain_ms);
    // It ends with the runtime.
    tokio::spawn(allocator::stay_lean(config.server.lean_from_bytes));
    // The port is taken first: a start that cannot listen should not touch the data.
    let listener = TcpListener::bind(&listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let tls = Tls::open(&config.tls).context("TLS cannot be used as configured")?;
    let is_encrypted = tls.is_some();
    let address = listener.local_addr().context("the listener has no address")?;
    let opening = config.clone();
    let engine = tokio::task::spawn_blocking(move || open(&opening))
        .await
        .context("opening the data folder panicked")??;
    let admin_key = first_key(&engine, &config)?;
    let jwt = config.auth.jwt.clone();
    let jwts =
        tokio::task::spawn_blocking(move || Jwts::open(&jwt)).await.context("reading keys panicked")?;
    let jwts = jwts.context("the keys of [auth.jwt] are not accepted")?.map(Arc::new);
    let open = Connections::new(connections::Limits::of(&config.server), tls);
    let (front, app) = router::router(engine.clone(), jwts.clone(), config, Arc::clone(&open))
        .context("the OpenAPI document does not print")?;
    let server = connections::listen(listener, front, open);
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    started(&Started { address, is_encrypted, admin_key });
    engine.finish_project_deletes();
    let background = Background::start(&app, jwts);
    wait_for_signal().await?;
    tracing::info!("stopping: no new requests");
    engine.stop_accepting();
    background.stop();
    tokio::spawn(async {
        if wait_for_signal().await.is_ok() {
            tracing::warn!("second signal: exiting at once");
            std::process::exit(1);
        }
    });
    if !server.stop(drain).await {
        tracing::warn!(drain_ms = drain.as_millis() as u64, "requests still run: cancelling them");
    }
    finish_records(&app).await;
    tracing::info!("stopping: flushing");
    tokio::task::spawn_blocking(move || engine.close())
        .await
        .context("closing panicked")?
        .context("the store did not close cleanly")?;
    tracing::info!("stopped");
    Ok(())
}

/// Stores and exports the last of what the server tells of its own work.
async fn finish_records(app: &AppState) {
    // A store that is stuck must not keep the process from ending.
    if tokio::time::timeout(LAST_RECORDS_MAX, app.observer.finish(&app.engine, &app.http)).await.is_err() {
        tracing::warn!("the last records of the server's own work are lost");
    }
    if let Some(otlp) = app.observer.otlp() {
        otlp.export(app).await;
    }
}

/// What goes on beside requests for as long as the server takes them.
struct Background(Vec<JoinHandle<()>>);

impl Background {
    fn start(app: &AppState, jwts: Option<Arc<Jwts>>) -> Self {
        let engine = app.engine.clone();
        let mut tasks = vec![tokio::spawn(async move {
            let fresh_keys = async {
                if let Some(jwts) = jwts {
                    jwts.keep_fresh().await;
                }
            };
            tokio::join!(
                engine.warm(),
                engine.keep_questions(),
                engine.keep_key_uses(),
                engine.keep_usage(),
                fresh_keys
            );
        })];
        let observed = app.clone();
        tasks
            .push(tokio::spawn(async move { observed.observer.run(&observed.engine, &observed.http).await }));
        if let Some(otlp) = app.observer.otlp() {
            let (otlp, app) = (Arc::clone(otlp), app.clone());
            tasks.push(tokio::spawn(async move { otlp.run(app).await }));
        }
        Background(tasks)
    }

    /// Ends it all. Dropped, warming cancels the question it computes.
    fn stop(self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

async fn wait_for_signal() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
