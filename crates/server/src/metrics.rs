//! Figures of HTTP requests, and the forms in which all figures leave the server.
//!
//! A library's registry would look every label set up by hash on each request; the routes, methods and statuses here are
//! few and known at start, so a table of atomics is both smaller and faster. Not here: which figures there are (`exposition`).

mod families;
pub mod process;
mod text;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use tidewater_store::{Histogram, HistogramCounts};

use crate::shards::{self, SHARDS};

pub use families::{Families, Family, Figure, Kind, Labels, Sampled};
pub use process::{ProcessFacts, start_time_seconds};
pub use text::write as to_text;

/// The label of requests that match no route.
pub const NO_ROUTE: &str = "none";
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "other"];
/// Every status this server sends; anything else counts as the last.
const STATUSES: [u16; 24] = [
    200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 406, 408, 409, 410, 413, 415, 422, 429, 431, 500, 503,
    504, 507, 0,
];

/// A route's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(u16);

impl RouteId {
    /// No route: its number is past every table.
    pub const NONE: RouteId = RouteId(u16::MAX);

    /// The route at a place; a table is filled by hand and never so long that it would not have a number.
    pub fn at(place: usize) -> Self {
        u16::try_from(place).map_or(RouteId::NONE, RouteId)
    }

    /// Its place.
    pub fn place(self) -> usize {
        usize::from(self.0)
    }
}

/// What is counted of one route.
#[derive(Debug)]
struct Figures {
    counts: [[AtomicU64; STATUSES.len()]; METHODS.len()],
    durations: Histogram,
    request_sizes: Histogram,
    response_sizes: Histogram,
}

impl Figures {
    fn new() -> Self {
        Figures {
            counts: Default::default(),
            durations: Histogram::of_durations(),
            request_sizes: Histogram::of_sizes(),
            response_sizes: Histogram::of_sizes(),
        }
    }
}

/// What the threads of one part have counted.
#[derive(Debug)]
struct Part {
    /// By route; the last one stands for all paths without a route. Filled at start and never changed, so that no lock is needed.
    routes: Box<[Figures]>,
    /// Requests that began less those that ended; below 0 where they end in another part.
    in_flight: AtomicI64,
}

/// Figures of HTTP requests by route.
#[derive(Debug)]
pub struct HttpMetrics {
    /// Path templates, and the name of all paths without a route at the end.
    names: Vec<String>,
    /// Threads count apart and are added up when somebody looks. Made by the first thread of each.
    parts: [OnceLock<Part>; SHARDS],
    abandoned: AtomicU64,
}

impl HttpMetrics {
    /// For routes with these path templates, in their order.
    pub fn new(templates: impl Iterator<Item = String>) -> Self {
        let names = templates.chain([NO_ROUTE.to_owned()]).collect();
        HttpMetrics { names, parts: Default::default(), abandoned: AtomicU64::new(0) }
    }

    /// The path template of a route.
    pub fn route_name(&self, route: RouteId) -> &str {
        &self.names[self.place(route)]
    }

    fn place(&self, route: RouteId) -> usize {
        route.place().min(self.names.len() - 1)
    }

    fn own_part(&self) -> &Part {
        self.parts[shards::own()].get_or_init(|| Part {
            routes: self.names.iter().map(|_| Figures::new()).collect(),
            in_flight: AtomicI64::new(0),
        })
    }

    fn own(&self, route: RouteId) -> &Figures {
        &self.own_part().routes[self.place(route)]
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter_map(OnceLock::get)
    }

