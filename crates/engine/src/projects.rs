//! Projects: what is known of them besides their rows, and deleting one with everything it has.
//!
//! A project is there when it has rows or a record; using one needs no record. Its name is part of every stored row and never
//! changes; its title does. Not here: who reaches which project (`access`).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidewater_model::filter::Filter;
use tidewater_model::input_error::{InputError, codes};
use tidewater_model::names::ProjectName;
use tidewater_model::time::Timestamp;
use tidewater_store::{Delete, Store};
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::error::{EngineError, EngineResult};
use crate::jobs::{Job, Jobs};

/// The store's space for project records.
const SPACE: &str = "projects";
/// The kind of a project's delete.
const KIND: &str = "delete_project";
/// Records at most: they are held in memory.
const PROJECTS_MAX: usize = 100_000;
/// Longest title, in bytes.
const TITLE_BYTES_MAX: usize = 200;
/// How often it is looked whether all files were rewritten. Background work does that, one file at a time.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Looks after which deletes are written again: rows that a request had under way when the delete began may have come after it.
const LOOKS_PER_ROUND: usize = 40;

/// What is known of a project besides its rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// For people; the name where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// When it was created; none where it came with its first rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// The job that deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_by: Option<String>,
}

/// All records, in memory and durable in the store.
pub(crate) struct Projects {
    store: Store,
    // Read by every ingest request, written without waiting for the disk.
    records: RwLock<BTreeMap<String, Project>>,
    // Held while a record is written to the store.
    changes: Mutex<()>,
}

impl Projects {
    pub fn open(store: Store) -> EngineResult<Self> {
        let mut records = BTreeMap::new();
        for (name, value) in store.kv_list(SPACE)? {
            let record = serde_json::from_slice(&value).map_err(|source| EngineError::Record {
                space: SPACE,
                key: name.clone(),
                source,
            })?;
            records.insert(name, record);
        }
        Ok(Projects { store, records: RwLock::new(records), changes: Mutex::new(()) })
    }

    fn get(&self, name: &str) -> Option<Project> {
        self.read().get(name).cloned()
    }

    fn put(&self, name: &str, record: Project) -> EngineResult<()> {
        let _change = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = {
            let records = self.read();
            records.len() >= PROJECTS_MAX && !records.contains_key(name)
        };
        if is_full {
            return Err(EngineError::TooMany { what: "projects", max: PROJECTS_MAX });
        }
        let value = serde_json::to_vec(&record).map_err(|source| EngineError::Record {
            space: SPACE,
            key: name.to_owned(),
            source,
        })?;
        self.store.kv_put(SPACE, name, &value)?;
        self.write().insert(name.to_owned(), record);
        Ok(())
    }

    fn remove(&self, name: &str) -> EngineResult<()> {
        let _change = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        self.store.kv_delete(SPACE, name)?;
        self.write().remove(name);
        Ok(())
    }

    /// Takes a record out of sight and leaves it stored, so that a crash before [`Self::remove`] ends the deletion once more.
    fn hide(&self, name: &str) -> Option<Project> {
        self.write().remove(name)
    }

