//! Sections against the rows they come from: whatever rows, batches and projects, the stored states are those of the rows.

#[path = "sections/world.rs"]
mod world;

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidewater_aggregate::{
    Derivation, Derived, EncodedSection, EncodedSlice, Feed, Input, Keys, MeasureKey, RollupPlan, Rows,
    RowsExpected, Scratch, SectionSlice, SliceBytes, StateKind, States, derived_for, join_sections,
    rollup_plans,
};
use tidewater_columns::RowBatch;
use tidewater_columns::mask::CompiledFilter;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{ColumnType, Dataset, Tier};
use world::{Row, batch, cells, dataset, readings, rows, same};

/// Enough that everything pays.
const RAW_BYTES: u64 = 1 << 40;

/// No float of the test's rows is larger.
const LARGEST: f64 = 1e9;

fn project(name: &str) -> ProjectName {
    ProjectName::new(name).expect("a project's name")
}

fn derive(parts: &[(&str, &[Row])], batch_rows: usize) -> Derived {
    let expected = RowsExpected { rows: 1_000, raw_bytes: RAW_BYTES };
    let mut derivation = Derivation::new(&dataset(), expected, Vec::new()).expect("there are roll-ups");
    for (name, rows) in parts {
        for rows in rows.chunks(batch_rows) {
            derivation.add(&project(name), &batch(rows));
        }
    }
    derivation.finish(RAW_BYTES)
}

/// The state of some rows, computed from them.
fn state_of(key: &MeasureKey, all: &RowBatch, rows: &[u32]) -> States {
    let filter = std::sync::Arc::new(CompiledFilter::compile(&key.filter).expect("a filter"));
    let mask = filter.mask(all);
    let rows: Vec<u32> = rows.iter().copied().filter(|row| mask.value(*row as usize)).collect();
    let mut states = States::new(key.state, true);
    states.resize(1);
    let array = key.column.as_ref().and_then(|column| all.read(column));
    let feed = Feed { rows: Rows::List(&rows), keys: Keys::One(0) };
    states.update(&feed, &Input { array: array.as_ref(), times: all.times() }, &mut Scratch::default());
    states
}

fn merged(key: &MeasureKey, slice: &SectionSlice, measure: usize, rows: &[u32]) -> States {
    let mut states = States::new(key.state, true);
    states.resize(1);
    states.merge_encoded(&slice.measures[measure], Rows::List(rows), Keys::One(0)).expect("own bytes");
    states
}

fn check_states(key: &MeasureKey, dataset: &Dataset, found: &States, expected: &States, context: &str) {
    let kind = key.column.as_ref().map_or(ColumnType::Int, |column| dataset.kind(column));
    for reading in readings(key.state) {
        let (found, expected) = (found.cell(0, reading, kind), expected.cell(0, reading, kind));
        assert!(
            same(&found, &expected),
            "{context} {} {reading:?}: {found:?}, of rows {expected:?}",
            key.text(dataset)
        );
    }
}

