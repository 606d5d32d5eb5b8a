//! Random rows and questions.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tidewater_model::filter::{Comparison, Filter, Scalar, TextMatch};
use tidewater_model::query::{
    Dimension, Function, Having, HavingComparison, Include, Measure, Metric, MetricExpr, OrderKey,
    OrderTarget, Query,
};
use tidewater_model::schema::{ColumnId, ColumnRef};
use tidewater_model::time::{Granularity, RangeStep, ResolvedRange, Timestamp, Zone};

use super::data::{self, COST, FLAG, KIND, NAME, Row, SCORE, SIZE, TAGS, TIME, column, plan_key};

pub const DAY: i64 = 86_400_000_000;
/// 2013-10-26T00:00:00Z: Berlin sets its clocks back in the following night.
pub const START: i64 = 1_382_745_600_000_000;

fn text(values: &'static [&'static str]) -> impl Strategy<Value = Option<String>> {
    option::weighted(0.85, proptest::sample::select(values).prop_map(str::to_owned))
}

fn row() -> impl Strategy<Value = Row> {
    let texts = (
        text(&["a", "b", "ä", ""]),
        text(&["x1", "x2", "y", "zebra", "Zürich", "é", "q"]),
        text(&["pro", "free"]),
    );
    let numbers = (
        option::weighted(
            0.8,
            prop_oneof![4 => -5i64..20, 1 => Just(i64::MAX), 1 => Just(i64::MIN), 1 => 5_000i64..5_010],
        ),
        option::weighted(0.8, (-40i32..40).prop_map(|quarters| f64::from(quarters) / 4.0)),
        option::weighted(0.8, any::<bool>()),
        option::weighted(0.8, -3i64..1_000_000_000_000),
    );
    let tags = option::weighted(
        0.8,
        vec(proptest::sample::select(&["t1", "t2", "t3"][..]).prop_map(str::to_owned), 0..4),
    );
    // Whole quarters of an hour, so that many rows share an instant.
    let time = (0i64..4 * 24 * 4).prop_map(|quarters| START + quarters * 900_000_000);
    (time, proptest::bool::weighted(0.1), texts, numbers, tags).prop_map(
        |(time, is_other_project, (kind, name, plan), (size, score, flag, cost), tags)| Row {
            is_other_project,
            time,
            kind,
            name,
            size,
            score,
            flag,
            cost,
            tags,
            plan,
        },
    )
}

pub fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop_oneof![
        vec(row(), 0..200),
        // Sorted by time as a segment is: long runs of one group.
        vec(row(), 0..200).prop_map(|mut rows| {
            rows.sort_by_key(|row| (row.kind.clone(), row.time));
            rows
        })
    ]
}

