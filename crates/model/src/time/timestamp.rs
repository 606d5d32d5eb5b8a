//! An instant, how numbers become one, and how one is printed.
//!
//! Not here: reading text ([`super::parse`]).

use std::fmt;
use std::fmt::Write as _;

use super::civil::{DAY_US, SECOND_US, civil_from_days};
use super::{TimeError, Zone};

/// Micro-seconds since the Unix epoch, UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// Numbers below this are seconds (the year 5138), API.md.
const SECONDS_BELOW: u64 = 100_000_000_000;
/// Numbers below this are milli-seconds.
const MILLISECONDS_BELOW: u64 = 100_000_000_000_000;
/// Numbers below this are micro-seconds, all others nano-seconds.
const MICROSECONDS_BELOW: u64 = 100_000_000_000_000_000;

impl Timestamp {
    /// 0001-01-01T00:00:00Z.
    pub const MIN: Timestamp = Timestamp(-62_135_596_800_000_000);
    /// The last micro-second that has a date of year 9999 at most in every zone (the tz library's own bound).
    pub const MAX: Timestamp = Timestamp(253_402_207_199_999_999);

    /// An instant from a whole number; its size tells the unit.
    pub fn from_integer(value: i128) -> Result<Self, TimeError> {
        let size = value.unsigned_abs();
        let micros = if size < u128::from(SECONDS_BELOW) {
            value * 1_000_000
        } else if size < u128::from(MILLISECONDS_BELOW) {
            value * 1_000
        } else if size < u128::from(MICROSECONDS_BELOW) {
            value
        } else {
            value.div_euclid(1_000)
        };
        i64::try_from(micros).ok().and_then(Self::checked).ok_or_else(|| out_of_range(&value.to_string()))
    }

    /// An instant from a number with a fraction; its size tells the unit. Rounds to the nearest micro-second for seconds
    /// and milli-seconds (their binary fractions are inexact), else down.
    pub fn from_number(value: f64) -> Result<Self, TimeError> {
        let size = value.abs();
        let micros = if size < SECONDS_BELOW as f64 {
            (value * 1e6).round()
        } else if size < MILLISECONDS_BELOW as f64 {
            (value * 1e3).round()
        } else if size < MICROSECONDS_BELOW as f64 {
            value.floor()
        } else {
            (value / 1e3).floor()
        };
        // A float outside i64 saturates and NaN becomes 0, so both are refused before the cast.
        if !micros.is_finite() || micros.abs() > Self::MAX.0 as f64 {
            return Err(out_of_range(&value.to_string()));
        }
        Self::checked(micros as i64).ok_or_else(|| out_of_range(&value.to_string()))
    }

    /// The instant, if it is between [`Self::MIN`] and [`Self::MAX`].
    pub fn checked(micros: i64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&micros).then_some(Timestamp(micros))
    }

    /// The nearest instant between [`Self::MIN`] and [`Self::MAX`].
    pub(super) fn clamped(micros: i64) -> Self {
        Timestamp(micros.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// The same instant for the tz library.
    pub(super) fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(Self::clamped(self.0).0)
            .expect("Timestamp::MIN..=MAX lies within the tz library's range")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_rfc3339(*self, &Zone::utc()))
    }
}

fn out_of_range(value: &str) -> TimeError {
    TimeError::OutOfRange { value: crate::names::excerpt(value) }
}

/// RFC 3339 in a zone: `2026-01-31T05:30:00+05:30`, `Z` in UTC, with a fraction of three or six digits where there is one.
pub fn format_rfc3339(ts: Timestamp, zone: &Zone) -> String {
    let offset = if zone.is_utc() { None } else { Some(zone.offset_seconds(ts)) };
    format_at_offset(ts, offset)
}

/// RFC 3339 at an offset in seconds, `Z` without one. RFC 3339 has no seconds in an offset, but zones before about 1900 do:
/// those are printed at the offset cut to minutes, so that the text still means the same instant.
pub(super) fn format_at_offset(ts: Timestamp, offset_seconds: Option<i32>) -> String {
    let offset_minutes = offset_seconds.map_or(0, |seconds| seconds / 60);
    let local = ts.0 + i64::from(offset_minutes) * 60 * SECOND_US;
    let mut out = String::with_capacity(32);
    write_date(&mut out, local.div_euclid(DAY_US));
    let micros = local.rem_euclid(DAY_US);
    let (seconds, fraction) = (micros / SECOND_US, micros % SECOND_US);
    write_fields(
        &mut out,
        format_args!("T{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
    );
    match (fraction, fraction % 1_000) {
        (0, _) => {}
        (_, 0) => write_fields(&mut out, format_args!(".{:03}", fraction / 1_000)),
        _ => write_fields(&mut out, format_args!(".{fraction:06}")),
    }
    match offset_seconds {
        None => out.push('Z'),
        Some(_) => {
            let sign = if offset_minutes < 0 { '-' } else { '+' };
            let size = offset_minutes.abs();
            write_fields(&mut out, format_args!("{sign}{:02}:{:02}", size / 60, size % 60));
        }
    }
    out
}

/// The local date in a zone, `2026-01-31`.
pub fn format_date(ts: Timestamp, zone: &Zone) -> String {
    let local = ts.0 + i64::from(zone.offset_seconds(ts)) * SECOND_US;
    let mut out = String::with_capacity(10);
    write_date(&mut out, local.div_euclid(DAY_US));
    out
}

fn write_date(out: &mut String, days: i64) {
    let (year, month, day) = civil_from_days(days);
    write_fields(out, format_args!("{year:04}-{month:02}-{day:02}"));
}

fn write_fields(out: &mut String, fields: fmt::Arguments<'_>) {
    out.write_fmt(fields).expect("writing to a String cannot fail");
}
