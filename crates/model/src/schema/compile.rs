//! From the object a user writes to a checked [`Dataset`], and from one dataset to a wider one.
//!
//! Not here: storing either (`store`).

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::definition::{DatasetDefinition, RollupDefinition, SchemaError};
use super::{Column, ColumnId, ColumnRef, ColumnType, Dataset, Retention, Rollup, Tier};
use crate::filter::FilterParser;
use crate::input_error::{InputError, codes, unknown};
use crate::limits::{COLUMNS_MAX, METRICS_MAX, RETENTION_DAYS_MAX, ROLLUPS_MAX};
use crate::names::{NAME_BYTES_MAX, check_name, excerpt, suggest};
use crate::query::{MetricDefinition, MetricExpr, MetricInput, MetricResolver};
use crate::time::Zone;

impl Dataset {
    /// Checks a definition and resolves every name in it.
    pub fn compile(name: &str, definition: DatasetDefinition) -> Result<Dataset, SchemaError> {
        check_name(name).map_err(|error| InputError::new(codes::INVALID_NAME, "name", error.to_string()))?;
        let mut dataset = Dataset {
            name: Arc::from(name),
            columns: compile_columns(&definition)?,
            id: None,
            sort: Vec::new(),
            metrics: BTreeMap::new(),
            rollups: Vec::new(),
            retention: compile_retention(&definition)?,
            definition,
        };
        dataset.id = compile_id(&dataset)?;
        dataset.sort = compile_sort(&dataset)?;
        dataset.metrics = compile_metrics(&dataset)?;
        dataset.rollups = compile_rollups(&dataset)?;
        Ok(dataset)
    }

    /// This dataset with an addition: columns are appended (ids stay), a metric or roll-up of a known name replaces that
    /// one, a retention that is named replaces the old one; nothing else is touched. Changing a type, the time column, the
    /// id or the sort is a conflict ([`SchemaError::is_conflict`]).
    pub fn widen(&self, addition: DatasetDefinition) -> Result<Dataset, SchemaError> {
        let mut merged = self.definition.clone();
        self.refuse_changes(&addition)?;
        addition.columns.iter().for_each(|(name, kind)| merged.columns.set(name, kind.clone()));
        addition.metrics.iter().for_each(|(name, metric)| merged.metrics.set(name, metric.clone()));
        addition.retention.iter().for_each(|(tier, kept)| merged.retention.set(tier, kept.clone()));
        for rollup in addition.rollups {
            match merged.rollups.iter_mut().find(|known| known.name == rollup.name) {
                Some(known) => *known = rollup,
                None => merged.rollups.push(rollup),
            }
        }
        Dataset::compile(&self.name, merged)
    }

    fn refuse_changes(&self, addition: &DatasetDefinition) -> Result<(), SchemaError> {
        let refuse = |field: &str, is: &str, asked: &str| {
            let message = format!("'{field}' of dataset '{}' is {is} and cannot become {asked}", self.name);
            Err(InputError::new(codes::SCHEMA_CONFLICT, field, message))
        };
        let shown =
            |name: Option<&String>| name.map_or("none".to_owned(), |name| format!("'{}'", excerpt(name)));
        let old = &self.definition;
        if addition.time.is_some() && addition.time != old.time {
            return refuse("time", &shown(old.time.as_ref()), &shown(addition.time.as_ref()));
        }
        if addition.id.is_some() && addition.id != old.id {
            return refuse("id", &shown(old.id.as_ref()), &shown(addition.id.as_ref()));
        }
        if let Some(sort) = &addition.sort {
            let before = old.sort.as_deref().unwrap_or_default();
            if sort != before {
                return refuse(
                    "sort",
                    &format!("[{}]", before.join(", ")),
                    &format!("[{}]", sort.join(", ")),
                );
            }
        }
        for (name, kind) in addition.columns.iter() {
            let known = self.column_id(name).map(|id| self.column(id).kind);
            // An unknown type is not a conflict: compiling says what is wrong with it.
            if let (Some(known), Some(asked)) = (known, ColumnType::parse(kind))
                && known != asked
            {
                return refuse(&format!("columns.{name}"), known.name(), asked.name());
            }
        }
        Ok(())
    }
}

