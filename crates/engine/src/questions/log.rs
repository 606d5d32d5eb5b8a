//! The recorded questions: a bounded map of shapes with what they cost, and when which roll-up served last.
//!
//! Pure: `now` is an argument, nothing is stored here (`stored`, `questions`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidewater_model::schema::Dataset;
use tidewater_model::time::Timestamp;

use super::shape::{Asked, shape_key};

/// Time after which what a question cost counts half: a dashboard nobody opens any more gives way within weeks.
const HALF_LIFE_US: f64 = 7.0 * 86_400e6;
/// The part of a full log that goes at once, so that a stream of new shapes does not look at every record each time.
const EVICTED_SHARE: usize = 16;
/// Bytes of a question's JSON; one with thousands of filter values is not worth remembering.
const QUESTION_BYTES_MAX: usize = 8 << 10;
/// Sources counted per question: more roll-ups than this rarely take turns.
const SOURCES_MAX: usize = 8;

/// What one computation of a question cost.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cost {
    /// From the plan to the finished answer.
    pub elapsed: Duration,
    /// The part of it that went into raw rows.
    pub raw: Duration,
    /// Raw rows read.
    pub rows_raw: u64,
    /// Roll-up tiers that served, like `channels/1h`.
    pub rollups: Vec<String>,
}

/// One recorded shape of one project and dataset.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuestionRecord {
    /// Asks the latest question of this shape again; without the project.
    pub question: Value,
    /// The kind of its range: a word, or a class of lengths.
    pub range: String,
    /// How often it was computed.
    pub computed: u64,
    /// How often it was answered without a computation.
    #[serde(with = "shared_count")]
    pub(crate) hits: Arc<AtomicU64>,
    /// Time all computations took, in micro-seconds.
    pub elapsed_us: u64,
    /// The part of it that went into raw rows, in micro-seconds.
    pub raw_us: u64,
    /// Raw rows that all computations read.
    pub rows_raw: u64,
    /// How many computations each roll-up tier (`channels/1h`) took part in.
    pub rollups: BTreeMap<String, u64>,
    /// When it was first computed.
    pub first_asked: Timestamp,
    /// When it was last computed.
    pub last_asked: Timestamp,
}

impl QuestionRecord {
    fn new(asked: Asked, now: Timestamp) -> Self {
        QuestionRecord {
            question: asked.question,
            range: asked.range,
            computed: 0,
            hits: Arc::default(),
            elapsed_us: 0,
            raw_us: 0,
            rows_raw: 0,
            rollups: BTreeMap::new(),
            first_asked: now,
            last_asked: now,
        }
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        self.computed + self.hits.load(Ordering::Relaxed)
    }

    fn add(&mut self, cost: &Cost, now: Timestamp) {
        self.computed += 1;
        self.elapsed_us += micros(cost.elapsed);
        self.raw_us += micros(cost.raw);
        self.rows_raw += cost.rows_raw;
        self.last_asked = self.last_asked.max(now);
        for source in &cost.rollups {
            let has_room = self.rollups.len() < SOURCES_MAX;
            if has_room || self.rollups.contains_key(source) {
                *self.rollups.entry(source.clone()).or_default() += 1;
            }
        }
    }

    /// What it would cost those who ask to have it computed every time, in micro-seconds, halved every week.
    pub(crate) fn value(&self, now: Timestamp) -> f64 {
        let each_us = self.elapsed_us as f64 / self.computed.max(1) as f64;
        let age_us = (now.0 - self.last_asked.0).max(0) as f64;
        each_us * self.asked() as f64 * (-age_us / HALF_LIFE_US).exp2()
    }
}

/// Since when a declared roll-up is watched, and when it last took part in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollupUse {
    /// When it was first seen declared.
    pub since: Timestamp,
    /// When it last took part in an answer.
    pub last_used: Option<Timestamp>,
    /// How many computations it took part in.
    pub used: u64,
}

