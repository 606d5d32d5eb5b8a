//! The windows as JSON.

use serde_json::{Value, json};
use tidewater_model::names::ProjectName;

use super::{Cell, Performance, Questions, Rows, Window};
use crate::answer::explained;
use crate::metrics::HttpMetrics;
use crate::observe::QuestionEvent;

/// Shapes in one reply, those first that took most time in all.
const SHAPES_SHOWN_MAX: usize = 100;

impl Performance {
    /// Sums over everything the caller sees.
    pub fn totals(&self, own: Option<&ProjectName>) -> Value {
        let window = self.lock();
        json!({
            "since": window.since.to_string(),
            "requests": window.requests(own).show(),
            "queries": window.questions(own),
            "ingest": window.ingest_total(own).show(),
        })
    }

    /// Questions by route, dataset and shape, and the latest and slowest of them.
    pub fn queries(&self, own: Option<&ProjectName>, http: &HttpMetrics) -> Value {
        let window = self.lock();
        json!({
            "since": window.since.to_string(),
            "statistics": window.questions(own),
            "by_route": window.by_route(own, http),
            "by_dataset": window.by_dataset(own),
            "by_shape": window.by_shape(own),
            "recent": window.lists.recent(own).into_iter().map(question).collect::<Vec<_>>(),
            "slowest": window.lists.slowest(own).into_iter().map(question).collect::<Vec<_>>(),
        })
    }

    /// Ingest requests by dataset.
    pub fn ingest(&self, own: Option<&ProjectName>) -> Value {
        let window = self.lock();
        let mut datasets = window.ingest.visible(own, |(project, _)| Some(project));
        datasets.sort_by_key(|(_, rows)| std::cmp::Reverse(rows.cell.sum_us()));
        let by_dataset = datasets.into_iter().map(|((project, dataset), rows)| {
            with(rows.show(), json!({ "project": project.as_str(), "dataset": &**dataset }))
        });
        json!({
            "since": window.since.to_string(),
            "statistics": window.ingest_total(own).show(),
            "by_dataset": by_dataset.collect::<Vec<_>>(),
            "others": window.ingest.rest(own).map(Rows::show),
        })
    }
}

impl Window {
    fn requests(&self, own: Option<&ProjectName>) -> Cell {
        let routes = self.routes.visible(own, |(project, ..)| project.as_ref());
        Cell::sum(routes.into_iter().map(|(_, cell)| cell).chain(self.routes.rest(own)))
    }

    fn questions(&self, own: Option<&ProjectName>) -> Value {
        let datasets = self.datasets.visible(own, |(project, _)| Some(project));
        let mut total = Questions::default();
        datasets.into_iter().map(|(_, of)| of).chain(self.datasets.rest(own)).for_each(|of| total.merge(of));
        let refused = self.refused.visible(own, Option::as_ref);
        let refused = refused.into_iter().map(|(_, cell)| cell).chain(self.refused.rest(own));
        refused.for_each(|cell| total.cell.merge(cell));
        total.show()
    }

    fn ingest_total(&self, own: Option<&ProjectName>) -> Rows {
        let datasets = self.ingest.visible(own, |(project, _)| Some(project));
        let all = datasets.into_iter().map(|(_, rows)| rows).chain(self.ingest.rest(own));
        all.fold(Rows::default(), |mut total, rows| {
            total.cell.merge(&rows.cell);
            total.rows.accepted += rows.rows.accepted;
            total.rows.rejected += rows.rows.rejected;
            total.rows.duplicates += rows.rows.duplicates;
            total
        })
    }

