//! Log lines on standard error: text on a terminal, JSON elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Starts logging; fails on a filter that does not read.
pub fn start(config: &LogConfig) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let filter = EnvFilter::try_new(&config.level)
        .with_context(|| format!("log.level '{}' is no filter", config.level))?;
    let is_terminal = std::io::stderr().is_terminal();
    let as_text = match config.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => is_terminal,
    };
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal);
    // A second start in one process (tests) keeps the first one's settings.
    let _ = if as_text { builder.try_init() } else { builder.json().flatten_event(true).try_init() };
    Ok(())
}

/// Panics become log lines with their place in the code; the process goes on, since a request's panic is caught.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("unknown");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(message, place, "panic");
    }));
}
