//! Groups with their states over some rows: what one thread makes, what is kept from question to question, what an answer is made of.
//!
//! Not here: how rows enter a partial (`worker`), and how long it is kept (`cache`).

use std::sync::Arc;

use tidewater_aggregate::{Groups, States};
use tidewater_model::time::BucketGrid;

use crate::error::ExecuteError;
use crate::frame::Frame;
use crate::plan::{Plan, Totals};

/// A measure's index in the plan with its states.
pub(crate) type Column = (usize, States);

/// Groups with a state per group and measure, mergeable with other such parts of a plan of the same shape. Time buckets may be numbered
/// from another instant in each.
#[derive(Clone)]
pub(crate) struct Partial {
    pub groups: Groups,
    /// In the order of the measures' indices.
    pub states: Vec<Column>,
    /// Of all rows together, one group; only where rows may be in several groups.
    pub totals: Vec<Column>,
}

impl Partial {
    /// No rows yet, with states for these measures; ascending.
    pub fn new(plan: &Plan, grid: Option<&Arc<BucketGrid>>, measures: &[usize]) -> Self {
        let groups = Groups::new(plan.codes(grid));
        let columns = |is_single| -> Vec<Column> {
            let states = |index: &usize| (*index, States::new(plan.measures[*index].state, is_single));
            measures.iter().map(states).collect()
        };
        let totals = if plan.totals == Totals::Apart { columns(true) } else { Vec::new() };
        let mut partial = Partial { groups, states: columns(plan.dimensions.is_empty()), totals };
        partial.fit();
        partial
    }

    /// No rows yet, with every measure and the range's buckets.
    pub fn whole(frame: &Frame) -> Self {
        let measures: Vec<usize> = (0..frame.plan.measures.len()).collect();
        Partial::new(&frame.plan, frame.grid.as_ref(), &measures)
    }

    /// Makes room in the states for every group.
    pub fn fit(&mut self) {
        let groups = self.groups.len();
        self.states.iter_mut().for_each(|(_, states)| states.resize(groups));
        self.totals.iter_mut().for_each(|(_, states)| states.resize(1));
    }

    /// Adds another part, whose measures are among those here.
    pub fn merge(&mut self, other: &Partial) -> Result<(), ExecuteError> {
        let map = self.groups.absorb(&other.groups)?;
        self.fit();
        merge_columns(&mut self.states, &other.states, &map);
        merge_columns(&mut self.totals, &other.totals, &[0]);
        Ok(())
    }

    /// The same with every measure and the range's buckets, copied only where that is needed.
    pub fn widened(self: Arc<Self>, frame: &Frame) -> Result<Partial, ExecuteError> {
        if self.is_complete(&frame.plan) && self.begins_with(frame) {
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

    /// Whether it holds every measure.
    pub fn is_complete(&self, plan: &Plan) -> bool {
        self.states.len() == plan.measures.len()
    }

    /// Whether buckets have the range's numbers, which go on from the first one.
    fn begins_with(&self, frame: &Frame) -> bool {
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

    pub fn memory_bytes(&self) -> usize {
        let states = self.states.iter().chain(&self.totals);
        self.groups.memory_bytes() + states.map(|(_, states)| states.memory_bytes()).sum::<usize>()
    }
}

fn merge_columns(own: &mut [Column], others: &[Column], map: &[u32]) {
    let mut columns = own.iter_mut();
    for (index, others) in others {
        // Both are in the order of their indices.
        if let Some((_, own)) = columns.find(|(own, _)| own == index) {
            own.merge(others, map);
        }
    }
}
