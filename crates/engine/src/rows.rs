//! Raw rows by time. Cursors carry their place themselves (time, record, place in the record) and the version of the first
//! page, so they need no memory and live as long as the rows.

use std::time::Instant;

use serde_json::Value;
use tidewater_model::input_error::{InputError, codes};
use tidewater_model::names::ProjectName;
use tidewater_model::query::{Bounds, DateRange, MetricInput, QueryRequest};
use tidewater_model::schema::{ColumnRef, Dataset, DatasetId};
use tidewater_query::{Cell, Control, ROWS_PAGE_MAX, RowKey, RowsQuery};
use tidewater_store::{Lsn, Version};

use crate::admission::Errand;
use crate::engine::Engine;
use crate::error::{EngineError, EngineResult};
use crate::token;

/// Rows of a page where the request names no limit.
const LIMIT_DEFAULT: u32 = 100;

/// Which rows: the part that `/rows` and `/rows/delete` share with questions.
#[derive(Clone, Debug, Default)]
pub struct RowFilter {
    /// Name of the dataset.
    pub dataset: String,
    /// Absent: the last 24 hours for `/rows`.
    pub date_range: Option<DateRange>,
    /// IANA name; absent: UTC.
    pub timezone: Option<String>,
    /// All must hold, as JSON.
    pub filters: Vec<Value>,
    /// What the caller is bound to.
    pub bounds: Bounds,
}

/// A page of rows as asked.
#[derive(Clone, Debug, Default)]
pub struct RowsRequest {
    /// Which rows.
    pub rows: RowFilter,
    /// Columns or map keys; absent: all columns.
    pub columns: Option<Vec<String>>,
    /// Oldest first.
    pub is_ascending: bool,
    /// Rows of the page.
    pub limit: Option<u32>,
    /// Continues an earlier page.
    pub cursor: Option<String>,
    /// Only rows that came after this version.
    pub since: Option<String>,
}

/// A page of rows.
#[derive(Clone, Debug)]
pub struct RowsReply {
    /// Names of the cells.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
    /// Continues this page; `None` at the end.
    pub next_cursor: Option<String>,
    /// The state the first page was read from.
    pub version: Version,
    /// Rows read.
    pub rows_scanned: u64,
    /// From the request's arrival to the answer, in milli-seconds.
    pub elapsed_ms: f64,
}

impl RowFilter {
    /// The question "how many are they", which resolves range, zone and filters.
    pub(crate) fn count(&self) -> EngineResult<QueryRequest> {
        let count = serde_json::json!({"agg": "count"});
        Ok(QueryRequest {
            dataset: self.dataset.clone(),
            date_range: self.date_range.clone(),
            timezone: self.timezone.clone(),
            filters: self.filters.clone(),
            bounds: self.bounds.clone(),
            metrics: vec![MetricInput::from_json(&count, "metrics[0]")?],
            ..QueryRequest::default()
        })
    }
}

impl Engine {
    /// Reads a page of a project's rows.
    pub async fn rows(&self, request: RowsRequest, project: ProjectName) -> EngineResult<RowsReply> {
        let started = Instant::now();
        let snapshot = self.store.snapshot();
        let view = self.view(&snapshot, &request.rows.dataset)?;
        let version = snapshot.data_version(&project, view.id);
        let binding = binding(&request, &project, (version, view.id));
        let since = request.since.as_deref().map(|text| self.parse_version(text, "since")).transpose()?;
        let place = request.cursor.as_deref().map(|text| Place::read(text, binding)).transpose()?;
        let resolved = self.resolve(&request.rows.count()?, &project, &view)?;
        let columns = columns(&request, &view.dataset)?;
        let names = columns.iter().map(|column| view.dataset.display(column)).collect();
        // Later pages end where the first did: rows that came since belong to a new question. A word's start may have moved on
        // since the first page, so the pinned start counts too.
        let until = place.as_ref().map_or(version.lsn, |place| place.until);
        let from = place.as_ref().map_or(resolved.range.from, |place| place.from);
        let query = RowsQuery {
            dataset: view.dataset.clone(),
            project: project.clone(),
            from,
            to: resolved.range.to,
            filter: resolved.filter,
            columns,
            descending: !request.is_ascending,
            limit: limit(request.limit)?,
            after: place.map(|place| place.after),
            until: Some(until),
            since,
        };
        let engine = self.clone();
        // The rows up to a version are in every later state too, so none is held while it waits.
        let id = view.id;
        drop((view, snapshot));
        let dataset = request.rows.dataset.clone();
        let task = move |control: &Control| {
            let view = engine.view(&engine.store.snapshot(), &dataset)?;
            if view.id != id {
                // Dropped meanwhile; what has its name now has other columns.
                return Err(engine.unknown_dataset(&dataset));
            }
            Ok(engine.executor.rows(&query, &view, control)?)
        };
        let page = self.run(Errand::one(&project, &request.rows.dataset), task).await?;
        Ok(RowsReply {
            columns: names,
            rows: page.rows,
            next_cursor: page.next.map(|after| Place { after, until, from }.token(binding)),
            version: Version { lsn: until, ..version },
            rows_scanned: page.rows_scanned,
            elapsed_ms: started.elapsed().as_secs_f64() * 1e3,
        })
    }
}

fn limit(asked: Option<u32>) -> EngineResult<u32> {
    match asked.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=ROWS_PAGE_MAX => Ok(limit),
        limit => {
            let message = format!(
                "a limit of {limit} rows is out of range: use 1 to {ROWS_PAGE_MAX}, and the cursor for more"
            );
            Err(InputError::new(codes::LIMIT_EXCEEDED, "limit", message).into())
        }
    }
}

fn columns(request: &RowsRequest, dataset: &Dataset) -> EngineResult<Vec<ColumnRef>> {
    let Some(names) = &request.columns else {
        let all = 0..dataset.columns.len() as u16;
        return Ok(all.map(|id| ColumnRef::column(tidewater_model::schema::ColumnId(id))).collect());
    };
    let resolved = names.iter().enumerate().map(|(index, name)| {
        dataset
            .resolve_column(name)
            .map_err(|error| InputError { field: Some(format!("columns[{index}]")), ..error }.into())
    });
    resolved.collect()
}

/// Where a page ended.
struct Place {
    after: RowKey,
    until: Lsn,
    from: tidewater_model::time::Timestamp,
}

impl Place {
    fn token(&self, binding: u64) -> String {
        let RowKey { time_us, lsn, position } = self.after;
        token::encode([
            time_us as u64,
            lsn.0 as u64,
            position as u64,
            self.until.0 as u64,
            self.from.0 as u64,
            binding,
        ])
    }

    fn read(text: &str, binding: u64) -> EngineResult<Self> {
        match token::decode::<6>(text) {
            Some([time_us, lsn, position, until, from, bound]) if bound == binding => Ok(Place {
                after: RowKey { time_us: time_us as i64, lsn: Lsn(lsn as i64), position: position as i32 },
                until: Lsn(until as i64),
                from: tidewater_model::time::Timestamp(from as i64),
            }),
            _ => Err(EngineError::InvalidCursor),
        }
    }
}

/// What a cursor is bound to: store, dataset, project, and everything that decides which rows there are and in which order.
fn binding(request: &RowsRequest, project: &ProjectName, (version, dataset): (Version, DatasetId)) -> u64 {
    let RowsRequest { rows, is_ascending, since, .. } = request;
    // The name alone may be that of another dataset by now.
    let store = format!("{:016x} {}", version.store.0, dataset.0);
    token::bind(&[&store, project.as_str(), &format!("{rows:?}{is_ascending}{since:?}")])
}
