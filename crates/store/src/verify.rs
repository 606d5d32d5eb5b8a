//! Reading everything on disk and saying what is damaged. Changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewater_model::schema::Dataset;

use crate::catalog::Catalog;
use crate::dedup::Run;
use crate::disk::DiskRef;
use crate::error::{StoreError, StoreResult};
use crate::log::{LogReader, Record};
use crate::paths;
use crate::recovery::{delete_record, lock};
use crate::scan::Unit;
use crate::segment::{FOOTER_BYTES_MAX, Segment, SegmentFiles, verify_segment};
use crate::shared::Shared;
use crate::sidecar::{Sidecar, SidecarMeta, verify_sidecar};
use crate::tombstone::Tombstone;

/// What was read, and what is wrong.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Segments read.
    pub segments: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Sidecars read: roll-ups of segments, compared with their rows, and history.
    pub sidecars: u64,
    /// Their bytes.
    pub sidecar_bytes: u64,
    /// Deduplication runs read.
    pub runs: u64,
    /// Log records read; none of a live store, whose log is being written.
    pub log_records: u64,
    /// Everything that is damaged. Empty is good.
    pub problems: Vec<StoreError>,
}

impl VerifyReport {
    fn note<T>(&mut self, outcome: StoreResult<T>) -> Option<T> {
        outcome.map_err(|error| self.problems.push(error)).ok()
    }

    fn segment(&mut self, of: &Of<'_>, segment: &Segment) {
        self.segments += 1;
        let Some(check) = self.note(verify_segment(of.files, of.dataset, segment.meta(), of.tombstones))
        else {
            return;
        };
        self.rows += check.rows;
        self.segment_bytes += check.bytes;
        if let Some(sidecar) = segment.sidecar() {
            self.sidecar(of, sidecar, Some(segment));
        }
    }

    fn sidecar(&mut self, of: &Of<'_>, sidecar: &Sidecar, segment: Option<&Segment>) {
        self.sidecars += 1;
        let check = verify_sidecar(of.files, of.dataset, sidecar, segment, of.tombstones);
        if let Some(check) = self.note(check) {
            self.sidecar_bytes += check.bytes;
        }
    }

    fn run(&mut self, run: &Run) {
        self.runs += 1;
        self.note(run.verify());
    }
}

/// What is checked belongs to this.
struct Of<'a> {
    files: &'a Arc<SegmentFiles>,
    dataset: &'a Arc<Dataset>,
    tombstones: &'a [Arc<Tombstone>],
}

/// Checks a store that is open: segments, sidecars and runs.
pub fn verify_shared(shared: &Shared) -> StoreResult<VerifyReport> {
    let mut report = VerifyReport::default();
    let snapshot = shared.snapshot();
    for view in snapshot.views() {
        let of = Of { files: &shared.files, dataset: &view.dataset, tombstones: &view.tombstones };
        for unit in view.units.iter() {
            match unit {
                Unit::Segment(segment) => report.segment(&of, segment),
                Unit::History(sidecar) => report.sidecar(&of, sidecar, None),
                Unit::Chunk(_) => {}
            }
        }
    }
    let runs: Vec<Arc<Run>> = shared.dedup().runs().cloned().collect();
    runs.iter().for_each(|run| report.run(run));
    Ok(report)
}

/// Checks the folder of a store no process uses: catalog, segments, sidecars, runs and log. Fails only where the catalog itself
/// cannot be read.
pub fn verify(data_dir: &Path, disk: &DiskRef) -> StoreResult<VerifyReport> {
    let _lock = lock(disk.as_ref(), data_dir)?;
    let mut report = VerifyReport::default();
    let content = Catalog::open_existing(disk, data_dir)?.load()?;
    let files = SegmentFiles::new(Arc::clone(disk), PathBuf::from(data_dir), FOOTER_BYTES_MAX);
    for (id, row) in &content.datasets {
        let compiled = Dataset::compile(&row.name, row.definition.clone()).map_err(StoreError::Schema);
        let Some(dataset) = report.note(compiled).map(Arc::new) else { continue };
        let mut tombstones = Vec::new();
        for (lsn, row) in content.tombstones.iter().filter(|(_, row)| row.dataset == id.0) {
            let made =
                delete_record(row).and_then(|record| crate::writer::tombstone(&dataset, *lsn, &record));
            tombstones.extend(report.note(made));
        }
        let of = Of { files: &files, dataset: &dataset, tombstones: &tombstones };
        for meta in content.segments.iter().filter(|meta| meta.dataset == *id) {
            let sidecar = content.sidecars.iter().find(|sidecar| sidecar.segment == Some(meta.id));
            let opened = Segment::open(&files, &dataset, meta.clone(), sidecar.cloned());
            if let Some(segment) = report.note(opened) {
                report.segment(&of, &segment);
            }
        }
        let is_mine = |meta: &&SidecarMeta| meta.dataset == *id && meta.segment.is_none();
        for meta in content.sidecars.iter().filter(is_mine) {
            if let Some(sidecar) = report.note(Sidecar::open(&files, &dataset, meta.clone())) {
                report.sidecar(&of, &sidecar, None);
            }
        }
    }
    for row in &content.runs {
        if let Some(run) = report.note(Run::open(disk, paths::run_path(data_dir, row.id), row.id)) {
            report.run(&run);
        }
    }
    let log = LogReader::new(disk.as_ref(), data_dir, content.flushed).read(|_, path, offset, content| {
        let damaged =
            |reason: &str| StoreError::Damaged { path: path.to_owned(), offset, reason: reason.to_owned() };
        Record::decode(content).map_err(damaged).map(drop)
    });
    if let Some(check) = report.note(log) {
        report.log_records = check.records;
    }
    Ok(report)
}
