//! How a batch of rows enters the partial that a thread is gathering: as values of raw rows, or as stored states of a section's rows.

use std::sync::Arc;
use std::time::Instant;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_buffer::BooleanBuffer;
use tidewater_aggregate::{Expansion, Feed, Input, Keys, Rows, Scratch, subset};
use tidewater_columns::mask::Evaluator;

use crate::budget::Reservation;
use crate::costs::{Costs, Scanned};
use crate::error::ExecuteError;
use crate::frame::Frame;
use crate::gathered::{Gathered, Shared};
use crate::partial::{Column, Partial};
use crate::plan::{MeasurePlan, Plan};
use crate::section::Stored;
use crate::sources::Part;

/// Memory is counted at least so often, in rows: counting walks over all groups, and so costs no more than a pass over as many.
const COUNT_ROWS: usize = 65_536;

/// Aggregates the batches of one thread.
pub(crate) struct Worker {
    frame: Arc<Frame>,
    gathered: Gathered,
    filter: Option<Evaluator>,
    measure_filters: Vec<Evaluator>,
    buffers: Buffers,
    reservation: Reservation,
    rows_since_count: usize,
    costs: Costs,
}

/// A batch's columns in the slots of the plan, and where its measures' values come from.
pub(crate) struct Batch<'a> {
    pub rows: usize,
    /// Which rows are meant; `None` for all.
    pub selection: Option<&'a BooleanBuffer>,
    pub columns: &'a [Option<ArrayRef>],
    /// By measure, of a section's rows; `None` for raw rows.
    pub stored: Option<&'a [Option<Stored>]>,
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
    /// `seed` is what the first band begins with.
    pub fn new(
        shared: &Arc<Shared>,
        seed: Option<Partial>,
        reservation: Reservation,
    ) -> Result<Self, ExecuteError> {
        let evaluator = |filter: &Arc<_>| Evaluator::new(Arc::clone(filter));
        let plan = &shared.frame.plan;
        let mut gathered = Gathered::new(shared);
        gathered.bands[0] = seed;
        let mut worker = Worker {
            filter: plan.filter.as_ref().map(evaluator),
            measure_filters: plan.measure_filters.iter().map(evaluator).collect(),
            frame: Arc::clone(&shared.frame),
            gathered,
            buffers: Buffers::default(),
            reservation,
            rows_since_count: 0,
            costs: Costs::default(),
        };
        worker.count_memory()?;
        Ok(worker)
    }

    /// What was gathered, the memory it holds, and what was read for it.
    pub fn finish(mut self) -> Result<(Gathered, Reservation, Costs), ExecuteError> {
        self.gathered.leave()?;
        self.count_memory()?;
        Ok((self.gathered, self.reservation, self.costs))
    }

    fn count_memory(&mut self) -> Result<(), ExecuteError> {
        self.rows_since_count = 0;
        self.reservation.resize(self.gathered.memory_bytes())
    }

    /// Takes a batch of a part of a piece.
    pub fn take(
        &mut self,
        piece: usize,
        part: &Part,
        batch: &Batch<'_>,
        scanned: Scanned,
    ) -> Result<(), ExecuteError> {
        let start = Instant::now();
        self.gathered.enter(piece, part.section.as_ref().map_or(0, |section| section.rows))?;
        self.gathered.target().sources.add(&part.source());
        let frame = Arc::clone(&self.frame);
        let passed = self.filter.as_mut().map(|filter| evaluate(filter, &frame.plan, batch));
        let selection = match (batch.selection, passed) {
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
        let outcome = if len == 0 { Ok(()) } else { self.aggregate(part, batch, rows) };
        self.buffers.rows = list;
        outcome?;
        self.rows_since_count += len;
        self.gathered.count(len as u64);
        if self.rows_since_count >= COUNT_ROWS.max(self.gathered.target().groups.len()) {
            self.count_memory()?;
        }
        self.costs.add(part, Scanned { busy: start.elapsed(), ..scanned });
        Ok(())
    }

    /// Aggregates the selected rows of a batch.
    fn aggregate(&mut self, part: &Part, batch: &Batch<'_>, rows: Rows<'_>) -> Result<(), ExecuteError> {
        let Worker { frame, measure_filters, buffers, gathered, .. } = self;
        let (plan, partial) = (&*frame.plan, gathered.target());
        let filters = filters(plan, part);
        let mask = |(index, filter): (usize, &mut Evaluator)| {
            filters.contains(&Some(Some(index))).then(|| evaluate(filter, plan, batch))
        };
        let masks: Vec<Option<BooleanBuffer>> = measure_filters.iter_mut().enumerate().map(mask).collect();
        let view = View { plan, batch, filters: &filters, masks: &masks, times: times(plan, batch) };
        if !partial.totals.is_empty() {
            view.update(&mut partial.totals, Feed { rows, keys: Keys::One(0) }, buffers)?;
        }
        if plan.dimensions.is_empty() {
            return view.update(&mut partial.states, Feed { rows, keys: Keys::One(0) }, buffers);
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
        view.update(states, Feed { rows, keys: Keys::of(groups.assigned()) }, buffers)
    }
}

/// By measure: `None` where the part does not answer it, else the filter it is yet to be held against.
fn filters(plan: &Plan, part: &Part) -> Vec<Option<Option<usize>>> {
    let mut filters = vec![None; plan.measures.len()];
    for measure in &part.measures {
        let filter = plan.measures[measure.measure].filter;
        filters[measure.measure] = Some(filter.filter(|_| measure.filtered));
    }
    filters
}

/// A batch as the measures see it.
struct View<'a> {
    plan: &'a Plan,
    batch: &'a Batch<'a>,
    /// See [`filters`].
    filters: &'a [Option<Option<usize>>],
    /// One per filter of the plan's measures, where it is needed.
    masks: &'a [Option<BooleanBuffer>],
    times: &'a [i64],
}

