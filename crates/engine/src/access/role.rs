//! Roles: what kind of user a caller is. What each may do is in `permission`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of user a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May do everything.
    Admin,
    /// Sends rows and reads everything.
    Developer,
    /// Reads.
    Viewer,
    /// Reads metrics that are marked as cost.
    Billing,
}

impl Role {
    /// All, from the most to the least.
    pub const ALL: [Role; 4] = [Role::Admin, Role::Developer, Role::Viewer, Role::Billing];

    /// The word in keys and JWTs.
    pub fn name(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Developer => "developer",
            Role::Viewer => "viewer",
            Role::Billing => "billing",
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
