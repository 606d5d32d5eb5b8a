//! Reading log files back: which records count, where the torn tail of a crash begins, what is damage.
//!
//! The rule: records are read in order until a frame does not check out. If the next file begins with exactly the
//! expected record, an earlier start-up has already cut here. Otherwise, if any later frame (in this file or a later one)
//! says the expected record was durable, acknowledged data is damaged, which is an error; else it is the torn tail.

use std::path::{Path, PathBuf};

use super::file::{FRAME_HEAD_BYTES, FileHeader, HEADER_BYTES, frame_checksum};
use crate::disk::{Disk, read_whole};
use crate::error::{StoreError, StoreResult};
use crate::paths;
use crate::version::Lsn;

/// Where a file's good records end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayedFile {
    /// Which file.
    pub path: PathBuf,
    /// Its first record.
    pub first: Lsn,
    /// Its last good record; one less than `first` when there is none.
    pub last: Lsn,
    /// Byte after the last good record.
    pub good_bytes: u64,
    /// Bytes after it that hold something, which a crash tore; 0 when the rest is zeros.
    pub torn_bytes: u64,
}

/// What reading all files found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogCheck {
    /// Files with records, in order.
    pub files: Vec<ReplayedFile>,
    /// Files a crash left before their header was whole; they never held a record.
    pub unborn: Vec<PathBuf>,
    /// Files whose every record is in segments; they were not read.
    pub obsolete: Vec<PathBuf>,
    /// Records read.
    pub records: u64,
}

/// Reads the log of a data folder.
pub struct LogReader<'a> {
    disk: &'a dyn Disk,
    data_dir: &'a Path,
    /// Records up to here are in segments: they need not be there.
    flushed: Lsn,
}

impl<'a> LogReader<'a> {
    /// `flushed`: records up to here are in segments.
    pub fn new(disk: &'a dyn Disk, data_dir: &'a Path, flushed: Lsn) -> Self {
        LogReader { disk, data_dir, flushed }
    }

    /// Gives every record after the flushed ones to `each`, in order, with its file and offset for messages.
    pub fn read(
        &self,
        mut each: impl FnMut(Lsn, &Path, u64, &[u8]) -> StoreResult<()>,
    ) -> StoreResult<LogCheck> {
        let mut check = LogCheck::default();
        let files = self.files()?;
        let mut expected = self.flushed.next();
        for (index, (first, path)) in files.iter().enumerate() {
            if files.get(index + 1).is_some_and(|(next, _)| *next <= self.flushed.next()) {
                check.obsolete.push(path.clone());
                continue;
            }
            let bytes = read_whole(self.disk, path).map_err(StoreError::io("read", path))?;
            let Some(header) = FileHeader::read(path, &bytes)? else {
                let is_last = index + 1 == files.len();
                refuse_lost_header(path, &bytes, is_last)?;
                check.unborn.push(path.clone());
                continue;
            };
            if header.first != *first || *first > expected {
                return Err(gap(path, expected, header.first));
            }
            let file = self.read_file(path, &header, &bytes, &mut check, &mut each)?;
            let next = file.last.next();
            let goes_on = files.get(index + 1).is_some_and(|(first, _)| *first == next);
            if !goes_on {
                refuse_damage(path, &header, &bytes, &file, next)?;
                self.refuse_later_files(&files[index + 1..], &file, next)?;
            }
            expected = expected.max(next);
            check.files.push(file);
        }
        Ok(check)
    }

    fn files(&self) -> StoreResult<Vec<(Lsn, PathBuf)>> {
        let dir = paths::log_dir(self.data_dir);
        let listed = self.disk.list(&dir).map_err(StoreError::io("list", &dir))?;
        let mut files: Vec<_> =
            listed.into_iter().filter_map(|path| Some((paths::log_first_lsn(&path)?, path))).collect();
        files.sort();
        Ok(files)
    }

