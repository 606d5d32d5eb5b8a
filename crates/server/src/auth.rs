//! Who is calling, what they may do, and whose rows they mean.
//!
//! A handler takes [`May`] with the permission it needs: the type keeps a route from forgetting its check, because there is no
//! other way to a [`Caller`]. A route without one needs no credential. Not here: what roles and scopes may do
//! (`engine::access`), how keys are stored (`engine::keys`).

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use tidewater_engine::{Access, Permission, Refusal, Role, default_project};
use tidewater_model::names::ProjectName;

use crate::app::AppState;
use crate::body::parameter_values;
use crate::problem::Problem;

/// The header that names a project.
const X_PROJECT: &str = "x-project";
/// The header that carries a key where `Authorization` is taken.
const X_API_KEY: &str = "x-api-key";

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

needed!(Ingest, Query, Rows, Schema, Status, Define, Delete, Keys, Operate);

impl Caller {
    /// What kind of user it is.
    pub fn role(&self) -> Role {
        self.access.role
    }

    /// Names the caller in limits and logs: the id of its key. Stable, and no secret.
    pub fn subject(&self) -> &str {
        &self.access.subject
    }

    /// Whose rows the request means: `?project=`, then the body, then `X-Project`, then the key's own project or `default`. A key
    /// that is bound to one project may name no other, in any of these places.
    pub fn project(&self, body: Option<&ProjectName>) -> Result<ProjectName, Problem> {
        let named = |name: &String, field: &'static str| {
            ProjectName::new(name)
                .map_err(|error| Problem::bad_request("invalid_name", error.to_string()).at(field))
        };
        let mut places = Vec::new();
        for name in &self.query_projects {
            places.push(named(name, "project")?);
        }
        places.extend(body.cloned());
        if let Some(name) = &self.header_project {
            places.push(named(name, "X-Project")?);
        }
        if let Some(own) = &self.access.project {
            let other = places.iter().find(|place| *place != own);
            return match other {
                None => Ok(own.clone()),
                Some(other) => Err(wrong_project(other)),
            };
        }
        Ok(places.into_iter().next().unwrap_or_else(default_project))
    }

    /// All that decides whose rows a request means besides its body: the key's own project, and the projects named in the request
    /// line and in the header.
    pub fn scope(&self) -> (Option<&ProjectName>, &[String], Option<&str>) {
        (self.access.project.as_ref(), &self.query_projects, self.header_project.as_deref())
    }

    /// The one project the key is bound to; none for all.
    pub fn own_project(&self) -> Option<&ProjectName> {
        self.access.project.as_ref()
    }

    /// Refuses a key that is bound to one project: what follows touches what all projects share.
    pub fn all_projects(&self) -> Result<(), Problem> {
        match self.own_project() {
            None => Ok(()),
            Some(own) => {
                let detail = format!("this key belongs to project '{own}'; this needs a key of all projects");
                Err(Problem::new(StatusCode::FORBIDDEN, "wrong_project", detail))
            }
        }
    }

    /// The project the caller sees where none is named: its own, or all.
    pub fn visible(&self) -> Result<Option<ProjectName>, Problem> {
        let is_named = !self.query_projects.is_empty() || self.header_project.is_some();
        if is_named || self.access.project.is_some() { self.project(None).map(Some) } else { Ok(None) }
    }

    fn require(&self, permission: Permission) -> Result<(), Problem> {
        if self.access.may(permission) {
            return Ok(());
        }
        let (name, role) = (permission.name(), self.role());
        let detail =
            format!("this needs the permission '{name}', which this key of the role '{role}' does not have");
        Err(Problem::new(StatusCode::FORBIDDEN, "missing_scope", detail))
    }
}

fn wrong_project(other: &ProjectName) -> Problem {
    let detail = format!("this key belongs to another project than '{other}'");
    Problem::new(StatusCode::FORBIDDEN, "wrong_project", detail)
}

impl Caller {
    fn of(parts: &Parts, app: &AppState) -> Result<Self, Problem> {
        let secret = secret(&parts.headers)?;
        let access = app.engine.keys().verify(secret, app.engine.now()).map_err(refused)?;
        let query_projects = parts.uri.query().map_or(Ok(Vec::new()), query_projects)?;
        let header_project = match parts.headers.get(X_PROJECT).map(|value| value.to_str()) {
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
        caller.project(None)?;
        Ok(caller)
    }
}

fn secret(headers: &HeaderMap) -> Result<&str, Problem> {
    let unauthorized = |code, detail: &str| Problem::new(StatusCode::UNAUTHORIZED, code, detail);
    if let Some(value) = headers.get(AUTHORIZATION) {
        let token = value.to_str().ok().and_then(|text| text.split_once(' '));
        return match token {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => {
                Ok(token.trim())
            }
            _ => Err(unauthorized("invalid_credentials", "the Authorization header must be 'Bearer KEY'")),
        };
    }
    match headers.get(X_API_KEY).map(|value| value.to_str()) {
        Some(Ok(key)) if !key.trim().is_empty() => Ok(key.trim()),
        Some(_) => Err(unauthorized("invalid_credentials", "the X-API-Key header holds no key")),
        None => {
            Err(unauthorized("missing_credentials", "send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"))
        }
    }
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

impl<P: Needed> FromRequestParts<AppState> for May<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        let caller = Caller::of(parts, app)?;
        caller.require(P::PERMISSION)?;
        Ok(May { caller, permission: PhantomData })
    }
}
