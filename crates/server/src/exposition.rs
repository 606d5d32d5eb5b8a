//! What `/metrics` shows, in one list.
//!
//! Not here: how samples are written (`metrics`).

use std::sync::atomic::Ordering;

use tidewater_store::{SYNC_BUCKETS_US, StoreStats};

use crate::app::App;
use crate::metrics::Text;

/// Every metric of the server.
pub fn write(app: &App) -> String {
    let mut out = Text::default();
    store(app, &mut out);
    ingest(app, &mut out);
    query(app, &mut out);
    caches(app, &mut out);
    app.http.write(&mut out);
    out.finish()
}

fn store(app: &App, out: &mut Text) {
    let stats = app.engine.store().stats();
    memory_and_files(&stats, out);
    writes(&stats, out);
    out.single(
        "replay_seconds",
        "gauge",
        "Time the last start took to replay the log.",
        stats.replay_seconds,
    );
    out.single("replay_rows", "gauge", "Rows that it brought back.", stats.replay_rows);
    out.single(
        "disk_free_bytes",
        "gauge",
        "Bytes free on the disk of the data folder.",
        stats.disk_free_bytes,
    );
    let poisoned = u8::from(stats.poisoned.is_some());
    out.single(
        "store_poisoned",
        "gauge",
        "1 after a failed write: nothing more is stored until a restart.",
        poisoned,
    );
}

fn memory_and_files(stats: &StoreStats, out: &mut Text) {
    out.single(
        "memtable_rows",
        "gauge",
        "Rows in memory that are not yet in a segment.",
        stats.memtable_rows,
    );
    out.single("memtable_bytes", "gauge", "Bytes of rows in memory.", stats.memtable_bytes);
    out.single("segments", "gauge", "Segment files.", stats.segments);
    out.single("segment_bytes", "gauge", "Bytes of segment files.", stats.segment_bytes);
    out.single("segment_rows", "gauge", "Rows in segment files.", stats.segment_rows);
    out.single("rollup_bytes", "gauge", "Bytes of roll-ups beside segments.", stats.rollup_bytes);
    out.single(
        "rollup_segments_pending",
        "gauge",
        "Segments whose roll-ups are not yet as their dataset declares them.",
        stats.rollup_segments_pending,
    );
    out.single("history_files", "gauge", "Files with roll-ups of expired rows.", stats.history_files);
    out.single("history_bytes", "gauge", "Bytes of roll-ups of expired rows.", stats.history_bytes);
    let pending = u8::from(stats.compaction_pending);
    out.single("compaction_pending", "gauge", "1 while segments wait to be merged.", pending);
    out.single("tombstones", "gauge", "Deletes whose rows are not yet rewritten out.", stats.tombstones);
    out.single("log_bytes", "gauge", "Bytes of log files.", stats.log_bytes);
    out.single("dedup_ids", "gauge", "Row ids remembered.", stats.dedup_ids);
    out.single("dedup_bytes", "gauge", "Bytes of memory for ids and tokens.", stats.dedup_bytes);
    let window = stats.dedup_window_us.unwrap_or(0) as f64 / 1e6;
    out.single("dedup_window_seconds", "gauge", "How far back ids and tokens are remembered.", window);
}

fn writes(stats: &StoreStats, out: &mut Text) {
    out.single("queue_bytes", "gauge", "Bytes of rows waiting to become durable.", stats.queue_bytes);
    out.single("log_groups_total", "counter", "Groups of requests written with one sync.", stats.groups);
    out.single("log_bytes_written_total", "counter", "Bytes written to the log.", stats.log_bytes_written);
    out.single("flushes_total", "counter", "Flushes of memory to segments.", stats.flushes);
    out.single(
        "flush_failures_total",
        "counter",
        "Flushes that failed and were tried again.",
        stats.flush_failures,
    );
    out.single("compactions_total", "counter", "Merges of segments.", stats.compactions);
    out.single(
        "segments_expired_total",
        "counter",
        "Segments that retention removed.",
        stats.segments_expired,
    );
    out.single(
        "rollups_built_total",
        "counter",
        "Segments whose roll-ups were made in the background.",
        stats.rollups_built,
    );
    out.family("store_refused_total", "counter", "Requests the store refused, by reason.");
    out.sample("", &[("reason", "full")], stats.refused_full);
    out.sample("", &[("reason", "disk")], stats.refused_disk);
    out.family("log_sync_seconds", "histogram", "Time of one sync of the log.");
    let bounds = SYNC_BUCKETS_US.iter().map(|bound| *bound as f64 / 1e6);
    let buckets: Vec<(f64, u64)> = bounds.zip(stats.sync_buckets).collect();
    let count = stats.sync_buckets.iter().sum();
    out.buckets(&[], &buckets, count, stats.sync_total_us as f64 / 1e6);
}

