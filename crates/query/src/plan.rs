//! The plan: everything that is decided about a question before its range is looked at.
//!
//! Not here: the range and its buckets (`frame`), what is read for it (`pieces`), and the passes over rows (`worker`).

mod measures;

use std::sync::Arc;

use tidewater_columns::mask::CompiledFilter;
use tidewater_model::filter::Filter;
use tidewater_model::names::ProjectName;
use tidewater_model::query::{Dimension, Query};
use tidewater_model::schema::{ColumnId, ColumnRef, ColumnType, DatasetId};
use tidewater_model::time::BucketGrid;
use tidewater_store::{Lsn, ScanRequest};
use xxhash_rust::xxh3::xxh3_128;

use crate::error::ExecuteError;
use tidewater_aggregate::{Codes, StateKind};

pub(crate) use measures::{MeasurePlan, MetricPlan, Use};

/// How rows become groups and states, whatever the range.
#[derive(Debug)]
pub(crate) struct Plan {
    pub dataset: DatasetId,
    pub project: ProjectName,
    /// The columns a scan reads; each has a slot.
    pub columns: Vec<ColumnRef>,
    /// The question's filter as it was asked.
    pub hint: Filter,
    /// The same, compiled; `None` where every row passes.
    pub filter: Option<Arc<CompiledFilter>>,
    /// Filters of measures, each once.
    pub measure_filters: Vec<Arc<CompiledFilter>>,
    pub dimensions: Vec<DimensionPlan>,
    pub measures: Vec<MeasurePlan>,
    pub metrics: Vec<MetricPlan>,
    /// The column slot of the time, where a measure needs every row's.
    pub time_slot: Option<usize>,
    pub totals: Totals,
    pub shape: Shape,
    /// The last record whose rows count; `None` for all.
    pub until: Option<Lsn>,
}

/// Equal for plans that make equal partials of equal rows: a hash of 128 bits over all that decides them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape(pub u128);

/// See [`Plan::family`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Family(pub u128);

/// A dimension and the column slot it reads.
#[derive(Debug)]
pub(crate) struct DimensionPlan {
    pub slot: usize,
    pub source: DimensionSource,
}

#[derive(Debug)]
pub(crate) enum DimensionSource {
    Time,
    Column(ColumnType),
}

/// How the totals come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Totals {
    /// Not asked for.
    None,
    /// By merging all groups: every row is in exactly one.
    Merged,
    /// On their own: rows may be in several groups.
    Apart,
}

impl DimensionPlan {
    pub fn is_list(&self) -> bool {
        matches!(self.source, DimensionSource::Column(ColumnType::Strings))
    }
}

/// The columns a scan reads; each gets a slot.
#[derive(Debug, Default)]
struct Columns(Vec<ColumnRef>);

impl Columns {
    fn slot(&mut self, reference: &ColumnRef) -> usize {
        let known = self.0.iter().position(|other| other == reference);
        known.unwrap_or_else(|| {
            self.0.push(reference.clone());
            self.0.len() - 1
        })
    }

    fn filter(&mut self, filter: &Filter) -> Result<Option<Arc<CompiledFilter>>, ExecuteError> {
        let compiled = CompiledFilter::compile(filter).map_err(ExecuteError::Filter)?;
        compiled.columns().iter().for_each(|reference| _ = self.slot(reference));
        Ok((!compiled.is_all()).then(|| Arc::new(compiled)))
    }
}

impl Plan {
    /// Plans a question on a dataset of this identity.
    pub fn new(query: &Query, dataset: DatasetId) -> Result<Self, ExecuteError> {
        let mut columns = Columns::default();
        let filter = columns.filter(&query.filter)?;
        let dimensions: Vec<DimensionPlan> =
            query.dimensions.iter().map(|dimension| plan_dimension(query, dimension, &mut columns)).collect();
        let measures = measures::plan(query, &mut columns)?;
        let time_slot = measures.needs_time.then(|| columns.slot(&ColumnRef::column(ColumnId::TIME)));
        let is_apart = dimensions.iter().any(DimensionPlan::is_list);
        let totals = match query.include.totals {
            false => Totals::None,
            true if is_apart => Totals::Apart,
            true => Totals::Merged,
        };
        let mut plan = Plan {
            dataset,
            project: query.project.clone(),
            columns: columns.0,
            hint: query.filter.clone(),
            filter,
            measure_filters: measures.filters,
            dimensions,
            measures: measures.measures,
            metrics: measures.metrics,
            time_slot,
            totals,
            shape: Shape(0),
            until: None,
        };
        plan.shape = plan.hash_shape(query);
        Ok(plan)
    }

