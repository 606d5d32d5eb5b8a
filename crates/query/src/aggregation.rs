//! One aggregation over one range: which of its pieces are known, which are to be read, and how all become one partial.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use tidewater_store::DatasetView;

use crate::budget::{QueryBudget, Reservation};
use crate::cache::PartialCache;
use crate::costs::{Costs, Scanned};
use crate::error::ExecuteError;
use crate::frame::Frame;
use crate::gathered::{Gathered, Shared};
use crate::partial::Partial;
use crate::pieces::{BANDS, Pieces, UnitPiece, is_cut};
use crate::sources::{Part, Sources};
use crate::worker::Worker;

/// A merged partial with fewer rows to a group is about as fast to make anew, and as large as what it is made of.
const ROWS_PER_GROUP_MIN: u64 = 2;
/// Merged partials with fewer groups are kept in any case.
const GROUPS_FEW: usize = 1_024;

/// What each thread gathers of single pieces apart takes at most this part of a question's memory.
const APART_PARTS: usize = 8;

/// From so many texts on, kept partials share them.
const TEXTS_MANY: usize = 4_096;

/// An aggregation that is about to read.
pub(crate) struct Aggregation<'a> {
    cache: Option<&'a PartialCache>,
    budget: Arc<QueryBudget>,
    pub shared: Arc<Shared>,
    pieces: Pieces,
    /// The merged partial of the first so many pieces.
    base: Option<(usize, Arc<Partial>)>,
    /// Partials of pieces after them, by place.
    held: HashMap<usize, Arc<Partial>>,
    /// Pieces to read, by place.
    missing: Vec<usize>,
    /// What reading them is expected to cost, in nano-seconds of one core.
    cost_ns: u64,
    costs: Costs,
}

/// All groups of one aggregation.
pub(crate) struct Joined {
    pub partial: Arc<Partial>,
    pub costs: Costs,
    pub cache_use: CacheUse,
    pub pieces: u64,
    pub units: u64,
    /// What the reading was expected to cost, in nano-seconds of one core.
    pub cost_ns: u64,
}

/// How much of an answer was known before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheUse {
    /// Nothing, or there was nothing to know.
    #[default]
    None,
    /// Some of it.
    Part,
    /// Everything.
    All,
}

impl CacheUse {
    /// That of two parts together.
    pub(crate) fn and(self, other: CacheUse) -> CacheUse {
        if self == other { self } else { CacheUse::Part }
    }
}

impl<'a> Aggregation<'a> {
    /// Looks up what is known. Without a cache everything is read, and nothing kept.
    pub fn new(
        frame: &Arc<Frame>,
        view: &DatasetView,
        budget: &Arc<QueryBudget>,
        cache: Option<&'a PartialCache>,
    ) -> Self {
        Self::of_bands(BANDS, frame, view, budget, cache)
    }

    /// As [`Self::new`], but over the pieces of the first so many bands. Where these are not all, only what they come to is kept.
    pub fn of_bands(
        bands: usize,
        frame: &Arc<Frame>,
        view: &DatasetView,
        budget: &Arc<QueryBudget>,
        cache: Option<&'a PartialCache>,
    ) -> Self {
        let mut pieces = Pieces::of_units(frame, view);
        pieces.truncate(bands);
        if cache.is_none() {
            pieces.list.iter_mut().for_each(|piece| piece.band = 0);
        }
        let base = cache.and_then(|cache| cache.longest(&pieces.prefixes));
        let base = base.map(|(place, partial)| (place + 1, partial));
        let first = base.as_ref().map_or(0, |(count, _)| *count);
        let (mut held, mut missing) = (HashMap::new(), Vec::new());
        for (place, piece) in pieces.list.iter().enumerate().skip(first) {
            let known = cache.filter(|_| piece.is_kept).and_then(|cache| cache.get(piece.key));
            match known {
                Some(partial) => _ = held.insert(place, partial),
                None => missing.push(place),
            }
        }
        let keeps_pieces = cache.is_some() && bands == BANDS;
        let apart_bytes_max = if keeps_pieces { budget.max() / APART_PARTS } else { 0 };
        let shared = Shared::new(frame, pieces.list.clone(), apart_bytes_max);
        Aggregation {
            cache,
            budget: Arc::clone(budget),
            shared,
            pieces,
            base,
            held,
            missing,
            cost_ns: 0,
            costs: Costs::default(),
        }
    }

