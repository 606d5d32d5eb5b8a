//! Swapping files: one catalog transaction, then what everybody sees. Old files go with the last snapshot that holds them.
//!
//! Not here: which files and why.

use std::sync::Arc;

use hashbrown::HashSet;
use tidewater_model::schema::{Dataset, DatasetId};

use crate::catalog::{CatalogChange, DatasetRow};
use crate::error::StoreResult;
use crate::segment::{Segment, SegmentId};
use crate::shared::Shared;
use crate::sidecar::{Sidecar, SidecarId};

/// What is replaced by what, in one dataset. A segment may appear on both sides, with another sidecar.
#[derive(Default)]
pub struct Swap {
    /// Segments that go.
    pub old: Vec<SegmentId>,
    /// Segments that come.
    pub new: Vec<Arc<Segment>>,
    /// History that goes.
    pub old_history: Vec<SidecarId>,
    /// History that comes; its file may be that of a segment that goes.
    pub new_history: Vec<Arc<Sidecar>>,
    /// The greatest time among rows that go for good.
    pub lost_until_us: Option<i64>,
}

impl Swap {
    fn sidecars(&self) -> impl Iterator<Item = &Arc<Sidecar>> {
        self.new.iter().filter_map(|segment| segment.sidecar_entry()).chain(&self.new_history)
    }
}

/// What goes, as it was live.
struct Replaced {
    dataset: Arc<Dataset>,
    lost_until_us: Option<i64>,
    segments: Vec<Arc<Segment>>,
    history: Vec<Arc<Sidecar>>,
}

impl Replaced {
    fn sidecars(&self) -> impl Iterator<Item = &Arc<Sidecar>> {
        self.segments.iter().filter_map(|segment| segment.sidecar_entry()).chain(&self.history)
    }
}

/// Swaps in catalog and state.
pub fn swap(shared: &Shared, dataset: DatasetId, swap: Swap) -> StoreResult<()> {
    let _change = shared.change();
    let Some(replaced) = live(shared, dataset, &swap) else {
        // The dataset was dropped meanwhile, and all that was live went with it.
        swap.new.iter().for_each(|segment| segment.mark_replaced());
        swap.new_history.iter().for_each(|sidecar| sidecar.mark_replaced());
        return Ok(());
    };
    let lost_until_us = replaced.lost_until_us.max(swap.lost_until_us);
    let row = DatasetRow {
        name: replaced.dataset.name.to_string(),
        definition: replaced.dataset.definition.clone(),
        lost_until_us,
    };
    let is_lost = lost_until_us > replaced.lost_until_us;
    let kept_segments: HashSet<SegmentId> = swap.new.iter().map(|segment| segment.meta().id).collect();
    let kept_sidecars: HashSet<SidecarId> = swap.sidecars().map(|sidecar| sidecar.meta().id).collect();
    let known: HashSet<SegmentId> = swap.old.iter().copied().collect();
    let added = swap.new.iter().filter(|segment| !known.contains(&segment.meta().id));
    let change = CatalogChange {
        put_datasets: is_lost.then_some((dataset, row)).into_iter().collect(),
        next_segment: Some(shared.next_segment()),
        add_segments: added.map(|segment| segment.meta().clone()).collect(),
        remove_segments: known.iter().filter(|id| !kept_segments.contains(*id)).copied().collect(),
        add_sidecars: swap.sidecars().map(|sidecar| sidecar.meta().clone()).collect(),
        remove_sidecars: replaced
            .sidecars()
            .map(|sidecar| sidecar.meta().id)
            .filter(|id| !kept_sidecars.contains(id))
            .collect(),
        ..CatalogChange::default()
    };
    shared.catalog.apply(&change).inspect_err(|error| shared.poison(error))?;
    let gone = replaced.segments.iter().filter(|segment| !kept_segments.contains(&segment.meta().id));
    gone.for_each(|segment| segment.mark_raw_replaced());
    let gone = replaced.sidecars().filter(|sidecar| !kept_sidecars.contains(&sidecar.meta().id));
    gone.for_each(|sidecar| sidecar.mark_replaced());
    let mut state = shared.state();
    if let Some(live) = state.dataset_mut(dataset) {
        live.segments.retain(|segment| !known.contains(&segment.meta().id));
        live.segments.extend(swap.new);
        live.history.retain(|sidecar| !swap.old_history.contains(&sidecar.meta().id));
        live.history.extend(swap.new_history);
        live.lost_until_us = lost_until_us;
    }
    let before = shared.publish(&mut state);
    drop(state);
    drop((before, replaced));
    Ok(())
}

/// What the swap replaces; `None` when a part of it is not live any more.
fn live(shared: &Shared, dataset: DatasetId, swap: &Swap) -> Option<Replaced> {
    let state = shared.state();
    let dataset = state.dataset(dataset)?;
    let segments: Vec<_> =
        dataset.segments.iter().filter(|segment| swap.old.contains(&segment.meta().id)).cloned().collect();
    let history: Vec<_> = dataset
        .history
        .iter()
        .filter(|sidecar| swap.old_history.contains(&sidecar.meta().id))
        .cloned()
        .collect();
    let complete = segments.len() == swap.old.len() && history.len() == swap.old_history.len();
    let (definition, lost_until_us) = (Arc::clone(&dataset.dataset), dataset.lost_until_us);
    complete.then_some(Replaced { dataset: definition, lost_until_us, segments, history })
}