impl View<'_> {
    fn column(&self, slot: usize) -> Option<&ArrayRef> {
        self.batch.columns[slot].as_ref()
    }

    /// Feeds every column of states, those of one filter after another.
    fn update(
        &self,
        columns: &mut [Column],
        feed: Feed<'_>,
        buffers: &mut Buffers,
    ) -> Result<(), ExecuteError> {
        self.update_where(None, columns, feed, &mut buffers.scratch)?;
        for (filter, mask) in self.masks.iter().enumerate() {
            let Some(mask) = mask else { continue };
            let Buffers { subset_rows, subset_groups, scratch, .. } = buffers;
            let subset = subset(&feed, mask, subset_rows, subset_groups);
            if subset.rows.len() > 0 {
                self.update_where(Some(filter), columns, subset, scratch)?;
            }
        }
        Ok(())
    }

    fn update_where(
        &self,
        filter: Option<usize>,
        columns: &mut [Column],
        feed: Feed<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), ExecuteError> {
        for (index, states) in columns.iter_mut().filter(|(index, _)| self.filters[*index] == Some(filter)) {
            match self.batch.stored {
                None => {
                    let measure: &MeasurePlan = &self.plan.measures[*index];
                    let array = measure.slot.and_then(|slot| self.column(slot));
                    states.update(&feed, &Input { array, times: self.times }, scratch);
                }
                Some(stored) => {
                    let what = "a part of an answer lacks a measure it was planned for";
                    let stored = stored[*index].as_ref().ok_or(ExecuteError::Inconsistent { what })?;
                    states.merge_encoded(stored, feed.rows, feed.keys)?;
                }
            }
        }
        Ok(())
    }
}

/// The mask of a filter over all rows of a batch.
fn evaluate(filter: &mut Evaluator, plan: &Plan, batch: &Batch<'_>) -> BooleanBuffer {
    filter.evaluate(batch.rows, &mut |reference| {
        plan.slot(reference).and_then(|slot| batch.columns[slot].clone())
    })
}

fn times<'a>(plan: &Plan, batch: &Batch<'a>) -> &'a [i64] {
    let array = plan.time_slot.and_then(|slot| batch.columns[slot].as_ref());
    array.map_or(&[], |array| array.as_primitive::<TimestampMicrosecondType>().values())
}
