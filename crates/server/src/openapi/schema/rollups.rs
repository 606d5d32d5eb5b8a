//! Shapes of what is said about roll-ups: advice, and how far they are built.

use utoipa::ToSchema;

use super::AnyObject;

/// What the recorded questions say about roll-ups.
#[derive(ToSchema)]
pub struct AdviceList {
    datasets: Vec<Advice>,
}

/// Advice about one dataset.
#[derive(ToSchema)]
pub struct Advice {
    dataset: String,
    /// When the oldest recorded question was first asked; null where there is none.
    recorded_since: Option<String>,
    /// Kinds of questions: those that differ only in range, order or page count once.
    questions: u64,
    /// Time their computations spent on raw rows.
    raw_ms: f64,
    /// The part of it in questions that a declared roll-up covers.
    covered_raw_ms: f64,
    raw_rows: u64,
    raw_bytes: u64,
    /// Those that save the most time first.
    suggestions: Vec<AdvisedRollup>,
    /// Would serve questions, but be nearly as large as the raw rows.
    not_paying: Vec<AdvisedRollup>,
    unused: Vec<UnusedRollup>,
    /// Declared tiers that no segment keeps, since they would take too large a part of its bytes.
    tiers_not_paying: Vec<UnpaidTier>,
    unserved: Vec<UnservedQuestions>,
}

/// A roll-up that could be declared.
#[derive(ToSchema)]
pub struct AdvisedRollup {
    /// For `PUT /api/v1/datasets/{name}`.
    definition: AnyObject,
    /// Whether a declared roll-up is widened.
    widens: bool,
    serves: AdvisedUse,
    estimate: RollupEstimate,
    examples: Vec<RecordedQuestion>,
}

/// What a roll-up would have served.
#[derive(ToSchema)]
pub struct AdvisedUse {
    questions: u64,
    asked: u64,
    raw_ms: f64,
    /// Of the time that all recorded questions of the dataset spent on raw rows.
    raw_share: f64,
}

/// How large a roll-up would be: an estimate from a sample of one project's newest rows.
#[derive(ToSchema)]
pub struct RollupEstimate {
    sampled_project: Option<String>,
    tiers: Vec<TierEstimate>,
}

/// How large one tier would be.
#[derive(ToSchema)]
pub struct TierEstimate {
    tier: String,
    rows: u64,
    bytes: u64,
    rows_share: f64,
    /// Null while no raw rows are in files.
    bytes_share: Option<f64>,
    /// Whether it would be stored.
    pays: bool,
    sample_rows: u64,
    sample_groups: u64,
}

/// A question as recorded.
#[derive(ToSchema)]
pub struct RecordedQuestion {
    project: String,
    question: AnyObject,
    asked: u64,
    raw_ms: f64,
    last_asked: String,
}

/// A declared roll-up that took part in no answer.
#[derive(ToSchema)]
pub struct UnusedRollup {
    rollup: String,
    since: String,
}

/// A declared tier that is not stored.
#[derive(ToSchema)]
pub struct UnpaidTier {
    rollup: String,
    tier: String,
}

/// Questions that no roll-up can serve.
#[derive(ToSchema)]
pub struct UnservedQuestions {
    /// `exact`, `filters_by_time` or `filters_by_map`.
    reason: String,
    questions: u64,
    raw_ms: f64,
}

/// Every tier of every declared roll-up.
#[derive(ToSchema)]
pub struct RollupList {
    rollups: Vec<RollupTier>,
}

/// How far a roll-up is built at one tier, and what it takes.
#[derive(ToSchema)]
pub struct RollupTier {
    dataset: String,
    rollup: String,
    tier: String,
    /// `building`, `stored`, `partly` (where it pays) or `not_paying`.
    state: String,
    segments_built: u64,
    segments_total: u64,
    /// Segments that do not keep it, since it would take too large a part of their bytes.
    segments_not_paying: u64,
    rows: u64,
    bytes: u64,
    /// Of all segments of the dataset.
    raw_bytes: u64,
    raw_share: Option<f64>,
    watched_since: Option<String>,
    last_used: Option<String>,
}
