//! How fast the server is, since its start or since somebody reset it: requests by route, questions by dataset and shape, rows by
//! dataset, the latest and the slowest questions. What `/api/v1/performance` shows.
//!
//! Every sum is kept by project, so that a caller of one project sees its own; every map and list has a limit, and what is past it
//! counts together. Not here: counters that only grow (`metrics`, `work`), the history on disk (`records`).

mod cell;
mod lists;
mod show;

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use hashbrown::HashMap;
use tidewater_engine::CacheUse;
use tidewater_model::names::ProjectName;
use tidewater_model::time::Timestamp;

use crate::metrics::RouteId;
use crate::observe::{About, Event, QuestionEvent, RequestEvent, RowCounts, RowsEvent};

pub use cell::{Cell, End};
use lists::Lists;

/// Pairs of project and route, with method: all routes for a few dozen projects.
const ROUTES_MAX: usize = 512;
/// Pairs of project and dataset.
const DATASETS_MAX: usize = 256;

/// See the module.
#[derive(Debug)]
pub struct Performance {
    shapes_max: usize,
    window: Mutex<Window>,
}

/// Everything since one moment.
#[derive(Debug)]
struct Window {
    since: Timestamp,
    routes: Bounded<(Option<ProjectName>, RouteId, &'static str), Cell>,
    datasets: Bounded<(ProjectName, Arc<str>), Questions>,
    shapes: Bounded<Arc<About>, Questions>,
    /// Questions that were refused as they stand: their datasets and shapes may be anything.
    refused: Bounded<Option<ProjectName>, Cell>,
    ingest: Bounded<(ProjectName, Arc<str>), Rows>,
    lists: Lists,
}

/// Sums over questions.
#[derive(Clone, Debug, Default)]
struct Questions {
    cell: Cell,
    hits: u64,
    partials: u64,
    rows_scanned: u64,
    bytes_scanned: u64,
}

/// Sums over ingest requests.
#[derive(Clone, Debug, Default)]
struct Rows {
    cell: Cell,
    rows: RowCounts,
}

/// A map with a limit; what finds no room counts together.
#[derive(Debug)]
struct Bounded<K, V> {
    map: HashMap<K, V>,
    others: V,
    max: usize,
}

impl<K: Hash + Eq, V: Default> Bounded<K, V> {
    fn new(max: usize) -> Self {
        Bounded { map: HashMap::new(), others: V::default(), max }
    }

    fn of(&mut self, key: K) -> &mut V {
        if self.map.len() >= self.max && !self.map.contains_key(&key) {
            return &mut self.others;
        }
        self.map.entry(key).or_default()
    }

    /// Those of one project, or all with the rest.
    fn visible<'a>(
        &'a self,
        own: Option<&'a ProjectName>,
        of: fn(&K) -> Option<&ProjectName>,
    ) -> Vec<(&'a K, &'a V)> {
        self.map.iter().filter(|(key, _)| own.is_none_or(|own| of(key) == Some(own))).collect()
    }

    /// What counts together, for those who see everything.
    fn rest(&self, own: Option<&ProjectName>) -> Option<&V> {
        own.is_none().then_some(&self.others)
    }

    fn forget(&mut self, own: Option<&ProjectName>, of: fn(&K) -> Option<&ProjectName>) {
        match own {
            None => *self = Bounded::new(self.max),
            Some(own) => self.map.retain(|key, _| of(key) != Some(own)),
        }
    }
}

impl Window {
    fn new(since: Timestamp, shapes_max: usize) -> Self {
        Window {
            since,
            routes: Bounded::new(ROUTES_MAX),
            datasets: Bounded::new(DATASETS_MAX),
            shapes: Bounded::new(shapes_max),
            refused: Bounded::new(DATASETS_MAX),
            ingest: Bounded::new(DATASETS_MAX),
            lists: Lists::default(),
        }
    }

    fn add(&mut self, events: &[Event], slow_us: u64) {
        // Requests come in runs that count together, so that their cell is looked up once.
        for run in events.chunk_by(count_together) {
            match &run[0] {
                Event::Request(first) => self.add_requests(first, run, slow_us),
                Event::Question(event) => self.question(event),
                Event::Rows(event) => self.rows(event),
            }
        }
    }