    /// The columns that rows are grouped by, the time aside.
    pub fn grouping_columns(&self) -> Vec<ColumnRef> {
        let columns =
            self.dimensions.iter().filter(|dimension| !matches!(dimension.source, DimensionSource::Time));
        columns.map(|dimension| self.columns[dimension.slot].clone()).collect()
    }

    /// Whether a measure is one that an exact question computes from raw rows alone.
    pub fn has_estimates(&self) -> bool {
        self.measures.iter().any(|measure| {
            matches!(measure.state, StateKind::Quantiles | StateKind::Distinct | StateKind::ExactDistinct)
        })
    }

    /// The time dimension's place.
    pub fn time_place(&self) -> Option<usize> {
        self.dimensions.iter().position(|dimension| matches!(dimension.source, DimensionSource::Time))
    }

    /// Empty codes of every dimension; those of the time are of `grid`.
    ///
    /// # Panics
    /// Without a grid where a dimension is the time: whoever makes a partial makes its grid.
    pub fn codes(&self, grid: Option<&Arc<BucketGrid>>) -> Vec<Codes> {
        let codes = |dimension: &DimensionPlan| match dimension.source {
            DimensionSource::Time => Codes::buckets(grid.expect("a time dimension has a grid")),
            DimensionSource::Column(kind) => Codes::column(kind),
        };
        self.dimensions.iter().map(codes).collect()
    }

    /// The column slot of a reference that the plan reads.
    pub fn slot(&self, reference: &ColumnRef) -> Option<usize> {
        self.columns.iter().position(|other| other == reference)
    }

    /// A request for rows with a time in `[from_us, to_us)`.
    pub fn request(&self, from_us: i64, to_us: i64) -> ScanRequest {
        ScanRequest {
            project: self.project.clone(),
            from_us,
            to_us,
            after: None,
            until: self.until,
            columns: self.columns.clone(),
            identity: false,
            hint: self.hint.clone(),
        }
    }

    /// Tells plans whose partials mostly hold the same texts: those of the same dimensions over one project's rows.
    pub fn family(&self) -> Family {
        let columns: Vec<_> = self.dimensions.iter().map(|dimension| &self.columns[dimension.slot]).collect();
        Family(xxh3_128(format!("{:?} {:?} {columns:?}", self.dataset, self.project).as_bytes()))
    }

    /// Everything that decides a unit's partial is in its debug form, which tells all values of these types apart.
    fn hash_shape(&self, query: &Query) -> Shape {
        let zone = query.time_dimension().map(|_| query.zone.name());
        let kinds: Vec<ColumnType> = self
            .dimensions
            .iter()
            .filter_map(|dimension| match dimension.source {
                DimensionSource::Column(kind) => Some(kind),
                DimensionSource::Time => None,
            })
            .collect();
        let measures: Vec<_> = self.measures.iter().map(|measure| (measure.kind, &measure.key)).collect();
        let text = format!(
            "{:?} {:?} {:?} {:?} {kinds:?} {zone:?} {measures:?} {:?}",
            self.dataset,
            self.project,
            self.hint,
            query.dimensions,
            self.totals == Totals::Apart,
        );
        Shape(xxh3_128(text.as_bytes()))
    }
}

fn plan_dimension(query: &Query, dimension: &Dimension, columns: &mut Columns) -> DimensionPlan {
    match dimension {
        Dimension::Time(_) => DimensionPlan {
            slot: columns.slot(&ColumnRef::column(ColumnId::TIME)),
            source: DimensionSource::Time,
        },
        Dimension::Column(reference) => DimensionPlan {
            slot: columns.slot(reference),
            source: DimensionSource::Column(query.dataset.kind(reference)),
        },
    }
}
