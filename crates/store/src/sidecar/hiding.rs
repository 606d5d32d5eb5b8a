//! Which rows of a section a delete takes, where it can be told apart from the rest.
//!
//! A section's row stands for all raw rows with its dimensions in its cell of time. A delete whose filter reads only those
//! dimensions, and whose range begins and ends between cells, takes whole rows. Any other delete reaches into sums that name
//! nobody: those stay.

use std::sync::Arc;

use arrow_buffer::BooleanBuffer;
use tidewater_aggregate::{SectionHead, SectionSlice};
use tidewater_columns::mask::Evaluator;
use tidewater_model::schema::{ColumnRef, Dataset};

use crate::chunk::ProjectSpan;
use crate::tombstone::Tombstone;

/// True if a delete of these columns' values in `[from_us, to_us)` takes whole rows of a section; `span` are the raw rows
/// behind it.
pub fn reaches(
    head: &SectionHead,
    dataset: &Dataset,
    span: ProjectSpan,
    columns: &[ColumnRef],
    (from_us, to_us): (i64, i64),
) -> bool {
    let between = |bound: i64| bound.rem_euclid(head.tier.width_us()) == 0;
    // A bound where the unit has no rows cuts no cell.
    let is_aligned = (from_us <= span.min_us || between(from_us)) && (to_us > span.max_us || between(to_us));
    is_aligned && places(head, dataset, columns).is_some()
}

/// Where columns stand among a section's dimensions; `None` when one is missing.
pub fn places(head: &SectionHead, dataset: &Dataset, columns: &[ColumnRef]) -> Option<Vec<usize>> {
    let place = |column: &ColumnRef| {
        let name = dataset.display(column);
        head.dimensions.iter().position(|dimension| *dimension == name)
    };
    columns.iter().map(place).collect()
}

/// Which rows of a slice a delete takes that [`reaches`] them. The slice was read with the dimensions of [`places`], in that
/// order.
pub fn hidden(slice: &SectionSlice, head: &SectionHead, tombstone: &Tombstone) -> BooleanBuffer {
    let (times, width_us) = (slice.times.values(), head.tier.width_us());
    // A cell reaches over an end of the range only where the unit has no rows.
    let in_range = BooleanBuffer::collect_bool(slice.rows, |row| {
        times[row].saturating_add(width_us) > tombstone.from_us && times[row] < tombstone.to_us
    });
    let columns = tombstone.filter().columns();
    let passes = Evaluator::new(Arc::clone(tombstone.filter())).evaluate(slice.rows, &mut |asked| {
        let place = columns.iter().position(|column| column == asked)?;
        slice.dimensions.get(place).cloned().flatten()
    });
    &in_range & &passes
}

#[cfg(test)]
mod tests {
    use tidewater_model::schema::{DatasetDefinition, Tier};

    use super::*;

    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn a_delete_takes_whole_cells_of_what_the_dimensions_tell_apart() {
        let definition =
            br#"{"time": "ts", "columns": {"kind": "string", "user": "string", "props": "map"}}"#;
        let definition = DatasetDefinition::from_json(definition).expect("a valid definition");
        let dataset = Dataset::compile("events", definition).expect("a valid dataset");
        let head = SectionHead {
            rollup: "kinds".to_owned(),
            tier: Tier::Hour,
            dimensions: vec!["kind".to_owned(), "props.plan".to_owned()],
            measures: Vec::new(),
        };
        let span = ProjectSpan { rows: 9, min_us: 2 * HOUR + 5, max_us: 7 * HOUR + 5 };
        let check = |names: &[&str], range: (i64, i64), expected: bool| {
            let columns = names.iter().map(|name| dataset.resolve_column(name).expect("a column"));
            let columns: Vec<ColumnRef> = columns.collect();
            assert_eq!(reaches(&head, &dataset, span, &columns, range), expected, "{names:?} {range:?}");
        };
        let all = (i64::MIN, i64::MAX);
        check(&[], all, true);
        check(&["kind"], all, true);
        check(&["kind", "props.plan"], all, true);
        check(&["user"], all, false);
        check(&["kind", "user"], all, false);
        check(&["props"], all, false);
        check(&["kind"], (3 * HOUR, 5 * HOUR), true);
        check(&["kind"], (3 * HOUR + 1, 5 * HOUR), false);
        check(&["kind"], (3 * HOUR, 5 * HOUR + 1), false);
        check(&["kind"], (2 * HOUR + 5, 7 * HOUR + 6), true);
        check(&["kind"], (2 * HOUR + 6, 7 * HOUR + 6), false);
        check(&["kind"], (2 * HOUR + 5, 7 * HOUR + 5), false);
    }
}