/// Checks `[A-Za-z_][A-Za-z0-9_]{0,63}` without a leading underscore, which hidden columns have.
fn check_identifier(what: &str, name: &str, field: &str) -> Result<(), SchemaError> {
    let refused = |why: &str| {
        let message = format!("'{}' is not a valid {what} name: {why}", excerpt(name));
        Err(InputError::new(codes::INVALID_NAME, field, message))
    };
    match name.as_bytes() {
        [b'_', ..] => refused("a leading '_' is reserved"),
        [first, rest @ ..]
            if first.is_ascii_alphabetic()
                && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
                && name.len() <= NAME_BYTES_MAX =>
        {
            Ok(())
        }
        _ => refused("use 1 to 64 of a-z, A-Z, 0-9 and '_', not beginning with a digit"),
    }
}

fn check_count(what: &str, count: usize, max: usize) -> Result<(), SchemaError> {
    if count <= max {
        return Ok(());
    }
    Err(InputError::new(codes::LIMIT_EXCEEDED, what, format!("{count} {what} are over the limit of {max}")))
}

fn compile_columns(definition: &DatasetDefinition) -> Result<Vec<Column>, SchemaError> {
    let Some(time) = &definition.time else {
        let message = "a dataset needs 'time', the name of its time column, for example \"time\": \"ts\"";
        return Err(InputError::new(codes::MISSING_FIELD, "time", message));
    };
    check_identifier("column", time, "time")?;
    check_count("columns", definition.columns.len(), COLUMNS_MAX)?;
    let mut columns = vec![Column { name: Arc::from(time.as_str()), kind: ColumnType::Time }];
    for (name, kind_name) in definition.columns.iter() {
        let field = format!("columns.{}", excerpt(name));
        check_identifier("column", name, &field)?;
        let kind = ColumnType::parse(kind_name).ok_or_else(|| unknown_type(kind_name, &field))?;
        match (name == time, kind) {
            (true, ColumnType::Time) => {}
            (true, _) => {
                let message = format!(
                    "the time column '{name}' is of type time, not {kind_name}; leave it out of 'columns'"
                );
                return Err(InputError::new(codes::INVALID_TYPE, field, message));
            }
            (false, ColumnType::Time) => {
                let message = format!(
                    "'{name}' cannot be of type time: a dataset has one time column, '{time}'; keep other times as int \
                     (micro-seconds) or string"
                );
                return Err(InputError::new(codes::INVALID_TYPE, field, message));
            }
            (false, kind) => columns.push(Column { name: Arc::from(name), kind }),
        }
    }
    Ok(columns)
}

fn unknown_type(name: &str, field: &str) -> SchemaError {
    let declarable = ColumnType::ALL.iter().filter(|kind| **kind != ColumnType::Time).map(|kind| kind.name());
    let known: Vec<&str> = declarable.collect();
    let nearest = suggest(name, known.iter().copied())
        .map(|near| format!("did you mean '{near}'? "))
        .unwrap_or_default();
    let message = format!("unknown type '{}'; {nearest}types are {}", excerpt(name), known.join(", "));
    InputError::new(codes::INVALID_TYPE, field, message)
}

/// The column of that name; `id` and `sort` take no map keys.
fn find_column(dataset: &Dataset, name: &str, field: &str) -> Result<ColumnId, SchemaError> {
    dataset.column_id(name).ok_or_else(|| {
        let message = unknown("column", name, dataset.columns.iter().map(|column| &*column.name));
        InputError::new(codes::UNKNOWN_COLUMN, field, message)
    })
}

fn compile_id(dataset: &Dataset) -> Result<Option<ColumnId>, SchemaError> {
    let Some(name) = &dataset.definition.id else { return Ok(None) };
    let id = find_column(dataset, name, "id")?;
    match dataset.column(id).kind {
        ColumnType::String | ColumnType::Int => Ok(Some(id)),
        kind => {
            let message =
                format!("the id column '{name}' is of type {}; an id is a string or an int", kind.name());
            Err(InputError::new(codes::INVALID_TYPE, "id", message))
        }
    }
}

fn compile_sort(dataset: &Dataset) -> Result<Vec<ColumnId>, SchemaError> {
    let mut sort = Vec::new();
    for (index, name) in dataset.definition.sort.iter().flatten().enumerate() {
        let field = format!("sort[{index}]");
        let id = find_column(dataset, name, &field)?;
        let kind = dataset.column(id).kind;
        if !matches!(kind, ColumnType::String | ColumnType::Int | ColumnType::Bool) {
            let message = if kind == ColumnType::Time {
                format!("'{name}' is the time column, which always follows the sort columns; leave it out")
            } else {
                format!("sort column '{name}' is of type {}; use string, int or bool columns", kind.name())
            };
            return Err(InputError::new(codes::INVALID_TYPE, field, message));
        }
        if sort.contains(&id) {
            return Err(InputError::new(
                codes::DUPLICATE_NAME,
                field,
                format!("sort column '{name}' is there twice"),
            ));
        }
        sort.push(id);
    }
    Ok(sort)
}

