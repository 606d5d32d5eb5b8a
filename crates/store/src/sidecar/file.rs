//! Reading a sidecar's file: its footer once, then checked columns.
//!
//! Not here: the form of the footer (`footer`), what columns mean (`aggregate`).

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tidewater_aggregate::{EncodedSlice, SectionHead, SectionSlice, SliceBytes};
use tidewater_model::names::ProjectName;
use xxhash_rust::xxh3::xxh3_64;

use super::footer::{Footer, HEADER_BYTES, MAGIC, Slice, TRAILER_BYTES};
use super::meta::{SIDECAR_FORMAT, SidecarMeta};
use super::writer::head_text;
use crate::disk::{DiskFile, DiskRef};
use crate::error::{StoreError, StoreResult};
use crate::segment::{block_checksum, damaged};

/// What is read of a slice.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Places among the dimensions of the section's head.
    pub dimensions: &'a [usize],
    /// Places among its measures.
    pub measures: &'a [usize],
    /// Whether the start of each row's cell is read.
    pub times: bool,
    /// Rows whose cell begins in it.
    pub within_us: Range<i64>,
}

/// An open sidecar and where everything in it lies.
#[derive(Debug)]
pub struct SidecarFooter {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    footer: Footer,
}

impl SidecarFooter {
    /// Opens the file, and reads and checks its header and footer.
    pub fn open(disk: &DiskRef, path: &Path, meta: &SidecarMeta) -> StoreResult<Self> {
        let wrong = |offset: u64, reason: &str| damaged(path, offset, reason);
        let file =
            disk.open_read(path).map_err(|error| damaged(path, 0, format!("cannot be opened: {error}")))?;
        let read = |range: Range<u64>| read_raw(file.as_ref(), path, range);
        if meta.bytes < (HEADER_BYTES + TRAILER_BYTES) as u64 {
            return Err(wrong(0, "is too short for a sidecar"));
        }
        let header = read(0..HEADER_BYTES as u64)?;
        if header[..8] != *MAGIC {
            return Err(wrong(0, "is not a sidecar"));
        }
        let format = u16::from_le_bytes([header[8], header[9]]);
        if format > SIDECAR_FORMAT {
            let (found, known) = (u32::from(format), u32::from(SIDECAR_FORMAT));
            return Err(StoreError::NewerFormat { path: path.to_owned(), found, known });
        }
        let footer_end = meta.bytes - TRAILER_BYTES as u64;
        let trailer = read(footer_end..meta.bytes)?;
        let number = |at: usize| {
            u64::from_le_bytes(*trailer[at..].first_chunk().expect("a trailer has room for three numbers"))
        };
        let offset = number(0);
        if trailer[16..] != *MAGIC || !(HEADER_BYTES as u64..=footer_end).contains(&offset) {
            return Err(wrong(footer_end, "has no trailer"));
        }
        let bytes = read(offset..footer_end)?;
        if xxh3_64(&bytes) != number(8) {
            return Err(wrong(offset, "the checksum of the footer does not fit"));
        }
        let footer = Footer::decode(&bytes, offset).map_err(|reason| wrong(offset, reason))?;
        let heads = meta.sections.iter().map(|section| head_text(&section.head));
        if !footer.sections.iter().map(|section| &section.head).eq(heads.collect::<Vec<_>>().iter()) {
            return Err(wrong(offset, "its sections differ from the catalog's"));
        }
        Ok(SidecarFooter { file, path: path.to_owned(), footer })
    }

    /// Where a project's rows of a section lie.
    pub fn slice(&self, section: usize, project: &ProjectName) -> Option<&Slice> {
        self.footer.slice(section, project)
    }

