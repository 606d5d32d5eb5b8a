//! A run: a sorted, immutable file of hashes, with its Bloom filter and page index in memory.
//!
//! The file's layout stands in `docs/file-format.md`: a header page, entries of one width sorted by key (big-endian, so that
//! bytes sort as numbers), blobs the entries point to, the filter, the index (the high half of each page's first key).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::bloom::Bloom;
use crate::disk::{DiskFile, DiskRef};
use crate::error::{StoreError, StoreResult};

const MAGIC: [u8; 8] = *b"TIDEDDUP";
/// The format this build writes; it reads every earlier one.
const FORMAT: u16 = 1;
/// Unit of reading, and of the index.
const PAGE_BYTES: u64 = 4_096;
/// Bytes of the header that mean something; the rest of its page is zeros.
const HEADER_BYTES: usize = 112;
/// Bytes gathered before a write.
const BUFFER_BYTES: usize = 256 << 10;

/// What a run's entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// Row ids: keys alone.
    Ids,
    /// Idempotency tokens with their replies.
    Tokens,
}

impl RunKind {
    /// Bytes of one entry; divides a page.
    pub const fn width(self) -> usize {
        match self {
            RunKind::Ids => 16,
            RunKind::Tokens => 64,
        }
    }

    fn from_width(width: u16) -> Option<Self> {
        [RunKind::Ids, RunKind::Tokens].into_iter().find(|kind| kind.width() == usize::from(width))
    }
}

/// What is known of a run without reading entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunFacts {
    /// Its number, which is also its file's name.
    pub id: u64,
    /// What is in it.
    pub kind: RunKind,
    /// Number of entries.
    pub count: u64,
    /// When its first entry was accepted, micro-seconds since the epoch.
    pub min_us: i64,
    /// When its last entry was accepted.
    pub max_us: i64,
    /// Length of the file.
    pub bytes: u64,
}

/// An open run.
#[derive(Debug)]
pub struct Run {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    facts: RunFacts,
    layout: Layout,
    bloom: Bloom,
    /// High half of the first key of each page.
    index: Vec<u64>,
}

/// Offsets and checksums of a run's parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Layout {
    blob_offset: u64,
    blob_bytes: u64,
    filter_offset: u64,
    filter_bytes: u64,
    entries_checksum: u64,
    blob_checksum: u64,
    filter_checksum: u64,
}

