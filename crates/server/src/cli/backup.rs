//! `tidewater verify`, `backup` and `restore`: whole data folders.
//!
//! Not here: how a store is copied and checked (`store`); these verbs find the folders and show the outcome.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tidewater_store::StoreError;
use tidewater_store::disk::{DiskRef, RealDisk};

use super::client::{Client, Remote};
use super::table;

/// Checks every file of a data folder against its checksums and its catalog
///
/// Examples:
///   tidewater verify --data ./data
///
/// Reads every byte and changes none. The folder must not be in use; a running
/// server checks itself at GET /api/v1/verify. Ends with 1 on damage.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct VerifyArguments {
    /// The data folder.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Copies a consistent state of a running server's or a closed folder's data
///
/// Examples:
///   tidewater backup --to ./backup-today                 (of the running server)
///   tidewater backup --data ./data --to ./backup-today   (of a folder that is not in use)
///
/// A running server goes on while it copies; it writes into its backup folder,
/// from where the copy is moved to --to when that folder can be seen from here.
/// A backup is a data folder: 'tidewater restore' makes a new one of it.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct BackupArguments {
    /// The folder to make; without it the backup stays in the server's backup folder.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// A data folder that no server is using, instead of asking --url.
    #[arg(long, value_name = "DIR", requires = "to")]
    data: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

/// Makes a data folder out of a backup, and checks it
///
/// Examples:
///   tidewater restore ./backup-today --data ./restored
///
/// The new folder has an identity of its own, so that cursors and versions of
/// the original are not mistaken for its.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct RestoreArguments {
    /// The backup.
    backup: PathBuf,
    /// The data folder to make; it must be empty or not exist.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Checks a folder.
pub fn verify(arguments: &VerifyArguments) -> anyhow::Result<()> {
    check_folder(&arguments.data)
}

/// Copies a folder, or has a server copy its own.
pub fn backup(arguments: &BackupArguments) -> anyhow::Result<()> {
    match (&arguments.data, &arguments.to) {
        (Some(data), Some(to)) => {
            copy_folder(data, to, "is in use; to back up a running server leave out --data")
        }
        (_, to) => backup_of_server(&Client::new(&arguments.remote)?, to.as_deref()),
    }
}

/// Makes a data folder and checks it.
pub fn restore(arguments: &RestoreArguments) -> anyhow::Result<()> {
    copy_folder(&arguments.backup, &arguments.data, "is in use")?;
    check_folder(&arguments.data)
}

fn disk() -> DiskRef {
    Arc::new(RealDisk)
}

fn check_folder(data: &Path) -> anyhow::Result<()> {
    if !data.is_dir() {
        bail!("there is no folder '{}'", data.display());
    }
    let started = Instant::now();
    let report = tidewater_store::verify(data, &disk())
        .with_context(|| format!("cannot check '{}'", data.display()))?;
    let header = ["", "checked"].map(str::to_owned);
    let line = |name: &str, count: u64| vec![json!(name), json!(count)];
    let rows: Vec<Vec<Value>> = vec![
        line("segments", report.segments),
        line("rows in segments", report.rows),
        line("bytes in segments", report.segment_bytes),
        line("roll-up files", report.sidecars),
        line("bytes in roll-up files", report.sidecar_bytes),
        line("deduplication runs", report.runs),
        line("log records", report.log_records),
        line("damaged", report.problems.len() as u64),
    ];
    print!("{}", table::render(&header, &rows));
    for problem in &report.problems {
        println!("damaged: {}", problem.chain());
    }
    let seconds = started.elapsed().as_secs_f64();
    if !report.problems.is_empty() {
        bail!("'{}' is damaged", data.display());
    }
    println!("'{}' is whole ({seconds:.1} s)", data.display());
    Ok(())
}

fn copy_folder(from: &Path, to: &Path, when_locked: &str) -> anyhow::Result<()> {
    if !from.is_dir() {
        bail!("there is no folder '{}'", from.display());
    }
    let copied = tidewater_store::restore(&disk(), from, to);
    copied.map_err(|error| match error {
        StoreError::Locked { .. } => anyhow::anyhow!("'{}' {when_locked}", from.display()),
        StoreError::NotEmpty { .. } => anyhow::anyhow!("'{}' is not empty; name a new folder", to.display()),
        error => anyhow::Error::new(error).context(format!("cannot copy '{}'", from.display())),
    })?;
    println!("'{}' is copied to '{}'", from.display(), to.display());
    Ok(())
}

fn backup_of_server(client: &Client, to: Option<&Path>) -> anyhow::Result<()> {
    if let Some(to) = to.filter(|to| std::fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()))
    {
        bail!("'{}' is not empty; name a new folder", to.display());
    }
    let reply = client.send_json("POST", "/api/v1/backup", &json!({}))?;
    let name = reply["name"].as_str().unwrap_or_default();
    let made = reply["path"].as_str().map(PathBuf::from);
    match (made.filter(|path| path.is_dir()), to) {
        (Some(made), Some(to)) => {
            move_folder(&made, to)?;
            println!("the backup is '{}'", to.display());
        }
        (None, Some(_)) => println!(
            "the backup is '{name}' in the server's backup folder, which cannot be seen from here; move it from there"
        ),
        (_, None) => println!("the backup is '{name}' in the server's backup folder"),
    }
    Ok(())
}

/// Renames, or copies where the target is on another disk.
fn move_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make '{}'", parent.display()))?;
    }
    match std::fs::rename(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            copy_tree(from, to).with_context(|| format!("cannot copy '{}'", from.display()))?;
            std::fs::remove_dir_all(from).with_context(|| format!("cannot remove '{}'", from.display()))
        }
        Err(error) => {
            Err(error).with_context(|| format!("cannot move '{}' to '{}'", from.display(), to.display()))
        }
    }
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
            std::fs::File::open(&target)?.sync_all()?;
        }
    }
    std::fs::File::open(to)?.sync_all()
}