fn leaf() -> impl Strategy<Value = Filter> {
    let strings =
        |values: &[&str]| values.iter().map(|value| Scalar::String((*value).to_owned())).collect::<Vec<_>>();
    let is = |column: ColumnId, values: Vec<Scalar>| Filter::Is {
        column: data::column(column),
        values,
        case_sensitive: true,
    };
    let compare = |column: ColumnId, value: Scalar| {
        proptest::sample::select(vec![Comparison::Gt, Comparison::Gte, Comparison::Lt, Comparison::Lte])
            .prop_map(move |how| Filter::Compare { column: data::column(column), how, value: value.clone() })
    };
    prop_oneof![
        Just(is(KIND, strings(&["a"]))),
        Just(is(NAME, [strings(&["x1", "y"]), vec![Scalar::Null]].concat())),
        Just(is(FLAG, vec![Scalar::Bool(true)])),
        Just(is(SIZE, vec![Scalar::Int(3), Scalar::Int(-1), Scalar::Null])),
        Just(is(TAGS, strings(&["t1"]))),
        Just(Filter::Is { column: plan_key(), values: strings(&["pro"]), case_sensitive: true }),
        Just(Filter::Exists { column: data::column(SCORE) }),
        Just(Filter::Text {
            column: data::column(NAME),
            how: TextMatch::Contains,
            patterns: vec!["x".to_owned(), "r".to_owned()],
            case_sensitive: true,
        }),
        compare(SIZE, Scalar::Int(5)),
        compare(SCORE, Scalar::Float(0.25)),
        compare(COST, Scalar::Money(500_000_000_000)),
        compare(TIME, Scalar::Time(START + DAY)),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    prop_oneof![
        3 => Just(Filter::all()),
        2 => leaf(),
        1 => leaf().prop_map(|part| Filter::Not(Box::new(part))),
        1 => vec(leaf(), 0..3).prop_map(Filter::Or),
        1 => vec(leaf(), 0..3).prop_map(Filter::And),
    ]
}

fn measure() -> impl Strategy<Value = Measure> {
    let numeric = || proptest::sample::select(vec![column(SIZE), column(SCORE), column(COST)]);
    let ordered = proptest::sample::select(vec![
        column(SIZE),
        column(SCORE),
        column(COST),
        column(FLAG),
        column(NAME),
        column(TIME),
        plan_key(),
    ]);
    let any = proptest::sample::select(vec![
        column(SIZE),
        column(SCORE),
        column(COST),
        column(FLAG),
        column(KIND),
        column(NAME),
        column(TAGS),
        plan_key(),
    ]);
    let with = |function| move |column| (function, Some(column));
    let parts = prop_oneof![
        2 => Just((Function::Count, None)),
        2 => numeric().prop_map(with(Function::Sum)),
        2 => numeric().prop_map(with(Function::Avg)),
        1 => numeric().prop_map(with(Function::Stddev)),
        2 => (proptest::sample::select(vec![1u16, 500, 900, 950, 999, 1000]), numeric())
            .prop_map(|(permille, column)| (Function::Quantile(permille), Some(column))),
        3 => (proptest::sample::select(vec![Function::Min, Function::Max, Function::First, Function::Last]), ordered)
            .prop_map(|(function, column)| (function, Some(column))),
        2 => any.prop_map(with(Function::Uniq)),
    ];
    (parts, filter()).prop_map(|((function, column), filter)| Measure { function, column, filter })
}

fn sum() -> impl Strategy<Value = Measure> {
    let parts = prop_oneof![
        Just((Function::Count, None)),
        proptest::sample::select(vec![column(SIZE), column(SCORE), column(COST)])
            .prop_map(|column| (Function::Sum, Some(column))),
    ];
    (parts, filter()).prop_map(|((function, column), filter)| Measure { function, column, filter })
}

fn metrics() -> impl Strategy<Value = Vec<Metric>> {
    let expr = prop_oneof![
        6 => measure().prop_map(MetricExpr::Measure),
        1 => (sum(), sum()).prop_map(|(numerator, denominator)| MetricExpr::Ratio { numerator, denominator }),
        1 => sum().prop_map(MetricExpr::Rate),
    ];
    vec(expr, 1..5).prop_map(|exprs| {
        exprs
            .into_iter()
            .enumerate()
            .map(|(index, expr)| Metric { name: format!("m{index}"), expr })
            .collect()
    })
}

fn dimensions() -> impl Strategy<Value = Vec<Dimension>> {
    let columns: Vec<ColumnRef> = vec![
        column(KIND),
        column(NAME),
        column(SIZE),
        column(SCORE),
        column(FLAG),
        column(COST),
        column(TAGS),
        plan_key(),
    ];
    let time = proptest::sample::select(vec![
        Granularity::Minutes15,
        Granularity::Hour,
        Granularity::Day,
        Granularity::Week,
        Granularity::Month,
    ]);
    (proptest::sample::subsequence(columns, 0..3), option::of(time), any::<bool>()).prop_map(
        |(columns, time, is_last)| {
            let mut dimensions: Vec<Dimension> = columns.into_iter().map(Dimension::Column).collect();
            if let Some(granularity) = time {
                let place = if is_last { dimensions.len() } else { 0 };
                dimensions.insert(place, Dimension::Time(granularity));
            }
            dimensions
        },
    )
}

fn range(has_end: bool) -> impl Strategy<Value = ResolvedRange> {
    (-96i64..300, 1i64..400).prop_map(move |(from, length)| {
        let from = START + from * 900_000_000;
        let to = from + length * 900_000_000;
        ResolvedRange {
            from: Timestamp(from),
            to: has_end.then_some(Timestamp(to)),
            nominal_to: Timestamp(to),
            word: None,
            step: RangeStep::Length(to - from),
        }
    })
}

/// Whether equal rows give bit-equal cells, so that order and conditions are sharp.
fn is_sharp(expr: &MetricExpr, exact: bool) -> bool {
    match expr {
        MetricExpr::Measure(measure) => match measure.function {
            Function::Stddev | Function::Avg => false,
            Function::Quantile(_) => exact,
            _ => true,
        },
        MetricExpr::Ratio { .. } | MetricExpr::Rate(_) => false,
    }
}

pub fn query() -> impl Strategy<Value = Query> {
    let zones = proptest::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"]);
    let ranges = (prop_oneof![range(true), range(false)], option::weighted(0.3, range(true)));
    let flags = (any::<bool>(), proptest::bool::weighted(0.4), any::<bool>(), option::of((0u64..3, 1u32..5)));
    let shape = (metrics(), dimensions(), filter(), any::<prop::sample::Index>(), any::<bool>(), -3i64..6);
    (ranges, zones, shape, flags, -96i64..500).prop_map(
        |(
            (range, compare),
            zone,
            (metrics, dimensions, filter, pick, descending, bound),
            (exact, fill, has_condition, page),
            now,
        )| {
            let sharp: Vec<usize> =
                (0..metrics.len()).filter(|index| is_sharp(&metrics[*index].expr, exact)).collect();
            let chosen = (!sharp.is_empty()).then(|| sharp[pick.index(sharp.len())]);
            let by_metric = chosen
                .filter(|_| !descending)
                .map(|metric| OrderKey { target: OrderTarget::Metric(metric), descending: true });
            let by_dimension = (0..dimensions.len()).map(|index| OrderKey {
                target: OrderTarget::Dimension(index),
                descending: descending && index == 0,
            });
            let having = match chosen.filter(|_| has_condition) {
                Some(metric) => Having::Compare {
                    metric,
                    how: HavingComparison::Order(Comparison::Gte),
                    values: vec![Some(bound as f64)],
                },
                None => Having::And(Vec::new()),
            };
            let has_percentile = metrics.iter().any(|metric| {
                metric.expr.measures().any(|measure| matches!(measure.function, Function::Quantile(_)))
            });
            let others = page.is_some() && !(exact && has_percentile);
            let (offset, limit) = page.unwrap_or((0, 100));
            Query {
                dataset: data::dataset(),
                project: data::project(),
                range,
                zone: Zone::get(zone).expect("a known zone"),
                order: by_metric.into_iter().chain(by_dimension).collect(),
                metrics,
                dimensions,
                filter,
                asked_filter: None,
                having,
                limit,
                offset,
                include: Include {
                    totals: true,
                    total_rows: true,
                    fill,
                    explain: true,
                    partial: false,
                    others,
                },
                compare,
                exact,
                max_points: None,
                now: Timestamp(START + now * 900_000_000),
            }
        },
    )
}
