//! Which segments to merge next: a pure decision over what the catalog lists.
//!
//! Size-tiered within one (dataset, day): segments of similar size are merged once enough of them are there, so that a
//! row is rewritten about log₄(final size ÷ flush size) times. A segment with pending tombstones is rewritten alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewater_model::schema::DatasetId;

use crate::segment::{SegmentId, SegmentMeta};
use crate::tombstone::Tombstone;

/// Bounds of compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionLimits {
    /// Segments of one tier that are left alone at most; one more starts a merge.
    pub tier_segments_max: usize,
    /// Inputs of one merge at most: each costs a few decoded pages of memory.
    pub inputs_max: usize,
    /// Segments from this size on are merged no more, in bytes; nor does a day at rest become a segment larger than this. Default
    /// 128 MiB, about four million rows: what is left to gain then is less than another rewrite costs, and the groups of its roll-ups
    /// fit into memory while they are merged.
    pub settled_bytes: u64,
    /// Milli-seconds without a new segment after which a day is at rest and becomes one segment. Default 120,000: four times the quiet
    /// period after which rows in memory are flushed, so that a source that sends every half minute is not taken to have stopped.
    pub settle_after_ms: u64,
    /// Segments up to this size share the lowest tier, in bytes.
    pub small_bytes: u64,
    /// Files of one month of history, whose raw rows have expired, that are left alone at most; one more starts a merge.
    pub history_files_max: usize,
    /// So many segments in one tier come before tombstones are rewritten out.
    pub urgent_segments: usize,
}

impl Default for CompactionLimits {
    fn default() -> Self {
        CompactionLimits {
            tier_segments_max: 3,
            inputs_max: 8,
            settled_bytes: 128 << 20,
            settle_after_ms: 120_000,
            small_bytes: 1 << 20,
            history_files_max: 8,
            urgent_segments: 16,
        }
    }
}

/// Why a job is worth its I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactionReason {
    /// Too many segments of similar size in one day.
    Segments,
    /// Rows hidden by tombstones have to leave the disk.
    Tombstones,
    /// A day at rest becomes one segment.
    Settled,
}

/// Segments of one dataset and day to be replaced by their merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionJob {
    /// Whose.
    pub dataset: DatasetId,
    /// What to merge; at least one.
    pub inputs: Vec<SegmentId>,
    /// Why.
    pub reason: CompactionReason,
}

/// The next job, `None` when all is settled. `tombstones` are those of the segments' datasets.
pub fn plan_compaction(
    segments: &[SegmentMeta],
    tombstones: &[(DatasetId, Arc<Tombstone>)],
    limits: &CompactionLimits,
) -> Option<CompactionJob> {
    let crowded = most_crowded_tier(segments, limits);
    if let Some(tier) = crowded.as_ref().filter(|tier| tier.len() >= limits.urgent_segments) {
        return Some(merge_job(tier, limits));
    }
    segments
        .iter()
        .find(|segment| is_pending(segment, tombstones))
        .map(|segment| CompactionJob {
            dataset: segment.dataset,
            inputs: vec![segment.id],
            reason: CompactionReason::Tombstones,
        })
        .or_else(|| crowded.map(|tier| merge_job(&tier, limits)))
}

fn is_pending(segment: &SegmentMeta, tombstones: &[(DatasetId, Arc<Tombstone>)]) -> bool {
    tombstones
        .iter()
        .any(|(dataset, tombstone)| *dataset == segment.dataset && tombstone.is_pending_in(segment))
}

/// The tier with the most segments above what is left alone; ties go to the smaller files, then the earlier day.
fn most_crowded_tier<'a>(
    segments: &'a [SegmentMeta],
    limits: &CompactionLimits,
) -> Option<Vec<&'a SegmentMeta>> {
    let mut tiers: BTreeMap<(u32, DatasetId, i32), Vec<&SegmentMeta>> = BTreeMap::new();
    for segment in segments.iter().filter(|segment| segment.bytes < limits.settled_bytes) {
        tiers.entry((tier(segment.bytes, limits), segment.dataset, segment.day)).or_default().push(segment);
    }
    let crowded = tiers.into_values().filter(|tier| tier.len() > limits.tier_segments_max);
    crowded.reduce(|most, tier| if tier.len() > most.len() { tier } else { most })
}

/// ⌊log₄(bytes ÷ small)⌋ + 1, and 0 for small segments.
fn tier(bytes: u64, limits: &CompactionLimits) -> u32 {
    let times = bytes / limits.small_bytes.max(1);
    if times == 0 { 0 } else { times.ilog2() / 2 + 1 }
}

/// The smallest of the tier, so far as they fit: fewer bytes are rewritten per file saved.
fn merge_job(tier: &[&SegmentMeta], limits: &CompactionLimits) -> CompactionJob {
    let mut inputs = tier.to_vec();
    inputs.sort_unstable_by_key(|segment| (segment.bytes, segment.id));
    inputs.truncate(limits.inputs_max.max(2));
    CompactionJob {
        dataset: inputs[0].dataset,
        inputs: inputs.iter().map(|segment| segment.id).collect(),
        reason: CompactionReason::Segments,
    }
}

#[cfg(test)]
pub(super) mod tests;
