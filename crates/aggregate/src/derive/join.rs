//! Several sections of one roll-up and tier as one: of segments that are merged, and of history, whose rows are gone.

use arrow_array::{ArrayRef, UInt32Array};
use arrow_buffer::BooleanBuffer;
use arrow_select::take::take;
use tidewater_model::names::ProjectName;

use super::axis::{Axis, Sorted};
use super::table::Table;
use crate::error::AggregateError;
use crate::feed::Rows;
use crate::section::dimension::kind_of;
use crate::section::{EncodedSection, EncodedSlice, SectionHead, SectionSlice};
use crate::state::StateKind;

/// Joins sections with equal heads. Groups that several of them have become one group.
pub fn join_sections(
    head: &SectionHead,
    sections: &[EncodedSection],
) -> Result<EncodedSection, AggregateError> {
    if sections.iter().any(|section| section.head != *head) {
        return Err(AggregateError::Inconsistent {
            what: "roll-ups that hold different things cannot be joined",
        });
    }
    let slices = || sections.iter().flat_map(|section| &section.projects);
    let mut projects: Vec<&ProjectName> = slices().map(|slice| &slice.project).collect();
    projects.sort_unstable();
    projects.dedup();
    let mut joined = Vec::with_capacity(projects.len());
    for project in projects {
        let own = slices().filter(|slice| slice.project == *project);
        let own: Vec<VisibleSlice> =
            own.map(|slice| VisibleSlice { slice: slice.clone(), visible: None }).collect();
        joined.extend(join_slices(head, &own)?);
    }
    Ok(EncodedSection { head: head.clone(), projects: joined })
}

/// A slice that is joined with others, and which of its rows are taken; `None` for all.
#[derive(Clone, Debug)]
pub struct VisibleSlice {
    /// The slice.
    pub slice: EncodedSlice,
    /// One bit per row.
    pub visible: Option<BooleanBuffer>,
}

/// Joins the rows of one project that are taken of slices with this head; `None` where there are none.
pub fn join_slices(
    head: &SectionHead,
    slices: &[VisibleSlice],
) -> Result<Option<EncodedSlice>, AggregateError> {
    let (first, is_whole) = match slices {
        [] => return Ok(None),
        [only] => (only, only.visible.is_none()),
        [first, ..] => (first, false),
    };
    if is_whole {
        return Ok(Some(first.slice.clone()));
    }
    let dimensions = head.dimensions.len();
    let read = slices.iter().map(|part| part.slice.decode(head.tier, dimensions));
    let read: Vec<SectionSlice> = read.collect::<Result<_, _>>()?;
    let mut axes = Vec::with_capacity(dimensions);
    for place in 1..=dimensions {
        let kind = kind_of(&first.slice.columns[place])?;
        for part in slices {
            if kind_of(&part.slice.columns[place])? != kind {
                return Err(AggregateError::Inconsistent { what: "a dimension has values of two types" });
            }
        }
        axes.push(Axis::new(kind));
    }
    let kinds: Vec<StateKind> =
        read[0].measures.iter().map(|measure| measure.kind()).collect::<Result<_, _>>()?;
    let used: Vec<usize> = (0..dimensions).collect();
    let mut table = Table::new(head.tier, dimensions, &kinds);
    let mut rows_taken = 0;
    for (slice, part) in read.iter().zip(slices) {
        let taken = Taken::of(slice, part.visible.as_ref())?;
        rows_taken += taken.times.len();
        for (axis, array) in axes.iter_mut().zip(&taken.dimensions) {
            axis.encode(array.as_ref(), taken.times.len());
        }
        let (keys, states) = table.assign(&taken.times, &axes, &used);
        let rows = taken.rows.as_deref().map_or(Rows::All(slice.rows), Rows::List);
        for (states, encoded) in states.iter_mut().zip(&slice.measures) {
            states.merge_encoded(encoded, rows, keys)?;
        }
    }
    if rows_taken == 0 {
        return Ok(None);
    }
    let sorted: Vec<Option<Sorted>> = axes.iter().map(|axis| Some(axis.sort())).collect();
    Ok(Some(table.encode(&first.slice.project, &sorted, &used)))
}

/// The rows of a slice that are taken.
struct Taken {
    /// Their places; `None` for all.
    rows: Option<Vec<u32>>,
    times: Vec<i64>,
    dimensions: Vec<Option<ArrayRef>>,
}

impl Taken {
    fn of(slice: &SectionSlice, visible: Option<&BooleanBuffer>) -> Result<Self, AggregateError> {
        let times = slice.times.values();
        let Some(visible) = visible else {
            return Ok(Taken { rows: None, times: times.to_vec(), dimensions: slice.dimensions.clone() });
        };
        if visible.len() != slice.rows {
            return Err(AggregateError::Inconsistent { what: "not one bit per row of a roll-up" });
        }
        let rows: Vec<u32> = visible.set_indices().map(|row| row as u32).collect();
        let places = UInt32Array::from(rows.clone());
        let take = |array: &ArrayRef| take(array, &places, None).expect("set bits lie inside the rows");
        let dimensions = slice.dimensions.iter().map(|array| array.as_ref().map(take)).collect();
        let times = rows.iter().map(|row| times[*row as usize]).collect();
        Ok(Taken { rows: Some(rows), times, dimensions })
    }
}
