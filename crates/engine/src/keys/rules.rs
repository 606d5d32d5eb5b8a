//! Which keys there may be. Pure: the same for HTTP, the command line and tests.

use serde_json::Value;
use tidewater_model::input_error::{InputError, codes};
use tidewater_model::names::excerpt;

use super::record::{NewKey, Scope};
use crate::access::{Permissions, Role};

/// Longest name of a key, in bytes.
pub const KEY_NAME_BYTES_MAX: usize = 200;
/// Web origins of one key: a page is served from few.
const ORIGINS_MAX: usize = 32;
/// Longest origin, in bytes: a host name has at most 253.
const ORIGIN_BYTES_MAX: usize = 300;
/// Filters of a row scope, and their bytes as JSON: they are part of every question.
pub(crate) const SCOPE_FILTERS_MAX: usize = 32;
const SCOPE_FILTERS_BYTES_MAX: usize = 16 << 10;

impl NewKey {
    /// What it may do.
    pub fn permissions(&self) -> Permissions {
        let scopes = Permissions::of_scopes(&self.scopes);
        self.role.map_or(scopes, |role| scopes.and(Permissions::of_role(role)))
    }

    /// Refuses a key that makes no sense or is not safe.
    pub fn check(&self) -> Result<(), InputError> {
        if self.name.trim().is_empty() || self.name.len() > KEY_NAME_BYTES_MAX {
            let message = format!("a key needs a name of 1 to {KEY_NAME_BYTES_MAX} bytes");
            return Err(InputError::new(codes::INVALID_NAME, "name", message));
        }
        if self.scopes.is_empty() {
            let message = "a key needs at least one scope of ingest, query and admin";
            return Err(InputError::new(codes::MISSING_FIELD, "scopes", message));
        }
        self.check_role()?;
        self.check_scope()?;
        self.check_origins()
    }

    fn check_role(&self) -> Result<(), InputError> {
        let refused = |message: &str| Err(InputError::new(codes::INVALID_VALUE, "role", message));
        match self.role {
            None => Ok(()),
            Some(Role::Admin) => refused("the role 'admin' comes with the scope 'admin'; leave 'role' out"),
            Some(_) if self.scopes.contains(&Scope::Admin) => {
                refused("a key of the scope 'admin' has the role 'admin'; leave one of the two out")
            }
            Some(role) if role != Role::Developer && self.scopes.contains(&Scope::Ingest) => {
                refused("a viewer or billing key sends no rows; give it the scope 'query' only")
            }
            Some(_) => Ok(()),
        }
    }

    fn check_scope(&self) -> Result<(), InputError> {
        if self.filters.is_empty() {
            return Ok(());
        }
        if self.scopes != [Scope::Query] {
            let message =
                "'filters' bind what a key reads, so they need a key with the scope 'query' and no other";
            return Err(InputError::new(codes::INVALID_VALUE, "filters", message));
        }
        check_filters(&self.filters)
    }

    fn check_origins(&self) -> Result<(), InputError> {
        if self.origins.is_empty() {
            return Ok(());
        }
        let refused = |field: &str, message: &str| {
            Err(InputError::new(codes::INVALID_VALUE, field.to_owned(), message.to_owned()))
        };
        if self.scopes != [Scope::Ingest] {
            return refused(
                "scopes",
                "everybody can read a publishable key, so it has the scope 'ingest' only",
            );
        }
        if self.project.is_none() {
            return refused("project", "everybody can read a publishable key, so it is bound to one project");
        }
        if self.origins.len() > ORIGINS_MAX {
            let message = format!("{} origins are over the limit of {ORIGINS_MAX}", self.origins.len());
            return Err(InputError::new(codes::LIMIT_EXCEEDED, "origins", message));
        }
        for (index, origin) in self.origins.iter().enumerate() {
            if !is_origin(origin) {
                let message = format!(
                    "'{}' is not an origin as browsers send it, like 'https://example.org' or 'http://localhost:3000' (lower case, no path)",
                    excerpt(origin)
                );
                return Err(InputError::new(codes::INVALID_VALUE, format!("origins[{index}]"), message));
            }
        }
        Ok(())
    }
}

