//! Writes one sidecar's file from finished sections, and tells what the catalog keeps of it.
//!
//! Not here: what sections hold and which of them pay (`aggregate`), and where they come from (`build`, `history`).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;
use tidewater_aggregate::{Derived, EncodedSlice, SectionHead};
use tidewater_model::names::ProjectName;
use tidewater_model::schema::DatasetId;
use xxhash_rust::xxh3::xxh3_64;

use super::footer::{Footer, FooterSection, HEADER_BYTES, MAGIC, Slice};
use super::meta::{SIDECAR_FORMAT, SectionInfo, SidecarId, SidecarMeta, sidecar_path};
use crate::chunk::ProjectSpan;
use crate::disk::Disk;
use crate::error::StoreResult;
use crate::segment::{SegmentFiles, SegmentId, Sink, block_checksum, io_error};
use crate::version::Lsn;

/// What is known of a sidecar beside its sections.
pub struct SidecarHead<'a> {
    /// The number it gets.
    pub id: SidecarId,
    /// The dataset's identity.
    pub dataset: DatasetId,
    /// Its name.
    pub name: &'a str,
    /// The segment it belongs to; `None` for history.
    pub segment: Option<SegmentId>,
    /// The first UTC day of its rows.
    pub day: i32,
    /// The hash of the roll-ups it was derived for.
    pub derived_for: u64,
    /// Every tombstone up to this one is applied to its rows.
    pub tombstones_applied: Lsn,
    /// Of history: its projects with the raw rows they were derived from, in order of name.
    pub projects: Vec<(ProjectName, ProjectSpan)>,
}

/// Writes the file, durable and under its final name; without sections there is none.
pub fn write_sidecar(
    files: &SegmentFiles,
    head: SidecarHead<'_>,
    derived: Derived,
) -> StoreResult<SidecarMeta> {
    let disk = Arc::clone(files.disk());
    let mut writer = SidecarWriter::new(&*disk, files.data_dir(), head);
    writer.meta.not_paying = derived.not_paying;
    for section in derived.sections {
        writer.begin_section(section.head.clone());
        for slice in &section.projects {
            writer.write(slice)?;
        }
    }
    writer.finish()
}

/// A sidecar's file while it is written; dropped before [`SidecarWriter::finish`] it leaves nothing behind.
pub struct SidecarWriter<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    /// Made with the first slice: a sidecar without rows has no file.
    sink: Option<Sink<'a>>,
    meta: SidecarMeta,
    footer: Footer,
    /// Names in the order of their first slice; the footer's are sorted at the end.
    projects: HashMap<ProjectName, u32>,
    offset: u64,
}

impl<'a> SidecarWriter<'a> {
    /// Nothing is written yet.
    pub fn new(disk: &'a dyn Disk, data_dir: &Path, head: SidecarHead<'_>) -> Self {
        let meta = SidecarMeta {
            id: head.id,
            dataset: head.dataset,
            segment: head.segment,
            day: head.day,
            bytes: 0,
            checksum: 0,
            derived_for: head.derived_for,
            tombstones_applied: head.tombstones_applied,
            format: SIDECAR_FORMAT,
            projects: head.projects,
            not_paying: Vec::new(),
            sections: Vec::new(),
        };
        SidecarWriter {
            disk,
            path: sidecar_path(data_dir, head.name, head.day, head.id),
            sink: None,
            meta,
            footer: Footer::default(),
            projects: HashMap::new(),
            offset: HEADER_BYTES as u64,
        }
    }

    /// The slices that follow belong to this section.
    pub fn begin_section(&mut self, head: SectionHead) {
        self.footer.sections.push(FooterSection { head: head_text(&head), slices: Vec::new() });
        let index = self.meta.sections.len();
        self.meta.sections.push(SectionInfo { head: Arc::new(head), index, bytes: 0, rows: 0 });
    }

    /// Appends a project's rows of the section that was begun last.
    ///
    /// # Panics
    /// Before any section.
    pub fn write(&mut self, slice: &EncodedSlice) -> StoreResult<()> {
        let mut sink = match self.sink.take() {
            Some(sink) => sink,
            None => self.begin_file()?,
        };
        let next = self.projects.len() as u32;
        let project = *self.projects.entry_ref(&slice.project).or_insert(next);
        let mut columns = Vec::with_capacity(slice.columns.len());
        for column in &slice.columns {
            let length = u32::try_from(column.len()).expect("a column of a sidecar stays far below 4 GiB");
            columns.push((length, block_checksum(column)));
            sink.write_all(column).map_err(|source| io_error("write", &self.path, source))?;
        }
        let (rows, min_us, max_us, offset) = (slice.rows, slice.min_us, slice.max_us, self.offset);
        let placed = Slice { project, rows, min_us, max_us, offset, columns };
        let info = self.meta.sections.last_mut().expect("a section was begun");
        info.rows += rows;
        info.bytes += placed.bytes();
        self.offset += placed.bytes();
        self.footer.sections.last_mut().expect("a section was begun").slices.push(placed);
        self.sink = Some(sink);
        Ok(())
    }

    fn begin_file(&self) -> StoreResult<Sink<'a>> {
        let mut sink = Sink::create(self.disk, &self.path)?;
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8..10].copy_from_slice(&SIDECAR_FORMAT.to_le_bytes());
        sink.write_all(&header).map_err(|source| io_error("write", &self.path, source))?;
        Ok(sink)
    }

    /// Completes the file: durable, under its final name.
    pub fn finish(mut self) -> StoreResult<SidecarMeta> {
        let Some(mut sink) = self.sink.take() else {
            self.meta.sections.clear();
            return Ok(self.meta);
        };
        self.sort_projects();
        let footer = self.footer.encode();
        let trailer = [self.offset.to_le_bytes(), xxh3_64(&footer).to_le_bytes(), *MAGIC].concat();
        let written = sink.write_all(&footer).and_then(|()| sink.write_all(&trailer));
        written.map_err(|source| io_error("write", &self.path, source))?;
        let sealed = sink.seal()?;
        (self.meta.bytes, self.meta.checksum) = (sealed.bytes, sealed.checksum);
        Ok(self.meta)
    }

    /// Puts names in order, and slices by name.
    fn sort_projects(&mut self) {
        let mut names: Vec<(ProjectName, u32)> = self.projects.drain().collect();
        names.sort_unstable();
        let mut places = vec![0; names.len()];
        for (place, (_, first)) in names.iter().enumerate() {
            places[*first as usize] = place as u32;
        }
        self.footer.projects = names.into_iter().map(|(name, _)| name).collect();
        for section in &mut self.footer.sections {
            section.slices.iter_mut().for_each(|slice| slice.project = places[slice.project as usize]);
            section.slices.sort_unstable_by_key(|slice| slice.project);
        }
    }
}

/// The JSON of a head, as it stands in footer and catalog.
pub fn head_text(head: &SectionHead) -> String {
    serde_json::to_string(head).expect("a struct of strings has a JSON form")
}
