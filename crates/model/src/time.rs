//! Time: instants, zones, buckets, ranges.
//!
//! All instants are micro-seconds since the Unix epoch in UTC; a zone matters only where people cut time into days and
//! hours. Nothing here reads a clock: `now` is always an argument.

mod civil;
mod granularity;
mod grid;
mod parse;
mod range;
mod timestamp;
mod zone;

pub use granularity::Granularity;
pub use grid::{BUCKETS_MAX, BucketGrid, BucketRun, bucket_runs};
pub use parse::{parse_timestamp, parse_timestamp_utc};
pub use range::{Compare, RangeBound, RangeSpec, RangeStep, RangeWord, ResolvedRange, shift};
pub use timestamp::{Timestamp, format_date, format_rfc3339};
pub use zone::Zone;

/// What can be wrong with a time, a zone or a range. Every message names the value and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not a time in any known form.
    #[error(
        "'{value}' is not a time: use RFC 3339 like '2026-01-31T12:00:00Z', a date like '2026-01-31', or a number"
    )]
    Malformed {
        /// The text, shortened.
        value: String,
    },
    /// The form is right but no calendar has this moment (30 February, hour 25).
    #[error("'{value}' is not on the calendar: {part} is out of range")]
    NotOnCalendar {
        /// The text, shortened.
        value: String,
        /// The field that is wrong.
        part: &'static str,
    },
    /// Before year 1 or after year 9999.
    #[error("the time '{value}' is out of range: use years 0001 to 9999")]
    OutOfRange {
        /// The number or text, shortened.
        value: String,
    },
    /// No such IANA zone.
    #[error("unknown time zone '{name}'; {}", zone_remedy(.suggestion.as_deref()))]
    UnknownZone {
        /// The name, shortened.
        name: String,
        /// The nearest known name.
        suggestion: Option<String>,
    },
    /// No such bucket width.
    #[error("unknown time bucket '{name}': use minute, 5m, 15m, 30m, hour, day, week, month or year")]
    UnknownGranularity {
        /// The name, shortened.
        name: String,
    },
    /// No such range word.
    #[error(
        "unknown date range '{value}': use day, 7d, month, 6mo, year, 24h, 30m, all, or a pair of times like \
         ['2026-01-01', '2026-01-31']"
    )]
    UnknownRange {
        /// The word, shortened.
        value: String,
    },
    /// The range ends at or before its start.
    #[error("the date range from {from} to {to} is empty: 'from' must be before 'to'")]
    EmptyRange {
        /// Start, RFC 3339.
        from: String,
        /// End (exclusive), RFC 3339.
        to: String,
    },
    /// More buckets than one answer may have.
    #[error(
        "{count} time buckets of '{granularity}' are over the limit of {max}: use a shorter date range or a coarser \
         bucket"
    )]
    TooManyBuckets {
        /// Buckets asked for, to within one.
        count: u64,
        /// The limit, [`BUCKETS_MAX`].
        max: u64,
        /// The bucket asked for.
        granularity: Granularity,
    },
}

fn zone_remedy(suggestion: Option<&str>) -> String {
    match suggestion {
        Some(name) => format!("did you mean '{name}'?"),
        None => "use an IANA name like 'Europe/Berlin' or 'UTC'".to_owned(),
    }
}

#[cfg(test)]
mod tests;