fn ingest(app: &App, out: &mut Text) {
    let counters = app.engine.counters();
    let accepted = counters.rows_accepted.load(Ordering::Relaxed);
    let duplicates = counters.rows_duplicate.load(Ordering::Relaxed);
    let ignored = counters.values_ignored.load(Ordering::Relaxed);
    let bytes = counters.bytes.load(Ordering::Relaxed);
    let overloaded = counters.overloaded.load(Ordering::Relaxed);
    out.single("ingest_rows_accepted_total", "counter", "Rows stored.", accepted);
    out.single(
        "ingest_rows_duplicate_total",
        "counter",
        "Rows left out because their id was known.",
        duplicates,
    );
    out.family("ingest_rows_rejected_total", "counter", "Rows refused, by reason.");
    for (reason, rows) in counters.rows_rejected() {
        out.sample("", &[("reason", &reason)], rows);
    }
    out.single(
        "ingest_values_ignored_total",
        "counter",
        "Values of unknown columns that were dropped.",
        ignored,
    );
    out.single("ingest_bytes_total", "counter", "Bytes of bodies, decompressed.", bytes);
    out.single(
        "ingest_overloaded_total",
        "counter",
        "Requests refused because too many bytes were in memory.",
        overloaded,
    );
    out.single(
        "ingest_in_flight_bytes",
        "gauge",
        "Bytes of request bodies in memory.",
        app.engine.in_flight_bytes(),
    );
}

fn query(app: &App, out: &mut Text) {
    let (answers, memory, disk) = app.engine.cursor_usage();
    out.single("queries_running", "gauge", "Questions that run or wait.", app.engine.running_count());
    out.single(
        "query_memory_bytes",
        "gauge",
        "Bytes that running questions hold.",
        app.engine.query_memory_bytes(),
    );
    let recorded = app.engine.questions_recorded();
    out.single(
        "questions_recorded",
        "gauge",
        "Kinds of questions recorded for warming and the advisor.",
        recorded,
    );
    let warmed = app.engine.counters().warmed.load(Ordering::Relaxed);
    out.single("questions_warmed_total", "counter", "Recorded questions computed after the start.", warmed);
    out.single("cursor_answers", "gauge", "Answers kept for cursors.", answers);
    out.single("cursor_memory_bytes", "gauge", "Bytes of them in memory.", memory);
    out.single("cursor_disk_bytes", "gauge", "Bytes of them on disk.", disk);
}

fn caches(app: &App, out: &mut Text) {
    let (answers, partials) = (app.engine.answer_stats(), app.engine.partial_stats());
    let mut both = |name, kind, help, of_answers: u64, of_partials: u64| {
        out.family(name, kind, help);
        out.sample("", &[("cache", "answers")], of_answers);
        out.sample("", &[("cache", "partials")], of_partials);
    };
    both("cache_hits_total", "counter", "Look-ups that a cache answered.", answers.hits, partials.hits);
    both("cache_misses_total", "counter", "Look-ups it did not answer.", answers.misses, partials.misses);
    let evictions = answers.evictions + app.replies.evictions();
    both("cache_evictions_total", "counter", "Entries pushed out by others.", evictions, partials.evictions);
    let bytes = answers.bytes + app.replies.bytes();
    both("cache_bytes", "gauge", "Bytes a cache holds.", bytes, partials.bytes);
    out.single(
        "single_flight_shared_total",
        "counter",
        "Questions that waited for another caller's computation of the same.",
        answers.shared,
    );
}
