//! What the claims of a verified JWT allow. Pure: the clock is an argument.
//!
//! Not here: signatures, `aud` and `iss` (`jsonwebtoken` checks these before).

use serde_json::{Map, Value};
use tidewater_engine::{Access, Permission, Permissions, Reach, Role, check_filters};
use tidewater_model::names::ProjectName;

use super::Refused;

/// Projects one token may name.
const PROJECTS_MAX: usize = 1_000;
/// Longest `sub`, in bytes: it stands in logs and limits.
const SUBJECT_BYTES_MAX: usize = 200;
/// Stands for the token's `sub` in configured filters.
const SUBJECT: &str = "$sub";

/// A token's caller, and when it is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// What it may do.
    pub access: std::sync::Arc<Access>,
    /// From when on the token is good, leeway included, in seconds since 1970.
    pub from_s: i64,
    /// From when on it is not, leeway included.
    pub until_s: i64,
}

impl Verified {
    /// Refuses a token outside of its time.
    pub fn check_time(&self, now_s: i64) -> Result<(), Refused> {
        if now_s >= self.until_s {
            Err(Refused::Expired)
        } else if now_s < self.from_s {
            Err(Refused::NotYet)
        } else {
            Ok(())
        }
    }
}

/// Reads claims. `viewer_filters` bind every viewer; in them the text `$sub` stands for the token's subject.
pub fn read(claims: &Value, leeway_s: i64, viewer_filters: &[Value]) -> Result<Verified, Refused> {
    let claims = claims.as_object().ok_or(Refused::Claim("the claims are no object"))?;
    let subject = read_subject(claims)?;
    let role = match claims.get("role") {
        None => Role::Viewer,
        Some(role) => role
            .as_str()
            .and_then(Role::parse)
            .ok_or(Refused::Claim("'role' must be admin, developer, viewer or billing"))?,
    };
    let permissions = read_permissions(claims)?.and(Permissions::of_role(role));
    let mut filters = read_filters(claims)?;
    if role == Role::Viewer {
        filters.extend(viewer_filters.iter().map(|filter| with_subject(filter, subject)));
    }
    let reach = read_reach(claims)?;
    let until_s = read_time(claims, "exp")?.ok_or(Refused::Claim("'exp' is missing or is no time"))?;
    let from_s = read_time(claims, "nbf")?.map_or(i64::MIN, |from| from.saturating_sub(leeway_s));
    let access = Access::new(&format!("jwt:{subject}"), role, permissions, reach, filters);
    Ok(Verified { access: access.into(), from_s, until_s: until_s.saturating_add(leeway_s) })
}

fn read_subject(claims: &Map<String, Value>) -> Result<&str, Refused> {
    let subject = claims.get("sub").and_then(Value::as_str);
    subject
        .filter(|text| {
            !text.is_empty() && text.len() <= SUBJECT_BYTES_MAX && !text.contains(char::is_control)
        })
        .ok_or(Refused::Claim("'sub' must be a printable text of 1 to 200 bytes"))
}

/// Absent: all that the role has. Names that are none open nothing.
fn read_permissions(claims: &Map<String, Value>) -> Result<Permissions, Refused> {
    const WRONG: Refused = Refused::Claim("'permissions' must be a list of names");
    let Some(list) = claims.get("permissions") else { return Ok(Permissions::all()) };
    let names: Option<Vec<&str>> = list.as_array().ok_or(WRONG)?.iter().map(Value::as_str).collect();
    Ok(names.ok_or(WRONG)?.into_iter().filter_map(Permission::parse).collect())
}

fn read_filters(claims: &Map<String, Value>) -> Result<Vec<Value>, Refused> {
    const WRONG: Refused = Refused::Claim("'filters' must be a short list of filters");
    let Some(filters) = claims.get("filters") else { return Ok(Vec::new()) };
    let filters = filters.as_array().ok_or(WRONG)?;
    check_filters(filters).map_err(|_| WRONG)?;
    Ok(filters.clone())
}

