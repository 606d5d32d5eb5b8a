//! The numbers of all groups as an answer reads them: those that order or conditions look at for all groups at once, the others when a
//! page shows them.

use std::cmp::Ordering;
use std::sync::Arc;

use hashbrown::HashMap;
use tidewater_aggregate::{Cell, Codes, Groups, Words, float_of_order, order_of_float};
use tidewater_model::query::{OrderKey, OrderTarget};
use tidewater_model::schema::ColumnType;
use tidewater_model::time::Timestamp;

use crate::plan::MetricPlan;
use crate::values::Values;

/// Groups and their metrics.
pub(crate) struct Table {
    values: Values,
    /// By metric, where every group's value is at hand.
    columns: Vec<Option<CellColumn>>,
}

impl Table {
    /// Stands for a group that is not there.
    pub const ABSENT: u32 = u32::MAX;

    /// `metrics` are those of which every group's value will be looked at.
    pub fn new(values: Values, metrics: &[usize]) -> Self {
        let groups = values.partial.groups.len();
        let mut columns = Vec::new();
        columns.resize_with(values.frame.plan.metrics.len(), || None);
        for metric in metrics {
            columns[*metric] = Some(CellColumn::of(&values, *metric, groups));
        }
        Table { values, columns }
    }

    pub fn values(&self) -> &Values {
        &self.values
    }

    pub fn groups(&self) -> &Groups {
        &self.values.partial.groups
    }

    /// How many metrics there are.
    pub fn metrics(&self) -> usize {
        self.columns.len()
    }

    /// A metric of these groups, null where a group is [`Self::ABSENT`].
    pub fn page(&self, metric: usize, groups: &[u32]) -> CellColumn {
        let mut column = CellColumn::with_capacity(groups.len());
        for group in groups {
            column.push(match *group {
                Self::ABSENT => Cell::Null,
                group => self.metric(metric, group as usize),
            });
        }
        column
    }

    pub fn metric(&self, metric: usize, group: usize) -> Cell {
        match &self.columns[metric] {
            Some(column) => column.get(group),
            None => self.values.cell(metric, group),
        }
    }

    /// The order of two groups; total where the keys name every dimension. Metrics among the keys must be at hand.
    pub fn compare(&self, order: &[OrderKey], a: usize, b: usize) -> Ordering {
        let groups = self.groups();
        for key in order {
            let ordering = match key.target {
                OrderTarget::Dimension(place) => groups.dimensions[place].compare(
                    groups.key(a)[place],
                    groups.key(b)[place],
                    key.descending,
                ),
                OrderTarget::Metric(metric) => {
                    let column = self.columns[metric].as_ref().expect("`new` was told the order's metrics");
                    column.compare(a, b, key.descending)
                }
            };
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        Ordering::Equal
    }

    /// Puts a number for each of the groups into `ranks`, none greater than that of a group behind it in the order of this key; false
    /// where there are no such numbers at hand.
    pub fn ranks(&self, key: &OrderKey, groups: &[u32], ranks: &mut Vec<i64>) -> bool {
        ranks.clear();
        match key.target {
            OrderTarget::Dimension(place) => {
                let Codes::Buckets(_) = self.groups().dimensions[place] else { return false };
                let rank = |group: &u32| {
                    let bucket = i64::from(self.groups().key(*group as usize)[place]);
                    if key.descending { -bucket } else { bucket }
                };
                ranks.extend(groups.iter().map(rank));
                true
            }
            OrderTarget::Metric(metric) => self.columns[metric]
                .as_ref()
                .is_some_and(|column| column.ranks(key.descending, groups, ranks)),
        }
    }

    /// A number for each of the groups that stands for its place in the order; `None` where the order needs more than dimensions, or has
    /// more values than are worth sorting by themselves.
    pub fn places(&self, order: &[OrderKey], groups: &[u32]) -> Option<Vec<u64>> {
        /// Sorting a value costs about what comparing two groups does.
        const VALUES_PER_GROUP_MAX: usize = 2;
        let mut places = vec![0u64; groups.len()];
        let mut bits = 0;
        for key in order {
            let OrderTarget::Dimension(dimension) = key.target else { return None };
            let codes = &self.groups().dimensions[dimension];
            let values = codes.cardinality();
            let width = usize::BITS - values.leading_zeros();
            bits += width;
            if bits > u64::BITS || values > groups.len() * VALUES_PER_GROUP_MAX {
                return None;
            }
            let ranks = codes.ranks(key.descending);
            for (place, group) in places.iter_mut().zip(groups) {
                let code = self.groups().key(*group as usize)[dimension];
                *place = *place << width | u64::from(ranks[code as usize]);
            }
        }
        Some(places)
    }

    pub fn memory_bytes(&self) -> usize {
        let columns = self.columns.iter().flatten().map(CellColumn::memory_bytes).sum::<usize>();
        self.values.partial.memory_bytes() + columns
    }
}

/// Cells of one metric, which all have one kind or are null: eight bytes each.
#[derive(Clone, Debug)]
pub(crate) struct CellColumn {
    kind: Kind,
    /// Integers and bools as they are, floats as ordered integers, texts as places in `texts`.
    words: Words,
    /// Empty where none is.
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

impl Default for CellColumn {
    fn default() -> Self {
        CellColumn::with_capacity(0)
    }
}

impl CellColumn {
    fn with_capacity(cells: usize) -> Self {
        CellColumn {
            kind: Kind::Empty,
            words: Words::Own(Vec::with_capacity(cells)),
            is_null: Vec::with_capacity(cells),
            wide: HashMap::new(),
            texts: Vec::new(),
        }
    }

