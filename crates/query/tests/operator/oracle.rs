//! The same questions answered row by row in the plainest way.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use tidewater_model::filter::{Comparison, Filter, Scalar, TextMatch};
use tidewater_model::query::{
    Dimension, Function, Having, HavingComparison, Measure, MetricExpr, OrderTarget, Query,
};
use tidewater_model::schema::{ColumnRef, ColumnType};
use tidewater_model::time::{Granularity, ResolvedRange, Timestamp, Zone, format_date, format_rfc3339};
use tidewater_query::{AnswerRow, Cell};

use super::data::{self, Row};

/// All rows after having in final order, and the totals.
pub struct Expected {
    pub rows: Vec<AnswerRow>,
    pub totals: Vec<Cell>,
    pub comparison: Vec<Option<Vec<Cell>>>,
    /// Metrics of all groups past the page, and of those compared with none of the rows up to its end.
    pub others: Option<(Vec<Cell>, Vec<Cell>)>,
}

/// A group's key: the sort order of the cells is irrelevant here, only equality counts.
type Key = Vec<String>;

struct Group<'a> {
    cells: Vec<Cell>,
    bucket: Option<usize>,
    rows: Vec<&'a Row>,
}

pub fn answer(query: &Query, rows: &[Row]) -> Expected {
    let passing = passing(query, rows, &query.range);
    let mut groups = groups(query, &passing, &query.range);
    let compared_rows = query.compare.as_ref().map(|range| (range, self::passing(query, rows, range)));
    let compared: Vec<(Key, Group<'_>)> = compared_rows
        .iter()
        .flat_map(|(range, rows)| {
            self::groups(query, rows, range).into_iter().map(|group| (comparable(query, &group), group))
        })
        .collect();
    let buckets = buckets(query, &query.range);
    if query.include.fill {
        fill(query, &mut groups, &buckets);
    }
    let mut rows: Vec<(AnswerRow, Key, &Group<'_>)> = groups
        .iter()
        .map(|group| {
            let metrics = metrics(query, group, &query.range, &buckets);
            (AnswerRow { dimensions: group.cells.clone(), metrics }, comparable(query, group), group)
        })
        .filter(|(row, ..)| having(&query.having, &row.metrics))
        .collect();
    rows.sort_by(|(a, ..), (b, ..)| compare_rows(query, a, b));
    let shown: Vec<&(AnswerRow, Key, &Group<'_>)> =
        rows.iter().take((query.offset + u64::from(query.limit)) as usize).collect();
    let rest = groups.iter().filter(|group| {
        let is_empty = group.rows.is_empty() && !query.dimensions.is_empty();
        !is_empty && !shown.iter().any(|(.., other)| std::ptr::eq(*other, *group))
    });
    let compared_rest = compared.iter().filter(|(key, _)| !shown.iter().any(|(_, other, _)| other == key));
    let compared_rest = merged(query, compared_rest.map(|(_, group)| group), query.compare.as_ref());
    let others = merged(query, rest, Some(&query.range))
        .map(|others| (others, compared_rest.unwrap_or_else(|| vec![Cell::Null; query.metrics.len()])));
    let comparison = rows.iter().map(|(_, key, _)| {
        let range = query.compare.as_ref()?;
        let (_, group) = compared.iter().find(|(other, _)| other == key)?;
        Some(metrics(query, group, range, &self::buckets(query, range)))
    });
    let comparison = comparison.collect();
    let whole = Group { cells: Vec::new(), bucket: None, rows: passing.clone() };
    let totals = metrics(query, &whole, &query.range, &buckets);
    Expected { rows: rows.into_iter().map(|(row, ..)| row).collect(), totals, comparison, others }
}

/// The metrics of several groups as one; `None` without any.
fn merged<'a>(
    query: &Query,
    groups: impl Iterator<Item = &'a Group<'a>>,
    range: Option<&ResolvedRange>,
) -> Option<Vec<Cell>> {
    let groups: Vec<&Group<'_>> = groups.collect();
    let rows = groups.iter().flat_map(|group| group.rows.iter().copied()).collect();
    let whole = Group { cells: Vec::new(), bucket: None, rows };
    let range = range.filter(|_| !groups.is_empty())?;
    Some(metrics(query, &whole, range, &[]))
}

fn passing<'a>(query: &Query, rows: &'a [Row], range: &ResolvedRange) -> Vec<&'a Row> {
    rows.iter()
        .filter(|row| !row.is_other_project)
        .filter(|row| row.time >= range.from.0 && range.to.is_none_or(|to| row.time < to.0))
        .filter(|row| passes(&query.filter, row))
        .collect()
}

