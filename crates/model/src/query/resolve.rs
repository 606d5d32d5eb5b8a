//! From a question as asked to a question with nothing left to interpret.
//!
//! Not here: the parts that stand alone — ranges (`range`), metrics (`metric`), `having` and the order.

use std::collections::HashSet;
use std::sync::Arc;

use super::having::resolve_having;
use super::order::resolve_order;
use super::range::{asked_range, dimension_width, range_error};
use super::request::{QueryError, QueryRequest};
use super::{Dimension, Function, Metric, MetricDefinition, MetricExpr, MetricInput, MetricResolver, Query};
use crate::filter::FilterParser;
use crate::input_error::{InputError, codes, unknown};
use crate::limits::PAGE_ROWS_DEFAULT;
use crate::names::{ProjectName, excerpt, suggest};
use crate::schema::{ColumnRef, ColumnType, Dataset};
use crate::time::{Compare, Granularity, ResolvedRange, Timestamp, Zone, shift};

/// What a question's meaning depends on besides itself.
pub struct ResolveContext<'a> {
    /// The dataset asked.
    pub dataset: Arc<Dataset>,
    /// Whose rows.
    pub project: ProjectName,
    /// The clock.
    pub now: Timestamp,
    /// The time of the project's first row, for `all`; only called when needed.
    pub first_row: &'a dyn Fn() -> Option<Timestamp>,
}

/// A dimension before the range is known: a bare `time` takes its width from the range.
pub(super) enum AskedDimension {
    /// `time`
    Auto,
    /// `time:hour`
    Time(Granularity),
    /// A column or map key.
    Column(ColumnRef),
}

/// Gives a question its meaning. Equal requests in equal contexts resolve equally.
pub fn resolve(request: &QueryRequest, context: &ResolveContext<'_>) -> Result<Query, QueryError> {
    let dataset = &*context.dataset;
    let zone = match &request.timezone {
        None => Zone::utc(),
        Some(name) => Zone::get(name).map_err(|error| range_error(error, "timezone"))?,
    };
    let asked = resolve_dimensions(&request.dimensions, dataset)?;
    let width = dimension_width(&asked, request, context, &zone)?;
    let range = asked_range(request, context, &zone, width)?;
    let dimensions = fix_dimensions(asked, width);
    let mut filters = FilterParser::new(dataset, &zone);
    let filter = filters.parse_all(&request.filters).map_err(|error| error.within("filters"))?;
    request.bounds.check_cost(request, &dimensions, &filter, dataset)?;
    let narrowed = request.bounds.narrow(&filter, dataset)?;
    let (filter, asked_filter) = match narrowed {
        Some(narrowed) => (narrowed, Some(filter)),
        None => (filter, None),
    };
    let metrics = resolve_metrics(&request.metrics, &dimensions, &mut filters)?;
    let compare =
        request.compare.as_ref().map(|compare| compared_range(compare, &range, context.now, &zone, width));
    let mut include = request.include;
    // Without buckets there is none to fill.
    include.fill &= width.is_some();
    if request.max_points.is_some() && width.is_none() {
        let message =
            "max_points thins a time series; add a time dimension such as 'time:hour', or leave it out";
        return Err(InputError::new(codes::INVALID_VALUE, "max_points", message));
    }
    check_others(request, &metrics, &dimensions, dataset)?;
    if request.cursor.is_some() && request.offset.is_some_and(|offset| offset > 0) {
        let message = "a cursor already says where to go on; leave 'offset' out";
        return Err(InputError::new(codes::INVALID_VALUE, "pagination.offset", message));
    }
    Ok(Query {
        having: resolve_having(&request.having, &metrics, dataset)?,
        order: resolve_order(&request.order_by, &dimensions, &metrics, dataset)?,
        dataset: Arc::clone(&context.dataset),
        project: context.project.clone(),
        range,
        metrics,
        dimensions,
        filter,
        asked_filter,
        limit: request.limit.unwrap_or(PAGE_ROWS_DEFAULT),
        offset: request.offset.unwrap_or(0),
        include,
        compare: compare.transpose()?,
        exact: request.exact,
        max_points: request.max_points,
        now: context.now,
        zone,
    })
}