    /// Refuses a project that is being deleted. Records are few, and most stores have none.
    pub fn check_takes_rows(&self, name: &ProjectName) -> EngineResult<()> {
        match self.read().get(name.as_str()) {
            Some(record) if record.deleted_by.is_some() => {
                Err(EngineError::ProjectDeleting { name: name.to_string() })
            }
            _ => Ok(()),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Project>> {
        self.records.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Project>> {
        self.records.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_title(title: Option<&str>) -> EngineResult<()> {
    let fits = |title: &str| {
        !title.trim().is_empty() && title.len() <= TITLE_BYTES_MAX && !title.contains(char::is_control)
    };
    if title.is_none_or(fits) {
        return Ok(());
    }
    let message = format!("a title is 1 to {TITLE_BYTES_MAX} bytes of printable text");
    Err(InputError::new(codes::INVALID_VALUE, "title", message).into())
}

impl Engine {
    /// Every project that has rows or a record, by name.
    pub fn projects(&self) -> Vec<(ProjectName, Project)> {
        let mut projects: BTreeMap<ProjectName, Project> =
            self.store.projects().into_iter().map(|name| (name, Project::default())).collect();
        for (name, record) in &*self.projects.read() {
            if let Ok(name) = ProjectName::new(name) {
                projects.insert(name, record.clone());
            }
        }
        projects.into_iter().collect()
    }

    /// A project that has rows or a record.
    pub fn project(&self, name: &ProjectName) -> EngineResult<Project> {
        let has_rows = || self.store.projects().contains(name).then(Project::default);
        self.projects.get(name.as_str()).or_else(has_rows).ok_or(EngineError::UnknownProject)
    }

    /// Creates a project that is not there.
    pub async fn create_project(&self, name: ProjectName, title: Option<String>) -> EngineResult<Project> {
        check_title(title.as_deref())?;
        if self.project(&name).is_ok() {
            return Err(EngineError::ProjectExists { name: name.to_string() });
        }
        let record = Project { title, created_at: Some(self.now()), deleted_by: None };
        self.keep_project(name, record).await
    }

    /// Gives a project another title, or none.
    pub async fn retitle_project(&self, name: ProjectName, title: Option<String>) -> EngineResult<Project> {
        check_title(title.as_deref())?;
        let record = Project { title, ..self.project(&name)? };
        self.keep_project(name, record).await
    }

    async fn keep_project(&self, name: ProjectName, record: Project) -> EngineResult<Project> {
        let kept = record.clone();
        self.blocking(move |engine| engine.projects.put(name.as_str(), kept)).await?;
        Ok(record)
    }

    /// Begins to delete a project: its keys end and it takes no more rows before this returns; the rows go in the background
    /// ([`Engine::finish_project_deletes`] goes on with it after a restart). Asked again it gives the running job.
    pub async fn delete_project(&self, name: ProjectName) -> EngineResult<Job> {
        let record = self.project(&name)?;
        if let Some(id) = &record.deleted_by {
            return self.jobs.get(id);
        }
        let created_at = self.now();
        let rows = self.row_counts(Some(&name)).iter().map(|(_, rows)| rows).sum();
        let job = Job {
            id: Jobs::next_id(created_at)?,
            kind: KIND.to_owned(),
            status: "running".to_owned(),
            project: name.to_string(),
            dataset: None,
            rows,
            sums_kept: Vec::new(),
            version: None,
            created_at,
            finished_at: None,
        };
        let (kept, project) = (job.clone(), name.clone());
        self.blocking(move |engine| {
            engine.jobs.put(&kept)?;
            let record = Project { deleted_by: Some(kept.id.clone()), ..record };
            engine.projects.put(project.as_str(), record)?;
            engine.keys.revoke_project(project.as_str())
        })
        .await?;
        self.delete_in_background(name);
        Ok(job)
    }

    /// Goes on with deletes of projects that a stop interrupted.
    pub fn finish_project_deletes(&self) {
        for (name, record) in self.projects() {
            if record.deleted_by.is_some() {
                self.delete_in_background(name);
            }
        }
    }

    fn delete_in_background(&self, name: ProjectName) {
        let engine = self.clone();
        tokio::spawn(async move {
            if let Err(error) = engine.delete_everything(&name).await {
                let error: &dyn std::error::Error = &error;
                tracing::error!(
                    error,
                    project = name.as_str(),
                    "a project is not deleted yet; a restart goes on"
                );
            }
        });
    }

    /// Deletes all rows and waits until no file holds any.
    async fn delete_everything(&self, name: &ProjectName) -> EngineResult<()> {
        let mut version = None;
        while self.store.projects().contains(name) {
            if self.is_closing() {
                return Err(EngineError::ShuttingDown);
            }
            version = self.delete_rows_everywhere(name).await?.or(version);
            // Rows in memory go when they would be written.
            self.blocking(|engine| Ok(engine.store.flush()?)).await?;
            for _ in 0..LOOKS_PER_ROUND {
                if self.is_closing() || !self.store.projects().contains(name) {
                    break;
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
        self.rejects.forget(name);
        let (project, finished_at) = (name.to_string(), self.now());
        self.blocking(move |engine| {
            engine.questions.forget(&project)?;
            // Before the job says so: who sees it done finds the project gone.
            if let Some(id) = engine.projects.hide(&project).and_then(|record| record.deleted_by) {
                let job = engine.jobs.get(&id)?;
                engine.jobs.put(&Job {
                    status: "done".to_owned(),
                    version,
                    finished_at: Some(finished_at),
                    ..job
                })?;
            }
            engine.projects.remove(&project)
        })
        .await
    }

    async fn delete_rows_everywhere(&self, project: &ProjectName) -> EngineResult<Option<String>> {
        let mut version = None;
        for (dataset, definition) in self.store.datasets() {
            let (done, receipt) = oneshot::channel();
            let reply = Box::new(move |result| {
                // The receiver is gone when the server stops; the delete happens all the same.
                let _ = done.send(result);
            });
            self.store.delete(Delete {
                dataset,
                project: project.clone(),
                from_us: i64::MIN,
                to_us: i64::MAX,
                filter: Filter::all(),
                done: reply,
            });
            let receipt = receipt.await.map_err(|_| EngineError::ShuttingDown)??;
            self.answers.changed();
            self.cursors.deleted(project.clone(), definition.name.to_string(), receipt.version);
            version = Some(receipt.version.to_string());
        }
        Ok(version)
    }
}
