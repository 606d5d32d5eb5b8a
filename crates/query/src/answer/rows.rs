//! The rows of a page, held by column: a few bytes a value, and equal texts once.

use hashbrown::HashMap;
use tidewater_aggregate::{Cell, Codes};

use crate::table::{CellColumn, Table};

/// One row of a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerRow {
    /// One cell per dimension.
    pub dimensions: Vec<Cell>,
    /// One cell per metric.
    pub metrics: Vec<Cell>,
}

/// Rows in final order.
#[derive(Clone, Debug, Default)]
pub struct AnswerRows {
    len: usize,
    dimensions: Vec<DimensionColumn>,
    metrics: Vec<CellColumn>,
}

/// Values of one dimension.
#[derive(Clone, Debug, Default)]
struct DimensionColumn {
    cells: Vec<Cell>,
    /// Of each row its place in `cells`.
    places: Vec<u32>,
}

impl AnswerRows {
    /// These groups of a table.
    pub(crate) fn of(table: &Table, groups: &[u32]) -> Self {
        AnswerRows::with_metrics(table, groups, |metric| table.page(metric, groups))
    }

    /// The dimensions of these groups of a table, with metrics from elsewhere.
    pub(crate) fn with_metrics(table: &Table, groups: &[u32], metrics: impl Fn(usize) -> CellColumn) -> Self {
        let dimension = |(place, codes): (usize, &Codes)| {
            DimensionColumn::of(codes, groups.iter().map(|group| table.groups().key(*group as usize)[place]))
        };
        AnswerRows {
            len: groups.len(),
            dimensions: table.groups().dimensions.iter().enumerate().map(dimension).collect(),
            metrics: (0..table.metrics()).map(metrics).collect(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A row.
    ///
    /// # Panics
    /// Where there is no such row.
    pub fn get(&self, row: usize) -> AnswerRow {
        let mut found = AnswerRow::default();
        self.read(row, &mut found);
        found
    }

    /// Reads a row into another one, whose memory is used again.
    ///
    /// # Panics
    /// Where there is no such row.
    pub fn read(&self, row: usize, into: &mut AnswerRow) {
        into.dimensions.clear();
        into.dimensions.extend(self.dimensions.iter().map(|column| column.get(row)));
        into.metrics.clear();
        into.metrics.extend(self.metrics.iter().map(|column| column.get(row)));
    }

    /// All rows.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = AnswerRow> + '_ {
        (0..self.len).map(|row| self.get(row))
    }

    /// Adds a row of as many cells as the others have, of the same kinds.
    pub fn push(&mut self, row: AnswerRow) {
        if self.len == 0 {
            self.dimensions.resize_with(row.dimensions.len(), Default::default);
            self.metrics.resize_with(row.metrics.len(), Default::default);
        }
        self.len += 1;
        self.dimensions.iter_mut().zip(row.dimensions).for_each(|(column, cell)| column.push(cell));
        self.metrics.iter_mut().zip(row.metrics).for_each(|(column, cell)| column.push(cell));
    }

    /// Bytes they hold, where no two cells share a text.
    pub fn memory_bytes(&self) -> usize {
        let dimensions: usize = self.dimensions.iter().map(DimensionColumn::memory_bytes).sum();
        dimensions + self.metrics.iter().map(CellColumn::memory_bytes).sum::<usize>()
    }
}

impl FromIterator<AnswerRow> for AnswerRows {
    fn from_iter<I: IntoIterator<Item = AnswerRow>>(rows: I) -> Self {
        let mut all = AnswerRows::default();
        rows.into_iter().for_each(|row| all.push(row));
        all
    }
}

/// Equal rows; how they are held does not matter.
impl PartialEq for AnswerRows {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl DimensionColumn {
    fn of(codes: &Codes, rows: impl ExactSizeIterator<Item = u32>) -> Self {
        let mut column = DimensionColumn { cells: Vec::new(), places: Vec::with_capacity(rows.len()) };
        let mut known = HashMap::new();
        for code in rows {
            let place = *known.entry(code).or_insert_with(|| {
                column.cells.push(codes.cell(code));
                column.cells.len() as u32 - 1
            });
            column.places.push(place);
        }
        column
    }

    fn push(&mut self, cell: Cell) {
        if self.cells.last() != Some(&cell) {
            self.cells.push(cell);
        }
        self.places.push(self.cells.len() as u32 - 1);
    }

    fn get(&self, row: usize) -> Cell {
        self.cells[self.places[row] as usize].clone()
    }

    fn memory_bytes(&self) -> usize {
        self.cells.iter().map(Cell::memory_bytes).sum::<usize>() + self.places.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidewater_model::time::Timestamp;

    use super::*;

    #[test]
    fn rows_come_back_and_equal_texts_are_held_once() {
        let row = |hour: i64, calls: i128| AnswerRow {
            dimensions: vec![Cell::Bucket(Timestamp(hour), Arc::from("an hour")), Cell::Null],
            metrics: vec![Cell::Int(calls), Cell::Float(0.5)],
        };
        let rows: Vec<AnswerRow> =
            (0..1_000).map(|place| row(place / 100, i128::from(place) << 60)).collect();
        let held: AnswerRows = rows.iter().cloned().collect();
        assert_eq!(held.len(), rows.len());
        assert!(held.iter().eq(rows.iter().cloned()));
        assert_eq!(held, rows.iter().cloned().collect());
        assert_ne!(held, rows[1..].iter().cloned().collect());
        assert_eq!(held.dimensions[0].cells.len(), 10);
        assert!(AnswerRows::default().is_empty() && AnswerRows::default().iter().next().is_none());
    }
}