fn check_others(
    request: &QueryRequest,
    metrics: &[Metric],
    dimensions: &[Dimension],
    dataset: &Dataset,
) -> Result<(), QueryError> {
    const MARK: &str = "others";
    if !request.include.others {
        return Ok(());
    }
    let refused = |code, message| Err(InputError::new(code, MARK, message));
    let is_percentile = |metric: &Metric| {
        metric.expr.measures().any(|measure| matches!(measure.function, Function::Quantile(_)))
    };
    // Which rows are the others is known only when all are in order, and then the values behind exact percentiles are gone.
    if request.exact && metrics.iter().any(is_percentile) {
        return refused(
            codes::INVALID_VALUE,
            "'others' has no exact percentiles; leave 'exact' out (percentiles are then within 1 %), or the percentiles",
        );
    }
    let has_name = metrics.iter().any(|metric| metric.name == MARK)
        || dimensions.iter().any(|dimension| dimension.name(dataset) == MARK);
    if has_name {
        let message = "'others' marks the row of all other groups, and a column of this answer has that name; name it otherwise with 'as'";
        return refused(codes::DUPLICATE_NAME, message);
    }
    Ok(())
}

/// The second range. It always ends, because without an end it would take in the range it is compared with.
fn compared_range(
    compare: &Compare,
    range: &ResolvedRange,
    now: Timestamp,
    zone: &Zone,
    width: Option<Granularity>,
) -> Result<ResolvedRange, QueryError> {
    let shifted = shift(range, compare, now, zone, width).map_err(|error| range_error(error, "compare"))?;
    Ok(ResolvedRange { to: shifted.to.or(Some(shifted.nominal_to)), ..shifted })
}

fn resolve_dimensions(names: &[String], dataset: &Dataset) -> Result<Vec<AskedDimension>, QueryError> {
    let mut dimensions = Vec::with_capacity(names.len());
    let mut seen = HashSet::new();
    let mut has_time = false;
    for (index, name) in names.iter().enumerate() {
        let field = format!("dimensions[{index}]");
        let dimension = resolve_dimension(name, dataset).map_err(|error| error.within(&field))?;
        if !matches!(dimension, AskedDimension::Column(_)) && std::mem::replace(&mut has_time, true) {
            let message = "a question has one time dimension; ask twice for two widths";
            return Err(InputError::new(codes::INVALID_DIMENSION, field, message));
        }
        if !seen.insert(name) {
            let message = format!("dimension '{}' is there twice", excerpt(name));
            return Err(InputError::new(codes::DUPLICATE_NAME, field, message));
        }
        dimensions.push(dimension);
    }
    Ok(dimensions)
}

fn resolve_dimension(name: &str, dataset: &Dataset) -> Result<AskedDimension, QueryError> {
    let refused = |code, message: String| Err(InputError { code, field: None, message });
    if name == "time" {
        return Ok(AskedDimension::Auto);
    }
    if let Some(width) = name.strip_prefix("time:") {
        let widths = Granularity::ALL.iter().map(|known| known.name());
        return match width.parse() {
            Ok(granularity) => Ok(AskedDimension::Time(granularity)),
            Err(_) => refused(codes::UNKNOWN_DIMENSION, unknown("time bucket", width, widths)),
        };
    }
    let column = match dataset.resolve_column(name) {
        Ok(column) => column,
        Err(error) if name.contains('.') => return refused(codes::UNKNOWN_DIMENSION, error.message),
        Err(_) => {
            let columns = dataset.columns.iter().skip(1).map(|column| &*column.name);
            let message = unknown("dimension", name, columns.chain(std::iter::once("time")));
            return refused(codes::UNKNOWN_DIMENSION, message);
        }
    };
    match dataset.kind(&column) {
        ColumnType::Time => {
            let message =
                format!("'{name}' is the time column; group by buckets of it with 'time:hour' or 'time'");
            refused(codes::INVALID_DIMENSION, message)
        }
        ColumnType::Map => {
            let message = format!("'{name}' is a map; group by one key of it, like '{name}.KEY'");
            refused(codes::INVALID_DIMENSION, message)
        }
        _ => Ok(AskedDimension::Column(column)),
    }
}

