//! The plan: everything that is decided before the first row is read.
//!
//! Not here: reading (`scan`), and the passes over rows (`partial`).

mod measures;

use std::sync::Arc;

use tidewater_columns::mask::CompiledFilter;
use tidewater_model::filter::Filter;
use tidewater_model::query::{Dimension, Query};
use tidewater_model::schema::{ColumnId, ColumnRef, ColumnType};
use tidewater_model::time::{BucketGrid, Granularity, Timestamp};
use tidewater_store::ScanRequest;

use crate::error::ExecuteError;
use tidewater_aggregate::Codes;

pub(crate) use measures::{MeasurePlan, MetricPlan, Use};

/// What one pass over one range does.
#[derive(Debug)]
pub(crate) struct Plan {
    pub request: Arc<ScanRequest>,
    /// The question's filter; `None` where every row passes.
    pub filter: Option<Arc<CompiledFilter>>,
    /// Filters of measures, each once.
    pub measure_filters: Vec<Arc<CompiledFilter>>,
    pub dimensions: Vec<DimensionPlan>,
    pub measures: Vec<MeasurePlan>,
    pub metrics: Vec<MetricPlan>,
    /// The column slot of the time, where a measure needs every row's.
    pub time_slot: Option<usize>,
    pub totals: Totals,
    pub range: Range,
}

/// A dimension and the column slot it reads.
#[derive(Debug)]
pub(crate) struct DimensionPlan {
    pub slot: usize,
    pub source: DimensionSource,
}

#[derive(Debug)]
pub(crate) enum DimensionSource {
    Time(Arc<BucketGrid>),
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

/// `[from, to)` in micro-seconds, and the last instant that is past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub from_us: i64,
    pub to_us: i64,
    pub now_us: i64,
}

impl Range {
    /// The seconds of `[lo, hi) ∩ range ∩ past`.
    pub fn past_seconds(&self, lo_us: i64, hi_us: i64) -> f64 {
        let (lo, hi) = (lo_us.max(self.from_us), hi_us.min(self.to_us).min(self.now_us));
        hi.saturating_sub(lo).max(0) as f64 / 1e6
    }

    /// The last instant of the range that is not in the future; `None` where all of it is.
    fn last_past(&self) -> Option<i64> {
        let last = self.now_us.min(self.to_us - 1);
        (last >= self.from_us).then_some(last)
    }
}

impl DimensionPlan {
    pub fn codes(&self) -> Codes {
        match &self.source {
            DimensionSource::Time(grid) => Codes::buckets(grid),
            DimensionSource::Column(kind) => Codes::column(*kind),
        }
    }

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
    /// Plans one pass. `span` is the time span of the project's rows, `None` without any.
    pub fn new(
        query: &Query,
        range: Range,
        span: Option<(Timestamp, Timestamp)>,
    ) -> Result<Self, ExecuteError> {
        let mut columns = Columns::default();
        let filter = columns.filter(&query.filter)?;
        let dimensions = query
            .dimensions
            .iter()
            .map(|dimension| plan_dimension(query, dimension, range, span, &mut columns))
            .collect::<Result<Vec<_>, _>>()?;
        let measures = measures::plan(query, &mut columns)?;
        let time_slot = measures.needs_time.then(|| columns.slot(&ColumnRef::column(ColumnId::TIME)));
        let is_apart = dimensions.iter().any(DimensionPlan::is_list);
        let totals = match query.include.totals {
            false => Totals::None,
            true if is_apart => Totals::Apart,
            true => Totals::Merged,
        };
        let request = ScanRequest {
            project: query.project.clone(),
            from_us: range.from_us,
            to_us: range.to_us,
            after: None,
            until: None,
            columns: columns.0,
            identity: false,
            hint: query.filter.clone(),
        };
        Ok(Plan {
            request: Arc::new(request),
            filter,
            measure_filters: measures.filters,
            dimensions,
            measures: measures.measures,
            metrics: measures.metrics,
            time_slot,
            totals,
            range,
        })
    }

    /// The time dimension's place and grid.
    pub fn time_dimension(&self) -> Option<(usize, &Arc<BucketGrid>)> {
        self.dimensions.iter().enumerate().find_map(|(place, dimension)| match &dimension.source {
            DimensionSource::Time(grid) => Some((place, grid)),
            DimensionSource::Column(_) => None,
        })
    }

    /// How many buckets, from the first, `fill` completes: those that are not wholly in the future.
    pub fn fill_buckets(&self) -> Option<(usize, u32)> {
        let (place, grid) = self.time_dimension()?;
        let last = self.range.last_past().and_then(|last| grid.index_of(Timestamp(last)));
        Some((place, last.map_or(0, |last| last + 1)))
    }

    /// The column slot of a reference that the plan reads.
    pub fn slot(&self, reference: &ColumnRef) -> Option<usize> {
        self.request.columns.iter().position(|other| other == reference)
    }
}

fn plan_dimension(
    query: &Query,
    dimension: &Dimension,
    range: Range,
    span: Option<(Timestamp, Timestamp)>,
    columns: &mut Columns,
) -> Result<DimensionPlan, ExecuteError> {
    Ok(match dimension {
        Dimension::Time(granularity) => DimensionPlan {
            slot: columns.slot(&ColumnRef::column(ColumnId::TIME)),
            source: DimensionSource::Time(Arc::new(grid(query, *granularity, range, span)?)),
        },
        Dimension::Column(reference) => DimensionPlan {
            slot: columns.slot(reference),
            source: DimensionSource::Column(query.dataset.kind(reference)),
        },
    })
}

/// The buckets that rows can fall in. They begin with the range where buckets are counted from its start (fill, comparison), else
/// with the rows, so that a range of a thousand years with a year of rows has a year of buckets.
fn grid(
    query: &Query,
    granularity: Granularity,
    range: Range,
    span: Option<(Timestamp, Timestamp)>,
) -> Result<BucketGrid, ExecuteError> {
    let (least, greatest) =
        span.map_or((range.from_us, range.from_us), |(least, greatest)| (least.0, greatest.0));
    let is_from_start = query.include.fill || query.compare.is_some();
    let from = if is_from_start { range.from_us } else { least.max(range.from_us) };
    let mut to = greatest.saturating_add(1).min(range.to_us);
    if let Some(last) = range.last_past().filter(|_| query.include.fill) {
        to = to.max(last + 1);
    }
    let to = to.max(from.saturating_add(1));
    Ok(BucketGrid::new(granularity, &query.zone, Timestamp(from), Timestamp(to))?)
}