    /// Whether nothing is to be read but what was merged before.
    pub fn is_known_merged(&self) -> bool {
        self.base.as_ref().map_or(0, |(count, _)| *count) == self.pieces.list.len()
    }

    /// Tells which parts of which pieces and units are to be read.
    pub fn read(
        &mut self,
        sources: &Sources<'_>,
        mut part: impl FnMut(usize, usize, Part),
    ) -> Result<(), ExecuteError> {
        for place in &self.missing {
            let piece = &self.pieces.list[*place];
            let (parts, cost_ns) = sources.parts(piece)?;
            self.cost_ns += cost_ns;
            for found in parts {
                self.costs.add(&found, Scanned { parts: 1, ..Scanned::default() });
                part(*place, piece.unit, found);
            }
        }
        Ok(())
    }

    /// What reading was said to cost, in nano-seconds of one core.
    pub fn cost_ns(&self) -> u64 {
        self.cost_ns
    }

    /// A thread's share.
    pub fn worker(&self) -> Result<Worker, ExecuteError> {
        Worker::new(&self.shared, None, self.budget.reserve())
    }

    /// Joins the threads' shares with what was known.
    pub fn join(mut self, workers: Vec<Worker>) -> Result<Joined, ExecuteError> {
        let mut read = Read::new(workers, self.budget.reserve())?;
        self.costs.merge(&read.costs);
        let (mut at, mut all) = match self.base.take() {
            Some((count, partial)) => (count, Some(partial)),
            None => (0, None),
        };
        let base = at;
        if let Some(cache) = self.cache {
            cache.count(self.pieces.list.len() - self.missing.len(), self.missing.len());
        }
        let pieces = self.pieces.list.len() as u64;
        let cache_use = match self.missing.len() {
            _ if pieces == 0 => CacheUse::None,
            0 => CacheUse::All,
            missing if missing as u64 == pieces => CacheUse::None,
            _ => CacheUse::Part,
        };
        let levels = self.pieces.levels();
        let ends = levels.iter().copied().chain([self.pieces.list.len()]);
        for end in ends.filter(|end| *end > base) {
            if end == at {
                continue;
            }
            let parts = self.parts(at..end, &mut read)?;
            let merged = self.merge(all.take(), parts, &mut read.reservation)?;
            all = Some(if levels.contains(&end) { self.keep_level(base, end, merged) } else { merged });
            at = end;
        }
        let frame = &self.shared.frame;
        let partial = match all {
            Some(all) if all.begins_with(frame) => all,
            Some(all) => Arc::new(all.widened(frame)?),
            None => Arc::new(Partial::whole(frame)),
        };
        // Each question that reads the partial counts it as its own.
        let units: HashSet<usize> = self.pieces.list.iter().map(|piece| piece.unit).collect();
        Ok(Joined {
            partial,
            costs: self.costs,
            cache_use,
            pieces,
            units: units.len() as u64,
            cost_ns: self.cost_ns,
        })
    }

    /// The partials of some pieces, known and read. What was read of a single piece is kept.
    fn parts(
        &mut self,
        places: std::ops::Range<usize>,
        read: &mut Read,
    ) -> Result<Vec<Arc<Partial>>, ExecuteError> {
        let list = &self.pieces.list[places.clone()];
        let mut parts = Vec::new();
        if let (Some(first), Some(last)) = (list.first(), list.last()) {
            (first.band..=last.band).for_each(|band| parts.extend(read.bands[band].drain(..).map(Arc::new)));
        }
        for (place, piece) in places.zip(list) {
            if let Some(held) = self.held.remove(&place) {
                parts.push(held);
                continue;
            }
            let partial = read.piece(place, piece, &self.shared.frame)?;
            if let Some((partial, is_whole)) = partial {
                if is_whole {
                    self.keep_piece(piece, &partial);
                }
                parts.push(partial);
            }
        }
        Ok(parts)
    }

