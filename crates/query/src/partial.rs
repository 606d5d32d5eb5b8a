//! One thread's part of an aggregation: its groups and their states, and how a batch of rows enters them.
//!
//! This is also what any other source of groups (a roll-up, a cache) would yield: see [`Partial`].

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_buffer::BooleanBuffer;
use tidewater_columns::mask::Evaluator;
use tidewater_store::ScanBatch;

use crate::budget::Reservation;
use crate::error::ExecuteError;
use crate::plan::{MeasurePlan, Plan, Totals};
use crate::scan::Consumer;
use tidewater_aggregate::{Expansion, Groups};
use tidewater_aggregate::{Feed, Keys, Rows, Scratch};
use tidewater_aggregate::{Input, States};

/// A measure's index in the plan with its states.
pub(crate) type Column = (usize, States);

/// Groups with a state per group and measure, mergeable with other such parts of the same plan.
pub(crate) struct Partial {
    pub groups: Groups,
    pub states: Vec<Column>,
    /// Of all rows together, one group; only where rows may be in several groups.
    pub totals: Vec<Column>,
}

impl Partial {
    /// No rows yet.
    pub fn new(plan: &Plan) -> Self {
        let groups = Groups::new(plan.dimensions.iter().map(|dimension| dimension.codes()).collect());
        let is_single = plan.dimensions.is_empty();
        let columns = |is_single| {
            let measures = plan.measures.iter().enumerate();
            measures.map(|(index, measure)| (index, States::new(measure.state, is_single))).collect()
        };
        let totals: Vec<Column> = if plan.totals == Totals::Apart { columns(true) } else { Vec::new() };
        let mut partial = Partial { groups, states: columns(is_single), totals };
        partial.fit();
        partial
    }

    /// Makes room in the states for every group.
    pub fn fit(&mut self) {
        let groups = self.groups.len();
        self.states.iter_mut().for_each(|(_, states)| states.resize(groups));
        self.totals.iter_mut().for_each(|(_, states)| states.resize(1));
    }

    /// Adds another part of the same plan.
    pub fn merge(&mut self, other: &Partial) -> Result<(), ExecuteError> {
        let map = self.groups.absorb(&other.groups)?;
        self.fit();
        for ((_, own), (_, others)) in self.states.iter_mut().zip(&other.states) {
            own.merge(others, &map);
        }
        for ((_, own), (_, others)) in self.totals.iter_mut().zip(&other.totals) {
            own.merge(others, &[0]);
        }
        Ok(())
    }

    pub fn memory_bytes(&self) -> usize {
        let states = self.states.iter().chain(&self.totals);
        self.groups.memory_bytes() + states.map(|(_, states)| states.memory_bytes()).sum::<usize>()
    }
}

/// Memory is counted at least so often, in rows: counting walks over all groups, and so costs no more than a pass over as many.
const COUNT_ROWS: usize = 65_536;

/// Aggregates the batches of one thread.
pub(crate) struct Worker {
    plan: Arc<Plan>,
    pub partial: Partial,
    filter: Option<Evaluator>,
    measure_filters: Vec<Evaluator>,
    buffers: Buffers,
    pub reservation: Reservation,
    rows_since_count: usize,
}

#[derive(Default)]
struct Buffers {
    rows: Vec<u32>,
    codes: Vec<Vec<u32>>,
    subset_rows: Vec<u32>,
    subset_groups: Vec<u32>,
    scratch: Scratch,
}

impl Worker {
    pub fn new(plan: &Arc<Plan>, partial: Partial, reservation: Reservation) -> Result<Self, ExecuteError> {
        let mut worker = Worker {
            filter: plan.filter.as_ref().map(|filter| Evaluator::new(Arc::clone(filter))),
            measure_filters: plan
                .measure_filters
                .iter()
                .map(|filter| Evaluator::new(Arc::clone(filter)))
                .collect(),
            plan: Arc::clone(plan),
            partial,
            buffers: Buffers::default(),
            reservation,
            rows_since_count: 0,
        };
        worker.count_memory()?;
        Ok(worker)
    }

    fn count_memory(&mut self) -> Result<(), ExecuteError> {
        self.rows_since_count = 0;
        self.reservation.resize(self.partial.memory_bytes())
    }

    /// Aggregates the selected rows of a batch.
    fn aggregate(&mut self, batch: &ScanBatch, rows: Rows<'_>) -> Result<(), ExecuteError> {
        let Worker { plan, partial, measure_filters, buffers, .. } = self;
        let masks: Vec<BooleanBuffer> =
            measure_filters.iter_mut().map(|filter| evaluate(filter, plan, batch)).collect();
        let view = View { plan, batch, masks: &masks, times: times(plan, batch) };
        if !partial.totals.is_empty() {
            view.update(&mut partial.totals, Feed { rows, keys: Keys::One(0) }, buffers);
        }
        if plan.dimensions.is_empty() {
            view.update(&mut partial.states, Feed { rows, keys: Keys::One(0) }, buffers);
            return Ok(());
        }
        let mut expansion = None;
        for (place, dimension) in
            plan.dimensions.iter().enumerate().filter(|(_, dimension)| dimension.is_list())
        {
            let expansion = expansion.get_or_insert_with(|| Expansion::new(rows));
            expansion.expand(place, &mut partial.groups.dimensions[place], view.column(dimension.slot))?;
        }
        let Expansion { rows: expanded, codes: list_codes } = expansion.unwrap_or_default();
        let rows = if list_codes.is_empty() { rows } else { Rows::List(&expanded) };
        buffers.codes.resize_with(plan.dimensions.len(), Vec::new);
        for (place, codes) in list_codes {
            buffers.codes[place] = codes;
        }
        for (place, dimension) in
            plan.dimensions.iter().enumerate().filter(|(_, dimension)| !dimension.is_list())
        {
            let codes = &mut buffers.codes[place];
            codes.clear();
            partial.groups.dimensions[place].encode(view.column(dimension.slot), rows, codes)?;
        }
        let Partial { groups, states, .. } = partial;
        groups.assign(&buffers.codes)?;
        states.iter_mut().for_each(|(_, states)| states.resize(groups.len()));
        view.update(states, Feed { rows, keys: Keys::of(groups.assigned()) }, buffers);
        Ok(())
    }
}

