//! The latest refused rows, per project, in memory: what a sender sees in a reply, an operator sees here later.
//!
//! Not here: counters by reason (`Counters`).

use std::collections::VecDeque;
use std::sync::Mutex;

use hashbrown::HashMap;
use tidewater_model::names::ProjectName;
use tidewater_model::time::Timestamp;

/// Projects whose refused rows are kept; the first beyond it are not.
const PROJECTS_MAX: usize = 256;
/// Refused rows of one request that are kept: a million bad rows of one sender must not wipe out everyone else's.
pub(crate) const PER_REQUEST_MAX: usize = 20;

/// One refused row.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Reject {
    /// When it was refused.
    pub at: Timestamp,
    /// Whose.
    pub project: String,
    /// For which dataset.
    pub dataset: String,
    /// Its place in the request.
    pub index: u64,
    /// The column, where one is to blame.
    pub field: Option<String>,
    /// A stable word.
    pub code: String,
    /// For people; absent where values are redacted.
    pub message: Option<String>,
    /// The first bytes of the row as sent; absent where values are redacted.
    pub row: Option<String>,
}

impl Reject {
    fn bytes(&self) -> usize {
        let message = self.message.as_ref().map_or(0, String::len) + self.row.as_ref().map_or(0, String::len);
        let field = self.field.as_ref().map_or(0, String::len);
        size_of::<Reject>() + self.project.len() + self.dataset.len() + self.code.len() + message + field
    }
}

#[derive(Default)]
struct Ring {
    rows: VecDeque<Reject>,
    bytes: usize,
}

/// A ring of refused rows for each project, bounded by bytes.
pub(crate) struct Rejects {
    bytes_max: usize,
    redacted: bool,
    rings: Mutex<HashMap<ProjectName, Ring>>,
}

impl Rejects {
    pub fn new(bytes_max: usize, redacted: bool) -> Self {
        Rejects { bytes_max, redacted, rings: Mutex::new(HashMap::new()) }
    }

    /// Keeps the rows, oldest ones make room.
    pub fn push(&self, project: &ProjectName, rows: impl Iterator<Item = Reject>) {
        let mut rings = self.lock();
        if !rings.contains_key(project) && rings.len() >= PROJECTS_MAX {
            return;
        }
        let ring = rings.entry(project.clone()).or_default();
        for mut row in rows.take(PER_REQUEST_MAX) {
            if self.redacted {
                row.message = None;
                row.row = None;
            }
            ring.bytes += row.bytes();
            ring.rows.push_back(row);
            while ring.bytes > self.bytes_max {
                let Some(oldest) = ring.rows.pop_front() else { break };
                ring.bytes -= oldest.bytes();
            }
        }
    }

    /// The latest rows, newest first, of one project or of all.
    pub fn latest(&self, project: Option<&ProjectName>, limit: usize) -> Vec<Reject> {
        let rings = self.lock();
        let mut rows: Vec<Reject> = rings
            .iter()
            .filter(|(name, _)| project.is_none_or(|wanted| wanted == *name))
            .flat_map(|(_, ring)| ring.rows.iter().rev().take(limit).cloned())
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.at));
        rows.truncate(limit);
        rows
    }

    /// Forgets a project's rows.
    pub fn forget(&self, project: &ProjectName) {
        self.lock().remove(project);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ProjectName, Ring>> {
        self.rings.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at: i64) -> Reject {
        Reject {
            at: Timestamp(at),
            project: "p".into(),
            dataset: "d".into(),
            index: 0,
            field: None,
            code: "invalid_type".into(),
            message: Some("x".repeat(100)),
            row: None,
        }
    }

    #[test]
    fn keeps_the_latest_within_its_bytes() {
        let project = ProjectName::new("p").expect("a name");
        let rejects = Rejects::new(1_000, false);
        (0..50).for_each(|at| rejects.push(&project, std::iter::once(row(at))));
        let kept = rejects.latest(Some(&project), 100);
        assert!(kept.len() < 10 && kept[0].at == Timestamp(49), "{kept:?}");
        assert!(rejects.latest(Some(&ProjectName::new("q").expect("a name")), 100).is_empty());
    }

    #[test]
    fn redacted_rows_have_no_values() {
        let project = ProjectName::new("p").expect("a name");
        let rejects = Rejects::new(1_000, true);
        rejects.push(&project, std::iter::once(row(1)));
        assert_eq!(rejects.latest(None, 1)[0].message, None);
    }
}