fn compile_metrics(dataset: &Dataset) -> Result<BTreeMap<Arc<str>, MetricExpr>, SchemaError> {
    let definitions = &dataset.definition.metrics;
    check_count("metrics", definitions.len(), METRICS_MAX)?;
    let zone = Zone::utc();
    let mut compiled = BTreeMap::new();
    // Metrics without names in them come first, so that a ratio may name a metric that is declared after it.
    let plain = RefCell::new(BTreeMap::<&str, MetricExpr>::new());
    let (composed, simple): (Vec<_>, Vec<_>) =
        definitions.iter().partition(|(_, metric)| metric.agg == "ratio");
    for (name, metric) in simple.into_iter().chain(composed) {
        let field = format!("metrics.{}", excerpt(name));
        check_identifier("metric", name, &field)?;
        if metric.name.is_some() {
            let message = "a dataset's metric is named by its member; leave 'as' out";
            return Err(InputError::new(codes::INVALID_METRIC, format!("{field}.as"), message));
        }
        refuse_nested_ratio(dataset, metric, &field)?;
        let mut filters = FilterParser::new(dataset, &zone);
        let mut resolver = MetricResolver {
            filters: &mut filters,
            named: &|name| plain.borrow().get(name).cloned(),
            names: definitions.names().collect(),
        };
        let expr = resolver.resolve(metric, &field)?;
        plain.borrow_mut().insert(name, expr.clone());
        compiled.insert(Arc::from(name), expr);
    }
    Ok(compiled)
}

/// A ratio may name plain metrics, whichever comes first; naming a ratio is told apart from naming nothing.
fn refuse_nested_ratio(dataset: &Dataset, metric: &MetricDefinition, field: &str) -> Result<(), SchemaError> {
    for (part, input) in [("numerator", &metric.numerator), ("denominator", &metric.denominator)] {
        if let Some(MetricInput::Named(name)) = input
            && dataset.definition.metrics.get(name).is_some_and(|named| named.agg == "ratio")
        {
            let message = format!("'{name}' is itself a ratio; the parts of a ratio are plain aggregates");
            return Err(InputError::new(codes::INVALID_METRIC, format!("{field}.{part}"), message));
        }
    }
    Ok(())
}

fn compile_rollups(dataset: &Dataset) -> Result<Vec<Rollup>, SchemaError> {
    let definitions = &dataset.definition.rollups;
    check_count("rollups", definitions.len(), ROLLUPS_MAX)?;
    let mut names = HashSet::new();
    let mut rollups = Vec::new();
    for (index, definition) in definitions.iter().enumerate() {
        let field = format!("rollups[{index}]");
        check_identifier("roll-up", &definition.name, &format!("{field}.name"))?;
        if !names.insert(&definition.name) {
            let message = format!("roll-up '{}' is there twice; give one another name", definition.name);
            return Err(InputError::new(codes::DUPLICATE_NAME, format!("{field}.name"), message));
        }
        rollups.push(Rollup {
            name: Arc::from(definition.name.as_str()),
            dimensions: rollup_dimensions(dataset, definition).map_err(|error| error.within(&field))?,
            metrics: rollup_metrics(dataset, definition).map_err(|error| error.within(&field))?,
            tiers: rollup_tiers(definition).map_err(|error| error.within(&field))?,
        });
    }
    Ok(rollups)
}

fn rollup_dimensions(
    dataset: &Dataset,
    definition: &RollupDefinition,
) -> Result<Vec<ColumnRef>, SchemaError> {
    let mut dimensions = Vec::new();
    for (index, name) in definition.dimensions.iter().enumerate() {
        let field = format!("dimensions[{index}]");
        let column = dataset.resolve_column(name).map_err(|error| error.within(&field))?;
        if matches!(dataset.kind(&column), ColumnType::Time | ColumnType::Map) {
            let message = match dataset.kind(&column) {
                ColumnType::Time => {
                    format!("'{name}' is the time column, which every roll-up has by its tier; leave it out")
                }
                _ => format!("'{name}' is a map; name a key of it, like '{name}.KEY'"),
            };
            return Err(InputError::new(codes::INVALID_ROLLUP, field, message));
        }
        if dimensions.contains(&column) {
            return Err(InputError::new(
                codes::DUPLICATE_NAME,
                field,
                format!("dimension '{name}' is there twice"),
            ));
        }
        dimensions.push(column);
    }
    Ok(dimensions)
}