    fn merge(
        &self,
        all: Option<Arc<Partial>>,
        mut parts: Vec<Arc<Partial>>,
        reservation: &mut Reservation,
    ) -> Result<Arc<Partial>, ExecuteError> {
        let frame = &self.shared.frame;
        let first = all.or_else(|| {
            // The largest part takes in the others, which moves the fewest groups.
            parts.sort_by_key(|part| part.groups.len());
            parts.pop()
        });
        let Some(first) = first else { return Ok(Arc::new(Partial::whole(frame))) };
        if parts.is_empty() {
            return Ok(first);
        }
        let mut all = match first.groups_apart(&parts, frame) {
            Some(groups) => {
                let mut all = Partial::whole(frame);
                all.reserve(groups);
                parts.insert(0, first);
                all
            }
            None => first.widened(frame)?,
        };
        for part in parts {
            all.merge(&part)?;
            reservation.grow_to(all.memory_bytes())?;
        }
        all.freeze();
        Ok(Arc::new(all))
    }

    fn keep_piece(&self, piece: &UnitPiece, partial: &Arc<Partial>) {
        let Some(cache) = self.cache.filter(|_| piece.is_kept) else { return };
        if !is_cut(piece.band) || cache.is_met(piece.key) {
            cache.insert(piece.key, partial, piece.rows);
        }
    }

    /// Keeps what the first so many pieces come to, if that pays; gives it back, maybe in less memory.
    fn keep_level(&self, base: usize, end: usize, partial: Arc<Partial>) -> Arc<Partial> {
        // The key of one piece is the piece's own.
        let Some(cache) = self.cache.filter(|_| end > 1) else { return partial };
        let list = &self.pieces.list[..end];
        let rows: u64 = list.iter().map(|piece| piece.rows).sum();
        let groups = partial.groups.len();
        let key = self.pieces.prefixes[end - 1];
        let pays = groups <= GROUPS_FEW || groups as u64 * ROWS_PER_GROUP_MIN <= rows;
        let is_cut = list.last().is_some_and(|last| is_cut(last.band));
        if !pays || (is_cut && !cache.is_met(key)) {
            return partial;
        }
        let partial = match partial.groups.texts() >= TEXTS_MANY {
            true => cache.insert_sharing(self.shared.frame.plan.family(), key, partial, rows),
            false => {
                cache.insert(key, &partial, rows);
                partial
            }
        };
        // A prefix that ended in the same band was this level's when the band had fewer pieces.
        let is_same_band = base > 1 && base < end && list[base - 1].band == list[end - 1].band;
        if is_same_band {
            cache.forget(self.pieces.prefixes[base - 1]);
        }
        partial
    }
}

/// What all threads read.
struct Read {
    bands: [Vec<Partial>; BANDS],
    pieces: HashMap<usize, Partial>,
    /// Pieces of which some rows are in `bands`.
    mixed: HashSet<usize>,
    reservation: Reservation,
    costs: Costs,
}

impl Read {
    fn new(workers: Vec<Worker>, reservation: Reservation) -> Result<Self, ExecuteError> {
        let mut read = Read {
            bands: Default::default(),
            pieces: HashMap::new(),
            mixed: HashSet::new(),
            reservation,
            costs: Costs::default(),
        };
        let mut bytes = 0;
        for worker in workers {
            let (Gathered { pieces, bands, mixed, .. }, reservation, costs) = worker.finish()?;
            // What the threads held is held here from now on.
            bytes += reservation.bytes();
            drop(reservation);
            read.reservation.resize(bytes)?;
            read.costs.merge(&costs);
            read.mixed.extend(mixed);
            for (own, band) in read.bands.iter_mut().zip(bands) {
                own.extend(band);
            }
            for (place, partial) in pieces {
                match read.pieces.entry(place) {
                    hashbrown::hash_map::Entry::Occupied(mut held) => held.get_mut().merge(&partial)?,
                    hashbrown::hash_map::Entry::Vacant(free) => _ = free.insert(partial),
                }
            }
        }
        Ok(read)
    }

    /// What was read of a piece and not mixed with others, and whether that is all of it; `None` for nothing.
    fn piece(
        &mut self,
        place: usize,
        piece: &UnitPiece,
        frame: &Frame,
    ) -> Result<Option<(Arc<Partial>, bool)>, ExecuteError> {
        let is_whole = !self.mixed.contains(&place);
        let partial = match self.pieces.remove(&place) {
            Some(mut partial) => {
                partial.close();
                partial
            }
            None if is_whole => {
                let grid = frame.grid_of(piece.first_us, piece.last_us)?;
                let mut none = Partial::new(&frame.plan, grid.as_ref());
                none.close();
                none
            }
            None => return Ok(None),
        };
        Ok(Some((Arc::new(partial), is_whole)))
    }
}
