//! Named limits on what a user may send. Each has a unit in its name and a reason.
//!
//! Not here: limits a deployment tunes (memory, sockets, disk); those are configuration fields of `server`.

/// Columns in a dataset. Column ids are 16 bit; a thousand columns already make every batch carry a thousand builders.
pub const COLUMNS_MAX: usize = 1_000;
/// Metrics in a dataset.
pub const METRICS_MAX: usize = 1_000;
/// Roll-ups in a dataset.
pub const ROLLUPS_MAX: usize = 64;
/// Bytes of one string value (also of one element and one map key or value): keeps one row from filling a page cache.
pub const STRING_BYTES_MAX: usize = 1 << 20;
/// Elements of one `strings` value.
pub const STRINGS_ELEMENTS_MAX: usize = 1_024;
/// Keys of one `map` value.
pub const MAP_KEYS_MAX: usize = 1_024;
/// Members of one row object, known or not: an object of 100,000 members is refused, not read.
pub const ROW_MEMBERS_MAX: usize = 4_096;
/// Rows of one ingest request.
pub const BATCH_ROWS_MAX: usize = 1_000_000;
/// Filter nodes in one question, metric filters included.
pub const FILTER_NODES_MAX: usize = 1_000;
/// Values in one `is` filter.
pub const FILTER_VALUES_MAX: usize = 10_000;
/// Values in all filters of one question: they are sorted, compared and printed while nothing is scanned yet.
pub const QUERY_VALUES_MAX: usize = 100_000;
/// Depth of nested filters.
pub const FILTER_DEPTH_MAX: usize = 32;
/// Compiled size of one regular expression, in bytes.
pub const REGEX_BYTES_MAX: usize = 1 << 20;
/// Regular expressions in one question: each may take [`REGEX_BYTES_MAX`] and as much again while matching.
pub const FILTER_REGEXES_MAX: usize = 64;
/// Metrics in one question.
pub const QUERY_METRICS_MAX: usize = 100;
/// Dimensions in one question.
pub const QUERY_DIMENSIONS_MAX: usize = 8;
/// Rows of one page.
pub const PAGE_ROWS_MAX: u32 = 10_000;
/// Rows of one page where the question names none.
pub const PAGE_ROWS_DEFAULT: u32 = 1_000;
/// Points per series that `max_points` may ask for; fewer than 3 leave nothing between a series' ends.
pub const MAX_POINTS_RANGE: std::ops::RangeInclusive<u32> = 3..=10_000;
/// Retention in days: ten thousand years, so that micro-seconds stay far from the end of `i64`.
pub const RETENTION_DAYS_MAX: i64 = 3_652_500;
/// Questions in one batch.
pub const BATCH_QUERIES_MAX: usize = 50;
/// How far ahead of the server's clock a row's time may lie, in micro-seconds (1 h).
pub const FUTURE_US_MAX: i64 = 3_600_000_000;
/// Bytes of an idempotency token.
pub const IDEMPOTENCY_TOKEN_BYTES_MAX: usize = 256;
