//! Reading a segment's file: checked bytes for the Parquet decoder.
//!
//! Not here: which bytes a scan needs (`scan`).

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};
use xxhash_rust::xxh3::xxh3_64;

use super::sink::{BLOCK_BYTES, block_checksum};
use crate::disk::{DiskFile, DiskRef};
use crate::error::{StoreError, StoreResult};

/// An open segment file and what its bytes must hash to.
#[derive(Debug)]
pub struct CheckedFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    len: u64,
    /// Checksums of the blocks from the file's start; they end where the tail begins.
    blocks: Vec<u32>,
    tail_offset: u64,
    tail: Bytes,
}

/// What a file should be, from the catalog.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Length.
    pub bytes: u64,
    /// Where the tail begins.
    pub tail_offset: u64,
    /// Its xxh3-64.
    pub tail_checksum: u64,
}

/// An error about a file's content.
pub fn damaged(path: &Path, offset: u64, reason: impl Into<String>) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), offset, reason: reason.into() }
}

impl CheckedFile {
    /// Opens the file and reads and checks its tail. The block checksums stand in the tail, so they come later.
    pub fn open(disk: &DiskRef, path: &Path, expected: Expected) -> StoreResult<Self> {
        let file =
            disk.open_read(path).map_err(|error| damaged(path, 0, format!("cannot be opened: {error}")))?;
        let len = file.len().map_err(|error| damaged(path, 0, format!("has no length: {error}")))?;
        if len != expected.bytes || expected.tail_offset > len {
            let reason = format!("is {len} bytes long, the catalog says {}", expected.bytes);
            return Err(damaged(path, len.min(expected.bytes), reason));
        }
        let mut file = CheckedFile {
            file,
            path: path.to_owned(),
            len,
            blocks: Vec::new(),
            tail_offset: len,
            tail: Bytes::new(),
        };
        let tail = file.read_raw(expected.tail_offset..len)?;
        if xxh3_64(&tail) != expected.tail_checksum {
            return Err(damaged(path, expected.tail_offset, "the checksum of the footer does not fit"));
        }
        file.tail_offset = expected.tail_offset;
        file.tail = tail;
        Ok(file)
    }

    /// Takes the block checksums found in the footer.
    pub fn set_blocks(&mut self, blocks: Vec<u32>) -> StoreResult<()> {
        if blocks.len() as u64 * BLOCK_BYTES as u64 != self.tail_offset {
            return Err(damaged(&self.path, self.tail_offset, "the block checksums do not cover the file"));
        }
        self.blocks = blocks;
        Ok(())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes it keeps in memory.
    pub fn memory_bytes(&self) -> usize {
        self.tail.len() + self.blocks.len() * size_of::<u32>()
    }

    /// The bytes of the footer and what stands before it, without a copy.
    pub fn tail(&self) -> (u64, &Bytes) {
        (self.tail_offset, &self.tail)
    }

    /// The tail alone, for parsing the footer and the page index: both lie in it.
    pub fn tail_source(&self) -> TailSource {
        TailSource { len: self.len, offset: self.tail_offset, bytes: self.tail.clone() }
    }

    /// Reads and checks whole blocks around a range; the result begins at the returned offset, at or before the range's.
    pub fn read_blocks(&self, range: Range<u64>) -> StoreResult<(u64, Bytes)> {
        if range.start > range.end || range.end > self.len {
            return Err(damaged(&self.path, range.start, "a page lies past the end of the file"));
        }
        if range.start >= self.tail_offset {
            return Ok((self.tail_offset, self.tail.clone()));
        }
        let block = BLOCK_BYTES as u64;
        let (first, end) = (range.start / block, range.end.min(self.tail_offset).div_ceil(block));
        let body = self.read_raw(first * block..end * block)?;
        for (index, bytes) in (first..end).zip(body.chunks(BLOCK_BYTES)) {
            if self.blocks.get(index as usize) != Some(&block_checksum(bytes)) {
                return Err(damaged(&self.path, index * block, "the checksum of a block does not fit"));
            }
        }
        if range.end <= self.tail_offset {
            return Ok((first * block, body));
        }
        let rest = &self.tail[..(range.end - self.tail_offset) as usize];
        Ok((first * block, Bytes::from([&body[..], rest].concat())))
    }

    /// Exactly a range, checked.
    pub fn read(&self, range: Range<u64>) -> StoreResult<Bytes> {
        let (start, bytes) = self.read_blocks(range.clone())?;
        Ok(bytes.slice((range.start - start) as usize..(range.end - start) as usize))
    }

    fn read_raw(&self, range: Range<u64>) -> StoreResult<Bytes> {
        let length = usize::try_from(range.end - range.start)
            .map_err(|_| damaged(&self.path, range.start, "a part is larger than memory"))?;
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, range.start).map_err(|source| StoreError::Io {
            operation: "read",
            path: self.path.clone(),
            source,
        })?;
        Ok(Bytes::from(buffer))
    }
}

