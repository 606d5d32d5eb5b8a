//! Where segments and their sidecars live, and the footers of those in use.
//!
//! Not here: what a footer holds (`footer`).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use super::footer::Footer;
use super::meta::{SegmentId, segment_path};
use crate::disk::DiskRef;
use crate::sidecar::{SidecarFooter, SidecarId, Written, sidecar_path};

/// Memory for footers by default, in bytes; DESIGN.md allots 32 MB to metadata.
pub const FOOTER_BYTES_MAX: usize = 32 << 20;

/// What all segments of a store share.
#[derive(Debug)]
pub struct SegmentFiles {
    disk: DiskRef,
    data_dir: PathBuf,
    footers: Mutex<Footers>,
}

/// Footers by number, which a segment and a sidecar never share; the least recently used go first.
#[derive(Debug)]
struct Footers {
    bytes_max: usize,
    bytes: usize,
    clock: u64,
    entries: HashMap<u64, Entry>,
}

/// A footer of either kind.
#[derive(Clone, Debug)]
enum Cached {
    Segment(Arc<Footer>),
    Sidecar(Arc<SidecarFooter>),
}

#[derive(Debug)]
struct Entry {
    footer: Cached,
    bytes: usize,
    used: u64,
}

impl SegmentFiles {
    /// Segments under `data_dir`; cached footers take at most `footer_bytes_max` bytes.
    pub fn new(disk: DiskRef, data_dir: PathBuf, footer_bytes_max: usize) -> Arc<Self> {
        let footers = Footers { bytes_max: footer_bytes_max, bytes: 0, clock: 0, entries: HashMap::new() };
        Arc::new(SegmentFiles { disk, data_dir, footers: Mutex::new(footers) })
    }

    /// The disk.
    pub fn disk(&self) -> &DiskRef {
        &self.disk
    }

    /// The store's folder.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Bytes of cached footers.
    pub fn footer_bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Removes files that will not enter the catalog.
    pub(crate) fn discard(&self, dataset: &str, written: &[Written]) {
        for Written { segment, sidecar } in written {
            self.remove_unused(&segment_path(&self.data_dir, dataset, segment.day, segment.id));
            if let Some(sidecar) = sidecar.as_ref().filter(|sidecar| sidecar.has_file()) {
                self.remove_unused(&sidecar_path(&self.data_dir, dataset, sidecar.day, sidecar.id));
            }
        }
    }

    fn remove_unused(&self, path: &Path) {
        if let Err(error) = self.disk.remove(path) {
            // The next start removes files the catalog does not name.
            tracing::warn!(path = %path.display(), %error, "an unused file stays until the next start");
        }
    }

    pub(super) fn cached_footer(&self, id: SegmentId) -> Option<Arc<Footer>> {
        match self.cached(id.0)? {
            Cached::Segment(footer) => Some(footer),
            Cached::Sidecar(_) => None,
        }
    }

    /// Keeps a footer, unless it alone is over the budget.
    pub(super) fn cache_footer(&self, id: SegmentId, footer: &Arc<Footer>) {
        self.cache(id.0, Cached::Segment(Arc::clone(footer)), footer.memory_bytes());
    }

    pub(super) fn forget_footer(&self, id: SegmentId) {
        self.lock().remove(id.0);
    }

    pub(crate) fn cached_sidecar(&self, id: SidecarId) -> Option<Arc<SidecarFooter>> {
        match self.cached(id.0)? {
            Cached::Sidecar(footer) => Some(footer),
            Cached::Segment(_) => None,
        }
    }

    /// Keeps a sidecar's footer, unless it alone is over the budget.
    pub(crate) fn cache_sidecar(&self, id: SidecarId, footer: &Arc<SidecarFooter>) {
        self.cache(id.0, Cached::Sidecar(Arc::clone(footer)), footer.memory_bytes());
    }

    pub(crate) fn forget_sidecar(&self, id: SidecarId) {
        self.lock().remove(id.0);
    }

    fn cached(&self, number: u64) -> Option<Cached> {
        let mut footers = self.lock();
        footers.clock += 1;
        let now = footers.clock;
        let entry = footers.entries.get_mut(&number)?;
        entry.used = now;
        Some(entry.footer.clone())
    }

    fn cache(&self, number: u64, footer: Cached, bytes: usize) {
        let mut footers = self.lock();
        footers.remove(number);
        while footers.bytes + bytes > footers.bytes_max {
            let oldest = footers.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id);
            match oldest {
                Some(oldest) => footers.remove(oldest),
                None => return,
            }
        }
        let used = footers.clock;
        footers.entries.insert(number, Entry { footer, bytes, used });
        footers.bytes += bytes;
    }

    fn lock(&self) -> MutexGuard<'_, Footers> {
        // Every update leaves the cache consistent, so a panic elsewhere while it was held changes nothing.
        self.footers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Footers {
    fn remove(&mut self, number: u64) {
        if let Some(entry) = self.entries.remove(&number) {
            self.bytes -= entry.bytes;
        }
    }
}
