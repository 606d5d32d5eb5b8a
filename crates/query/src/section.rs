//! Reading a section: one slice as a batch whose columns stand in the slots of a plan.

use std::sync::Arc;

use arrow_array::{ArrayRef, TimestampMicrosecondArray};
use arrow_buffer::BooleanBuffer;
use tidewater_aggregate::{EncodedStates, SectionSlice};
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{ColumnId, ColumnRef};
use tidewater_store::Wanted;

use crate::error::ExecuteError;
use crate::plan::Plan;
use crate::scan::{Batch, column_bytes};
use crate::sources::{Part, SectionPart};

/// The states of a section's rows for one measure.
pub(crate) type Stored = EncodedStates;

/// A slice to read.
pub(crate) struct SectionRead {
    project: ProjectName,
    section: Arc<SectionPart>,
    interval: (i64, i64),
    /// What stands in each slot of the plan.
    slots: Vec<Slot>,
    /// Places of the section's dimensions that are read.
    dimensions: Vec<usize>,
    /// Places of the section's measures that are read.
    measures: Vec<usize>,
    /// For each measure of the plan its place among those read.
    places: Vec<Option<usize>>,
}

enum Slot {
    Time,
    /// By place among the dimensions that are read.
    Dimension(usize),
    /// Only a measure's values would stand there.
    Absent,
}

/// Rows of a slice.
pub(crate) struct SectionBatch {
    pub rows: usize,
    pub selection: Option<BooleanBuffer>,
    pub columns: Vec<Option<ArrayRef>>,
    /// By measure.
    pub stored: Vec<Option<Stored>>,
}

impl SectionRead {
    pub fn new(plan: &Plan, part: &Part, section: &Arc<SectionPart>) -> Self {
        let mut dimensions = Vec::new();
        let slot = |column: &ColumnRef| {
            if *column == ColumnRef::column(ColumnId::TIME) {
                return Slot::Time;
            }
            match section.schema.dimensions.iter().position(|other| other == column) {
                Some(place) => {
                    dimensions.push(place);
                    Slot::Dimension(dimensions.len() - 1)
                }
                None => Slot::Absent,
            }
        };
        let slots = plan.columns.iter().map(slot).collect();
        let (mut measures, mut places) = (Vec::new(), vec![None; plan.measures.len()]);
        for measure in &part.measures {
            let known = measures.iter().position(|stored| *stored == measure.stored);
            let place = known.unwrap_or_else(|| {
                measures.push(measure.stored);
                measures.len() - 1
            });
            places[measure.measure] = Some(place);
        }
        SectionRead {
            project: plan.project.clone(),
            section: Arc::clone(section),
            interval: part.interval,
            slots,
            dimensions,
            measures,
            places,
        }
    }

    /// At most so many rows.
    pub fn rows_max(&self) -> u64 {
        self.section.rows
    }

    /// Reads the slice; `None` where it has no rows of the project.
    pub fn read(self) -> Result<Option<SectionBatch>, ExecuteError> {
        let SectionPart { sidecar, index, tombstones, .. } = &*self.section;
        let within = self.interval.0..self.interval.1;
        let wanted = Wanted {
            dimensions: &self.dimensions,
            measures: &self.measures,
            times: self.slots.iter().any(|slot| matches!(slot, Slot::Time)),
            within_us: within.clone(),
        };
        let slice = sidecar.read(*index, &self.project, &wanted)?;
        let Some(slice) = slice else { return Ok(None) };
        let selection = match tombstones.is_empty() {
            true => None,
            false => sidecar.visible(*index, &self.project, tombstones, within)?,
        };
        Ok(Some(self.batch(slice, selection)))
    }

    fn batch(self, slice: SectionSlice, selection: Option<BooleanBuffer>) -> SectionBatch {
        let column = |slot: &Slot| -> Option<ArrayRef> {
            match slot {
                Slot::Time => Some(times(&slice.times, self.section.least_us)),
                Slot::Dimension(place) => slice.dimensions[*place].clone(),
                Slot::Absent => None,
            }
        };
        let stored = |place: &Option<usize>| place.map(|place| slice.measures[place].clone());
        SectionBatch {
            rows: slice.rows,
            selection,
            columns: self.slots.iter().map(column).collect(),
            stored: self.places.iter().map(stored).collect(),
        }
    }
}

/// The starts of cells, none before `least_us`.
fn times(times: &TimestampMicrosecondArray, least_us: i64) -> ArrayRef {
    // Sorted by time.
    if times.values().first().is_none_or(|first| *first >= least_us) {
        return Arc::new(times.clone());
    }
    let raised = times.values().iter().map(|time| (*time).max(least_us));
    Arc::new(TimestampMicrosecondArray::from_iter_values(raised).with_timezone("UTC"))
}

impl Batch for SectionBatch {
    fn rows(&self) -> u64 {
        self.selection.as_ref().map_or(self.rows, |selection| selection.count_set_bits()) as u64
    }

    fn bytes(&self) -> u64 {
        let columns: usize = self.columns.iter().flatten().map(column_bytes).sum();
        let stored: usize = self.stored.iter().flatten().map(EncodedStates::bytes).sum();
        (columns + stored) as u64
    }
}
