//! Shapes of requests and replies for the OpenAPI document. The readers and writers of these shapes are by hand (for speed and
//! for better error messages), so these types are never built: they only describe.
#![expect(dead_code, reason = "the types describe JSON that is read and written by hand")]

mod rollups;

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

pub use rollups::{AdviceList, RollupList};

/// Any JSON object.
#[derive(ToSchema)]
pub struct AnyObject(BTreeMap<String, Value>);

/// RFC 9457.
#[derive(ToSchema)]
pub struct Problem {
    /// `urn:tidewater:problem:CODE`
    r#type: String,
    title: String,
    status: u16,
    /// What was wrong with which value, and what would be right.
    detail: String,
    /// A stable word.
    #[schema(example = "unknown_column")]
    code: String,
    /// Where in the request it stands.
    field: Option<String>,
    request_id: String,
}

/// One row, or an array of rows: an object of columns.
#[derive(ToSchema)]
pub struct Row(BTreeMap<String, Value>);

/// What became of the rows of one request.
#[derive(ToSchema)]
pub struct IngestReply {
    accepted: u64,
    rejected: u64,
    duplicates: u64,
    /// Values dropped by `unknown=ignore`.
    ignored: Option<u64>,
    /// The first 20.
    errors: Vec<RowFault>,
    /// For `min_version`.
    version: String,
}

/// Why a row was refused.
#[derive(ToSchema)]
pub struct RowFault {
    index: u32,
    field: Option<String>,
    #[schema(example = "invalid_type")]
    code: String,
    message: String,
}

/// The latest refused rows.
#[derive(ToSchema)]
pub struct RejectList {
    rejects: Vec<Reject>,
}

/// A refused row.
#[derive(ToSchema)]
pub struct Reject {
    at: String,
    project: String,
    dataset: String,
    index: u64,
    field: Option<String>,
    code: String,
    message: Option<String>,
    row: Option<String>,
}

/// A question.
#[derive(ToSchema)]
pub struct Question {
    dataset: String,
    /// Alias `site_id`.
    project: Option<String>,
    /// A word like `7d`, or `[from, to]`.
    date_range: Option<Value>,
    #[schema(example = "Asia/Kolkata")]
    timezone: Option<String>,
    /// Names, or objects like `{"agg": "p95", "column": "added", "as": "p95"}`.
    metrics: Vec<Value>,
    #[schema(example = json!(["time:hour", "channel"]))]
    dimensions: Option<Vec<String>>,
    #[schema(example = json!([["is", "channel", ["#en"]]]))]
    filters: Option<Vec<Value>>,
    #[schema(example = json!([["gt", "edits", 10]]))]
    having: Option<Vec<Value>>,
    #[schema(example = json!([["edits", "desc"]]))]
    order_by: Option<Vec<Vec<String>>>,
    pagination: Option<Pagination>,
    /// One more row after the page: all groups that are neither on it nor before it, merged. Also `include.others`.
    others: Option<bool>,
    include: Option<Include>,
    /// `previous_period`, `year_over_year`, or a range.
    compare: Option<Value>,
    /// `rows` or `objects`.
    format: Option<String>,
    /// `number` or `string`.
    numbers: Option<String>,
    exact: Option<bool>,
    max_points: Option<u32>,
    max_staleness_ms: Option<u64>,
    min_version: Option<String>,
}

/// Which page.
#[derive(ToSchema)]
pub struct Pagination {
    #[schema(minimum = 1, maximum = 10000, default = 1000)]
    limit: Option<u32>,
    cursor: Option<String>,
    offset: Option<u64>,
}

/// Extras of an answer.
#[derive(ToSchema)]
pub struct Include {
    totals: Option<bool>,
    total_rows: Option<bool>,
    fill: Option<bool>,
    explain: Option<bool>,
    partial: Option<bool>,
    others: Option<bool>,
}

/// An answer.
#[derive(ToSchema)]
pub struct Answer {
    results: Vec<AnswerRow>,
    /// One value per metric.
    totals: Option<Vec<Value>>,
    comparison: Option<Vec<AnswerRow>>,
    meta: Meta,
    /// The request with defaults filled in and the range resolved.
    query: BTreeMap<String, Value>,
}

