//! Groups with their states over some rows: what one thread makes, what is kept from question to question, what an answer is made of.
//!
//! Not here: how rows enter a partial (`worker`), and how long it is kept (`cache`).

use std::sync::Arc;

use tidewater_aggregate::{Groups, States};
use tidewater_model::time::BucketGrid;

use crate::error::ExecuteError;
use crate::frame::Frame;
use crate::plan::{Plan, Totals};
use crate::planner::SourceSummary;

/// A measure's index in the plan with its states.
pub(crate) type Column = (usize, States);

/// Groups with a state per group and measure, mergeable with other such parts of a plan of the same shape. Time buckets may be numbered
/// from another instant in each.
#[derive(Clone)]
pub(crate) struct Partial {
    pub groups: Groups,
    /// One per measure.
    pub states: Vec<Column>,
    /// Of all rows together, one group; only where rows may be in several groups.
    pub totals: Vec<Column>,
    /// What was read for it.
    pub sources: SourceSummary,
}

impl Partial {
    /// No rows yet.
    pub fn new(plan: &Plan, grid: Option<&Arc<BucketGrid>>) -> Self {
        let groups = Groups::new(plan.codes(grid));
        let columns = |is_single| -> Vec<Column> {
            let measures = plan.measures.iter().enumerate();
            measures.map(|(index, measure)| (index, States::new(measure.state, is_single))).collect()
        };
        let totals = if plan.totals == Totals::Apart { columns(true) } else { Vec::new() };
        let states = columns(plan.dimensions.is_empty());
        let mut partial = Partial { groups, states, totals, sources: SourceSummary::default() };
        partial.fit();
        partial
    }

    /// No rows yet, with the range's buckets.
    pub fn whole(frame: &Frame) -> Self {
        Partial::new(&frame.plan, frame.grid.as_ref())
    }

    /// Makes room in the states for every group.
    pub fn fit(&mut self) {
        let groups = self.groups.len();
        self.states.iter_mut().for_each(|(_, states)| states.resize(groups));
        self.totals.iter_mut().for_each(|(_, states)| states.resize(1));
    }

    /// Makes room for so many groups in all.
    pub fn reserve(&mut self, groups: usize) {
        self.groups.reserve(groups);
        self.states.iter_mut().for_each(|(_, states)| states.reserve(groups));
    }

    /// The groups of this and other parts together, where no two parts have one in common: where each has buckets of its own.
    pub fn groups_apart(&self, others: &[Arc<Partial>], frame: &Frame) -> Option<usize> {
        let (place, _) = frame.time_dimension()?;
        let parts = || others.iter().map(Arc::as_ref).chain([self]);
        let mut spans: Vec<(i64, i64)> = parts().filter_map(|part| part.bucket_span(place)).collect();
        spans.sort_unstable();
        let are_apart = spans.windows(2).all(|pair| pair[0].1 < pair[1].0);
        are_apart.then(|| parts().map(|part| part.groups.len()).sum())
    }

    /// The starts of the first and the last bucket with a group.
    fn bucket_span(&self, place: usize) -> Option<(i64, i64)> {
        let codes = || (0..self.groups.len()).map(|group| self.groups.key(group)[place]);
        let start = |code| self.groups.dimensions[place].bucket_start_us(code);
        Some((start(codes().min()?), start(codes().max()?)))
    }

    /// Adds another part.
    pub fn merge(&mut self, other: &Partial) -> Result<(), ExecuteError> {
        let map = self.groups.absorb(&other.groups)?;
        self.fit();
        for ((_, own), (_, others)) in self.states.iter_mut().zip(&other.states) {
            own.merge(others, &map);
        }
        for ((_, own), (_, others)) in self.totals.iter_mut().zip(&other.totals) {
            own.merge(others, &[0]);
        }
        self.sources.add(&other.sources);
        Ok(())
    }

    /// The same with the range's buckets, copied only where that is needed.
    pub fn widened(self: Arc<Self>, frame: &Frame) -> Result<Partial, ExecuteError> {
        if self.begins_with(frame) {
            let mut partial = Arc::unwrap_or_clone(self);
            if let Some((place, grid)) = frame.time_dimension() {
                partial.groups.dimensions[place] = tidewater_aggregate::Codes::buckets(grid);
            }
            return Ok(partial);
        }
        let mut partial = Partial::whole(frame);
        partial.merge(&self)?;
        Ok(partial)
    }

    /// Whether buckets have the range's numbers, which go on from the first one.
    pub fn begins_with(&self, frame: &Frame) -> bool {
        frame
            .time_dimension()
            .is_none_or(|(place, grid)| self.groups.dimensions[place].bucket_start_us(0) == grid.start(0).0)
    }

    /// Lets go of what only the taking of rows needs.
    pub fn freeze(&mut self) {
        self.groups.freeze();
        self.states.iter_mut().chain(&mut self.totals).for_each(|(_, states)| states.freeze());
    }

    /// Also lets go of what only the adding of groups needs; that is made anew where groups are added.
    pub fn close(&mut self) {
        self.freeze();
        self.groups.close();
    }

    /// The same in as little memory as possible, sharing the texts of another one where that has them; as it is where others hold it.
    pub fn compacted(self: Arc<Self>, lender: Option<&Partial>) -> Arc<Partial> {
        match Arc::try_unwrap(self) {
            Ok(mut partial) => {
                partial.freeze();
                partial.groups.compact(lender.map(|lender| &lender.groups));
                Arc::new(partial)
            }
            Err(held) => held,
        }
    }

    pub fn memory_bytes(&self) -> usize {
        let states = self.states.iter().chain(&self.totals);
        self.groups.memory_bytes() + states.map(|(_, states)| states.memory_bytes()).sum::<usize>()
    }
}
