//! What the planner decides by: a question and a unit as plain data.

use std::sync::Arc;

use tidewater_aggregate::MeasureKey;
use tidewater_model::filter::Filter;
use tidewater_model::schema::{ColumnRef, Dataset, Retention, Tier};
use tidewater_model::time::BucketGrid;

/// A measure of a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Its expression.
    pub key: MeasureKey,
    /// Sections hold no state that serves it: exact percentiles and exact distinct counts.
    pub raw_only: bool,
}

/// One pass of a question over one range.
#[derive(Clone, Debug)]
pub struct Question {
    /// The first instant, micro-seconds.
    pub from_us: i64,
    /// The first instant after it; `i64::MAX` for none.
    pub to_us: i64,
    /// The time buckets; `None` where the whole range is one. They hold every row of the range.
    pub grid: Option<Arc<BucketGrid>>,
    /// Columns grouped by, the time aside.
    pub dimensions: Vec<ColumnRef>,
    /// The question's own filter.
    pub filter: Filter,
    /// At least one.
    pub measures: Vec<Wanted>,
}

/// What is known of a unit and one project.
#[derive(Clone, Debug)]
pub struct UnitFacts {
    /// No row of the project lies before this instant; micro-seconds.
    pub min_us: i64,
    /// No row of the project lies after it.
    pub max_us: i64,
    /// Its rows as they were sent; `None` for history.
    pub raw: Option<RawFacts>,
    /// What its sidecar holds of the project.
    pub sections: Vec<SectionFacts>,
    /// A delete may still hide raw rows that the sections count, so these are not used. Never for history, where deletes are
    /// applied to the sections' own rows.
    pub has_pending_tombstone: bool,
}

/// The project's raw rows in a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFacts {
    /// How many.
    pub rows: u64,
    /// Whether they lie in memory, so that nothing is opened or decoded.
    pub in_memory: bool,
}

/// One roll-up at one tier over one unit's rows of the project.
#[derive(Clone, Debug)]
pub struct SectionFacts {
    /// What its rows are. Units of one dataset share it: how it serves a question is decided once per `Arc`.
    pub schema: Arc<SectionSchema>,
    /// Rows of the project.
    pub rows: u64,
}

/// What the rows of a section are.
#[derive(Clone, Debug, PartialEq)]
pub struct SectionSchema {
    /// Name of the roll-up.
    pub rollup: Arc<str>,
    /// Its resolution.
    pub tier: Tier,
    /// What its rows are grouped by, the time aside.
    pub dimensions: Vec<ColumnRef>,
    /// What its rows hold; `None` where that is not known here, as after a column's type was given another meaning.
    pub measures: Vec<Option<MeasureKey>>,
}

impl SectionSchema {
    /// Reads what a section says of itself: names of dimensions, texts of measure keys. `None` where a dimension is not known
    /// here, since its rows cannot be told apart then.
    pub fn resolve(
        dataset: &Dataset,
        rollup: &Arc<str>,
        tier: Tier,
        dimensions: &[String],
        measures: &[String],
    ) -> Option<Self> {
        let dimensions: Option<Vec<ColumnRef>> =
            dimensions.iter().map(|name| dataset.resolve_column(name).ok()).collect();
        Some(SectionSchema {
            rollup: Arc::clone(rollup),
            tier,
            dimensions: dimensions?,
            measures: measures.iter().map(|text| MeasureKey::parse(text, dataset)).collect(),
        })
    }

    /// The sections that a dataset's declared roll-ups yield.
    pub fn declared(dataset: &Dataset) -> Vec<Self> {
        let plans = tidewater_aggregate::rollup_plans(dataset);
        let schemas = plans.iter().flat_map(|plan| {
            plan.tiers.iter().map(|tier| SectionSchema {
                rollup: Arc::clone(&plan.name),
                tier: tier.tier,
                dimensions: plan.dimensions.clone(),
                measures: plan.measures.iter().cloned().map(Some).collect(),
            })
        });
        schemas.collect()
    }
}

/// How old rows may be at each resolution, as instants. Older ones count as gone whether or not their file is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// The first instant whose raw rows are kept; `i64::MIN` for all.
    pub raw_us: i64,
    /// The same per tier, in the order of [`Tier::ALL`].
    tiers_us: [i64; Tier::ALL.len()],
}

impl Ages {
    /// The ages at `now`. A tier without a retention of its own has that of raw rows.
    pub fn new(retention: &Retention, now_us: i64) -> Self {
        let oldest = |kept: Option<i64>| kept.map_or(i64::MIN, |kept| now_us.saturating_sub(kept));
        let tier = |tier| oldest(retention.tiers_us.get(&tier).copied().unwrap_or(retention.raw_us));
        Ages { raw_us: oldest(retention.raw_us), tiers_us: Tier::ALL.map(tier) }
    }

    /// The first instant that is kept at a tier.
    pub fn tier_us(&self, tier: Tier) -> i64 {
        self.tiers_us[tier as usize]
    }
}
