//! Checks one sidecar against its catalog entry and, where its segment is there, against the segment's rows.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use tidewater_aggregate::{EncodedSection, derived_for, rollup_plans};
use tidewater_columns::RowBatch;
use tidewater_model::schema::Dataset;

use super::Sidecar;
use super::build::derive;
use crate::error::StoreResult;
use crate::segment::{Segment, SegmentFiles, check_sum, damaged};
use crate::tombstone::Tombstone;

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SidecarCheck {
    /// Sections read.
    pub sections: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Reads a sidecar completely: the file's checksum, its footer, every column's checksum, and that rows and bytes are as the
/// catalog says. Where `segment` is the one it was derived from for today's roll-ups, it is derived once more and compared, byte
/// by byte but for the last digits of sums of floats: a roll-up equals its rows. The first thing that is wrong is the error.
pub fn verify_sidecar(
    files: &SegmentFiles,
    dataset: &Arc<Dataset>,
    sidecar: &Sidecar,
    segment: Option<&Segment>,
    tombstones: &[Arc<Tombstone>],
) -> StoreResult<SidecarCheck> {
    let meta = sidecar.meta();
    let Some(path) = sidecar.path() else { return Ok(SidecarCheck::default()) };
    check_sum(files, path, meta.bytes, meta.checksum)?;
    let mut stored = Vec::with_capacity(meta.sections.len());
    if let Some(footer) = sidecar.footer()? {
        for info in &meta.sections {
            let slices = footer.slices(info.index).iter();
            let projects = slices.map(|slice| footer.encoded(slice)).collect::<StoreResult<Vec<_>>>()?;
            let section = EncodedSection { head: (*info.head).clone(), projects };
            if section.rows() != info.rows || section.bytes() != info.bytes {
                return Err(damaged(path, 0, "the size of a section differs from the catalog's"));
            }
            stored.push(section);
        }
    }
    if let Some(segment) = segment
        && meta.derived_for == derived_for(dataset)
    {
        let applied: Vec<Arc<Tombstone>> =
            tombstones.iter().filter(|tombstone| tombstone.lsn <= meta.tombstones_applied).cloned().collect();
        let mut largest = 0.0;
        let mut look = |rows: &RowBatch| {
            largest = largest_float(dataset, rows).max(largest);
            ControlFlow::Continue(())
        };
        let again = derive(dataset, segment, &applied, &mut look)?.unwrap_or_default().sections;
        // Which sections pay may have been judged with other expectations; those that are on both sides are equal.
        for section in &stored {
            let made = again.iter().find(|made| made.head == section.head);
            let Some(made) = made else { continue };
            let is_same = made.says_the_same(section, largest);
            if !is_same.map_err(|error| damaged(path, 0, error.to_string()))? {
                let name = format!("{}/{}", section.head.rollup, section.head.tier.name());
                return Err(damaged(path, 0, format!("section {name} differs from the segment's rows")));
            }
        }
    }
    Ok(SidecarCheck { sections: stored.len() as u64, bytes: meta.bytes })
}

/// The largest size of a float among the columns that roll-ups read.
fn largest_float(dataset: &Dataset, rows: &RowBatch) -> f64 {
    let plans = rollup_plans(dataset);
    let columns = plans.iter().flat_map(|plan| &plan.measures).filter_map(|measure| measure.column.as_ref());
    let arrays = columns.filter_map(|column| rows.read(column));
    let largest = |array: ArrayRef| {
        let floats = array.as_primitive_opt::<Float64Type>()?;
        floats.iter().flatten().map(f64::abs).reduce(f64::max)
    };
    arrays.filter_map(largest).fold(0.0, f64::max)
}
