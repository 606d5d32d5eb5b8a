//! Doing what retention decides: raw files go, sidecars stay as history, expired sections are left out.
//!
//! Not here: the decision (`retention`), and deriving what has to be there before raw rows go (`rollups`).

use std::sync::Arc;

use super::swap::{Swap, swap};
use super::{Facts, facts};
use crate::error::StoreResult;
use crate::retention::{RetentionPlan, SegmentAge, plan_retention};
use crate::segment::{Segment, SegmentId};
use crate::shared::Shared;
use crate::sidecar::{Sidecar, SidecarId, SidecarMeta, trim};

/// Removes what outlived its dataset's retention; true when there was any.
pub fn expire(shared: &Shared) -> StoreResult<bool> {
    let mut any = false;
    for facts in facts(shared) {
        let plan = plan(shared, &facts);
        let is_due = RetentionPlan { derive: Vec::new(), ..plan.clone() } != RetentionPlan::default();
        if is_due {
            let expired = (plan.drop.len() + plan.to_history.len()) as u64;
            carry_out(shared, &facts, &plan)?;
            shared.counters.expired(expired);
            any = true;
        }
    }
    Ok(any)
}

/// The segments whose sidecars retention waits for.
pub fn waited_for(shared: &Shared, facts: &Facts) -> Vec<SegmentId> {
    plan(shared, facts).derive
}

fn plan(shared: &Shared, facts: &Facts) -> RetentionPlan {
    let ages: Vec<SegmentAge<'_>> = facts
        .segments
        .iter()
        .map(|segment| SegmentAge {
            segment: segment.meta(),
            sidecar: segment.sidecar_entry().map(|sidecar| sidecar.meta()),
            is_current: facts.is_current(segment),
        })
        .collect();
    let history: Vec<&SidecarMeta> = facts.history.iter().map(|sidecar| sidecar.meta()).collect();
    plan_retention(&facts.dataset, &ages, &history, shared.clock.now())
}

/// One catalog transaction per file that is rewritten, one for all that only goes.
fn carry_out(shared: &Shared, facts: &Facts, plan: &RetentionPlan) -> StoreResult<()> {
    if !plan.drop.is_empty() || !plan.drop_history.is_empty() {
        let (old, old_history) = (plan.drop.clone(), plan.drop_history.clone());
        let lost_until_us = lost_until_us(facts, plan);
        swap(shared, facts.id, Swap { old, old_history, lost_until_us, ..Swap::default() })?;
    }
    for (id, sections) in &plan.to_history {
        let Some(segment) = facts.segment(*id) else { continue };
        let new_history = to_history(shared, segment, sections)?.into_iter().collect();
        swap(shared, facts.id, Swap { old: vec![*id], new_history, ..Swap::default() })?;
    }
    for (id, sections) in &plan.trim {
        let Some(segment) = facts.segment(*id) else { continue };
        let Some(sidecar) = segment.sidecar_entry() else { continue };
        let trimmed = trim_sidecar(shared, sidecar, sections, Some(*id))?;
        let new = vec![segment.with_sidecar(Some(trimmed))];
        swap(shared, facts.id, Swap { old: vec![*id], new, ..Swap::default() })?;
    }
    for (id, sections) in &plan.trim_history {
        let Some(sidecar) = facts.history.iter().find(|sidecar| sidecar.meta().id == *id) else { continue };
        let new_history = vec![trim_sidecar(shared, sidecar, sections, None)?];
        swap(shared, facts.id, Swap { old_history: vec![*id], new_history, ..Swap::default() })?;
    }
    Ok(())
}

/// The greatest time among rows of which nothing stays.
fn lost_until_us(facts: &Facts, plan: &RetentionPlan) -> Option<i64> {
    let dropped = facts.segments.iter().map(|segment| segment.meta());
    let rows = dropped.filter(|meta| plan.drop.contains(&meta.id)).map(|meta| meta.max_us);
    let history = facts.history.iter().map(|sidecar| sidecar.meta());
    let history = history.filter(|meta| plan.drop_history.contains(&meta.id));
    rows.chain(history.filter_map(|meta| Some(meta.time_span()?.1))).max()
}

/// What stays of a segment: its sidecar, where all sections stay the very file.
fn to_history(
    shared: &Shared,
    segment: &Arc<Segment>,
    sections: &[usize],
) -> StoreResult<Option<Arc<Sidecar>>> {
    let Some(sidecar) = segment.sidecar() else { return Ok(None) };
    let projects = segment.meta().projects.iter();
    let projects: Vec<_> =
        projects.filter_map(|rows| Some((rows.project.clone(), segment.span(&rows.project)?))).collect();
    if sections.len() == sidecar.sections().len() {
        let meta = SidecarMeta { segment: None, projects, ..sidecar.meta().clone() };
        return Ok(Some(sidecar.with_meta(meta)));
    }
    let id = SidecarId(shared.take_segment_id().0);
    let meta = trim(&shared.files, sidecar, sections, None, projects, id)?;
    sidecar.open_beside(meta).map(Some)
}

fn trim_sidecar(
    shared: &Shared,
    sidecar: &Sidecar,
    sections: &[usize],
    segment: Option<SegmentId>,
) -> StoreResult<Arc<Sidecar>> {
    let id = SidecarId(shared.take_segment_id().0);
    let projects = sidecar.meta().projects.clone();
    let meta = trim(&shared.files, sidecar, sections, segment, projects, id)?;
    sidecar.open_beside(meta)
}
