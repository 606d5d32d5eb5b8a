//! Pieces stored straight into a data folder, for imports while no server runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tidewater_columns::RowBatch;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{Dataset, DatasetDefinition};
use tidewater_store::disk::RealDisk;
use tidewater_store::{Append, Store, StoreConfig, StoreError, SystemClock, Token};
use xxhash_rust::xxh3::xxh3_128;

use super::target::Sent;

/// Pause while the store writes its memory out.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// A data folder and a dataset of it.
pub struct Folder {
    store: Store,
    dir: PathBuf,
    dataset: String,
    project: ProjectName,
}

impl Folder {
    /// Opens the folder; it must not be in use.
    pub fn open(dir: &Path, dataset: &str, project: Option<&str>) -> anyhow::Result<Self> {
        let project = match project {
            Some(name) => ProjectName::new(name)?,
            None => tidewater_engine::default_project(),
        };
        let store = Store::open(StoreConfig::new(dir), Arc::new(RealDisk), Arc::new(SystemClock))
            .with_context(|| format!("cannot open the data folder '{}'", dir.display()))?;
        Ok(Folder { store, dir: dir.to_owned(), dataset: dataset.to_owned(), project })
    }

    /// The dataset, if the folder has it.
    pub fn dataset(&self) -> Option<Dataset> {
        self.store.dataset(&self.dataset).map(|(_, dataset)| Dataset::clone(&dataset))
    }

    /// Creates the dataset.
    pub fn create(&self, definition: &Value) -> anyhow::Result<Dataset> {
        let definition: DatasetDefinition = serde_json::from_value(definition.clone())?;
        let (_, dataset) = self.store.put_dataset(&self.dataset, definition)?;
        Ok(Dataset::clone(&dataset))
    }

    /// The identity of the store.
    pub fn store_id(&self) -> String {
        format!("{:016x}", self.store.snapshot().version().store.0)
    }

    /// Where the state of imports is kept.
    pub fn journal_dir(&self) -> PathBuf {
        self.dir.join("imports")
    }

    /// Stores rows, once however often it is called with the same token.
    pub fn send(&self, token: &str, batch: RowBatch) -> anyhow::Result<Sent> {
        let Some((id, _)) = self.store.dataset(&self.dataset) else {
            bail!("dataset '{}' is gone", self.dataset)
        };
        // The token names the file's content, so it stands for the body too.
        let hash = xxh3_128(token.as_bytes());
        loop {
            let (done, outcome) = mpsc::channel();
            self.store.submit(Append {
                dataset: id,
                project: self.project.clone(),
                batch: batch.clone(),
                token: Some(Token { token_hash: hash, body_hash: hash }),
                extra: Vec::new(),
                in_background: false,
                done: Box::new(move |result| {
                    // The receiver waits for exactly this.
                    let _ = done.send(result);
                }),
            });
            match outcome.recv().context("the store ended")? {
                Ok(receipt) => {
                    let (accepted, duplicates) = (u64::from(receipt.accepted), u64::from(receipt.duplicates));
                    return Ok(Sent { accepted, duplicates, ..Sent::default() });
                }
                Err(StoreError::Full) => sleep(FULL_PAUSE),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes everything out and gives the folder free.
    pub fn close(self) -> anyhow::Result<()> {
        Ok(self.store.close()?)
    }
}
