//! What was accepted before: row ids and idempotency tokens of the last 24 hours.
//!
//! Both are 128-bit hashes. The latest are in memory; older ones in sorted run files (`run`), each with a Bloom filter in
//! memory, so that a hash that was never seen costs no disk access, and a hit is confirmed on disk. A run is forgotten as a
//! whole when its newest entry is older than the window. Runs that hold entries of unflushed records are named in the
//! catalog only with the flush of those records: a crash before that loses the run and replays the records.
//!
//! Not here: when a flush happens (`writer`, `flush`), which runs to merge (`plan`).

mod bloom;
mod ids;
mod merge;
mod plan;
mod run;
mod tokens;

use std::path::PathBuf;
use std::sync::Arc;

use tidewater_model::time::Timestamp;

use crate::disk::DiskRef;
use crate::error::StoreResult;

pub use ids::{IdSet, hash_ids, hash_token};
pub use merge::merge_runs;
pub use plan::{RunLimits, expired_runs, plan_run_merge};
pub use run::{Run, RunFacts, RunKind};
pub use tokens::{TokenEntry, TokenMap};

/// Bounds of what is remembered.
#[derive(Clone, Debug)]
pub struct DedupLimits {
    /// Ids in memory before they are written to a run.
    pub recent_ids_max: usize,
    /// Bytes of tokens in memory before they are written to a run.
    pub recent_token_bytes_max: usize,
    /// How long entries are remembered, in micro-seconds.
    pub window_us: i64,
    /// Ids remembered in all; sizes the Bloom filters.
    pub ids_max: u64,
}

/// Entries of one kind: the ones in memory, the ones being flushed, the ones in runs.
#[derive(Debug, Default)]
struct Tier<R> {
    recent: R,
    frozen: Option<Arc<R>>,
    runs: Vec<Arc<Run>>,
}

/// All that was accepted within the window. One writer uses it; a mutex around it lets background work swap runs.
#[derive(Debug)]
pub struct Dedup {
    disk: DiskRef,
    data_dir: PathBuf,
    limits: DedupLimits,
    ids: Tier<IdSet>,
    tokens: Tier<TokenMap>,
    next_run_id: u64,
    /// Runs written since the last freeze; the catalog does not know them yet.
    unlisted: Vec<Arc<Run>>,
    /// Runs the flush under way will put into the catalog.
    frozen_runs: Vec<Arc<Run>>,
}

/// What a flush has to make durable together with its rows.
#[derive(Debug)]
pub struct FrozenDedup {
    /// Ids accepted up to the freeze that are in no run yet.
    pub ids: Arc<IdSet>,
    /// Tokens, likewise.
    pub tokens: Arc<TokenMap>,
    /// Runs written before the freeze that the catalog does not name yet.
    pub runs: Vec<Arc<Run>>,
}

impl Dedup {
    /// Starts with the runs the catalog names.
    pub fn new(
        disk: DiskRef,
        data_dir: PathBuf,
        limits: DedupLimits,
        runs: Vec<Arc<Run>>,
        next_run_id: u64,
    ) -> Self {
        let (id_runs, token_runs) = runs.into_iter().partition(|run| run.facts().kind == RunKind::Ids);
        Dedup {
            disk,
            data_dir,
            limits,
            ids: Tier { runs: id_runs, ..Tier::default() },
            tokens: Tier { runs: token_runs, ..Tier::default() },
            next_run_id,
            unlisted: Vec::new(),
            frozen_runs: Vec::new(),
        }
    }

    /// Positions of the rows whose id was accepted before, or stands earlier in `ids`; `None` is a row without an id.
    /// All others are remembered. On an error nothing is.
    pub fn accept_ids(&mut self, ids: &[Option<u128>], now: Timestamp) -> StoreResult<Vec<u32>> {
        let mut known = self.in_runs(ids, now)?;
        let frozen = self.ids.frozen.as_deref();
        self.ids.recent.reserve(ids.len());
        for (id, known) in ids.iter().zip(known.iter_mut()) {
            let Some(id) = id else { continue };
            if *known
                || frozen.is_some_and(|frozen| frozen.contains(*id))
                || !self.ids.recent.insert(*id, now)
            {
                *known = true;
            }
        }
        let positions =
            (0_u32..).zip(&known).filter(|(_, known)| **known).map(|(position, _)| position).collect();
        self.spill_ids_if_full(now)?;
        Ok(positions)
    }

    /// Remembers ids that are known to be new: those of a replayed record.
    pub fn replay_ids(&mut self, ids: impl Iterator<Item = u128>, accepted: Timestamp) -> StoreResult<()> {
        for id in ids {
            self.ids.recent.insert(id, accepted);
        }
        self.spill_ids_if_full(accepted)
    }