/// Every bucket of the range and a little more: its start and label.
fn buckets(query: &Query, range: &ResolvedRange) -> Vec<(i64, String)> {
    /// Every offset and every bucket is a multiple of this long.
    const STEP: i64 = 15 * 60_000_000;
    let Some((_, granularity)) = query.time_dimension() else { return Vec::new() };
    let end = range.to.map_or(range.nominal_to.0 + 40 * 86_400_000_000, |to| to.0) + 40 * 86_400_000_000;
    let mut found = Vec::new();
    let mut at = range.from.0;
    while at < end {
        let bucket = bucket_of(granularity, at, &query.zone);
        if found.last() != Some(&bucket) {
            found.push(bucket);
        }
        at = (at.div_euclid(STEP) + 1) * STEP;
    }
    found
}

fn bucket_of(granularity: Granularity, time: i64, zone: &Zone) -> (i64, String) {
    let start = granularity.floor(Timestamp(time), zone);
    match granularity.width_us() {
        Some(_) => (start.0, format_rfc3339(start, zone)),
        None => (start.0, format_date(start, zone)),
    }
}

fn groups<'a>(query: &Query, rows: &[&'a Row], range: &ResolvedRange) -> Vec<Group<'a>> {
    let buckets = buckets(query, range);
    let mut groups: BTreeMap<Key, Group<'a>> = BTreeMap::new();
    if query.dimensions.is_empty() {
        groups.insert(Key::new(), Group { cells: Vec::new(), bucket: None, rows: Vec::new() });
    }
    for row in rows {
        let mut tuples: Vec<(Vec<Cell>, Option<usize>)> = vec![(Vec::new(), None)];
        for dimension in &query.dimensions {
            let values: Vec<(Cell, Option<usize>)> = match dimension {
                Dimension::Time(granularity) => {
                    let (start, label) = bucket_of(*granularity, row.time, &query.zone);
                    let index = buckets.iter().position(|(other, _)| *other == start);
                    vec![(Cell::Bucket(Timestamp(start), label.into()), index)]
                }
                Dimension::Column(column) => {
                    dimension_values(column, row).into_iter().map(|cell| (cell, None)).collect()
                }
            };
            tuples = tuples
                .iter()
                .flat_map(|(cells, bucket)| {
                    values.iter().map(move |(cell, index)| {
                        let mut cells = cells.clone();
                        cells.push(cell.clone());
                        (cells, bucket.or(*index))
                    })
                })
                .collect();
        }
        for (cells, bucket) in tuples {
            let key = cells.iter().map(|cell| format!("{cell:?}")).collect();
            groups.entry(key).or_insert_with(|| Group { cells, bucket, rows: Vec::new() }).rows.push(row);
        }
    }
    groups.into_values().collect()
}

/// The key under which a group is found in the compared range: the bucket by its index.
fn comparable(query: &Query, group: &Group<'_>) -> Key {
    let parts = query.dimensions.iter().zip(&group.cells);
    parts
        .map(|(dimension, cell)| match dimension {
            Dimension::Time(_) => format!("{:?}", group.bucket),
            Dimension::Column(_) => format!("{cell:?}"),
        })
        .collect()
}

