//! A slow, plain recomputation of questions over rows in memory, written from the contract alone.
//!
//! It reads the same JSON a client sends (the subset the tests use: absolute ranges, metrics as objects with `as`) and walks
//! all rows once per group and metric. It shares no code with the server, so that equal answers mean something.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Unit, Zoned};
use serde_json::{Number, Value, json};

/// A value of a row, a dimension or a metric.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Bool(bool),
    Int(i128),
    /// In 1e-9 units.
    Money(i128),
    Float(f64),
    Text(String),
    List(Vec<String>),
    /// A bucket or an instant: micro-seconds and how it is written.
    Time(i64, String),
}

/// A stored row: its project, its time in micro-seconds, its columns (map keys as `COLUMN.KEY`).
#[derive(Clone, Debug)]
pub struct Row {
    pub project: String,
    pub ts: i64,
    pub cells: BTreeMap<String, Cell>,
}

/// What a question gives.
pub struct Answer {
    /// Dimensions and metrics of the page.
    pub results: Vec<(Vec<Cell>, Vec<Cell>)>,
    pub totals: Vec<Cell>,
    pub total_rows: usize,
}

const MINUTE_US: i64 = 60_000_000;
/// Steps in which buckets are enumerated: every offset of the zones tested is a multiple of it.
const STEP_US: i64 = 5 * MINUTE_US;

impl Row {
    fn cell(&self, name: &str) -> Cell {
        if name == "ts" {
            return Cell::Time(self.ts, String::new());
        }
        self.cells.get(name).cloned().unwrap_or(Cell::Null)
    }
}

