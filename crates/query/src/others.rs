//! All groups that an answer does not show, as one.

use hashbrown::HashSet;
use tidewater_aggregate::{Cell, States};

use crate::answer::{MetricQuality, Others};
use crate::merged::quality_of;
use crate::plan::Use;
use crate::table::Table;
use crate::values::{Values, evaluate};

/// What becomes of a group here.
const REST: u32 = 0;
const SHOWN: u32 = 1;

/// The groups of a range that are not shown.
pub(crate) struct Rest<'a> {
    values: &'a Values,
    /// [`REST`] or [`SHOWN`] per group with rows.
    map: Vec<u32>,
}

impl<'a> Rest<'a> {
    /// `groups` are those that hold rows: buckets that were filled in come after them.
    pub fn new(table: &'a Table, groups: usize, shown: impl Iterator<Item = u32>) -> Option<Self> {
        let shown: HashSet<u32> = shown.collect();
        let map: Vec<u32> =
            (0..groups as u32).map(|group| if shown.contains(&group) { SHOWN } else { REST }).collect();
        map.contains(&REST).then_some(Rest { values: table.values(), map })
    }

    /// Merges them. A rate is over the whole range, as that of totals is.
    pub fn merge(&self) -> (Vec<Cell>, Vec<MetricQuality>) {
        let plan = &self.values.frame.plan;
        let merge = |(index, states): &(usize, States)| {
            let kind = plan.measures[*index].state;
            let mut both = States::new(kind, false);
            both.resize(SHOWN as usize + 1);
            both.merge(states, &self.map);
            // Only the first group of the two, so that what is shown says nothing about how exact the rest is.
            let mut rest = States::new(kind, true);
            rest.resize(1);
            rest.merge(&both, &[REST]);
            rest
        };
        let states: Vec<States> = self.values.partial.states.iter().map(merge).collect();
        let range = self.values.frame.range;
        let seconds = || range.past_seconds(range.from_us, range.to_us);
        let cell = |used: Use| states[used.measure].cell(0, used.reading, used.kind);
        let cells = plan.metrics.iter().map(|metric| evaluate(metric, &cell, &seconds));
        let quality =
            plan.metrics.iter().map(|metric| quality_of(metric, &|used| vec![&states[used.measure]]));
        (cells.collect(), quality.collect())
    }
}

/// The row for all groups that are not among the first `shown` of the answer, with its comparison; nothing where all are.
pub(crate) fn others(
    table: &Table,
    groups: usize,
    shown: &[u32],
    comparison: Option<(&Table, &[u32])>,
    quality: &mut [MetricQuality],
) -> Option<Others> {
    let mut merge = |rest: Rest<'_>| {
        let (cells, found) = rest.merge();
        for (known, found) in quality.iter_mut().zip(found) {
            if found.relative_error > known.relative_error {
                *known = found;
            }
        }
        cells
    };
    let metrics = merge(Rest::new(table, groups, shown.iter().copied())?);
    let comparison = comparison.map(|(compared, counterparts)| {
        let counterparts = shown.iter().map(|group| counterparts[*group as usize]);
        let rest = Rest::new(compared, compared.groups().len(), counterparts);
        rest.map_or_else(|| vec![Cell::Null; metrics.len()], merge)
    });
    Some(Others { metrics, comparison })
}