/// Whose questions a group of records are: dataset and project.
pub(crate) type Group = (String, String);
/// The uses of one dataset's roll-ups, by name.
pub(crate) type Uses = BTreeMap<String, RollupUse>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct QuestionLog {
    records: HashMap<u64, (Group, QuestionRecord)>,
    records_max: usize,
    uses: BTreeMap<String, Uses>,
    /// Groups whose stored form is out of date.
    dirty: BTreeSet<Group>,
    dirty_uses: BTreeSet<String>,
}

impl QuestionLog {
    pub fn new(records_max: usize) -> Self {
        QuestionLog { records_max, ..QuestionLog::default() }
    }

    /// Takes back what was stored.
    pub fn restore(&mut self, group: &Group, records: Vec<QuestionRecord>) {
        for record in records.into_iter().take(self.records_max.saturating_sub(self.records.len())) {
            let key = shape_key(&group.0, &group.1, &record.question, &record.range);
            self.records.insert(key, (group.clone(), record));
        }
    }

    /// Takes back what was stored.
    pub fn restore_uses(&mut self, dataset: &str, uses: Uses) {
        self.uses.insert(dataset.to_owned(), uses);
    }

    /// Counts one computation; gives the counter of answers without one, or nothing where the question is not recorded.
    pub fn record(
        &mut self,
        group: &Group,
        asked: Asked,
        cost: &Cost,
        now: Timestamp,
    ) -> Option<Arc<AtomicU64>> {
        self.count_uses(&group.0, cost, now);
        let key = asked.key(&group.0, &group.1);
        let is_known = self.records.contains_key(&key);
        if self.records_max == 0 || (!is_known && asked.question.to_string().len() > QUESTION_BYTES_MAX) {
            return None;
        }
        if !is_known && self.records.len() >= self.records_max {
            self.evict(now);
        }
        self.dirty.insert(group.clone());
        let fresh = || (group.clone(), QuestionRecord::new(asked.clone(), now));
        let (_, record) = self.records.entry(key).or_insert_with(fresh);
        record.question = asked.question;
        record.add(cost, now);
        Some(Arc::clone(&record.hits))
    }

    /// Notes which roll-ups took part, each once however many of its tiers did.
    fn count_uses(&mut self, dataset: &str, cost: &Cost, now: Timestamp) {
        let names: BTreeSet<&str> =
            cost.rollups.iter().filter_map(|source| source.split('/').next()).collect();
        for name in names {
            let uses = self.uses.entry(dataset.to_owned()).or_default();
            let entry = uses.entry(name.to_owned());
            let known = entry.or_insert(RollupUse { since: now, last_used: None, used: 0 });
            known.last_used = Some(now);
            known.used += 1;
            self.dirty_uses.insert(dataset.to_owned());
        }
    }

    /// The least valuable records go.
    fn evict(&mut self, now: Timestamp) {
        let mut by_value: Vec<(f64, u64)> =
            self.records.iter().map(|(key, (_, record))| (record.value(now), *key)).collect();
        by_value.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let surplus = self.records.len() + 1 - self.records_max;
        for (_, key) in by_value.into_iter().take(surplus.max(self.records_max / EVICTED_SHARE)) {
            if let Some((group, _)) = self.records.remove(&key) {
                self.dirty.insert(group);
            }
        }
    }

    /// Keeps only what still exists, and watches roll-ups that are new.
    pub fn forget(&mut self, project: &str) {
        let dirty = &mut self.dirty;
        self.records.retain(|_, (group, _)| {
            let stays = group.1 != project;
            if !stays {
                dirty.insert(group.clone());
            }
            stays
        });
    }