impl Cell {
    /// The form the server writes, money as a number.
    pub fn json(&self) -> Value {
        match self {
            Cell::Null => Value::Null,
            Cell::Bool(value) => json!(value),
            Cell::Int(value) => Number::from_i128(*value).map_or(Value::Null, Value::Number),
            Cell::Money(nanos) => json!(*nanos as f64 / 1e9),
            Cell::Float(value) => json!(value),
            Cell::Text(text) => json!(text),
            Cell::List(list) => json!(list),
            Cell::Time(_, label) => json!(label),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Cell::Int(value) => Some(*value as f64),
            Cell::Money(nanos) => Some(*nanos as f64 / 1e9),
            Cell::Float(value) => Some(*value),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        matches!(self, Cell::Null) || matches!(self, Cell::List(list) if list.is_empty())
    }
}

/// Ascending, null last.
pub fn order(a: &Cell, b: &Cell) -> Ordering {
    match (a, b) {
        (Cell::Null, Cell::Null) => Ordering::Equal,
        (Cell::Null, _) => Ordering::Greater,
        (_, Cell::Null) => Ordering::Less,
        (Cell::Bool(a), Cell::Bool(b)) => a.cmp(b),
        (Cell::Int(a), Cell::Int(b)) | (Cell::Money(a), Cell::Money(b)) => a.cmp(b),
        (Cell::Text(a), Cell::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Cell::Time(a, _), Cell::Time(b, _)) => a.cmp(b),
        _ => a.number().partial_cmp(&b.number()).expect("numbers of one column"),
    }
}

/// A decimal as 1e-9 units, from its text.
pub fn nanos(text: &str) -> i128 {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{fraction:0<9}");
    sign * digits.parse::<i128>().expect("a decimal of at most nine fraction digits")
}

fn instant(us: i64) -> Timestamp {
    Timestamp::from_microsecond(us).expect("a year jiff knows")
}

fn zone(question: &Value) -> TimeZone {
    TimeZone::get(question["timezone"].as_str().unwrap_or("UTC")).expect("a zone")
}

/// `[from, to)` in micro-seconds: two instants, two dates, or `all`.
fn range(question: &Value, tz: &TimeZone, rows: &[&Row]) -> (i64, i64) {
    if question["date_range"] == "all" {
        let from = rows.iter().map(|row| row.ts).min().unwrap_or(0);
        return (from, Timestamp::now().as_microsecond());
    }
    let end = |index: usize| {
        let text = question["date_range"][index].as_str().expect("a time");
        if text.len() > 10 {
            return text.parse::<Timestamp>().expect("RFC 3339").as_microsecond();
        }
        let date: jiff::civil::Date = text.parse().expect("a date");
        let date = date.checked_add((index as i32).days()).expect("a date");
        tz.to_zoned(date.at(0, 0, 0, 0)).expect("a day's start").timestamp().as_microsecond()
    };
    (end(0), end(1))
}

/// The start of the bucket that holds an instant, and its label.
pub fn bucket(us: i64, unit: &str, tz: &TimeZone) -> Cell {
    let width = match unit {
        "minute" => MINUTE_US,
        "5m" => 5 * MINUTE_US,
        "15m" => 15 * MINUTE_US,
        "30m" => 30 * MINUTE_US,
        "hour" => 60 * MINUTE_US,
        _ => return calendar_bucket(us, unit, tz),
    };
    let offset = tz.to_offset(instant(us));
    let offset_us = i64::from(offset.seconds()) * 1_000_000;
    let start = (us + offset_us).div_euclid(width) * width - offset_us;
    let local = offset.to_datetime(instant(start));
    let minutes = offset.seconds() / 60;
    let suffix = match minutes {
        0 => "Z".to_owned(),
        _ => format!(
            "{}{:02}:{:02}",
            if minutes < 0 { '-' } else { '+' },
            minutes.abs() / 60,
            minutes.abs() % 60
        ),
    };
    Cell::Time(start, format!("{}{suffix}", local.strftime("%Y-%m-%dT%H:%M:%S")))
}

fn calendar_bucket(us: i64, unit: &str, tz: &TimeZone) -> Cell {
    let date = Zoned::new(instant(us), tz.clone()).date();
    let first = match unit {
        "day" => date,
        "week" => date.checked_sub(i64::from(date.weekday().to_monday_zero_offset()).days()).expect("a date"),
        "month" => date.first_of_month(),
        "year" => date.first_of_year(),
        other => panic!("no unit {other}"),
    };
    let start = tz.to_zoned(first.at(0, 0, 0, 0)).expect("a day's start").timestamp().as_microsecond();
    Cell::Time(start, first.to_string())
}

/// The unit of a bare `time` for a range.
fn automatic_unit(from: i64, to: i64) -> &'static str {
    let minutes = (to - from) as f64 / MINUTE_US as f64;
    match minutes {
        m if m <= 60.0 => "minute",
        m if m <= 360.0 => "5m",
        m if m <= 48.0 * 60.0 => "hour",
        m if m <= 92.0 * 1440.0 => "day",
        _ => "month",
    }
}

fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

fn literal_equals(cell: &Cell, value: &Value, case_sensitive: bool) -> bool {
    let text_equals = |text: &str| match value.as_str() {
        Some(value) if case_sensitive => value == text,
        Some(value) => lower(value) == lower(text),
        None => false,
    };
    match (cell, value) {
        (cell, Value::Null) => cell.is_null(),
        (Cell::Bool(a), Value::Bool(b)) => a == b,
        (Cell::Money(nanos_a), Value::Number(number)) => *nanos_a == nanos(&number.to_string()),
        (Cell::Int(a), Value::Number(number)) => number.as_i64().map(i128::from) == Some(*a),
        (Cell::Float(a), Value::Number(number)) => number.as_f64() == Some(*a),
        (Cell::Text(text), _) => text_equals(text),
        (Cell::List(list), _) => list.iter().any(|text| text_equals(text)),
        (Cell::Time(us, _), Value::String(text)) => {
            text.parse::<Timestamp>().expect("a time").as_microsecond() == *us
        }
        _ => false,
    }
}

