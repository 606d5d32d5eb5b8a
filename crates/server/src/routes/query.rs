//! Questions: one, one in a URL, or up to fifty from one snapshot.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::{AGE, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tidewater_engine::{CacheUse, EngineResult, QueryReply};
use tidewater_model::limits::BATCH_QUERIES_MAX;
use tidewater_model::query::QueryRequest;

use crate::answer::{self, Sheet, Wanted, Written, X_CACHE};
use crate::app::AppState;
use crate::auth::{self, Caller, May};
use crate::body::{JsonBody, TextBody, url_parameters};
use crate::observe::{self, About, Answered, RequestId};
use crate::openapi::schema;
use crate::problem::Problem;
use crate::replies::RequestKey;

/// Says that the caller is over a limit, or the server is full, and that it gets an answer that was there, as old as `Age` says.
const X_SERVED_FROM_CACHE: HeaderName = HeaderName::from_static("x-served-from-cache");

/// Answers a question.
#[utoipa::path(post, path = "/api/v1/query", tag = "query", request_body = schema::Question,
    responses((status = 200, description = "The answer, in the form that `Accept` asks for.",
            content((schema::Answer = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
                (Vec<u8> = "application/vnd.apache.parquet")),
            headers(
            ("ETag" = String, description = "Names this answer; `If-None-Match` with it gives 304 while it holds."),
            ("X-Cache" = String, description = "`hit`: nothing was computed for this caller; `partial`: partial results were there; `miss`: neither."),
            ("X-Served-From-Cache" = String, description = "`true`: the caller is over a limit, or the server is full, and gets an answer that was there, `Age` seconds old."),
            ("Server-Timing" = String, description = "`query;dur=` milli-seconds in the server."))),
        (status = 304, description = "The caller has this answer.")))]
pub async fn query(
    State(app): State<AppState>,
    caller: May<auth::QueryOrCached>,
    State(id): State<RequestId>,
    wanted: Wanted,
    TextBody(body): TextBody,
) -> Result<Response, Problem> {
    let asked = Asked::new(&id, wanted);
    let key = RequestKey::post(&caller, &asked.wanted, body);
    asked.reply(&app, &caller, key, in_body).await
}

fn in_body(body: &[u8]) -> Result<QueryRequest, Problem> {
    Ok(QueryRequest::from_json(&crate::body::json(body)?)?)
}

/// Answers a question in a URL: `?q=` holds the JSON, or each member is a parameter.
#[utoipa::path(get, path = "/api/v1/query", tag = "query",
    params(("q" = Option<String>, Query, description = "The question as JSON."),
        ("dataset" = Option<String>, Query, description = "Without `q`."),
        ("metrics" = Option<String>, Query, description = "Without `q`: names, separated by commas."),
        ("dimensions" = Option<String>, Query, description = "Without `q`: names, separated by commas."),
        ("date_range" = Option<String>, Query, description = "Without `q`: a word, or two times separated by a comma.")),
    responses((status = 200, description = "The answer, in the form that `Accept` asks for.",
            content((schema::Answer = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
                (Vec<u8> = "application/vnd.apache.parquet")),
            headers(
            ("ETag" = String, description = "As for POST."),
            ("X-Cache" = String, description = "As for POST."),
            ("Server-Timing" = String, description = "As for POST."))),
        (status = 304, description = "The caller has this answer.")))]
pub async fn query_get(
    State(app): State<AppState>,
    caller: May<auth::QueryOrCached>,
    State(id): State<RequestId>,
    wanted: Wanted,
    RawQuery(raw): RawQuery,
) -> Result<Response, Problem> {
    let asked = Asked::new(&id, wanted);
    let key = RequestKey::get(&caller, &asked.wanted, raw.unwrap_or_default());
    asked.reply(&app, &caller, key, in_url).await
}

fn in_url(query: &[u8]) -> Result<QueryRequest, Problem> {
    let parameters = url_parameters(std::str::from_utf8(query).unwrap_or_default())?;
    match parameters.iter().find(|(name, _)| name == "q") {
        Some((_, text)) => {
            let json: Value = serde_json::from_str(text).map_err(|error| {
                Problem::bad_request("invalid_json", format!("'q' is not JSON: {error}")).at("q")
            })?;
            Ok(QueryRequest::from_json(&json)?)
        }
        None => Ok(QueryRequest::from_params(parameters)?),
    }
}

