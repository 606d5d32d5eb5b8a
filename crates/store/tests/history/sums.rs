//! Sums per cell of time and kind: as the roll-ups on disk say, and as rows say. They are equal.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewater_aggregate::{Cell, Keys, Reading, Rows, SectionSlice, States};
use tidewater_columns::StringsRef;
use tidewater_model::schema::{ColumnType, Tier};
use tidewater_store::{Sidecar, Snapshot, Tombstone, Unit, Wanted};

use crate::world::{Row, World, kind_of, project, rows_of_units, time_of};

const ALL_TIME: std::ops::Range<i64> = i64::MIN..i64::MAX;

/// Start of the cell and kind → rows and the total of their values.
pub type Sums = BTreeMap<(i64, String), (i64, i64)>;

/// What rows say.
pub fn of_rows(rows: &[Row], tier: Tier) -> Sums {
    let mut sums = Sums::new();
    for Row(_, value) in rows {
        let cell = time_of(*value).div_euclid(tier.width_us()) * tier.width_us();
        let sum = sums.entry((cell, kind_of(*value).to_owned())).or_default();
        *sum = (sum.0 + 1, sum.1 + value);
    }
    sums
}

fn add(sums: &mut Sums, more: Sums) {
    for (key, (rows, total)) in more {
        let sum = sums.entry(key).or_default();
        *sum = (sum.0 + rows, sum.1 + total);
    }
}

/// What a sidecar says of a project at a tier; `None` when it has no such section. Deletes that wait to be rewritten out of
/// history are filters.
pub fn of_sidecar(
    sidecar: &Sidecar,
    project_name: &str,
    tier: Tier,
    tombstones: &[Arc<Tombstone>],
) -> Option<Sums> {
    let mut sections = sidecar.sections().iter();
    let section = sections.find(|section| section.head.tier == tier && section.head.rollup == "kinds")?;
    let total = section.head.measures.iter().position(|text| text.contains("\"value\"")).unwrap();
    let mut sums = Sums::new();
    let name = project(project_name);
    let info = sidecar.slice(section.index, &name).unwrap();
    let visible = sidecar.visible(section.index, &name, tombstones, ALL_TIME).unwrap();
    let wanted = Wanted { dimensions: &[0], measures: &[0, total], times: true, within_us: ALL_TIME };
    let Some(slice) = sidecar.read(section.index, &name, &wanted).unwrap() else {
        assert_eq!(info.map_or(0, |info| info.rows), 0);
        return Some(sums);
    };
    assert_eq!(info.unwrap().rows, slice.rows as u64);
    let kinds = slice.dimensions[0].as_ref().map(|kinds| StringsRef::new(kinds.as_ref()).unwrap());
    let (counts, totals) = (numbers(&slice, 0), numbers(&slice, 1));
    for row in (0..slice.rows).filter(|row| visible.as_ref().is_none_or(|visible| visible.value(*row))) {
        let kind = kinds.as_ref().and_then(|kinds| kinds.get(row)).unwrap().to_owned();
        let sum = (counts[row], totals[row]);
        assert!(sums.insert((slice.times.value(row), kind), sum).is_none(), "a group is there twice");
    }
    Some(sums)
}

/// A measure's numbers by row, as the kernels read them.
fn numbers(slice: &SectionSlice, measure: usize) -> Vec<i64> {
    let encoded = &slice.measures[measure];
    let mut states = States::new(encoded.kind().unwrap(), false);
    states.resize(slice.rows);
    let groups: Vec<u32> = (0..slice.rows as u32).collect();
    states.merge_encoded(encoded, Rows::All(slice.rows), Keys::Each(&groups)).unwrap();
    let number = |cell| match cell {
        Cell::Int(number) => i64::try_from(number).unwrap(),
        other => panic!("{other:?} is no whole number"),
    };
    (0..slice.rows).map(|row| number(states.cell(row, Reading::Value, ColumnType::Int))).collect()
}

/// What a snapshot says of a project at a tier: from sections where a unit has one that no delete waits for, else from its rows.
/// Also how many units answered from sections.
pub fn of_snapshot(world: &World, snapshot: &Snapshot, project_name: &str, tier: Tier) -> (Sums, usize) {
    let view = snapshot.view(world.dataset).unwrap();
    let (mut sums, mut from_sections) = (Sums::new(), 0);
    for unit in view.units.iter() {
        let name = project(project_name);
        let Some(span) = unit.span(&name) else { continue };
        let usable = unit.sidecar().filter(|sidecar| {
            if matches!(unit, Unit::History(_)) {
                return true;
            }
            let applied = sidecar.tombstones_applied();
            !view.tombstones.iter().any(|tombstone| {
                tombstone.lsn > applied
                    && tombstone.project == name
                    && tombstone.from_us <= span.max_us
                    && tombstone.to_us > span.min_us
            })
        });
        match usable.and_then(|sidecar| of_sidecar(sidecar, project_name, tier, &view.tombstones)) {
            Some(said) => {
                add(&mut sums, said);
                from_sections += 1;
            }
            None => {
                assert!(!matches!(unit, Unit::History(_)), "history has no other source");
                add(&mut sums, of_rows(&rows_of_units(view, std::slice::from_ref(unit), project_name), tier));
            }
        }
    }
    (sums, from_sections)
}
