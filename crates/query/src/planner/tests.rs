//! Plans against their definition: row by row, for random units, ranges, zones and retentions.

mod choices;

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tidewater_aggregate::{MeasureKey, StateKind};
use tidewater_model::filter::{Filter, Scalar};
use tidewater_model::schema::{ColumnId, ColumnRef, Retention, Tier};
use tidewater_model::time::{BucketGrid, Granularity, Timestamp, Zone};

use super::*;

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Instants near changes of clocks (2026: Berlin in March, New York in November, Lord Howe in April) and an ordinary one.
const BASES: [i64; 4] =
    [1_774_742_400_000_000, 1_793_491_200_000_000, 1_775_314_800_000_000, 1_780_000_000_000_000];
const ZONES: [&str; 7] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/St_Johns",
];

fn column(id: u16) -> ColumnRef {
    ColumnRef::column(ColumnId(id))
}

fn is_x(id: u16) -> Filter {
    Filter::Is { column: column(id), values: vec![Scalar::String("x".to_owned())], case_sensitive: true }
}

fn key(state: StateKind, over: Option<u16>, filter: Filter) -> MeasureKey {
    MeasureKey { state, column: over.map(column), filter }
}

fn schema(name: &str, dimensions: &[u16], tier: Tier, measures: Vec<MeasureKey>) -> Arc<SectionSchema> {
    let count = key(StateKind::Count, None, Filter::all());
    Arc::new(SectionSchema {
        rollup: name.into(),
        tier,
        dimensions: dimensions.iter().copied().map(column).collect(),
        measures: std::iter::once(count).chain(measures).map(Some).collect(),
    })
}

/// One of four roll-ups: a wide one and narrow ones that hold other things.
fn rollup(index: usize, tier: Tier) -> Arc<SectionSchema> {
    match index {
        0 => schema(
            "wide",
            &[1, 2, 3],
            tier,
            vec![
                key(StateKind::IntMean, Some(4), Filter::all()),
                key(StateKind::Distinct, Some(1), Filter::all()),
                key(StateKind::Count, None, is_x(5)),
            ],
        ),
        1 => schema("one", &[1], tier, vec![key(StateKind::IntSum, Some(4), Filter::all())]),
        2 => schema("two", &[2], tier, vec![key(StateKind::Quantiles, Some(4), Filter::all())]),
        _ => schema("none", &[], tier, vec![key(StateKind::IntSum, Some(4), Filter::all())]),
    }
}

/// What questions ask for.
fn wanted(index: usize) -> Wanted {
    let key = match index {
        0 => key(StateKind::Count, None, Filter::all()),
        1 => key(StateKind::IntSum, Some(4), Filter::all()),
        2 => key(StateKind::Quantiles, Some(4), Filter::all()),
        3 => key(StateKind::Count, None, is_x(1)),
        4 => key(StateKind::Count, None, is_x(5)),
        _ => key(StateKind::ExactDistinct, Some(1), Filter::all()),
    };
    Wanted { raw_only: key.state == StateKind::ExactDistinct, key }
}

#[derive(Clone, Debug)]
struct Case {
    question: Question,
    unit: UnitFacts,
    ages: Ages,
}

/// An offset in micro-seconds: on the hour, on the minute, or anywhere.
fn offset(hours_max: i64) -> impl Strategy<Value = i64> {
    prop_oneof![
        (-hours_max..hours_max).prop_map(|hours| hours * HOUR),
        (-hours_max * 60..hours_max * 60).prop_map(|minutes| minutes * MINUTE),
        (-hours_max * HOUR..hours_max * HOUR),
    ]
}

fn tier() -> impl Strategy<Value = Tier> {
    prop::sample::select(Tier::ALL.to_vec())
}

