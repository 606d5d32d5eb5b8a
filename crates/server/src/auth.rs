//! Who is calling, what they may do, and whose rows they mean.
//!
//! A handler takes [`May`] with the permission it needs: the type keeps a route from forgetting its check, because there is no
//! other way to a [`Caller`]. A route without one needs no credential. Not here: what roles and scopes may do
//! (`engine::access`), how keys are stored (`engine::keys`).

pub mod jwt;

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use tidewater_engine::{
    Access, OWN_DATASET, OWN_PROJECT, Permission, Permissions, Reach, Refusal, Role, Visibility,
    default_project, is_own_project,
};
use tidewater_model::names::{ProjectName, excerpt};
use tidewater_model::query::{Bounds, QueryRequest};

use crate::app::App;
use crate::auth::jwt::is_jwt;
use crate::body::parameter_values;
use crate::dispatch::Call;
use crate::limits::Excess;
use crate::observe::{Looked, RequestId};
use crate::problem::Problem;

/// The header that carries a key where `Authorization` is taken.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A verified caller.
#[derive(Clone, Debug)]
pub struct Caller {
    access: Arc<Access>,
    /// Every `?project=`; one is usual.
    query_projects: Vec<String>,
    /// `X-Project`.
    header_project: Option<String>,
}

/// A caller that may do what `P` names.
#[derive(Clone, Debug)]
pub struct May<P> {
    caller: Caller,
    excess: Option<Excess>,
    permission: PhantomData<P>,
}

impl<P> Deref for May<P> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

/// A permission as a type, for the signatures of handlers.
pub trait Needed: Send + Sync {
    /// Which one.
    const PERMISSION: Permission;
    /// Whether the handler itself deals with callers over their limit, because it may have an answer for them.
    const SERVES_EXCESS: bool = false;
}

macro_rules! needed {
    ($($name:ident),*) => {$(
        #[doc = concat!("[`Permission::", stringify!($name), "`] as a type.")]
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}

        impl Needed for $name {
            const PERMISSION: Permission = Permission::$name;
        }
    )*};
}

/// [`Permission::Query`] for handlers that answer callers over their limit from a cache.
#[derive(Clone, Copy, Debug)]
pub enum QueryOrCached {}

impl Needed for QueryOrCached {
    const PERMISSION: Permission = Permission::Query;
    const SERVES_EXCESS: bool = true;
}

impl May<QueryOrCached> {
    /// The limit that the caller is over; it may have answers that are there, and nothing else.
    pub fn excess(&self) -> Option<&Excess> {
        self.excess.as_ref()
    }
}

needed!(Ingest, Query, Rows, Schema, Status, Define, Delete, Keys, Projects, Operate);

impl Caller {
    /// What kind of user it is.
    pub fn role(&self) -> Role {
        self.access.role
    }

    /// Names the caller in limits and logs: the id of its key, or `jwt:SUB`. Stable, and no secret.
    pub fn subject(&self) -> &str {
        &self.access.subject
    }

    /// What it may do.
    pub fn permissions(&self) -> Permissions {
        self.access.permissions
    }

    /// Whose rows the request means: `?project=`, then the body, then `X-Project`, then the caller's own project or `default`. A
    /// caller may name no project that it does not reach, in any of these places; one that reaches several must name one.
    pub fn project(&self, body: Option<&ProjectName>) -> Result<ProjectName, Problem> {
        match (self.named(body)?, &self.access.reach) {
            (Some(named), _) => Ok(named),
            (None, Reach::All) => Ok(default_project()),
            (None, Reach::These(projects)) => match &**projects {
                [own] => Ok(own.clone()),
                several => Err(which_project(several)),
            },
        }
    }

