//! The finished numbers of all groups, a column per metric, without the states they came from.

use std::cmp::Ordering;
use std::sync::Arc;

use hashbrown::HashMap;
use tidewater_model::query::{OrderKey, OrderTarget};
use tidewater_model::time::Timestamp;

use crate::merged::Merged;
use tidewater_aggregate::Cell;
use tidewater_aggregate::GroupKeys;
use tidewater_aggregate::{float_of_order, order_of_float};

/// Groups and their metrics.
pub(crate) struct Table {
    pub groups: GroupKeys,
    pub metrics: Vec<CellColumn>,
}

impl Table {
    /// Computes every metric of every group.
    pub fn new(merged: Merged) -> Self {
        let column = |metric| {
            let mut column = CellColumn::default();
            (0..merged.groups.len()).for_each(|group| column.push(merged.cell(metric, group)));
            column
        };
        let metrics = merged.plan.metrics.iter().map(column).collect();
        Table { groups: merged.groups.finish(), metrics }
    }

    pub fn dimensions(&self, group: usize) -> Vec<Cell> {
        let key = self.groups.key(group);
        self.groups.dimensions.iter().zip(key).map(|(codes, code)| codes.cell(*code)).collect()
    }

    pub fn metrics(&self, group: usize) -> Vec<Cell> {
        self.metrics.iter().map(|column| column.get(group)).collect()
    }

    /// The order of two groups; total where the keys name every dimension.
    pub fn compare(&self, order: &[OrderKey], a: usize, b: usize) -> Ordering {
        for key in order {
            let ordering = match key.target {
                OrderTarget::Dimension(place) => self.groups.dimensions[place].compare(
                    self.groups.key(a)[place],
                    self.groups.key(b)[place],
                    key.descending,
                ),
                OrderTarget::Metric(metric) => self.metrics[metric].compare(a, b, key.descending),
            };
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        Ordering::Equal
    }

    pub fn memory_bytes(&self) -> usize {
        self.groups.memory_bytes() + self.metrics.iter().map(CellColumn::memory_bytes).sum::<usize>()
    }
}

/// Cells of one metric, which all have one kind or are null: eight bytes each.
#[derive(Debug, Default)]
pub(crate) struct CellColumn {
    kind: Kind,
    /// Integers and bools as they are, floats as ordered integers, texts as places in `texts`.
    words: Vec<i64>,
    is_null: Vec<bool>,
    /// Integers that do not fit in a word, by row.
    wide: HashMap<usize, i128>,
    texts: Vec<Arc<str>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// No value yet.
    #[default]
    Empty,
    Bool,
    Int,
    Float,
    Money,
    Text,
    Time,
}

impl CellColumn {
    pub fn push(&mut self, cell: Cell) {
        let found = match cell {
            Cell::Bool(value) => Some((Kind::Bool, i64::from(value))),
            Cell::Int(value) => Some((Kind::Int, self.word(value))),
            Cell::Money(value) => Some((Kind::Money, self.word(value))),
            Cell::Float(value) => Some((Kind::Float, order_of_float(value))),
            Cell::Time(time) => Some((Kind::Time, time.0)),
            Cell::Text(text) => {
                self.texts.push(text);
                Some((Kind::Text, self.texts.len() as i64 - 1))
            }
            // Buckets, lists and maps are no metrics.
            Cell::Null | Cell::Bucket(..) | Cell::List(_) | Cell::Map(_) => None,
        };
        if let Some((kind, _)) = found {
            debug_assert!(self.kind == Kind::Empty || self.kind == kind, "a metric has one kind");
            self.kind = kind;
        }
        self.is_null.push(found.is_none());
        self.words.push(found.map_or(0, |(_, word)| word));
    }

    pub fn get(&self, row: usize) -> Cell {
        if self.is_null[row] {
            return Cell::Null;
        }
        let word = self.words[row];
        match self.kind {
            Kind::Empty => Cell::Null,
            Kind::Bool => Cell::Bool(word != 0),
            Kind::Int => Cell::Int(self.whole(row)),
            Kind::Money => Cell::Money(self.whole(row)),
            Kind::Float => Cell::Float(float_of_order(word)),
            Kind::Time => Cell::Time(Timestamp(word)),
            Kind::Text => Cell::Text(Arc::clone(&self.texts[word as usize])),
        }
    }

    /// The order of two rows' cells, null last both ways.
    pub fn compare(&self, a: usize, b: usize, descending: bool) -> Ordering {
        let ascending = match (self.is_null[a], self.is_null[b]) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) => match self.kind {
                Kind::Text => self.texts[self.words[a] as usize].cmp(&self.texts[self.words[b] as usize]),
                _ if !self.wide.is_empty() => self.whole(a).cmp(&self.whole(b)),
                _ => self.words[a].cmp(&self.words[b]),
            },
        };
        if descending { ascending.reverse() } else { ascending }
    }

    pub fn memory_bytes(&self) -> usize {
        /// An `Arc<str>`'s pointer and counts.
        const TEXT_OVERHEAD_BYTES: usize = 32;
        let texts: usize = self.texts.iter().map(|text| text.len() + TEXT_OVERHEAD_BYTES).sum();
        self.words.capacity() * size_of::<i64>()
            + self.is_null.capacity()
            + self.wide.allocation_size()
            + texts
    }

    fn whole(&self, row: usize) -> i128 {
        let wide = if self.wide.is_empty() { None } else { self.wide.get(&row).copied() };
        wide.unwrap_or(i128::from(self.words[row]))
    }

    /// The word of the integer that is pushed next.
    fn word(&mut self, value: i128) -> i64 {
        i64::try_from(value).unwrap_or_else(|_| {
            self.wide.insert(self.words.len(), value);
            0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_back_as_they_went_in() {
        let columns = [
            vec![Cell::Int(1), Cell::Null, Cell::Int(i128::MAX), Cell::Int(-5)],
            vec![Cell::Null, Cell::Float(-0.5), Cell::Float(1e300)],
            vec![Cell::Text("b".into()), Cell::Null, Cell::Text("a".into())],
            vec![Cell::Money(-1), Cell::Money(1 << 90)],
        ];
        for cells in columns {
            let mut column = CellColumn::default();
            cells.iter().cloned().for_each(|cell| column.push(cell));
            let back: Vec<Cell> = (0..cells.len()).map(|row| column.get(row)).collect();
            assert_eq!(back, cells);
        }
    }

    #[test]
    fn null_is_last_both_ways() {
        let mut column = CellColumn::default();
        [Cell::Null, Cell::Int(1 << 70), Cell::Int(3)].into_iter().for_each(|cell| column.push(cell));
        for (descending, order) in [(false, [2, 1, 0]), (true, [1, 2, 0])] {
            let mut rows = [0, 1, 2];
            rows.sort_by(|a, b| column.compare(*a, *b, descending));
            assert_eq!(rows, order);
        }
    }
}
