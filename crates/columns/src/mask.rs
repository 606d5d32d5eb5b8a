//! Filters over arrays: a [`CompiledFilter`] says which columns to read, an [`Evaluator`] turns arrays into a bit per row.
//!
//! The logic is two-valued as at [`Filter`]: each part gives true or false for every row, never null. Not here: reading
//! the columns (the caller's closure), and skipping of files by statistics (`store`).

mod compile;
mod evaluate;
#[cfg(test)]
mod tests;
mod texts;

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::BooleanBuffer;
use tidewater_model::filter::Filter;
use tidewater_model::schema::ColumnRef;

use compile::{Leaf, Node};
use evaluate::Verdicts;

use crate::RowBatch;

/// A filter cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// A pattern is no regular expression, or its program is too large.
    #[error("'{pattern}' is not a usable regular expression")]
    Regex {
        /// What was given, shortened.
        pattern: String,
        /// Why.
        #[source]
        source: Box<regex::Error>,
    },
}

/// A filter ready to run: expressions compiled, value sets hashed. Shared between threads; each has its own [`Evaluator`].
#[derive(Debug)]
pub struct CompiledFilter {
    columns: Vec<ColumnRef>,
    leaves: Vec<Leaf>,
    root: Node,
}

impl CompiledFilter {
    /// Compiles. Fails only on a bad regular expression.
    pub fn compile(filter: &Filter) -> Result<Self, MaskError> {
        compile::compile(filter)
    }

    /// The distinct references it reads, in order of first use.
    pub fn columns(&self) -> &[ColumnRef] {
        &self.columns
    }

    /// True if every row passes without looking at it.
    pub fn is_all(&self) -> bool {
        matches!(&self.root, Node::And(parts) if parts.is_empty())
    }

    /// The mask of a whole batch in memory. For many batches keep an [`Evaluator`].
    pub fn mask(self: &Arc<Self>, batch: &RowBatch) -> BooleanBuffer {
        Evaluator::new(Arc::clone(self)).evaluate(batch.rows(), &mut |reference| batch.read(reference))
    }
}

/// One thread's evaluation state: remembers what a predicate said of each dictionary entry, because the batches of a
/// row group share their dictionary.
pub struct Evaluator {
    filter: Arc<CompiledFilter>,
    /// One per leaf of the filter.
    verdicts: Vec<Verdicts>,
}

impl Evaluator {
    /// Nothing remembered yet.
    pub fn new(filter: Arc<CompiledFilter>) -> Self {
        let verdicts = filter.leaves.iter().map(|_| Verdicts::default()).collect();
        Evaluator { filter, verdicts }
    }

    /// The filter it runs.
    pub fn filter(&self) -> &Arc<CompiledFilter> {
        &self.filter
    }

    /// One bit per row, set where the filter holds. `read` yields a column's array of `rows` rows (types as
    /// [`crate::data_type`], strings plain or dictionary, a map key as such a string array), or `None` for null in every
    /// row; it is called at most once per reference, and not for parts that cannot change the outcome any more.
    pub fn evaluate(
        &mut self,
        rows: usize,
        read: &mut dyn FnMut(&ColumnRef) -> Option<ArrayRef>,
    ) -> BooleanBuffer {
        evaluate::evaluate(&self.filter, &mut self.verdicts, rows, read)
    }
}
