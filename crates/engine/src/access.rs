//! Who a verified caller is and what it may do, whatever it showed: made once when a key is read or a token is verified, shared by
//! every request that carries it.
//!
//! Not here: how keys are stored (`keys`), where a request carries its credential (`server::auth`).

mod permission;
mod role;

use tidewater_model::names::ProjectName;

pub use permission::{Permission, Permissions, table};
pub use role::Role;

/// A verified caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Names the caller in limits and logs: the id of its key. Stable, and no secret.
    pub subject: Box<str>,
    /// What kind of user it is.
    pub role: Role,
    /// What it may do: what its role allows and its key opens.
    pub permissions: Permissions,
    /// The one project it is bound to; none for all.
    pub project: Option<ProjectName>,
}

impl Access {
    /// Whether it may do that.
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.has(permission)
    }
}
