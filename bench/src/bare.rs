//! A bare HTTP handler: reads the body of a request and answers with fixed bytes, as JSON.
//!
//! Same HTTP library, runtime and allocator as the server, but no key, no query, no cache: what cached answers are
//! held against. It runs until it is killed.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::any;
use axum::serve::ListenerExt;

#[derive(clap::Args)]
pub struct Options {
    #[arg(long)]
    listen: SocketAddr,
    /// The file whose bytes are the answer.
    #[arg(long)]
    body: PathBuf,
    /// The path that is answered.
    #[arg(long, default_value = "/api/v1/query")]
    path: String,
}

pub fn run(options: &Options) -> anyhow::Result<serde_json::Value> {
    let body = std::fs::read(&options.body)
        .with_context(|| format!("cannot read {}", options.body.display()))
        .map(Bytes::from)?;
    let handler = any(move |_asked: Bytes| async move { ([(CONTENT_TYPE, "application/json")], body) });
    let app = Router::new().route(&options.path, handler);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("cannot listen on {}", options.listen))?;
        let listener = listener.tap_io(|stream| {
            // Without it small replies only wait longer.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, app).await?;
        Ok(serde_json::Value::Null)
    })
}
