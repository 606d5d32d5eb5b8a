//! Deleting rows: one tombstone, durable and seen by every answer before the reply is sent.

use tidewater_model::input_error::{InputError, codes};
use tidewater_model::names::ProjectName;
use tidewater_model::query::DateRange;
use tidewater_model::time::{RangeSpec, RangeWord};
use tidewater_query::{Cell, Control};
use tidewater_store::Delete;
use tokio::sync::oneshot;

use crate::admission::Errand;
use crate::engine::Engine;
use crate::error::{EngineError, EngineResult};
use crate::jobs::{Job, Jobs};
use crate::rows::RowFilter;

impl Engine {
    /// Deletes a project's rows that match. Without a range it means all times; without range and filters it is refused, since
    /// that is more likely a mistake than a wish.
    pub async fn delete_rows(&self, mut rows: RowFilter, project: ProjectName) -> EngineResult<Job> {
        let created_at = self.now();
        if rows.date_range.is_none() && rows.filters.is_empty() {
            let message = "a delete needs 'filters' or a 'date_range'; \"date_range\": \"all\" deletes every row of the project";
            return Err(InputError::new(codes::MISSING_FIELD, "filters", message).into());
        }
        rows.date_range.get_or_insert(DateRange::Spec(RangeSpec::Word(RangeWord::All)));
        let snapshot = self.store.snapshot();
        let view = self.view(&snapshot, &rows.dataset)?;
        let query = self.resolve(&rows.count()?, &project, &view)?;
        let (dataset, range, filter) = (view.id, query.range, query.filter.clone());
        let kept = view.clone();
        let engine = self.clone();
        let count = move |control: &Control| {
            let answer = engine.executor.execute(&query, &view, control)?;
            let first = answer.page(0, 1).iter().next();
            Ok(match first.and_then(|row| row.metrics.into_iter().next()) {
                Some(Cell::Int(count)) => u64::try_from(count).unwrap_or(0),
                _ => 0,
            })
        };
        let matched = self.run(Errand::one(&project, &rows.dataset), count).await?;
        let (done, receipt) = oneshot::channel();
        let to_us = range.to.map_or(i64::MAX, |to| to.0);
        let reply = Box::new(move |result| {
            // The receiver is gone when the client left; the delete happens all the same.
            let _ = done.send(result);
        });
        let from_us = range.from.0;
        let sums_kept = kept.sums_kept(&project, &filter, from_us, to_us);
        self.store.delete(Delete { dataset, project: project.clone(), from_us, to_us, filter, done: reply });
        let receipt = receipt.await.map_err(|_| EngineError::ShuttingDown)??;
        self.answers.changed();
        self.cursors.deleted(project.clone(), rows.dataset.clone(), receipt.version);
        let job = Job {
            id: Jobs::next_id(created_at)?,
            kind: "delete_rows".to_owned(),
            status: "done".to_owned(),
            project: project.to_string(),
            dataset: Some(rows.dataset),
            rows: matched,
            sums_kept,
            version: Some(receipt.version.to_string()),
            created_at,
            finished_at: Some(self.now()),
        };
        let kept = job.clone();
        self.blocking(move |engine| engine.jobs.put(&kept)).await?;
        Ok(job)
    }
}