/// A row of an answer.
#[derive(ToSchema)]
pub struct AnswerRow {
    dimensions: Vec<Value>,
    metrics: Vec<Value>,
    /// Only there, and true, in the row of all groups past the page.
    others: Option<bool>,
}

/// How an answer came about.
#[derive(ToSchema)]
pub struct Meta {
    version: String,
    as_of: String,
    total_rows: Option<u64>,
    next_cursor: Option<String>,
    exact: Vec<bool>,
    relative_error: Vec<f64>,
    source: String,
    rows_scanned: u64,
    bytes_scanned: u64,
    elapsed_ms: f64,
    covered_from: Option<String>,
    explain: Option<BTreeMap<String, Value>>,
}

/// Several questions.
#[derive(ToSchema)]
pub struct Batch {
    /// At most 50.
    queries: Vec<Question>,
}

/// One entry per question: an answer or a problem.
#[derive(ToSchema)]
pub struct BatchAnswer {
    answers: Vec<Value>,
}

/// A page of rows as asked.
#[derive(ToSchema)]
pub struct RowsQuestion {
    dataset: String,
    project: Option<String>,
    date_range: Option<Value>,
    timezone: Option<String>,
    #[schema(nullable = false)]
    filters: Option<Vec<Value>>,
    #[schema(nullable = false)]
    columns: Option<Vec<String>>,
    /// `desc` (default) or `asc`, by time.
    order: Option<String>,
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    cursor: Option<String>,
    /// Only rows that came after this version.
    since: Option<String>,
    numbers: Option<String>,
}

/// A page of rows.
#[derive(ToSchema)]
pub struct RowsAnswer {
    rows: Vec<BTreeMap<String, Value>>,
    meta: RowsMeta,
}

/// Where a page stands.
#[derive(ToSchema)]
pub struct RowsMeta {
    next_cursor: Option<String>,
    version: String,
    rows_scanned: u64,
    elapsed_ms: f64,
}

/// Which rows to delete.
#[derive(ToSchema)]
pub struct RowsDelete {
    dataset: String,
    project: Option<String>,
    /// Absent: all times.
    date_range: Option<Value>,
    timezone: Option<String>,
    #[schema(nullable = false)]
    filters: Option<Vec<Value>>,
}

/// A job.
#[derive(ToSchema)]
pub struct JobReply {
    job: Job,
}

/// What an administrator started.
#[derive(ToSchema)]
pub struct Job {
    id: String,
    kind: String,
    /// `running` or `done`.
    status: String,
    project: String,
    /// Null for all.
    dataset: Option<String>,
    /// Rows that matched just before.
    deleted: u64,
    /// Roll-ups of expired rows, as "roll-up/tier", whose sums still count what was deleted: they do not tell those rows apart, and
    /// name nobody.
    sums_kept: Vec<String>,
    /// From which on the rows are gone.
    version: Option<String>,
    created_at: String,
    finished_at: Option<String>,
}

/// A dataset's definition.
#[derive(ToSchema)]
pub struct Definition {
    #[schema(example = "ts")]
    time: Option<String>,
    id: Option<String>,
    sort: Option<Vec<String>>,
    #[schema(example = json!({"channel": "string", "added": "int"}), nullable = false)]
    columns: Option<BTreeMap<String, String>>,
    #[schema(example = json!({"edits": {"agg": "count"}}), nullable = false)]
    metrics: Option<BTreeMap<String, Value>>,
    #[schema(nullable = false)]
    rollups: Option<Vec<Value>>,
    #[schema(example = json!({"raw": "90d"}), nullable = false)]
    retention: Option<BTreeMap<String, Value>>,
}

/// A dataset.
#[derive(ToSchema)]
pub struct Dataset {
    name: String,
    /// Rows the caller can see; in lists.
    rows: Option<u64>,
    #[schema(inline)]
    #[serde(flatten)]
    definition: Definition,
}

/// Every dataset.
#[derive(ToSchema)]
pub struct DatasetList {
    datasets: Vec<Dataset>,
}

/// A project to create.
#[derive(ToSchema)]
pub struct NewProject {
    /// `[a-z0-9_-]{1,64}`; it never changes.
    name: String,
    /// For people.
    #[schema(required = false)]
    title: Option<String>,
}

