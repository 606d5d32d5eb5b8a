//! `/metrics`: Prometheus text (format 0.0.4) over plain atomics and the store's own figures.
//!
//! A library's registry would look every label set up by hash on each request; the routes, methods and statuses here are
//! few and known at start, so a table of atomics is both smaller and faster.

use std::collections::HashMap;
use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{Method, StatusCode};

/// Upper bounds of the duration histograms, in seconds: from an in-memory answer to the default timeout.
const DURATION_BOUNDS_S: [f64; 14] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
/// The label of requests that match no route.
const NO_ROUTE: &str = "none";
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "other"];
/// Every status this server sends; anything else counts as the last.
const STATUSES: [u16; 21] =
    [200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 429, 500, 503, 507, 0];

/// A histogram of durations with fixed bounds.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; DURATION_BOUNDS_S.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Histogram {
    /// Adds one duration.
    pub fn record(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = DURATION_BOUNDS_S.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(duration.as_micros() as u64, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Route {
    counts: [[AtomicU64; STATUSES.len()]; METHODS.len()],
    durations: Histogram,
}

/// Counters of HTTP requests.
#[derive(Debug)]
pub struct HttpMetrics {
    // Filled at start and never changed, so that no lock is needed.
    routes: HashMap<String, Route>,
    none: Route,
}

impl HttpMetrics {
    /// Counters for these routes; requests to any other count together.
    pub fn new(routes: impl Iterator<Item = String>) -> Self {
        HttpMetrics {
            routes: routes.map(|route| (route, Route::default())).collect(),
            none: Route::default(),
        }
    }

    /// Counts one request.
    pub fn record(&self, route: &str, method: &Method, status: StatusCode, elapsed: Duration) {
        let route = self.routes.get(route).unwrap_or(&self.none);
        let method = METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1);
        let status = STATUSES.iter().position(|code| *code == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        route.counts[method][status].fetch_add(1, Ordering::Relaxed);
        route.durations.record(elapsed);
    }

    /// Writes all requests seen so far.
    pub fn write(&self, out: &mut Text) {
        let routes =
            || self.routes.iter().map(|(name, route)| (name.as_str(), route)).chain([(NO_ROUTE, &self.none)]);
        out.family("http_requests_total", "counter", "Requests by route, method and status.");
        for (name, route) in routes() {
            for (method, statuses) in METHODS.iter().zip(&route.counts) {
                for (status, count) in STATUSES.iter().zip(statuses) {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        let status = if *status == 0 { "other".to_owned() } else { status.to_string() };
                        out.sample("", &[("route", name), ("method", method), ("status", &status)], count);
                    }
                }
            }
        }
        out.family("http_request_duration_seconds", "histogram", "Time to answer, by route.");
        for (name, route) in routes() {
            if route.durations.count.load(Ordering::Relaxed) > 0 {
                out.histogram(&[("route", name)], &route.durations);
            }
        }
    }
}

/// Prometheus text under construction.
#[derive(Debug, Default)]
pub struct Text {
    out: String,
    family: &'static str,
}

impl Text {
    /// Starts a metric; all its samples follow.
    pub fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.family = name;
        self.line(format_args!("# HELP tidewater_{name} {help}\n# TYPE tidewater_{name} {kind}\n"));
    }

    /// A metric with one sample without labels.
    pub fn single(&mut self, name: &'static str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample("", &[], value);
    }

    /// One sample of the metric.
    pub fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let name = self.family;
        self.line(format_args!("tidewater_{name}{suffix}"));
        for (index, (label, text)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.line(format_args!("{open}{label}=\"{text}\""));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.line(format_args!("{close} {value}\n"));
    }

    /// The samples of one histogram.
    pub fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let counts = histogram.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = DURATION_BOUNDS_S.into_iter().zip(counts).collect();
        let count = histogram.count.load(Ordering::Relaxed);
        self.buckets(labels, &buckets, count, histogram.sum_us.load(Ordering::Relaxed) as f64 / 1e6);
    }

    /// The samples of a histogram given as counts per bucket (not yet cumulative).
    pub fn buckets(&mut self, labels: &[(&str, &str)], buckets: &[(f64, u64)], count: u64, sum: f64) {
        let mut below = 0;
        for (bound, in_bucket) in buckets {
            below += in_bucket;
            let bound = bound.to_string();
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.sample("_bucket", &labels, below);
        }
        let labels_inf: Vec<(&str, &str)> = labels.iter().copied().chain([("le", "+Inf")]).collect();
        self.sample("_bucket", &labels_inf, count.max(below));
        self.sample("_sum", labels, sum);
        self.sample("_count", labels, count.max(below));
    }

    /// The finished text.
    pub fn finish(self) -> String {
        self.out
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        self.out.write_fmt(text).expect("writing to a String cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative_and_labels_escaped() {
        let metrics = HttpMetrics::new(["/a\"b".to_owned()].into_iter());
        for ms in [1, 2, 700] {
            metrics.record("/a\"b", &Method::POST, StatusCode::OK, Duration::from_millis(ms));
        }
        metrics.record("/nowhere", &Method::PATCH, StatusCode::IM_A_TEAPOT, Duration::ZERO);
        let mut text = Text::default();
        metrics.write(&mut text);
        let text = text.finish();
        for line in [
            r#"tidewater_http_requests_total{route="/a\"b",method="POST",status="200"} 3"#,
            r#"tidewater_http_requests_total{route="none",method="other",status="other"} 1"#,
            r#"tidewater_http_request_duration_seconds_bucket{route="/a\"b",le="0.0025"} 2"#,
            r#"tidewater_http_request_duration_seconds_bucket{route="/a\"b",le="+Inf"} 3"#,
            r#"tidewater_http_request_duration_seconds_count{route="/a\"b"} 3"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
