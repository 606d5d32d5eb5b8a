//! What is stored of a key, and what others see of it. Records of earlier versions lack the later members, which default to what
//! such a key did.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidewater_model::names::ProjectName;
use tidewater_model::time::Timestamp;

use crate::access::{Access, Permissions, Reach, Role};

/// What a key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Sending rows.
    Ingest,
    /// Asking questions.
    Query,
    /// Everything, also datasets, keys and deletes.
    Admin,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::Ingest => "ingest",
            Scope::Query => "query",
            Scope::Admin => "admin",
        })
    }
}

/// A key without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Names the key in lists and for revocation.
    pub id: String,
    /// For people.
    pub name: String,
    /// The one project it is bound to; none for all.
    pub project: Option<String>,
    /// What it opens.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// A narrower role than its scopes give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Row scope: filters every question of it is bound to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Value>,
    /// For a publishable key: the web origins it is good for. Empty for every other key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// When its secret was last replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<Timestamp>,
}

impl ApiKey {
    /// The role of whoever carries it.
    pub fn role(&self) -> Role {
        match self.role {
            Some(role) => role,
            None if self.scopes.contains(&Scope::Admin) => Role::Admin,
            None => Role::Developer,
        }
    }

    /// Whether it may stand in a web page.
    pub fn is_publishable(&self) -> bool {
        !self.origins.is_empty()
    }

    pub(super) fn access(&self, project: Option<ProjectName>) -> Access {
        let role = self.role();
        let permissions = Permissions::of_role(role).and(Permissions::of_scopes(&self.scopes));
        let reach = project.map_or(Reach::All, |project| Reach::These(Box::from([project])));
        let access = Access::new(self.id.as_str(), role, permissions, reach, self.filters.clone());
        access.only_from(&self.origins)
    }
}

/// What a new key shall be.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// For people.
    pub name: String,
    /// The one project it is bound to; none for all.
    pub project: Option<ProjectName>,
    /// What it opens; at least one.
    pub scopes: Vec<Scope>,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// A narrower role than the scopes give; for keys that may ask and not administer.
    pub role: Option<Role>,
    /// Row scope; for keys that may only ask.
    pub filters: Vec<Value>,
    /// Web origins, which make it publishable; for keys of one project that may only send rows.
    pub origins: Vec<String>,
}

/// A key as stored.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    /// Hexadecimal SHA-256 of the secret.
    pub sha256: String,
    /// The secret before it, while it is still good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Replaced>,
    #[serde(flatten)]
    pub key: ApiKey,
}

/// A secret that was replaced by another one.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Replaced {
    /// Hexadecimal SHA-256.
    pub sha256: String,
    /// From when on it is refused.
    pub until: Timestamp,
}
