//! A question as a user writes it (API.md "Query"), read from JSON: members and their types are checked, names are not
//! yet looked up.
//!
//! Not here: the plain GET form (`params`), what names and words mean (`resolve`).

use serde::de::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::members::Members;
use super::range::DateRange;
use super::{Bounds, Include, MetricInput};
use crate::input_error::{InputError, Shown, check_members, codes};
use crate::limits::{MAX_POINTS_RANGE, PAGE_ROWS_MAX, QUERY_DIMENSIONS_MAX, QUERY_METRICS_MAX};
use crate::names::{ProjectName, excerpt};
use crate::time::{Compare, RangeSpec, RangeWord};

/// What was wrong with a question.
pub type QueryError = InputError;

/// A question as asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryRequest {
    /// Name of the dataset.
    pub dataset: String,
    /// The member `project` (alias `site_id`); whether the caller may see it is for the server to decide.
    pub project: Option<ProjectName>,
    /// Absent: the last 24 hours.
    pub date_range: Option<DateRange>,
    /// IANA name; absent: UTC.
    pub timezone: Option<String>,
    /// At least one.
    pub metrics: Vec<MetricInput>,
    /// Columns, map keys, `time:…`.
    pub dimensions: Vec<String>,
    /// All must hold.
    pub filters: Vec<Value>,
    /// All must hold.
    pub having: Vec<Value>,
    /// Name, and whether descending.
    pub order_by: Vec<(String, bool)>,
    /// Rows of a page.
    pub limit: Option<u32>,
    /// Rows before the page.
    pub offset: Option<u64>,
    /// Continues an earlier page.
    pub cursor: Option<String>,
    /// Extras.
    pub include: Include,
    /// The second range.
    pub compare: Option<Compare>,
    /// Shape of result rows.
    pub format: Format,
    /// Shape of large numbers.
    pub numbers: Numbers,
    /// No sketches.
    pub exact: bool,
    /// Down-sampling.
    pub max_points: Option<u32>,
    /// How old a shared answer may be; 0 wants its own.
    pub max_staleness_ms: Option<u64>,
    /// A version, from an ingest reply, that the answer must hold.
    pub min_version: Option<String>,
    /// What it is bound to by who asks; never read from the question.
    pub bounds: Bounds,
}

/// Shape of result rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `{"dimensions": […], "metrics": […]}`
    #[default]
    Rows,
    /// `{"channel": …, "edits": …}`
    Objects,
}

impl Format {
    /// The name in a request.
    pub fn name(self) -> &'static str {
        match self {
            Format::Rows => "rows",
            Format::Objects => "objects",
        }
    }
}

/// Shape of numbers that a double cannot hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numbers {
    /// JSON numbers with all digits.
    #[default]
    Number,
    /// Text.
    String,
}

impl Numbers {
    /// The name in a request.
    pub fn name(self) -> &'static str {
        match self {
            Numbers::Number => "number",
            Numbers::String => "string",
        }
    }
}

/// Every member of a question.
pub(super) const MEMBERS: [&str; 20] = [
    "dataset",
    "project",
    "site_id",
    "date_range",
    "timezone",
    "metrics",
    "dimensions",
    "filters",
    "having",
    "order_by",
    "pagination",
    "others",
    "include",
    "compare",
    "format",
    "numbers",
    "exact",
    "max_points",
    "max_staleness_ms",
    "min_version",
];
/// Members of `pagination`.
pub(super) const PAGINATION_MEMBERS: [&str; 3] = ["limit", "cursor", "offset"];
/// Members of `include`.
pub(super) const INCLUDE_MEMBERS: [&str; 6] =
    ["totals", "total_rows", "fill", "explain", "partial", "others"];