impl Run {
    /// Opens a run the catalog names.
    pub fn open(disk: &DiskRef, path: PathBuf, id: u64) -> StoreResult<Run> {
        let file = disk.open_read(&path).map_err(StoreError::io("open", &path))?;
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0).map_err(StoreError::io("read", &path))?;
        let (mut facts, layout) = read_header(&path, &header)?;
        facts.id = id;
        facts.bytes = layout.filter_offset + layout.filter_bytes;
        let length = file.len().map_err(StoreError::io("open", &path))?;
        if length < facts.bytes || !layout.filter_bytes.is_multiple_of(8) {
            return Err(damaged(&path, length, "the file is shorter than its header says"));
        }
        let mut filter = vec![0; layout.filter_bytes as usize];
        file.read_exact_at(&mut filter, layout.filter_offset).map_err(StoreError::io("read", &path))?;
        if xxh3_64(&filter) != layout.filter_checksum {
            return Err(damaged(&path, layout.filter_offset, "the filter's checksum is wrong"));
        }
        let words = filter.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
        let mut words: Vec<u64> = words.collect();
        let pages = pages(facts.kind, facts.count) as usize;
        if words.len() < pages {
            return Err(damaged(&path, layout.filter_offset, "the index is too short"));
        }
        let index = words.split_off(words.len() - pages);
        let bloom = Bloom::from_words(words)
            .ok_or_else(|| damaged(&path, layout.filter_offset, "the filter is not whole blocks"))?;
        Ok(Run { path, file, facts, layout, bloom, index })
    }

    /// What is known of it.
    pub fn facts(&self) -> &RunFacts {
        &self.facts
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of filter and index.
    pub fn memory_bytes(&self) -> usize {
        (self.bloom.words().len() + self.index.len()) * 8
    }

    /// False when the key is surely not in it; touches no disk.
    pub fn may_contain(&self, key: u128) -> bool {
        self.bloom.may_contain(key)
    }

    /// Whether the key is in it; reads a page.
    pub fn contains(&self, key: u128) -> StoreResult<bool> {
        Ok(self.find(key)?.is_some())
    }

    /// The entry of a key; reads a page.
    pub fn find(&self, key: u128) -> StoreResult<Option<Vec<u8>>> {
        let high = (key >> 64) as u64;
        // Keys with the same high half may begin on the page before the first page that starts with it.
        let first = self.index.partition_point(|start| *start < high).saturating_sub(1);
        let end = self.index.partition_point(|start| *start <= high);
        let width = self.facts.kind.width();
        for page in first..end {
            let entries =
                self.read_entries(page as u64 * (PAGE_BYTES / width as u64), PAGE_BYTES / width as u64)?;
            let entries: Vec<&[u8]> = entries.chunks_exact(width).collect();
            if let Ok(place) = entries.binary_search_by(|entry| key_of(entry).cmp(&key)) {
                return Ok(Some(entries[place].to_vec()));
            }
        }
        Ok(None)
    }

    /// Entries from an index on, as bytes; fewer at the end.
    pub fn read_entries(&self, first: u64, count: u64) -> StoreResult<Vec<u8>> {
        let width = self.facts.kind.width() as u64;
        let count = count.min(self.facts.count.saturating_sub(first));
        let mut bytes = vec![0; (count * width) as usize];
        let offset = PAGE_BYTES + first * width;
        self.file.read_exact_at(&mut bytes, offset).map_err(StoreError::io("read", &self.path))?;
        Ok(bytes)
    }

    /// A blob an entry points to.
    pub fn read_blob(&self, offset: u64, len: u64) -> StoreResult<Vec<u8>> {
        if offset.checked_add(len).is_none_or(|end| end > self.layout.blob_bytes) {
            return Err(damaged(&self.path, PAGE_BYTES, "an entry points past the blobs"));
        }
        let mut bytes = vec![0; len as usize];
        self.file
            .read_exact_at(&mut bytes, self.layout.blob_offset + offset)
            .map_err(StoreError::io("read", &self.path))?;
        Ok(bytes)
    }

    /// Makes the file's bytes durable; its name is durable after a sync of its folder.
    pub fn sync(&self) -> StoreResult<()> {
        self.file.sync_data().map_err(StoreError::io("sync", &self.path))
    }

    /// Reads all of it and compares order, count and checksums.
    pub fn verify(&self) -> StoreResult<()> {
        const ENTRIES_PER_READ: u64 = 4_096;
        let mut hasher = Xxh3::new();
        let (mut first, mut last) = (0, None);
        while first < self.facts.count {
            let bytes = self.read_entries(first, ENTRIES_PER_READ)?;
            hasher.update(&bytes);
            for entry in bytes.chunks_exact(self.facts.kind.width()) {
                let key = Some(key_of(entry));
                if key <= last {
                    return Err(damaged(&self.path, PAGE_BYTES, "entries are not in order"));
                }
                last = key;
            }
            first += ENTRIES_PER_READ;
        }
        if hasher.digest() != self.layout.entries_checksum {
            return Err(damaged(&self.path, PAGE_BYTES, "the entries' checksum is wrong"));
        }
        let blobs = self.read_blob(0, self.layout.blob_bytes)?;
        if xxh3_64(&blobs) != self.layout.blob_checksum {
            return Err(damaged(&self.path, self.layout.blob_offset, "the blobs' checksum is wrong"));
        }
        Ok(())
    }
}

/// An entry's key.
pub fn key_of(entry: &[u8]) -> u128 {
    u128::from_be_bytes(entry[..16].try_into().expect("an entry begins with its key"))
}

fn pages(kind: RunKind, count: u64) -> u64 {
    (count * kind.width() as u64).div_ceil(PAGE_BYTES)
}

fn damaged(path: &Path, offset: u64, reason: &str) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), offset, reason: reason.to_owned() }
}

fn read_header(path: &Path, header: &[u8; HEADER_BYTES]) -> StoreResult<(RunFacts, Layout)> {
    let word = |from: usize| u64::from_le_bytes(header[from..from + 8].try_into().expect("8 bytes"));
    if header[..8] != MAGIC || xxh3_64(&header[..104]) != word(104) {
        return Err(damaged(path, 0, "the header is not that of a deduplication run"));
    }
    let format = u16::from_le_bytes([header[8], header[9]]);
    if format > FORMAT {
        let (found, known) = (u32::from(format), u32::from(FORMAT));
        return Err(StoreError::NewerFormat { path: path.to_owned(), found, known });
    }
    let kind = RunKind::from_width(u16::from_le_bytes([header[10], header[11]]))
        .ok_or_else(|| damaged(path, 10, "entries of an unknown width"))?;
    let (min_us, max_us) = (word(24) as i64, word(32) as i64);
    let facts = RunFacts { id: 0, kind, count: word(16), min_us, max_us, bytes: 0 };
    let layout = Layout {
        blob_offset: word(48),
        blob_bytes: word(56),
        filter_offset: word(64),
        filter_bytes: word(72),
        entries_checksum: word(80),
        blob_checksum: word(88),
        filter_checksum: word(96),
    };
    Ok((facts, layout))
}