    /// What is remembered of a token.
    pub fn token(&self, token: u128, now: Timestamp) -> StoreResult<Option<TokenEntry>> {
        if let Some(entry) = self.tokens.recent.get(token) {
            return Ok(Some(entry.clone()));
        }
        if let Some(entry) = self.tokens.frozen.as_ref().and_then(|frozen| frozen.get(token)) {
            return Ok(Some(entry.clone()));
        }
        for run in self.tokens.runs.iter().rev().filter(|run| self.is_live(run, now)) {
            if let Some(entry) = tokens::find(run, token)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Remembers a token's reply.
    pub fn remember_token(&mut self, token: u128, entry: TokenEntry, now: Timestamp) -> StoreResult<()> {
        self.tokens.recent.insert(token, entry, now);
        if self.tokens.recent.bytes() >= self.limits.recent_token_bytes_max {
            let full = std::mem::take(&mut self.tokens.recent);
            let run = Arc::new(self.write_tokens(&full)?);
            self.tokens.runs.push(Arc::clone(&run));
            self.unlisted.push(run);
        }
        Ok(())
    }

    /// Sets aside all entries so far for a flush. There must be no other freeze under way.
    pub fn freeze(&mut self) -> FrozenDedup {
        let ids = Arc::new(std::mem::take(&mut self.ids.recent));
        let tokens = Arc::new(std::mem::take(&mut self.tokens.recent));
        self.ids.frozen = Some(Arc::clone(&ids));
        self.tokens.frozen = Some(Arc::clone(&tokens));
        self.frozen_runs = std::mem::take(&mut self.unlisted);
        FrozenDedup { ids, tokens, runs: self.frozen_runs.clone() }
    }

    /// Puts the runs a flush wrote in the place of the frozen entries.
    pub fn thaw(&mut self, written: &[Arc<Run>]) {
        self.ids.frozen = None;
        self.tokens.frozen = None;
        self.frozen_runs.clear();
        for run in written {
            self.runs_mut(run.facts().kind).push(Arc::clone(run));
        }
    }

    /// Swaps runs for their merge; without a merge the runs are forgotten.
    pub fn replace(&mut self, replaced: &[u64], merged: Option<Arc<Run>>) {
        for runs in [&mut self.ids.runs, &mut self.tokens.runs] {
            runs.retain(|run| !replaced.contains(&run.facts().id));
        }
        if let Some(run) = merged {
            self.runs_mut(run.facts().kind).push(run);
        }
    }

    /// A number for the next run file.
    pub fn take_run_id(&mut self) -> u64 {
        let id = self.next_run_id;
        self.next_run_id += 1;
        id
    }

    /// The least number that no run file had.
    pub fn next_run_id(&self) -> u64 {
        self.next_run_id
    }

    /// All runs in use.
    pub fn runs(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.ids.runs.iter().chain(&self.tokens.runs)
    }

    /// Runs the catalog names. The others belong to records that are not flushed yet.
    pub fn listed_runs(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.runs().filter(|run| !self.is_unlisted(run))
    }

    fn is_unlisted(&self, run: &Arc<Run>) -> bool {
        let freezing = self.frozen_runs.iter();
        self.unlisted.iter().chain(freezing).any(|unlisted| Arc::ptr_eq(unlisted, run))
    }

    /// Bytes held in memory: sets, filters and indexes.
    pub fn memory_bytes(&self) -> usize {
        let sets =
            self.ids.recent.memory_bytes() + self.ids.frozen.as_ref().map_or(0, |set| set.memory_bytes());
        let maps = self.tokens.recent.bytes() + self.tokens.frozen.as_ref().map_or(0, |map| map.bytes());
        sets + maps + self.runs().map(|run| run.memory_bytes()).sum::<usize>()
    }

    /// Ids remembered, in memory and in runs.
    pub fn id_count(&self) -> u64 {
        let recent = self.ids.recent.len() + self.ids.frozen.as_ref().map_or(0, |set| set.len());
        recent as u64 + self.ids.runs.iter().map(|run| run.facts().count).sum::<u64>()
    }

    /// When the oldest remembered entry was accepted.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.runs().map(|run| Timestamp(run.facts().min_us)).chain(self.ids.recent.since()).min()
    }

    /// Writes the ids of a set to a run of its own, without syncing it; `None` for an empty set.
    pub fn write_ids(
        disk: &DiskRef,
        path: (PathBuf, u64),
        ids: &IdSet,
        ids_max: u64,
    ) -> StoreResult<Option<Run>> {
        if ids.len() == 0 {
            Ok(None)
        } else {
            ids.write(disk, path.0, path.1, bloom::bits_per_key(ids_max)).map(Some)
        }
    }

    fn write_tokens(&mut self, tokens: &TokenMap) -> StoreResult<Run> {
        let id = self.take_run_id();
        tokens.write(&self.disk, crate::paths::run_path(&self.data_dir, id), id)
    }

    fn runs_mut(&mut self, kind: RunKind) -> &mut Vec<Arc<Run>> {
        match kind {
            RunKind::Ids => &mut self.ids.runs,
            RunKind::Tokens => &mut self.tokens.runs,
        }
    }

    fn is_live(&self, run: &Run, now: Timestamp) -> bool {
        run.facts().max_us >= now.0.saturating_sub(self.limits.window_us)
    }

    fn in_runs(&self, ids: &[Option<u128>], now: Timestamp) -> StoreResult<Vec<bool>> {
        let mut known = vec![false; ids.len()];
        for run in self.ids.runs.iter().filter(|run| self.is_live(run, now)) {
            for (id, known) in ids.iter().zip(known.iter_mut()) {
                if let Some(id) = id
                    && run.may_contain(*id)
                    && !*known
                {
                    *known = run.contains(*id)?;
                }
            }
        }
        Ok(known)
    }

    fn spill_ids_if_full(&mut self, now: Timestamp) -> StoreResult<()> {
        /// A run spans at most a 24th of the window in time, so that expiry by whole runs keeps entries little longer.
        const SPANS_PER_WINDOW: i64 = 24;
        let age_us = self.ids.recent.since().map_or(0, |since| now.0 - since.0);
        let full = self.ids.recent.len() >= self.limits.recent_ids_max;
        if !full && age_us < self.limits.window_us / SPANS_PER_WINDOW {
            return Ok(());
        }
        let set = std::mem::take(&mut self.ids.recent);
        let id = self.take_run_id();
        let path = (crate::paths::run_path(&self.data_dir, id), id);
        if let Some(run) = Dedup::write_ids(&self.disk, path, &set, self.limits.ids_max)? {
            let run = Arc::new(run);
            self.ids.runs.push(Arc::clone(&run));
            self.unlisted.push(run);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
