//! The `tidewater` binary: a server, and the commands around it.
//!
//! Here: arguments and which verb runs. Not here: what verbs do (`serve`, `cli`).

mod allocator;
mod answer;
mod app;
mod auth;
mod body;
mod cli;
mod config;
mod connections;
mod cors;
mod dispatch;
mod exposition;
mod front;
mod limits;
mod logging;
mod metrics;
mod observe;
mod openapi;
mod otlp;
mod packing;
mod performance;
mod problem;
mod records;
mod replies;
mod reply;
mod router;
mod routes;
mod serve;
mod shards;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use config::{Config, Sources};

/// Tidewater takes in events, traces and metrics, and answers questions about them in milli-seconds.
#[derive(Debug, Parser)]
#[command(name = "tidewater", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs the server.
    #[command(after_help = "Examples:\n  tidewater serve --data ./data --listen 0.0.0.0:8321\n  \
        TIDEWATER_ADMIN_KEY=secret tidewater serve\n  tidewater serve --config prod.toml --print-config")]
    Serve(ServeArguments),
    #[command(flatten)]
    Other(Box<cli::Command>),
}

/// Arguments of `serve`. Everything else is set in `tidewater.toml` or by `TIDEWATER_SECTION__FIELD`.
#[derive(Debug, Args)]
struct ServeArguments {
    /// The data folder; made where it is not there.
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Where to listen.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// The configuration file; `tidewater.toml` where it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints the configuration that results from defaults, file, environment and flags, and exits.
    #[arg(long)]
    print_config: bool,
}

impl ServeArguments {
    fn config(&self) -> anyhow::Result<Config> {
        let text = |value: &Option<String>| value.clone().map(toml::Value::String);
        let flags = [("store", "data_dir", text(&self.data)), ("server", "listen", text(&self.listen))];
        let flags =
            flags.into_iter().filter_map(|(section, field, value)| Some((section, field, value?))).collect();
        let environment = std::env::vars().filter(|(name, _)| name.starts_with("TIDEWATER_")).collect();
        Ok(config::load(&Sources { file: self.config.clone(), environment, flags })?)
    }

    fn run(&self) -> anyhow::Result<()> {
        let config = self.config()?;
        if self.print_config {
            print!("{}", config.print()?);
            return Ok(());
        }
        serve::run(config, |started| {
            let scheme = if started.is_encrypted { "https" } else { "http" };
            println!("tidewater listens on {scheme}://{}", started.address);
            if let Some(key) = &started.admin_key {
                println!("admin key, shown only now: {key}");
            }
        })
    }
}

fn main() -> ExitCode {
    // The first call notes the moment.
    metrics::start_time_seconds();
    let outcome = match Cli::parse().verb {
        Verb::Serve(arguments) => arguments.run(),
        Verb::Other(command) => command.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line with the causes; never a backtrace, whatever the environment asks for.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
