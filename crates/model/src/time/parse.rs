//! Times from text: RFC 3339 and the near forms people's files have.
//!
//! Written by hand because ingest reads one per row: the form is read from bytes without allocation. What this reader does
//! not know goes to `jiff`, which also knows RFC 9557 (`[Asia/Kolkata]`) and the basic form `20260131T120000Z`.

use jiff::civil;

use super::civil::{DAY_US, HOUR_US, MINUTE_US, SECOND_US, days_from_civil, days_in_month};
use super::{TimeError, Timestamp, Zone};
use crate::names::excerpt;

/// Reads a time; text without an offset is local time in `zone` (in a gap the later moment, in a fold the earlier one, as
/// RFC 5545 has it), a date is the first instant of the local day. Digits below a micro-second are cut off.
pub fn parse_timestamp(text: &str, zone: &Zone) -> Result<Timestamp, TimeError> {
    parse_in(text.as_bytes(), Some(zone))
}

/// Like [`parse_timestamp`] in UTC, from bytes: the form ingest uses.
pub fn parse_timestamp_utc(text: &[u8]) -> Result<Timestamp, TimeError> {
    parse_in(text, None)
}

/// A local moment and the offset that stood behind it, if any.
pub(super) struct Parsed {
    /// Micro-seconds of the local moment since 1970-01-01T00:00:00 on the same clock.
    pub local_us: i64,
    /// Whether the text was a date alone.
    pub date_only: bool,
    pub offset_us: Option<i64>,
}

