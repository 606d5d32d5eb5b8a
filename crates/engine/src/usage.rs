//! What each project has stored today, for quotas: counted in memory, and made durable now and then in one transaction.
//!
//! A day is one of UTC. A crash loses what came after the last time it was stored, at most `usage_save_interval`; a clean stop loses
//! nothing. Not here: how much a project may store (`server::limits`).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use tidewater_model::names::ProjectName;
use tidewater_model::time::Timestamp;
use tidewater_store::Store;

use crate::engine::Engine;
use crate::error::{EngineError, EngineResult};

/// The store's space for these records, by project.
const SPACE: &str = "usage";
/// Projects that are held in memory, about 2 MB; when there are more, all are stored and read again as they come.
const PROJECTS_MAX: usize = 16_384;
const DAY_US: i64 = 86_400_000_000;

/// What a project stored on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Used {
    /// Days since 1970-01-01 UTC.
    day: i64,
    rows: u64,
    bytes: u64,
}

impl Used {
    /// The figures for a day. A clock that was set back a little goes on with the day it has left, so that nobody gets a day twice;
    /// a record from further ahead was written by a clock that was wrong.
    fn on(self, day: i64) -> Self {
        let is_same = self.day == day || self.day == day + 1;
        if is_same { self } else { Used { day, ..Used::default() } }
    }
}

struct Entry {
    used: Used,
    is_stored: bool,
}

/// What all projects have stored today.
pub(crate) struct Usage {
    store: Store,
    // Taken once per ingest request, and only where there are quotas.
    entries: Mutex<HashMap<ProjectName, Entry>>,
}

impl Usage {
    pub fn new(store: Store) -> Self {
        Usage { store, entries: Mutex::default() }
    }

    /// Rows and bytes that a project has stored today.
    pub fn today(&self, project: &ProjectName, now: Timestamp) -> EngineResult<(u64, u64)> {
        let used = self.with(project, now, |used| *used)?;
        Ok((used.rows, used.bytes))
    }

    pub fn add(&self, project: &ProjectName, rows: u64, bytes: u64, now: Timestamp) -> EngineResult<()> {
        self.with(project, now, |used| {
            used.rows = used.rows.saturating_add(rows);
            used.bytes = used.bytes.saturating_add(bytes);
        })
    }

    fn with<T>(
        &self,
        project: &ProjectName,
        now: Timestamp,
        use_it: impl Fn(&mut Used) -> T,
    ) -> EngineResult<T> {
        let day = now.0.div_euclid(DAY_US);
        if let Some(entry) = self.lock().get_mut(project) {
            return Ok(entry.use_on(day, use_it));
        }
        // Read without the lock; of two threads that do so the first one's entry stays.
        let record = self.store.kv_get(SPACE, project.as_str())?;
        // A record that does not read is as good as none: the next one replaces it.
        let used = record.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        if self.lock().len() >= PROJECTS_MAX {
            self.save()?;
            self.lock().retain(|_, entry| !entry.is_stored);
        }
        let mut entries = self.lock();
        let entry = entries.entry(project.clone()).or_insert(Entry { used, is_stored: true });
        Ok(entry.use_on(day, use_it))
    }

    /// Makes everything durable that was counted since the last time.
    pub fn save(&self) -> EngineResult<()> {
        let mut records = Vec::new();
        for (project, entry) in self.lock().iter_mut().filter(|(_, entry)| !entry.is_stored) {
            let value = serde_json::to_vec(&entry.used).map_err(|source| EngineError::Record {
                space: SPACE,
                key: project.to_string(),
                source,
            })?;
            records.push((project.to_string(), value));
            // Where storing fails, the next row of the project marks it again.
            entry.is_stored = true;
        }
        if records.is_empty() { Ok(()) } else { Ok(self.store.kv_put_many(SPACE, records)?) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProjectName, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn use_on<T>(&mut self, day: i64, use_it: impl Fn(&mut Used) -> T) -> T {
        let before = self.used;
        self.used = before.on(day);
        let result = use_it(&mut self.used);
        self.is_stored &= self.used == before;
        result
    }
}

impl Engine {
    /// Rows and bytes that a project has stored today, and how long the UTC day still lasts. Counted from the first call of
    /// [`Engine::count_usage`] for it on.
    pub fn usage_today(&self, project: &ProjectName) -> EngineResult<((u64, u64), Duration)> {
        let now = self.now();
        let left_us = DAY_US - now.0.rem_euclid(DAY_US);
        Ok((self.usage.today(project, now)?, Duration::from_micros(left_us as u64)))
    }

    /// Counts rows and bytes that a project has stored.
    pub fn count_usage(&self, project: &ProjectName, rows: u64, bytes: u64) -> EngineResult<()> {
        self.usage.add(project, rows, bytes, self.now())
    }

    /// Stores what was counted now and then, for as long as the returned future is polled. [`Engine::close`] stores the rest.
    pub async fn keep_usage(&self) {
        loop {
            tokio::time::sleep(self.config.usage_save_interval).await;
            if let Err(error) = self.blocking(|engine| engine.usage.save()).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the usage of projects is not stored"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_anew_and_clocks_that_jump_give_nothing_away() {
        let used = Used { day: 100, rows: 7, bytes: 70 };
        let fresh = |day| Used { day, rows: 0, bytes: 0 };
        assert_eq!(used.on(100), used);
        assert_eq!(used.on(101), fresh(101));
        // Set back over midnight: still the same day's figures.
        assert_eq!(used.on(99), used);
        // The record is from a clock that was years ahead.
        assert_eq!(Used { day: 5_000, ..used }.on(100), fresh(100));
    }

    #[test]
    fn only_what_has_changed_is_stored_again() {
        let mut entry = Entry { used: Used { day: 3, rows: 1, bytes: 1 }, is_stored: true };
        entry.use_on(3, |used| used.rows);
        assert!(entry.is_stored);
        entry.use_on(3, |used| used.rows += 1);
        assert!(!entry.is_stored && entry.used.rows == 2);
    }
}
