//! The command line next to `serve`: each verb in a file of its own, with its arguments and what it does.
//!
//! Verbs that ask a running server go through `client`; `verify` and `restore` work on a data folder, `import` and `backup` on either.

mod backup;
mod client;
mod datasets;
mod demo;
mod import;
mod keys;
mod query;
mod table;

use clap::Subcommand;

/// What `tidewater` can do besides serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Starts a server filled with thirty days of sample data that keeps growing, and prints how to ask it.
    Demo(demo::Arguments),
    /// Loads a CSV, TSV, NDJSON, JSON or Parquet file into a dataset.
    Import(import::Arguments),
    /// Asks a question and prints the answer as a table, JSON or CSV.
    Query(query::Arguments),
    /// Lists datasets, shows one, or defines one from a file.
    Datasets(datasets::Arguments),
    /// Creates, lists and revokes API keys.
    Keys(keys::Arguments),
    /// Checks every file of a data folder against its checksums and its catalog.
    Verify(backup::VerifyArguments),
    /// Copies a consistent state of a running server's or a closed folder's data.
    Backup(backup::BackupArguments),
    /// Makes a data folder out of a backup.
    Restore(backup::RestoreArguments),
    /// Prints a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// Runs the verb to its end.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Demo(arguments) => demo::run(arguments),
            Command::Import(arguments) => import::run(&arguments),
            Command::Query(arguments) => query::run(&arguments),
            Command::Datasets(arguments) => datasets::run(&arguments),
            Command::Keys(arguments) => keys::run(&arguments),
            Command::Verify(arguments) => backup::verify(&arguments),
            Command::Backup(arguments) => backup::backup(&arguments),
            Command::Restore(arguments) => backup::restore(&arguments),
            Command::Completions { shell } => {
                let mut command = <crate::Cli as clap::CommandFactory>::command();
                clap_complete::generate(shell, &mut command, "tidewater", &mut std::io::stdout());
                Ok(())
            }
        }
    }
}
