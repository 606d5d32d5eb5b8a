//! The question log: which questions are computed, how often, and what they cost. Warming and the advisor read it; it is kept in
//! the catalog, so that a restart knows it.
//!
//! Bounded: at most a configured number of shapes over all projects, the least valuable go. Only computations come here; an
//! answer from a cache costs one atomic addition ([`QuestionHandle`]). Not here: what is made of the log (`warm`, `advise`).

mod log;
mod shape;
mod stored;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tidewater_model::names::ProjectName;
use tidewater_model::query::Query;
use tidewater_model::time::Timestamp;
use tidewater_query::Answer;
use tidewater_store::Store;

pub(crate) use log::{Cost, Uses};
pub use log::{QuestionRecord, RollupUse};

use crate::engine::Engine;
use crate::error::{EngineError, EngineResult};
use log::QuestionLog;
use shape::Asked;

/// The store's space for recorded questions.
const SPACE: &str = "questions";
/// The store's space for uses of roll-ups.
const USES_SPACE: &str = "rollup_uses";
/// Groups stored per occasion: each is one synced transaction, and the next occasion takes the next ones.
const GROUPS_PER_SAVE: usize = 32;
/// Stands for "no question is being warmed".
const NOT_WARMING: u64 = 0;

/// Counts answers to a recorded question that needed no computation: one relaxed addition each.
#[derive(Clone, Debug, Default)]
pub struct QuestionHandle(Option<Arc<AtomicU64>>);