/// Refuses what cannot be a row scope. Names of columns are looked up when a question comes: a scope is good for all datasets.
pub fn check_filters(filters: &[Value]) -> Result<(), InputError> {
    let bytes: usize = filters.iter().map(|filter| filter.to_string().len()).sum();
    if filters.len() > SCOPE_FILTERS_MAX || bytes > SCOPE_FILTERS_BYTES_MAX {
        let message = format!(
            "a row scope has at most {SCOPE_FILTERS_MAX} filters and {SCOPE_FILTERS_BYTES_MAX} bytes"
        );
        return Err(InputError::new(codes::LIMIT_EXCEEDED, "filters", message));
    }
    let is_filter = |filter: &Value| {
        filter.as_array().is_some_and(|parts| parts.len() >= 2 && parts[0].as_str().is_some())
    };
    match filters.iter().position(|filter| !is_filter(filter)) {
        None => Ok(()),
        Some(index) => {
            let message = "a filter is a list like [\"is\", \"user\", [\"anna\"]]";
            Err(InputError::new(codes::INVALID_FILTER, format!("filters[{index}]"), message))
        }
    }
}

/// An origin in its ASCII form (RFC 6454 6.2): scheme, host, and a port where it is not the usual one.
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !rest.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let is_host = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'[' | b']' | b':')
    };
    text.len() <= ORIGIN_BYTES_MAX
        && matches!(scheme, "http" | "https")
        && !host.is_empty()
        && host.bytes().all(is_host)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidewater_model::names::ProjectName;

    use super::*;

    #[test]
    fn origins_are_as_browsers_send_them() {
        for good in ["https://example.org", "http://localhost:3000", "https://[::1]:8443", "https://a-b.c"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "https://example.org/",
            "https://Example.org",
            "*",
            "https://*",
            "ftp://a",
            "https://",
            "null",
            "https://a:x",
            "https://a b",
            "https://a:0",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    #[test]
    fn keys_that_make_no_sense_are_refused() {
        let good = NewKey { name: "k".to_owned(), scopes: vec![Scope::Query], ..NewKey::default() };
        let browser = NewKey {
            scopes: vec![Scope::Ingest],
            project: ProjectName::new("web").ok(),
            origins: vec!["https://example.org".to_owned()],
            ..good.clone()
        };
        let viewer = NewKey {
            role: Some(Role::Viewer),
            filters: vec![json!(["is", "user", ["anna"]])],
            ..good.clone()
        };
        for fine in [&good, &browser, &viewer] {
            assert_eq!(fine.check(), Ok(()), "{fine:?}");
        }
        let cases = [
            (NewKey { name: " ".to_owned(), ..good.clone() }, "name"),
            (NewKey { scopes: vec![], ..good.clone() }, "scopes"),
            (NewKey { role: Some(Role::Admin), ..good.clone() }, "role"),
            (NewKey { scopes: vec![Scope::Admin], ..viewer.clone() }, "role"),
            (NewKey { scopes: vec![Scope::Query, Scope::Ingest], ..viewer.clone() }, "role"),
            (NewKey { role: None, scopes: vec![Scope::Admin], ..viewer.clone() }, "filters"),
            (NewKey { filters: vec![json!("user")], ..viewer.clone() }, "filters[0]"),
            (
                NewKey { filters: vec![json!(["is", "user", ["x".repeat(20_000)]])], ..viewer.clone() },
                "filters",
            ),
            (NewKey { scopes: vec![Scope::Query], ..browser.clone() }, "scopes"),
            (NewKey { project: None, ..browser.clone() }, "project"),
            (NewKey { origins: vec!["*".to_owned()], ..browser.clone() }, "origins[0]"),
            (NewKey { origins: vec!["https://a.b".to_owned(); 99], ..browser.clone() }, "origins"),
        ];
        for (new, field) in cases {
            let error = new.check().expect_err("refused");
            assert_eq!(error.field.as_deref(), Some(field), "{new:?}");
        }
    }
}
