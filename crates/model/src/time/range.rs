//! Date ranges: the forms a request may use, what they resolve to, and the range one is compared with.
//!
//! Not here: the JSON they come in, and buckets ([`super::grid`]).

use std::fmt;

use jiff::Span;

use super::civil::{DAY_US, HOUR_US, MINUTE_US};
use super::granularity::first_of_month;
use super::parse::parse_parts;
use super::{Granularity, TimeError, Timestamp, Zone, format_rfc3339};
use crate::names::excerpt;

/// A range as a request states it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RangeSpec {
    /// A word such as `7d`.
    Word(RangeWord),
    /// A pair of bounds; the second is exclusive unless it is a date.
    Bounds(RangeBound, RangeBound),
}

/// A range relative to now. None has an upper bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RangeWord {
    /// From the start of today.
    Day,
    /// So many local days, today included.
    Days(u32),
    /// From the start of this month.
    Month,
    /// From the start of this year.
    Year,
    /// So many calendar months, this one included.
    Months(u32),
    /// So many hours back from now.
    Hours(u32),
    /// So many minutes back from now.
    Minutes(u32),
    /// From the first row.
    All,
}

/// One end of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RangeBound {
    /// A local date as days since 1970-01-01: as `from` its first instant, as `to` the whole day.
    Date(i64),
    /// An instant.
    Instant(Timestamp),
    /// A local moment without an offset: micro-seconds since 1970-01-01T00:00:00 on the same clock.
    Local(i64),
}

/// A range in instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResolvedRange {
    /// The first instant.
    pub from: Timestamp,
    /// The first instant after it; `None` where the range has no upper bound.
    pub to: Option<Timestamp>,
    /// Where the range naturally ends: `to`, or the end of today, of this month or year, or now. Always after `from`.
    pub nominal_to: Timestamp,
    /// The word it came from, if any.
    pub word: Option<RangeWord>,
    /// How far away the period before it begins.
    pub step: RangeStep,
}

/// The distance from a range to the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RangeStep {
    /// Local days.
    Days(i64),
    /// Calendar months.
    Months(i64),
    /// Micro-seconds.
    Length(i64),
}

/// What a range is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Compare {
    /// The period of the same length just before.
    PreviousPeriod,
    /// The same period one calendar year earlier.
    YearOverYear,
    /// Another range.
    Range(RangeSpec),
}

/// The largest count in a word such as `90d`: ten thousand years of days.
const WORD_COUNT_MAX: u32 = 3_652_500;

impl RangeSpec {
    /// What a request without a range means: the last 24 hours.
    pub const DEFAULT: RangeSpec = RangeSpec::Word(RangeWord::Hours(24));

    /// Reads a word: `day`, `month`, `year`, `all`, or a count with `d`, `h`, `m` or `mo`.
    pub fn parse_word(text: &str) -> Result<Self, TimeError> {
        let unknown = || TimeError::UnknownRange { value: excerpt(text) };
        let word = match text {
            "day" => RangeWord::Day,
            "month" => RangeWord::Month,
            "year" => RangeWord::Year,
            "all" => RangeWord::All,
            _ => {
                let digits = text.bytes().take_while(u8::is_ascii_digit).count();
                let count: u32 = text[..digits].parse().map_err(|_| unknown())?;
                if count == 0 || count > WORD_COUNT_MAX {
                    return Err(unknown());
                }
                match &text[digits..] {
                    "d" => RangeWord::Days(count),
                    "h" => RangeWord::Hours(count),
                    "m" => RangeWord::Minutes(count),
                    "mo" => RangeWord::Months(count),
                    _ => return Err(unknown()),
                }
            }
        };
        Ok(RangeSpec::Word(word))
    }

    /// A range between two bounds.
    pub fn bounds(from: RangeBound, to: RangeBound) -> Self {
        RangeSpec::Bounds(from, to)
    }

    /// The instants meant. `bucket` is the time dimension's width if there is one, `first_row` the time of the project's first
    /// row (needed for `all` only; without it the range starts now).
    pub fn resolve(
        &self,
        now: Timestamp,
        zone: &Zone,
        bucket: Option<Granularity>,
        first_row: Option<Timestamp>,
    ) -> Result<ResolvedRange, TimeError> {
        match self {
            RangeSpec::Word(word) => Ok(resolve_word(*word, now, zone, bucket, first_row)),
            RangeSpec::Bounds(from, to) => resolve_bounds(*from, *to, zone),
        }
    }
}

impl RangeBound {
    /// Reads a date, an instant, or a local moment.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let parsed = parse_parts(text.as_bytes())?;
        match parsed.offset_us {
            Some(offset) => Timestamp::checked(parsed.local_us - offset)
                .map(RangeBound::Instant)
                .ok_or_else(|| TimeError::OutOfRange { value: excerpt(text) }),
            None if parsed.date_only => Ok(RangeBound::Date(parsed.local_us.div_euclid(DAY_US))),
            None => Ok(RangeBound::Local(parsed.local_us)),
        }
    }

    fn lower(self, zone: &Zone) -> Timestamp {
        match self {
            RangeBound::Date(day) => zone.day_start(day),
            RangeBound::Instant(ts) => ts,
            RangeBound::Local(local_us) => zone.instant_of_local(local_us),
        }
    }

    fn upper(self, zone: &Zone) -> Timestamp {
        match self {
            RangeBound::Date(day) => zone.day_start(day + 1),
            other => other.lower(zone),
        }
    }
}