/// Every group of a slice has the state of its rows, and all groups together that of all rows.
fn check_slice(plan: &RollupPlan, section: &EncodedSection, slice: &EncodedSlice, rows: &[Row]) {
    let dataset = dataset();
    let all = batch(rows);
    let width_us = section.head.tier.width_us();
    let mut groups: BTreeMap<(i64, Vec<String>), Vec<u32>> = BTreeMap::new();
    let dimensions: Vec<Vec<String>> =
        plan.dimensions.iter().map(|column| cells(all.read(column).as_ref(), rows.len())).collect();
    for row in 0..rows.len() {
        let values = dimensions.iter().map(|values| values[row].clone()).collect();
        let start_us = all.times()[row].div_euclid(width_us) * width_us;
        groups.entry((start_us, values)).or_default().push(row as u32);
    }
    let decoded = slice.decode(section.head.tier, plan.dimensions.len()).expect("own bytes");
    assert_eq!((decoded.rows, slice.rows), (groups.len(), groups.len() as u64), "{:?}", section.head);
    assert_eq!(slice.min_us, *decoded.times.values().first().expect("a slice has rows"));
    assert_eq!(slice.max_us, *decoded.times.values().last().expect("a slice has rows"));
    assert!(decoded.times.values().is_sorted());
    let values: Vec<Vec<String>> =
        decoded.dimensions.iter().map(|array| cells(array.as_ref(), decoded.rows)).collect();
    for row in 0..decoded.rows {
        let key = (decoded.times.value(row), values.iter().map(|values| values[row].clone()).collect());
        let own = groups.get(&key).unwrap_or_else(|| panic!("{key:?} is no group of the rows"));
        for (place, measure) in plan.measures.iter().enumerate() {
            let found = merged(measure, &decoded, place, &[row as u32]);
            check_states(measure, &dataset, &found, &state_of(measure, &all, own), &format!("{key:?}"));
        }
    }
    let every_row: Vec<u32> = (0..rows.len() as u32).collect();
    let every_group: Vec<u32> = (0..decoded.rows as u32).collect();
    for (place, measure) in plan.measures.iter().enumerate() {
        let found = merged(measure, &decoded, place, &every_group);
        check_states(measure, &dataset, &found, &state_of(measure, &all, &every_row), "all");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn sections_hold_the_states_of_their_rows(one in rows(160), two in rows(60), batch_rows in 1usize..200) {
        let derived = derive(&[("one", &one), ("two", &two)], batch_rows);
        prop_assert!(derived.not_paying.is_empty());
        let plans = rollup_plans(&dataset());
        let mut sections = 0;
        for plan in &plans {
            let own = derived.sections.iter().filter(|section| section.head.rollup == *plan.name);
            for section in own {
                sections += 1;
                for slice in &section.projects {
                    let rows = if slice.project == project("one") { &one } else { &two };
                    check_slice(plan, section, slice, rows);
                }
            }
        }
        let tiers: usize = plans.iter().map(|plan| plan.tiers.len()).sum();
        prop_assert_eq!(sections, if one.is_empty() && two.is_empty() { 0 } else { tiers });
    }

    #[test]
    fn joined_sections_are_those_of_all_rows(one in rows(80), two in rows(80)) {
        let (of_one, of_two) = (derive(&[("p", &one)], 50), derive(&[("p", &two), ("q", &two)], 1_000));
        for plan in &rollup_plans(&dataset()) {
            for tier in &plan.tiers {
                let parts: Vec<EncodedSection> = [&of_one, &of_two]
                    .iter()
                    .flat_map(|derived| &derived.sections)
                    .filter(|section| section.head.rollup == *plan.name && section.head.tier == tier.tier)
                    .cloned()
                    .collect();
                let Some(first) = parts.first() else { continue };
                let joined = join_sections(&first.head, &parts).expect("equal heads");
                for slice in &joined.projects {
                    let rows = if slice.project == project("p") { [&one[..], &two].concat() } else { two.clone() };
                    check_slice(plan, &joined, slice, &rows);
                }
            }
        }
    }

    /// What a compaction keeps: sections that all parts have are joined, the others are derived, and it is what deriving all gives.
    #[test]
    fn known_sections_stand_for_derived_ones(parts in prop::collection::vec(rows(60), 1..5), lacking in any::<u8>()) {
        let all: Vec<Row> = parts.concat();
        let of_all = derive(&[("p", &all), ("q", &parts[0])], 1_000);
        let of_parts: Vec<Derived> = parts
            .iter()
            .enumerate()
            .map(|(place, rows)| derive(&[("p", rows), ("q", if place == 0 { rows } else { &[] })], 40))
            .filter(|derived| !derived.sections.is_empty())
            .collect();
        let mut known = Vec::new();
        for (place, section) in of_all.sections.iter().enumerate().filter(|(place, _)| lacking >> (place % 8) & 1 == 0) {
            let own = of_parts.iter().map(|derived| derived.sections[place].clone());
            let joined = join_sections(&section.head, &own.collect::<Vec<_>>()).expect("equal heads");
            prop_assert!(section.says_the_same(&joined, LARGEST).expect("own bytes"), "{:?}", section.head);
            known.push(joined);
        }
        let expected = RowsExpected { rows: 1_000, raw_bytes: RAW_BYTES };
        let mut derivation = Derivation::new(&dataset(), expected, known).expect("there are roll-ups");
        derivation.add(&project("p"), &batch(&all));
        derivation.add(&project("q"), &batch(&parts[0]));
        let merged = derivation.finish(RAW_BYTES);
        prop_assert_eq!(&merged.not_paying, &of_all.not_paying);
        prop_assert_eq!(merged.sections.len(), of_all.sections.len());
        for (merged, derived) in merged.sections.iter().zip(&of_all.sections) {
            prop_assert!(derived.says_the_same(merged, LARGEST).expect("own bytes"), "{:?}", derived.head);
        }
    }

    #[test]
    fn the_order_of_rows_and_batches_does_not_matter(rows in rows(120), batch_rows in 1usize..50) {
        let mut reversed = rows.clone();
        reversed.reverse();
        let (one, two) = (derive(&[("p", &rows)], 1_000), derive(&[("p", &reversed)], batch_rows));
        prop_assert_eq!(one.sections.len(), two.sections.len());
        for (one, two) in one.sections.iter().zip(&two.sections) {
            check_same_bytes(one, two);
        }
    }

    #[test]
    fn a_part_of_the_time_is_a_part_of_the_rows(rows in rows(120), from in 0i64..48, hours in 0i64..30) {
        const HOUR: i64 = 3_600_000_000;
        let derived = derive(&[("p", &rows)], 1_000);
        for section in &derived.sections {
            let slice = &section.projects[0];
            let whole = slice.decode(section.head.tier, section.head.dimensions.len()).expect("own bytes");
            let within = world::START_US + from * HOUR..world::START_US + (from + hours) * HOUR;
            let part = SectionSlice::decode(bytes_of(section, slice), within.clone()).expect("own bytes");
            let inside: Vec<u32> =
                (0..whole.rows as u32).filter(|row| within.contains(&whole.times.value(*row as usize))).collect();
            prop_assert_eq!(part.rows, inside.len());
            for (place, row) in inside.iter().enumerate() {
                prop_assert_eq!(part.times.value(place), whole.times.value(*row as usize));
            }
            for (part, whole) in part.dimensions.iter().zip(&whole.dimensions) {
                let (part, whole) = (cells(part.as_ref(), inside.len()), cells(whole.as_ref(), slice.rows as usize));
                let expected: Vec<String> = inside.iter().map(|row| whole[*row as usize].clone()).collect();
                prop_assert_eq!(part, expected);
            }
            let dataset = dataset();
            for (place, text) in section.head.measures.iter().enumerate() {
                let key = MeasureKey::parse(text, &dataset).expect("own text");
                let all: Vec<u32> = (0..part.rows as u32).collect();
                check_states(&key, &dataset, &merged(&key, &part, place, &all), &merged(&key, &whole, place, &inside), "part");
            }
        }
    }

    #[test]
    fn damaged_bytes_do_not_panic(rows in rows(60), flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..=255), 1..4), cut in any::<prop::sample::Index>()) {
        let derived = derive(&[("p", &rows)], 1_000);
        let dataset = dataset();
        for section in &derived.sections {
            for column in 0..section.projects[0].columns.len() {
                let mut slice = section.projects[0].clone();
                let bytes = &mut slice.columns[column];
                for (place, flip) in &flips {
                    let place = place.index(bytes.len());
                    bytes[place] ^= flip;
                }
                use_all(&dataset, section, &slice);
                let len = slice.columns[column].len();
                slice.columns[column].truncate(cut.index(len));
                use_all(&dataset, section, &slice);
            }
        }
    }
}

