//! How far an import came: a small file that lets a second run go on where the first one stopped.
//!
//! A piece is written down after it was acknowledged, and carries a token made of the file, the target and its number: a piece
//! that was stored but not written down is sent again with the same token, and the store answers as it did before.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::split::{PIECE_BYTES_MAX, PIECE_ROWS_MAX};

/// What an import is: the same values are the same import.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// [`super::source::Source::fingerprint`], hexadecimal.
    pub file: String,
    /// Where to.
    pub dataset: String,
    /// For whom.
    pub project: String,
    /// The server's address, or the data folder.
    pub target: String,
}

/// The record of one import.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Journal {
    identity: Identity,
    /// The file's name, for people who find this record.
    name: String,
    /// Hash of everything else that decides what a piece holds.
    options: String,
    /// 1 for the first import, one more for each `--again`.
    run: u32,
    /// The time of rows that have none, micro-seconds: the same in all runs, so that a repeated piece is the same.
    pub now_us: i64,
    /// The store that took the pieces, where it says so.
    store: Option<String>,
    /// Pieces that were acknowledged.
    pub pieces: u64,
    /// What became of their rows.
    pub totals: Totals,
    finished: bool,
    #[serde(skip)]
    path: PathBuf,
}

/// What became of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Stored.
    pub accepted: u64,
    /// Refused.
    pub rejected: u64,
    /// Left out, because their id was known.
    pub duplicates: u64,
}

impl Totals {
    /// Both together.
    pub fn add(&mut self, other: Totals) {
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.duplicates += other.duplicates;
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.accepted + self.rejected + self.duplicates
    }
}

impl Journal {
    /// Takes up an import or begins one. `store` is the identity of the store behind the target, if it is known.
    pub fn open(
        dir: &Path,
        identity: Identity,
        name: &Path,
        options: &str,
        store: Option<&str>,
        again: bool,
    ) -> anyhow::Result<Journal> {
        let path = dir.join(format!("{}.json", identity.hash()));
        let options =
            format!("{:032x}", xxh3_128(format!("{PIECE_ROWS_MAX} {PIECE_BYTES_MAX} {options}").as_bytes()));
        let fresh = |run| Journal {
            identity: identity.clone(),
            name: name.display().to_string(),
            options: options.clone(),
            run,
            now_us: now_us(),
            store: store.map(str::to_owned),
            pieces: 0,
            totals: Totals::default(),
            finished: false,
            path: path.clone(),
        };
        let Some(mut known) = read(&path)? else { return Ok(fresh(1)) };
        known.path.clone_from(&path);
        let is_same_store = known.store.is_none() || store.is_none() || known.store.as_deref() == store;
        if again || !is_same_store {
            return Ok(fresh(known.run + 1));
        }
        let (file, dataset) = (name.display(), &identity.dataset);
        if known.finished {
            let rows = known.totals.accepted;
            bail!(
                "'{file}' was imported into '{dataset}' already ({rows} rows); import it once more with --again"
            );
        }
        if known.options != options {
            let rows = known.totals.rows();
            bail!(
                "an import of '{file}' into '{dataset}' with other options stopped after {rows} rows; \
                 repeat it with those options, or start over with --again"
            );
        }
        Ok(known)
    }

    /// The token of a piece.
    pub fn token(&self, piece: u64) -> String {
        format!("import-{}-{}-{piece}", self.identity.hash(), self.run)
    }

    /// Writes down that the next piece was acknowledged.
    pub fn acknowledge(&mut self, became: Totals) -> anyhow::Result<()> {
        self.pieces += 1;
        self.totals.add(became);
        self.save()
    }

    /// Writes down that there are no more pieces.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        self.finished = true;
        self.save()
    }

    /// Replaces the file as a whole. Not synced: losing the last few lines only repeats pieces whose tokens are known.
    fn save(&self) -> anyhow::Result<()> {
        let write = || -> std::io::Result<()> {
            if let Some(dir) = self.path.parent() {
                std::fs::create_dir_all(dir)?;
            }
            let temporary = self.path.with_extension("new");
            std::fs::write(&temporary, serde_json::to_vec_pretty(self)?)?;
            std::fs::rename(&temporary, &self.path)
        };
        write().with_context(|| format!("cannot write the import's state '{}'", self.path.display()))
    }
}

impl Identity {
    fn hash(&self) -> String {
        let text = format!("{}\0{}\0{}\0{}", self.file, self.dataset, self.project, self.target);
        format!("{:032x}", xxh3_128(text.as_bytes()))
    }
}

fn read(path: &Path) -> anyhow::Result<Option<Journal>> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let read = serde_json::from_slice(&bytes);
            read.map(Some)
                .with_context(|| format!("the import's state '{}' does not read; remove it", path.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(error).with_context(|| format!("cannot read the import's state '{}'", path.display()))
        }
    }
}

fn now_us() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}

/// Where records lie for imports to a server: `$XDG_STATE_HOME/tidewater/imports` or `~/.local/state/tidewater/imports`.
pub fn user_dir() -> PathBuf {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = given("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(given("HOME")?.join(".local/state")));
    state.unwrap_or_else(std::env::temp_dir).join("tidewater/imports")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path, options: &str, store: &str, again: bool) -> anyhow::Result<Journal> {
        let text = str::to_owned;
        let identity =
            Identity { file: text("f"), dataset: text("d"), project: text("p"), target: text("t") };
        Journal::open(dir, identity, Path::new("a.csv"), options, Some(store), again)
    }

    #[test]
    fn a_second_run_goes_on_and_a_third_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut first = open(dir.path(), "o", "s", false).expect("begun");
        let done = Totals { accepted: 5, rejected: 1, duplicates: 0 };
        first.acknowledge(done).expect("written");
        let mut second = open(dir.path(), "o", "s", false).expect("taken up");
        assert_eq!((second.pieces, second.totals, second.now_us), (1, done, first.now_us));
        assert_eq!(second.token(1), first.token(1));
        let changed = open(dir.path(), "other", "s", false).expect_err("refused").to_string();
        assert!(changed.contains("with other options"), "{changed}");
        second.finish().expect("written");
        let third = open(dir.path(), "o", "s", false).expect_err("refused").to_string();
        assert!(third.contains("--again"), "{third}");
        let again = open(dir.path(), "o", "s", true).expect("begun anew");
        assert_eq!(again.pieces, 0);
        assert_ne!(again.token(0), first.token(0));
    }

    #[test]
    fn another_store_at_the_same_address_starts_over() {
        let dir = tempfile::tempdir().expect("a folder");
        open(dir.path(), "o", "s", false).expect("begun").acknowledge(Totals::default()).expect("written");
        assert_eq!(open(dir.path(), "o", "s", false).expect("taken up").pieces, 1);
        assert_eq!(open(dir.path(), "o", "restored", false).expect("begun").pieces, 0);
    }
}