/// Why the text is no time; the text is added only when an error is really made.
enum Refusal {
    Form,
    Calendar(&'static str),
    Range,
}

fn parse_in(text: &[u8], zone: Option<&Zone>) -> Result<Timestamp, TimeError> {
    let parsed = parse_parts(text)?;
    in_zone(&parsed, zone).ok_or_else(|| error(text, &Refusal::Range))
}

/// Reads the text without saying yet which instant it means: a range bound that is a date alone means the whole day.
pub(super) fn parse_parts(text: &[u8]) -> Result<Parsed, TimeError> {
    match read(text) {
        Ok(parsed) => Ok(parsed),
        Err(Refusal::Form) => read_other(text).ok_or_else(|| error(text, &Refusal::Form)),
        Err(refusal) => Err(error(text, &refusal)),
    }
}

fn in_zone(parsed: &Parsed, zone: Option<&Zone>) -> Option<Timestamp> {
    match (parsed.offset_us, zone) {
        (Some(offset), _) => Timestamp::checked(parsed.local_us - offset),
        (None, None) => Timestamp::checked(parsed.local_us),
        (None, Some(zone)) if parsed.date_only => {
            Timestamp::checked(zone.day_start(parsed.local_us.div_euclid(DAY_US)).0)
        }
        (None, Some(zone)) => Timestamp::checked(zone.instant_of_local(parsed.local_us).0),
    }
}

fn error(text: &[u8], refusal: &Refusal) -> TimeError {
    let value = excerpt(&String::from_utf8_lossy(text));
    match refusal {
        Refusal::Form => TimeError::Malformed { value },
        Refusal::Calendar(part) => TimeError::NotOnCalendar { value, part },
        Refusal::Range => TimeError::OutOfRange { value },
    }
}

/// The longest text that is handed to the tz library: RFC 9557 with a long zone name stays well below.
const OTHER_BYTES_MAX: usize = 100;

fn read_other(bytes: &[u8]) -> Option<Parsed> {
    if bytes.len() > OTHER_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?.trim();
    // The tz library's plain instants would pass over a zone in brackets, even one that does not exist.
    let instant = match text.contains('[') {
        true => text.parse::<jiff::Zoned>().map(|zoned| zoned.timestamp()),
        false => text.parse::<jiff::Timestamp>(),
    };
    if let Ok(instant) = instant {
        return Some(Parsed {
            local_us: floor_us(instant.as_nanosecond()),
            date_only: false,
            offset_us: Some(0),
        });
    }
    // A text with a zone or an offset that did not read above must not be taken as local time.
    if text.contains(['[', '+', 'Z', 'z']) {
        return None;
    }
    let local: civil::DateTime = text.parse().ok()?;
    // The tz library's UTC makes the same count of micro-seconds out of a local moment as `days_from_civil`.
    let local_ns = jiff::tz::TimeZone::UTC.to_timestamp(local).ok()?.as_nanosecond();
    Some(Parsed { local_us: floor_us(local_ns), date_only: false, offset_us: None })
}

/// Whole micro-seconds at or before a count of nano-seconds; the tz library's range fits.
fn floor_us(nanoseconds: i128) -> i64 {
    nanoseconds.div_euclid(1_000) as i64
}

/// `YYYY-MM-DD`, then optionally `T` or a space and `HH:MM[:SS[.fraction]]`, then optionally `Z`, `UTC` or `±HH[[:]MM]`.
fn read(text: &[u8]) -> Result<Parsed, Refusal> {
    let Some((date, rest)) = text.split_first_chunk::<10>() else { return Err(Refusal::Form) };
    if date[4] != b'-' || date[7] != b'-' {
        return Err(Refusal::Form);
    }
    let year = two(date[0], date[1])? * 100 + two(date[2], date[3])?;
    let month = two(date[5], date[6])?;
    let day = two(date[8], date[9])?;
    if month.wrapping_sub(1) >= 12 {
        return Err(Refusal::Calendar("the month"));
    }
    if day == 0 || day > 28 && day > days_in_month(year, month) {
        return Err(Refusal::Calendar("the day"));
    }
    if year == 0 {
        return Err(Refusal::Range);
    }
    let midnight = days_from_civil(year, month, day) * DAY_US;
    if rest.is_empty() {
        return Ok(Parsed { local_us: midnight, date_only: true, offset_us: None });
    }
    let (time_us, rest) = read_time(rest)?;
    Ok(Parsed { local_us: midnight + time_us, date_only: false, offset_us: read_offset(rest)? })
}

fn read_time(text: &[u8]) -> Result<(i64, &[u8]), Refusal> {
    let Some((head, rest)) = text.split_first_chunk::<6>() else { return Err(Refusal::Form) };
    if !matches!(head[0], b'T' | b' ' | b't') || head[3] != b':' {
        return Err(Refusal::Form);
    }
    let (hour, minute) = (two(head[1], head[2])?, two(head[4], head[5])?);
    if hour > 23 {
        return Err(Refusal::Calendar("the hour"));
    }
    if minute > 59 {
        return Err(Refusal::Calendar("the minute"));
    }
    let minutes_us = i64::from(hour) * HOUR_US + i64::from(minute) * MINUTE_US;
    let [b':', tens, ones, rest @ ..] = rest else { return Ok((minutes_us, rest)) };
    let second = two(*tens, *ones)?;
    if second > 60 {
        return Err(Refusal::Calendar("the second"));
    }
    // Unix time has no leap seconds: 23:59:60 is read as 23:59:59, as the tz library does.
    let time_us = minutes_us + i64::from(second.min(59)) * SECOND_US;
    match rest {
        [b'.' | b',', fraction @ ..] => {
            let (fraction_us, rest) = read_fraction(fraction)?;
            Ok((time_us + fraction_us, rest))
        }
        _ => Ok((time_us, rest)),
    }
}

fn read_fraction(text: &[u8]) -> Result<(i64, &[u8]), Refusal> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return Err(Refusal::Form);
    }
    let kept = digits.min(6);
    let value = text[..kept].iter().fold(0, |value, byte| value * 10 + i64::from(byte - b'0'));
    const SCALE: [i64; 7] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
    Ok((value * SCALE[kept], &text[digits..]))
}

fn read_offset(text: &[u8]) -> Result<Option<i64>, Refusal> {
    let text = match text {
        [] => return Ok(None),
        [b'Z' | b'z'] => return Ok(Some(0)),
        [b' ', rest @ ..] => rest,
        _ => text,
    };
    let (sign, hours, minutes) = match *text {
        [b'Z' | b'z'] | [b'U', b'T', b'C'] => return Ok(Some(0)),
        [sign @ (b'+' | b'-'), h1, h2] => (sign, two(h1, h2)?, 0),
        [sign @ (b'+' | b'-'), h1, h2, m1, m2] => (sign, two(h1, h2)?, two(m1, m2)?),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => (sign, two(h1, h2)?, two(m1, m2)?),
        _ => return Err(Refusal::Form),
    };
    if hours > 23 || minutes > 59 {
        return Err(Refusal::Calendar("the offset"));
    }
    let size = i64::from(hours) * HOUR_US + i64::from(minutes) * MINUTE_US;
    Ok(Some(if sign == b'-' { -size } else { size }))
}

fn two(tens: u8, ones: u8) -> Result<u32, Refusal> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    if tens > 9 || ones > 9 {
        return Err(Refusal::Form);
    }
    Ok(u32::from(tens) * 10 + u32::from(ones))
}