fn bytes_of<'a>(section: &EncodedSection, slice: &'a EncodedSlice) -> SliceBytes<'a> {
    let (dimensions, measures) = slice.columns[1..].split_at(section.head.dimensions.len());
    SliceBytes {
        tier: section.head.tier,
        rows: slice.rows,
        time: &slice.columns[0],
        wants_times: true,
        dimensions: dimensions.iter().map(Vec::as_slice).collect(),
        measures: measures.iter().map(|column| column.clone().into()).collect(),
    }
}

/// Reads whatever can be read.
fn use_all(dataset: &Dataset, section: &EncodedSection, slice: &EncodedSlice) {
    let Ok(decoded) = slice.decode(section.head.tier, section.head.dimensions.len()) else { return };
    for (text, measure) in section.head.measures.iter().zip(&decoded.measures) {
        let key = MeasureKey::parse(text, dataset).expect("own text");
        let mut states = States::new(key.state, true);
        states.resize(1);
        let _ = states.merge_encoded(measure, Rows::All(decoded.rows), Keys::One(0));
        let _ = states.cell(0, readings(key.state)[0], ColumnType::Int);
    }
}

/// Of each roll-up and tier its section.
fn by_name(derived: &Derived) -> BTreeMap<(&str, Tier), &EncodedSection> {
    let sections = derived.sections.iter();
    sections.map(|section| ((section.head.rollup.as_str(), section.head.tier), section)).collect()
}

