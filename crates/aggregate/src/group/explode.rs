//! Dimensions over `strings` columns: a row counts once for each distinct element it holds.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use tidewater_columns::explode;

use super::codes::Codes;
use crate::error::AggregateError;
use crate::feed::Rows;

/// The rows of a batch, each as often as its elements (of several such dimensions: as their combinations) demand, with the codes
/// of those dimensions.
#[derive(Debug, Default)]
pub struct Expansion {
    /// Row numbers of the batch, in order.
    pub rows: Vec<u32>,
    /// For each expanded dimension its place among the dimensions, and a code per entry of `rows`.
    pub codes: Vec<(usize, Vec<u32>)>,
}

/// Most entries that one batch may be expanded to; beyond it the elements multiply out of hand. 64 times a batch.
const EXPANDED_ROWS_MAX: usize = 1 << 22;

impl Expansion {
    /// Each selected row once.
    pub fn new(rows: Rows<'_>) -> Self {
        let rows = match rows {
            Rows::All(rows) => (0..rows as u32).collect(),
            Rows::List(rows) => rows.to_vec(),
        };
        Expansion { rows, codes: Vec::new() }
    }

    /// Expands by one more dimension. `None` is null in every row.
    pub fn expand(
        &mut self,
        dimension: usize,
        codes: &mut Codes,
        array: Option<&ArrayRef>,
    ) -> Result<(), AggregateError> {
        let mut own = Vec::new();
        let Some(lists) = array.and_then(|array| array.as_list_opt::<i32>()) else {
            codes.encode(None, Rows::All(self.rows.len()), &mut own)?;
            self.codes.push((dimension, own));
            return Ok(());
        };
        let exploded = explode(lists);
        let starts = starts(&exploded.rows, lists.len());
        // For each new entry, the entry it comes from and its element.
        let (mut origins, mut elements) = (Vec::new(), Vec::new());
        for (origin, row) in self.rows.iter().enumerate() {
            for element in starts[*row as usize]..starts[*row as usize + 1] {
                origins.push(origin as u32);
                elements.push(element);
            }
        }
        if origins.len() > EXPANDED_ROWS_MAX {
            return Err(AggregateError::Limit {
                what: "combinations of list elements in one batch of rows",
                found: origins.len() as u64,
                max: EXPANDED_ROWS_MAX as u64,
                remedy: "use fewer dimensions that are lists",
            });
        }
        codes.encode(Some(&exploded.elements), Rows::List(&elements), &mut own)?;
        let pick = |values: &[u32]| origins.iter().map(|origin| values[*origin as usize]).collect();
        self.rows = pick(&self.rows);
        self.codes.iter_mut().for_each(|(_, codes)| *codes = pick(codes));
        self.codes.push((dimension, own));
        Ok(())
    }
}

/// Where each row's elements begin: `starts[row] .. starts[row + 1]`. `rows` is ascending.
fn starts(rows: &[u32], len: usize) -> Vec<u32> {
    let mut starts = vec![0; len + 1];
    for row in rows {
        starts[*row as usize + 1] += 1;
    }
    for row in 0..len {
        starts[row + 1] += starts[row];
    }
    starts
}