fn text_matches(operator: &str, text: &str, pattern: &str, case_sensitive: bool) -> bool {
    if operator == "matches" {
        // The patterns of the tests are anchored prefixes with alternatives, so a full engine is not needed here.
        return simple_regex(pattern, &if case_sensitive { text.to_owned() } else { lower(text) });
    }
    let (text, pattern) =
        if case_sensitive { (text.to_owned(), pattern.to_owned()) } else { (lower(text), lower(pattern)) };
    match operator {
        "contains" => text.contains(&pattern),
        "starts_with" => text.starts_with(&pattern),
        "ends_with" => text.ends_with(&pattern),
        other => panic!("no operator {other}"),
    }
}

/// Understands `^(a|b)` and `c$` and plain text.
fn simple_regex(pattern: &str, text: &str) -> bool {
    if let Some(group) = pattern.strip_prefix("^(").and_then(|rest| rest.strip_suffix(')')) {
        return group.split('|').any(|part| text.starts_with(part));
    }
    match pattern.strip_suffix('$') {
        Some(end) => text.ends_with(end),
        None => text.contains(pattern),
    }
}

/// Whether a row passes a filter.
pub fn holds(filter: &Value, row: &Row) -> bool {
    let operator = filter[0].as_str().expect("an operator");
    let parts = || filter[1].as_array().expect("parts");
    match operator {
        "and" => return parts().iter().all(|part| holds(part, row)),
        "or" => return parts().iter().any(|part| holds(part, row)),
        "not" => return !holds(&filter[1], row),
        _ => {}
    }
    let cell = row.cell(filter[1].as_str().expect("a column"));
    if let Some(positive) = operator.strip_suffix("_not") {
        let mut turned = filter.clone();
        turned[0] = json!(positive);
        return !holds(&turned, row);
    }
    let case_sensitive = filter[3]["case_sensitive"] != false;
    match operator {
        "exists" => !cell.is_null(),
        "is" => filter[2]
            .as_array()
            .expect("values")
            .iter()
            .any(|value| literal_equals(&cell, value, case_sensitive)),
        "gt" | "gte" | "lt" | "lte" => compare(operator, &cell, &filter[2]),
        _ => {
            let texts = match cell {
                Cell::Text(text) => vec![text],
                Cell::List(list) => list,
                _ => Vec::new(),
            };
            let patterns = filter[2].as_array().expect("patterns");
            texts.iter().any(|text| {
                patterns.iter().any(|pattern| {
                    text_matches(operator, text, pattern.as_str().expect("a pattern"), case_sensitive)
                })
            })
        }
    }
}

fn compare(operator: &str, cell: &Cell, value: &Value) -> bool {
    let ordering = match (cell, value) {
        (Cell::Null | Cell::List(_), _) => return false,
        (Cell::Text(text), Value::String(value)) => text.as_bytes().cmp(value.as_bytes()),
        (Cell::Time(us, _), Value::String(value)) => {
            us.cmp(&value.parse::<Timestamp>().expect("a time").as_microsecond())
        }
        (Cell::Money(money), Value::Number(number)) => money.cmp(&nanos(&number.to_string())),
        (cell, value) => cell.number().partial_cmp(&value.as_f64()).expect("numbers"),
    };
    match operator {
        "gt" => ordering.is_gt(),
        "gte" => ordering.is_ge(),
        "lt" => ordering.is_lt(),
        _ => ordering.is_le(),
    }
}

fn passes(filters: &Value, row: &Row) -> bool {
    filters.as_array().is_none_or(|list| list.iter().all(|filter| holds(filter, row)))
}

/// Half to even, in integers.
fn divide_half_even(sum: i128, n: i128) -> i128 {
    let (quotient, remainder) = (sum.div_euclid(n), sum.rem_euclid(n));
    match (remainder * 2).cmp(&n) {
        Ordering::Less => quotient,
        Ordering::Greater => quotient + 1,
        Ordering::Equal => quotient + (quotient & 1),
    }
}

