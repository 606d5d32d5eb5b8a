//! Sections of several segments as those of the segment they become, without reading rows.
//!
//! States are made to be merged, so that joining sections gives what deriving from all rows would give, at a fraction of the work. It
//! holds only where every section holds exactly the rows that go into the new segment; elsewhere nothing is joined here, and
//! the rows are derived from. Not here: how slices are joined and which sections pay (`aggregate`).

use std::ops::ControlFlow;
use std::sync::Arc;

use tidewater_aggregate::{EncodedSection, SectionHead, VisibleSlice, derived_for, join_slices};
use tidewater_model::names::ProjectName;
use tidewater_model::schema::Dataset;

use super::Sidecar;
use super::file::SidecarFooter;
use crate::error::{StoreError, StoreResult};
use crate::segment::{Segment, damaged};
use crate::tombstone::Tombstone;

/// Joins the sections that all `inputs` have, for one segment with all their rows. Without any where some input's sidecar is of
/// other roll-ups than today's, or where a delete takes rows out of one. Sections that some input did not keep are left to be
/// derived, and so are those that cannot be read: their rows are there. `Break` from `throttle` ends it with `None`.
pub fn merge_sections(
    dataset: &Dataset,
    inputs: &[Arc<Segment>],
    tombstones: &[Arc<Tombstone>],
    throttle: &dyn Fn() -> ControlFlow<()>,
) -> StoreResult<Option<Vec<EncodedSection>>> {
    let wanted = derived_for(dataset);
    let is_exact = |segment: &Arc<Segment>| {
        let is_hidden = |tombstone: &Arc<Tombstone>| tombstone.is_pending_in(segment.meta());
        segment.derived_for() == wanted && !tombstones.iter().any(is_hidden)
    };
    let sidecars: Vec<&Arc<Sidecar>> = inputs.iter().filter_map(|segment| segment.sidecar()).collect();
    let Some(first) = sidecars.first().filter(|_| sidecars.len() == inputs.len() && wanted != 0) else {
        return Ok(Some(Vec::new()));
    };
    if !inputs.iter().all(is_exact) {
        return Ok(Some(Vec::new()));
    }
    let mut projects: Vec<&ProjectName> =
        inputs.iter().flat_map(|input| input.meta().projects.iter().map(|rows| &rows.project)).collect();
    projects.sort_unstable();
    projects.dedup();
    let mut joined = Vec::with_capacity(first.sections().len());
    for info in first.sections() {
        match join(&info.head, &sidecars, &projects, throttle) {
            Ok(ControlFlow::Continue(section)) => joined.extend(section),
            Ok(ControlFlow::Break(())) => return Ok(None),
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::warn!(error = error.chain(), "roll-ups that cannot be merged are made from rows");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(joined))
}

/// One section of all sidecars; `None` where one has not kept it.
fn join(
    head: &SectionHead,
    sidecars: &[&Arc<Sidecar>],
    projects: &[&ProjectName],
    throttle: &dyn Fn() -> ControlFlow<()>,
) -> StoreResult<ControlFlow<(), Option<EncodedSection>>> {
    let mut parts: Vec<(usize, Arc<SidecarFooter>)> = Vec::with_capacity(sidecars.len());
    for sidecar in sidecars {
        let section = sidecar.sections().iter().find(|section| *section.head == *head);
        let (Some(section), Some(footer)) = (section, sidecar.footer()?) else {
            return Ok(ControlFlow::Continue(None));
        };
        parts.push((section.index, footer));
    }
    let mut slices = Vec::with_capacity(projects.len());
    for project in projects {
        if throttle().is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let mut own = Vec::with_capacity(parts.len());
        for (section, footer) in &parts {
            let Some(place) = footer.slice(*section, project) else { continue };
            own.push(VisibleSlice { slice: footer.encoded(place)?, visible: None });
        }
        let joined = join_slices(head, &own);
        slices.extend(joined.map_err(|error| damaged(parts[0].1.path(), 0, error.to_string()))?);
    }
    Ok(ControlFlow::Continue(Some(EncodedSection { head: head.clone(), projects: slices })))
}