impl QueryRequest {
    /// Reads a question. Null members count as absent.
    pub fn from_json(json: &Value) -> Result<Self, QueryError> {
        let Value::Object(object) = json else {
            let message = format!(
                "a question is an object like {{\"dataset\": …, \"metrics\": […]}}, not {}",
                Shown(json)
            );
            return Err(InputError { code: codes::INVALID_TYPE, field: None, message });
        };
        check_members(object, &MEMBERS, "")?;
        let members = Members { object, outer: "" };
        let empty = Map::new();
        let pagination = Members {
            object: members.object("pagination", &PAGINATION_MEMBERS)?.unwrap_or(&empty),
            outer: "pagination.",
        };
        Ok(QueryRequest {
            dataset: members
                .text("dataset")?
                .ok_or_else(|| missing("dataset", "the name of a dataset"))?
                .to_owned(),
            project: read_project(&members)?,
            date_range: members
                .get("date_range")
                .map(|json| DateRange::from_json(json, "date_range"))
                .transpose()?,
            timezone: members.text("timezone")?.map(str::to_owned),
            metrics: read_metrics(&members)?,
            dimensions: read_dimensions(&members)?,
            filters: members.list("filters", "filters like [\"is\", COLUMN, [VALUE]]")?.to_vec(),
            having: members.list("having", "conditions like [\"gt\", METRIC, 10]")?.to_vec(),
            order_by: read_order(&members)?,
            limit: read_limit(&pagination)?,
            offset: pagination.count("offset")?,
            cursor: pagination.text("cursor")?.map(str::to_owned),
            include: read_include(&members)?,
            compare: members.get("compare").map(read_compare).transpose()?,
            format: members
                .one_of("format", &[("rows", Format::Rows), ("objects", Format::Objects)])?
                .unwrap_or_default(),
            numbers: members
                .one_of("numbers", &[("number", Numbers::Number), ("string", Numbers::String)])?
                .unwrap_or_default(),
            exact: members.flag("exact")?,
            max_points: read_max_points(&members)?,
            max_staleness_ms: members.count("max_staleness_ms")?,
            min_version: members.text("min_version")?.map(str::to_owned),
            bounds: Bounds::default(),
        })
    }
}

impl<'de> Deserialize<'de> for QueryRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Value::deserialize(deserializer)?;
        QueryRequest::from_json(&json).map_err(serde::de::Error::custom)
    }
}

fn missing(field: &str, what: &str) -> QueryError {
    InputError::new(codes::MISSING_FIELD, field, format!("a question needs '{field}', {what}"))
}

fn read_project(members: &Members<'_>) -> Result<Option<ProjectName>, QueryError> {
    let (project, site_id) = (members.text("project")?, members.text("site_id")?);
    if let (Some(project), Some(site_id)) = (project, site_id)
        && project != site_id
    {
        let message = "'project' and 'site_id' mean the same and differ here; give one of them";
        return Err(InputError::new(codes::INVALID_VALUE, "site_id", message));
    }
    let field = if project.is_some() { "project" } else { "site_id" };
    let name = project.or(site_id).map(ProjectName::new).transpose();
    name.map_err(|error| InputError::new(codes::INVALID_NAME, field, error.to_string()))
}

fn read_metrics(members: &Members<'_>) -> Result<Vec<MetricInput>, QueryError> {
    let list = members.list("metrics", "metric names and metric objects")?;
    if list.is_empty() {
        return Err(missing("metrics", "a list of metric names or of objects like {\"agg\": \"count\"}"));
    }
    check_count("metrics", list.len(), QUERY_METRICS_MAX)?;
    list.iter()
        .enumerate()
        .map(|(index, json)| MetricInput::from_json(json, &format!("metrics[{index}]")))
        .collect()
}

fn read_dimensions(members: &Members<'_>) -> Result<Vec<String>, QueryError> {
    let list = members.list("dimensions", "columns and time buckets")?;
    check_count("dimensions", list.len(), QUERY_DIMENSIONS_MAX)?;
    let text = |(index, json): (usize, &Value)| match json {
        Value::String(text) => Ok(text.clone()),
        other => {
            let message = format!("a dimension is a column or 'time:hour', not {}", Shown(other));
            Err(InputError::new(codes::INVALID_TYPE, format!("dimensions[{index}]"), message))
        }
    };
    list.iter().enumerate().map(text).collect()
}