impl QuestionHandle {
    /// The question was answered once more.
    pub fn answered(&self) {
        if let Some(hits) = &self.0 {
            hits.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A question to be computed before anybody asks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Remembered {
    pub key: u64,
    pub project: ProjectName,
    pub question: Value,
}

/// See the module.
pub(crate) struct Questions {
    store: Store,
    log: Mutex<QuestionLog>,
    /// The shape that warming computes now: it is not asked by anybody, so it is not counted.
    warming: AtomicU64,
}

impl Questions {
    /// Reads what is stored.
    pub fn open(store: Store, records_max: usize, now: Timestamp) -> EngineResult<Self> {
        let mut log = QuestionLog::new(records_max);
        for (key, value) in store.kv_list(SPACE)? {
            if let Some(group) = stored::read_group_key(&key) {
                log.restore(&group, stored::decode_records(&key, &value));
            }
        }
        for (dataset, value) in store.kv_list(USES_SPACE)? {
            log.restore_uses(&dataset, stored::decode_uses(&dataset, &value));
        }
        let questions = Questions { store, log: Mutex::new(log), warming: AtomicU64::new(NOT_WARMING) };
        questions.follow(now);
        Ok(questions)
    }

    /// Records a computation. The handle counts answers from a cache that the computation fills.
    pub fn computed(&self, query: &Query, answer: &Answer, elapsed: Duration) -> QuestionHandle {
        let (dataset, project) = (query.dataset.name.to_string(), query.project.to_string());
        let asked = Asked::of(query);
        if asked.key(&dataset, &project) == self.warming.load(Ordering::Relaxed) {
            return QuestionHandle::default();
        }
        let cost = cost(answer, elapsed);
        QuestionHandle(self.lock().record(&(dataset, project), asked, &cost, query.now))
    }

    /// While the guard lives, computations of this shape are not counted.
    pub fn warm(&self, key: u64) -> WarmingGuard<'_> {
        self.warming.store(key, Ordering::Relaxed);
        WarmingGuard(self)
    }

    /// The most valuable questions of all projects.
    pub fn most_valuable(&self, count: usize, now: Timestamp) -> Vec<Remembered> {
        let found = self.lock().most_valuable(count, now);
        let remembered = |(key, (_, project), question): (u64, log::Group, Value)| {
            Some(Remembered { key, project: ProjectName::new(&project).ok()?, question })
        };
        found.into_iter().filter_map(remembered).collect()
    }

    /// Records of one dataset with their projects, the most valuable first.
    pub fn of_dataset(
        &self,
        dataset: &str,
        project: Option<&str>,
        now: Timestamp,
    ) -> Vec<(String, QuestionRecord)> {
        self.lock().of_dataset(dataset, project, now)
    }

    /// Uses of a dataset's roll-ups.
    pub fn uses(&self, dataset: &str) -> Uses {
        self.lock().uses(dataset)
    }

    /// How many shapes are recorded.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Forgets datasets that are dropped, and watches roll-ups that are new.
    pub fn follow(&self, now: Timestamp) {
        let datasets: Vec<_> = self.store.datasets().into_iter().map(|(_, dataset)| dataset).collect();
        self.lock().follow(&datasets, now);
    }

    /// Forgets a project's questions, also stored ones.
    pub fn forget(&self, project: &str) -> EngineResult<()> {
        self.lock().forget(project);
        self.save_groups(usize::MAX)
    }

    /// Stores some of what changed.
    pub fn save(&self) -> EngineResult<()> {
        self.save_groups(GROUPS_PER_SAVE)
    }

    /// Stores everything.
    pub fn save_all(&self) -> EngineResult<()> {
        self.lock().mark_all();
        self.save_groups(usize::MAX)
    }

    fn save_groups(&self, count: usize) -> EngineResult<()> {
        let (groups, uses) = {
            let mut log = self.lock();
            (log.take_dirty(count), log.take_dirty_uses())
        };
        for (group, records) in groups {
            let key = stored::group_key(&group);
            if records.is_empty() {
                self.store.kv_delete(SPACE, &key)?;
            } else {
                self.put(SPACE, &key, stored::encode_records(&records))?;
            }
        }
        for (dataset, uses) in uses {
            if uses.is_empty() {
                self.store.kv_delete(USES_SPACE, &dataset)?;
            } else {
                self.put(USES_SPACE, &dataset, stored::encode_uses(&uses))?;
            }
        }
        Ok(())
    }

    fn put(
        &self,
        space: &'static str,
        key: &str,
        encoded: Result<Vec<u8>, serde_json::Error>,
    ) -> EngineResult<()> {
        let value = encoded.map_err(|source| EngineError::Record { space, key: key.to_owned(), source })?;
        Ok(self.store.kv_put(space, key, &value)?)
    }

    fn lock(&self) -> MutexGuard<'_, QuestionLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Questions::warm`].
pub(crate) struct WarmingGuard<'a>(&'a Questions);

impl Drop for WarmingGuard<'_> {
    fn drop(&mut self) {
        self.0.warming.store(NOT_WARMING, Ordering::Relaxed);
    }
}

impl Engine {
    /// Stores the question log now and then, for as long as the returned future is polled. [`Engine::close`] stores the rest.
    pub async fn keep_questions(&self) {
        loop {
            tokio::time::sleep(self.config.questions_save_interval).await;
            let saved = self.blocking(|engine| {
                engine.questions.follow(engine.now());
                engine.questions.save()
            });
            if let Err(error) = saved.await {
                tracing::warn!(error = &error as &dyn std::error::Error, "the question log is not stored");
            }
        }
    }