/// An answer and where it comes from.
struct Ready {
    content: Content,
    answered: Answered,
    /// How long ago it was known to be right, for a caller that is over a limit or finds the server full.
    age: Option<Duration>,
}

/// What of an answer is there to be sent.
enum Content {
    /// Its text.
    Written(Arc<Written>),
    /// So many values that they are written while they are sent, and not kept.
    Large(Box<QueryReply>),
}

/// What a request says besides its question.
struct Asked<'a> {
    id: &'a RequestId,
    wanted: Wanted,
    started: Instant,
    /// What the question is about, once it has been read.
    about: OnceLock<Arc<About>>,
}

impl<'a> Asked<'a> {
    fn new(id: &'a RequestId, wanted: Wanted) -> Self {
        Asked { id, wanted, started: Instant::now(), about: OnceLock::new() }
    }
}

impl Asked<'_> {
    /// The reply to the same request before, where it still answers, else a new one.
    async fn reply(
        &self,
        app: &AppState,
        caller: &May<auth::QueryOrCached>,
        key: RequestKey,
        read: fn(&[u8]) -> Result<QueryRequest, Problem>,
    ) -> Result<Response, Problem> {
        let ready = match (app.replies.find(&app.engine, &key), caller.excess()) {
            (Some((written, about)), excess) => {
                self.is_about(about);
                let age = excess.is_some().then_some(Duration::ZERO);
                Ok(Ready { content: Content::Written(written), answered: Answered::again(), age })
            }
            (None, None) => self.answer(app, caller, key, read).await,
            (None, Some(excess)) => self.kept(app, caller, &key, read, excess.clone()).await,
        };
        let elapsed = self.started.elapsed();
        let about = self.about.get().cloned();
        let Ready { content, answered, age } = ready.inspect_err(|problem| {
            observe::asked(app, self.id, about.clone(), Err(problem), elapsed);
        })?;
        let cache = answered.cache;
        observe::asked(app, self.id, about, Ok(answered), elapsed);
        let mut response = match content {
            Content::Written(written) => written.respond(&self.wanted, cache, elapsed),
            Content::Large(reply) => answer::stream(*reply, &self.wanted, cache, elapsed),
        };
        if let Some(age) = age {
            app.limits.served_from_cache();
            response.headers_mut().insert(X_SERVED_FROM_CACHE, HeaderValue::from_static("true"));
            response.headers_mut().insert(AGE, HeaderValue::from(age.as_secs()));
        }
        Ok(response)
    }

    fn is_about(&self, about: Arc<About>) {
        // A question that turned out to be over a limit is read twice and is about the same.
        let _ = self.about.set(about);
    }

    /// An answer for a caller over a limit, or while the server is full: one that is there, older than others get, or else the refusal.
    async fn kept(
        &self,
        app: &AppState,
        caller: &Caller,
        key: &RequestKey,
        read: fn(&[u8]) -> Result<QueryRequest, Problem>,
        refusal: impl Into<Problem>,
    ) -> Result<Ready, Problem> {
        let Some(age_max) = app.limits.cached_age_max() else { return Err(refusal.into()) };
        if let Some((written, about, age)) = app.replies.find_aged(&app.engine, key, age_max) {
            self.is_about(about);
            return Ok(Ready {
                content: Content::Written(written),
                answered: Answered::again(),
                age: Some(age),
            });
        }
        let (request, project) = caller.question(read(key.text())?)?;
        self.is_about(About::of(&request, &project));
        let kept = app.engine.kept_answer(request, project, age_max)?;
        let (reply, age) = kept.ok_or_else(|| refusal.into())?;
        let content = self.content(reply).await?;
        Ok(Ready { content, answered: Answered::again(), age: Some(age) })
    }

    /// Computes the reply, or takes its answer from the cache.
    async fn answer(
        &self,
        app: &AppState,
        caller: &Caller,
        key: RequestKey,
        read: fn(&[u8]) -> Result<QueryRequest, Problem>,
    ) -> Result<Ready, Problem> {
        let (request, project) = caller.question(read(key.text())?)?;
        let about = About::of(&request, &project);
        self.is_about(Arc::clone(&about));
        if request.compare.is_some()
            && let Err(excess) = app.limits.comparison(caller.role(), caller.subject())
        {
            return self.kept(app, caller, &key, read, excess).await;
        }
        let reply = match app.engine.query(request, project).await {
            Err(full) if full.is_overload() => return self.kept(app, caller, &key, read, full).await,
            reply => reply?,
        };
        let answered = Answered::new(reply.cache, &reply.facts);
        let lease = reply.lease.clone();
        let began = Instant::now();
        let content = self.content(reply).await?;
        app.work.rendering.add_duration(began.elapsed());
        if let (Some(lease), Content::Written(written)) = (lease, &content) {
            app.replies.keep(key, Arc::clone(written), about, lease);
        }
        Ok(Ready { content, answered, age: None })
    }

    /// The text of a reply, or a large one as it is.
    async fn content(&self, reply: QueryReply) -> Result<Content, Problem> {
        let Wanted { wire, coding, .. } = self.wanted;
        if answer::is_streamed(&reply, wire) {
            return Ok(Content::Large(Box::new(reply)));
        }
        let written = Written::new(&reply, wire)?.packed(coding).await;
        Ok(Content::Written(Arc::new(written)))
    }
}

