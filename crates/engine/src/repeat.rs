//! Answers behind cursors that can be made again, and making them again.
//!
//! A cursor goes on with the answer of its first page. Few cursors are ever used, and ten answers a second of a hundred thousand rows each
//! fit neither into memory nor onto disk for a minute; the rows they were made of are there anyway. Not here: which answers
//! are kept (`cursors`).

use std::sync::Arc;

use tidewater_model::query::Query;
use tidewater_model::time::ResolvedRange;
use tidewater_query::Control;
use tidewater_store::{DatasetView, Unit};

use crate::admission::Errand;
use crate::cursors::Pinned;
use crate::engine::Engine;
use crate::error::{EngineError, EngineResult};
use crate::page::PageRows;

impl Engine {
    /// Whether the rows behind an answer stay for longer than a cursor does: none of them is history, and retention is far.
    pub(crate) fn is_repeatable(&self, query: &Query, view: &DatasetView) -> bool {
        let has_history = view.units.iter().any(|unit| matches!(unit, Unit::History(_)));
        let kept_us = self.config.cursor_ttl.as_micros() as i64 * 2;
        let oldest_us = view.dataset.retention.raw_us.map(|raw_us| self.now().0.saturating_sub(raw_us));
        let ranges = std::iter::once(&query.range).chain(&query.compare);
        let is_young = |range: &ResolvedRange| {
            oldest_us.is_none_or(|oldest_us| range.from.0 >= oldest_us.saturating_add(kept_us))
        };
        !has_history && ranges.into_iter().all(is_young)
    }

    /// A page of an answer that was let go: computed again from the rows up to its version.
    pub(crate) async fn page_again(
        &self,
        id: u64,
        pinned: &Pinned,
        offset: u64,
        limit: u32,
    ) -> EngineResult<PageRows> {
        let (engine, query, until) = (self.clone(), Arc::clone(&pinned.query), pinned.version.lsn);
        let dataset = pinned.dataset;
        let task = move |control: &Control| {
            let snapshot = engine.store.snapshot();
            let view = snapshot.view_named(&query.dataset.name).filter(|view| view.id == dataset);
            let view = view.cloned().ok_or(EngineError::CursorExpired)?;
            let answer = Arc::new(engine.executor.execute_as_of(&query, &view, until, control)?);
            engine.cursors.put_back(id, &answer)?;
            Ok(PageRows::of(&answer, offset, limit))
        };
        self.run(Errand::one(&pinned.query.project, &pinned.query.dataset.name), task).await
    }
}
