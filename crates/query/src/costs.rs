//! What was read of each source for one answer, for `explain` and for `rows_scanned`.

use std::sync::Arc;
use std::time::Duration;

use crate::planner::{SectionSchema, SourceSummary};
use crate::sources::Part;

/// What was read of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceCost {
    /// Its name, as in `meta.source`.
    pub source: String,
    /// Parts of pieces that it was chosen for.
    pub parts: u64,
    /// Rows: raw ones, or those of roll-ups.
    pub rows: u64,
    /// Bytes of decoded columns.
    pub bytes: u64,
    /// Time of one core that putting the rows into groups took.
    pub busy: Duration,
}

/// Rows that were read, and the time it took to put them into groups.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scanned {
    pub parts: u64,
    pub rows: u64,
    pub bytes: u64,
    pub busy: Duration,
}

impl Scanned {
    fn add(&mut self, other: Scanned) {
        self.parts += other.parts;
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.busy += other.busy;
    }
}

/// The costs of all sources. An answer has few, so they are looked through.
#[derive(Clone, Debug, Default)]
pub(crate) struct Costs(Vec<(Option<Arc<SectionSchema>>, Scanned)>);

impl Costs {
    /// Adds what was read of a part's source.
    pub fn add(&mut self, part: &Part, scanned: Scanned) {
        self.put(part.section.as_ref().map(|section| &section.schema), scanned);
    }

    /// Adds another answer's, or another thread's.
    pub fn merge(&mut self, other: &Costs) {
        other.0.iter().for_each(|(schema, scanned)| self.put(schema.as_ref(), *scanned));
    }

    /// All sources together.
    pub fn total(&self) -> Scanned {
        let mut total = Scanned::default();
        self.0.iter().for_each(|(_, scanned)| total.add(*scanned));
        total
    }

    pub fn by_source(&self) -> Vec<SourceCost> {
        let name = |schema: &Option<Arc<SectionSchema>>| {
            let mut name = SourceSummary::default();
            match schema {
                None => name.add_raw(),
                Some(schema) => name.add_section(&schema.rollup, schema.tier),
            }
            name.to_string()
        };
        let costs = self.0.iter().map(|(schema, scanned)| {
            let Scanned { parts, rows, bytes, busy } = *scanned;
            SourceCost { source: name(schema), parts, rows, bytes, busy }
        });
        costs.collect()
    }

    fn put(&mut self, schema: Option<&Arc<SectionSchema>>, scanned: Scanned) {
        let is_same = |other: &Option<Arc<SectionSchema>>| match (other, schema) {
            (Some(other), Some(schema)) => Arc::ptr_eq(other, schema),
            (None, None) => true,
            _ => false,
        };
        match self.0.iter_mut().find(|(other, _)| is_same(other)) {
            Some((_, known)) => known.add(scanned),
            None => self.0.push((schema.cloned(), scanned)),
        }
    }
}
