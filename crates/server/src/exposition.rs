//! Every metric of the server, in one list: what `/metrics` shows and what is exported.
//!
//! Names that monitoring guides use everywhere (`http_*`, `cache_*`, `process_*`) stand as they are, all others begin with `tidewater_`.
//! Not here: how samples are written (`metrics`).

mod machine;
mod store;
mod work;

use crate::app::App;
use crate::metrics::{Families, Kind};

/// Every metric at this moment. It reads a few small files and the store's state; call it where that may take a milli-second.
pub fn collect(app: &App) -> Families {
    let mut out = Families::default();
    let stats = app.engine.store().stats();
    app.http.collect(&mut out);
    app.connections.collect(&mut out);
    work::queries(app, &mut out);
    work::ingest(app, &stats, &mut out);
    caches(app, &mut out);
    queues(app, &mut out);
    app.limits.collect(&mut out);
    observing(app, &mut out);
    store::collect(&stats, &mut out);
    machine::collect(&mut out);
    out
}

fn caches(app: &App, out: &mut Families) {
    let (answers, partials) = (app.engine.answer_stats(), app.engine.partial_stats());
    let (answers_max, partials_max) = app.engine.cache_limits();
    let replies = app.replies.stats();
    let mut levels = |name, kind, help, [replies, answers, partials]: [u64; 3]| {
        let family = out.family(name, kind, help);
        family.add(&[("cache", "replies")], replies);
        family.add(&[("cache", "answers")], answers);
        family.add(&[("cache", "partials")], partials);
    };
    levels(
        "cache_hits_total",
        Kind::Counter,
        "Look-ups that a cache answered. Levels are asked in this order: replies (the same bytes as before), answers (the same \
         meaning), partials (pieces of a computation).",
        [replies.hits, answers.hits, partials.hits],
    );
    levels(
        "cache_misses_total",
        Kind::Counter,
        "Look-ups that a cache did not answer, which the next level then was asked for.",
        [replies.misses, answers.misses, partials.misses],
    );
    levels(
        "cache_size_bytes",
        Kind::Gauge,
        "Bytes a cache holds.",
        [replies.bytes, answers.bytes, partials.bytes],
    );
    levels(
        "tidewater_cache_limit_bytes",
        Kind::Gauge,
        "Bytes a cache may hold.",
        [app.replies.bytes_max(), answers_max, partials_max],
    );
    levels(
        "tidewater_cache_evictions_total",
        Kind::Counter,
        "Entries of a cache that others pushed out.",
        [replies.evictions, answers.evictions, partials.evictions],
    );
    out.single(
        "tidewater_single_flight_shared_total",
        Kind::Counter,
        "Questions that waited for another caller's computation of the same; cache_hits_total{cache=\"answers\"} counts them too.",
        answers.shared,
    );
}

fn queues(app: &App, out: &mut Families) {
    let queues = app.engine.queues();
    let used = out.family(
        "tidewater_queue_used",
        Kind::Gauge,
        "What a queue or pool holds, in bytes where its name ends in _bytes, else in requests.",
    );
    queues.iter().for_each(|queue| used.add(&[("queue", queue.queue)], queue.used));
    let limit = out.family(
        "tidewater_queue_limit",
        Kind::Gauge,
        "What a queue or pool takes at most; what comes when it is full is refused (questions_running: waits).",
    );
    queues.iter().for_each(|queue| limit.add(&[("queue", queue.queue)], queue.limit));
}

fn observing(app: &App, out: &mut Families) {
    let dropped = out.family(
        "tidewater_observations_dropped_total",
        Kind::Counter,
        "What the server could not keep about its own work, by kind: events (the buffer before all sums was full), records (rows of its own dataset that could not be stored), spans \
         (requests and questions that no collector took), exports (that failed).",
    );
    for (kind, count) in app.observer.dropped() {
        dropped.add(&[("kind", kind)], count);
    }
}