/// Writes a run front to back.
pub struct RunBuilder {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    facts: RunFacts,
    bloom: Bloom,
    index: Vec<u64>,
    entries: Region,
    blobs: Region,
}

/// A part of the file that is written through a buffer.
struct Region {
    start: u64,
    bytes: u64,
    buffer: Vec<u8>,
    hasher: Xxh3,
}

impl Region {
    fn new(start: u64) -> Self {
        Region { start, bytes: 0, buffer: Vec::new(), hasher: Xxh3::new() }
    }

    fn push(&mut self, bytes: &[u8], file: &dyn DiskFile) -> std::io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush(file) } else { Ok(()) }
    }

    fn flush(&mut self, file: &dyn DiskFile) -> std::io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        file.write_at(&self.buffer, self.start + self.bytes)?;
        self.hasher.update(&self.buffer);
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn len(&self) -> u64 {
        self.bytes + self.buffer.len() as u64
    }
}

impl RunBuilder {
    /// Begins a run of at most `count_max` entries.
    pub fn create(
        disk: &DiskRef,
        path: PathBuf,
        id: u64,
        kind: RunKind,
        count_max: u64,
        bits_per_key: u64,
    ) -> StoreResult<Self> {
        let file = disk.create(&path).map_err(StoreError::io("create", &path))?;
        let blob_offset = PAGE_BYTES * (1 + pages(kind, count_max));
        Ok(RunBuilder {
            path,
            file,
            facts: RunFacts { id, kind, count: 0, min_us: 0, max_us: 0, bytes: 0 },
            bloom: Bloom::new(count_max, bits_per_key),
            index: Vec::new(),
            entries: Region::new(PAGE_BYTES),
            blobs: Region::new(blob_offset),
        })
    }

    /// Appends an entry; keys ascend.
    pub fn push(&mut self, entry: &[u8]) -> StoreResult<()> {
        let key = key_of(entry);
        if self.entries.len().is_multiple_of(PAGE_BYTES) {
            self.index.push((key >> 64) as u64);
        }
        self.bloom.insert(key);
        self.facts.count += 1;
        self.entries.push(entry, self.file.as_ref()).map_err(StoreError::io("write", &self.path))
    }

    /// Appends a blob and tells where it is.
    pub fn push_blob(&mut self, blob: &[u8]) -> StoreResult<u64> {
        let offset = self.blobs.len();
        self.blobs.push(blob, self.file.as_ref()).map_err(StoreError::io("write", &self.path))?;
        Ok(offset)
    }

    /// Writes the rest. The run can be read now, but it is not durable before [`Run::sync`].
    pub fn finish(mut self, min_us: i64, max_us: i64) -> StoreResult<Run> {
        let file: Arc<dyn DiskFile> = Arc::from(self.file);
        let failed = || StoreError::io("write", &self.path);
        self.entries.flush(file.as_ref()).map_err(failed())?;
        self.blobs.flush(file.as_ref()).map_err(failed())?;
        let words = self.bloom.words().iter().chain(&self.index);
        let filter: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        let layout = Layout {
            blob_offset: self.blobs.start,
            blob_bytes: self.blobs.bytes,
            filter_offset: (self.blobs.start + self.blobs.bytes).next_multiple_of(PAGE_BYTES),
            filter_bytes: filter.len() as u64,
            entries_checksum: self.entries.hasher.digest(),
            blob_checksum: self.blobs.hasher.digest(),
            filter_checksum: xxh3_64(&filter),
        };
        file.write_at(&filter, layout.filter_offset).map_err(failed())?;
        let bytes = layout.filter_offset + layout.filter_bytes;
        let facts = RunFacts { min_us, max_us, bytes, ..self.facts };
        file.write_at(&header(&facts, &layout), 0).map_err(failed())?;
        Ok(Run { path: self.path, file, facts, layout, bloom: self.bloom, index: self.index })
    }
}

fn header(facts: &RunFacts, layout: &Layout) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[10..12].copy_from_slice(&(facts.kind.width() as u16).to_le_bytes());
    let words = [
        (16, facts.count),
        (24, facts.min_us as u64),
        (32, facts.max_us as u64),
        (48, layout.blob_offset),
        (56, layout.blob_bytes),
        (64, layout.filter_offset),
        (72, layout.filter_bytes),
        (80, layout.entries_checksum),
        (88, layout.blob_checksum),
        (96, layout.filter_checksum),
    ];
    for (place, word) in words {
        bytes[place..place + 8].copy_from_slice(&word.to_le_bytes());
    }
    let checksum = xxh3_64(&bytes[..104]);
    bytes[104..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}