    /// The project named in the request, where there is one; all places are checked.
    fn named(&self, body: Option<&ProjectName>) -> Result<Option<ProjectName>, Problem> {
        let mut first = None;
        let mut note = |project: ProjectName| {
            if !self.access.reaches(project.as_str()) {
                return Err(wrong_project(&project));
            }
            // The server's records of its own work tell about all projects.
            let may_see = self.access.reach == Reach::All && self.access.may(Permission::Operate);
            if is_own_project(project.as_str()) && !may_see {
                return Err(reserved());
            }
            first.get_or_insert(project);
            Ok(())
        };
        let parse = |name: &str, field: &'static str| {
            ProjectName::new(name)
                .map_err(|error| Problem::bad_request("invalid_name", error.to_string()).at(field))
        };
        for name in &self.query_projects {
            note(parse(name, "project")?)?;
        }
        if let Some(project) = body {
            note(project.clone())?;
        }
        if let Some(name) = &self.header_project {
            note(parse(name, "X-Project")?)?;
        }
        Ok(first)
    }

    /// All that decides what a request shows besides its body: what the caller can see, and the projects named in the request
    /// line and in the header.
    pub fn scope(&self) -> (Visibility, &[String], Option<&str>) {
        (self.access.visibility, &self.query_projects, self.header_project.as_deref())
    }

    /// Whether the caller reaches a project.
    pub fn reaches(&self, project: &str) -> bool {
        self.access.reaches(project)
    }

    /// Refuses a caller that does not reach all projects: what follows touches what all projects share.
    pub fn all_projects(&self) -> Result<(), Problem> {
        let Reach::These(projects) = &self.access.reach else { return Ok(()) };
        let detail =
            format!("this caller reaches {} only; this needs one that reaches all projects", list(projects));
        Err(Problem::new(StatusCode::FORBIDDEN, "wrong_project", detail))
    }

    /// What everything it reads is bound to.
    pub fn bounds(&self) -> Bounds {
        Bounds { filters: self.access.filters.clone(), cost_metrics_only: self.access.role == Role::Billing }
    }

    /// A question as this caller may ask it, and whose rows it is about: the only way from a request to the engine.
    pub fn question(&self, request: QueryRequest) -> Result<(QueryRequest, ProjectName), Problem> {
        let project = self.project(request.project.as_ref())?;
        Ok((QueryRequest { bounds: self.bounds(), ..request }, project))
    }

    /// Whether it is bound to some rows.
    pub fn is_bound_to_rows(&self) -> bool {
        !self.access.filters.is_empty()
    }

    /// Refuses a caller that is bound to some rows: what follows cannot tell rows apart.
    pub fn all_rows(&self) -> Result<(), Problem> {
        if !self.is_bound_to_rows() {
            return Ok(());
        }
        let detail = "this caller is bound to some rows by filters, and this does not tell rows apart";
        Err(Problem::new(StatusCode::FORBIDDEN, "row_scope", detail))
    }

    /// The project the caller sees where one is named or it has one; none for all it reaches.
    pub fn visible(&self) -> Result<Option<ProjectName>, Problem> {
        match (self.named(None)?, &self.access.reach) {
            (None, Reach::All) => Ok(None),
            (Some(named), _) => Ok(Some(named)),
            (None, Reach::These(_)) => self.project(None).map(Some),
        }
    }

    /// Whether something of a project is shown: of the one named, else of all that the caller reaches.
    pub fn sees(&self, project: &str) -> Result<bool, Problem> {
        let named = self.named(None)?;
        Ok(named.map_or_else(|| self.reaches(project), |named| named.as_str() == project))
    }

    /// Counts the request against the caller's limits. Sending rows has limits of its own, which count rows.
    fn count(&self, permission: Permission, id: &RequestId, app: &App) -> Result<(), Excess> {
        if permission == Permission::Ingest {
            return Ok(());
        }
        let path = app.http.route_name(id.route());
        let stands = app.limits.request(self.role(), self.subject(), path, id.arrived().instant)?;
        stands.into_iter().for_each(|stands| id.set_standing(stands));
        Ok(())
    }

    fn require(&self, permission: Permission) -> Result<(), Problem> {
        if self.access.may(permission) {
            return Ok(());
        }
        let (name, role) = (permission.name(), self.role());
        let detail = format!(
            "this needs the permission '{name}', which this caller of the role '{role}' does not have"
        );
        Err(Problem::new(StatusCode::FORBIDDEN, "missing_scope", detail))
    }
}

/// The refusal of a name that is the server's own.
pub fn reserved() -> Problem {
    let detail = format!(
        "the dataset '{OWN_DATASET}' and the project '{OWN_PROJECT}' are the server's own; who operates it may read them"
    );
    Problem::new(StatusCode::FORBIDDEN, "reserved_name", detail)
}

fn wrong_project(other: &ProjectName) -> Problem {
    let detail = format!("this caller does not reach the project '{other}'");
    Problem::new(StatusCode::FORBIDDEN, "wrong_project", detail)
}

fn which_project(several: &[ProjectName]) -> Problem {
    let detail = format!(
        "this caller reaches several projects; say which one with '?project=', 'project' or X-Project: {}",
        list(several)
    );
    Problem::bad_request("project_required", detail).at("project")
}

/// Names for a message.
fn list(projects: &[ProjectName]) -> String {
    /// More would make the message a wall.
    const LISTED_MAX: usize = 20;
    let mut names: Vec<String> =
        projects.iter().take(LISTED_MAX).map(|project| format!("'{project}'")).collect();
    if projects.len() > LISTED_MAX {
        names.push(format!("and {} more", projects.len() - LISTED_MAX));
    }
    names.join(", ")
}

