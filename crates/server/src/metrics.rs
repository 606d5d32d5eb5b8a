//! Figures of HTTP requests, and the forms in which all figures leave the server.
//!
//! A library's registry would look every label set up by hash on each request; the routes, methods and statuses here are
//! few and known at start, so a table of atomics is both smaller and faster. Not here: which figures there are (`exposition`).

mod families;
pub mod process;
mod text;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use tidewater_store::Histogram;

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
    #[cfg(test)]
    pub const NONE: RouteId = RouteId(u16::MAX);
}

#[derive(Debug)]
struct Route {
    name: String,
    counts: [[AtomicU64; STATUSES.len()]; METHODS.len()],
    durations: Histogram,
    request_sizes: Histogram,
    response_sizes: Histogram,
}

impl Route {
    fn new(name: String) -> Self {
        Route {
            name,
            counts: Default::default(),
            durations: Histogram::of_durations(),
            request_sizes: Histogram::of_sizes(),
            response_sizes: Histogram::of_sizes(),
        }
    }
}

/// Figures of HTTP requests by route.
#[derive(Debug)]
pub struct HttpMetrics {
    /// Filled at start and never changed, so that no lock is needed; the last one stands for all paths without a route.
    routes: Vec<Route>,
    paths: matchit::Router<RouteId>,
    in_flight: AtomicI64,
    abandoned: AtomicU64,
}

impl HttpMetrics {
    /// For routes with these path templates, none of which is met by a path of another; requests to any other count together.
    pub fn new(routes: impl Iterator<Item = String>) -> Self {
        let mut paths = matchit::Router::new();
        let mut known = Vec::new();
        for name in routes {
            // Two that overlap count together: the framework's router would not have taken them.
            if paths.insert(name.as_str(), RouteId(known.len() as u16)).is_ok() {
                known.push(Route::new(name));
            }
        }
        known.push(Route::new(NO_ROUTE.to_owned()));
        HttpMetrics { routes: known, paths, in_flight: AtomicI64::new(0), abandoned: AtomicU64::new(0) }
    }

    /// The route of a request's path.
    pub fn route(&self, path: &str) -> RouteId {
        let none = RouteId(self.routes.len() as u16 - 1);
        self.paths.at(path).map_or(none, |found| *found.value)
    }

    /// The path template at a place.
    pub fn route_name(&self, route: RouteId) -> &str {
        self.of(route).map_or(NO_ROUTE, |route| &route.name)
    }

    /// A request has come.
    pub fn began(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A request's last byte is sent, or its client is gone.
    pub fn ended(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// A client left before the answer.
    pub fn abandoned(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one answered request.
    pub fn answered(&self, route: RouteId, method: &Method, status: StatusCode, elapsed: Duration) {
        let Some(route) = self.of(route) else { return };
        let method = method_place(method);
        let status = STATUSES.iter().position(|code| *code == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        route.counts[method][status].fetch_add(1, Ordering::Relaxed);
        route.durations.add_duration(elapsed);
    }

    /// Bytes of a request's body as they came over the wire.
    pub fn received(&self, route: RouteId, bytes: u64) {
        if let Some(route) = self.of(route) {
            route.request_sizes.add(bytes);
        }
    }

    /// Bytes of a response's body as they went over the wire.
    pub fn sent(&self, route: RouteId, bytes: u64) {
        if let Some(route) = self.of(route) {
            route.response_sizes.add(bytes);
        }
    }

    fn of(&self, route: RouteId) -> Option<&Route> {
        self.routes.get(usize::from(route.0))
    }

    /// Adds all requests seen so far.
    pub fn collect(&self, out: &mut Families) {
        let requests = out.family(
            "http_requests_total",
            Kind::Counter,
            "Requests answered, by route, method and status. Paths without a route count under the route 'none'.",
        );
        for route in &self.routes {
            for (method, statuses) in METHODS.iter().zip(&route.counts) {
                for (status, count) in STATUSES.iter().zip(statuses) {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        let status = if *status == 0 { "other".to_owned() } else { status.to_string() };
                        let labels =
                            [("route", route.name.as_str()), ("method", method), ("status", &status)];
                        requests.add(&labels, count);
                    }
                }
            }
        }
        self.histograms(out);
        let in_flight = self.in_flight.load(Ordering::Relaxed).max(0);
        let help = "Requests whose last byte is not yet sent.";
        out.single("http_requests_in_flight", Kind::Gauge, help, in_flight);
        let help =
            "Requests whose client went away before the answer; http_requests_total does not count them.";
        let abandoned = self.abandoned.load(Ordering::Relaxed);
        out.single("tidewater_http_requests_abandoned_total", Kind::Counter, help, abandoned);
    }

    fn histograms(&self, out: &mut Families) {
        type Of = fn(&Route) -> &Histogram;
        let histograms: [(&'static str, &'static str, Of, f64); 3] = [
            (
                "http_request_duration_seconds",
                "Time from the head of a request to the head of its answer, by route.",
                |route| &route.durations,
                1e-6,
            ),
            (
                "http_request_size_bytes",
                "Bytes of request bodies as they came over the wire, by route.",
                |route| &route.request_sizes,
                1.0,
            ),
            (
                "http_response_size_bytes",
                "Bytes of response bodies as they went over the wire, streamed ones once they have ended, by route.",
                |route| &route.response_sizes,
                1.0,
            ),
        ];
        for (name, help, of, scale) in histograms {
            let family = out.family(name, Kind::Histogram, help);
            for route in &self.routes {
                let counts = of(route).read();
                if counts.count() > 0 {
                    family.histogram(&[("route", &route.name)], &counts, scale);
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
        let route = metrics.route("/a\"b");
        for ms in [1, 2, 700] {
            metrics.answered(route, &Method::POST, StatusCode::OK, Duration::from_millis(ms));
            metrics.sent(route, 300);
        }
        let none = metrics.route("/b");
        metrics.answered(none, &Method::TRACE, StatusCode::IM_A_TEAPOT, Duration::ZERO);
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
}