/// What changes of a project.
#[derive(ToSchema)]
pub struct ProjectChange {
    /// Null for none.
    title: Option<String>,
}

/// A project.
#[derive(ToSchema)]
pub struct Project {
    name: String,
    /// For people.
    title: Option<String>,
    /// When it was created; null where it came with its first rows.
    created_at: Option<String>,
    /// `active` or `deleting`.
    state: String,
    /// The job that deletes it.
    job: Option<String>,
}

/// Projects.
#[derive(ToSchema)]
pub struct ProjectList {
    /// Names.
    projects: Vec<String>,
    /// The same with what is known of them.
    details: Vec<Project>,
}

/// A key to make.
#[derive(ToSchema)]
pub struct NewKey {
    name: String,
    /// Null: all projects.
    project: Option<String>,
    /// Of `ingest`, `query`, `admin`.
    scopes: Vec<String>,
    expires_at: Option<String>,
    /// `developer`, `viewer` or `billing`, for a key that may not administer: less than its scopes give.
    #[schema(required = false)]
    role: Option<String>,
    /// Row scope: filters that all questions of a key with the one scope `query` are bound to.
    #[schema(required = false)]
    filters: Vec<Value>,
    /// Whether it may stand in a web page: needs `origins`, the one scope `ingest` and a project.
    #[schema(required = false)]
    publishable: bool,
    /// Web origins like `https://example.org`.
    #[schema(required = false)]
    origins: Vec<String>,
}

/// How a key's secret is replaced.
#[derive(ToSchema)]
pub struct Rotation {
    /// How long the secret before stays good, in seconds. Default 0.
    #[schema(required = false)]
    grace_s: u64,
}

/// A key without its secret.
#[derive(ToSchema)]
pub struct Key {
    id: String,
    name: String,
    project: Option<String>,
    scopes: Vec<String>,
    /// `admin`, `developer`, `viewer` or `billing`.
    role: String,
    filters: Vec<Value>,
    publishable: bool,
    origins: Vec<String>,
    created_at: String,
    expires_at: Option<String>,
    /// When its secret was last replaced.
    rotated_at: Option<String>,
    /// To the second.
    last_used_at: Option<String>,
    /// Until when the secret before this one is good.
    replaced_secret_until: Option<String>,
}

/// A key that was just made or rotated.
#[derive(ToSchema)]
pub struct CreatedKey {
    id: String,
    /// Shown here and nowhere else.
    key: String,
    name: String,
    project: Option<String>,
    scopes: Vec<String>,
    role: String,
    filters: Vec<Value>,
    publishable: bool,
    origins: Vec<String>,
    created_at: String,
    expires_at: Option<String>,
    rotated_at: Option<String>,
}

/// Every key.
#[derive(ToSchema)]
pub struct KeyList {
    keys: Vec<Key>,
}

/// Running questions.
#[derive(ToSchema)]
pub struct RunningList {
    queries: Vec<Running>,
}

/// A running question.
#[derive(ToSchema)]
pub struct Running {
    id: String,
    project: String,
    dataset: String,
    started_at: String,
    elapsed_ms: f64,
}

/// A finished backup.
#[derive(ToSchema)]
pub struct Backup {
    /// Of the folder in the configured backup folder.
    name: String,
    /// The same folder on the server's machine.
    path: String,
    created_at: String,
    elapsed_ms: f64,
}

/// What a check of all files found.
#[derive(ToSchema)]
pub struct Verification {
    ok: bool,
    segments: u64,
    rows: u64,
    /// Files with roll-ups that were read, and compared with the rows they were derived from.
    rollup_files: u64,
    /// How many; the log says which.
    problems: u64,
}

/// The server in a few figures.
#[derive(ToSchema)]
pub struct Status {
    version: String,
    memtable_rows: u64,
    memtable_bytes: u64,
    segments: u64,
    segment_bytes: u64,
    log_bytes: u64,
    compaction_pending: bool,
    running_queries: u64,
}

/// The state of the server's parts.
#[derive(ToSchema)]
pub struct Health {
    /// `live`, `ready` or `not_ready`.
    status: String,
    version: Option<String>,
    parts: Option<BTreeMap<String, Value>>,
}
