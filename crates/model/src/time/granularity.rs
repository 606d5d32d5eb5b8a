//! Bucket widths and where a bucket of each starts.
//!
//! Not here: all buckets of a range ([`super::grid`]).

use std::fmt;
use std::str::FromStr;

use super::civil::{DAY_US, HOUR_US, MINUTE_US, civil_from_days, days_from_civil};
use super::{TimeError, Timestamp, Zone};

/// The width of a time bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Granularity {
    /// One minute.
    Minute,
    /// Five minutes.
    Minutes5,
    /// Fifteen minutes.
    Minutes15,
    /// Thirty minutes.
    Minutes30,
    /// One hour.
    Hour,
    /// A local day.
    Day,
    /// A local week from Monday.
    Week,
    /// A local calendar month.
    Month,
    /// A local calendar year.
    Year,
}

/// The longest range, in micro-seconds, for which a bare `time` dimension means a width (API.md); past the last, months.
const CHOICES: [(i64, Granularity); 4] = [
    (HOUR_US, Granularity::Minute),
    (6 * HOUR_US, Granularity::Minutes5),
    (48 * HOUR_US, Granularity::Hour),
    (92 * DAY_US, Granularity::Day),
];

impl Granularity {
    /// All widths, finest first.
    pub const ALL: [Granularity; 9] = [
        Granularity::Minute,
        Granularity::Minutes5,
        Granularity::Minutes15,
        Granularity::Minutes30,
        Granularity::Hour,
        Granularity::Day,
        Granularity::Week,
        Granularity::Month,
        Granularity::Year,
    ];

    /// The API's name.
    pub fn name(self) -> &'static str {
        match self {
            Granularity::Minute => "minute",
            Granularity::Minutes5 => "5m",
            Granularity::Minutes15 => "15m",
            Granularity::Minutes30 => "30m",
            Granularity::Hour => "hour",
            Granularity::Day => "day",
            Granularity::Week => "week",
            Granularity::Month => "month",
            Granularity::Year => "year",
        }
    }

    /// The width that a bare `time` dimension means for a range of this length in micro-seconds (API.md).
    pub fn choose(range_len_us: i64) -> Self {
        let fits = |(longest, _): &&(i64, Granularity)| range_len_us <= *longest;
        CHOICES.iter().find(fits).map_or(Granularity::Month, |(_, granularity)| *granularity)
    }

    /// The width in micro-seconds below a day; `None` from a day up, where the calendar decides.
    pub fn width_us(self) -> Option<i64> {
        match self {
            Granularity::Minute => Some(MINUTE_US),
            Granularity::Minutes5 => Some(5 * MINUTE_US),
            Granularity::Minutes15 => Some(15 * MINUTE_US),
            Granularity::Minutes30 => Some(30 * MINUTE_US),
            Granularity::Hour => Some(HOUR_US),
            Granularity::Day | Granularity::Week | Granularity::Month | Granularity::Year => None,
        }
    }

    /// The usual length in micro-seconds, to estimate how many buckets a range has.
    pub(super) fn usual_us(self) -> i64 {
        self.width_us().unwrap_or(match self {
            Granularity::Week => 7 * DAY_US,
            Granularity::Month => 30 * DAY_US,
            Granularity::Year => 365 * DAY_US,
            _ => DAY_US,
        })
    }

    /// The first instant of the bucket that holds `ts`.
    pub fn floor(self, ts: Timestamp, zone: &Zone) -> Timestamp {
        let Some(width) = self.width_us() else {
            return zone.day_start(self.period_start(zone.local_day(ts)));
        };
        let start_of = |ts: Timestamp| {
            let offset = zone.offset_us(ts);
            Timestamp((ts.0 + offset).div_euclid(width) * width - offset)
        };
        let start = start_of(ts);
        match zone.last_change(ts) {
            // The clocks changed inside the bucket, which begins there unless the instants before share its start.
            Some(change) if change > start && start_of(Timestamp(change.0 - 1)) != start => change,
            _ => start,
        }
    }

    /// The first date of the period that holds a date (days since 1970-01-01). Meant for a day and longer.
    pub(super) fn period_start(self, day: i64) -> i64 {
        let (year, month, _) = civil_from_days(day);
        match self {
            // 1970-01-01 was a Thursday, the fourth day of its week.
            Granularity::Week => day - (day + 3).rem_euclid(7),
            Granularity::Month => first_of_month(year, month),
            Granularity::Year => first_of_month(year, 1),
            _ => day,
        }
    }

    /// The first date of the period after the one that starts at `day`.
    pub(super) fn next_period(self, day: i64) -> i64 {
        // Any day safely inside the next period will do; its start is then looked up.
        let inside = match self {
            Granularity::Week => day + 7,
            Granularity::Month => day + 31,
            Granularity::Year => day + 366,
            _ => day + 1,
        };
        self.period_start(inside)
    }
}

pub(super) fn first_of_month(year: i64, month: u32) -> i64 {
    // Years before 0 occur only where a range begins at the edge of the calendar.
    u32::try_from(year).map_or(super::Timestamp::MIN.0 / DAY_US, |year| days_from_civil(year, month, 1))
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Granularity {
    type Err = TimeError;

    fn from_str(name: &str) -> Result<Self, TimeError> {
        let found = Granularity::ALL.into_iter().find(|granularity| granularity.name() == name);
        found.ok_or_else(|| TimeError::UnknownGranularity { name: crate::names::excerpt(name) })
    }
}