prop_compose! {
    fn question()(
        base in prop::sample::select(BASES.to_vec()),
        zone in prop::sample::select(ZONES.to_vec()),
        granularity in prop::option::weighted(0.8, prop::sample::select(Granularity::ALL.to_vec())),
        (from, len) in (offset(60), prop_oneof![Just(None), offset(100).prop_map(|len| Some(len.abs() + 1))]),
        (by_one, by_two) in (any::<bool>(), any::<bool>()),
        filter in prop_oneof![4 => Just(Filter::all()), 1 => Just(is_x(1)), 1 => Just(is_x(2))],
        measures in prop::collection::btree_set(0usize..6, 1..4),
    ) -> (Question, i64) {
        let from_us = base + from;
        let to_us = len.map_or(i64::MAX, |len| from_us + len);
        let grid = granularity.map(|granularity| {
            let end = to_us.min(base + 20 * DAY);
            let zone = Zone::get(zone).expect("a zone");
            let grid = BucketGrid::new(granularity, &zone, Timestamp(from_us), Timestamp(end));
            Arc::new(grid.expect("a few weeks of minutes"))
        });
        let dimensions = [(by_one, 1), (by_two, 2)].into_iter().filter(|(is_in, _)| *is_in);
        let question = Question {
            from_us,
            to_us,
            grid,
            dimensions: dimensions.map(|(_, id)| column(id)).collect(),
            filter,
            measures: measures.into_iter().map(wanted).collect(),
        };
        (question, base)
    }
}

prop_compose! {
    fn ages(base: i64)(
        raw in prop::option::of(offset(60)),
        tiers in prop::collection::btree_map(tier(), prop::option::of(offset(60)), 0..4),
    ) -> Ages {
        // Instants around the base, as ages of a clock far ahead.
        let now_us = base + 1_000 * DAY;
        let kept = |at: Option<i64>| at.map(|at| 1_000 * DAY - at);
        let tiers_us: BTreeMap<_, _> = tiers.into_iter().map(|(tier, at)| (tier, kept(at))).collect();
        Ages::new(&Retention { raw_us: kept(raw), tiers_us }, now_us)
    }
}

prop_compose! {
    fn case()((question, base) in question())(
        min in offset(60),
        len in offset(60),
        sections in prop::collection::vec((0usize..4, tier(), 1u64..200_000), 0..10),
        raw in prop::option::weighted(0.8, (1u64..1_000_000, any::<bool>())),
        has_pending_tombstone in prop::bool::weighted(0.1),
        ages in ages(base),
        question in Just(question),
        base in Just(base),
    ) -> Case {
        let min_us = base + min;
        let sections = sections.into_iter();
        let unit = UnitFacts {
            min_us,
            max_us: min_us + len.abs(),
            raw: raw.map(|(rows, in_memory)| RawFacts { rows, in_memory }),
            sections: sections
                .map(|(index, tier, rows)| SectionFacts { schema: rollup(index, tier), rows })
                .collect(),
            has_pending_tombstone,
        };
        Case { question, unit, ages }
    }
}

impl Case {
    fn is_in_range(&self, at: i64) -> bool {
        self.question.from_us <= at && at < self.question.to_us
    }

    fn bucket(&self, at: i64) -> Option<u32> {
        self.question.grid.as_ref().map(|grid| grid.index_of(Timestamp(at)).expect("in the grid"))
    }

    /// Whether a section's cell may stand in for a row at this instant, by the definition.
    fn is_usable(&self, schema: &SectionSchema, at: i64) -> bool {
        let width = schema.tier.width_us();
        let cell = at.div_euclid(width) * width;
        let (first, last) = (cell.max(self.unit.min_us), (cell + width - 1).min(self.unit.max_us));
        self.is_in_range(first)
            && self.is_in_range(last)
            && self.bucket(first) == self.bucket(last)
            && first >= self.ages.tier_us(schema.tier)
    }

    /// Whether a section's rows hold what a measure needs, by the definition.
    fn is_held(&self, schema: &SectionSchema, wanted: &Wanted) -> bool {
        let is_dimension = |filter: &Filter| {
            let mut columns = Vec::new();
            filter.columns(&mut columns);
            columns.into_iter().all(|column| schema.dimensions.contains(column))
        };
        let is_stored = |filter: &Filter| {
            schema.measures.iter().flatten().any(|key| {
                let is_mean_of = key.state == StateKind::IntMean && wanted.key.state == StateKind::IntSum;
                key.column == wanted.key.column
                    && key.filter == *filter
                    && (key.state == wanted.key.state || is_mean_of)
            })
        };
        !self.unit.has_pending_tombstone
            && self.question.dimensions.iter().all(|column| schema.dimensions.contains(column))
            && is_dimension(&self.question.filter)
            && (is_stored(&wanted.key.filter)
                || is_dimension(&wanted.key.filter) && is_stored(&Filter::all()))
    }