    /// A request has come.
    pub fn began(&self) {
        self.own_part().in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A request's last byte is sent, or its client is gone.
    pub fn ended(&self) {
        self.own_part().in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// A client left before the answer.
    pub fn abandoned(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one answered request.
    pub fn answered(&self, route: RouteId, method: &Method, status: StatusCode, elapsed: Duration) {
        let figures = self.own(route);
        let method = method_place(method);
        let status = STATUSES.iter().position(|code| *code == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        figures.counts[method][status].fetch_add(1, Ordering::Relaxed);
        figures.durations.add_duration(elapsed);
    }

    /// Bytes of a request's body as they came over the wire.
    pub fn received(&self, route: RouteId, bytes: u64) {
        self.own(route).request_sizes.add(bytes);
    }

    /// Bytes of a response's body as they went over the wire.
    pub fn sent(&self, route: RouteId, bytes: u64) {
        self.own(route).response_sizes.add(bytes);
    }

    /// Adds all requests seen so far.
    pub fn collect(&self, out: &mut Families) {
        self.counts(out);
        self.histograms(out);
        let in_flight: i64 = self.parts().map(|part| part.in_flight.load(Ordering::Relaxed)).sum();
        let help = "Requests whose last byte is not yet sent.";
        out.single("http_requests_in_flight", Kind::Gauge, help, in_flight.max(0));
        let help =
            "Requests whose client went away before the answer; http_requests_total does not count them.";
        let abandoned = self.abandoned.load(Ordering::Relaxed);
        out.single("tidewater_http_requests_abandoned_total", Kind::Counter, help, abandoned);
    }

    fn counts(&self, out: &mut Families) {
        let requests = out.family(
            "http_requests_total",
            Kind::Counter,
            "Requests answered, by route, method and status. Paths without a route count under the route 'none'.",
        );
        for (place, route) in self.names.iter().enumerate() {
            for (method, method_name) in METHODS.iter().enumerate() {
                for (status, code) in STATUSES.iter().enumerate() {
                    let counts = self.parts().map(|part| &part.routes[place].counts[method][status]);
                    let count: u64 = counts.map(|count| count.load(Ordering::Relaxed)).sum();
                    if count > 0 {
                        let status = if *code == 0 { "other".to_owned() } else { code.to_string() };
                        let labels =
                            [("route", route.as_str()), ("method", method_name), ("status", &status)];
                        requests.add(&labels, count);
                    }
                }
            }
        }
    }

    fn histograms(&self, out: &mut Families) {
        type Of = fn(&Figures) -> &Histogram;
        let histograms: [(&'static str, &'static str, Of, f64); 3] = [
            (
                "http_request_duration_seconds",
                "Time from the head of a request to the head of its answer, by route.",
                |figures| &figures.durations,
                1e-6,
            ),
            (
                "http_request_size_bytes",
                "Bytes of request bodies as they came over the wire, by route.",
                |figures| &figures.request_sizes,
                1.0,
            ),
            (
                "http_response_size_bytes",
                "Bytes of response bodies as they went over the wire, streamed ones once they have ended, by route.",
                |figures| &figures.response_sizes,
                1.0,
            ),
        ];
        for (name, help, of, scale) in histograms {
            let family = out.family(name, Kind::Histogram, help);
            for (place, route) in self.names.iter().enumerate() {
                let parts = self.parts().map(|part| of(&part.routes[place]).read());
                let counts = parts.reduce(HistogramCounts::merged).unwrap_or_default();
                if counts.count() > 0 {
                    family.histogram(&[("route", route)], &counts, scale);
                }
            }
        }
    }
}

fn method_place(method: &Method) -> usize {
    METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1)
}

/// The name under which a method is counted.
pub fn method_name(method: &Method) -> &'static str {
    METHODS[method_place(method)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative_and_labels_escaped() {
        let metrics = HttpMetrics::new(["/a\"b".to_owned()].into_iter());
        let route = RouteId::at(0);
        for ms in [1, 2, 700] {
            metrics.answered(route, &Method::POST, StatusCode::OK, Duration::from_millis(ms));
            metrics.sent(route, 300);
        }
        metrics.answered(RouteId::NONE, &Method::TRACE, StatusCode::IM_A_TEAPOT, Duration::ZERO);
        let mut families = Families::default();
        metrics.collect(&mut families);
        let text = to_text(&families);
        for line in [
            r#"http_requests_total{route="/a\"b",method="POST",status="200"} 3"#,
            r#"http_requests_total{route="none",method="other",status="other"} 1"#,
            r#"http_request_duration_seconds_bucket{route="/a\"b",le="0.0025"} 2"#,
            r#"http_request_duration_seconds_bucket{route="/a\"b",le="+Inf"} 3"#,
            r#"http_request_duration_seconds_sum{route="/a\"b"} 0.703"#,
            r#"http_response_size_bytes_bucket{route="/a\"b",le="256"} 0"#,
            r#"http_response_size_bytes_count{route="/a\"b"} 3"#,
            "http_requests_in_flight 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn threads_count_apart_and_are_added_up() {
        let metrics = HttpMetrics::new(["/a".to_owned()].into_iter());
        // Begun by one thread and ended by others, as requests are that move from one to another.
        (0..4).for_each(|_| metrics.began());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    metrics.answered(RouteId::at(0), &Method::GET, StatusCode::OK, Duration::from_millis(1));
                    metrics.ended();
                });
            }
        });
        let mut families = Families::default();
        metrics.collect(&mut families);
        let text = to_text(&families);
        for line in [
            r#"http_requests_total{route="/a",method="GET",status="200"} 3"#,
            r#"http_request_duration_seconds_count{route="/a"} 3"#,
            "http_requests_in_flight 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