impl Consumer for Worker {
    fn take(&mut self, batch: ScanBatch) -> Result<(), ExecuteError> {
        let plan = Arc::clone(&self.plan);
        let passed = self.filter.as_mut().map(|filter| evaluate(filter, &plan, &batch));
        let selection = match (&batch.selection, passed) {
            (Some(selection), Some(passed)) => Some(selection & &passed),
            (Some(selection), None) => Some(selection.clone()),
            (None, passed) => passed,
        };
        let mut list = std::mem::take(&mut self.buffers.rows);
        let rows = match &selection {
            None => Rows::All(batch.rows),
            Some(selection) if selection.count_set_bits() == batch.rows => Rows::All(batch.rows),
            Some(selection) => {
                list.clear();
                list.extend(selection.set_indices().map(|row| row as u32));
                Rows::List(&list)
            }
        };
        let len = rows.len();
        let outcome = if len == 0 { Ok(()) } else { self.aggregate(&batch, rows) };
        self.buffers.rows = list;
        outcome?;
        self.rows_since_count += len;
        if self.rows_since_count >= COUNT_ROWS.max(self.partial.groups.len()) {
            self.count_memory()?;
        }
        Ok(())
    }
}

/// A batch as the measures see it.
struct View<'a> {
    plan: &'a Plan,
    batch: &'a ScanBatch,
    /// One per filter of the plan's measures.
    masks: &'a [BooleanBuffer],
    times: &'a [i64],
}

impl View<'_> {
    fn column(&self, slot: usize) -> Option<&ArrayRef> {
        self.batch.columns[slot].as_ref()
    }

    /// Feeds every column of states, those of one filter after another.
    fn update(&self, columns: &mut [Column], feed: Feed<'_>, buffers: &mut Buffers) {
        self.update_where(None, columns, feed, &mut buffers.scratch);
        for (filter, mask) in self.masks.iter().enumerate() {
            let Buffers { subset_rows, subset_groups, scratch, .. } = buffers;
            let subset = subset(&feed, mask, subset_rows, subset_groups);
            if subset.rows.len() > 0 {
                self.update_where(Some(filter), columns, subset, scratch);
            }
        }
    }

    fn update_where(
        &self,
        filter: Option<usize>,
        columns: &mut [Column],
        feed: Feed<'_>,
        scratch: &mut Scratch,
    ) {
        for (index, states) in columns {
            let measure: &MeasurePlan = &self.plan.measures[*index];
            if measure.filter == filter {
                let array = measure.slot.and_then(|slot| self.column(slot));
                states.update(&feed, &Input { array, times: self.times }, scratch);
            }
        }
    }
}

/// The rows of a feed that pass a mask over the batch.
fn subset<'a>(
    feed: &Feed<'a>,
    mask: &BooleanBuffer,
    rows: &'a mut Vec<u32>,
    groups: &'a mut Vec<u32>,
) -> Feed<'a> {
    rows.clear();
    groups.clear();
    let mut keep = |place: usize, row: u32| {
        rows.push(row);
        if !matches!(feed.keys, Keys::One(_)) {
            groups.push(feed.keys.at(place));
        }
    };
    match feed.rows {
        Rows::All(len) => {
            mask.set_indices().take_while(|row| *row < len).for_each(|row| keep(row, row as u32))
        }
        Rows::List(list) => {
            for (place, row) in list.iter().enumerate().filter(|(_, row)| mask.value(**row as usize)) {
                keep(place, *row);
            }
        }
    }
    let keys = match feed.keys {
        Keys::One(group) => Keys::One(group),
        Keys::Runs(_) => Keys::Runs(groups),
        Keys::Each(_) => Keys::Each(groups),
    };
    Feed { rows: Rows::List(rows), keys }
}

/// The mask of a filter over all rows of a batch.
pub(crate) fn evaluate(filter: &mut Evaluator, plan: &Plan, batch: &ScanBatch) -> BooleanBuffer {
    filter.evaluate(batch.rows, &mut |reference| {
        plan.slot(reference).and_then(|slot| batch.columns[slot].clone())
    })
}

fn times<'a>(plan: &Plan, batch: &'a ScanBatch) -> &'a [i64] {
    let array = plan.time_slot.and_then(|slot| batch.columns[slot].as_ref());
    array.map_or(&[], |array| array.as_primitive::<TimestampMicrosecondType>().values())
}
