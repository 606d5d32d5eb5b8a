//! Metrics as JSON — in a dataset's definition and in a question — and their meaning over a dataset's columns.
//!
//! Not here: how a measure is computed (`state`, and the `query` crate).

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::{Function, Measure, MetricExpr};
use crate::filter::{Filter, FilterParser};
use crate::input_error::{InputError, check_members, codes, unknown};
use crate::names::excerpt;
use crate::schema::{ColumnRef, ColumnType, Dataset};

/// A metric as written: `{"agg": "p95", "column": "added", "filters": […], "as": "p95"}`.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricDefinition {
    /// `count`, `sum`, `avg`, `min`, `max`, `stddev`, `uniq`, `first`, `last`, `pNN`, `pNN.N`, `ratio` or `rate`.
    pub agg: String,
    /// Column or map key; not for `count` and `ratio`, optional for `rate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Rows it looks at; all must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Value>,
    /// For `ratio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numerator: Option<MetricInput>,
    /// For `ratio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denominator: Option<MetricInput>,
    /// Whether the role `billing` may see it; only in a dataset.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cost: bool,
    /// The name in the answer; only in a question.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A metric of the dataset by name, or one written out.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum MetricInput {
    /// A name from the dataset.
    Named(String),
    /// Written out.
    Inline(Box<MetricDefinition>),
}

impl<'de> Deserialize<'de> for MetricInput {
    /// By hand, because serde's untagged enums forget what was wrong inside.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MetricInputVisitor)
    }
}

struct MetricInputVisitor;

