//! The question's range and the width of its buckets, which depend on each other: rolling words begin at a bucket, and a
//! bare `time` takes its width from the range.

use super::request::{DateRange, QueryError, QueryRequest, range_error};
use super::resolve::{AskedDimension, ResolveContext};
use crate::time::{Granularity, RangeBound, RangeSpec, RangeStep, RangeWord, ResolvedRange, Timestamp, Zone};

/// Where errors of the range stand.
const FIELD: &str = "date_range";

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
                let range = resolve_range(request.date_range.as_ref(), context, zone, None)?;
                return Ok(Some(Granularity::choose(asked_length_us(&range, context.now))));
            }
        }
    }
    Ok(None)
}

/// How long a range is for the choice of a width: rolling words and dates by what they say (not lengthened by flooring to
/// a bucket or by a clock change), others up to their end or to now.
fn asked_length_us(range: &ResolvedRange, now: Timestamp) -> i64 {
    const DAY_US: i64 = 86_400_000_000;
    let spanned = range.to.unwrap_or(now.max(range.from)).0 - range.from.0;
    match range.step {
        RangeStep::Length(length) if range.to.is_none() && range.word != Some(RangeWord::All) => length,
        RangeStep::Days(days) => spanned.min(days.saturating_mul(DAY_US)),
        RangeStep::Length(_) | RangeStep::Months(_) => spanned,
    }
}

/// The instants meant by a range; absent means the last 24 hours.
pub(super) fn resolve_range(
    asked: Option<&DateRange>,
    context: &ResolveContext<'_>,
    zone: &Zone,
    width: Option<Granularity>,
) -> Result<ResolvedRange, QueryError> {
    let spec = match asked {
        None => &RangeSpec::DEFAULT,
        Some(DateRange::Spec(spec)) => spec,
        Some(DateRange::Since(from)) => return resolve_since(*from, context.now, zone),
    };
    let first_row = if *spec == RangeSpec::Word(RangeWord::All) { (context.first_row)() } else { None };
    spec.resolve(context.now, zone, width, first_row).map_err(|error| range_error(error, FIELD))
}

/// `[from, null]`. Compared ranges take it to end now.
fn resolve_since(from: RangeBound, now: Timestamp, zone: &Zone) -> Result<ResolvedRange, QueryError> {
    let closed = RangeSpec::bounds(from, RangeBound::Instant(Timestamp::MAX));
    let closed = closed.resolve(now, zone, None, None).map_err(|error| range_error(error, FIELD))?;
    let nominal_to = now.max(Timestamp(closed.from.0 + 1));
    let step = RangeStep::Length(nominal_to.0 - closed.from.0);
    Ok(ResolvedRange { to: None, nominal_to, step, ..closed })
}
