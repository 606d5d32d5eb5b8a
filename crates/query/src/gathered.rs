//! What one thread has gathered of an aggregation.
//!
//! Rows are gathered piece by piece, so that a piece's partial can be kept. Where pieces have about as many groups as rows that
//! would cost a merge for nothing, and all pieces of a band are gathered in one. Not here: how rows enter a partial (`worker`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::ExecuteError;
use crate::frame::Frame;
use crate::partial::Partial;
use crate::pieces::{BANDS, UnitPiece};

/// A piece with fewer groups is always kept on its own: merging so few costs nothing.
const GROUPS_FEW: usize = 1_024;
/// A section with more rows most likely has about as many groups, so that its piece is not tried apart first.
const SECTION_ROWS_APART_MAX: u64 = 1 << 15;
/// With fewer rows to a group, merging a piece's groups costs about what grouping its rows did.
const ROWS_PER_GROUP_MIN: u64 = 4;

/// What the threads of one aggregation share.
pub(crate) struct Shared {
    pub frame: Arc<Frame>,
    pub pieces: Vec<UnitPiece>,
    /// A piece had so many groups that the others are not kept apart.
    is_wide: AtomicBool,
    /// Nor are they by a thread whose pieces hold so many bytes.
    apart_bytes_max: usize,
}

impl Shared {
    /// With 0 for `apart_bytes_max` no piece is kept apart.
    pub fn new(frame: &Arc<Frame>, pieces: Vec<UnitPiece>, apart_bytes_max: usize) -> Arc<Self> {
        let (frame, is_wide) = (Arc::clone(frame), AtomicBool::new(apart_bytes_max == 0));
        Arc::new(Shared { frame, pieces, is_wide, apart_bytes_max })
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
    /// What they hold.
    apart_bytes: usize,
    /// All others by band.
    pub bands: [Option<Partial>; BANDS],
    /// The pieces in `bands`.
    pub mixed: Vec<usize>,
}

struct Current {
    piece: usize,
    partial: Partial,
    rows: u64,
}

impl Gathered {
    pub fn new(shared: &Arc<Shared>) -> Self {
        Gathered {
            shared: Arc::clone(shared),
            entered: None,
            current: None,
            band: 0,
            pieces: Vec::new(),
            apart_bytes: 0,
            bands: Default::default(),
            mixed: Vec::new(),
        }
    }

    /// Says which piece the rows that follow belong to, and how many rows of a section they are at most.
    pub fn enter(&mut self, piece: usize, section_rows: u64) -> Result<(), ExecuteError> {
        if section_rows > SECTION_ROWS_APART_MAX {
            self.shared.is_wide.store(true, Ordering::Relaxed);
        }
        if self.entered == Some(piece) {
            return Ok(());
        }
        self.leave()?;
        self.entered = Some(piece);
        let shared = Arc::clone(&self.shared);
        let entered = &shared.pieces[piece];
        if entered.is_kept && !shared.is_wide.load(Ordering::Relaxed) {
            let grid = shared.frame.grid_of(entered.first_us, entered.last_us)?;
            let partial = Partial::new(&shared.frame.plan, grid.as_ref());
            self.current = Some(Current { piece, partial, rows: 0 });
            return Ok(());
        }
        self.band = entered.band;
        self.bands[self.band].get_or_insert_with(|| Partial::whole(&shared.frame));
        self.mixed.push(piece);
        Ok(())
    }

    /// Puts the piece that was read where it belongs.
    pub fn leave(&mut self) -> Result<(), ExecuteError> {
        let Some(Current { piece, mut partial, rows }) = self.current.take() else { return Ok(()) };
        let groups = partial.groups.len();
        if groups <= GROUPS_FEW || groups as u64 * ROWS_PER_GROUP_MIN <= rows {
            partial.close();
            self.apart_bytes += partial.memory_bytes();
            if self.apart_bytes > self.shared.apart_bytes_max {
                self.shared.is_wide.store(true, Ordering::Relaxed);
            }
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

    /// Where rows go.
    pub fn target(&mut self) -> &mut Partial {
        match &mut self.current {
            Some(current) => &mut current.partial,
            None => self.bands[self.band].as_mut().expect("`enter` made the band's partial"),
        }
    }

    /// Notes rows that went there.
    pub fn count(&mut self, rows: u64) {
        if let Some(current) = &mut self.current {
            current.rows += rows;
        }
    }

    pub fn memory_bytes(&self) -> usize {
        let parts = self.pieces.iter().map(|(_, partial)| partial);
        let current = self.current.as_ref().map(|current| &current.partial);
        parts.chain(current).chain(self.bands.iter().flatten()).map(Partial::memory_bytes).sum()
    }
}
