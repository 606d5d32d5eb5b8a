//! The load generator and client of the benchmarks: data, ingest, single events, queries, dashboards.
//!
//! It is a client only: it starts no database, knows no peer and compares nothing. `bench/run` does that.
//! Every subcommand prints one JSON line with its figures to standard output.

mod asks;
mod bare;
mod cache_micro;
mod dashboards;
mod freshness;
mod generate;
mod http;
mod ingest;
mod latency;
mod queries;
mod random;
mod settle;
mod single;
mod soak;
mod split;
mod stream;
mod trace;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The allocator of the server, so that the bare handler differs from it in nothing else.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "tidewater-bench", about = "Load generator and client of the Tidewater benchmarks")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Where the server is and how to get in.
#[derive(Args, Clone)]
pub struct Target {
    /// The server, as `http://HOST:PORT`.
    #[arg(long, env = "BENCH_URL")]
    url: String,
    /// An API key with the scopes `ingest` and `query`.
    #[arg(long, env = "BENCH_KEY", hide_env_values = true)]
    key: String,
    /// The dataset that is written or asked.
    #[arg(long, default_value = "llm_traces")]
    dataset: String,
}

#[derive(Subcommand)]
enum Command {
    /// Writes LLM traces as NDJSON files; the same arguments always give the same bytes.
    Generate(generate::Options),
    /// Sends NDJSON files in requests of many rows and waits until the store has sealed them.
    Ingest(ingest::Options),
    /// Sends one event per request at a fixed rate and measures latency from the scheduled time.
    Single(single::Options),
    /// Asks every question of a folder several times.
    Queries(queries::Options),
    /// Asks every question of a folder many times, in turn or in an open loop, also while rows come in.
    Asks(asks::Options),
    /// Measures how long an acknowledged row takes until a question counts it.
    Freshness(freshness::Options),
    /// Asks like many people who look at dashboards: concurrent, popular questions more often.
    Dashboards(dashboards::Options),
    /// Offers several times the load that a server sustains and counts what becomes of it.
    Soak(soak::Options),
    /// Answers every request to one path with the bytes of a file: what HTTP alone costs.
    Bare(bare::Options),
    /// Measures gets and sets a second of the answer cache by itself.
    CacheMicro(cache_micro::Options),
    /// Measures fdatasync of 4 KiB appends in a folder.
    Fdatasync {
        /// The folder on the file system in question; the probe file is removed afterwards.
        #[arg(long)]
        dir: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    let figures = match Cli::parse().command {
        Command::Generate(options) => generate::run(&options)?,
        Command::Ingest(options) => ingest::run(&options)?,
        Command::Single(options) => single::run(&options)?,
        Command::Queries(options) => queries::run(&options)?,
        Command::Asks(options) => asks::run(&options)?,
        Command::Freshness(options) => freshness::run(&options)?,
        Command::Dashboards(options) => dashboards::run(&options)?,
        Command::Soak(options) => soak::run(&options)?,
        Command::Bare(options) => bare::run(&options)?,
        Command::CacheMicro(options) => cache_micro::run(&options)?,
        Command::Fdatasync { dir } => latency::fdatasync(&dir)?.to_json(),
    };
    println!("{figures}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn no_two_arguments_of_a_subcommand_share_a_name() {
        super::Cli::command().debug_assert();
    }
}
