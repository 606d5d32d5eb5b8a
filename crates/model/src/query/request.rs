//! A question as a user writes it (API.md "Query"), read from JSON: members and their types are checked, names are not
//! yet looked up.
//!
//! Not here: the plain GET form (`params`), what names and words mean (`resolve`).

use serde::de::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::{Include, MetricInput};
use crate::input_error::{InputError, Shown, check_members, codes};
use crate::limits::{MAX_POINTS_RANGE, PAGE_ROWS_MAX, QUERY_DIMENSIONS_MAX, QUERY_METRICS_MAX};
use crate::names::{ProjectName, suggest};
use crate::time::{Compare, RangeBound, RangeSpec, TimeError, Timestamp};

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
}

/// A range of time as asked.
#[derive(Clone, Debug, PartialEq)]
pub enum DateRange {
    /// A word or two bounds.
    Spec(RangeSpec),
    /// From a bound on, without an end.
    Since(RangeBound),
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
pub(super) const MEMBERS: [&str; 19] = [
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
pub(super) const INCLUDE_MEMBERS: [&str; 5] = ["totals", "total_rows", "fill", "explain", "partial"];

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
                .map(|json| read_date_range(json, "date_range"))
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
        })
    }
}

impl<'de> Deserialize<'de> for QueryRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Value::deserialize(deserializer)?;
        QueryRequest::from_json(&json).map_err(serde::de::Error::custom)
    }
}

/// Typed access to an object's members.
struct Members<'a> {
    object: &'a Map<String, Value>,
    /// What stands before a member's name in a path.
    outer: &'static str,
}

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, value: &Value, wanted: &str) -> QueryError {
        let message = format!("'{name}' must be {wanted}, not {}", Shown(value));
        InputError::new(codes::INVALID_TYPE, format!("{}{name}", self.outer), message)
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, QueryError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, other, "text")),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, QueryError> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(name, other, "true or false")),
        }
    }

    fn count(&self, name: &str) -> Result<Option<u64>, QueryError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| self.wrong(name, value, "a whole number from 0 up"))
    }

    fn list(&self, name: &str, of: &str) -> Result<&'a [Value], QueryError> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(self.wrong(name, other, &format!("a list of {of}"))),
        }
    }

    fn object(
        &self,
        name: &'static str,
        members: &[&str],
    ) -> Result<Option<&'a Map<String, Value>>, QueryError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(object)) => {
                check_members(object, members, name)?;
                Ok(Some(object))
            }
            Some(other) => Err(self.wrong(name, other, &format!("an object with {}", members.join(", ")))),
        }
    }

    fn one_of<T: Copy>(&self, name: &str, known: &[(&str, T)]) -> Result<Option<T>, QueryError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        if let Some((_, value)) = known.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*value));
        }
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        let nearest = suggest(text, words.iter().copied())
            .map(|word| format!("; did you mean '{word}'?"))
            .unwrap_or_default();
        let message = format!(
            "'{name}' must be {}, not '{}'{nearest}",
            words.join(" or "),
            crate::names::excerpt(text)
        );
        Err(InputError::new(codes::INVALID_VALUE, format!("{}{name}", self.outer), message))
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
            let message = "an order is a pair of a metric or dimension of the question and 'asc' or 'desc', like [\"edits\", \"desc\"]";
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
    let Some(object) = members.object("include", &INCLUDE_MEMBERS)? else { return Ok(Include::default()) };
    let flags = Members { object, outer: "include." };
    Ok(Include {
        totals: flags.flag("totals")?,
        total_rows: flags.flag("total_rows")?,
        fill: flags.flag("fill")?,
        explain: flags.flag("explain")?,
        partial: flags.flag("partial")?,
    })
}

/// Reads a word, `[from, to]` or `[from, null]`; also for `/rows` and deletes.
pub fn read_date_range(json: &Value, field: &str) -> Result<DateRange, QueryError> {
    match json {
        Value::String(word) => {
            RangeSpec::parse_word(word).map(DateRange::Spec).map_err(|error| range_error(error, field))
        }
        Value::Array(pair) => match pair.as_slice() {
            [from, Value::Null] => read_bound(from, &format!("{field}[0]")).map(DateRange::Since),
            [from, to] => {
                let (from, to) =
                    (read_bound(from, &format!("{field}[0]"))?, read_bound(to, &format!("{field}[1]"))?);
                Ok(DateRange::Spec(RangeSpec::bounds(from, to)))
            }
            _ => Err(not_a_range(json, field)),
        },
        _ => Err(not_a_range(json, field)),
    }
}

fn not_a_range(json: &Value, field: &str) -> QueryError {
    let message = format!(
        "{} is not a date range: use a word like '7d', or a pair [from, to] of times or dates",
        Shown(json)
    );
    InputError::new(codes::INVALID_DATE_RANGE, field, message)
}

fn read_bound(json: &Value, field: &str) -> Result<RangeBound, QueryError> {
    let number = |number: &serde_json::Number| match number
        .as_i64()
        .map(i128::from)
        .or(number.as_u64().map(i128::from))
    {
        Some(integer) => Timestamp::from_integer(integer),
        None => Timestamp::from_number(number.as_f64().unwrap_or(f64::NAN)),
    };
    let bound = match json {
        Value::String(text) => RangeBound::parse(text),
        Value::Number(value) => number(value).map(RangeBound::Instant),
        other => {
            let message = format!("{} is not a time: use RFC 3339 text, a date or a number", Shown(other));
            return Err(InputError::new(codes::INVALID_TIME, field, message));
        }
    };
    bound.map_err(|error| range_error(error, field))
}

fn read_compare(json: &Value) -> Result<Compare, QueryError> {
    const FIELD: &str = "compare";
    match json.as_str() {
        Some("previous_period") => return Ok(Compare::PreviousPeriod),
        Some("year_over_year") => return Ok(Compare::YearOverYear),
        Some(word) => {
            return RangeSpec::parse_word(word).map(Compare::Range).map_err(|_| {
                let word = crate::names::excerpt(word);
                let message = format!(
                    "'{word}' is no comparison: use 'previous_period', 'year_over_year' or a date range"
                );
                InputError::new(codes::INVALID_DATE_RANGE, FIELD, message)
            });
        }
        None => {}
    }
    match read_date_range(json, FIELD)? {
        DateRange::Spec(spec) => Ok(Compare::Range(spec)),
        DateRange::Since(_) => {
            let message = "a range to compare with needs an end";
            Err(InputError::new(codes::INVALID_DATE_RANGE, FIELD, message))
        }
    }
}

/// The word for each way a time can be wrong.
pub(super) fn range_error(error: TimeError, field: &str) -> QueryError {
    let code = match &error {
        TimeError::Malformed { .. } | TimeError::NotOnCalendar { .. } | TimeError::OutOfRange { .. } => {
            codes::INVALID_TIME
        }
        TimeError::UnknownZone { .. } => codes::UNKNOWN_TIMEZONE,
        TimeError::UnknownGranularity { .. } => codes::UNKNOWN_DIMENSION,
        TimeError::UnknownRange { .. } | TimeError::EmptyRange { .. } => codes::INVALID_DATE_RANGE,
        TimeError::TooManyBuckets { .. } => codes::LIMIT_EXCEEDED,
    };
    InputError::new(code, field, error.to_string())
}