fn read_reach(claims: &Map<String, Value>) -> Result<Reach, Refused> {
    const WRONG: Refused = Refused::Claim("'projects' must be \"*\" or a list of names of projects");
    let list = match claims.get("projects") {
        Some(Value::String(all)) if all == "*" => return Ok(Reach::All),
        Some(Value::Array(list)) if list.iter().any(|name| name == "*") => return Ok(Reach::All),
        Some(Value::Array(list)) if (1..=PROJECTS_MAX).contains(&list.len()) => list,
        _ => return Err(WRONG),
    };
    let name = |name: &Value| name.as_str().and_then(|name| ProjectName::new(name).ok()).ok_or(WRONG);
    let mut projects: Vec<ProjectName> = list.iter().map(name).collect::<Result<_, _>>()?;
    projects.sort();
    projects.dedup();
    Ok(Reach::These(projects.into()))
}

/// RFC 7519 2: seconds, which may have a fraction.
fn read_time(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, Refused> {
    const WRONG: Refused = Refused::Claim("'exp' and 'nbf' must be seconds since 1970");
    match claims.get(name) {
        None => Ok(None),
        Some(time) => {
            let seconds = time.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
            // Past the largest integer it is for ever either way.
            seconds.map(|seconds| Some(seconds as i64)).ok_or(WRONG)
        }
    }
}

/// Only whole texts are replaced, so a subject cannot end a text and begin another filter.
fn with_subject(filter: &Value, subject: &str) -> Value {
    match filter {
        Value::String(text) if text == SUBJECT => Value::from(subject),
        Value::Array(parts) => parts.iter().map(|part| with_subject(part, subject)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({"sub": "anna", "projects": ["web", "app", "web"], "role": "viewer", "exp": 1_000, "nbf": 500})
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = good();
        claims[name] = value;
        claims
    }

    #[test]
    fn a_role_is_narrowed_and_never_widened() {
        let access = |claims: &Value| read(claims, 0, &[]).expect("read").access;
        let viewer = access(&with("permissions", json!(["query", "keys", "unknown"])));
        assert!(
            viewer.may(Permission::Query) && !viewer.may(Permission::Keys) && !viewer.may(Permission::Rows)
        );
        assert_eq!(
            access(&json!({"sub": "s", "projects": "*", "exp": 1})).role,
            Role::Viewer,
            "the least role that asks"
        );
        let none = access(&with("permissions", json!([])));
        assert!(Permission::all().all(|permission| !none.may(permission)));
        assert_eq!(&*viewer.subject, "jwt:anna");
        assert!(viewer.reaches("web") && viewer.reaches("app") && !viewer.reaches("other"));
    }

    #[test]
    fn subjects_stay_one_text_in_filters() {
        let bound = [json!(["is", "user", ["$sub"]])];
        let claims = with("sub", json!("a\"], [\"b"));
        let access = read(&claims, 0, &bound).expect("read").access;
        assert_eq!(access.filters, [json!(["is", "user", ["a\"], [\"b"]])]);
        let developer = read(&with("role", json!("developer")), 0, &bound).expect("read").access;
        assert!(developer.filters.is_empty());
    }

    #[test]
    fn times_have_a_leeway() {
        let verified = read(&good(), 10, &[]).expect("read");
        let cases =
            [(489, Err(Refused::NotYet)), (490, Ok(())), (1_009, Ok(())), (1_010, Err(Refused::Expired))];
        for (now_s, expected) in cases {
            assert_eq!(verified.check_time(now_s), expected, "{now_s}");
        }
    }

    #[test]
    fn claims_that_do_not_read_are_refused() {
        let cases = [
            ("sub", json!(7)),
            ("sub", json!("")),
            ("sub", json!("a\nb")),
            ("sub", json!("x".repeat(201))),
            ("projects", json!("web")),
            ("projects", json!([])),
            ("projects", json!(["../x"])),
            ("projects", Value::Null),
            ("role", json!("root")),
            ("role", json!(["admin"])),
            ("permissions", json!("query")),
            ("permissions", json!([1])),
            ("filters", json!([7])),
            ("filters", json!({})),
            ("exp", json!("soon")),
            ("exp", json!(-1)),
            ("nbf", json!("now")),
        ];
        for (name, value) in cases {
            let refused = read(&with(name, value.clone()), 0, &[]);
            assert!(matches!(refused, Err(Refused::Claim(_))), "{name} {value}");
        }
        let mut without = good();
        without.as_object_mut().expect("an object").remove("exp");
        assert!(read(&without, 0, &[]).is_err());
    }
}