/// One metric over rows; `seconds` is the time they cover, for `rate`.
pub fn metric(definition: &Value, rows: &[&Row], seconds: f64) -> Cell {
    let agg = definition["agg"].as_str().expect("an aggregate");
    let rows: Vec<&Row> = rows.iter().copied().filter(|row| passes(&definition["filters"], row)).collect();
    if agg == "ratio" {
        let part = |name: &str| metric(&definition[name], &rows, seconds).number();
        return match (part("numerator"), part("denominator")) {
            (Some(a), Some(b)) if b != 0.0 => Cell::Float(a / b),
            _ => Cell::Null,
        };
    }
    let Some(column) = definition["column"].as_str() else {
        return match agg {
            "count" => Cell::Int(rows.len() as i128),
            "rate" => Cell::Float(rows.len() as f64 / seconds),
            other => panic!("{other} needs a column"),
        };
    };
    let mut values: Vec<(i64, Cell)> =
        rows.iter().map(|row| (row.ts, row.cell(column))).filter(|(_, cell)| !cell.is_null()).collect();
    let n = values.len();
    match agg {
        "sum" => sum(values.iter().map(|(_, cell)| cell)),
        "rate" => Cell::Float(sum(values.iter().map(|(_, cell)| cell)).number().expect("a number") / seconds),
        "uniq" => Cell::Int(
            values.iter().map(|(_, cell)| format!("{cell:?}")).collect::<BTreeSet<_>>().len() as i128,
        ),
        _ if n == 0 => Cell::Null,
        "avg" => match sum(values.iter().map(|(_, cell)| cell)) {
            Cell::Money(sum) => Cell::Money(divide_half_even(sum, n as i128)),
            other => Cell::Float(other.number().expect("a number") / n as f64),
        },
        "stddev" => {
            standard_deviation(&values.iter().filter_map(|(_, cell)| cell.number()).collect::<Vec<_>>())
        }
        "min" => values.into_iter().map(|(_, cell)| cell).min_by(order).expect("a value"),
        "max" => values.into_iter().map(|(_, cell)| cell).max_by(order).expect("a value"),
        "first" => {
            values.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| order(&a.1, &b.1)));
            values[0].1.clone()
        }
        "last" => {
            values.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| order(&a.1, &b.1)));
            values[n - 1].1.clone()
        }
        percentile => {
            let tenths = (percentile[1..].parse::<f64>().expect("a percentile") * 10.0).round() as usize;
            values.sort_by(|a, b| order(&a.1, &b.1));
            values[(tenths * n).div_ceil(1000).max(1) - 1].1.clone()
        }
    }
}

fn sum<'a>(cells: impl Iterator<Item = &'a Cell>) -> Cell {
    let mut total = Cell::Int(0);
    for cell in cells {
        total = match (total, cell) {
            (Cell::Int(0), cell) => cell.clone(),
            (Cell::Int(a), Cell::Int(b)) => Cell::Int(a + b),
            (Cell::Money(a), Cell::Money(b)) => Cell::Money(a + b),
            (a, b) => Cell::Float(a.number().expect("a number") + b.number().expect("a number")),
        };
    }
    total
}

fn standard_deviation(values: &[f64]) -> Cell {
    let n = values.len() as f64;
    if n < 2.0 {
        return Cell::Null;
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    Cell::Float((squares / (n - 1.0)).sqrt())
}

/// The cells of one dimension for a row: several where it is a list.
fn dimension_cells(dimension: &str, row: &Row, tz: &TimeZone, unit: &str) -> Vec<Cell> {
    if dimension.starts_with("time") {
        return vec![bucket(row.ts, unit, tz)];
    }
    match row.cell(dimension) {
        Cell::List(list) if list.is_empty() => vec![Cell::Null],
        Cell::List(list) => list.into_iter().collect::<BTreeSet<_>>().into_iter().map(Cell::Text).collect(),
        cell => vec![cell],
    }
}

struct Group<'a> {
    key: Vec<Cell>,
    rows: Vec<&'a Row>,
}