    fn is_answerable(&self, wanted: &Wanted, at: i64) -> bool {
        self.unit.raw.is_some() || self.is_in_section(wanted, at)
    }

    /// The same by age alone.
    fn is_kept(&self, wanted: &Wanted, at: i64) -> bool {
        at >= self.ages.raw_us || self.is_in_section(wanted, at)
    }

    fn is_in_section(&self, wanted: &Wanted, at: i64) -> bool {
        let mut sections = self.unit.sections.iter();
        sections.any(|section| self.is_held(&section.schema, wanted) && self.is_usable(&section.schema, at))
    }

    /// Instants of the unit: spread over it, and on both sides of every border that could matter.
    fn instants(&self) -> Vec<i64> {
        let (min, max) = (self.unit.min_us, self.unit.max_us);
        let mut instants: Vec<i64> = (0..=100).map(|part| min + (max - min) / 100 * part).collect();
        let borders = [self.question.from_us, self.question.to_us, self.ages.raw_us, min, max];
        let tiers = Tier::ALL.map(|tier| self.ages.tier_us(tier));
        let mut near: Vec<i64> = borders.into_iter().chain(tiers).collect();
        near.extend((min.div_euclid(HOUR)..=max.div_euclid(HOUR)).map(|hour| hour * HOUR));
        for at in near {
            instants.extend([at.saturating_sub(1), at, at.saturating_add(MINUTE), at.saturating_sub(MINUTE)]);
        }
        instants.retain(|at| (min..=max).contains(at));
        instants
    }

    /// Whether a row at this instant is among those that a piece reads.
    fn is_read(&self, piece: &Piece, at: i64) -> bool {
        let key = match piece.source {
            Source::Raw => at,
            Source::Section(index) => {
                let width = self.unit.sections[index].schema.tier.width_us();
                at.div_euclid(width) * width
            }
        };
        piece.from_us.is_none_or(|from| from <= key) && piece.to_us.is_none_or(|to| key < to)
    }

    fn check(&self) {
        let plan = match Planner::new(&self.question, self.ages).plan(&self.unit) {
            Ok(plan) => plan,
            Err(Gap { until_us }) => {
                let last = until_us - 1;
                assert!(self.is_in_range(last) && (self.unit.min_us..=self.unit.max_us).contains(&last));
                let is_missing = |wanted: &&Wanted| !self.is_answerable(wanted, last);
                assert!(self.question.measures.iter().any(|wanted| is_missing(&wanted)), "a false gap");
                return;
            }
        };
        for at in self.instants() {
            for (measure, wanted) in self.question.measures.iter().enumerate() {
                self.check_row(&plan, at, measure, wanted);
            }
        }
        let raw_alone = UnitFacts { sections: Vec::new(), ..self.unit.clone() };
        if let Ok(raw) = Planner::new(&self.question, self.ages).plan(&raw_alone) {
            assert!(plan.cost_ns <= raw.cost_ns, "{} is more than {}", plan.cost_ns, raw.cost_ns);
        }
    }