/// The end of a file, in memory.
pub struct TailSource {
    len: u64,
    offset: u64,
    bytes: Bytes,
}

impl Length for TailSource {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for TailSource {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        let length = self.len.saturating_sub(start) as usize;
        Ok(self.get_bytes(start, length)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let first = start.checked_sub(self.offset).and_then(|first| usize::try_from(first).ok());
        first
            .and_then(|first| Some(first..first.checked_add(length)?))
            .filter(|range| range.end <= self.bytes.len())
            .map(|range| self.bytes.slice(range))
            .ok_or_else(|| ParquetError::General("the footer points outside the file's tail".to_owned()))
    }
}

/// What one reader of pages sees: parts that were fetched ahead, and the file for the rest.
pub struct PageSource {
    file: Arc<CheckedFile>,
    /// Offset and bytes, ascending, not overlapping.
    fetched: Vec<(u64, Bytes)>,
}

impl PageSource {
    /// Reads every page from the file when it is asked for.
    pub fn lazy(file: Arc<CheckedFile>) -> Self {
        PageSource { file, fetched: Vec::new() }
    }

    /// Reads the ranges at once; they are ascending.
    pub fn fetch(file: Arc<CheckedFile>, ranges: &[Range<u64>]) -> StoreResult<Self> {
        let mut fetched: Vec<(u64, Bytes)> = Vec::with_capacity(ranges.len());
        for range in coalesce(ranges) {
            fetched.push((range.start, file.read(range)?));
        }
        Ok(PageSource { file, fetched })
    }

    fn bytes(&self, start: u64, length: u64) -> StoreResult<Bytes> {
        let end = start.saturating_add(length);
        let index = self.fetched.partition_point(|(offset, _)| *offset <= start);
        if let Some((offset, bytes)) = index.checked_sub(1).map(|index| &self.fetched[index])
            && end <= offset + bytes.len() as u64
        {
            return Ok(bytes.slice((start - offset) as usize..(end - offset) as usize));
        }
        self.file.read(start..end)
    }
}

/// Joins ranges with less than a block between them: one larger read is cheaper than two.
fn coalesce(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end + BLOCK_BYTES as u64 => last.end = last.end.max(range.end),
            _ => joined.push(range.clone()),
        }
    }
    joined
}

impl Length for PageSource {
    fn len(&self) -> u64 {
        self.file.len
    }
}

impl ChunkReader for PageSource {
    type T = BlockReader;

    fn get_read(&self, start: u64) -> ParquetResult<BlockReader> {
        Ok(BlockReader { file: Arc::clone(&self.file), offset: start, bytes: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        self.bytes(start, length as u64).map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// Reads on from an offset, block by block: for page headers in files whose page index is missing.
pub struct BlockReader {
    file: Arc<CheckedFile>,
    offset: u64,
    bytes: Bytes,
}

impl Read for BlockReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.bytes.is_empty() && self.offset < self.file.len {
            let end = (self.offset + BLOCK_BYTES as u64).min(self.file.len);
            self.bytes = self.file.read(self.offset..end).map_err(std::io::Error::other)?;
            self.offset = end;
        }
        let taken = self.bytes.len().min(buffer.len());
        self.bytes.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}

/// Fails when a file is missing or does not have the length the catalog says.
pub fn check_length(disk: &DiskRef, path: &Path, expected: u64) -> StoreResult<()> {
    let len = disk.open_read(path).and_then(|file| file.len());
    let len = len.map_err(|error| damaged(path, 0, format!("cannot be opened: {error}")))?;
    if len == expected {
        return Ok(());
    }
    Err(damaged(path, len.min(expected), format!("is {len} bytes long, the catalog says {expected}")))
}