    pub fn follow(&mut self, datasets: &[Arc<Dataset>], now: Timestamp) {
        let known: BTreeMap<&str, &Dataset> =
            datasets.iter().map(|dataset| (&*dataset.name, &**dataset)).collect();
        let dirty = &mut self.dirty;
        self.records.retain(|_, (group, _)| {
            let is_there = known.contains_key(group.0.as_str());
            if !is_there {
                dirty.insert(group.clone());
            }
            is_there
        });
        let dropped: Vec<String> =
            self.uses.keys().filter(|name| !known.contains_key(name.as_str())).cloned().collect();
        for name in dropped {
            self.uses.remove(&name);
            self.dirty_uses.insert(name);
        }
        for (name, dataset) in known {
            let uses = self.uses.entry(name.to_owned()).or_default();
            let is_declared = |name: &str| dataset.rollups.iter().any(|rollup| *rollup.name == *name);
            let before = uses.len();
            uses.retain(|rollup, _| is_declared(rollup));
            let mut is_changed = uses.len() != before;
            for rollup in &dataset.rollups {
                uses.entry(rollup.name.to_string()).or_insert_with(|| {
                    is_changed = true;
                    RollupUse { since: now, last_used: None, used: 0 }
                });
            }
            if is_changed {
                self.dirty_uses.insert(name.to_owned());
            }
        }
    }

    /// How many shapes are recorded.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// The uses of a dataset's roll-ups.
    pub fn uses(&self, dataset: &str) -> Uses {
        self.uses.get(dataset).cloned().unwrap_or_default()
    }

    /// Records of one dataset, of one project or all, with their project; the most valuable first.
    pub fn of_dataset(
        &self,
        dataset: &str,
        project: Option<&str>,
        now: Timestamp,
    ) -> Vec<(String, QuestionRecord)> {
        let is_meant = |group: &Group| group.0 == dataset && project.is_none_or(|project| group.1 == project);
        let records = self.records.values().filter(|(group, _)| is_meant(group));
        let mut records: Vec<(f64, String, QuestionRecord)> =
            records.map(|(group, record)| (record.value(now), group.1.clone(), record.clone())).collect();
        records.sort_by(|a, b| b.0.total_cmp(&a.0));
        records.into_iter().map(|(_, project, record)| (project, record)).collect()
    }

    /// The most valuable questions of all, with their keys and groups.
    pub fn most_valuable(&self, count: usize, now: Timestamp) -> Vec<(u64, Group, Value)> {
        let mut by_value: Vec<(f64, u64)> =
            self.records.iter().map(|(key, (_, record))| (record.value(now), *key)).collect();
        by_value.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let found = by_value.into_iter().take(count).filter_map(|(_, key)| {
            let (group, record) = self.records.get(&key)?;
            Some((key, group.clone(), record.question.clone()))
        });
        found.collect()
    }

    /// Up to `count` groups whose stored form is out of date, with what is to be stored (nothing: remove it).
    pub fn take_dirty(&mut self, count: usize) -> Vec<(Group, Vec<QuestionRecord>)> {
        let groups: Vec<Group> = self.dirty.iter().take(count).cloned().collect();
        let take = |group: Group| {
            self.dirty.remove(&group);
            let records = self.records.values().filter(|(of, _)| *of == group);
            let records = records.map(|(_, record)| record.clone()).collect();
            (group, records)
        };
        groups.into_iter().map(take).collect()
    }

    /// Datasets whose roll-up uses are to be stored.
    pub fn take_dirty_uses(&mut self) -> Vec<(String, Uses)> {
        let names = std::mem::take(&mut self.dirty_uses);
        names.into_iter().map(|name| (name.clone(), self.uses(&name))).collect()
    }

    /// Everything is stored at the next occasion: answers without a computation leave no other trace.
    pub fn mark_all(&mut self) {
        self.dirty.extend(self.records.values().map(|(group, _)| group.clone()));
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A shared counter as its number.
mod shared_count {
    use super::{Arc, AtomicU64, Deserialize, Ordering, Serialize};

    pub fn serialize<S: serde::Serializer>(count: &Arc<AtomicU64>, serializer: S) -> Result<S::Ok, S::Error> {
        count.load(Ordering::Relaxed).serialize(serializer)
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<AtomicU64>, D::Error> {
        u64::deserialize(deserializer).map(|count| Arc::new(AtomicU64::new(count)))
    }
}