    fn check_row(&self, plan: &UnitPlan, at: i64, measure: usize, wanted: &Wanted) {
        let reads = |piece: &&Piece| {
            piece.measures.iter().any(|held| held.measure == measure) && self.is_read(piece, at)
        };
        let found: Vec<&Piece> = plan.pieces.iter().filter(reads).collect();
        if !self.is_in_range(at) {
            assert!(found.is_empty(), "a row at {at} is outside the range");
            return;
        }
        let [piece] = found[..] else { panic!("a row at {at} is in {} pieces", found.len()) };
        let held = piece.measures.iter().find(|held| held.measure == measure).expect("it is there");
        match piece.source {
            Source::Raw => {
                assert!(self.unit.raw.is_some());
                assert_eq!(held.filtered, !wanted.key.filter.is_all());
            }
            Source::Section(index) => {
                let schema = &self.unit.sections[index].schema;
                assert!(self.is_usable(schema, at), "a cell of {} at {at}", schema.tier.name());
                assert!(self.is_held(schema, wanted));
                let width = schema.tier.width_us();
                let labelled = (at.div_euclid(width) * width).max(plan.least_us);
                assert_eq!(self.bucket(labelled), self.bucket(at), "in the wrong bucket");
                let stored = schema.measures[held.stored].as_ref().expect("known");
                assert_eq!(stored.filter == wanted.key.filter, !held.filtered);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn every_row_is_in_one_piece_of_a_source_that_may_hold_it(case in case()) {
        case.check();
    }

    /// From the earliest start on, sections of every declared roll-up and raw rows cover everything; just before it nothing does.
    #[test]
    fn ages_let_a_range_begin_where_units_can_answer(
        ((question, _), ages) in question().prop_flat_map(|(question, base)| (Just((question, base)), ages(base))),
        declared in prop::collection::vec((0usize..4, tier()), 0..8),
    ) {
        let schemas: Vec<Arc<SectionSchema>> =
            declared.into_iter().map(|(index, tier)| rollup(index, tier)).collect();
        let end = question.to_us.min(question.from_us + 8 * DAY);
        let mut case = Case {
            unit: UnitFacts {
                min_us: question.from_us - 3 * DAY,
                max_us: end + 3 * DAY,
                raw: Some(RawFacts { rows: 1, in_memory: true }),
                sections: schemas.iter().map(|schema| SectionFacts { schema: Arc::clone(schema), rows: 1 }).collect(),
                has_pending_tombstone: false,
            },
            question: Question { to_us: end, ..question },
            ages,
        };
        let declared: Vec<SectionSchema> = schemas.iter().map(|schema| (**schema).clone()).collect();
        let first_row_us = Some(case.unit.min_us);
        let coverage = Coverage { declared: &declared, ages, first_row_us, lost_until_us: None };
        let earliest = coverage.earliest_us(&case.question);
        if earliest > case.question.from_us {
            let before = earliest.min(end) - 1;
            let is_missing = |wanted: &Wanted| !case.is_kept(wanted, before);
            prop_assert!(case.question.measures.iter().any(is_missing), "refused for nothing");
        }
        for from_us in [earliest, coverage.remedy_us(&case.question, earliest)] {
            prop_assert!(from_us >= case.question.from_us);
            if from_us < end {
                case.question.from_us = from_us;
                // Raw rows that have expired are gone, those after them are there.
                let mut history = case.unit.clone();
                (history.raw, history.max_us) = (None, history.max_us.min(ages.raw_us.saturating_sub(1)));
                for unit in [&case.unit, &history].into_iter().filter(|unit| unit.min_us <= unit.max_us) {
                    prop_assert!(Planner::new(&case.question, ages).plan(unit).is_ok());
                }
            }
        }
    }

    /// What is cut off could not be answered, and what is left is answered; the start named in a refusal is a usable one.
    #[test]
    fn a_range_is_cut_where_it_can_be_answered_from(case in case(), lost in prop::option::weighted(0.2, offset(60))) {
        let declared: Vec<SectionSchema> =
            case.unit.sections.iter().map(|section| (*section.schema).clone()).collect();
        let coverage = Coverage {
            declared: &declared,
            ages: case.ages,
            first_row_us: Some(case.unit.min_us),
            lost_until_us: lost.map(|lost| case.unit.min_us + lost),
        };
        let units = [case.unit.clone()];
        let whole = RangePlan::new(&case.question, &units, &coverage, false);
        match RangePlan::new(&case.question, &units, &coverage, true) {
            Ok(plan) => {
                prop_assert_eq!(whole.is_ok(), plan.from_us == case.question.from_us);
                let is_empty = plan.from_us == case.question.to_us;
                let is_after = coverage.lost_until_us.is_none_or(|lost| lost < plan.from_us);
                prop_assert!(is_after || is_empty, "rows of it are gone");
                let rest = Case {
                    question: Question { from_us: plan.from_us, ..case.question.clone() },
                    ..case.clone()
                };
                for at in rest.instants() {
                    for (measure, wanted) in case.question.measures.iter().enumerate() {
                        rest.check_row(&plan.units[0], at, measure, wanted);
                    }
                }
            }
            Err(_) => prop_assert!(false, "there is always an empty rest"),
        }
        if let Err(refused) = whole {
            prop_assert!(refused.from_us > case.question.from_us && refused.from_us % HOUR == 0);
            let later = Question { from_us: refused.from_us, ..case.question.clone() };
            if refused.from_us < later.to_us && case.unit.raw.is_some() {
                prop_assert!(RangePlan::new(&later, &units, &coverage, false).is_ok(), "refused again");
            }
        }
    }
}
