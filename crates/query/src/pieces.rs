//! What a pass over a range is put together from: pieces of units in a stable order, and the keys their partials are kept under.
//!
//! A piece is what the range takes of one unit. Pieces stand in bands, those that change least first, so that the merged partial of a prefix serves many questions. Not here: which
//! source answers which part of a unit (`planner`), and the keeping (`cache`).

use tidewater_store::{DatasetView, Lsn, ProjectSpan, Unit, UnitId};
use xxhash_rust::xxh3::Xxh3;

use crate::cache::Key;
use crate::frame::Frame;
use crate::plan::Shape;

/// Bands of pieces: segments of old days, other segments, settled chunks, units cut by the range, chunks that still grow.
pub(crate) const BANDS: usize = 5;
const OLD: usize = 0;
const RECENT: usize = 1;
const SETTLED: usize = 2;
const CUT: usize = 3;
const GROWING: usize = 4;

/// The newest days, whose segments compaction still replaces and late rows still join.
const RECENT_DAYS: i32 = 2;

/// A piece of a unit as one pass reads it.
#[derive(Clone, Debug)]
pub(crate) struct UnitPiece {
    /// The unit's index in the view.
    pub unit: usize,
    /// The first instant; `None` where the piece begins with the unit, so that equal pieces of different ranges are equal.
    pub from_us: Option<i64>,
    /// The first instant after it, likewise.
    pub to_us: Option<i64>,
    /// The instants its rows lie in, both included.
    pub first_us: i64,
    pub last_us: i64,
    pub band: usize,
    /// Whether its partial may serve another question.
    pub is_kept: bool,
    /// The project's rows in the whole unit.
    pub rows: u64,
    /// The key of its partial.
    pub key: Key,
    /// Its place among the pieces of its band: by day, and by age where late rows still come, so that what a flush adds stands last and
    /// the prefix before it goes on to serve.
    place: (i32, u64),
    tombstone: Lsn,
}

impl UnitPiece {
    /// Says which rows these are: not where they are read from, because every source gives an equal partial.
    fn write_identity(&self, view: &DatasetView, hash: &mut Xxh3) {
        let (kind, id) = match view.units[self.unit].id() {
            UnitId::Chunk(id) => (0, id),
            UnitId::Segment(id) => (1, id.0),
            UnitId::History(id) => (2, id.0),
        };
        hash.update(&[kind]);
        hash.update(&id.to_le_bytes());
        hash.update(&self.tombstone.0.to_le_bytes());
        for end in [self.from_us, self.to_us] {
            hash.update(&[u8::from(end.is_some())]);
            hash.update(&end.unwrap_or_default().to_le_bytes());
        }
    }
}

/// All pieces of a pass, in order.
pub(crate) struct Pieces {
    pub list: Vec<UnitPiece>,
    /// `prefixes[n]` is the key of the merged partial of the first `n + 1` pieces.
    pub prefixes: Vec<Key>,
}

impl Pieces {
    /// One for each unit that touches the range.
    pub fn of_units(frame: &Frame, view: &DatasetView) -> Self {
        let newest_day = view.units.iter().filter_map(|unit| Some(unit.segment()?.meta().day)).max();
        let recent_from = newest_day.map_or(i32::MAX, |day| day - (RECENT_DAYS - 1));
        let mut list = Vec::new();
        let range = frame.range;
        if range.from_us < range.to_us {
            for (index, unit) in view.units.iter().enumerate() {
                let Some(span) = unit.span(&frame.plan.project) else { continue };
                if span.max_us < range.from_us || span.min_us >= range.to_us {
                    continue;
                }
                list.push(unit_piece(view, index, span, frame, recent_from));
            }
        }
        Pieces::in_order(frame.plan.shape, view, list)
    }

    fn in_order(shape: Shape, view: &DatasetView, mut list: Vec<UnitPiece>) -> Self {
        list.sort_by_key(|piece| (piece.band, piece.place));
        let mut all = hasher(shape);
        let mut prefixes = Vec::with_capacity(list.len());
        for piece in &mut list {
            let mut alone = hasher(shape);
            piece.write_identity(view, &mut alone);
            piece.key = Key(alone.digest128());
            piece.write_identity(view, &mut all);
            prefixes.push(Key(all.digest128()));
        }
        Pieces { list, prefixes }
    }

    /// Leaves only the pieces of the first so many bands.
    pub fn truncate(&mut self, bands: usize) {
        let end = self.list.partition_point(|piece| piece.band < bands);
        self.list.truncate(end);
        self.prefixes.truncate(end);
    }

    /// Where bands end whose prefix is worth keeping: past so many pieces. Ascending.
    pub fn levels(&self) -> Vec<usize> {
        let ends = (OLD..GROWING).map(|band| self.list.partition_point(|piece| piece.band <= band));
        let mut ends: Vec<usize> = ends.filter(|end| *end > 0).collect();
        ends.dedup();
        ends
    }
}

/// The band of cut pieces is kept only where it was met before, see [`crate::cache`].
pub(crate) fn is_cut(band: usize) -> bool {
    band == CUT
}

fn hasher(shape: Shape) -> Xxh3 {
    let mut hash = Xxh3::new();
    hash.update(&shape.0.to_le_bytes());
    hash
}

fn unit_piece(
    view: &DatasetView,
    unit: usize,
    span: ProjectSpan,
    frame: &Frame,
    recent_from: i32,
) -> UnitPiece {
    let range = frame.range;
    let from_us = (span.min_us < range.from_us).then_some(range.from_us);
    let to_us = (span.max_us >= range.to_us).then_some(range.to_us);
    let is_cut = from_us.is_some() || to_us.is_some();
    let (band, (day, id)) = match &view.units[unit] {
        Unit::Chunk(chunk) if !chunk.is_settled() => (GROWING, (i32::MAX, chunk.id())),
        Unit::Chunk(chunk) => (if is_cut { CUT } else { SETTLED }, (i32::MAX, chunk.id())),
        Unit::History(sidecar) => (if is_cut { CUT } else { OLD }, (sidecar.meta().day, sidecar.meta().id.0)),
        Unit::Segment(segment) => {
            let meta = segment.meta();
            match (is_cut, meta.day >= recent_from) {
                (true, _) => (CUT, (meta.day, meta.id.0)),
                (false, true) => (RECENT, (0, meta.id.0)),
                (false, false) => (OLD, (meta.day, meta.id.0)),
            }
        }
    };
    UnitPiece {
        unit,
        first_us: span.min_us.max(from_us.unwrap_or(i64::MIN)),
        last_us: span.max_us.min(to_us.map_or(i64::MAX, |to| to - 1)),
        from_us,
        to_us,
        band,
        is_kept: band != GROWING,
        rows: span.rows,
        key: Key(0),
        place: (day, id),
        tombstone: view.latest_delete(&view.units[unit], &frame.plan.project).unwrap_or_default(),
    }
}