impl<'de> Visitor<'de> for MetricInputVisitor {
    type Value = MetricInput;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a metric or a metric object")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<MetricInput, E> {
        Ok(MetricInput::Named(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MetricInput, A::Error> {
        MetricDefinition::deserialize(MapAccessDeserializer::new(map))
            .map(|inline| MetricInput::Inline(Box::new(inline)))
    }
}

impl MetricInput {
    /// Reads a JSON value, with the nearest known name for a mistyped member; `field` is where it stands.
    pub fn from_json(json: &Value, field: &str) -> Result<Self, InputError> {
        const MEMBERS: [&str; 6] = ["agg", "column", "filters", "numerator", "denominator", "as"];
        if let Value::Object(object) = json {
            check_members(object, &MEMBERS, field)?;
            for part in ["numerator", "denominator"] {
                if let Some(Value::Object(inner)) = object.get(part) {
                    check_members(inner, &MEMBERS, &format!("{field}.{part}"))?;
                }
            }
            if !object.contains_key("agg") {
                let message = format!("a metric needs 'agg', one of {AGGREGATES}");
                return Err(InputError::new(codes::MISSING_FIELD, format!("{field}.agg"), message));
            }
        }
        MetricInput::deserialize(json).map_err(|error| {
            InputError::new(codes::INVALID_METRIC, field, format!("the metric does not read: {error}"))
        })
    }
}

/// For messages.
const AGGREGATES: &str =
    "count, sum, avg, min, max, stddev, uniq, first, last, ratio, rate, or a percentile like p95 or p99.9";

/// The names `agg` can have, for "did you mean".
const AGGREGATE_NAMES: [&str; 14] = [
    "count", "sum", "avg", "min", "max", "stddev", "uniq", "first", "last", "ratio", "rate", "p50", "p95",
    "p99",
];

impl Function {
    /// Reads `sum`, `p95`, `p99.9`; `ratio` and `rate` are no functions.
    pub fn parse(name: &str) -> Option<Function> {
        Some(match name {
            "count" => Function::Count,
            "sum" => Function::Sum,
            "avg" => Function::Avg,
            "min" => Function::Min,
            "max" => Function::Max,
            "stddev" => Function::Stddev,
            "uniq" => Function::Uniq,
            "first" => Function::First,
            "last" => Function::Last,
            _ => Function::Quantile(parse_percentile(name.strip_prefix('p')?)?),
        })
    }

    /// The name [`Function::parse`] reads.
    pub fn name(self) -> String {
        match self {
            Function::Count => "count".to_owned(),
            Function::Sum => "sum".to_owned(),
            Function::Avg => "avg".to_owned(),
            Function::Min => "min".to_owned(),
            Function::Max => "max".to_owned(),
            Function::Stddev => "stddev".to_owned(),
            Function::Uniq => "uniq".to_owned(),
            Function::First => "first".to_owned(),
            Function::Last => "last".to_owned(),
            Function::Quantile(thousandths) if thousandths % 10 == 0 => format!("p{}", thousandths / 10),
            Function::Quantile(thousandths) => format!("p{}.{}", thousandths / 10, thousandths % 10),
        }
    }

    /// Whether it can be computed over values of that type.
    fn takes(self, kind: ColumnType) -> bool {
        use ColumnType::{Bool, Float, Int, Money, String, Strings, Time};
        match self {
            Function::Count => false,
            Function::Sum | Function::Avg | Function::Stddev | Function::Quantile(_) => {
                matches!(kind, Int | Float | Money)
            }
            Function::Min | Function::Max | Function::First | Function::Last => {
                matches!(kind, Time | String | Int | Float | Bool | Money)
            }
            Function::Uniq => matches!(kind, Time | String | Int | Float | Bool | Money | Strings),
        }
    }
}

/// `95` or `99.9` as thousandths, 1..=1000.
fn parse_percentile(digits: &str) -> Option<u16> {
    let (whole, tenths) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(tenths) || whole.len() > 3 || tenths.len() != 1 {
        return None;
    }
    let thousandths = whole.parse::<u16>().ok()? * 10 + tenths.parse::<u16>().ok()?;
    (1..=1000).contains(&thousandths).then_some(thousandths)
}

impl Measure {
    /// Whether its result is a number (`max` of a string or of a time is none).
    pub fn is_numeric(&self, dataset: &Dataset) -> bool {
        match (self.function, &self.column) {
            (Function::Min | Function::Max | Function::First | Function::Last, Some(column)) => {
                matches!(dataset.kind(column), ColumnType::Int | ColumnType::Float | ColumnType::Money)
            }
            _ => true,
        }
    }
}

impl MetricExpr {
    /// Whether its result is a number.
    pub fn is_numeric(&self, dataset: &Dataset) -> bool {
        match self {
            MetricExpr::Measure(measure) => measure.is_numeric(dataset),
            MetricExpr::Ratio { .. } | MetricExpr::Rate(_) => true,
        }
    }

    /// The measures it is computed from.
    pub fn measures(&self) -> impl Iterator<Item = &Measure> {
        let (first, second) = match self {
            MetricExpr::Measure(measure) | MetricExpr::Rate(measure) => (measure, None),
            MetricExpr::Ratio { numerator, denominator } => (numerator, Some(denominator)),
        };
        std::iter::once(first).chain(second)
    }
}

/// Gives metrics their meaning: names through `named`, columns and filters through `filters`.
pub(crate) struct MetricResolver<'a, 'd> {
    /// Reads filters and column names; counts the question's filter nodes.
    pub filters: &'a mut FilterParser<'d>,
    /// The metric definitions that names stand for.
    pub named: &'a dyn Fn(&str) -> Option<MetricExpr>,
    /// All names, for "did you mean".
    pub names: Vec<&'a str>,
}

impl MetricResolver<'_, '_> {
    /// The meaning of a metric; `field` is where it stands.
    pub fn resolve(&mut self, definition: &MetricDefinition, field: &str) -> Result<MetricExpr, InputError> {
        match definition.agg.as_str() {
            "ratio" => self.resolve_ratio(definition, field),
            "rate" => self.resolve_rate(definition, field),
            _ => self.resolve_measure(definition, field).map(MetricExpr::Measure),
        }
    }

    /// The dataset's metric of that name.
    pub fn resolve_name(&self, name: &str, field: &str) -> Result<MetricExpr, InputError> {
        (self.named)(name).ok_or_else(|| {
            let mut message = unknown("metric", name, self.names.iter().copied());
            if Function::parse(name).is_some() {
                message.push_str(&format!(
                    "; for the function of that name write {{\"agg\": \"{name}\"}} with its column"
                ));
            }
            InputError::new(codes::UNKNOWN_METRIC, field, message)
        })
    }

    fn resolve_ratio(
        &mut self,
        definition: &MetricDefinition,
        field: &str,
    ) -> Result<MetricExpr, InputError> {
        if definition.column.is_some() {
            let message = "a ratio takes no column of its own: give its numerator and denominator one";
            return Err(InputError::new(codes::INVALID_METRIC, format!("{field}.column"), message));
        }
        let own = self.own_filter(definition, field)?;
        let numerator =
            self.resolve_part(definition.numerator.as_ref(), &own, &format!("{field}.numerator"))?;
        let denominator =
            self.resolve_part(definition.denominator.as_ref(), &own, &format!("{field}.denominator"))?;
        Ok(MetricExpr::Ratio { numerator, denominator })
    }

    fn resolve_part(
        &mut self,
        part: Option<&MetricInput>,
        own: &Filter,
        field: &str,
    ) -> Result<Measure, InputError> {
        let expr = match part {
            None => {
                let message =
                    "a ratio needs a numerator and a denominator, each a metric like {\"agg\": \"count\"}";
                return Err(InputError::new(codes::MISSING_FIELD, field, message));
            }
            Some(MetricInput::Named(name)) => self.resolve_name(name, field)?,
            Some(MetricInput::Inline(inline)) => {
                if inline.name.is_some() {
                    let message = "a part of a ratio has no name of its own: leave 'as' out";
                    return Err(InputError::new(codes::INVALID_METRIC, format!("{field}.as"), message));
                }
                if inline.cost {
                    let message = "a part of a ratio has no mark of its own: put 'cost' on the whole metric";
                    return Err(InputError::new(codes::INVALID_METRIC, format!("{field}.cost"), message));
                }
                if matches!(inline.agg.as_str(), "ratio" | "rate") {
                    return Err(not_a_plain_part(field));
                }
                self.resolve(inline, field)?
            }
        };
        let MetricExpr::Measure(mut measure) = expr else { return Err(not_a_plain_part(field)) };
        if !measure.is_numeric(self.filters.dataset()) {
            let message =
                "a part of a ratio must be a number: take count, sum or uniq, or min of a number column";
            return Err(InputError::new(codes::INVALID_METRIC, field, message));
        }
        measure.filter = both(own.clone(), measure.filter);
        Ok(measure)
    }

    fn resolve_rate(&mut self, definition: &MetricDefinition, field: &str) -> Result<MetricExpr, InputError> {
        self.refuse_ratio_members(definition, field)?;
        let filter = self.own_filter(definition, field)?;
        let (function, column) = match &definition.column {
            None => (Function::Count, None),
            Some(name) => (Function::Sum, Some(self.column_for(Function::Sum, "rate", name, field)?)),
        };
        Ok(MetricExpr::Rate(Measure { function, column, filter }))
    }

    fn resolve_measure(&mut self, definition: &MetricDefinition, field: &str) -> Result<Measure, InputError> {
        let agg = definition.agg.as_str();
        let Some(function) = Function::parse(agg) else {
            let nearest = crate::names::suggest(agg, AGGREGATE_NAMES);
            let remedy = nearest.map(|name| format!("did you mean '{name}'? ")).unwrap_or_default();
            let message = format!("unknown agg '{}'; {remedy}use {AGGREGATES}", excerpt(agg));
            return Err(InputError::new(codes::INVALID_METRIC, format!("{field}.agg"), message));
        };
        self.refuse_ratio_members(definition, field)?;
        let filter = self.own_filter(definition, field)?;
        let column = match (function, &definition.column) {
            (Function::Count, None) => None,
            (Function::Count, Some(name)) => {
                let message = format!(
                    "count counts rows and takes no column; to count rows where '{0}' is present add the filter \
                     [\"exists\", \"{0}\"]",
                    excerpt(name)
                );
                return Err(InputError::new(codes::INVALID_METRIC, format!("{field}.column"), message));
            }
            (_, None) => {
                let message = format!("'{agg}' needs a column");
                return Err(InputError::new(codes::MISSING_FIELD, format!("{field}.column"), message));
            }
            (_, Some(name)) => Some(self.column_for(function, agg, name, field)?),
        };
        Ok(Measure { function, column, filter })
    }

    fn column_for(
        &self,
        function: Function,
        agg: &str,
        name: &str,
        field: &str,
    ) -> Result<ColumnRef, InputError> {
        let field = format!("{field}.column");
        let dataset = self.filters.dataset();
        let column = dataset.resolve_column(name).map_err(|error| error.within(&field))?;
        let kind = dataset.kind(&column);
        if function.takes(kind) {
            return Ok(column);
        }
        let wanted = match function {
            Function::Sum | Function::Avg | Function::Stddev | Function::Quantile(_) => {
                "an int, float or money column"
            }
            Function::Uniq => "any column but a map; of a map name a key, like 'props.plan'",
            _ => "a column with one value per row; of a map name a key, like 'props.plan'",
        };
        let message = format!(
            "'{agg}' does not work on '{}', a {} column; it takes {wanted}",
            excerpt(name),
            kind.name()
        );
        Err(InputError::new(codes::INVALID_METRIC, field, message))
    }

    fn own_filter(&mut self, definition: &MetricDefinition, field: &str) -> Result<Filter, InputError> {
        self.filters.parse_all(&definition.filters).map_err(|error| error.within(&format!("{field}.filters")))
    }

    fn refuse_ratio_members(&self, definition: &MetricDefinition, field: &str) -> Result<(), InputError> {
        if definition.numerator.is_none() && definition.denominator.is_none() {
            return Ok(());
        }
        let message = format!(
            "'{}' takes no numerator and denominator; for a quotient use \"agg\": \"ratio\"",
            definition.agg
        );
        Err(InputError::new(codes::INVALID_METRIC, field, message))
    }
}

fn not_a_plain_part(field: &str) -> InputError {
    let message = "a part of a ratio must be a plain aggregate, not a ratio or a rate";
    InputError::new(codes::INVALID_METRIC, field, message)
}

fn both(outer: Filter, inner: Filter) -> Filter {
    match (outer.is_all(), inner.is_all()) {
        (true, _) => inner,
        (_, true) => outer,
        _ => Filter::And(vec![outer, inner]).canonical(),
    }
}
