//! Which measures of a question a section can serve: the rule of dimensions, filters and states.
//!
//! Not here: at which instants (`cells`).

use tidewater_model::filter::Filter;
use tidewater_model::schema::{ColumnId, ColumnRef};

use super::facts::{Question, SectionSchema};

/// How a section serves a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Served {
    /// Index of the stored key.
    pub stored: usize,
    /// The measure's filter is to be evaluated on the section's dimensions.
    pub filtered: bool,
}

/// One per measure of the question; `None` for those that need another source, and for all where the section's rows are too coarse.
pub(super) fn served(question: &Question, section: &SectionSchema) -> Vec<Option<Served>> {
    let is_kept = |column: &ColumnRef| is_dimension(column, section);
    if !question.dimensions.iter().all(is_kept) || !is_decidable(&question.filter, section) {
        return vec![None; question.measures.len()];
    }
    let stored = |wanted: &dyn Fn(&tidewater_aggregate::MeasureKey) -> bool| {
        section.measures.iter().position(|key| key.as_ref().is_some_and(wanted))
    };
    let serve = |wanted: &super::facts::Wanted| {
        if wanted.raw_only {
            return None;
        }
        if let Some(index) = stored(&|key| key.serves(&wanted.key)) {
            return Some(Served { stored: index, filtered: false });
        }
        if !is_decidable(&wanted.key.filter, section) {
            return None;
        }
        let unfiltered = tidewater_aggregate::MeasureKey { filter: Filter::all(), ..wanted.key.clone() };
        let index = stored(&|key| key.serves(&unfiltered))?;
        Some(Served { stored: index, filtered: true })
    };
    question.measures.iter().map(serve).collect()
}

/// Whether a filter has one answer for all rows behind a row of the section. The time never has: a cell is a span of it.
fn is_decidable(filter: &Filter, section: &SectionSchema) -> bool {
    let mut columns = Vec::new();
    filter.columns(&mut columns);
    columns.iter().all(|column| is_dimension(column, section))
}

fn is_dimension(column: &ColumnRef, section: &SectionSchema) -> bool {
    column.column != ColumnId::TIME && section.dimensions.contains(column)
}