fn fill(query: &Query, groups: &mut Vec<Group<'_>>, buckets: &[(i64, String)]) {
    let Some((place, _)) = query.time_dimension() else { return };
    let last = query.now.0.min(query.range.to.map_or(i64::MAX, |to| to.0 - 1));
    let mut series: BTreeMap<Key, Vec<Cell>> = BTreeMap::new();
    let mut present: BTreeSet<(Key, i64)> = BTreeSet::new();
    let others = |cells: &[Cell]| -> Key {
        cells
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != place)
            .map(|(_, cell)| format!("{cell:?}"))
            .collect()
    };
    for group in groups.iter() {
        let Cell::Bucket(start, _) = &group.cells[place] else { panic!("the time dimension holds buckets") };
        present.insert((others(&group.cells), start.0));
        series.insert(others(&group.cells), group.cells.clone());
    }
    if query.dimensions.len() == 1 {
        series.insert(Key::new(), vec![Cell::Null]);
    }
    for (key, cells) in series {
        for (index, (start, label)) in
            buckets.iter().enumerate().filter(|(_, (start, _))| (*start).max(query.range.from.0) <= last)
        {
            if !present.contains(&(key.clone(), *start)) {
                let mut cells = cells.clone();
                cells[place] = Cell::Bucket(Timestamp(*start), label.as_str().into());
                groups.push(Group { cells, bucket: Some(index), rows: Vec::new() });
            }
        }
    }
}

fn dimension_values(column: &ColumnRef, row: &Row) -> Vec<Cell> {
    match value(column, row) {
        Cell::List(tags) if tags.is_empty() => vec![Cell::Null],
        Cell::List(tags) => {
            let distinct: BTreeSet<_> = tags.into_iter().collect();
            distinct.into_iter().map(Cell::Text).collect()
        }
        cell => vec![cell],
    }
}

fn value(column: &ColumnRef, row: &Row) -> Cell {
    let text = |text: &Option<String>| text.as_deref().map_or(Cell::Null, |text| Cell::Text(text.into()));
    match column.column {
        data::TIME => Cell::Time(Timestamp(row.time)),
        data::KIND => text(&row.kind),
        data::NAME => text(&row.name),
        data::SIZE => row.size.map_or(Cell::Null, |size| Cell::Int(size.into())),
        data::SCORE => row.score.map_or(Cell::Null, Cell::Float),
        data::FLAG => row.flag.map_or(Cell::Null, Cell::Bool),
        data::COST => row.cost.map_or(Cell::Null, |cost| Cell::Money(cost.into())),
        data::TAGS => match &row.tags {
            None => Cell::Null,
            Some(tags) => Cell::List(tags.iter().map(|tag| tag.as_str().into()).collect()),
        },
        _ => text(&row.plan),
    }
}

fn passes(filter: &Filter, row: &Row) -> bool {
    let elements = |column: &ColumnRef| dimension_values(column, row);
    match filter {
        Filter::And(parts) => parts.iter().all(|part| passes(part, row)),
        Filter::Or(parts) => parts.iter().any(|part| passes(part, row)),
        Filter::Not(part) => !passes(part, row),
        Filter::Exists { column } => elements(column) != [Cell::Null],
        Filter::Is { column, values, .. } => {
            elements(column).iter().any(|cell| values.iter().any(|value| cell_of(value) == *cell))
        }
        Filter::Text { column, how, patterns, .. } => elements(column).iter().any(|cell| match cell {
            Cell::Text(text) => patterns.iter().any(|pattern| match how {
                TextMatch::Contains => text.contains(pattern.as_str()),
                TextMatch::StartsWith => text.starts_with(pattern.as_str()),
                TextMatch::EndsWith => text.ends_with(pattern.as_str()),
                TextMatch::Regex => panic!("no regular expressions in these questions"),
            }),
            _ => false,
        }),
        Filter::Compare { column, how, value } => elements(column).iter().any(|cell| {
            !cell.is_null()
                && matches!(
                    (compare_cells(cell, &cell_of(value)), how),
                    (Ordering::Greater, Comparison::Gt | Comparison::Gte)
                        | (Ordering::Less, Comparison::Lt | Comparison::Lte)
                        | (Ordering::Equal, Comparison::Gte | Comparison::Lte)
                )
        }),
    }
}

