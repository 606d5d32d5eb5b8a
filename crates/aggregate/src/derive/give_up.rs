//! Whether a section pays, and when a tier is given up before all rows have come, because its groups are clearly too many.
//!
//! Giving up only saves work: whether a section is kept is decided by what it is in the end.

use tidewater_model::names::ProjectName;
use tidewater_model::schema::Dataset;

use super::RowsExpected;
use super::axis::{Axis, Sorted};
use super::table::Table;
use crate::rollup::RollupPlan;

/// A section is kept if it takes at most this share of its segment's bytes: one part in ten.
const BYTES_SHARE: u64 = 10;
/// A section with more groups to ten rows is read no faster than the rows, and costs the most to make. A segment of a few hours has
/// more groups to its rows than one of a whole day, which it becomes part of, so this leaves room above a half.
const GROUPS_OF_TEN_ROWS_MAX: u64 = 6;
/// The first look at a tier; before it there is little to learn from, and little is spent. Of so few rows, groups are never too many.
const ROWS_MIN: u64 = 32_768;
/// Whole buckets that must have passed: fewer say little of how many rows share a group.
const BUCKETS_MIN: usize = 4;
/// Estimates must be over the share by so much, in percent: a tier that nearly pays is tried to the end.
const MARGIN_PERCENT: u64 = 125;

/// Whether a section is worth its bytes.
pub(super) fn pays(groups: u64, bytes: u64, rows: u64, raw_bytes: u64) -> bool {
    (rows < ROWS_MIN || !has_many_groups(groups, rows)) && bytes.saturating_mul(BYTES_SHARE) <= raw_bytes
}

fn has_many_groups(groups: u64, rows: u64) -> bool {
    groups * 10 > rows * GROUPS_OF_TEN_ROWS_MAX
}

/// Whether groups and bytes leave no doubt that a section with as many to its rows will not pay.
pub(super) fn is_clearly_too_much(groups: u64, bytes: u64, rows: u64, raw_bytes: u64) -> bool {
    has_many_groups(groups * 100 / MARGIN_PERCENT, rows) || bytes > tried_up_to(raw_bytes)
}

/// Sections of more bytes are not worth a try.
fn tried_up_to(raw_bytes: u64) -> u64 {
    raw_bytes / BYTES_SHARE / 100 * MARGIN_PERCENT
}

/// Looks at one roll-up's finest tier as rows come.
pub(super) struct Judge {
    /// Rows with equal dimensions come in time order, so passed buckets get no more groups and are like those to come.
    is_settled_by_order: bool,
    /// Groups and bytes of the trial encoding.
    trial: Option<(u64, u64)>,
}

impl Judge {
    pub fn new(dataset: &Dataset, plan: &RollupPlan) -> Self {
        let is_dimension =
            |column| plan.dimensions.iter().any(|own| own.key.is_none() && own.column == column);
        Judge { is_settled_by_order: dataset.sort.iter().all(|column| is_dimension(*column)), trial: None }
    }

    /// Whether enough rows have come to look.
    pub fn is_due(&self, table: &Table, rows: u64) -> bool {
        rows >= ROWS_MIN && table.buckets() > BUCKETS_MIN
    }

    /// About the bytes that the table's groups take. They are encoded once as a trial, which tells the bytes of a group.
    pub fn estimate(&mut self, table: &Table, project: &ProjectName, values: &[Axis], used: &[usize]) -> u64 {
        let groups = table.groups.len() as u64;
        let (of_groups, bytes) = *self.trial.get_or_insert_with(|| {
            let is_used = |axis: usize| used.contains(&axis);
            let sorted: Vec<Option<Sorted>> = values
                .iter()
                .enumerate()
                .map(|(axis, values)| is_used(axis).then(|| values.sort()))
                .collect();
            (groups.max(1), table.encode(project, &sorted, used).bytes())
        });
        bytes * groups / of_groups
    }

    /// Whether the groups for the rows so far are too many, whatever bytes they take.
    pub fn has_too_many(&self, groups: u64, rows: u64) -> bool {
        self.is_settled_by_order && has_many_groups(groups, rows)
    }

    /// Whether the bytes for the rows so far are too many for those rows, or even for all that will come.
    pub fn is_hopeless(&self, bytes: u64, rows: u64, expected: RowsExpected) -> bool {
        let allowed = |rows: u64| {
            let raw = u128::from(expected.raw_bytes) * u128::from(rows) / u128::from(expected.rows.max(1));
            tried_up_to(raw as u64)
        };
        bytes > allowed(expected.rows.max(rows)) || (self.is_settled_by_order && bytes > allowed(rows))
    }

    /// The next project's groups may be of another kind.
    pub fn end_project(&mut self) {
        self.trial = None;
    }
}
