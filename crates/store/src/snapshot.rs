//! Snapshots: one consistent state of all datasets, held by pointer.
//!
//! Taking one is a pointer copy; the files it names stay until it is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use hashbrown::HashMap;
use tidewater_model::filter::Filter;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{ColumnId, ColumnRef, Dataset, DatasetId};
use tidewater_model::time::Timestamp;

use crate::error::StoreResult;
use crate::scan::{Morsel, ScanRequest, Unit};
use crate::tombstone::Tombstone;
use crate::version::{Lsn, Version};

/// One consistent state of all datasets.
pub struct Snapshot {
    version: Version,
    as_of: Timestamp,
    views: BTreeMap<DatasetId, DatasetView>,
}

impl Snapshot {
    pub(crate) fn new(version: Version, as_of: Timestamp, views: BTreeMap<DatasetId, DatasetView>) -> Self {
        Snapshot { version, as_of, views }
    }

    /// The last record it includes.
    pub fn version(&self) -> Version {
        self.version
    }

    /// When this state became visible.
    pub fn as_of(&self) -> Timestamp {
        self.as_of
    }

    /// One dataset.
    pub fn view(&self, id: DatasetId) -> Option<&DatasetView> {
        self.views.get(&id)
    }

    /// One dataset, by name.
    pub fn view_named(&self, name: &str) -> Option<&DatasetView> {
        self.views.values().find(|view| &*view.dataset.name == name)
    }

    /// All datasets, by id.
    pub fn views(&self) -> impl Iterator<Item = &DatasetView> {
        self.views.values()
    }

    /// The version of what a project sees of a dataset: it changes with the project's own writes and deletes only.
    pub fn data_version(&self, project: &ProjectName, id: DatasetId) -> Version {
        let lsn = self.views.get(&id).map_or(Lsn(0), |view| view.latest(project));
        Version { store: self.version.store, lsn }
    }
}

/// One dataset within a snapshot.
#[derive(Clone)]
pub struct DatasetView {
    /// Its identity in the store.
    pub id: DatasetId,
    /// Its definition at the snapshot.
    pub dataset: Arc<Dataset>,
    /// All its rows: history, then segments, then chunks.
    pub units: Arc<[Unit]>,
    /// Deletes that may hide some of them.
    pub tombstones: Arc<[Arc<Tombstone>]>,
    /// Latest flushed record per project.
    pub(crate) latest: Arc<HashMap<ProjectName, Lsn>>,
    /// The greatest time among rows that retention removed without leaving any section of them: what is asked about such
    /// times has no whole answer, whatever is declared today.
    pub lost_until_us: Option<i64>,
}

impl DatasetView {
    /// A view over units alone, without what the catalog knows: for readers' own tests and tools.
    pub fn of_units(
        id: DatasetId,
        dataset: Arc<Dataset>,
        units: Vec<Unit>,
        tombstones: Vec<Arc<Tombstone>>,
    ) -> Self {
        DatasetView {
            id,
            dataset,
            units: units.into(),
            tombstones: tombstones.into(),
            latest: Arc::default(),
            lost_until_us: None,
        }
    }

    /// The last record that changed what a project sees; 0 for none.
    pub fn latest(&self, project: &ProjectName) -> Lsn {
        let flushed = self.latest.get(project).copied().unwrap_or_default();
        let deletes = self.tombstones.iter().filter(|tombstone| tombstone.project == *project);
        let deleted = deletes.map(|tombstone| tombstone.lsn).max().unwrap_or_default();
        // Chunks come last and in order, so the first one from the end with the project decides.
        let in_memory = self.units.iter().rev().find_map(|unit| match unit {
            Unit::Chunk(chunk) => chunk.latest(project),
            Unit::Segment(_) | Unit::History(_) => None,
        });
        flushed.max(deleted).max(in_memory.unwrap_or_default())
    }

    /// Every project with rows in it, in order.
    pub fn projects(&self) -> Vec<ProjectName> {
        let in_memory = self.units.iter().filter_map(|unit| match unit {
            Unit::Chunk(chunk) => Some(chunk.projects().map(|(project, _)| project)),
            Unit::Segment(_) | Unit::History(_) => None,
        });
        let mut projects: Vec<ProjectName> = self.latest.keys().chain(in_memory.flatten()).cloned().collect();
        projects.sort_unstable();
        projects.dedup();
        // The version of a project's rows is remembered beyond the rows themselves.
        projects.retain(|project| self.units.iter().any(|unit| unit.span(project).is_some()));
        projects
    }

