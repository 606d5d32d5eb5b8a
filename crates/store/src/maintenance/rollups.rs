//! Sidecars that are made in the background: back-building after a roll-up was declared or changed, and the merging of history.
//!
//! Answers do not wait for any of it: what is not built is answered from raw rows. Not here: deriving and merging themselves
//! (`sidecar`).

use std::ops::ControlFlow;
use std::sync::{Arc, MutexGuard, PoisonError};

use hashbrown::HashSet;
use tidewater_aggregate::derived_for;
use tidewater_model::schema::Dataset;

use super::expire::waited_for;
use super::swap::{Swap, swap};
use super::{Facts, facts};
use crate::error::{StoreError, StoreResult};
use crate::segment::{Segment, SegmentId};
use crate::shared::Shared;
use crate::sidecar::{Sidecar, SidecarId, SidecarMeta, build_sidecar, merge_history, plan_history_merge};
use crate::state::DatasetState;

/// The next segment whose sidecar is not what the dataset declares: those retention waits for first, then the newest day, since
/// that is what is asked most.
fn next_build<'a>(
    facts: &'a Facts,
    waited_for: &[SegmentId],
    unbuildable: &HashSet<SegmentId>,
) -> Option<&'a Arc<Segment>> {
    let stale = |segment: &&Arc<Segment>| {
        let id = segment.meta().id;
        (segment.derived_for() != facts.derived_for || waited_for.contains(&id)) && !unbuildable.contains(&id)
    };
    facts.segments.iter().filter(stale).max_by_key(|segment| {
        let meta = segment.meta();
        (waited_for.contains(&meta.id), meta.day, meta.id)
    })
}

fn unbuildable(shared: &Shared) -> MutexGuard<'_, HashSet<SegmentId>> {
    // A set of numbers is whole whatever panicked beside it.
    shared.unbuildable.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes one sidecar anew; true when there was one to make.
pub fn build_once(shared: &Shared, throttle: &dyn Fn() -> ControlFlow<()>) -> StoreResult<bool> {
    for facts in facts(shared) {
        let skipped = unbuildable(shared).clone();
        let Some(segment) = next_build(&facts, &waited_for(shared, &facts), &skipped) else { continue };
        let sidecar = if facts.derived_for == 0 {
            None
        } else {
            let id = SidecarId(shared.take_segment_id().0);
            let built =
                build_sidecar(&shared.files, &facts.dataset, segment, &facts.tombstones, id, throttle);
            if matches!(built, Err(StoreError::Damaged { .. })) {
                unbuildable(shared).insert(segment.meta().id);
            }
            let Some(meta) = built? else { return Ok(false) };
            Some(Sidecar::open(&shared.files, &facts.dataset, meta)?)
        };
        let (old, new) = (vec![segment.meta().id], vec![segment.with_sidecar(sidecar)]);
        swap(shared, facts.id, Swap { old, new, ..Swap::default() })?;
        shared.counters.built();
        return Ok(true);
    }
    Ok(false)
}

/// Merges files of history once; true when there were any to merge.
pub fn merge_history_once(shared: &Shared, throttle: &dyn Fn() -> ControlFlow<()>) -> StoreResult<bool> {
    for facts in facts(shared) {
        let metas: Vec<&SidecarMeta> = facts.history.iter().map(|sidecar| sidecar.meta()).collect();
        let pending: HashSet<SidecarId> = facts
            .history
            .iter()
            .filter(|sidecar| facts.tombstones.iter().any(|tombstone| sidecar.is_pending(tombstone)))
            .map(|sidecar| sidecar.meta().id)
            .collect();
        let files_max = shared.config.compaction.history_files_max;
        let merge = plan_history_merge(&metas, files_max, &|id| pending.contains(&id));
        let Some(old_history) = merge else { continue };
        let inputs: Vec<Arc<Sidecar>> = facts
            .history
            .iter()
            .filter(|sidecar| old_history.contains(&sidecar.meta().id))
            .cloned()
            .collect();
        let id = SidecarId(shared.take_segment_id().0);
        let merged = merge_history(&shared.files, &inputs, &facts.tombstones, id, throttle)?;
        let Some(meta) = merged else { return Ok(false) };
        let new_history = if meta.has_file() {
            vec![Sidecar::open(&shared.files, &facts.dataset, meta)?]
        } else {
            Vec::new()
        };
        swap(shared, facts.id, Swap { old_history, new_history, ..Swap::default() })?;
        return Ok(true);
    }
    Ok(false)
}

/// How far a declared roll-up is built at one tier, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollupStatus {
    /// The dataset.
    pub dataset: Arc<str>,
    /// The roll-up.
    pub rollup: Arc<str>,
    /// Its resolution: "1m", "5m", "1h" or "1d".
    pub tier: &'static str,
    /// Segments whose sidecar was derived for the roll-ups declared today.
    pub segments_built: u64,
    /// All segments.
    pub segments_total: u64,
    /// Rows kept for it, history included.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of all segments, to compare with.
    pub raw_bytes: u64,
    /// Segments that were derived for it and do not keep it, since it would take too large a part of their raw bytes.
    pub skipped_not_paying: u64,
}

/// The state of every declared roll-up and tier of a dataset.
pub fn status(state: &DatasetState) -> Vec<RollupStatus> {
    let Dataset { rollups, name, .. } = &*state.dataset;
    let wanted = derived_for(&state.dataset);
    let mut statuses = Vec::new();
    for rollup in rollups {
        for tier in &rollup.tiers {
            let mut status = RollupStatus {
                dataset: Arc::clone(name),
                rollup: Arc::clone(&rollup.name),
                tier: tier.name(),
                segments_built: 0,
                segments_total: state.segments.len() as u64,
                rows: 0,
                bytes: 0,
                raw_bytes: state.segments.iter().map(|segment| segment.meta().bytes).sum(),
                skipped_not_paying: 0,
            };
            let mut keeps = |sidecar: &Sidecar| {
                let mut sections = sidecar.sections().iter();
                let kept = sections.find(|section| {
                    section.head.rollup == rollup.name.as_ref() && section.head.tier == *tier
                });
                status.rows += kept.map_or(0, |section| section.rows);
                status.bytes += kept.map_or(0, |section| section.bytes);
            };
            let refused = |sidecar: &Sidecar| {
                let mut refused = sidecar.meta().not_paying.iter();
                refused.any(|(name, refused)| *name == *rollup.name && refused == tier)
            };
            let (mut built, mut skipped) = (0, 0);
            for segment in &state.segments {
                segment.sidecar_entry().into_iter().for_each(|sidecar| keeps(sidecar));
                let is_built = segment.derived_for() == wanted;
                built += u64::from(is_built);
                skipped +=
                    u64::from(is_built && segment.sidecar_entry().is_some_and(|sidecar| refused(sidecar)));
            }
            state.history.iter().for_each(|sidecar| keeps(sidecar));
            (status.segments_built, status.skipped_not_paying) = (built, skipped);
            statuses.push(status);
        }
    }
    statuses
}
