//! The questions that run now, so that an operator can see and cancel them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tidewater_model::names::ProjectName;
use tidewater_model::time::Timestamp;
use tidewater_query::CancelToken;

/// One running question.
#[derive(Clone, Debug)]
pub struct RunningQuery {
    /// For `DELETE /queries/ID`; unique within the process.
    pub id: u64,
    /// Whose rows it reads.
    pub project: ProjectName,
    /// Which dataset it reads.
    pub dataset: String,
    /// When it came.
    pub started_at: Timestamp,
    /// How long it has been waiting or running, in milli-seconds.
    pub elapsed_ms: f64,
}

struct Entry {
    project: ProjectName,
    dataset: String,
    started_at: Timestamp,
    started: Instant,
    cancel: CancelToken,
}

/// All running questions. One short lock per question, not per row.
#[derive(Default)]
pub(crate) struct Running {
    next: AtomicU64,
    entries: Mutex<BTreeMap<u64, Entry>>,
}

/// A question's place among the running ones. Dropping it cancels the question: a client that went away drops the future
/// that holds it, and nobody would read the answer.
pub(crate) struct RunningGuard {
    running: Arc<Running>,
    id: u64,
    cancel: CancelToken,
}

impl Running {
    pub fn enter(
        self: &Arc<Self>,
        project: &ProjectName,
        dataset: &str,
        now: Timestamp,
        cancel: CancelToken,
    ) -> RunningGuard {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let entry = Entry {
            project: project.clone(),
            dataset: dataset.to_owned(),
            started_at: now,
            started: Instant::now(),
            cancel: cancel.clone(),
        };
        self.lock().insert(id, entry);
        RunningGuard { running: Arc::clone(self), id, cancel }
    }

    pub fn list(&self) -> Vec<RunningQuery> {
        let entries = self.lock();
        let list = entries.iter().map(|(id, entry)| RunningQuery {
            id: *id,
            project: entry.project.clone(),
            dataset: entry.dataset.clone(),
            started_at: entry.started_at,
            elapsed_ms: entry.started.elapsed().as_secs_f64() * 1e3,
        });
        list.collect()
    }

    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Asks a question to stop; false when there is none with that id.
    pub fn cancel(&self, id: u64) -> bool {
        self.lock().get(&id).inspect(|entry| entry.cancel.cancel()).is_some()
    }

    pub fn cancel_all(&self) {
        self.lock().values().for_each(|entry| entry.cancel.cancel());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.running.lock().remove(&self.id);
    }
}