    fn read_file(
        &self,
        path: &Path,
        header: &FileHeader,
        bytes: &[u8],
        check: &mut LogCheck,
        each: &mut impl FnMut(Lsn, &Path, u64, &[u8]) -> StoreResult<()>,
    ) -> StoreResult<ReplayedFile> {
        let mut offset = HEADER_BYTES as usize;
        let mut next = header.first;
        while let Some(frame) = Frame::at(header, bytes, offset).filter(|frame| frame.lsn == next) {
            if frame.lsn > self.flushed {
                each(frame.lsn, path, offset as u64, frame.content)?;
                check.records += 1;
            }
            offset += FRAME_HEAD_BYTES + frame.content.len();
            next = next.next();
        }
        // A crash may leave a file that is shorter than its header.
        let tail = bytes.get(offset..).unwrap_or(&[]);
        let torn = tail.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        Ok(ReplayedFile {
            path: path.to_owned(),
            first: header.first,
            last: Lsn(next.0 - 1),
            good_bytes: offset as u64,
            torn_bytes: torn,
        })
    }

    /// After a cut no later file may hold records, unless they only follow flushed ones.
    fn refuse_later_files(&self, later: &[(Lsn, PathBuf)], cut: &ReplayedFile, next: Lsn) -> StoreResult<()> {
        for (first, path) in later {
            let bytes = read_whole(self.disk, path).map_err(StoreError::io("read", path))?;
            let is_born = FileHeader::read(path, &bytes)?.is_some();
            if is_born && *first > next && next > self.flushed {
                return Err(StoreError::Damaged {
                    path: cut.path.clone(),
                    offset: cut.good_bytes,
                    reason: format!("record {} does not check out, but record {} exists", next.0, first.0),
                });
            }
        }
        Ok(())
    }
}

fn gap(path: &Path, expected: Lsn, found: Lsn) -> StoreError {
    let reason = format!("the file begins with record {}, record {} is missing", found.0, expected.0);
    StoreError::Damaged { path: path.to_owned(), offset: 0, reason }
}

/// A file gets records only after its header is durable, so one without a header is empty or damaged.
fn refuse_lost_header(path: &Path, bytes: &[u8], is_last: bool) -> StoreResult<()> {
    let body = bytes.get(HEADER_BYTES as usize..).unwrap_or(&[]);
    if is_last && body.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    Err(StoreError::Damaged {
        path: path.to_owned(),
        offset: 0,
        reason: "both copies of the header are damaged".to_owned(),
    })
}

/// Looks behind the first bad frame for one that proves the expected record was durable.
fn refuse_damage(
    path: &Path,
    header: &FileHeader,
    bytes: &[u8],
    file: &ReplayedFile,
    expected: Lsn,
) -> StoreResult<()> {
    if file.torn_bytes == 0 {
        return Ok(());
    }
    let start = file.good_bytes as usize;
    let end = start + file.torn_bytes as usize;
    for offset in start..end {
        let proof = Frame::at(header, bytes, offset).filter(|frame| frame.durable >= expected);
        if let Some(frame) = proof {
            return Err(StoreError::Damaged {
                path: path.to_owned(),
                offset: file.good_bytes,
                reason: format!("record {} was durable before record {}", expected.0, frame.lsn.0),
            });
        }
    }
    Ok(())
}

struct Frame<'a> {
    lsn: Lsn,
    durable: Lsn,
    content: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame at an offset, if one checks out there.
    fn at(header: &FileHeader, bytes: &'a [u8], offset: usize) -> Option<Frame<'a>> {
        let rest = bytes.get(offset..)?;
        let (head, rest) = rest.split_at_checked(FRAME_HEAD_BYTES)?;
        let number = |from: usize| -> [u8; 8] { head[from..from + 8].try_into().expect("8 bytes") };
        let (lsn, durable) = (Lsn(i64::from_le_bytes(number(8))), Lsn(i64::from_le_bytes(number(16))));
        // Cheap tests first: the search for damage tries every offset.
        if lsn < header.first || durable >= lsn || durable.0 < 0 {
            return None;
        }
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let checksum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let content = rest.get(..len as usize)?;
        let computed = frame_checksum(header.file_id, len, lsn, durable, content);
        (computed == checksum).then_some(Frame { lsn, durable, content })
    }
}