fn cell_of(scalar: &Scalar) -> Cell {
    match scalar {
        Scalar::Null => Cell::Null,
        Scalar::Bool(value) => Cell::Bool(*value),
        Scalar::Int(value) => Cell::Int((*value).into()),
        Scalar::Float(value) => Cell::Float(*value),
        Scalar::Money(value) => Cell::Money((*value).into()),
        Scalar::String(value) => Cell::Text(value.as_str().into()),
        Scalar::Time(value) => Cell::Time(Timestamp(*value)),
    }
}

fn metrics(query: &Query, group: &Group<'_>, range: &ResolvedRange, buckets: &[(i64, String)]) -> Vec<Cell> {
    let number = |cell: Cell| cell.as_f64();
    query
        .metrics
        .iter()
        .map(|metric| match &metric.expr {
            MetricExpr::Measure(measure) => aggregate(query, measure, &group.rows),
            MetricExpr::Ratio { numerator, denominator } => {
                let above = number(aggregate(query, numerator, &group.rows));
                let below = number(aggregate(query, denominator, &group.rows)).filter(|below| *below != 0.0);
                above.zip(below).map_or(Cell::Null, |(above, below)| Cell::Float(above / below))
            }
            MetricExpr::Rate(measure) => {
                let sum = number(aggregate(query, measure, &group.rows)).expect("a sum or count");
                let (start, end) = match group.bucket {
                    Some(index) => {
                        (buckets[index].0, buckets.get(index + 1).map_or(i64::MAX, |(start, _)| *start))
                    }
                    None => (i64::MIN, i64::MAX),
                };
                let start = start.max(range.from.0);
                let end = end.min(range.to.map_or(i64::MAX, |to| to.0)).min(query.now.0);
                match (sum == 0.0, end > start) {
                    (true, _) => Cell::Float(0.0),
                    (false, true) => Cell::Float(sum / ((end - start) as f64 / 1e6)),
                    (false, false) => Cell::Null,
                }
            }
        })
        .collect()
}

fn aggregate(query: &Query, measure: &Measure, rows: &[&Row]) -> Cell {
    let rows: Vec<&&Row> = rows.iter().filter(|row| passes(&measure.filter, row)).collect();
    let Some(column) = &measure.column else { return Cell::Int(rows.len() as i128) };
    let kind = query.dataset.kind(column);
    let mut values: Vec<(i64, Cell)> =
        rows.iter().map(|row| (row.time, value(column, row))).filter(|(_, cell)| !cell.is_null()).collect();
    let sum = values.iter().map(|(_, cell)| whole(cell)).sum::<i128>();
    let float_sum = values.iter().filter_map(|(_, cell)| cell.as_f64()).sum::<f64>();
    let count = values.len();
    match measure.function {
        Function::Count => panic!("counts have no column"),
        Function::Sum => match kind {
            ColumnType::Float => Cell::Float(float_sum),
            ColumnType::Money => Cell::Money(sum),
            _ => Cell::Int(sum),
        },
        Function::Uniq => {
            let elements = rows.iter().flat_map(|row| dimension_values(column, row));
            let distinct: BTreeSet<String> =
                elements.filter(|cell| !cell.is_null()).map(|cell| format!("{cell:?}")).collect();
            Cell::Int(distinct.len() as i128)
        }
        _ if count == 0 => Cell::Null,
        Function::Avg => match kind {
            ColumnType::Money => Cell::Money(half_even(sum, count as i128)),
            ColumnType::Float => Cell::Float(float_sum / count as f64),
            _ => Cell::Float(sum as f64 / count as f64),
        },
        Function::Stddev if count < 2 => Cell::Null,
        Function::Stddev => {
            let numbers: Vec<f64> = values.iter().filter_map(|(_, cell)| cell.as_f64()).collect();
            let mean = numbers.iter().sum::<f64>() / count as f64;
            let squares = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>();
            Cell::Float((squares / (count - 1) as f64).sqrt())
        }
        Function::Min => best(values.iter().map(|(_, cell)| cell), Ordering::Less),
        Function::Max => best(values.iter().map(|(_, cell)| cell), Ordering::Greater),
        Function::First => {
            let first = values.iter().map(|(time, _)| *time).min();
            best(values.iter().filter(|(time, _)| Some(*time) == first).map(|(_, cell)| cell), Ordering::Less)
        }
        Function::Last => {
            let last = values.iter().map(|(time, _)| *time).max();
            best(
                values.iter().filter(|(time, _)| Some(*time) == last).map(|(_, cell)| cell),
                Ordering::Greater,
            )
        }
        Function::Quantile(permille) => {
            values.sort_by(|(_, a), (_, b)| compare_cells(a, b));
            let rank = (usize::from(permille) * count).div_ceil(1_000).max(1);
            values[rank - 1].1.clone()
        }
    }
}

