//! A candidate as the definition a user pastes: a roll-up, and the metrics it needs that the dataset does not have yet.

use std::collections::BTreeSet;

use tidewater_model::filter::{Filter, to_json};
use tidewater_model::query::{Measure, MetricDefinition, MetricExpr};
use tidewater_model::schema::{Dataset, DatasetDefinition, Entries, RollupDefinition, Tier};

use super::candidates::Candidate;
use super::need::{is_implicit, provides};

/// The longest name that is made up; definitions allow 64 bytes.
const NAME_BYTES_MAX: usize = 48;

/// For `PUT /api/v1/datasets/NAME`. A roll-up with the same columns is widened instead of doubled.
pub(crate) fn definition(
    dataset: &Dataset,
    candidate: &Candidate,
    tiers: &BTreeSet<Tier>,
) -> DatasetDefinition {
    let mut added = Entries::default();
    let mut metrics: Vec<String> = Vec::new();
    let mut tiers = tiers.clone();
    let same_columns = dataset
        .rollups
        .iter()
        .find(|rollup| rollup.dimensions.iter().cloned().collect::<BTreeSet<_>>() == candidate.dimensions);
    if let Some(known) = same_columns {
        metrics.extend(known.metrics.iter().map(ToString::to_string));
        tiers.extend(&known.tiers);
    }
    for measure in &candidate.measures {
        let name = match metric_for(dataset, measure) {
            Some(name) => name,
            None if is_implicit(measure) => continue,
            None => {
                let name = free_name(metric_name(dataset, measure), |name| {
                    dataset.metrics.contains_key(name) || added.get(name).is_some()
                });
                added.set(&name, metric(dataset, measure));
                name
            }
        };
        if !metrics.contains(&name) {
            metrics.push(name);
        }
    }
    let rollup = RollupDefinition {
        name: same_columns.map_or_else(|| rollup_name(dataset, candidate), |known| known.name.to_string()),
        dimensions: candidate.dimensions.iter().map(|column| dataset.display(column)).collect(),
        metrics: Some(metrics),
        tiers: Some(tiers.iter().map(|tier| tier.name().to_owned()).collect()),
    };
    DatasetDefinition { metrics: added, rollups: vec![rollup], ..DatasetDefinition::default() }
}

/// A metric of the dataset that keeps what the measure needs; one that keeps nothing else first.
fn metric_for(dataset: &Dataset, wanted: &Measure) -> Option<String> {
    let alone = dataset
        .metrics
        .iter()
        .find(|(_, expr)| matches!(expr, MetricExpr::Measure(held) if provides(held, wanted)));
    let among =
        || dataset.metrics.iter().find(|(_, expr)| expr.measures().any(|held| provides(held, wanted)));
    alone.or_else(among).map(|(name, _)| name.to_string())
}

fn metric(dataset: &Dataset, measure: &Measure) -> MetricDefinition {
    let filters = match &measure.filter {
        Filter::And(parts) => parts.iter().map(|part| to_json(part, dataset)).collect(),
        other => vec![to_json(other, dataset)],
    };
    MetricDefinition {
        agg: measure.function.name(),
        column: measure.column.as_ref().map(|column| dataset.display(column)),
        filters,
        numerator: None,
        denominator: None,
        cost: false,
        name: None,
    }
}

fn metric_name(dataset: &Dataset, measure: &Measure) -> String {
    let column = measure.column.as_ref().map_or_else(|| "rows".to_owned(), |column| dataset.display(column));
    let suffix = if measure.filter.is_all() { "" } else { "_where" };
    identifier(&format!("{}_{column}{suffix}", measure.function.name()))
}

fn rollup_name(dataset: &Dataset, candidate: &Candidate) -> String {
    let columns: Vec<String> = candidate.dimensions.iter().map(|column| dataset.display(column)).collect();
    let name = if columns.is_empty() { "totals".to_owned() } else { identifier(&columns.join("_")) };
    free_name(name, |name| dataset.rollups.iter().any(|rollup| &*rollup.name == name))
}

/// With what identifiers may not hold replaced, and short enough for a number behind it.
fn identifier(text: &str) -> String {
    let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    let name: String = text.chars().map(plain).take(NAME_BYTES_MAX).collect();
    let name = name.trim_start_matches('_');
    if name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        name.to_owned()
    } else {
        format!("by_{name}")
    }
}

fn free_name(name: String, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(&name) {
        return name;
    }
    let mut numbered = (2u32..).map(|number| format!("{name}_{number}"));
    numbered.find(|name| !is_taken(name)).expect("a dataset has fewer names than there are numbers")
}
