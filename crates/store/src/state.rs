//! The store's state in memory, and how a change of it becomes the snapshot everybody sees.
//!
//! Not here: making changes durable (`writer`, `catalog`); a change comes here only when it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{Dataset, DatasetId};
use tidewater_model::time::Timestamp;

use crate::chunk::Chunk;
use crate::memtable;
use crate::scan::Unit;
use crate::segment::Segment;
use crate::sidecar::Sidecar;
use crate::snapshot::{DatasetView, Snapshot};
use crate::tombstone::Tombstone;
use crate::version::{Lsn, StoreId, Version};

/// Everything a snapshot is made of.
#[derive(Debug)]
pub struct State {
    store_id: StoreId,
    datasets: BTreeMap<DatasetId, DatasetState>,
    visible: Lsn,
    flushed: Lsn,
    /// Bytes of all active chunks.
    active_bytes: u64,
}

/// One dataset.
pub struct DatasetState {
    /// Its definition.
    pub dataset: Arc<Dataset>,
    /// Live segments.
    pub segments: Vec<Arc<Segment>>,
    /// Live sidecars whose raw rows have expired.
    pub history: Vec<Arc<Sidecar>>,
    /// Chunks that are being flushed.
    pub frozen: Vec<Arc<Chunk>>,
    /// Chunks that came since.
    pub active: Vec<Arc<Chunk>>,
    /// Deletes whose rows may still be somewhere.
    pub tombstones: Vec<Arc<Tombstone>>,
    /// When a day last got rows from a flush, as far as this process has seen one.
    pub day_flushed: HashMap<i32, Timestamp>,
    /// Latest flushed record per project.
    pub latest: Arc<HashMap<ProjectName, Lsn>>,
    /// The greatest time among rows that retention removed without leaving any section of them.
    pub lost_until_us: Option<i64>,
    view: Option<DatasetView>,
}

impl std::fmt::Debug for DatasetState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let DatasetState { dataset, segments, frozen, active, tombstones, .. } = self;
        write!(f, "{}: {} segments, ", dataset.name, segments.len())?;
        write!(f, "{} + {} chunks, {} tombstones", frozen.len(), active.len(), tombstones.len())
    }
}

impl DatasetState {
    /// A dataset without rows.
    pub fn new(dataset: Arc<Dataset>) -> Self {
        DatasetState {
            dataset,
            segments: Vec::new(),
            history: Vec::new(),
            frozen: Vec::new(),
            active: Vec::new(),
            tombstones: Vec::new(),
            day_flushed: HashMap::new(),
            latest: Arc::default(),
            lost_until_us: None,
            view: None,
        }
    }

    fn build_view(&self, id: DatasetId) -> DatasetView {
        let history = self.history.iter().cloned().map(Unit::History);
        let segments = self.segments.iter().cloned().map(Unit::Segment);
        let chunks = self.frozen.iter().chain(&self.active).cloned().map(Unit::Chunk);
        DatasetView {
            id,
            dataset: Arc::clone(&self.dataset),
            units: history.chain(segments).chain(chunks).collect(),
            tombstones: self.tombstones.iter().cloned().collect(),
            latest: Arc::clone(&self.latest),
            lost_until_us: self.lost_until_us,
        }
    }
}

impl State {
    /// A state without datasets.
    pub fn new(store_id: StoreId, flushed: Lsn) -> Self {
        State { store_id, datasets: BTreeMap::new(), visible: flushed, flushed, active_bytes: 0 }
    }

    /// The last record that is visible.
    pub fn visible(&self) -> Lsn {
        self.visible
    }

    /// The last record that is in segments.
    pub fn flushed(&self) -> Lsn {
        self.flushed
    }

    /// Bytes of the rows that came since the last freeze.
    pub fn active_bytes(&self) -> u64 {
        self.active_bytes
    }

    /// A dataset, to read.
    pub fn dataset(&self, id: DatasetId) -> Option<&DatasetState> {
        self.datasets.get(&id)
    }

    /// A dataset, to change: its view is built anew with the next snapshot.
    pub fn dataset_mut(&mut self, id: DatasetId) -> Option<&mut DatasetState> {
        let dataset = self.datasets.get_mut(&id)?;
        dataset.view = None;
        Some(dataset)
    }

    /// All datasets.
    pub fn datasets(&self) -> impl Iterator<Item = (DatasetId, &DatasetState)> {
        self.datasets.iter().map(|(id, dataset)| (*id, dataset))
    }

