//! Where an import's rows go: a running server, or a data folder that no server uses.

use std::path::PathBuf;

use serde_json::Value;
use tidewater_columns::RowBatch;
use tidewater_model::schema::Dataset;

use super::folder::Folder;
use super::journal;
use super::server::Server;

/// A place for rows of one dataset.
pub enum Target {
    /// Over HTTP.
    Server(Server),
    /// Straight into the files.
    Folder(Folder),
}

/// What became of some rows.
#[derive(Debug, Default, PartialEq)]
pub struct Sent {
    /// Stored.
    pub accepted: u64,
    /// Left out, because their id was known.
    pub duplicates: u64,
    /// Refused.
    pub rejected: u64,
    /// The first of the refused rows: index and reason.
    pub refusals: Vec<(usize, String)>,
}

impl Sent {
    /// Adds what became of the rows from `offset` on.
    pub fn append(&mut self, rest: Sent, offset: usize) {
        self.accepted += rest.accepted;
        self.duplicates += rest.duplicates;
        self.rejected += rest.rejected;
        self.refusals.extend(rest.refusals.into_iter().map(|(index, message)| (index + offset, message)));
    }
}

impl Target {
    /// The dataset, if it is there.
    pub fn dataset(&self) -> anyhow::Result<Option<Dataset>> {
        match self {
            Target::Server(server) => server.dataset(),
            Target::Folder(folder) => Ok(folder.dataset()),
        }
    }

    /// Creates the dataset.
    pub fn create(&self, definition: &Value) -> anyhow::Result<Dataset> {
        match self {
            Target::Server(server) => server.create(definition),
            Target::Folder(folder) => folder.create(definition),
        }
    }

    /// The identity of the store, if it can be known.
    pub fn store_id(&self) -> anyhow::Result<Option<String>> {
        match self {
            Target::Server(server) => server.store_id(),
            Target::Folder(folder) => Ok(Some(folder.store_id())),
        }
    }

    /// Where the state of imports is kept.
    pub fn journal_dir(&self) -> PathBuf {
        match self {
            Target::Server(_) => journal::user_dir(),
            Target::Folder(folder) => folder.journal_dir(),
        }
    }

    /// Stores rows, once however often it is called with the same token.
    pub fn send(&self, dataset: &Dataset, token: &str, batch: RowBatch) -> anyhow::Result<Sent> {
        match self {
            Target::Server(server) => server.send(dataset, token, &batch),
            Target::Folder(folder) => folder.send(token, batch),
        }
    }

    /// Writes everything out.
    pub fn close(self) -> anyhow::Result<()> {
        match self {
            Target::Server(_) => Ok(()),
            Target::Folder(folder) => folder.close(),
        }
    }
}
