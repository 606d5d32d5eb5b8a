//! What a dataset's declared roll-ups keep: dimensions, measures and tiers, with all names resolved.
//!
//! Not here: how the rows become groups (`derive`), their bytes (`section`), and which question is answered from what (`query`).

mod key;

use std::sync::Arc;

use serde_json::json;
use tidewater_model::query::{Measure, MetricExpr};
use tidewater_model::schema::{ColumnRef, Dataset, Retention, Rollup, Tier};
use xxhash_rust::xxh3::xxh3_64;

pub use key::MeasureKey;

/// A declared roll-up: what its sections hold.
#[derive(Clone, Debug, PartialEq)]
pub struct RollupPlan {
    /// The declared name.
    pub name: Arc<str>,
    /// What rows are grouped by, next to the tier's bucket.
    pub dimensions: Vec<ColumnRef>,
    /// What is kept per group, each key once; the first is always [`MeasureKey::rows`].
    pub measures: Vec<MeasureKey>,
    /// Resolutions, finest first.
    pub tiers: Vec<RollupTier>,
}

/// A tier of a roll-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollupTier {
    /// Its resolution.
    pub tier: Tier,
    /// Whether it is kept longer than the raw rows, and so must be there when they go, whatever it costs.
    pub outlives_raw: bool,
}

/// The roll-ups of a dataset, in the order they are declared.
pub fn rollup_plans(dataset: &Dataset) -> Vec<RollupPlan> {
    dataset.rollups.iter().map(|rollup| plan(rollup, dataset)).collect()
}

/// Names everything that decides what is derived from a dataset's rows; two datasets of one value derive the same. 0 where nothing
/// is declared.
pub fn derived_for(dataset: &Dataset) -> u64 {
    let plans = rollup_plans(dataset);
    if plans.is_empty() {
        return 0;
    }
    let described: Vec<_> = plans
        .iter()
        .map(|plan| {
            let dimensions: Vec<_> = plan.dimensions.iter().map(|column| dataset.display(column)).collect();
            let measures: Vec<_> = plan.measures.iter().map(|measure| measure.text(dataset)).collect();
            let tiers: Vec<_> =
                plan.tiers.iter().map(|tier| json!([tier.tier.name(), tier.outlives_raw])).collect();
            json!([&*plan.name, dimensions, measures, tiers])
        })
        .collect();
    let text = json!([DERIVATION_VERSION, described]).to_string();
    xxh3_64(text.as_bytes()).max(1)
}

/// Counts up when the same declaration begins to derive something else, so that sidecars are made anew.
const DERIVATION_VERSION: u32 = 1;

fn plan(rollup: &Rollup, dataset: &Dataset) -> RollupPlan {
    let mut measures = vec![MeasureKey::rows()];
    let metrics = rollup.metrics.iter().filter_map(|name| dataset.metrics.get(name));
    for measure in metrics.flat_map(measures_of) {
        let (wanted, _) = MeasureKey::of(measure, dataset, false);
        match measures.iter_mut().find(|held| held.is_joined_with(&wanted)) {
            Some(held) => held.widen(&wanted),
            None => measures.push(wanted),
        }
    }
    let tiers = rollup
        .tiers
        .iter()
        .map(|tier| RollupTier { tier: *tier, outlives_raw: outlives_raw(*tier, &dataset.retention) });
    RollupPlan {
        name: Arc::clone(&rollup.name),
        dimensions: rollup.dimensions.clone(),
        measures,
        tiers: tiers.collect(),
    }
}

fn measures_of(metric: &MetricExpr) -> Vec<&Measure> {
    match metric {
        MetricExpr::Measure(measure) | MetricExpr::Rate(measure) => vec![measure],
        MetricExpr::Ratio { numerator, denominator } => vec![numerator, denominator],
    }
}

/// Whether a tier has a retention of its own that is longer than that of the raw rows.
pub fn outlives_raw(tier: Tier, retention: &Retention) -> bool {
    match (retention.raw_us, retention.tiers_us.get(&tier)) {
        (None, _) | (_, None) => false,
        (Some(_), Some(None)) => true,
        (Some(raw_us), Some(Some(tier_us))) => *tier_us > raw_us,
    }
}

