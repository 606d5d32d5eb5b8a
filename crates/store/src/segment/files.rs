//! Where segments live, and the footers of those in use.
//!
//! Not here: what a footer holds (`footer`).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use super::footer::Footer;
use super::meta::{SegmentId, SegmentMeta, segment_path};
use crate::disk::DiskRef;

/// Memory for footers by default, in bytes; DESIGN.md allots 32 MB to metadata.
pub const FOOTER_BYTES_MAX: usize = 32 << 20;

/// What all segments of a store share.
#[derive(Debug)]
pub struct SegmentFiles {
    disk: DiskRef,
    data_dir: PathBuf,
    footers: Mutex<Footers>,
}

/// Footers by segment; the least recently used go first.
#[derive(Debug)]
struct Footers {
    bytes_max: usize,
    bytes: usize,
    clock: u64,
    entries: HashMap<SegmentId, Entry>,
}

#[derive(Debug)]
struct Entry {
    footer: Arc<Footer>,
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
    pub(crate) fn discard(&self, dataset: &str, metas: &[SegmentMeta]) {
        for meta in metas {
            let path = segment_path(&self.data_dir, dataset, meta.day, meta.id);
            if let Err(error) = self.disk.remove(&path) {
                // The next start removes files the catalog does not name.
                tracing::warn!(path = %path.display(), %error, "an unused segment stays until the next start");
            }
        }
    }

    pub(super) fn cached_footer(&self, id: SegmentId) -> Option<Arc<Footer>> {
        let mut footers = self.lock();
        footers.clock += 1;
        let now = footers.clock;
        let entry = footers.entries.get_mut(&id)?;
        entry.used = now;
        Some(Arc::clone(&entry.footer))
    }

    /// Keeps a footer, unless it alone is over the budget.
    pub(super) fn cache_footer(&self, id: SegmentId, footer: &Arc<Footer>) {
        let bytes = footer.memory_bytes();
        let mut footers = self.lock();
        footers.remove(id);
        while footers.bytes + bytes > footers.bytes_max {
            let oldest = footers.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id);
            match oldest {
                Some(oldest) => footers.remove(oldest),
                None => return,
            }
        }
        let used = footers.clock;
        footers.entries.insert(id, Entry { footer: Arc::clone(footer), bytes, used });
        footers.bytes += bytes;
    }

    pub(super) fn forget_footer(&self, id: SegmentId) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, Footers> {
        // Every update leaves the cache consistent, so a panic elsewhere while it was held changes nothing.
        self.footers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Footers {
    fn remove(&mut self, id: SegmentId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.bytes -= entry.bytes;
        }
    }
}