    fn add_requests(&mut self, first: &RequestEvent, run: &[Event], slow_us: u64) {
        let cell = self.routes.of((first.id.project().cloned(), first.route, first.method));
        for event in run {
            if let Event::Request(event) = event {
                let is_slow = slow_us > 0 && event.elapsed_us >= slow_us;
                cell.add(event.elapsed_us, End::of(event.status), is_slow);
            }
        }
    }

    fn question(&mut self, event: &QuestionEvent) {
        let end = event.problem.map_or(End::Well, |(status, _)| End::of(status));
        let about = match &event.about {
            Some(about) if end != End::Refused => about,
            unread => {
                let project = unread.as_ref().map(|about| &about.project).or(event.id.project());
                return self.refused.of(project.cloned()).add(event.elapsed_us, end, event.is_slow);
            }
        };
        let dataset = self.datasets.of((about.project.clone(), Arc::clone(&about.dataset)));
        dataset.add(event, end);
        self.shapes.of(Arc::clone(about)).add(event, end);
        self.lists.add(event);
    }

    fn rows(&mut self, event: &RowsEvent) {
        // Names of datasets that do not exist may be anything.
        if event.status == 404 {
            return;
        }
        let rows = self.ingest.of((event.project.clone(), Arc::clone(&event.dataset)));
        rows.cell.add(event.elapsed_us, End::of(event.status), false);
        rows.rows.accepted += event.rows.accepted;
        rows.rows.rejected += event.rows.rejected;
        rows.rows.duplicates += event.rows.duplicates;
    }
}

/// Whether two events are requests of one cell.
fn count_together(one: &Event, next: &Event) -> bool {
    let (Event::Request(one), Event::Request(next)) = (one, next) else { return false };
    one.route == next.route && one.method == next.method && one.id.project() == next.id.project()
}

impl Questions {
    fn add(&mut self, event: &QuestionEvent, end: End) {
        self.cell.add(event.elapsed_us, end, event.is_slow);
        match event.cache {
            Some(CacheUse::Hit) => self.hits += 1,
            Some(CacheUse::Partial) => self.partials += 1,
            Some(CacheUse::Miss) | None => {}
        }
        if let Some(facts) = &event.facts {
            self.rows_scanned += facts.rows_scanned;
            self.bytes_scanned += facts.bytes_scanned;
        }
    }

    fn merge(&mut self, other: &Questions) {
        self.cell.merge(&other.cell);
        self.hits += other.hits;
        self.partials += other.partials;
        self.rows_scanned += other.rows_scanned;
        self.bytes_scanned += other.bytes_scanned;
    }
}

impl Performance {
    /// Nothing since `now`; `shapes_max` shapes of questions are told apart.
    pub fn new(now: Timestamp, shapes_max: usize) -> Self {
        Performance { shapes_max, window: Mutex::new(Window::new(now, shapes_max)) }
    }

    /// Adds events; requests are slow from `slow_us` micro-seconds on.
    pub fn add(&self, events: &[Event], slow_us: u64) {
        self.lock().add(events, slow_us);
    }

    /// Takes events and adds them, and gives them back; none where that would have to wait for somebody else.
    pub fn add_if_free(&self, take: impl FnOnce() -> Vec<Event>, slow_us: u64) -> Option<Vec<Event>> {
        let mut window = match self.window.try_lock() {
            Ok(window) => window,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let events = take();
        window.add(&events, slow_us);
        Some(events)
    }

    /// Forgets one project, or everything.
    pub fn reset(&self, own: Option<&ProjectName>, now: Timestamp) {
        let mut window = self.lock();
        if own.is_none() {
            *window = Window::new(now, self.shapes_max);
            return;
        }
        window.routes.forget(own, |(project, ..)| project.as_ref());
        window.datasets.forget(own, |(project, _)| Some(project));
        window.shapes.forget(own, |about| Some(&about.project));
        window.refused.forget(own, Option::as_ref);
        window.ingest.forget(own, |(project, _)| Some(project));
        window.lists.forget(own);
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
