//! Rows with everything a segment stores of them: project, columns, `_lsn` and `_pos`.
//!
//! The one shape that flush, merge and verification share. Not here: their order (`order`) and their form in a file (`layout`).

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, StringArray, UInt32Array};
use arrow_buffer::{BooleanBuffer, ScalarBuffer};
use arrow_select::take::take;
use tidewater_columns::mask::Evaluator;
use tidewater_columns::{RowBatch, StringsRef, concat_columns};
use tidewater_model::names::ProjectName;

use crate::chunk::Chunk;
use crate::tombstone::Tombstone;

/// Rows of one dataset, of any projects.
#[derive(Clone)]
pub struct Rows {
    /// Each row's project, a string array (plain or dictionary) without nulls.
    pub projects: ArrayRef,
    /// The dataset's columns.
    pub batch: RowBatch,
    /// Each row's record.
    pub lsns: ArrayRef,
    /// Each row's place in its record.
    pub positions: ArrayRef,
}

impl Rows {
    /// All rows of chunks, in arrival order.
    ///
    /// # Panics
    /// Without a chunk.
    pub fn from_chunks(chunks: &[Arc<Chunk>]) -> Self {
        let batches: Vec<&RowBatch> = chunks.iter().map(|chunk| chunk.batch()).collect();
        let batch = RowBatch::concat(&batches);
        let mut names: Vec<&ProjectName> =
            chunks.iter().flat_map(|chunk| chunk.projects().map(|(name, _)| name)).collect();
        names.sort_unstable();
        names.dedup();
        let mut codes: Vec<i32> = Vec::with_capacity(batch.rows());
        let mut lsns: Vec<i64> = Vec::with_capacity(batch.rows());
        let mut positions: Vec<i32> = Vec::with_capacity(batch.rows());
        for run in chunks.iter().flat_map(|chunk| chunk.runs()) {
            let code = names.binary_search(&&run.project).expect("a chunk lists the projects of its runs");
            codes.resize(codes.len() + run.rows as usize, code as i32);
            lsns.resize(lsns.len() + run.rows as usize, run.lsn.0);
            positions.extend(0..run.rows as i32);
        }
        let names = StringArray::from_iter_values(names.iter().map(|name| name.as_str()));
        let keys = Int32Array::new(ScalarBuffer::from(codes), None);
        Rows {
            projects: Arc::new(DictionaryArray::new(keys, Arc::new(names))),
            batch,
            lsns: Arc::new(Int64Array::from(lsns)),
            positions: Arc::new(Int32Array::from(positions)),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.batch.rows()
    }

    /// The records, as numbers.
    pub fn lsn_values(&self) -> &[i64] {
        self.lsns.as_primitive::<Int64Type>().values()
    }

    /// The places, as numbers.
    pub fn position_values(&self) -> &[i32] {
        self.positions.as_primitive::<Int32Type>().values()
    }

    /// The projects, readable by row.
    pub fn project_names(&self) -> StringsRef<'_> {
        StringsRef::new(self.projects.as_ref()).expect("the project column holds strings")
    }

    /// The rows at `indices`, in that order.
    ///
    /// # Panics
    /// When an index is out of bounds.
    pub fn take(&self, indices: &UInt32Array) -> Self {
        let pick =
            |array: &ArrayRef| take(array.as_ref(), indices, None).expect("indices lie inside the rows");
        Rows {
            projects: pick(&self.projects),
            batch: self.batch.take(indices),
            lsns: pick(&self.lsns),
            positions: pick(&self.positions),
        }
    }

    /// Rows `offset .. offset + rows`, without copying.
    pub fn slice(&self, offset: usize, rows: usize) -> Self {
        Rows {
            projects: self.projects.slice(offset, rows),
            batch: self.batch.slice(offset, rows),
            lsns: self.lsns.slice(offset, rows),
            positions: self.positions.slice(offset, rows),
        }
    }

    /// All rows, in order.
    ///
    /// # Panics
    /// Without any part.
    pub fn concat(parts: &[Rows]) -> Self {
        if let [only] = parts {
            return only.clone();
        }
        let join = |array: fn(&Rows) -> &ArrayRef| {
            let arrays: Vec<_> = parts.iter().map(|rows| (rows.len(), Some(array(rows)))).collect();
            concat_columns(&arrays).expect("at least one part")
        };
        Rows {
            projects: join(|rows| &rows.projects),
            batch: RowBatch::concat(&parts.iter().map(|rows| &rows.batch).collect::<Vec<_>>()),
            lsns: join(|rows| &rows.lsns),
            positions: join(|rows| &rows.positions),
        }
    }

    /// Which rows no tombstone hides; `None` for all of them.
    pub fn visible(&self, tombstones: &[Arc<Tombstone>]) -> Option<BooleanBuffer> {
        let (lsns, times) = (self.lsn_values(), self.batch.times());
        let first = *lsns.iter().min()?;
        let mut visible: Option<BooleanBuffer> = None;
        for tombstone in tombstones.iter().filter(|tombstone| tombstone.lsn.0 > first) {
            let names = self.project_names();
            let reached = BooleanBuffer::collect_bool(self.len(), |row| {
                lsns[row] < tombstone.lsn.0
                    && (tombstone.from_us..tombstone.to_us).contains(&times[row])
                    && names.get(row) == Some(tombstone.project.as_str())
            });
            if reached.count_set_bits() == 0 {
                continue;
            }
            let passes = Evaluator::new(Arc::clone(tombstone.filter()))
                .evaluate(self.len(), &mut |reference| self.batch.read(reference));
            let kept = !&(&reached & &passes);
            visible = Some(visible.map_or(kept.clone(), |visible| &visible & &kept));
        }
        visible.filter(|visible| visible.count_set_bits() < self.len())
    }
}
