//! Writing a segment's file: in large steps, with checksums on the way, whole or not at all.
//!
//! Checksums: one xxh3 (low 32 bits) per block of [`BLOCK_BYTES`], kept in the Parquet footer for all blocks that are
//! complete when the footer is made; one xxh3-64 of the rest of the file, the tail, and one of the whole file, both kept
//! in the catalog. A reader never hands bytes to the Parquet decoder that do not fit their checksum.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::disk::{Disk, DiskFile, temporary_path};
use crate::error::{StoreError, StoreResult};

/// The grain of checksums in bytes: small beside a column chunk, so that little is read in excess, and 4 bytes of
/// checksum for it are nothing. Part of the format; tests have a grain that their small files reach.
pub const BLOCK_BYTES: usize = if cfg!(test) { 512 } else { 64 << 10 };

/// Bytes gathered before a write, a multiple of the block.
const WRITE_BYTES: usize = 16 * BLOCK_BYTES;

/// Bytes after which they are made durable while writing goes on: one sync of a whole file would hold up the log's syncs on the
/// same device for as long as it takes.
const SYNC_BYTES: u64 = 4 << 20;

/// The low half of xxh3-64.
pub fn block_checksum(block: &[u8]) -> u32 {
    xxh3_64(block) as u32
}

/// A segment's file while it is written, under a temporary name.
pub struct Sink<'a> {
    disk: &'a dyn Disk,
    /// Taken when the file is sealed; a sink dropped with it removes the file.
    file: Option<Box<dyn DiskFile>>,
    path: PathBuf,
    /// Bytes not yet written; `written` is where they go.
    buffer: Vec<u8>,
    written: u64,
    /// The part of `written` that is durable.
    synced: u64,
    /// Bytes of `buffer` whose blocks are in `blocks`.
    summed: usize,
    blocks: Vec<u32>,
    whole: Xxh3,
    /// Set with [`Sink::begin_tail`]: where it begins, and its hash.
    tail: Option<(u64, Xxh3)>,
}

/// What the catalog keeps of a finished file.
pub struct Sealed {
    /// Length.
    pub bytes: u64,
    /// xxh3-64 of all of it.
    pub checksum: u64,
    /// Where the part without block checksums begins.
    pub tail_offset: u64,
    /// xxh3-64 of that part.
    pub tail_checksum: u64,
}

impl<'a> Sink<'a> {
    /// Creates the file (and its folder) under a temporary name.
    pub fn create(disk: &'a dyn Disk, path: &Path) -> StoreResult<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        disk.create_dir_all(folder).map_err(|source| io_error("create", folder, source))?;
        let temporary = temporary_path(path);
        let file = disk.create(&temporary).map_err(|source| io_error("create", &temporary, source))?;
        Ok(Sink {
            disk,
            file: Some(file),
            path: path.to_owned(),
            buffer: Vec::with_capacity(WRITE_BYTES),
            written: 0,
            synced: 0,
            summed: 0,
            blocks: Vec::new(),
            whole: Xxh3::new(),
            tail: None,
        })
    }

    /// The final path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends the part that has block checksums; they are returned.
    pub fn begin_tail(&mut self) -> &[u32] {
        let mut hash = Xxh3::new();
        hash.update(&self.buffer[self.summed..]);
        self.tail = Some((self.written + self.summed as u64, hash));
        &self.blocks
    }

    /// Writes the rest, makes it durable and gives the file its name.
    pub fn seal(mut self) -> StoreResult<Sealed> {
        let temporary = temporary_path(&self.path);
        self.flush_buffer().map_err(|source| io_error("write", &temporary, source))?;
        if let Some(file) = &self.file {
            file.sync_data().map_err(|source| io_error("sync", &temporary, source))?;
        }
        self.disk.rename(&temporary, &self.path).map_err(|source| io_error("rename", &temporary, source))?;
        self.file = None;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        self.disk.sync_dir(folder).map_err(|source| io_error("sync", folder, source))?;
        let (tail_offset, tail) = self.tail.take().unwrap_or((0, self.whole.clone()));
        Ok(Sealed {
            bytes: self.written,
            checksum: self.whole.digest(),
            tail_offset,
            tail_checksum: tail.digest(),
        })
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.write_at(&self.buffer, self.written)?;
        }
        self.whole.update(&self.buffer);
        self.written += self.buffer.len() as u64;
        if self.written - self.synced >= SYNC_BYTES {
            if let Some(file) = &self.file {
                file.sync_data()?;
            }
            self.synced = self.written;
        }
        self.summed = 0;
        self.buffer.clear();
        Ok(())
    }

    /// Takes bytes that fit into the buffer.
    fn append(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        match &mut self.tail {
            Some((_, hash)) => hash.update(bytes),
            None => {
                while self.buffer.len() - self.summed >= BLOCK_BYTES {
                    self.blocks.push(block_checksum(&self.buffer[self.summed..self.summed + BLOCK_BYTES]));
                    self.summed += BLOCK_BYTES;
                }
            }
        }
    }
}

impl Drop for Sink<'_> {
    fn drop(&mut self) {
        if self.file.take().is_none() {
            return;
        }
        let temporary = temporary_path(&self.path);
        if let Err(error) = self.disk.remove(&temporary) {
            // Start-up removes it too, so only room is lost, and only until then.
            tracing::warn!(path = %temporary.display(), %error, "an unfinished segment stays until the next start");
        }
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(WRITE_BYTES - self.buffer.len());
        self.append(&bytes[..taken]);
        if self.buffer.len() == WRITE_BYTES {
            self.flush_buffer()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        // The Parquet writer flushes after each row group; bytes go out in full buffers and at the end.
        Ok(())
    }
}

/// An error of a file operation.
pub fn io_error(operation: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { operation, path: path.to_owned(), source }
}