    /// How many shapes of questions are recorded.
    pub fn questions_recorded(&self) -> usize {
        self.questions.len()
    }
}

/// What an answer says of its making.
fn cost(answer: &Answer, elapsed: Duration) -> Cost {
    let source = answer.source();
    // Partials that were kept name their sources too, but cost nothing now.
    let is_raw = answer.rows_scanned() > 0 && source.split(" + ").any(|part| part == "raw");
    Cost {
        elapsed,
        raw: if is_raw { elapsed } else { Duration::ZERO },
        rows_raw: if is_raw { answer.rows_scanned() } else { 0 },
        rollups: rollups(source),
    }
}

/// `channels/1h` and `users/1d` of `rollup:channels/1h + rollup:users/1d + raw`.
fn rollups(source: &str) -> Vec<String> {
    source.split(" + ").filter_map(|part| part.strip_prefix("rollup:")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use tidewater_model::schema::{Dataset, DatasetDefinition};

    use super::*;

    const DAY_US: i64 = 86_400_000_000;

    fn cost(elapsed_ms: u64, rollups: &[&str]) -> Cost {
        let elapsed = Duration::from_millis(elapsed_ms);
        let rollups = rollups.iter().map(|name| (*name).to_owned()).collect();
        Cost { elapsed, raw: elapsed, rows_raw: 10, rollups }
    }

    fn asked(dimension: &str) -> Asked {
        Asked { question: json!({"dimensions": [dimension]}), range: "7d".to_owned() }
    }

    fn group() -> log::Group {
        ("edits".to_owned(), "web".to_owned())
    }

    #[test]
    fn the_least_valuable_go() {
        let mut log = QuestionLog::new(20);
        for index in 0..20 {
            let now = Timestamp(i64::from(index != 7) * 30 * DAY_US);
            log.record(&group(), asked(&format!("d{index}")), &cost(10 + u64::from(index == 3), &[]), now);
        }
        let hits = log.record(&group(), asked("d5"), &cost(10, &[]), Timestamp(30 * DAY_US));
        hits.expect("it is recorded").fetch_add(50, Ordering::Relaxed);
        log.record(&group(), asked("new"), &cost(1, &[]), Timestamp(30 * DAY_US));
        assert_eq!(log.len(), 20);
        let all = log.of_dataset("edits", None, Timestamp(30 * DAY_US));
        let names: Vec<&str> =
            all.iter().filter_map(|(_, record)| record.question["dimensions"][0].as_str()).collect();
        assert_eq!(names[..2], ["d5", "d3"], "what was asked most costs most");
        assert!(
            !names.contains(&"d7") && names.contains(&"new"),
            "the one of a month ago made room: {names:?}"
        );
        assert_eq!(log.most_valuable(1, Timestamp(30 * DAY_US))[0].2["dimensions"][0], "d5");
        assert_eq!(all[0].1.asked(), 52);
    }

    #[test]
    fn nothing_large_is_recorded_and_nothing_where_it_is_off() {
        let mut log = QuestionLog::new(20);
        assert!(log.record(&group(), asked(&"x".repeat(9_000)), &cost(1, &[]), Timestamp(0)).is_none());
        assert!(QuestionLog::new(0).record(&group(), asked("d"), &cost(1, &[]), Timestamp(0)).is_none());
        assert_eq!(log.len(), 0);
    }

    #[test]
    fn sources_name_roll_ups() {
        assert_eq!(rollups("raw"), Vec::<String>::new());
        assert_eq!(rollups("rollup:a/1h + rollup:b/1d + raw"), ["a/1h", "b/1d"]);
    }

    #[test]
    fn roll_ups_are_watched_from_when_they_are_declared() {
        let dataset = |rollups| {
            let definition = json!({"time": "ts", "columns": {"a": "string"}, "rollups": rollups});
            let definition =
                DatasetDefinition::from_json(definition.to_string().as_bytes()).expect("a definition");
            vec![Arc::new(Dataset::compile("edits", definition).expect("a dataset"))]
        };
        let mut log = QuestionLog::new(20);
        log.follow(&dataset(json!([{"name": "one", "dimensions": ["a"]}])), Timestamp(1));
        log.record(&group(), asked("a"), &cost(1, &["one/1h", "one/1d"]), Timestamp(2));
        log.follow(&dataset(json!([{"name": "one"}, {"name": "two"}])), Timestamp(3));
        let one = RollupUse { since: Timestamp(1), last_used: Some(Timestamp(2)), used: 1 };
        let two = RollupUse { since: Timestamp(3), last_used: None, used: 0 };
        let expected: BTreeMap<_, _> = [("one".to_owned(), one), ("two".to_owned(), two)].into();
        assert_eq!(log.uses("edits"), expected);
        assert_eq!(log.take_dirty_uses(), [("edits".to_owned(), expected)]);
        log.follow(&[], Timestamp(4));
        assert_eq!((log.len(), log.uses("edits").len()), (0, 0));
        assert!(log.take_dirty(9).iter().all(|(of, records)| *of == group() && records.is_empty()));
    }
}