fn check_count(field: &str, count: usize, max: usize) -> Result<(), QueryError> {
    if count <= max {
        return Ok(());
    }
    let message = format!("{count} {field} are over the limit of {max} in one question; ask several");
    Err(InputError::new(codes::LIMIT_EXCEEDED, field, message))
}

fn read_order(members: &Members<'_>) -> Result<Vec<(String, bool)>, QueryError> {
    let list = members.list("order_by", "pairs like [\"edits\", \"desc\"]")?;
    check_count("order_by", list.len(), QUERY_METRICS_MAX + QUERY_DIMENSIONS_MAX)?;
    let key = |(index, json): (usize, &Value)| match json.as_array().map(Vec::as_slice) {
        Some([Value::String(name), Value::String(direction)])
            if matches!(direction.as_str(), "asc" | "desc") =>
        {
            Ok((name.clone(), direction == "desc"))
        }
        _ => {
            let shown = crate::names::excerpt(&json.to_string());
            let message = format!(
                "an order is a metric or dimension of the question with 'asc' or 'desc', like [\"edits\", \"desc\"], not {shown}"
            );
            Err(InputError::new(codes::INVALID_VALUE, format!("order_by[{index}]"), message))
        }
    };
    list.iter().enumerate().map(key).collect()
}

fn read_limit(pagination: &Members<'_>) -> Result<Option<u32>, QueryError> {
    let Some(limit) = pagination.count("limit")? else { return Ok(None) };
    let fits = u32::try_from(limit).ok().filter(|limit| (1..=PAGE_ROWS_MAX).contains(limit));
    fits.map(Some).ok_or_else(|| {
        let message = format!(
            "a limit of {limit} rows is out of range: use 1 to {PAGE_ROWS_MAX}, and the cursor for more"
        );
        InputError::new(codes::LIMIT_EXCEEDED, "pagination.limit", message)
    })
}

fn read_max_points(members: &Members<'_>) -> Result<Option<u32>, QueryError> {
    let Some(points) = members.count("max_points")? else { return Ok(None) };
    let fits = u32::try_from(points).ok().filter(|points| MAX_POINTS_RANGE.contains(points));
    fits.map(Some).ok_or_else(|| {
        let (least, most) = (MAX_POINTS_RANGE.start(), MAX_POINTS_RANGE.end());
        let message = format!("max_points of {points} is out of range: use {least} to {most}");
        InputError::new(codes::LIMIT_EXCEEDED, "max_points", message)
    })
}

fn read_include(members: &Members<'_>) -> Result<Include, QueryError> {
    let empty = Map::new();
    let object = members.object("include", &INCLUDE_MEMBERS)?.unwrap_or(&empty);
    let flags = Members { object, outer: "include." };
    Ok(Include {
        totals: flags.flag("totals")?,
        total_rows: flags.flag("total_rows")?,
        fill: flags.flag("fill")?,
        explain: flags.flag("explain")?,
        partial: flags.flag("partial")?,
        // It stands beside `pagination`, which it completes, or among the other extras.
        others: members.flag("others")? | flags.flag("others")?,
    })
}

fn read_compare(json: &Value) -> Result<Compare, QueryError> {
    const FIELD: &str = "compare";
    let refused = |message: String| Err(InputError::new(codes::INVALID_DATE_RANGE, FIELD, message));
    let Value::String(word) = json else {
        return match DateRange::from_json(json, FIELD)? {
            DateRange::Spec(spec) => Ok(Compare::Range(spec)),
            DateRange::Since(_) => refused("a range to compare with needs an end".to_owned()),
        };
    };
    match word.as_str() {
        "previous_period" => Ok(Compare::PreviousPeriod),
        "year_over_year" => Ok(Compare::YearOverYear),
        other => match RangeSpec::parse_word(other) {
            Ok(spec) if spec != RangeSpec::Word(RangeWord::All) => Ok(Compare::Range(spec)),
            _ => refused(format!(
                "'{}' is no comparison: use 'previous_period', 'year_over_year' or a date range other than 'all'",
                excerpt(other)
            )),
        },
    }
}