fn groups<'a>(rows: &[&'a Row], dimensions: &[&str], tz: &TimeZone, unit: &str) -> Vec<Group<'a>> {
    let mut found: BTreeMap<String, Group<'a>> = BTreeMap::new();
    if dimensions.is_empty() {
        return vec![Group { key: Vec::new(), rows: rows.to_vec() }];
    }
    for row in rows {
        let mut keys: Vec<Vec<Cell>> = vec![Vec::new()];
        for dimension in dimensions {
            let cells = dimension_cells(dimension, row, tz, unit);
            keys = keys
                .iter()
                .flat_map(|key| cells.iter().map(|cell| [key.clone(), vec![cell.clone()]].concat()))
                .collect();
        }
        for key in keys {
            found.entry(format!("{key:?}")).or_insert_with(|| Group { key, rows: Vec::new() }).rows.push(row);
        }
    }
    found.into_values().collect()
}

/// Every bucket that touches `[from, to)`.
fn all_buckets(from: i64, to: i64, unit: &str, tz: &TimeZone) -> Vec<Cell> {
    let step = if unit == "minute" { MINUTE_US } else { STEP_US };
    let mut buckets: Vec<Cell> = Vec::new();
    let mut at = from;
    while at < to {
        let next = bucket(at, unit, tz);
        if buckets.last() != Some(&next) {
            buckets.push(next);
        }
        at = (at.div_euclid(step) + 1) * step;
    }
    buckets
}

fn fill(groups: &mut Vec<Group<'_>>, at: usize, has_others: bool, buckets: &[Cell]) {
    let mut present: BTreeMap<String, Vec<Cell>> = BTreeMap::new();
    if !has_others {
        // A chart of time alone has one series, also where no row passes.
        present.insert("[]".to_owned(), Vec::new());
    }
    let mut there = BTreeSet::new();
    for group in groups.iter() {
        there.insert(format!("{:?}", group.key));
        let mut rest = group.key.clone();
        rest.remove(at);
        present.insert(format!("{rest:?}"), rest);
    }
    for rest in present.into_values() {
        for bucket in buckets {
            let mut key = rest.clone();
            key.insert(at, bucket.clone());
            if there.insert(format!("{key:?}")) {
                groups.push(Group { key, rows: Vec::new() });
            }
        }
    }
}

fn having_holds(condition: &Value, names: &[&str], metrics: &[Cell]) -> bool {
    let operator = condition[0].as_str().expect("an operator");
    match operator {
        "and" => {
            return condition[1]
                .as_array()
                .expect("parts")
                .iter()
                .all(|part| having_holds(part, names, metrics));
        }
        "or" => {
            return condition[1]
                .as_array()
                .expect("parts")
                .iter()
                .any(|part| having_holds(part, names, metrics));
        }
        "not" => return !having_holds(&condition[1], names, metrics),
        _ => {}
    }
    let index = names.iter().position(|name| condition[1] == *name).expect("a metric");
    match operator {
        "exists" => metrics[index] != Cell::Null,
        "is" => condition[2].as_array().expect("values").iter().any(|value| {
            if value.is_null() {
                metrics[index] == Cell::Null
            } else {
                metrics[index].number() == value.as_f64()
            }
        }),
        _ => compare(operator, &metrics[index], &condition[2]),
    }
}

fn names<'a>(question: &'a Value, member: &str) -> Vec<&'a str> {
    let list = question[member].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|item| item.as_str().or(item["as"].as_str()).expect("a name")).collect()
}

/// The order of results: asked keys, else time ascending or the first metric descending; then dimensions ascending.
fn sort(
    results: &mut [(Vec<Cell>, Vec<Cell>)],
    question: &Value,
    dimensions: &[&str],
    metric_names: &[&str],
) {
    let mut keys: Vec<(bool, usize, bool)> = Vec::new();
    for pair in question["order_by"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let name = pair[0].as_str().expect("a name");
        let descending = pair[1] == "desc";
        match metric_names.iter().position(|known| *known == name) {
            Some(index) => keys.push((true, index, descending)),
            None => keys.push((
                false,
                dimensions.iter().position(|known| *known == name).expect("a name"),
                descending,
            )),
        }
    }
    if keys.is_empty() {
        match dimensions.iter().position(|name| name.starts_with("time")) {
            Some(index) => keys.push((false, index, false)),
            None => keys.push((true, 0, true)),
        }
    }
    keys.extend((0..dimensions.len()).map(|index| (false, index, false)));
    results.sort_by(|a, b| {
        keys.iter().fold(Ordering::Equal, |so_far, (is_metric, index, descending)| {
            so_far.then_with(|| {
                let (x, y) =
                    if *is_metric { (&a.1[*index], &b.1[*index]) } else { (&a.0[*index], &b.0[*index]) };
                let ordering = order(x, y);
                let has_null = *x == Cell::Null || *y == Cell::Null;
                if *descending && !has_null { ordering.reverse() } else { ordering }
            })
        })
    });
}

