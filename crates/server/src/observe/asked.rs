//! What every answered question leaves behind: its counters, its event, and its log line where it was slow.

use std::sync::Arc;
use std::time::Duration;

use tidewater_engine::{AnswerFacts, CacheUse};
use tidewater_model::names::ProjectName;
use tidewater_model::query::QueryRequest;

use super::events::{About, Event, QuestionEvent};
use super::{RequestId, shape};
use crate::app::App;
use crate::problem::Problem;

impl About {
    /// What a question is about, whether or not it can be answered.
    pub fn of(request: &QueryRequest, project: &ProjectName) -> Arc<Self> {
        Arc::new(About {
            project: project.clone(),
            dataset: Arc::from(request.dataset.as_str()),
            shape: shape::describe(request).into_boxed_str(),
        })
    }
}

/// How a question was answered.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What was found in caches.
    pub cache: CacheUse,
    /// How it was computed; told only where it was for this caller.
    pub facts: Option<Arc<AnswerFacts>>,
}

impl Answered {
    /// With the facts of a computation, which are those of an earlier caller where the cache had it all.
    pub fn new(cache: CacheUse, facts: &Arc<AnswerFacts>) -> Self {
        Answered { cache, facts: (cache != CacheUse::Hit).then(|| Arc::clone(facts)) }
    }

    /// From written replies.
    pub fn again() -> Self {
        Answered { cache: CacheUse::Hit, facts: None }
    }
}

/// Notes a question. `about` is what it was about, where it could be read.
pub fn asked(
    app: &App,
    id: &RequestId,
    about: Option<Arc<About>>,
    answered: Result<Answered, &Problem>,
    elapsed: Duration,
) {
    let is_slow = app.work.asked(answered.as_ref().ok().map(|answered| answered.cache), elapsed);
    if let Some(about) = &about {
        id.set_project(&about.project);
    }
    let problem = answered.as_ref().err().map(|problem| (problem.status.as_u16(), problem.code));
    let (cache, facts) = answered.ok().map(|answered| (answered.cache, answered.facts)).unzip();
    let event = QuestionEvent {
        at: app.engine.now(),
        id: id.clone(),
        about,
        cache,
        problem,
        elapsed_us: elapsed.as_micros() as u64,
        is_slow,
        facts: facts.flatten(),
    };
    if is_slow {
        log_slow(&event);
    }
    app.observer.note(Event::Question(event), &app.http);
}

/// Values of filters are left out: they may be personal, and logs travel.
fn log_slow(event: &QuestionEvent) {
    let (project, dataset, shape) = match &event.about {
        Some(about) => (about.project.as_str(), &*about.dataset, &*about.shape),
        None => ("", "", ""),
    };
    let request_id = event.id.as_str();
    let trace_id = event.id.trace().id();
    let elapsed_ms = event.elapsed_us as f64 / 1e3;
    let code = event.problem.map_or("", |(_, code)| code);
    let cache = event.cache.map_or("", CacheUse::name);
    let Some(facts) = &event.facts else {
        tracing::warn!(
            request_id,
            trace_id,
            project,
            dataset,
            shape,
            elapsed_ms,
            cache,
            code,
            "slow question"
        );
        return;
    };
    let ms = |duration: Duration| duration.as_micros() as f64 / 1e3;
    let explain = &facts.explain;
    tracing::warn!(
        request_id,
        trace_id,
        project,
        dataset,
        shape,
        elapsed_ms,
        cache,
        source = facts.source,
        rows_scanned = facts.rows_scanned,
        bytes_scanned = facts.bytes_scanned,
        wait_ms = ms(facts.waited),
        plan_ms = ms(explain.plan_time),
        scan_ms = ms(explain.scan_time),
        merge_ms = ms(explain.merge_time),
        finish_ms = ms(explain.finish_time),
        "slow question"
    );
}
