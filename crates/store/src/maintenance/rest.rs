//! Which days of a dataset are at rest: what `compaction::settle` asks of them.
//!
//! Not here: what follows from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use tidewater_model::schema::DatasetId;
use tidewater_model::time::Timestamp;

use crate::chunk::Chunk;
use crate::compaction::Days;
use crate::segment::day_of;
use crate::state::DatasetState;

/// What is known of one dataset's days.
pub struct Rest {
    flushed: HashMap<i32, Timestamp>,
    chunks: Vec<Arc<Chunk>>,
    /// Of days that got no rows since the store was opened.
    opened: Timestamp,
}

impl Rest {
    /// As the state is now.
    pub fn of(dataset: &DatasetState, opened: Timestamp) -> Self {
        let chunks = dataset.frozen.iter().chain(&dataset.active).cloned().collect();
        Rest { flushed: dataset.day_flushed.clone(), chunks, opened }
    }

    fn has_rows_in_memory(&self, day: i32) -> bool {
        let may_hold = |chunk: &&Arc<Chunk>| {
            chunk.projects().any(|(_, span)| (day_of(span.min_us)..=day_of(span.max_us)).contains(&day))
        };
        let mut chunks = self.chunks.iter().filter(may_hold);
        chunks.any(|chunk| chunk.batch().times().iter().any(|time| day_of(*time) == day))
    }
}

impl Days for BTreeMap<DatasetId, &Rest> {
    fn newest_us(&self, dataset: DatasetId, day: i32) -> i64 {
        self.get(&dataset).map_or(i64::MAX, |rest| rest.flushed.get(&day).unwrap_or(&rest.opened).0)
    }

    fn has_rows_in_memory(&self, dataset: DatasetId, day: i32) -> bool {
        self.get(&dataset).is_some_and(|rest| rest.has_rows_in_memory(day))
    }
}
