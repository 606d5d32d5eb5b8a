//! Who a verified caller is and what it may do, whatever it showed: made once when a key is read or a JWT is verified, shared by
//! every request that carries it.
//!
//! Not here: how keys are stored (`keys`), where a request carries its credential (`server::auth`).

mod permission;
mod role;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tidewater_model::names::ProjectName;

pub use permission::{Permission, Permissions, table};
pub use role::Role;

/// Which projects a caller reaches.
#[derive(Clone, Debug, PartialEq)]
pub enum Reach {
    /// All, also those that come later.
    All,
    /// These; at least one.
    These(Box<[ProjectName]>),
}

/// A verified caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Names the caller in limits and logs: the id of its key, or `jwt:SUB`. Stable, and no secret.
    pub subject: Box<str>,
    /// What kind of user it is.
    pub role: Role,
    /// What it may do: what its role allows and its credential opens.
    pub permissions: Permissions,
    /// Which projects it reaches.
    pub reach: Reach,
    /// Row scope: filters that all its questions are bound to; empty for all rows.
    pub filters: Vec<Value>,
    /// Web origins its requests must come from; empty for anywhere.
    pub origins: Box<[Box<str>]>,
    /// Equal for callers who see the same: their reach, their filters, their kind of metrics.
    pub visibility: Visibility,
}

/// Names what a caller can see; a digest, so that caches can compare it at no cost. Nobody can choose filters so that two of them
/// have one digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Visibility([u8; 32]);

impl Access {
    /// A caller.
    pub fn new(
        subject: &str,
        role: Role,
        permissions: Permissions,
        reach: Reach,
        filters: Vec<Value>,
    ) -> Self {
        let seen = format!("{reach:?}\0{}\0{}", role == Role::Billing, Value::from(filters.clone()));
        let visibility = Visibility(Sha256::digest(seen.as_bytes()).into());
        Access {
            subject: subject.into(),
            role,
            permissions,
            reach,
            filters,
            origins: Box::default(),
            visibility,
        }
    }

    /// The same caller, heard from these web origins only.
    #[must_use]
    pub(crate) fn only_from(mut self, origins: &[String]) -> Self {
        self.origins = origins.iter().map(|origin| Box::from(origin.as_str())).collect();
        self
    }

    /// Whether it may do that.
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.has(permission)
    }

    /// The one project it is bound to; none where it reaches several.
    pub fn project(&self) -> Option<&ProjectName> {
        match &self.reach {
            Reach::These(projects) if projects.len() == 1 => projects.first(),
            _ => None,
        }
    }

    /// Whether it reaches a project.
    pub fn reaches(&self, project: &str) -> bool {
        match &self.reach {
            Reach::All => true,
            Reach::These(projects) => projects.iter().any(|own| own.as_str() == project),
        }
    }
}