/// Answers up to fifty questions from one snapshot; each gets an answer or a problem.
#[utoipa::path(post, path = "/api/v1/query/batch", tag = "query", request_body = schema::Batch,
    responses((status = 200, body = schema::BatchAnswer, headers(
        ("X-Cache" = String, description = "`hit` where every answer was, `miss` where none was, else `partial`.")))))]
pub async fn batch(
    State(app): State<AppState>,
    caller: May<auth::Query>,
    State(request_id): State<RequestId>,
    JsonBody(json): JsonBody,
) -> Result<Response, Problem> {
    let questions = json.get("queries").and_then(Value::as_array).ok_or_else(|| {
        Problem::bad_request("missing_field", "a batch is an object like {\"queries\": [QUESTION, …]}")
            .at("queries")
    })?;
    if questions.len() > BATCH_QUERIES_MAX {
        let detail =
            format!("{} questions are over the limit of {BATCH_QUERIES_MAX} in one batch", questions.len());
        return Err(Problem::bad_request("limit_exceeded", detail).at("queries"));
    }
    let further = questions.len().saturating_sub(1) as u64;
    app.limits.further_requests(caller.role(), caller.subject(), further);
    let prepared: Vec<Result<_, Problem>> = questions
        .iter()
        .map(|json| {
            let (request, project) = caller.question(QueryRequest::from_json(json)?)?;
            if request.compare.is_some() {
                app.limits.comparison(caller.role(), caller.subject())?;
            }
            Ok((request, project))
        })
        .collect();
    let asked = prepared.iter().flatten().cloned().collect();
    let started = Instant::now();
    let replies = app.engine.query_batch(asked).await;
    let elapsed = started.elapsed();
    let cache = together(&replies);
    let mut replies = replies.into_iter();
    let mut sheet = Sheet::default();
    sheet.text("{\"answers\":[");
    for (index, prepared) in prepared.into_iter().enumerate() {
        if index > 0 {
            sheet.text(",");
        }
        let about = prepared.as_ref().ok().map(|(request, project)| About::of(request, project));
        let answer = prepared.and_then(|_| match replies.next() {
            Some(reply) => Ok(reply?),
            None => Err(Problem::bad_request("internal", "the question was not answered")),
        });
        // Those of one batch are ready together.
        let answered = answer.as_ref().map(|reply| Answered::new(reply.cache, &reply.facts));
        observe::asked(&app, &request_id, about, answered, elapsed);
        match answer {
            Ok(reply) => answer::put_json(reply, &mut sheet),
            Err(problem) => sheet.text(problem.to_json(request_id.as_str()).to_string()),
        }
    }
    sheet.text("]}");
    let mut response =
        if sheet.is_large() { Response::new(Body::new(sheet)) } else { sheet.whole().into_response() };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(X_CACHE, HeaderValue::from_static(cache.name()));
    Ok(response)
}

/// How much of a batch's answers was there before.
fn together(replies: &[EngineResult<QueryReply>]) -> CacheUse {
    let mut uses = replies.iter().flatten().map(|reply| reply.cache);
    let Some(first) = uses.next() else { return CacheUse::Miss };
    if uses.all(|other| other == first) { first } else { CacheUse::Partial }
}
