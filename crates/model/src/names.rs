//! Names of projects and datasets, and the nearest known name for a mistyped one.

use std::fmt;
use std::sync::Arc;

/// The longest name of a project or dataset, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// A name is not of the form `[a-z0-9_-]{1,64}`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a valid name: use 1 to 64 of a-z, 0-9, '_' and '-'")]
pub struct InvalidName(pub String);

/// A tenant. Every row belongs to exactly one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectName(Arc<str>);

impl ProjectName {
    /// Checks the form.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        check_name(name)?;
        Ok(ProjectName(Arc::from(name)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&ProjectName> for ProjectName {
    fn from(name: &ProjectName) -> Self {
        name.clone()
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

/// Checks `[a-z0-9_-]{1,64}`, the form of project and dataset names.
pub fn check_name(name: &str) -> Result<(), InvalidName> {
    let fits = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    if fits { Ok(()) } else { Err(InvalidName(excerpt(name))) }
}

/// At most the first 80 characters of a value a user sent, for use in messages.
pub fn excerpt(value: &str) -> String {
    const CHARACTERS_MAX: usize = 80;
    match value.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// Shortest name that counts as the beginning of a longer one: `cost` may mean `cost_usd`, `c` may mean anything.
const BEGINNING_CHARACTERS_MIN: usize = 4;

/// The candidate nearest to `name` by edit distance, if one is near enough to be what was meant: a few letters differ, or
/// its end is missing.
pub fn suggest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > NAME_BYTES_MAX * 2 {
        return None;
    }
    let name = name.to_lowercase();
    let characters = name.chars().count();
    let allowed = (characters / 3).clamp(1, 3);
    let near = |candidate: &'a str| {
        let lower = candidate.to_lowercase();
        let distance = distance(&name, &lower);
        let begins = characters >= BEGINNING_CHARACTERS_MIN && lower.starts_with(&name);
        (distance <= allowed || begins).then_some((distance, candidate))
    };
    candidates
        .into_iter()
        .filter_map(near)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance: insertions, deletions, substitutions, swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substitution = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substitution.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_near_names() {
        let known = ["model", "provider", "user"];
        assert_eq!(suggest("modle", known), Some("model"));
        assert_eq!(suggest("Model", known), Some("model"));
        assert_eq!(suggest("zebra", known), None);
        assert_eq!(suggest("cost", ["cost_usd", "count"]), Some("cost_usd"));
        assert_eq!(suggest("c", ["cost_usd"]), None);
        assert_eq!(suggest(&"x".repeat(500), known), None);
    }

    #[test]
    fn names_have_a_form() {
        assert!(ProjectName::new("my-site_2").is_ok());
        for bad in ["", "A", "a b", "a/../b", "ü", &"a".repeat(65)] {
            assert!(ProjectName::new(bad).is_err(), "{bad:?}");
        }
    }
}
