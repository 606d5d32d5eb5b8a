//! The question's range and the width of its buckets, which depend on each other: rolling words begin at a bucket, and
//! a bare `time` takes its width from the range.

use serde_json::Value;

use super::request::{QueryError, QueryRequest};
use super::resolve::{AskedDimension, ResolveContext};
use crate::input_error::{InputError, Shown, codes};
use crate::time::{
    Granularity, RangeBound, RangeSpec, RangeStep, RangeWord, ResolvedRange, TimeError, Timestamp, Zone,
};

/// Where errors of the range stand.
const FIELD: &str = "date_range";

/// A range of time as asked.
#[derive(Clone, Debug, PartialEq)]
pub enum DateRange {
    /// A word or two bounds.
    Spec(RangeSpec),
    /// From a bound on, without an end.
    Since(RangeBound),
}

impl DateRange {
    /// Reads a word, `[from, to]` or `[from, null]`; `field` is where it stands.
    pub fn from_json(json: &Value, field: &str) -> Result<Self, QueryError> {
        match json {
            Value::String(word) => {
                RangeSpec::parse_word(word).map(DateRange::Spec).map_err(|error| range_error(error, field))
            }
            Value::Array(pair) => match pair.as_slice() {
                [from, Value::Null] => read_bound(from, &format!("{field}[0]")).map(DateRange::Since),
                [from, to] => {
                    let from = read_bound(from, &format!("{field}[0]"))?;
                    let to = read_bound(to, &format!("{field}[1]"))?;
                    Ok(DateRange::Spec(RangeSpec::bounds(from, to)))
                }
                _ => Err(not_a_range(json, field)),
            },
            _ => Err(not_a_range(json, field)),
        }
    }

    /// The instants meant. `width` is the width of the time dimension, if there is one; `first_row` the time of the
    /// project's first row, called for `all` only.
    pub fn resolve(
        &self,
        now: Timestamp,
        zone: &Zone,
        width: Option<Granularity>,
        first_row: &dyn Fn() -> Option<Timestamp>,
    ) -> Result<ResolvedRange, QueryError> {
        let spec = match self {
            DateRange::Spec(spec) => spec,
            DateRange::Since(from) => return resolve_since(*from, now, zone),
        };
        let first_row = if *spec == RangeSpec::Word(RangeWord::All) { first_row() } else { None };
        spec.resolve(now, zone, width, first_row).map_err(|error| range_error(error, FIELD))
    }
}

impl Default for DateRange {
    /// What a request without a range means.
    fn default() -> Self {
        DateRange::Spec(RangeSpec::DEFAULT)
    }
}

/// The question's range; absent means the last 24 hours.
pub(super) fn asked_range(
    request: &QueryRequest,
    context: &ResolveContext<'_>,
    zone: &Zone,
    width: Option<Granularity>,
) -> Result<ResolvedRange, QueryError> {
    let asked = request.date_range.clone().unwrap_or_default();
    asked.resolve(context.now, zone, width, context.first_row)
}

/// The width of the time dimension, if there is one.
pub(super) fn dimension_width(
    dimensions: &[AskedDimension],
    request: &QueryRequest,
    context: &ResolveContext<'_>,
    zone: &Zone,
) -> Result<Option<Granularity>, QueryError> {
    for dimension in dimensions {
        match dimension {
            AskedDimension::Column(_) => {}
            AskedDimension::Time(granularity) => return Ok(Some(*granularity)),
            AskedDimension::Auto => {
                let range = asked_range(request, context, zone, None)?;
                return Ok(Some(Granularity::choose(asked_length_us(&range, context.now))));
            }
        }
    }
    Ok(None)
}

/// How long a range is for the choice of a width: rolling words and dates by what they say (not lengthened by flooring
/// to a bucket or by a clock change), others up to their end or to now.
fn asked_length_us(range: &ResolvedRange, now: Timestamp) -> i64 {
    const DAY_US: i64 = 86_400_000_000;
    let spanned = range.to.unwrap_or(now.max(range.from)).0 - range.from.0;
    match (range.step, range.word) {
        (RangeStep::Length(length), Some(RangeWord::Hours(_) | RangeWord::Minutes(_))) => length,
        (RangeStep::Days(days), _) => spanned.min(days.saturating_mul(DAY_US)),
        (RangeStep::Length(_) | RangeStep::Months(_), _) => spanned,
    }
}

/// `[from, null]`. Compared ranges take it to end now.
fn resolve_since(from: RangeBound, now: Timestamp, zone: &Zone) -> Result<ResolvedRange, QueryError> {
    let closed = RangeSpec::bounds(from, RangeBound::Instant(Timestamp::MAX));
    let closed = closed.resolve(now, zone, None, None).map_err(|error| range_error(error, FIELD))?;
    let nominal_to = now.max(Timestamp(closed.from.0 + 1));
    let step = RangeStep::Length(nominal_to.0 - closed.from.0);
    Ok(ResolvedRange { to: None, nominal_to, step, ..closed })
}

fn read_bound(json: &Value, field: &str) -> Result<RangeBound, QueryError> {
    let bound = match json {
        Value::String(text) => RangeBound::parse(text),
        Value::Number(number) => match number.as_i64().map(i128::from).or(number.as_u64().map(i128::from)) {
            Some(integer) => Timestamp::from_integer(integer).map(RangeBound::Instant),
            None => Timestamp::from_number(number.as_f64().unwrap_or(f64::NAN)).map(RangeBound::Instant),
        },
        other => {
            let message = format!("{} is not a time: use RFC 3339 text, a date or a number", Shown(other));
            return Err(InputError::new(codes::INVALID_TIME, field, message));
        }
    };
    bound.map_err(|error| range_error(error, field))
}

fn not_a_range(json: &Value, field: &str) -> QueryError {
    let message =
        format!("{} is not a date range: use a word like '7d', or a pair [from, to] of times", Shown(json));
    InputError::new(codes::INVALID_DATE_RANGE, field, message)
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