    /// Bytes it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.footer.memory_bytes()
    }

    /// Reads and decodes some columns.
    pub fn read(
        &self,
        section: usize,
        head: &SectionHead,
        project: &ProjectName,
        wanted: &Wanted<'_>,
    ) -> StoreResult<Option<SectionSlice>> {
        let Wanted { dimensions, measures, times, within_us } = wanted;
        let Some(slice) = self.footer.slice(section, project) else { return Ok(None) };
        let first_measure = 1 + head.dimensions.len();
        let places: Vec<usize> = std::iter::once(0)
            .chain(dimensions.iter().map(|dimension| 1 + dimension))
            .chain(measures.iter().map(|measure| first_measure + measure))
            .collect();
        let columns = self.columns(slice, &places)?;
        let (time, rest) = columns.split_first().expect("the time is always wanted");
        let (dimensions, measures) = rest.split_at(dimensions.len());
        let bytes = SliceBytes {
            tier: head.tier,
            rows: slice.rows,
            time,
            wants_times: *times,
            dimensions: dimensions.iter().map(|column| &column[..]).collect(),
            measures: measures.to_vec(),
        };
        let decoded = SectionSlice::decode(bytes, within_us.clone());
        decoded.map(Some).map_err(|error| damaged(&self.path, slice.offset, error.to_string()))
    }

    /// All slices of a section, by project.
    pub fn slices(&self, section: usize) -> &[Slice] {
        self.footer.sections.get(section).map_or(&[], |section| &section.slices)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One slice with all its columns, as they are in the file.
    pub fn encoded(&self, slice: &Slice) -> StoreResult<EncodedSlice> {
        let wanted: Vec<usize> = (0..slice.columns.len()).collect();
        let columns = self.columns(slice, &wanted)?;
        let project = self.footer.projects.get(slice.project as usize);
        Ok(EncodedSlice {
            project: project.cloned().expect("decoding checked that the project is listed"),
            rows: slice.rows,
            min_us: slice.min_us,
            max_us: slice.max_us,
            columns: columns.iter().map(|column| column.to_vec()).collect(),
        })
    }

    /// Some columns of a slice, checked, with one read for those that stand side by side or nearly so.
    fn columns(&self, slice: &Slice, wanted: &[usize]) -> StoreResult<Vec<Bytes>> {
        let mut starts = Vec::with_capacity(slice.columns.len() + 1);
        let mut at = slice.offset;
        for (length, _) in &slice.columns {
            starts.push(at);
            at += u64::from(*length);
        }
        let mut ranges = Vec::with_capacity(wanted.len());
        for &column in wanted {
            let start = *starts.get(column).ok_or_else(|| self.wrong(slice, "a column is missing"))?;
            ranges.push(start..start + u64::from(slice.columns[column].0));
        }
        let fetched = self.fetch(&ranges)?;
        let mut columns = Vec::with_capacity(wanted.len());
        for (&column, range) in wanted.iter().zip(&ranges) {
            let part = fetched
                .iter()
                .find(|(start, bytes)| *start <= range.start && range.end <= *start + bytes.len() as u64);
            let (start, bytes) = part.expect("every range was fetched");
            let bytes = bytes.slice((range.start - start) as usize..(range.end - start) as usize);
            if block_checksum(&bytes) != slice.columns[column].1 {
                return Err(damaged(&self.path, range.start, "the checksum of a column does not fit"));
            }
            columns.push(bytes);
        }
        Ok(columns)
    }

    fn fetch(&self, ranges: &[Range<u64>]) -> StoreResult<Vec<(u64, Bytes)>> {
        /// A gap up to this is read along: one larger read is cheaper than two.
        const GAP_BYTES: u64 = 16 << 10;
        let mut sorted = ranges.to_vec();
        sorted.sort_unstable_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match joined.last_mut() {
                Some(last) if range.start <= last.end + GAP_BYTES => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        let read = |range: Range<u64>| {
            Ok((range.start, Bytes::from(read_raw(self.file.as_ref(), &self.path, range)?)))
        };
        joined.into_iter().map(read).collect()
    }

    fn wrong(&self, slice: &Slice, reason: &str) -> StoreError {
        damaged(&self.path, slice.offset, reason)
    }
}

fn read_raw(file: &dyn DiskFile, path: &Path, range: Range<u64>) -> StoreResult<Vec<u8>> {
    let length = usize::try_from(range.end - range.start)
        .map_err(|_| damaged(path, range.start, "a part is larger than memory"))?;
    let mut buffer = vec![0; length];
    let read = file.read_exact_at(&mut buffer, range.start);
    read.map_err(|source| StoreError::Io { operation: "read", path: path.to_owned(), source })?;
    Ok(buffer)
}