    /// All requests by route and method, those of all projects the caller sees together.
    fn by_route(&self, own: Option<&ProjectName>, http: &HttpMetrics) -> Vec<Value> {
        let mut routes = std::collections::BTreeMap::new();
        for ((_, route, method), cell) in self.routes.visible(own, |(project, ..)| project.as_ref()) {
            routes.entry((*route, *method)).or_insert_with(Cell::default).merge(cell);
        }
        let mut routes: Vec<_> = routes.into_iter().collect();
        routes.sort_by_key(|(_, cell)| std::cmp::Reverse(cell.sum_us()));
        let routes = routes.into_iter().map(|((route, method), cell)| {
            with(cell.show(), json!({ "route": http.route_name(route), "method": method }))
        });
        routes.collect()
    }

    fn by_dataset(&self, own: Option<&ProjectName>) -> Vec<Value> {
        let mut datasets = self.datasets.visible(own, |(project, _)| Some(project));
        datasets.sort_by_key(|(_, of)| std::cmp::Reverse(of.cell.sum_us()));
        let datasets = datasets.into_iter().map(|((project, dataset), of)| {
            with(of.show(), json!({ "project": project.as_str(), "dataset": &**dataset }))
        });
        datasets.chain(rest(self.datasets.rest(own))).collect()
    }

    fn by_shape(&self, own: Option<&ProjectName>) -> Vec<Value> {
        let mut shapes = self.shapes.visible(own, |about| Some(&about.project));
        shapes.sort_by_key(|(_, of)| std::cmp::Reverse(of.cell.sum_us()));
        let shapes = shapes.into_iter().take(SHAPES_SHOWN_MAX).map(|(about, of)| {
            let names = json!({
                "project": about.project.as_str(), "dataset": &*about.dataset, "shape": &*about.shape,
            });
            with(of.show(), names)
        });
        shapes.chain(rest(self.shapes.rest(own))).collect()
    }
}

/// The entry of all that found no room, where there is any.
fn rest(others: Option<&Questions>) -> Option<Value> {
    let others = others.filter(|others| others.cell.count() > 0)?;
    Some(with(others.show(), json!({ "others": true })))
}

impl Questions {
    fn show(&self) -> Value {
        let computed = self.cell.count();
        let figures = json!({
            "cache_hits": self.hits,
            "cache_partials": self.partials,
            "cache_hit_share": (computed > 0).then(|| self.hits as f64 / computed as f64),
            "rows_scanned": self.rows_scanned,
            "bytes_scanned": self.bytes_scanned,
        });
        with(figures, self.cell.show())
    }
}

impl Rows {
    fn show(&self) -> Value {
        let rows = json!({
            "rows_accepted": self.rows.accepted,
            "rows_rejected": self.rows.rejected,
            "rows_duplicate": self.rows.duplicates,
        });
        with(rows, self.cell.show())
    }
}

/// One question of the lists.
fn question(event: &QuestionEvent) -> Value {
    let mut shown = json!({
        "at": event.at.to_string(),
        "request_id": event.id.as_str(),
        "trace_id": event.id.trace().id(),
        "elapsed_ms": event.elapsed_us as f64 / 1e3,
        "slow": event.is_slow,
        "cache": event.cache.map(tidewater_engine::CacheUse::name),
    });
    if let Some(about) = &event.about {
        let names = json!({
            "project": about.project.as_str(), "dataset": &*about.dataset, "shape": &*about.shape,
        });
        shown = with(shown, names);
    }
    if let Some((status, code)) = event.problem {
        shown = with(json!({ "status": status, "code": code }), shown);
    }
    if let Some(facts) = &event.facts {
        let computed = json!({
            "source": facts.source,
            "rows_scanned": facts.rows_scanned,
            "bytes_scanned": facts.bytes_scanned,
            "total_rows": facts.total_rows,
            "wait_ms": facts.waited.as_micros() as f64 / 1e3,
            "plan": explained(&facts.explain),
        });
        shown = with(computed, shown);
    }
    shown
}

/// An object with the members of another before its own.
fn with(object: Value, first: Value) -> Value {
    match (first, object) {
        (Value::Object(mut first), Value::Object(own)) => {
            first.extend(own);
            Value::Object(first)
        }
        (_, object) => object,
    }
}