/// The same bytes, but for sums of floats, which may differ in their last bits.
fn check_same_bytes(one: &EncodedSection, two: &EncodedSection) {
    assert_eq!(one.head, two.head);
    let is_exact = |place: usize| {
        let measure = place.checked_sub(1 + one.head.dimensions.len());
        measure.is_none_or(|measure| !one.head.measures[measure].contains("float_"))
    };
    let columns = one.projects[0].columns.iter().zip(&two.projects[0].columns);
    for (place, (one, two)) in columns.enumerate().filter(|(place, _)| is_exact(*place)) {
        assert_eq!(one, two, "column {place}");
    }
}

/// Six hours with many metrics for each minute, which are too many bytes for so few rows.
fn many_metrics() -> Vec<world::Row> {
    let some_rows = world::some_rows();
    let row = |at: i64| world::Row {
        ts: world::START_US + at * 600_000,
        user: Some(format!("user-{}", at * 7_919 % 2_003)),
        ..some_rows[at as usize % 70].clone()
    };
    (0..36_000).map(row).collect()
}

#[test]
fn giving_up_a_tier_changes_nothing_of_the_coarser_ones() {
    let rows = many_metrics();
    let batches: Vec<RowBatch> = rows.chunks(5_000).map(batch).collect();
    let derive = |raw_bytes: u64| {
        let expected = RowsExpected { rows: rows.len() as u64, raw_bytes };
        let mut derivation = Derivation::new(&dataset(), expected, Vec::new()).expect("there are roll-ups");
        batches.iter().for_each(|batch| derivation.add(&project("p"), batch));
        derivation.finish(RAW_BYTES)
    };
    let (all, some) = (derive(RAW_BYTES), derive(rows.len() as u64 * 15));
    let given_up: Vec<Tier> = some.not_paying.iter().map(|(_, tier)| *tier).collect();
    assert!(all.not_paying.is_empty() && given_up.contains(&Tier::Minutes5), "{:?}", some.not_paying);
    assert!(!given_up.contains(&Tier::Day), "a day is never given up before it has passed");
    let (all, some) = (by_name(&all), by_name(&some));
    assert_eq!(all.len() - some.len(), given_up.len());
    some.iter().for_each(|(name, section)| check_same_bytes(section, all[name]));
}