/// A publishable key is good for pages of its origins: other sites cannot send in its name. Whoever is no browser can send any
/// header, so it opens nothing but sending rows.
fn check_origin(access: &Access, headers: &HeaderMap) -> Result<(), Problem> {
    if access.origins.is_empty() {
        return Ok(());
    }
    let sent = headers.get(ORIGIN).and_then(|value| value.to_str().ok());
    if sent.is_some_and(|sent| access.origins.iter().any(|origin| **origin == *sent)) {
        return Ok(());
    }
    let detail = match sent {
        Some(sent) => format!("this publishable key is not for pages of '{}'", excerpt(sent)),
        None => "a publishable key is for web pages, whose requests have the header Origin".to_owned(),
    };
    Err(Problem::new(StatusCode::FORBIDDEN, "wrong_origin", detail).at("Origin"))
}

impl Caller {
    async fn of(parts: &Parts, id: &RequestId, app: &App) -> Result<Self, Problem> {
        let secret = secret(&parts.headers)?;
        let now = id.arrived().at;
        let access = match &app.jwts {
            Some(jwts) if is_jwt(secret) => jwts.verify(secret, now).await.map_err(|refused| {
                Problem::new(StatusCode::UNAUTHORIZED, refused.code(), refused.to_string())
            })?,
            _ => app.engine.keys().verify(secret, now).map_err(refused)?,
        };
        check_origin(&access, &parts.headers)?;
        if matches!(&access.reach, Reach::These(own) if own.iter().any(|own| is_own_project(own.as_str()))) {
            return Err(reserved());
        }
        id.set_caller(&access);
        let query_projects = parts.uri.query().map_or(Ok(Vec::new()), query_projects)?;
        let header_project = id.seen().get(Looked::Project, &parts.headers);
        let header_project = match header_project.map(|value| value.to_str()) {
            None => None,
            Some(Ok(name)) => Some(name.to_owned()),
            Some(Err(_)) => {
                return Err(
                    Problem::bad_request("invalid_name", "X-Project is not plain text").at("X-Project")
                );
            }
        };
        let caller = Caller { access, query_projects, header_project };
        // Every route refuses a foreign project in the request line and headers, also those that would not look at it.
        caller.named(None)?;
        Ok(caller)
    }
}

fn secret(headers: &HeaderMap) -> Result<&str, Problem> {
    let unauthorized = |code, detail: &str| Problem::new(StatusCode::UNAUTHORIZED, code, detail);
    if let Some(value) = headers.get(AUTHORIZATION) {
        let token = value.to_str().ok().and_then(bearer);
        let detail = "the Authorization header must be 'Bearer KEY'";
        return token.ok_or_else(|| unauthorized("invalid_credentials", detail));
    }
    match headers.get(&X_API_KEY).map(|value| value.to_str()) {
        Some(Ok(key)) if !key.trim().is_empty() => Ok(key.trim()),
        Some(_) => Err(unauthorized("invalid_credentials", "the X-API-Key header holds no key")),
        None => {
            Err(unauthorized("missing_credentials", "send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"))
        }
    }
}

/// The token of `Bearer TOKEN`; the scheme is in any case.
fn bearer(credentials: &str) -> Option<&str> {
    const SCHEME: &str = "bearer ";
    let (scheme, token) = credentials.split_at_checked(SCHEME.len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty()).then_some(token)
}

fn refused(refusal: Refusal) -> Problem {
    let (code, detail) = match refusal {
        Refusal::Unknown => ("invalid_credentials", "this key is not known here; it may have been revoked"),
        Refusal::Expired => ("expired_credentials", "this key has expired"),
    };
    Problem::new(StatusCode::UNAUTHORIZED, code, detail)
}

/// The decoded `project` parameters of a query string.
fn query_projects(query: &str) -> Result<Vec<String>, Problem> {
    parameter_values(query, "project").collect()
}

impl<P: Needed> FromRequestParts<Call> for May<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, Call { app, id }: &Call) -> Result<Self, Problem> {
        let caller = Caller::of(parts, id, app).await?;
        caller.require(P::PERMISSION)?;
        if !P::PERMISSION.tells_rows_apart() {
            caller.all_rows()?;
        }
        match (caller.count(P::PERMISSION, id, app), P::SERVES_EXCESS) {
            (Err(excess), false) => Err(excess.into()),
            (counted, _) => Ok(May { caller, excess: counted.err(), permission: PhantomData }),
        }
    }
}
