//! Numbers about a running store: counters that only grow, and the figures a metrics page shows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the sync time histogram, in micro-seconds; the last bucket has none.
pub const SYNC_BUCKETS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];

/// Counters of one store since it was opened.
#[derive(Debug, Default)]
pub struct Counters {
    groups: AtomicU64,
    log_bytes_written: AtomicU64,
    requests: AtomicU64,
    rows_accepted: AtomicU64,
    rows_duplicate: AtomicU64,
    flushes: AtomicU64,
    flush_failures: AtomicU64,
    compactions: AtomicU64,
    segments_expired: AtomicU64,
    rollups_built: AtomicU64,
    refused_full: AtomicU64,
    refused_disk: AtomicU64,
    sync_last_us: AtomicU64,
    sync_total_us: AtomicU64,
    sync_buckets: [AtomicU64; SYNC_BUCKETS_US.len() + 1],
}

/// What [`crate::Store::stats`] tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreStats {
    /// The last visible record.
    pub visible_lsn: i64,
    /// The last record in segments.
    pub flushed_lsn: i64,
    /// Rows in memory, those being flushed included.
    pub memtable_rows: u64,
    /// Their bytes.
    pub memtable_bytes: u64,
    /// Bytes submitted and not yet answered.
    pub queue_bytes: u64,
    /// Bytes of log files on disk.
    pub log_bytes: u64,
    /// Live segments.
    pub segments: u64,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Rows in them.
    pub segment_rows: u64,
    /// Bytes of roll-ups beside segments.
    pub rollup_bytes: u64,
    /// Segments whose roll-ups are not what their dataset declares today.
    pub rollup_segments_pending: u64,
    /// Files with roll-ups of rows that have expired.
    pub history_files: u64,
    /// Their bytes.
    pub history_bytes: u64,
    /// Roll-ups of a segment made in the background.
    pub rollups_built: u64,
    /// True while segments wait to be merged.
    pub compaction_pending: bool,
    /// Deletes whose rows are not yet rewritten out.
    pub tombstones: u64,
    /// Bytes of cached segment footers.
    pub footer_bytes: u64,
    /// Row ids remembered.
    pub dedup_ids: u64,
    /// Bytes of memory for ids and tokens.
    pub dedup_bytes: u64,
    /// How far back ids and tokens are remembered, in micro-seconds; `None` while nothing is.
    pub dedup_window_us: Option<i64>,
    /// Groups written.
    pub groups: u64,
    /// Bytes written to the log.
    pub log_bytes_written: u64,
    /// Requests answered.
    pub requests: u64,
    /// Rows stored.
    pub rows_accepted: u64,
    /// Rows dropped as duplicates.
    pub rows_duplicate: u64,
    /// Flushes done.
    pub flushes: u64,
    /// Flushes that failed and were tried again.
    pub flush_failures: u64,
    /// Compactions done.
    pub compactions: u64,
    /// Segments removed by retention.
    pub segments_expired: u64,
    /// Requests refused because too many bytes were in flight.
    pub refused_full: u64,
    /// Requests refused because of the disk reserve.
    pub refused_disk: u64,
    /// The last sync of the log, in micro-seconds.
    pub sync_last_us: u64,
    /// All syncs of the log, in micro-seconds.
    pub sync_total_us: u64,
    /// Syncs by duration; bounds are [`SYNC_BUCKETS_US`].
    pub sync_buckets: [u64; SYNC_BUCKETS_US.len() + 1],
    /// Free bytes on the disk, as last looked at.
    pub disk_free_bytes: u64,
    /// Why nothing more is written, where that is so.
    pub poisoned: Option<String>,
    /// Seconds the replay at the start took.
    pub replay_seconds: f64,
    /// Rows it brought back.
    pub replay_rows: u64,
}

impl Counters {
    /// A group was written.
    pub fn synced(&self, took: Duration, bytes: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = SYNC_BUCKETS_US.partition_point(|bound| *bound < micros);
        self.sync_buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sync_last_us.store(micros, Ordering::Relaxed);
        self.sync_total_us.fetch_add(micros, Ordering::Relaxed);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.log_bytes_written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Requests were answered, with rows stored and dropped.
    pub fn answered(&self, requests: u64, rows: (u64, u64)) {
        self.requests.fetch_add(requests, Ordering::Relaxed);
        self.rows_accepted.fetch_add(rows.0, Ordering::Relaxed);
        self.rows_duplicate.fetch_add(rows.1, Ordering::Relaxed);
    }

    /// A flush ended.
    pub fn flushed(&self, well: bool) {
        let counter = if well { &self.flushes } else { &self.flush_failures };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A compaction ended.
    pub fn compacted(&self) {
        self.compactions.fetch_add(1, Ordering::Relaxed);
    }

    /// A segment's roll-ups were made in the background.
    pub fn built(&self) {
        self.rollups_built.fetch_add(1, Ordering::Relaxed);
    }

    /// Retention removed segments.
    pub fn expired(&self, segments: u64) {
        self.segments_expired.fetch_add(segments, Ordering::Relaxed);
    }

    /// A request was refused: too much in flight.
    pub fn refused_full(&self) {
        self.refused_full.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was refused: disk reserve.
    pub fn refused_disk(&self) {
        self.refused_disk.fetch_add(1, Ordering::Relaxed);
    }

    /// Copies all counters.
    pub fn read(&self, stats: &mut StoreStats) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        stats.groups = get(&self.groups);
        stats.log_bytes_written = get(&self.log_bytes_written);
        stats.requests = get(&self.requests);
        stats.rows_accepted = get(&self.rows_accepted);
        stats.rows_duplicate = get(&self.rows_duplicate);
        stats.flushes = get(&self.flushes);
        stats.flush_failures = get(&self.flush_failures);
        stats.compactions = get(&self.compactions);
        stats.segments_expired = get(&self.segments_expired);
        stats.rollups_built = get(&self.rollups_built);
        stats.refused_full = get(&self.refused_full);
        stats.refused_disk = get(&self.refused_disk);
        stats.sync_last_us = get(&self.sync_last_us);
        stats.sync_total_us = get(&self.sync_total_us);
        stats.sync_buckets = std::array::from_fn(|bucket| get(&self.sync_buckets[bucket]));
    }
}