#[test]
fn a_sample_tells_which_tiers_need_not_be_tried() {
    let rows = many_metrics();
    let every_us = 18 * Tier::Minutes5.width_us();
    let is_sampled = |row: &&world::Row| row.ts.rem_euclid(every_us) < Tier::Minutes5.width_us();
    let sample: Vec<world::Row> = rows.iter().filter(is_sampled).cloned().collect();
    let hopeless = |row_bytes: u64, widest: Tier| {
        let expected = RowsExpected { rows: sample.len() as u64, raw_bytes: sample.len() as u64 * row_bytes };
        let mut derivation =
            Derivation::of_sample(&dataset(), expected, widest).expect("there are fine tiers");
        derivation.add(&project("p"), &batch(&sample));
        derivation.hopeless()
    };
    let tiers = |hopeless: &[(String, Tier)]| hopeless.iter().map(|(_, tier)| *tier).collect::<Vec<_>>();
    assert_eq!(hopeless(10_000, Tier::Minutes5), [], "rows are long");
    assert!(tiers(&hopeless(15, Tier::Minute)).iter().all(|tier| *tier == Tier::Minute));
    let found = hopeless(15, Tier::Minutes5);
    assert!(tiers(&found).contains(&Tier::Minutes5) && !tiers(&found).contains(&Tier::Hour), "{found:?}");
    let derive = |left_out: &[(String, Tier)]| {
        let expected = RowsExpected { rows: rows.len() as u64, raw_bytes: RAW_BYTES };
        let mut derivation = Derivation::new(&dataset(), expected, Vec::new()).expect("there are roll-ups");
        derivation.leave_out(left_out);
        derivation.add(&project("p"), &batch(&rows));
        derivation.finish(RAW_BYTES)
    };
    let (all, some) = (derive(&[]), derive(&found));
    assert!(all.not_paying.is_empty() && some.not_paying == found);
    let (all, some) = (by_name(&all), by_name(&some));
    assert_eq!(all.len() - some.len(), found.len());
    some.iter().for_each(|(name, section)| check_same_bytes(section, all[name]));
}

#[test]
fn large_sets_come_back() {
    // In two hours: few users, some hundred, and some thousand by kind, so that every form of a set is there.
    let kinds = [("a", 50), ("b", 1_000), ("c", 9_000)];
    let row = |at: i64| {
        let (kind, users) = kinds[(at % 3) as usize];
        let user = Some(format!("user-{}", at * 7_919 % users));
        let ts = world::START_US + at * 300_000;
        world::Row { ts, user, kind: Some(kind.to_owned()), b: Some(true), ..world::some_rows()[1].clone() }
    };
    let rows: Vec<world::Row> = (0..24_000).map(row).collect();
    let derived = derive(&[("p", &rows)], 5_000);
    let section = by_name(&derived)[&("kinds", Tier::Hour)];
    let slice = &section.projects[0];
    let decoded = slice.decode(Tier::Hour, 2).expect("own bytes");
    let (dataset, all) = (dataset(), batch(&rows));
    let text = r#"{"state":"distinct","column":"user"}"#;
    let place = section.head.measures.iter().position(|measure| measure == text).expect("users are counted");
    let key = MeasureKey::parse(text, &dataset).expect("own text");
    let values = cells(decoded.dimensions[0].as_ref(), decoded.rows);
    for (row, value) in values.iter().enumerate() {
        let start_us = decoded.times.value(row);
        let is_own = |at: &u32| {
            let row_of = &rows[*at as usize];
            format!("{:?}", row_of.kind.as_deref().expect("a kind")) == *value
                && (start_us..start_us + Tier::Hour.width_us()).contains(&row_of.ts)
        };
        let own: Vec<u32> = (0..rows.len() as u32).filter(is_own).collect();
        let found = merged(&key, &decoded, place, &[row as u32]);
        check_states(&key, &dataset, &found, &state_of(&key, &all, &own), value);
    }
}