fn resolve_bounds(from: RangeBound, to: RangeBound, zone: &Zone) -> Result<ResolvedRange, TimeError> {
    let (lower, upper) = (from.lower(zone), to.upper(zone));
    if lower >= upper {
        let (from, to) = (format_rfc3339(lower, zone), format_rfc3339(upper, zone));
        return Err(TimeError::EmptyRange { from, to });
    }
    let step = match (from, to) {
        (RangeBound::Date(first), RangeBound::Date(last)) => RangeStep::Days(last - first + 1),
        _ => RangeStep::Length(upper.0 - lower.0),
    };
    Ok(ResolvedRange { from: lower, to: Some(upper), nominal_to: upper, word: None, step })
}

fn resolve_word(
    word: RangeWord,
    now: Timestamp,
    zone: &Zone,
    bucket: Option<Granularity>,
    first_row: Option<Timestamp>,
) -> ResolvedRange {
    let today = zone.local_day(now);
    let this_month = Granularity::Month.period_start(today);
    let rolling = |length: i64| {
        let from = Timestamp::clamped(now.0.saturating_sub(length));
        (bucket.unwrap_or(Granularity::Minute).floor(from, zone), now, RangeStep::Length(length))
    };
    let days = |count: u32| {
        let first = today - i64::from(count) + 1;
        (zone.day_start(first), zone.day_start(today + 1), RangeStep::Days(i64::from(count)))
    };
    let months = |first: i64, count: i64| {
        (zone.day_start(first), zone.day_start(months_later(first, count)), RangeStep::Months(count))
    };
    let (from, nominal_to, step) = match word {
        RangeWord::Day => days(1),
        RangeWord::Days(count) => days(count),
        RangeWord::Month => months(this_month, 1),
        RangeWord::Months(count) => months(months_later(this_month, 1 - i64::from(count)), i64::from(count)),
        RangeWord::Year => months(Granularity::Year.period_start(today), 12),
        RangeWord::Hours(count) => rolling(i64::from(count) * HOUR_US),
        RangeWord::Minutes(count) => rolling(i64::from(count) * MINUTE_US),
        RangeWord::All => {
            let from = first_row.unwrap_or(now);
            let end = now.max(Timestamp(from.0 + 1));
            (from, end, RangeStep::Length(end.0 - from.0))
        }
    };
    // A range that begins at `now` itself still holds one instant.
    let nominal_to = nominal_to.max(Timestamp(from.0 + 1));
    ResolvedRange { from, to: None, nominal_to, word: Some(word), step }
}

/// The first of the month so many months after the one that starts at `first` (days since 1970-01-01).
fn months_later(first: i64, count: i64) -> i64 {
    let (year, month, _) = super::civil::civil_from_days(first);
    let months = year * 12 + i64::from(month) - 1 + count;
    first_of_month(months.div_euclid(12), months.rem_euclid(12) as u32 + 1)
}

/// The range that `range` is compared with. Calendar words and dates move by calendar units, others by their length; the
/// result always has an upper bound, because without one it would take in the range it is compared with.
pub fn shift(
    range: &ResolvedRange,
    compare: &Compare,
    now: Timestamp,
    zone: &Zone,
    bucket: Option<Granularity>,
) -> Result<ResolvedRange, TimeError> {
    let step = match compare {
        Compare::PreviousPeriod => range.step,
        Compare::YearOverYear => RangeStep::Months(12),
        Compare::Range(spec) => return spec.resolve(now, zone, bucket, None),
    };
    let (from, to) = (earlier(range.from, step, zone, 0), earlier(range.nominal_to, step, zone, 1));
    let to = to.max(Timestamp(from.0 + 1));
    Ok(ResolvedRange { from, to: Some(to), nominal_to: to, word: None, step: range.step })
}

/// An instant moved back. The start of a day stays one, also where the clocks skip midnight on either date. Where the date
/// does not exist there (29 February), it is `days_if_clamped` days after the last of the month: 0 for a first day, 1 for
/// an end that is not included, so that no day is lost.
fn earlier(ts: Timestamp, step: RangeStep, zone: &Zone, days_if_clamped: i64) -> Timestamp {
    let span = match step {
        RangeStep::Length(length) => return Timestamp::clamped(ts.0.saturating_sub(length)),
        RangeStep::Days(days) => Span::new().try_days(days),
        RangeStep::Months(months) => Span::new().try_months(months),
    };
    let zoned = ts.to_jiff().to_zoned(zone.as_jiff().clone());
    let Ok(moved) = span.and_then(|span| zoned.checked_sub(span)) else { return Timestamp::MIN };
    let there = Timestamp::clamped(moved.timestamp().as_microsecond());
    if zone.day_start(zone.local_day(ts)) != ts {
        return there;
    }
    let is_clamped = matches!(step, RangeStep::Months(_)) && moved.day() != zoned.day();
    zone.day_start(zone.local_day(there) + if is_clamped { days_if_clamped } else { 0 })
}

impl fmt::Display for RangeWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RangeWord::Day => f.write_str("day"),
            RangeWord::Days(count) => write!(f, "{count}d"),
            RangeWord::Month => f.write_str("month"),
            RangeWord::Year => f.write_str("year"),
            RangeWord::Months(count) => write!(f, "{count}mo"),
            RangeWord::Hours(count) => write!(f, "{count}h"),
            RangeWord::Minutes(count) => write!(f, "{count}m"),
            RangeWord::All => f.write_str("all"),
        }
    }
}
