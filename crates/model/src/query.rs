//! Questions: what a user asks, resolved against a dataset, a clock and a zone, so that nothing is left to interpret.
//!
//! `request` holds the JSON form, `resolve` gives it meaning, `normalised` prints it back. Not here: how a question is
//! planned and executed (`query` crate).

mod bounds;
mod having;
mod members;
mod metric;
mod normalised;
mod order;
mod params;
mod range;
mod request;
mod resolve;

use std::sync::Arc;

use crate::filter::Filter;
use crate::names::ProjectName;
use crate::schema::{ColumnRef, Dataset};
use crate::time::{Granularity, ResolvedRange, Timestamp, Zone};

pub use bounds::Bounds;
pub(crate) use metric::MetricResolver;
pub use metric::{MetricDefinition, MetricInput};
pub use normalised::{all_filters, normalised};
pub use range::DateRange;
pub use request::{Format, Numbers, QueryError, QueryRequest};
pub use resolve::{ResolveContext, resolve};

#[cfg(test)]
mod tests;

/// A mergeable aggregate function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Function {
    /// Rows. Takes no column.
    Count,
    /// Sum; exact for int and money, double-double for float.
    Sum,
    /// Sum ÷ number of values.
    Avg,
    /// Least value (int, float, money, time, bool, string).
    Min,
    /// Greatest value.
    Max,
    /// Sample standard deviation.
    Stddev,
    /// Number of distinct values (of a `strings` column: distinct elements).
    Uniq,
    /// Nearest-rank percentile, in thousandths: 950 is p95, 999 is p99.9; 1..=1000.
    Quantile(u16),
    /// The value at the least time; ties: the smaller value.
    First,
    /// The value at the greatest time; ties: the larger value.
    Last,
}

/// An aggregate over a column of the rows that pass its own filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// What is computed.
    pub function: Function,
    /// Over which values; `None` only for `Count`.
    pub column: Option<ColumnRef>,
    /// Rows it looks at, next to the question's filter; [`Filter::all`] for all.
    pub filter: Filter,
}

/// What a metric computes from measures.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricExpr {
    /// One measure as it is.
    Measure(Measure),
    /// Numerator ÷ denominator, null where the denominator is 0 or null.
    Ratio {
        /// Above the line.
        numerator: Measure,
        /// Below the line.
        denominator: Measure,
    },
    /// A sum or count divided by the seconds of bucket ∩ range ∩ past.
    Rate(Measure),
}

/// A metric with the name its column of the answer carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// `as`, the dataset's name for it, or a generated one.
    pub name: String,
    /// What is computed.
    pub expr: MetricExpr,
}

/// What rows are grouped by.
#[derive(Clone, Debug, PartialEq)]
pub enum Dimension {
    /// A time bucket in the question's zone. At most one per question.
    Time(Granularity),
    /// A column's value; of a `strings` column each element.
    Column(ColumnRef),
}

/// A condition on a finished row. Null metrics fail every comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Having {
    /// All hold.
    And(Vec<Having>),
    /// Any holds.
    Or(Vec<Having>),
    /// Does not hold.
    Not(Box<Having>),
    /// Metric `metric` (index into [`Query::metrics`]) stands so to one of the numbers.
    Compare {
        /// Index of the metric.
        metric: usize,
        /// How.
        how: HavingComparison,
        /// The numbers; one for the order comparisons. `None` is null.
        values: Vec<Option<f64>>,
    },
}

/// How `having` compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HavingComparison {
    /// Equals one of the values.
    Is,
    /// An order comparison.
    Order(crate::filter::Comparison),
}

/// What rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderTarget {
    /// Index into [`Query::dimensions`].
    Dimension(usize),
    /// Index into [`Query::metrics`].
    Metric(usize),
}

/// One key of the order. Null sorts last both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderKey {
    /// By what.
    pub target: OrderTarget,
    /// Greatest first.
    pub descending: bool,
}

/// What an answer holds next to its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Include {
    /// Metrics over every row that passes range and filters.
    pub totals: bool,
    /// Number of groups after having.
    pub total_rows: bool,
    /// Buckets without rows, per present group, up to now.
    pub fill: bool,
    /// The plan, with costs.
    pub explain: bool,
    /// Answer the part that is still covered where the whole is not.
    pub partial: bool,
    /// One more row for all groups that are neither on this page nor before it.
    pub others: bool,
}

/// A question with nothing left to interpret. Equal questions over one snapshot have equal answers.
#[derive(Clone, Debug)]
pub struct Query {
    /// The dataset it is about.
    pub dataset: Arc<Dataset>,
    /// Whose rows.
    pub project: ProjectName,
    /// Which rows' time; `to: None` has no upper bound.
    pub range: ResolvedRange,
    /// The zone of buckets and labels.
    pub zone: Zone,
    /// At least one.
    pub metrics: Vec<Metric>,
    /// In the order of the answer's columns.
    pub dimensions: Vec<Dimension>,
    /// Which rows: the question's own filters, and those it is bound to.
    pub filter: Filter,
    /// The question's own filters, where it is bound to more: what the answer may say of it.
    pub asked_filter: Option<Filter>,
    /// On finished rows.
    pub having: Having,
    /// The full order: the asked keys, then what makes it total (all dimensions ascending).
    pub order: Vec<OrderKey>,
    /// Rows of this page.
    pub limit: u32,
    /// Rows before this page.
    pub offset: u64,
    /// Extras.
    pub include: Include,
    /// The second range, compared row by row.
    pub compare: Option<ResolvedRange>,
    /// Sketched functions are computed exactly.
    pub exact: bool,
    /// LTTB down-sampling per series.
    pub max_points: Option<u32>,
    /// The instant the question was resolved at; bounds `fill` and `rate`.
    pub now: Timestamp,
}

impl Query {
    /// The index of the time dimension, if there is one, with its granularity.
    pub fn time_dimension(&self) -> Option<(usize, Granularity)> {
        self.dimensions.iter().enumerate().find_map(|(index, dimension)| match dimension {
            Dimension::Time(granularity) => Some((index, *granularity)),
            Dimension::Column(_) => None,
        })
    }
}