#[test]
fn what_does_not_pay_is_kept_only_where_it_outlives_the_rows() {
    let rows = world::some_rows();
    let derive = |retention: &str| {
        let expected = RowsExpected { rows: 70, raw_bytes: 100 };
        let mut derivation = Derivation::new(&world::dataset_kept(retention), expected, Vec::new())
            .expect("there are roll-ups");
        derivation.add(&project("p"), &batch(&rows));
        derivation.finish(100)
    };
    let derived = derive("{}");
    assert!(derived.sections.is_empty() && !derived.not_paying.is_empty());
    let derived = derive(r#"{"raw": "7d", "1d": "forever", "1h": "3d"}"#);
    assert!(derived.sections.iter().all(|section| section.head.tier == Tier::Day));
    assert_eq!(derived.sections.len(), 4, "every roll-up that has a tier of days");
    assert!(derived.not_paying.iter().all(|(_, tier)| *tier != Tier::Day));
}

#[test]
fn rows_past_the_end_and_other_states_are_refused() {
    let derived = derive(&[("p", &world::some_rows())], 1_000);
    let section = &derived.sections[0];
    let decoded =
        section.projects[0].decode(section.head.tier, section.head.dimensions.len()).expect("own bytes");
    let mut counts = States::new(StateKind::Count, true);
    counts.resize(1);
    let last = decoded.rows as u32;
    assert!(counts.merge_encoded(&decoded.measures[0], Rows::List(&[last]), Keys::One(0)).is_err());
    assert!(counts.merge_encoded(&decoded.measures[0], Rows::All(decoded.rows + 1), Keys::One(0)).is_err());
    assert!(counts.merge_encoded(&decoded.measures[1], Rows::All(decoded.rows), Keys::One(0)).is_err());
    assert!(counts.merge_encoded(&decoded.measures[0], Rows::All(decoded.rows), Keys::One(0)).is_ok());
}

/// The bytes of format 1. A later version reads them; if it writes others, this file stays and another is added.
#[test]
fn the_bytes_of_format_1_stay() {
    let derived = derive(&[("p", &world::some_rows())], 1_000);
    let mut text = format!("derived for {:016x}\n", derived_for(&dataset()));
    for section in derived.sections.iter().filter(|section| section.head.tier == Tier::Day) {
        let slice = &section.projects[0];
        let head = serde_json::to_string(&section.head).expect("a head is JSON");
        text += &format!("{head} {} {} {}\n", slice.rows, slice.min_us, slice.max_us);
        for column in &slice.columns {
            let hex: String = column.iter().map(|byte| format!("{byte:02x}")).collect();
            text += &format!("  {hex}\n");
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/format-1.txt");
    if std::env::var_os("TIDEWATER_WRITE_FIXTURES").is_some() {
        std::fs::write(path, &text).expect("the fixture is written");
    }
    let stored = std::fs::read_to_string(path).expect("the fixture is there");
    assert!(stored == text, "the bytes of sections have changed: give them a new version");
}

#[test]
fn sections_that_say_something_else_are_told_apart() {
    let one = derive(&[("p", &world::some_rows())], 1_000);
    let mut rows = world::some_rows();
    for row in &mut rows {
        row.f = row.f.map(|value| value + 1e-6);
    }
    let other = derive(&[("p", &rows)], 1_000);
    let is_same = |a: &EncodedSection, b: &EncodedSection| a.says_the_same(b, 10.0).expect("own bytes");
    assert!(one.sections.iter().all(|section| is_same(section, section)));
    let differing = one.sections.iter().zip(&other.sections).filter(|(a, b)| !is_same(a, b)).count();
    let reads_floats = |section: &&EncodedSection| {
        let head = &section.head;
        head.dimensions.iter().any(|name| name == "f")
            || head.measures.iter().any(|text| text.contains(r#""f""#))
    };
    let expected = one.sections.iter().filter(reads_floats).count();
    assert_eq!(differing, expected);
    assert!(differing > 0);
}
