//! How records lie in a log file: a header in two copies, then frames.
//!
//! A frame's checksum covers the file's random id, so bytes of another file or of an earlier life never pass for a record.
//! Each frame also says which records were durable when it was written: a bad frame before such a frame is damage,
//! a bad frame after all of them is the torn tail of a crash.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile};
use crate::error::{StoreError, StoreResult};
use crate::paths;
use crate::version::Lsn;

/// Bytes before the first frame: two copies of the header, each in a disk sector of its own.
pub const HEADER_BYTES: u64 = 2 * HEADER_COPY_BYTES as u64;
/// Bytes of one copy of the header.
const HEADER_COPY_BYTES: usize = 512;
/// Bytes of a frame before its content: length, checksum, LSN, durable LSN.
pub(super) const FRAME_HEAD_BYTES: usize = 24;
const MAGIC: [u8; 8] = *b"TIDEWLOG";
/// The format this build writes; it reads every earlier one.
const FORMAT: u16 = 1;

/// What a log file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Random; part of every frame's checksum.
    pub file_id: u128,
    /// Its first record.
    pub first: Lsn,
}

impl FileHeader {
    /// A header with a new random id.
    pub fn new(first: Lsn) -> Self {
        FileHeader { file_id: crate::random::random_u128(), first }
    }

    fn copy(&self) -> [u8; HEADER_COPY_BYTES] {
        let mut bytes = [0; HEADER_COPY_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.file_id.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first.0.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..HEADER_COPY_BYTES - 4]);
        bytes[HEADER_COPY_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads whichever copy is whole. `None` when neither is.
    pub(super) fn read(path: &Path, bytes: &[u8]) -> StoreResult<Option<FileHeader>> {
        let copies = bytes.chunks_exact(HEADER_COPY_BYTES).take(2);
        let Some(copy) = copies.into_iter().find(|copy| is_header(copy)) else { return Ok(None) };
        let format = u16::from_le_bytes([copy[8], copy[9]]);
        if format > FORMAT {
            let (found, known) = (u32::from(format), u32::from(FORMAT));
            return Err(StoreError::NewerFormat { path: path.to_owned(), found, known });
        }
        let file_id = u128::from_le_bytes(copy[16..32].try_into().expect("16 bytes"));
        let first = Lsn(i64::from_le_bytes(copy[32..40].try_into().expect("8 bytes")));
        Ok(Some(FileHeader { file_id, first }))
    }
}

fn is_header(copy: &[u8]) -> bool {
    let (covered, checksum) = copy.split_at(HEADER_COPY_BYTES - 4);
    covered[..8] == MAGIC && crc32c::crc32c(covered).to_le_bytes() == *checksum
}

/// The checksum of a frame: CRC32C over file id, length, LSN, durable LSN and content.
pub(super) fn frame_checksum(file_id: u128, len: u32, lsn: Lsn, durable: Lsn, content: &[u8]) -> u32 {
    let mut head = [0; 36];
    head[..16].copy_from_slice(&file_id.to_le_bytes());
    head[16..20].copy_from_slice(&len.to_le_bytes());
    head[20..28].copy_from_slice(&lsn.0.to_le_bytes());
    head[28..36].copy_from_slice(&durable.0.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&head), content)
}

/// Puts records into frames of one file.
pub struct FrameWriter<'a> {
    /// The file the frames are for.
    pub file_id: u128,
    /// Every record up to here is durable already.
    pub durable: Lsn,
    /// Where the frames go.
    pub out: &'a mut Vec<u8>,
}

impl FrameWriter<'_> {
    /// Appends one frame; `encode` appends the content.
    pub fn frame(&mut self, lsn: Lsn, encode: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
        encode(self.out);
        let (head, content) = self.out[start..].split_at_mut(FRAME_HEAD_BYTES);
        let len = u32::try_from(content.len()).expect("a request is far below 4 GiB");
        let checksum = frame_checksum(self.file_id, len, lsn, self.durable, content);
        head[..4].copy_from_slice(&len.to_le_bytes());
        head[4..8].copy_from_slice(&checksum.to_le_bytes());
        head[8..16].copy_from_slice(&lsn.0.to_le_bytes());
        head[16..24].copy_from_slice(&self.durable.0.to_le_bytes());
    }
}

/// The log file that is being written.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    end: u64,
}

impl LogFile {
    /// Makes a file with `reserve_bytes` on disk. When this returns, its name and header are durable.
    pub fn create(
        disk: &dyn Disk,
        data_dir: &Path,
        header: &FileHeader,
        reserve_bytes: u64,
    ) -> StoreResult<Self> {
        let path = paths::log_path(data_dir, header.first);
        let file = disk.create(&path).map_err(StoreError::io("create", &path))?;
        file.preallocate(reserve_bytes.max(HEADER_BYTES)).map_err(StoreError::io("reserve", &path))?;
        let copy = header.copy();
        file.write_at(&[copy, copy].concat(), 0).map_err(StoreError::io("write", &path))?;
        file.sync_data().map_err(StoreError::io("sync", &path))?;
        let dir = paths::log_dir(data_dir);
        disk.sync_dir(&dir).map_err(StoreError::io("sync", &dir))?;
        Ok(LogFile { path, file, end: HEADER_BYTES })
    }

    /// Appends frames. They are durable when this returns; after an error nothing is known of them.
    pub fn append(&mut self, frames: &[u8]) -> StoreResult<()> {
        self.file.write_at(frames, self.end).map_err(StoreError::io("write", &self.path))?;
        self.file.sync_data().map_err(StoreError::io("sync", &self.path))?;
        self.end += frames.len() as u64;
        Ok(())
    }
}
