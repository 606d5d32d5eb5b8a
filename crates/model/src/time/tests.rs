//! Checks of times, zones, buckets and ranges.