fn fix_dimensions(asked: Vec<AskedDimension>, width: Option<Granularity>) -> Vec<Dimension> {
    let fixed = asked.into_iter().filter_map(|dimension| match dimension {
        AskedDimension::Column(column) => Some(Dimension::Column(column)),
        AskedDimension::Time(granularity) => Some(Dimension::Time(granularity)),
        // A bare `time` always has a width by now.
        AskedDimension::Auto => width.map(Dimension::Time),
    });
    fixed.collect()
}

fn resolve_metrics(
    inputs: &[MetricInput],
    dimensions: &[Dimension],
    filters: &mut FilterParser<'_>,
) -> Result<Vec<Metric>, QueryError> {
    let dataset = filters.dataset();
    let named = |name: &str| dataset.metrics.get(name).cloned();
    let names = dataset.metrics.keys().map(|name| &**name).collect();
    let mut resolver = MetricResolver { filters, named: &named, names };
    let mut taken = take_names(inputs, dimensions, dataset)?;
    let mut metrics = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.iter().enumerate() {
        let field = format!("metrics[{index}]");
        metrics.push(match input {
            MetricInput::Named(name) => {
                Metric { expr: resolver.resolve_name(name, &field)?, name: name.clone() }
            }
            MetricInput::Inline(inline) => {
                let expr = resolver.resolve(inline, &field)?;
                let name = match &inline.name {
                    Some(name) => name.clone(),
                    None => generate_name(inline, &expr, &mut taken),
                };
                Metric { name, expr }
            }
        });
    }
    Ok(metrics)
}

/// The names of the answer's columns that are given; they must differ, or an answer's objects would lose members.
fn take_names(
    inputs: &[MetricInput],
    dimensions: &[Dimension],
    dataset: &Dataset,
) -> Result<HashSet<String>, QueryError> {
    /// Bytes of a name in the answer.
    const AS_BYTES_MAX: usize = 128;
    let mut taken: HashSet<String> = dimensions.iter().map(|dimension| dimension.name(dataset)).collect();
    for (index, input) in inputs.iter().enumerate() {
        let (name, field) = match input {
            MetricInput::Named(name) => (name, format!("metrics[{index}]")),
            MetricInput::Inline(inline) => match &inline.name {
                Some(name) => (name, format!("metrics[{index}].as")),
                None => continue,
            },
        };
        if name.is_empty() || name.len() > AS_BYTES_MAX || name.contains(char::is_control) {
            let message = format!(
                "'{}' is not a name for a metric: use 1 to {AS_BYTES_MAX} bytes of printable text",
                excerpt(name)
            );
            return Err(InputError::new(codes::INVALID_NAME, field, message));
        }
        if !taken.insert(name.clone()) {
            let message = format!(
                "two columns of the answer would be named '{}'; give the metric another name with 'as'",
                excerpt(name)
            );
            return Err(InputError::new(codes::DUPLICATE_NAME, field, message));
        }
    }
    Ok(taken)
}

/// `p95_added`, `count`, `uniq_props_plan`; with `_2`, `_3`, … where that is taken.
fn generate_name(inline: &MetricDefinition, expr: &MetricExpr, taken: &mut HashSet<String>) -> String {
    let agg = match expr {
        MetricExpr::Measure(measure) if measure.function == Function::Count => "count",
        _ => inline.agg.as_str(),
    };
    let written = match &inline.column {
        None => agg.to_owned(),
        Some(column) => format!("{agg}_{column}"),
    };
    let base: String = written.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
    let mut name = base.clone();
    let mut count = 1;
    while !taken.insert(name.clone()) {
        count += 1;
        name = format!("{base}_{count}");
    }
    name
}

impl Dimension {
    /// The name of its column in an answer: `channel`, `props.plan`, and `time` for buckets of any width.
    pub fn name(&self, dataset: &Dataset) -> String {
        match self {
            Dimension::Time(_) => "time".to_owned(),
            Dimension::Column(column) => dataset.display(column),
        }
    }

    /// The text a request uses for it: `time:hour`, `channel`.
    pub fn request_name(&self, dataset: &Dataset) -> String {
        match self {
            Dimension::Time(granularity) => format!("time:{granularity}"),
            Dimension::Column(column) => dataset.display(column),
        }
    }
}

/// "; did you mean …?" for a name that is none of `known`.
pub(super) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    suggest(name, known).map(|near| format!("; did you mean '{near}'?")).unwrap_or_default()
}
