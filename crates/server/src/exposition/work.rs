//! Questions and rows: how many, how long, by stage, and what was refused.

use std::sync::atomic::{AtomicU64, Ordering};

use tidewater_engine::Class;
use tidewater_store::StoreStats;

use crate::app::App;
use crate::metrics::{Families, Kind};

/// Seconds of a micro-second.
const MICRO: f64 = 1e-6;

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

pub fn queries(app: &App, out: &mut Families) {
    let counters = app.engine.counters();
    let work = &app.work;
    let answered = out.family(
        "tidewater_queries_total",
        Kind::Counter,
        "Questions answered, those of a batch one by one, by what was found in caches: hit (all), partial, miss (nothing).",
    );
    for (cache, count) in work.queries_by_cache() {
        answered.add(&[("cache", cache)], count);
    }
    out.single(
        "tidewater_query_failures_total",
        Kind::Counter,
        "Questions that got a problem instead of an answer, whatever its status.",
        get(&work.query_failures),
    );
    out.single(
        "tidewater_slow_queries_total",
        Kind::Counter,
        "Questions, failed ones included, that took at least log.slow_query_ms.",
        get(&work.slow_queries),
    );
    out.single(
        "tidewater_slow_query_threshold_seconds",
        Kind::Gauge,
        "The setting log.slow_query_ms.",
        app.config.log.slow_query_ms as f64 / 1e3,
    );
    let help = "Time of a question in the server, from caches or computed.";
    let durations = work.query_durations.read();
    out.family("tidewater_query_duration_seconds", Kind::Histogram, help).histogram(&[], &durations, MICRO);
    let family = out.family(
        "tidewater_query_stage_seconds",
        Kind::Histogram,
        "Time of a computed question by stage: wait (for a place and for others to go with), plan, scan (read and group), merge, \
         finish (fill, having, order, totals), render (write the reply).",
    );
    let stages = &counters.stages;
    let of_engine = [
        ("wait", &stages.wait),
        ("plan", &stages.plan),
        ("scan", &stages.scan),
        ("merge", &stages.merge),
        ("finish", &stages.finish),
    ];
    for (stage, histogram) in of_engine {
        family.histogram(&[("stage", stage)], &histogram.0.read(), MICRO);
    }
    family.histogram(&[("stage", "render")], &work.rendering.read(), MICRO);
    admission(app, out);
    scanned(app, out);
    cursors(app, out);
}

fn admission(app: &App, out: &mut Families) {
    let stats = app.engine.admission_stats();
    let running = out.family(
        "tidewater_admission_running",
        Kind::Gauge,
        "Computations that hold a place, by class: light, heavy (much to read), large (heavy, and without other heavy ones beside it because \
         memory was short).",
    );
    stats.running.iter().for_each(|(class, count)| running.add(&[("class", class.name())], *count));
    let waiting =
        out.family("tidewater_admission_waiting", Kind::Gauge, "Questions that wait for a place, by class.");
    stats.waiting.iter().for_each(|(class, count)| waiting.add(&[("class", class.name())], *count));
    let waits = out.family(
        "tidewater_admission_wait_seconds",
        Kind::Histogram,
        "How long computations that got a place waited for it, by class.",
    );
    for class in Class::ALL {
        waits.histogram(&[("class", class.name())], &app.engine.waited(class).0.read(), MICRO);
    }
    let refused = out.family(
        "tidewater_queries_refused_total",
        Kind::Counter,
        "Questions refused with 503 before they were computed, by reason: queue_full, project_share (one project held all that it may of the \
         queue), waited_too_long, memory (others held it even without heavy questions beside it).",
    );
    stats.refused.iter().for_each(|(reason, count)| refused.add(&[("reason", reason.name())], *count));
    let (steps, _) = app.engine.steps_waiting();
    let help = "Steps of questions (a piece of a file each) that wait for a thread that computes.";
    out.single("tidewater_query_steps_waiting", Kind::Gauge, help, steps);
}