    /// The units that hold rows of `project` with a time in `[from_us, to_us)`, as far as spans tell.
    pub fn units_for(&self, project: &ProjectName, from_us: i64, to_us: i64) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter(move |unit| {
            unit.span(project).is_some_and(|span| span.max_us >= from_us && span.min_us < to_us)
        })
    }

    /// Splits the scan of one of its units into pieces.
    pub fn scan_unit(&self, unit: &Unit, request: &Arc<ScanRequest>) -> StoreResult<Vec<Morsel>> {
        unit.scan(request, &self.tombstones)
    }

    /// The sections of expired rows, as "roll-up/tier", whose sums would keep counting rows that a delete takes: they do not tell
    /// them apart.
    pub fn sums_kept(&self, project: &ProjectName, filter: &Filter, from_us: i64, to_us: i64) -> Vec<String> {
        let mut columns = Vec::new();
        filter.columns(&mut columns);
        let columns: Vec<ColumnRef> = columns.into_iter().cloned().collect();
        let history = self.units.iter().filter_map(|unit| match unit {
            Unit::History(sidecar) => Some(sidecar),
            Unit::Chunk(_) | Unit::Segment(_) => None,
        });
        let kept = history.flat_map(|sidecar| sidecar.sums_kept(project, &columns, (from_us, to_us)));
        let mut kept: Vec<String> = kept.collect();
        kept.sort_unstable();
        kept.dedup();
        kept
    }

    /// The time of the project's first row that no delete hides. Where one may, the unit's times are read.
    pub fn first_row(&self, project: &ProjectName) -> StoreResult<Option<Timestamp>> {
        let spans = self.units.iter().filter_map(|unit| Some((unit.span(project)?.min_us, unit)));
        let mut units: Vec<(i64, &Unit)> = spans.collect();
        units.sort_by_key(|(min_us, _)| *min_us);
        let mut first: Option<i64> = None;
        for (min_us, unit) in units {
            if first.is_some_and(|first| first <= min_us) {
                break;
            }
            let least = match (unit, self.latest_delete(unit, project)) {
                // What history has left of hidden rows keeps their time.
                (Unit::History(_), _) | (_, None) => Some(min_us),
                (Unit::Chunk(_) | Unit::Segment(_), Some(_)) => self.least_visible(unit, project)?,
            };
            first = first.into_iter().chain(least).min();
        }
        Ok(first.map(Timestamp))
    }

    /// The latest delete that may still hide rows of a unit; those before it that may are known then, because units never change.
    pub fn latest_delete(&self, unit: &Unit, project: &ProjectName) -> Option<Lsn> {
        let span = unit.span(project)?;
        let hides = |tombstone: &&Arc<Tombstone>| match unit {
            Unit::Chunk(chunk) => tombstone.may_hide(project, span.min_us, span.max_us, chunk.min_lsn()),
            Unit::Segment(segment) => {
                tombstone.project == *project && tombstone.is_pending_in(segment.meta())
            }
            // Of any age: what it counts may have come before or after it.
            Unit::History(_) => tombstone.may_hide(project, span.min_us, span.max_us, Lsn(i64::MIN)),
        };
        self.tombstones.iter().filter(hides).map(|tombstone| tombstone.lsn).max()
    }

    fn least_visible(&self, unit: &Unit, project: &ProjectName) -> StoreResult<Option<i64>> {
        let request = Arc::new(ScanRequest {
            project: project.clone(),
            from_us: i64::MIN,
            to_us: i64::MAX,
            after: None,
            until: None,
            columns: vec![ColumnRef::column(ColumnId::TIME)],
            identity: false,
            hint: Filter::all(),
        });
        let mut least: Option<i64> = None;
        for morsel in self.scan_unit(unit, &request)? {
            for batch in morsel.read()? {
                let batch = batch?;
                let Some(Some(times)) = batch.columns.first() else { continue };
                let times = times.as_primitive::<TimestampMicrosecondType>().values();
                let found = match &batch.selection {
                    None => times.iter().copied().min(),
                    Some(selection) => selection.set_indices().map(|row| times[row]).min(),
                };
                least = least.into_iter().chain(found).min();
            }
        }
        Ok(least)
    }

    /// The least and greatest time of the project's rows, tombstoned and expired ones included as far as anything is left of them.
    pub fn time_span(&self, project: &ProjectName) -> Option<(Timestamp, Timestamp)> {
        let spans = self.units.iter().filter_map(|unit| unit.span(project));
        spans
            .map(|span| (span.min_us, span.max_us))
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
            .map(|(min, max)| (Timestamp(min), Timestamp(max)))
    }
}
