//! The store: memory, files, log, background work.

use tidewater_store::StoreStats;

use crate::metrics::{Families, Kind};

pub fn collect(stats: &StoreStats, out: &mut Families) {
    memory_and_files(stats, out);
    rollups(stats, out);
    log(stats, out);
    background(stats, out);
    disk(stats, out);
}

fn memory_and_files(stats: &StoreStats, out: &mut Families) {
    let mut gauge = |name, help, value| out.single(name, Kind::Gauge, help, value);
    gauge("tidewater_memtable_rows", "Rows in memory that are not yet in a segment.", stats.memtable_rows);
    gauge("tidewater_memtable_bytes", "Bytes of rows in memory.", stats.memtable_bytes);
    gauge("tidewater_segments", "Segment files.", stats.segments);
    gauge("tidewater_segment_bytes", "Bytes of segment files.", stats.segment_bytes);
    gauge("tidewater_segment_rows", "Rows in segment files.", stats.segment_rows);
    gauge("tidewater_tombstones", "Deletes whose rows are not yet rewritten out.", stats.tombstones);
    gauge("tidewater_dedup_ids", "Row ids remembered.", stats.dedup_ids);
    gauge("tidewater_dedup_bytes", "Bytes of memory for ids and tokens.", stats.dedup_bytes);
    let window = stats.dedup_window_us.unwrap_or(0) as f64 / 1e6;
    let help = "How far back ids and tokens are remembered.";
    out.single("tidewater_dedup_window_seconds", Kind::Gauge, help, window);
}

fn rollups(stats: &StoreStats, out: &mut Families) {
    let mut gauge = |name, help, value| out.single(name, Kind::Gauge, help, value);
    gauge("tidewater_rollup_bytes", "Bytes of roll-ups beside segments.", stats.rollup_bytes);
    gauge(
        "tidewater_rollup_segments_pending",
        "Segments whose roll-ups are not yet as their dataset declares them.",
        stats.rollup_segments_pending,
    );
    gauge("tidewater_history_files", "Files with roll-ups of expired rows.", stats.history_files);
    gauge("tidewater_history_bytes", "Bytes of roll-ups of expired rows.", stats.history_bytes);
    let help = "Segments whose roll-ups were made in the background.";
    out.single("tidewater_rollups_built_total", Kind::Counter, help, stats.rollups_built);
}

fn log(stats: &StoreStats, out: &mut Families) {
    out.single("tidewater_log_bytes", Kind::Gauge, "Bytes of log files.", stats.log_bytes);
    let help = "Bytes of rows waiting to become durable.";
    out.single("tidewater_queue_bytes", Kind::Gauge, help, stats.queue_bytes);
    let help = "Groups of requests written with one sync.";
    out.single("tidewater_log_groups_total", Kind::Counter, help, stats.groups);
    let help = "Bytes written to the log.";
    out.single("tidewater_log_bytes_written_total", Kind::Counter, help, stats.log_bytes_written);
    let help = "Time to write a group to the log and to sync it.";
    out.family("tidewater_log_sync_seconds", Kind::Histogram, help).histogram(&[], &stats.syncs, 1e-6);
    let help = "Requests the store refused, by reason: full (too many bytes waited), disk (too little room).";
    let refused = out.family("tidewater_store_refused_total", Kind::Counter, help);
    refused.add(&[("reason", "full")], stats.refused_full);
    refused.add(&[("reason", "disk")], stats.refused_disk);
    let help = "1 after a failed write: nothing more is stored until a restart.";
    out.single("tidewater_store_poisoned", Kind::Gauge, help, u8::from(stats.poisoned.is_some()));
    let help = "Time the last start took to replay the log.";
    out.single("tidewater_replay_seconds", Kind::Gauge, help, stats.replay_seconds);
    let help = "Rows that the last start brought back from the log.";
    out.single("tidewater_replay_rows", Kind::Gauge, help, stats.replay_rows);
}

fn background(stats: &StoreStats, out: &mut Families) {
    let mut counter = |name, help, value| out.single(name, Kind::Counter, help, value);
    counter("tidewater_flushes_total", "Flushes of memory to segments.", stats.flushes);
    counter(
        "tidewater_flush_failures_total",
        "Flushes that failed and were tried again.",
        stats.flush_failures,
    );
    counter("tidewater_compactions_total", "Merges of segments.", stats.compactions);
    counter("tidewater_segments_expired_total", "Segments that retention removed.", stats.segments_expired);
    let help = "1 while segments wait to be merged.";
    out.single("tidewater_compaction_pending", Kind::Gauge, help, u8::from(stats.compaction_pending));
    let help = "Days that become one segment once no rows come for a while.";
    out.single("tidewater_settling_pending", Kind::Gauge, help, stats.settling_pending);
}

fn disk(stats: &StoreStats, out: &mut Families) {
    let help = "Bytes the server can still write on the disk of the data folder.";
    out.single("tidewater_disk_free_bytes", Kind::Gauge, help, stats.disk_free_bytes);
    if stats.disk_total_bytes > 0 {
        let help = "Bytes of the disk of the data folder, free and used.";
        out.single("tidewater_disk_size_bytes", Kind::Gauge, help, stats.disk_total_bytes);
    }
}