    /// The values of a metric for all groups.
    fn of(values: &Values, metric: usize, groups: usize) -> Self {
        if let Some(column) = CellColumn::of_numbers(values, metric) {
            return column;
        }
        let mut column = CellColumn::with_capacity(groups);
        (0..groups).for_each(|group| column.push(values.cell(metric, group)));
        column
    }

    /// Counts and sums that fit in words, which need no cell on the way; `None` for everything else.
    fn of_numbers(values: &Values, metric: usize) -> Option<Self> {
        let MetricPlan::Value(used) = values.frame.plan.metrics[metric] else { return None };
        let words = values.partial.states[used.measure].1.words(used.reading)?;
        let kind = if used.kind == ColumnType::Money { Kind::Money } else { Kind::Int };
        Some(CellColumn { kind, words, ..CellColumn::default() })
    }

    /// Adds a cell to a column that was made cell by cell.
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
        if let Words::Own(words) = &mut self.words {
            words.push(found.map_or(0, |(_, word)| word));
        }
    }

    pub fn get(&self, row: usize) -> Cell {
        if self.is_null(row) {
            return Cell::Null;
        }
        let word = self.words.get(row);
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

    /// See [`Table::ranks`]: the word in the wanted direction, nulls with the last ones.
    fn ranks(&self, descending: bool, rows: &[u32], ranks: &mut Vec<i64>) -> bool {
        if self.kind == Kind::Text {
            return false;
        }
        let directed = |word: i64| if descending { !word } else { word };
        if self.is_null.is_empty() && self.wide.is_empty() {
            self.words.for_each(rows, |word| ranks.push(directed(word)));
            return true;
        }
        ranks.extend(rows.iter().map(|row| match self.is_null(*row as usize) {
            true => i64::MAX,
            false => directed(self.whole(*row as usize).clamp(i64::MIN.into(), i64::MAX.into()) as i64),
        }));
        true
    }

    /// The order of two rows' cells, null last both ways.
    pub fn compare(&self, a: usize, b: usize, descending: bool) -> Ordering {
        let ascending = match (self.is_null(a), self.is_null(b)) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) => match self.kind {
                Kind::Text => {
                    let text = |row| &self.texts[self.words.get(row) as usize];
                    text(a).cmp(text(b))
                }
                _ if !self.wide.is_empty() => self.whole(a).cmp(&self.whole(b)),
                _ => self.words.get(a).cmp(&self.words.get(b)),
            },
        };
        if descending { ascending.reverse() } else { ascending }
    }

    pub fn memory_bytes(&self) -> usize {
        /// An `Arc<str>`'s pointer and counts.
        const TEXT_OVERHEAD_BYTES: usize = 32;
        let texts: usize = self.texts.iter().map(|text| text.len() + TEXT_OVERHEAD_BYTES).sum();
        self.words.own_bytes() + self.is_null.capacity() + self.wide.allocation_size() + texts
    }

    fn whole(&self, row: usize) -> i128 {
        let wide = if self.wide.is_empty() { None } else { self.wide.get(&row).copied() };
        wide.unwrap_or(i128::from(self.words.get(row)))
    }

    #[inline]
    fn is_null(&self, row: usize) -> bool {
        self.is_null.get(row).is_some_and(|is_null| *is_null)
    }

    /// The word of the integer that is pushed next.
    fn word(&mut self, value: i128) -> i64 {
        i64::try_from(value).unwrap_or_else(|_| {
            self.wide.insert(self.is_null.len(), value);
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
            let mut ranks = Vec::new();
            assert!(column.ranks(descending, &order.map(|row| row as u32), &mut ranks), "numbers");
            assert!(ranks.is_sorted(), "{ranks:?}");
        }
    }
}
