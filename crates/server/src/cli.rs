//! The command line next to `serve`: each verb in a file of its own, with its arguments and what it does.
//!
//! Verbs that ask a running server go through `client`; `verify` and `restore` work on a data folder, `import` and `backup` on either.

mod advise;
mod backup;
mod client;
mod datasets;
mod demo;
mod health;
mod import;
mod keys;
mod query;
mod report;
mod rollups;
mod table;

use clap::Subcommand;

/// What `tidewater` can do besides serving. What each verb does stands with its arguments, which is where `--help` takes it from.
#[derive(Debug, Subcommand)]
pub enum Command {
    Demo(demo::Arguments),
    Import(import::Arguments),
    Query(query::Arguments),
    Datasets(datasets::Arguments),
    Keys(keys::Arguments),
    Advise(advise::Arguments),
    Rollups(rollups::Arguments),
    Health(health::Arguments),
    Verify(backup::VerifyArguments),
    Backup(backup::BackupArguments),
    Restore(backup::RestoreArguments),
    Completions(CompletionsArguments),
}

/// Prints a completion script for a shell
///
/// Examples:
///   tidewater completions bash > ~/.local/share/bash-completion/completions/tidewater
///   tidewater completions zsh > ~/.zfunc/_tidewater
///   tidewater completions fish > ~/.config/fish/completions/tidewater.fish
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct CompletionsArguments {
    /// Which shell.
    shell: clap_complete::Shell,
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
            Command::Advise(arguments) => advise::run(&arguments),
            Command::Rollups(arguments) => rollups::run(&arguments),
            Command::Health(arguments) => health::run(&arguments),
            Command::Verify(arguments) => backup::verify(&arguments),
            Command::Backup(arguments) => backup::backup(&arguments),
            Command::Restore(arguments) => backup::restore(&arguments),
            Command::Completions(CompletionsArguments { shell }) => {
                let mut command = <crate::Cli as clap::CommandFactory>::command();
                clap_complete::generate(shell, &mut command, "tidewater", &mut std::io::stdout());
                Ok(())
            }
        }
    }
}