/// The answer to a question over all rows of all projects.
pub fn answer(question: &Value, rows: &[Row]) -> Answer {
    let project = question["project"].as_str().unwrap_or("default");
    let of_project: Vec<&Row> = rows.iter().filter(|row| row.project == project).collect();
    let tz = zone(question);
    let (from, to) = range(question, &tz, &of_project);
    let dimensions = names(question, "dimensions");
    let metric_names = names(question, "metrics");
    let definitions = question["metrics"].as_array().expect("metrics");
    let chosen: Vec<&Row> = of_project
        .into_iter()
        .filter(|row| row.ts >= from && row.ts < to && passes(&question["filters"], row))
        .collect();
    let time = dimensions.iter().position(|name| name.starts_with("time"));
    let unit = time
        .map_or("", |at| dimensions[at].strip_prefix("time:").unwrap_or_else(|| automatic_unit(from, to)));
    let mut groups = groups(&chosen, &dimensions, &tz, unit);
    if question["include"]["fill"] == true {
        fill(
            &mut groups,
            time.expect("fill needs time"),
            dimensions.len() > 1,
            &all_buckets(from, to, unit, &tz),
        );
    }
    let range_seconds = (to - from) as f64 / 1e6;
    let mut results: Vec<(Vec<Cell>, Vec<Cell>)> = groups
        .into_iter()
        .map(|group| {
            let seconds = time.map_or(range_seconds, |at| seconds_of(&group.key[at], from, to, unit, &tz));
            let metrics =
                definitions.iter().map(|definition| metric(definition, &group.rows, seconds)).collect();
            (group.key, metrics)
        })
        .collect();
    results.retain(|(_, metrics)| {
        question["having"]
            .as_array()
            .is_none_or(|list| list.iter().all(|part| having_holds(part, &metric_names, metrics)))
    });
    sort(&mut results, question, &dimensions, &metric_names);
    let total_rows = results.len();
    let offset = question["pagination"]["offset"].as_u64().unwrap_or(0) as usize;
    let limit = question["pagination"]["limit"].as_u64().unwrap_or(1000) as usize;
    let results = results.into_iter().skip(offset).take(limit).collect();
    let totals = definitions.iter().map(|definition| metric(definition, &chosen, range_seconds)).collect();
    Answer { results, totals, total_rows }
}

/// Seconds of a bucket within `[from, to)`. Only `rate` uses it, so it is for units whose buckets end where the next begins.
fn seconds_of(key: &Cell, from: i64, to: i64, unit: &str, tz: &TimeZone) -> f64 {
    let Cell::Time(start, _) = key else { panic!("a bucket") };
    let end = match unit {
        "minute" => start + MINUTE_US,
        "5m" => start + 5 * MINUTE_US,
        "15m" => start + 15 * MINUTE_US,
        "30m" => start + 30 * MINUTE_US,
        "hour" => start + 60 * MINUTE_US,
        unit => {
            let span = match unit {
                "day" => 1.day(),
                "week" => 1.week(),
                "month" => 1.month(),
                _ => 1.year(),
            };
            let next = Zoned::new(instant(*start), tz.clone()).date().checked_add(span).expect("a date");
            let next = tz.to_zoned(next.at(0, 0, 0, 0)).expect("a day's start");
            next.round(Unit::Microsecond).expect("rounds").timestamp().as_microsecond()
        }
    };
    (end.min(to) - (*start).max(from)) as f64 / 1e6
}
