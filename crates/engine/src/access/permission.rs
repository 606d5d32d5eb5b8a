//! The permission table: what a role may do, and what a key's scope opens of it. It is the only place that says so; the
//! documentation shows [`table`] as it is printed here, and a test keeps it so.
//!
//! Not here: which route asks for which permission (the extractor in its signature says that), and whose rows.

use std::fmt::Write as _;

use super::role::Role;
use crate::keys::Scope;

/// One thing a caller may be allowed to do. JWTs name it by [`Permission::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Sending rows.
    Ingest,
    /// Asking questions.
    Query,
    /// Listing single rows.
    Rows,
    /// Reading definitions of datasets and names of projects.
    Schema,
    /// Reading the server's figures.
    Status,
    /// Creating, widening and dropping datasets.
    Define,
    /// Deleting rows, and looking at jobs.
    Delete,
    /// Managing API keys.
    Keys,
    /// Creating, changing and deleting projects.
    Projects,
    /// Running the server.
    Operate,
}

/// A row of the table.
struct Row {
    permission: Permission,
    name: &'static str,
    meaning: &'static str,
    /// Roles that have it besides `admin`, which has all.
    roles: &'static [Role],
    /// Scopes that open it besides `admin`, which opens all.
    scopes: &'static [Scope],
}

const fn row(
    permission: Permission,
    (name, meaning): (&'static str, &'static str),
    roles: &'static [Role],
    scopes: &'static [Scope],
) -> Row {
    Row { permission, name, meaning, roles, scopes }
}

use Permission as P;
use Role::{Billing, Developer, Viewer};

/// In the order of [`Permission`], so that a permission is also its row's index.
const TABLE: [Row; 10] = [
    row(P::Ingest, ("ingest", "send rows"), &[Developer], &[Scope::Ingest]),
    row(P::Query, ("query", "ask questions"), &[Developer, Viewer, Billing], &[Scope::Query]),
    row(P::Rows, ("rows", "list single rows"), &[Developer, Viewer], &[Scope::Query]),
    row(
        P::Schema,
        ("schema", "read definitions of datasets, names of projects"),
        &[Developer, Viewer, Billing],
        &[Scope::Query],
    ),
    row(P::Status, ("status", "read the server's figures"), &[Developer], &[Scope::Query]),
    row(P::Define, ("define", "create, widen, drop datasets"), &[], &[]),
    row(P::Delete, ("delete", "delete rows, look at jobs"), &[], &[]),
    row(P::Keys, ("keys", "create, list, rotate, revoke API keys"), &[], &[]),
    row(P::Projects, ("projects", "create, change, delete projects"), &[], &[]),
    row(
        P::Operate,
        ("operate", "refused rows, running questions, performance, roll-ups, advisor, backup, verification"),
        &[],
        &[],
    ),
];

impl Permission {
    /// All, in the order of the table.
    pub fn all() -> impl Iterator<Item = Permission> {
        TABLE.iter().map(|row| row.permission)
    }

    /// The word JWTs and problems use.
    pub fn name(self) -> &'static str {
        TABLE[self as usize].name
    }

    /// Whether what it opens can be bound to some rows. Callers with a row scope have no use of the others.
    pub fn tells_rows_apart(self) -> bool {
        matches!(self, Permission::Query | Permission::Rows | Permission::Schema)
    }

    /// The permission of that name.
    pub fn parse(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name == name).map(|row| row.permission)
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions(u16);

impl Permissions {
    /// Every permission.
    pub fn all() -> Self {
        Permission::all().collect()
    }

    /// What a role may do.
    pub fn of_role(role: Role) -> Self {
        let has = |row: &&Row| role == Role::Admin || row.roles.contains(&role);
        TABLE.iter().filter(has).map(|row| row.permission).collect()
    }

    /// What a key's scopes open.
    pub fn of_scopes(scopes: &[Scope]) -> Self {
        let opens =
            |row: &&Row| scopes.iter().any(|scope| *scope == Scope::Admin || row.scopes.contains(scope));
        TABLE.iter().filter(opens).map(|row| row.permission).collect()
    }

    /// Those in both.
    #[must_use]
    pub fn and(self, other: Permissions) -> Self {
        Permissions(self.0 & other.0)
    }

    /// Whether these hold all of the others.
    pub fn hold(self, others: Permissions) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether it is among them.
    pub fn has(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u16) != 0
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Permissions(permissions.into_iter().fold(0, |set, permission| set | 1 << permission as u16))
    }
}

/// The table as Markdown.
pub fn table() -> String {
    let mut out = String::from(
        "| permission | allows to | admin | developer | viewer | billing | scope of a key |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in &TABLE {
        let cell = |role: Role| match (Permissions::of_role(role).has(row.permission), role) {
            (false, _) => "",
            (true, Billing) if row.permission == P::Query => "cost metrics",
            (true, _) => "yes",
        };
        let roles: Vec<&str> = Role::ALL.into_iter().map(cell).collect();
        let scopes = row.scopes.iter().map(ToString::to_string).chain(["admin".to_owned()]);
        let scopes: Vec<String> = scopes.map(|scope| format!("`{scope}`")).collect();
        writeln!(out, "| `{}` | {} | {} | {} |", row.name, row.meaning, roles.join(" | "), scopes.join(", "))
            .expect("writing to a String cannot fail");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_its_row() {
        for (index, permission) in Permission::all().enumerate() {
            assert_eq!(permission as usize, index, "{permission:?}");
            assert_eq!(Permission::parse(permission.name()), Some(permission));
        }
    }

    #[test]
    fn roles_and_scopes_open_what_the_table_says() {
        for permission in Permission::all() {
            assert!(Permissions::of_role(Role::Admin).has(permission));
            assert!(Permissions::of_scopes(&[Scope::Admin]).has(permission));
            assert!(!Permissions::default().has(permission));
        }
        let names = |set: Permissions| -> Vec<&str> {
            Permission::all().filter(|permission| set.has(*permission)).map(Permission::name).collect()
        };
        assert_eq!(names(Permissions::of_role(Viewer)), ["query", "rows", "schema"]);
        assert_eq!(names(Permissions::of_role(Billing)), ["query", "schema"]);
        assert_eq!(names(Permissions::of_scopes(&[Scope::Ingest])), ["ingest"]);
        assert_eq!(names(Permissions::of_scopes(&[Scope::Query])), ["query", "rows", "schema", "status"]);
        let both = Permissions::of_role(Billing).and(Permissions::of_scopes(&[Scope::Query]));
        assert_eq!(names(both), ["query", "schema"]);
    }

    #[test]
    fn the_documentation_shows_the_table() {
        let documentation = include_str!("../../../../docs/api.md");
        assert!(documentation.contains(&table()), "docs/api.md should hold:\n{}", table());
    }
}
