//! One thread's share of an aggregation: how a batch of rows enters a partial, and which one.
//!
//! Rows are gathered piece by piece, so that a piece's partial can be kept. Where pieces have about as many groups as rows that
//! would cost a merge for nothing, and all pieces of a band are gathered in one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_buffer::BooleanBuffer;
use tidewater_aggregate::{Expansion, Feed, Input, Keys, Rows, Scratch, subset};
use tidewater_columns::mask::Evaluator;
use tidewater_store::ScanBatch;

use crate::budget::Reservation;
use crate::error::ExecuteError;
use crate::frame::Frame;
use crate::partial::{Column, Partial};
use crate::pieces::{BANDS, UnitPiece};
use crate::plan::{MeasurePlan, Plan};

/// A piece with fewer groups is always kept on its own: merging so few costs nothing.
const GROUPS_FEW: usize = 1_024;
/// With fewer rows to a group, merging a piece's groups costs about what grouping its rows did.
const ROWS_PER_GROUP_MIN: u64 = 4;

/// What the threads of one aggregation share.
pub(crate) struct Shared {
    pub frame: Arc<Frame>,
    pub pieces: Vec<UnitPiece>,
    /// A piece had so many groups that the others are not kept apart.
    is_wide: AtomicBool,
}

impl Shared {
    /// Without `keeps_pieces` no piece is kept apart.
    pub fn new(frame: &Arc<Frame>, pieces: Vec<UnitPiece>, keeps_pieces: bool) -> Arc<Self> {
        Arc::new(Shared { frame: Arc::clone(frame), pieces, is_wide: AtomicBool::new(!keeps_pieces) })
    }
}

/// What one thread has gathered.
pub(crate) struct Gathered {
    shared: Arc<Shared>,
    entered: Option<usize>,
    /// The piece that is being read, where it is kept apart.
    current: Option<Current>,
    /// The band that is being read, where it is not.
    band: usize,
    /// Pieces that were kept apart.
    pub pieces: Vec<(usize, Partial)>,
    /// All others by band.
    pub bands: [Option<Partial>; BANDS],
    /// The pieces in `bands`.
    pub mixed: Vec<usize>,
    /// For each measure whether the piece that is being read answers it.
    active: Vec<bool>,
}

struct Current {
    piece: usize,
    partial: Partial,
    rows: u64,
}

impl Gathered {
    fn new(shared: &Arc<Shared>) -> Self {
        Gathered {
            shared: Arc::clone(shared),
            entered: None,
            current: None,
            band: 0,
            pieces: Vec::new(),
            bands: Default::default(),
            mixed: Vec::new(),
            active: vec![true; shared.frame.plan.measures.len()],
        }
    }

    /// Says which piece the rows that follow belong to.
    fn enter(&mut self, piece: usize) -> Result<(), ExecuteError> {
        if self.entered == Some(piece) {
            return Ok(());
        }
        self.leave()?;
        self.entered = Some(piece);
        let shared = Arc::clone(&self.shared);
        let entered = &shared.pieces[piece];
        self.active.fill(false);
        entered.measures().for_each(|measure| self.active[measure] = true);
        if entered.is_kept && !shared.is_wide.load(Ordering::Relaxed) {
            let grid = shared.frame.grid_of(entered.first_us, entered.last_us)?;
            let measures: Vec<usize> = entered.measures().collect();
            let partial = Partial::new(&shared.frame.plan, grid.as_ref(), &measures);
            self.current = Some(Current { piece, partial, rows: 0 });
            return Ok(());
        }
        self.band = entered.band;
        self.bands[self.band].get_or_insert_with(|| Partial::whole(&shared.frame));
        self.mixed.push(piece);
        Ok(())
    }

    /// Puts the piece that was read where it belongs.
    fn leave(&mut self) -> Result<(), ExecuteError> {
        let Some(Current { piece, mut partial, rows }) = self.current.take() else { return Ok(()) };
        let groups = partial.groups.len();
        if groups <= GROUPS_FEW || groups as u64 * ROWS_PER_GROUP_MIN <= rows {
            partial.close();
            self.pieces.push((piece, partial));
            return Ok(());
        }
        self.shared.is_wide.store(true, Ordering::Relaxed);
        let frame = &self.shared.frame;
        self.mixed.push(piece);
        match &mut self.bands[self.shared.pieces[piece].band] {
            Some(band) => band.merge(&partial),
            free => {
                *free = Some(Arc::new(partial).widened(frame)?);
                Ok(())
            }
        }
    }

    /// Where rows go, and for each measure whether it takes them.
    fn target(&mut self) -> (&[bool], &mut Partial) {
        let partial = match &mut self.current {
            Some(current) => &mut current.partial,
            None => self.bands[self.band].as_mut().expect("`enter` made the band's partial"),
        };
        (&self.active, partial)
    }

    fn memory_bytes(&self) -> usize {
        let parts = self.pieces.iter().map(|(_, partial)| partial);
        let current = self.current.as_ref().map(|current| &current.partial);
        parts.chain(current).chain(self.bands.iter().flatten()).map(Partial::memory_bytes).sum()
    }
}

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
    pub scanned: Scanned,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scanned {
    pub rows: u64,
    pub bytes: u64,
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
            scanned: Scanned::default(),
        };
        worker.count_memory()?;
        Ok(worker)
    }

    /// What was gathered, and the memory it holds.
    pub fn finish(mut self) -> Result<(Gathered, Reservation, Scanned), ExecuteError> {
        self.gathered.leave()?;
        self.count_memory()?;
        Ok((self.gathered, self.reservation, self.scanned))
    }

    fn count_memory(&mut self) -> Result<(), ExecuteError> {
        self.rows_since_count = 0;
        self.reservation.resize(self.gathered.memory_bytes())
    }

    /// Takes a batch with rows of a piece.
    pub fn take(&mut self, piece: usize, batch: &ScanBatch, scanned: Scanned) -> Result<(), ExecuteError> {
        self.gathered.enter(piece)?;
        self.scanned.rows += scanned.rows;
        self.scanned.bytes += scanned.bytes;
        let frame = Arc::clone(&self.frame);
        let passed = self.filter.as_mut().map(|filter| evaluate(filter, &frame.plan, batch));
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
        let outcome = if len == 0 { Ok(()) } else { self.aggregate(batch, rows) };
        self.buffers.rows = list;
        outcome?;
        self.rows_since_count += len;
        if let Some(current) = &mut self.gathered.current {
            current.rows += len as u64;
        }
        if self.rows_since_count >= COUNT_ROWS.max(self.gathered.target().1.groups.len()) {
            self.count_memory()?;
        }
        Ok(())
    }

    /// Aggregates the selected rows of a batch.
    fn aggregate(&mut self, batch: &ScanBatch, rows: Rows<'_>) -> Result<(), ExecuteError> {
        let Worker { frame, measure_filters, buffers, gathered, .. } = self;
        let (active, partial) = gathered.target();
        let plan = &*frame.plan;
        let masks: Vec<BooleanBuffer> =
            measure_filters.iter_mut().map(|filter| evaluate(filter, plan, batch)).collect();
        let view = View { plan, batch, active, masks: &masks, times: times(plan, batch) };
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

/// A batch as the measures see it.
struct View<'a> {
    plan: &'a Plan,
    batch: &'a ScanBatch,
    /// For each measure whether it takes these rows.
    active: &'a [bool],
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
            if measure.filter == filter && self.active[*index] {
                let array = measure.slot.and_then(|slot| self.column(slot));
                states.update(&feed, &Input { array, times: self.times }, scratch);
            }
        }
    }
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
