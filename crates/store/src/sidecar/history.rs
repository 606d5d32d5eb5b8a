//! History: sidecars whose raw rows have expired. Leaving out sections, joining many files into one, and rewriting deletes out.
//!
//! Not here: when sections expire (`retention`), how slices are joined (`aggregate`).

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use tidewater_aggregate::{SectionHead, VisibleSlice, join_slices};
use tidewater_model::names::ProjectName;

use super::Sidecar;
use super::file::SidecarFooter;
use super::meta::{SidecarId, SidecarMeta};
use super::writer::{SidecarHead, SidecarWriter, head_text};
use crate::chunk::ProjectSpan;
use crate::error::StoreResult;
use crate::segment::{SegmentFiles, SegmentId, damaged, day_folder};
use crate::tombstone::Tombstone;

/// Files from this size on are merged no more, in bytes: a merge keeps one project's slices of one section in memory.
const HISTORY_BYTES_SETTLED: u64 = 64 << 20;
/// Inputs of one merge at most.
const INPUTS_MAX: usize = 32;

/// The next files of one dataset's history to be replaced by one; `None` when there are at most `files_max` of each month and shape.
/// A file with a pending delete is
/// rewritten alone. Files are joined only when they have the same sections: a section must hold all rows of its unit.
pub fn plan_history_merge(
    history: &[&SidecarMeta],
    files_max: usize,
    is_pending: &dyn Fn(SidecarId) -> bool,
) -> Option<Vec<SidecarId>> {
    if let Some(pending) = history.iter().find(|sidecar| is_pending(sidecar.id)) {
        return Some(vec![pending.id]);
    }
    let mut groups: BTreeMap<(String, Vec<String>), Vec<&SidecarMeta>> = BTreeMap::new();
    for sidecar in history.iter().filter(|sidecar| sidecar.bytes < HISTORY_BYTES_SETTLED) {
        groups.entry((month(sidecar.day), heads(sidecar))).or_default().push(sidecar);
    }
    let mut crowded = groups.into_values().find(|group| group.len() > files_max.max(1))?;
    crowded.sort_unstable_by_key(|sidecar| (sidecar.bytes, sidecar.id));
    crowded.truncate(INPUTS_MAX);
    Some(crowded.iter().map(|sidecar| sidecar.id).collect())
}

/// `YYYY-MM`.
fn month(day: i32) -> String {
    let mut name = day_folder(day);
    name.truncate("YYYY-MM".len());
    name
}

fn heads(sidecar: &SidecarMeta) -> Vec<String> {
    let mut heads: Vec<String> = sidecar.sections.iter().map(|section| head_text(&section.head)).collect();
    heads.sort_unstable();
    heads
}

/// Writes a copy of some sections, byte by byte. `segment` and `projects` are those of the copy. The file is durable; without
/// sections there is none.
pub fn trim(
    files: &SegmentFiles,
    sidecar: &Sidecar,
    sections: &[usize],
    segment: Option<SegmentId>,
    projects: Vec<(ProjectName, ProjectSpan)>,
    id: SidecarId,
) -> StoreResult<SidecarMeta> {
    let meta = sidecar.meta();
    let head = SidecarHead {
        id,
        dataset: meta.dataset,
        name: &sidecar.dataset.name,
        segment,
        day: meta.day,
        derived_for: meta.derived_for,
        tombstones_applied: meta.tombstones_applied,
        projects,
    };
    let mut writer = SidecarWriter::new(&**files.disk(), files.data_dir(), head);
    if let Some(footer) = sidecar.footer()? {
        for info in sections.iter().filter_map(|section| meta.sections.get(*section)) {
            writer.begin_section(SectionHead::clone(&info.head));
            for slice in footer.slices(info.index) {
                writer.write(&footer.encoded(slice)?)?;
            }
        }
    }
    writer.finish()
}

/// Joins files of history with the same sections into one, without the rows that deletes take. The file is durable; without rows
/// there is none. `throttle` is called for every slice: it may sleep, and `Break` ends the merge with `None`, leaving no file.
pub fn merge_history(
    files: &SegmentFiles,
    inputs: &[Arc<Sidecar>],
    tombstones: &[Arc<Tombstone>],
    id: SidecarId,
    throttle: &dyn Fn() -> ControlFlow<()>,
) -> StoreResult<Option<SidecarMeta>> {
    let Some(first) = inputs.first() else { return Ok(None) };
    let mut opened = Vec::with_capacity(inputs.len());
    for sidecar in inputs {
        opened.extend(sidecar.footer()?.map(|footer| Input { sidecar, footer }));
    }
    let latest = tombstones.iter().map(|tombstone| tombstone.lsn).max().unwrap_or_default();
    let applied = inputs.iter().map(|input| input.tombstones_applied()).max().unwrap_or_default();
    let head = SidecarHead {
        id,
        dataset: first.meta.dataset,
        name: &first.dataset.name,
        segment: None,
        day: inputs.iter().map(|input| input.meta.day).min().unwrap_or(first.meta.day),
        derived_for: first.meta.derived_for,
        tombstones_applied: applied.max(latest),
        projects: spans(inputs),
    };
    let mut writer = SidecarWriter::new(&**files.disk(), files.data_dir(), head);
    for section in first.sections() {
        writer.begin_section(SectionHead::clone(&section.head));
        let text = head_text(&section.head);
        let names: Vec<&ProjectName> = project_names(inputs);
        for project in names {
            if throttle().is_break() {
                return Ok(None);
            }
            let mut slices = Vec::with_capacity(opened.len());
            for input in &opened {
                slices.extend(input.slice(&text, project, tombstones)?);
            }
            let joined = join_slices(&section.head, &slices);
            let joined = joined.map_err(|error| damaged(opened[0].footer.path(), 0, error.to_string()))?;
            if let Some(joined) = joined {
                writer.write(&joined)?;
            }
        }
    }
    writer.finish().map(Some)
}

/// One file of a merge.
struct Input<'a> {
    sidecar: &'a Arc<Sidecar>,
    footer: Arc<SidecarFooter>,
}

impl Input<'_> {
    /// A project's rows of a section, and which of them no delete takes.
    fn slice(
        &self,
        head: &str,
        project: &ProjectName,
        tombstones: &[Arc<Tombstone>],
    ) -> StoreResult<Option<VisibleSlice>> {
        let sections = self.sidecar.sections();
        let Some(info) = sections.iter().find(|section| head_text(&section.head) == *head) else {
            return Ok(None);
        };
        let Some(place) = self.footer.slice(info.index, project) else { return Ok(None) };
        let visible = self.sidecar.visible(info.index, project, tombstones, i64::MIN..i64::MAX)?;
        Ok(Some(VisibleSlice { slice: self.footer.encoded(place)?, visible }))
    }
}

fn project_names(inputs: &[Arc<Sidecar>]) -> Vec<&ProjectName> {
    let names = inputs.iter().flat_map(|input| input.meta.projects.iter().map(|(name, _)| name));
    let mut names: Vec<&ProjectName> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Per project the raw rows behind all inputs together.
fn spans(inputs: &[Arc<Sidecar>]) -> Vec<(ProjectName, ProjectSpan)> {
    let mut spans: BTreeMap<ProjectName, ProjectSpan> = BTreeMap::new();
    for (name, span) in inputs.iter().flat_map(|input| &input.meta.projects) {
        let known = spans.entry(name.clone()).or_insert(ProjectSpan { rows: 0, ..*span });
        known.rows += span.rows;
        known.min_us = known.min_us.min(span.min_us);
        known.max_us = known.max_us.max(span.max_us);
    }
    spans.into_iter().collect()
}
