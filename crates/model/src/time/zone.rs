//! An IANA time zone from the tz database that is compiled into the binary.
//!
//! Not here: the system's own zone or database; an answer must not depend on the machine it was computed on.

use std::fmt;
use std::hash::{Hash, Hasher};

use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, civil};

use super::civil::{DAY_US, SECOND_US, civil_from_days};
use super::{TimeError, Timestamp};
use crate::names::{excerpt, suggest};

/// A time zone with its IANA name. Cheap to clone.
#[derive(Clone)]
pub struct Zone(TimeZone);

/// The names of UTC in the tz database; times in these are printed with `Z`.
const UTC_NAMES: [&str; 8] =
    ["UTC", "Etc/UTC", "UCT", "Etc/UCT", "Zulu", "Etc/Zulu", "Universal", "Etc/Universal"];

impl Zone {
    /// The zone of an IANA name, in any case.
    pub fn get(name: &str) -> Result<Self, TimeError> {
        let found =
            jiff::tz::db().get(name).ok().filter(|zone| zone.iana_name().is_some() && !zone.is_unknown());
        found
            .map(Zone)
            .ok_or_else(|| TimeError::UnknownZone { name: excerpt(name), suggestion: nearest_name(name) })
    }

    /// UTC.
    pub fn utc() -> Self {
        Zone(TimeZone::UTC)
    }

    /// The IANA name as the database spells it.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// Whether times in this zone are printed with `Z`.
    pub fn is_utc(&self) -> bool {
        UTC_NAMES.contains(&self.name())
    }

    /// The offset from UTC at an instant, in seconds, east positive.
    pub fn offset_seconds(&self, ts: Timestamp) -> i32 {
        self.0.to_offset(ts.to_jiff()).seconds()
    }

    pub(super) fn as_jiff(&self) -> &TimeZone {
        &self.0
    }

    pub(super) fn offset_us(&self, ts: Timestamp) -> i64 {
        i64::from(self.offset_seconds(ts)) * SECOND_US
    }

    /// The first change of offset after an instant.
    pub(super) fn next_change(&self, ts: Timestamp) -> Option<Timestamp> {
        let offset = self.offset_seconds(ts);
        self.0
            .following(ts.to_jiff())
            .find(|change| change.offset().seconds() != offset)
            .map(|change| Timestamp::clamped(change.timestamp().as_microsecond()))
    }

    /// The last change of offset at or before an instant.
    pub(super) fn last_change(&self, ts: Timestamp) -> Option<Timestamp> {
        let after = Timestamp::clamped(ts.0 + 1);
        self.0.preceding(after.to_jiff()).find_map(|change| {
            let at = Timestamp::clamped(change.timestamp().as_microsecond());
            let before = Timestamp::clamped(at.0 - 1);
            (self.offset_seconds(before) != change.offset().seconds()).then_some(at)
        })
    }

    /// The local date of an instant, as days since 1970-01-01. Where clocks go back over midnight (St John's did at 00:01), the
    /// new date stays: a day ends with the first midnight after it.
    pub(super) fn local_day(&self, ts: Timestamp) -> i64 {
        let day = (ts.0 + self.offset_us(ts)).div_euclid(DAY_US);
        if self.day_start(day + 1) <= ts { day + 1 } else { day }
    }

    /// The first instant of a local date, given as days since 1970-01-01. Midnight may be skipped: the day then starts when
    /// the clocks have gone forward (and a date that was skipped as a whole starts with the next one). Midnight may
    /// come twice: the day starts with the first.
    pub(super) fn day_start(&self, day: i64) -> Timestamp {
        let Some(midnight) = civil_midnight(day) else {
            return if day < 0 { Timestamp::MIN } else { Timestamp::MAX };
        };
        let ambiguous = self.0.to_ambiguous_timestamp(midnight);
        let is_gap = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
        let Ok(instant) = ambiguous.compatible() else {
            return Timestamp::clamped(day.saturating_mul(DAY_US));
        };
        let found = Timestamp::clamped(instant.as_microsecond());
        // In a gap `compatible` moves on by the gap's length; the change of offset itself is the first instant.
        if is_gap { self.last_change(found).unwrap_or(found) } else { found }
    }

    /// The instant of a local moment (micro-seconds since 1970-01-01T00:00:00 local): the later one in a gap, the earlier
    /// one in a fold.
    pub(super) fn instant_of_local(&self, local_us: i64) -> Timestamp {
        let Some(midnight) = civil_midnight(local_us.div_euclid(DAY_US)) else {
            return Timestamp::clamped(local_us);
        };
        let local = midnight.checked_add(Span::new().microseconds(local_us.rem_euclid(DAY_US)));
        match local.map(|local| self.0.to_ambiguous_timestamp(local).compatible()) {
            Ok(Ok(instant)) => Timestamp::clamped(instant.as_microsecond()),
            _ => Timestamp::clamped(local_us),
        }
    }
}

fn civil_midnight(day: i64) -> Option<civil::DateTime> {
    // Hinnant's formula is exact only in a sane range of days; ±4 million days are more than the calendar holds.
    if !(-4_000_000..=4_000_000).contains(&day) {
        return None;
    }
    let (year, month, day) = civil_from_days(day);
    let (year, month, day) = (i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    civil::Date::new(year, month, day).ok().map(|date| date.at(0, 0, 0, 0))
}

/// The nearest zone name: a misspelt one, or the zone of a city given alone (`kolkata`).
fn nearest_name(name: &str) -> Option<String> {
    let wanted = name.trim().replace(' ', "_");
    let known: Vec<String> = jiff::tz::db().available().map(|zone| zone.as_str().to_owned()).collect();
    let city = |zone: &str| zone.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(&wanted));
    let by_city = known.iter().find(|zone| city(zone)).map(String::as_str);
    by_city.or_else(|| suggest(&wanted, known.iter().map(String::as_str))).map(str::to_owned)
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Zone {}

impl Hash for Zone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