fn rollup_metrics(dataset: &Dataset, definition: &RollupDefinition) -> Result<Vec<Arc<str>>, SchemaError> {
    let Some(names) = &definition.metrics else { return Ok(dataset.metrics.keys().cloned().collect()) };
    let mut metrics: Vec<Arc<str>> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let field = format!("metrics[{index}]");
        let Some((known, _)) = dataset.metrics.get_key_value(name.as_str()) else {
            let message = unknown("metric", name, dataset.metrics.keys().map(|name| &**name));
            return Err(InputError::new(codes::UNKNOWN_METRIC, field, message));
        };
        if metrics.contains(known) {
            return Err(InputError::new(
                codes::DUPLICATE_NAME,
                field,
                format!("metric '{name}' is there twice"),
            ));
        }
        metrics.push(known.clone());
    }
    Ok(metrics)
}

fn rollup_tiers(definition: &RollupDefinition) -> Result<Vec<Tier>, SchemaError> {
    let Some(names) = &definition.tiers else { return Ok(Tier::ALL.to_vec()) };
    let mut tiers = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let field = format!("tiers[{index}]");
        let tier = Tier::parse(name).ok_or_else(|| unknown_tier(name, &field))?;
        if tiers.contains(&tier) {
            return Err(InputError::new(
                codes::DUPLICATE_NAME,
                field,
                format!("tier '{name}' is there twice"),
            ));
        }
        tiers.push(tier);
    }
    if tiers.is_empty() {
        let message = "a roll-up needs a tier; leave 'tiers' out for all of 1m, 5m, 1h and 1d";
        return Err(InputError::new(codes::INVALID_ROLLUP, "tiers", message));
    }
    tiers.sort_unstable();
    Ok(tiers)
}

fn unknown_tier(name: &str, field: &str) -> SchemaError {
    let message = format!("unknown tier '{}'; tiers are 1m, 5m, 1h and 1d", excerpt(name));
    InputError::new(codes::INVALID_ROLLUP, field, message)
}

fn compile_retention(definition: &DatasetDefinition) -> Result<Retention, SchemaError> {
    let mut retention = Retention::default();
    for (name, kept) in definition.retention.iter() {
        let field = format!("retention.{}", excerpt(name));
        let kept_us = match kept.as_deref() {
            // The word is for TOML, which has no null.
            None | Some("forever") => None,
            Some(text) => Some(parse_retention(text, &field)?),
        };
        if name == "raw" {
            retention.raw_us = kept_us;
        } else if let Some(tier) = Tier::parse(name) {
            retention.tiers_us.insert(tier, kept_us);
        } else {
            let message =
                format!("unknown tier '{}'; a retention is for raw, 1m, 5m, 1h or 1d", excerpt(name));
            return Err(InputError::new(codes::INVALID_RETENTION, field, message));
        }
    }
    Ok(retention)
}

/// `90d` and the like, in micro-seconds: m, h, d, w, and y for 365 days.
fn parse_retention(text: &str, field: &str) -> Result<i64, SchemaError> {
    const MINUTE_US: i64 = 60_000_000;
    const DAY_US: i64 = 1_440 * MINUTE_US;
    let refused = || {
        let message = format!(
            "'{}' is not a retention: use a positive count with m, h, d, w or y, like '90d', or 'forever'",
            excerpt(text)
        );
        InputError::new(codes::INVALID_RETENTION, field, message)
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let count: i64 = text[..digits].parse().map_err(|_| refused())?;
    let unit_us = match &text[digits..] {
        "m" => MINUTE_US,
        "h" => 60 * MINUTE_US,
        "d" => DAY_US,
        "w" => 7 * DAY_US,
        "y" => 365 * DAY_US,
        _ => return Err(refused()),
    };
    let kept_us = count.checked_mul(unit_us).filter(|kept_us| *kept_us > 0).ok_or_else(refused)?;
    if kept_us > RETENTION_DAYS_MAX * DAY_US {
        let message =
            format!("a retention of '{text}' is over the limit of {RETENTION_DAYS_MAX} days; use 'forever'");
        return Err(InputError::new(codes::LIMIT_EXCEEDED, field, message));
    }
    Ok(kept_us)
}
