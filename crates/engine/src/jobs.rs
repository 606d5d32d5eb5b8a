//! Jobs: what an administrator started and can look up later. That is deletes of rows and of projects.

use serde::{Deserialize, Serialize};
use tidewater_model::time::Timestamp;
use tidewater_store::Store;

use crate::error::{EngineError, EngineResult};
use crate::keys::random_hex;

/// The store's space for job records.
const SPACE: &str = "jobs";
/// Jobs that are kept; the oldest go first. A record is some hundred bytes, and the catalog is for small things.
const JOBS_MAX: usize = 1_000;

/// A job's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// For `GET /jobs/ID`; ids sort by age.
    pub id: String,
    /// What it does: `delete_rows`, `delete_project`.
    pub kind: String,
    /// `running` or `done`.
    pub status: String,
    /// Whose rows.
    pub project: String,
    /// Of which dataset; none for all.
    pub dataset: Option<String>,
    /// Rows that matched in the snapshot taken just before; rows that were acknowledged in between are deleted too.
    pub rows: u64,
    /// Roll-ups of expired rows, as "roll-up/tier", whose sums still count rows the delete speaks of: they do not tell them apart,
    /// and name nobody.
    #[serde(default)]
    pub sums_kept: Vec<String>,
    /// The state from which on they are gone.
    pub version: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was done.
    pub finished_at: Option<Timestamp>,
}

/// All kept jobs.
pub struct Jobs {
    store: Store,
}

impl Jobs {
    /// Removes what is past the limit.
    pub(crate) fn open(store: Store) -> EngineResult<Self> {
        let jobs = Jobs { store };
        jobs.prune()?;
        Ok(jobs)
    }

    /// A new id.
    pub(crate) fn next_id(now: Timestamp) -> EngineResult<String> {
        Ok(format!("{:016x}-{}", now.0, random_hex::<4>()?))
    }

    /// Keeps a job.
    pub(crate) fn put(&self, job: &Job) -> EngineResult<()> {
        let value = serde_json::to_vec(job).map_err(|source| record_error(&job.id, source))?;
        self.store.kv_put(SPACE, &job.id, &value)?;
        self.prune()
    }

    /// A job by id.
    pub fn get(&self, id: &str) -> EngineResult<Job> {
        let value = self.store.kv_get(SPACE, id)?.ok_or(EngineError::UnknownJob)?;
        serde_json::from_slice(&value).map_err(|source| record_error(id, source))
    }

    fn prune(&self) -> EngineResult<()> {
        let mut ids: Vec<String> = self.store.kv_list(SPACE)?.into_iter().map(|(id, _)| id).collect();
        ids.sort();
        for id in ids.iter().take(ids.len().saturating_sub(JOBS_MAX)) {
            self.store.kv_delete(SPACE, id)?;
        }
        Ok(())
    }
}

fn record_error(id: &str, source: serde_json::Error) -> EngineError {
    EngineError::Record { space: SPACE, key: id.to_owned(), source }
}