#[cfg(test)]
mod tests {
    use tidewater_model::schema::DatasetDefinition;

    use super::*;

    fn dataset(rollups: &str, retention: &str) -> Dataset {
        let definition = format!(
            r#"{{"time": "ts", "columns": {{"user": "string", "status": "string", "cost": "money", "ms": "int"}},
                "metrics": {{
                    "n": {{"agg": "count"}},
                    "cost": {{"agg": "sum", "column": "cost"}},
                    "mean_cost": {{"agg": "avg", "column": "cost"}},
                    "p95": {{"agg": "p95", "column": "ms"}},
                    "p50": {{"agg": "p50", "column": "ms"}},
                    "errors": {{"agg": "count", "filters": [["is_not", "status", ["ok"]]]}},
                    "rate": {{"agg": "ratio", "numerator": "errors", "denominator": "n"}}
                }},
                "rollups": {rollups}, "retention": {retention}}}"#
        );
        let definition = DatasetDefinition::from_json(definition.as_bytes()).expect("a definition");
        Dataset::compile("calls", definition).expect("a dataset")
    }

    #[test]
    fn metrics_share_their_measures() {
        let dataset = dataset(r#"[{"name": "all", "dimensions": ["user"], "tiers": ["1h", "1d"]}]"#, "{}");
        let [plan] = &rollup_plans(&dataset)[..] else { panic!("one roll-up") };
        let texts: Vec<String> = plan.measures.iter().map(|measure| measure.text(&dataset)).collect();
        assert_eq!(
            texts,
            [
                r#"{"state":"count"}"#,
                r#"{"state":"int_mean","column":"cost"}"#,
                r#"{"state":"count","filter":["is_not","status",["ok"]]}"#,
                r#"{"state":"quantiles","column":"ms"}"#,
            ]
        );
        for (measure, text) in plan.measures.iter().zip(&texts) {
            assert_eq!(MeasureKey::parse(text, &dataset).as_ref(), Some(measure));
        }
        assert!(plan.tiers.iter().all(|tier| !tier.outlives_raw));
    }

    #[test]
    fn the_name_of_what_is_derived_changes_with_what_is_derived() {
        let base = dataset(r#"[{"name": "a", "dimensions": ["user"]}]"#, "{}");
        assert_eq!(derived_for(&dataset("[]", "{}")), 0);
        assert_eq!(derived_for(&base), derived_for(&base.clone()));
        let others = [
            (r#"[{"name": "a", "dimensions": ["status"]}]"#, "{}"),
            (r#"[{"name": "b", "dimensions": ["user"]}]"#, "{}"),
            (r#"[{"name": "a", "dimensions": ["user"], "metrics": ["n"]}]"#, "{}"),
            (r#"[{"name": "a", "dimensions": ["user"], "tiers": ["1h"]}]"#, "{}"),
            (r#"[{"name": "a", "dimensions": ["user"]}]"#, r#"{"raw": "7d", "1h": "90d"}"#),
        ];
        for (rollups, retention) in others {
            assert_ne!(
                derived_for(&dataset(rollups, retention)),
                derived_for(&base),
                "{rollups} {retention}"
            );
        }
        // A retention that does not outlive raw changes nothing of what is derived.
        let short = dataset(r#"[{"name": "a", "dimensions": ["user"]}]"#, r#"{"raw": "7d", "1h": "1d"}"#);
        assert_eq!(derived_for(&short), derived_for(&base));
    }

    #[test]
    fn tiers_outlive_raw_rows_by_their_own_retention() {
        let of = |raw_us, tier: Option<Option<i64>>| Retention {
            raw_us,
            tiers_us: tier.map(|kept| (Tier::Hour, kept)).into_iter().collect(),
        };
        for (retention, expected) in [
            (of(None, None), false),
            (of(None, Some(None)), false),
            (of(Some(7), None), false),
            (of(Some(7), Some(Some(7))), false),
            (of(Some(7), Some(Some(8))), true),
            (of(Some(7), Some(None)), true),
        ] {
            assert_eq!(outlives_raw(Tier::Hour, &retention), expected, "{retention:?}");
        }
    }
}