fn scanned(app: &App, out: &mut Families) {
    let counters = app.engine.counters();
    let help = "Rows, raw ones and those of roll-ups, that computations of questions read, those that gave no answer included.";
    out.single("tidewater_rows_scanned_total", Kind::Counter, help, get(&counters.rows_scanned));
    let help = "Bytes of decoded columns that computations of questions looked at.";
    out.single("tidewater_bytes_scanned_total", Kind::Counter, help, get(&counters.bytes_scanned));
    let help = "Questions that run or wait.";
    out.single("tidewater_queries_running", Kind::Gauge, help, app.engine.running_count());
    let help = "Bytes that running questions hold.";
    out.single("tidewater_query_memory_bytes", Kind::Gauge, help, app.engine.query_memory_bytes());
    let help = "Kinds of questions recorded for warming and the advisor.";
    out.single("tidewater_questions_recorded", Kind::Gauge, help, app.engine.questions_recorded());
    let help = "Recorded questions computed after the start.";
    out.single("tidewater_questions_warmed_total", Kind::Counter, help, get(&counters.warmed));
}

fn cursors(app: &App, out: &mut Families) {
    let (answers, memory, disk) = app.engine.cursor_usage();
    out.single("tidewater_cursor_answers", Kind::Gauge, "Answers kept for cursors.", answers);
    out.single(
        "tidewater_cursor_memory_bytes",
        Kind::Gauge,
        "Bytes of answers for cursors in memory.",
        memory,
    );
    let help =
        "Cursors that ended before query.cursor_ttl_ms because too many were open (query.cursor_bytes_max).";
    out.single("tidewater_cursors_ended_early_total", Kind::Counter, help, app.engine.cursors_ended_early());
    out.single("tidewater_cursor_disk_bytes", Kind::Gauge, "Bytes of answers for cursors on disk.", disk);
}

pub fn ingest(app: &App, stats: &StoreStats, out: &mut Families) {
    let counters = app.engine.counters();
    let work = &app.work;
    let help = "Time of an ingest request from its head to its reply, refused ones included.";
    let durations = work.ingest_durations.read();
    out.family("tidewater_ingest_duration_seconds", Kind::Histogram, help).histogram(&[], &durations, MICRO);
    let family = out.family(
        "tidewater_ingest_stage_seconds",
        Kind::Histogram,
        "Time of an ingest request by stage: read (the body from the network), decode (unpack and read rows), queue (wait for its \
         group's turn), sync (write and sync the group).",
    );
    family.histogram(&[("stage", "read")], &work.reading.read(), MICRO);
    family.histogram(&[("stage", "decode")], &counters.decoding.0.read(), MICRO);
    family.histogram(&[("stage", "queue")], &stats.requests_queued, MICRO);
    family.histogram(&[("stage", "sync")], &stats.requests_synced, MICRO);
    let help = "Rows stored.";
    out.single("tidewater_ingest_rows_accepted_total", Kind::Counter, help, get(&counters.rows_accepted));
    let help = "Rows left out because their id was known.";
    out.single("tidewater_ingest_rows_duplicate_total", Kind::Counter, help, get(&counters.rows_duplicate));
    let help = "Rows refused, by reason.";
    let rejected = out.family("tidewater_ingest_rows_rejected_total", Kind::Counter, help);
    for (reason, rows) in counters.rows_rejected() {
        rejected.add(&[("reason", &reason)], rows);
    }
    let help = "Values of unknown columns that were dropped.";
    out.single("tidewater_ingest_values_ignored_total", Kind::Counter, help, get(&counters.values_ignored));
    let help = "Bytes of bodies with rows, decompressed.";
    out.single("tidewater_ingest_bytes_total", Kind::Counter, help, get(&counters.bytes));
    let help = "Requests refused because too many bytes of requests were in memory.";
    out.single("tidewater_ingest_overloaded_total", Kind::Counter, help, get(&counters.overloaded));
    let help = "Bytes of request bodies in memory.";
    out.single("tidewater_ingest_in_flight_bytes", Kind::Gauge, help, app.engine.in_flight_bytes());
}
