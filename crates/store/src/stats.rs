//! Numbers about a running store: counters that only grow, and the figures a metrics page shows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::histogram::{Histogram, HistogramCounts};

/// Counters of one store since it was opened.
#[derive(Debug)]
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
    syncs: Histogram,
    requests_queued: Histogram,
    requests_synced: Histogram,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            groups: AtomicU64::default(),
            log_bytes_written: AtomicU64::default(),
            requests: AtomicU64::default(),
            rows_accepted: AtomicU64::default(),
            rows_duplicate: AtomicU64::default(),
            flushes: AtomicU64::default(),
            flush_failures: AtomicU64::default(),
            compactions: AtomicU64::default(),
            segments_expired: AtomicU64::default(),
            rollups_built: AtomicU64::default(),
            refused_full: AtomicU64::default(),
            refused_disk: AtomicU64::default(),
            syncs: Histogram::of_durations(),
            requests_queued: Histogram::of_durations(),
            requests_synced: Histogram::of_durations(),
        }
    }
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
    /// Days that wait until they are at rest and become one segment.
    pub settling_pending: u64,
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
    /// Writes and syncs of the log, one per group, in micro-seconds.
    pub syncs: HistogramCounts,
    /// Requests with rows by the time from being handed in until their group was written, in micro-seconds.
    pub requests_queued: HistogramCounts,
    /// The same requests by the time that writing and syncing their group took, in micro-seconds.
    pub requests_synced: HistogramCounts,
    /// Free bytes on the disk, as last looked at.
    pub disk_free_bytes: u64,
    /// Bytes of the disk, as last looked at; 0 while unknown.
    pub disk_total_bytes: u64,
    /// Why nothing more is written, where that is so.
    pub poisoned: Option<String>,
    /// Seconds the replay at the start took.
    pub replay_seconds: f64,
    /// Rows it brought back.
    pub replay_rows: u64,
}

impl Counters {
    /// A group with requests of these moments was written; writing began at `started`.
    pub fn synced(&self, submitted: &[Instant], started: Instant, took: Duration, bytes: u64) {
        self.syncs.add_duration(took);
        for submitted in submitted {
            self.requests_queued.add_duration(started.saturating_duration_since(*submitted));
            self.requests_synced.add_duration(took);
        }
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
        stats.syncs = self.syncs.read();
        stats.requests_queued = self.requests_queued.read();
        stats.requests_synced = self.requests_synced.read();
    }
}