    /// Looks a dataset up by name.
    pub fn find(&self, name: &str) -> Option<(DatasetId, &DatasetState)> {
        self.datasets().find(|(_, dataset)| &*dataset.dataset.name == name)
    }

    /// Adds a dataset.
    pub fn insert(&mut self, id: DatasetId, dataset: DatasetState) {
        self.datasets.insert(id, dataset);
    }

    /// Forgets a dataset with all its rows.
    pub fn remove(&mut self, id: DatasetId) -> Option<DatasetState> {
        let removed = self.datasets.remove(&id)?;
        let bytes: usize = removed.active.iter().map(|chunk| chunk.memory_bytes()).sum();
        self.active_bytes = self.active_bytes.saturating_sub(bytes as u64);
        Some(removed)
    }

    /// Shows durable rows and deletes up to a record. Those of a dataset that was dropped meanwhile are left out.
    pub fn commit(
        &mut self,
        chunks: Vec<(DatasetId, Arc<Chunk>)>,
        tombstones: Vec<(DatasetId, Arc<Tombstone>)>,
        through: Lsn,
    ) {
        for (id, chunk) in chunks {
            let bytes = chunk.memory_bytes() as u64;
            if let Some(dataset) = self.dataset_mut(id) {
                dataset.active.push(chunk);
                self.active_bytes += bytes;
            }
        }
        for (id, tombstone) in tombstones {
            if let Some(dataset) = self.dataset_mut(id) {
                dataset.tombstones.push(tombstone);
            }
        }
        self.visible = self.visible.max(through);
    }

    /// Sets aside all active chunks for a flush. What is shown stays the same.
    pub fn freeze(&mut self) {
        for dataset in self.datasets.values_mut() {
            dataset.frozen.append(&mut dataset.active);
        }
        self.active_bytes = 0;
    }

    /// Notes that all records up to `through` are in segments.
    pub fn set_flushed(&mut self, through: Lsn) {
        self.flushed = through;
    }

    /// The first chunks worth merging, as found in the active chunks of any dataset.
    pub fn chunks_to_merge(&self) -> Option<(DatasetId, Vec<Arc<Chunk>>)> {
        self.datasets.iter().find_map(|(id, dataset)| {
            let range = memtable::plan_merge(&memtable::sizes(&dataset.active))?;
            Some((*id, dataset.active[range].to_vec()))
        })
    }

    /// Puts the merge in the place of chunks, if they are still there side by side.
    pub fn replace_chunks(&mut self, id: DatasetId, merged: &[Arc<Chunk>], chunk: Arc<Chunk>) -> bool {
        let Some(dataset) = self.datasets.get_mut(&id) else { return false };
        let found = dataset
            .active
            .windows(merged.len())
            .position(|window| window.iter().zip(merged).all(|(a, b)| Arc::ptr_eq(a, b)));
        let Some(first) = found else { return false };
        let before: usize = merged.iter().map(|chunk| chunk.memory_bytes()).sum();
        self.active_bytes = (self.active_bytes + chunk.memory_bytes() as u64).saturating_sub(before as u64);
        dataset.active.splice(first..first + merged.len(), [chunk]);
        dataset.view = None;
        true
    }

    /// The snapshot of this state.
    pub fn snapshot(&mut self, now: Timestamp) -> Snapshot {
        for (id, dataset) in &mut self.datasets {
            if dataset.view.is_none() {
                dataset.view = Some(dataset.build_view(*id));
            }
        }
        let views =
            self.datasets.iter().filter_map(|(id, dataset)| Some((*id, dataset.view.clone()?))).collect();
        Snapshot::new(Version { store: self.store_id, lsn: self.visible }, now, views)
    }

    /// Rows and bytes in memory: active, then frozen.
    pub fn memory(&self) -> [(u64, u64); 2] {
        let sum = |chunks: &mut dyn Iterator<Item = &Arc<Chunk>>| {
            chunks.fold((0, 0), |(rows, bytes), chunk| {
                (rows + chunk.batch().rows() as u64, bytes + chunk.memory_bytes() as u64)
            })
        };
        [
            sum(&mut self.datasets.values().flat_map(|dataset| &dataset.active)),
            sum(&mut self.datasets.values().flat_map(|dataset| &dataset.frozen)),
        ]
    }
}