fn whole(cell: &Cell) -> i128 {
    match cell {
        Cell::Int(value) | Cell::Money(value) => *value,
        _ => 0,
    }
}

fn best<'a>(cells: impl Iterator<Item = &'a Cell>, wanted: Ordering) -> Cell {
    let better = |a: &'a Cell, b: &'a Cell| if compare_cells(b, a) == wanted { b } else { a };
    cells.reduce(better).cloned().unwrap_or(Cell::Null)
}

fn half_even(sum: i128, count: i128) -> i128 {
    let floor = sum.div_euclid(count);
    let twice = sum.rem_euclid(count) * 2;
    floor + i128::from(twice > count || (twice == count && floor.rem_euclid(2) == 1))
}

fn having(condition: &Having, metrics: &[Cell]) -> bool {
    match condition {
        Having::And(parts) => parts.iter().all(|part| having(part, metrics)),
        Having::Or(parts) => parts.iter().any(|part| having(part, metrics)),
        Having::Not(part) => !having(part, metrics),
        Having::Compare { metric, how, values } => {
            let number = metrics[*metric].as_f64();
            match how {
                HavingComparison::Is => values.contains(&number),
                HavingComparison::Order(Comparison::Gt) => number > values[0] && number.is_some(),
                HavingComparison::Order(Comparison::Gte) => number >= values[0] && number.is_some(),
                HavingComparison::Order(Comparison::Lt) => number < values[0] && number.is_some(),
                HavingComparison::Order(Comparison::Lte) => number <= values[0] && number.is_some(),
            }
        }
    }
}

fn compare_rows(query: &Query, a: &AnswerRow, b: &AnswerRow) -> Ordering {
    for key in &query.order {
        let (a, b) = match key.target {
            OrderTarget::Dimension(index) => (&a.dimensions[index], &b.dimensions[index]),
            OrderTarget::Metric(index) => (&a.metrics[index], &b.metrics[index]),
        };
        let ordering = match (a.is_null(), b.is_null()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ if key.descending => compare_cells(b, a),
            _ => compare_cells(a, b),
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    Ordering::Equal
}

pub fn compare_cells(a: &Cell, b: &Cell) -> Ordering {
    match (a, b) {
        (Cell::Bool(a), Cell::Bool(b)) => a.cmp(b),
        (Cell::Int(a), Cell::Int(b)) | (Cell::Money(a), Cell::Money(b)) => a.cmp(b),
        (Cell::Float(a), Cell::Float(b)) => a.partial_cmp(b).expect("no NaN"),
        (Cell::Text(a), Cell::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Cell::Time(a), Cell::Time(b)) | (Cell::Bucket(a, _), Cell::Bucket(b, _)) => a.cmp(b),
        _ => panic!("{a:?} and {b:?} are of different kinds"),
    }
}
