//! Which rows a page holds.
//!
//! Units are visited from the asked end of time, each in windows that widen as long as the page is not full, so that the newest
//! thousand rows of a day cost a few pages of its file and a rare filter costs one pass.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use tidewater_columns::mask::{CompiledFilter, Evaluator};
use tidewater_model::schema::{ColumnId, ColumnRef};
use tidewater_store::{DatasetView, Lsn, ProjectSpan, ScanBatch, Unit};

use super::{RowKey, RowsQuery, page_range};
use crate::control::Control;
use crate::error::ExecuteError;
use crate::pool::Pool;
use crate::scan::{Consumer, read_all};

/// The first window of a unit is as long as so many pages of evenly spread rows.
const WINDOW_PAGES: i128 = 2;
/// How much longer each window is than the one before it.
const WINDOW_GROWTH: i64 = 8;

/// The keys of the first `count` rows of the page, in order.
pub(super) fn find(
    pool: &Pool,
    query: &RowsQuery,
    view: &DatasetView,
    control: &Control,
    count: usize,
) -> Result<Vec<RowKey>, ExecuteError> {
    let (from_us, to_us) = page_range(query);
    let filter = Arc::new(CompiledFilter::compile(&query.filter).map_err(ExecuteError::Filter)?);
    let mut finder = Finder { pool, query, view, control, filter, best: Best::new(query, count) };
    if from_us >= to_us {
        return Ok(Vec::new());
    }
    let mut units: Vec<(&Unit, ProjectSpan)> = view
        .units_for(&query.project, from_us, to_us)
        .filter_map(|unit| Some((unit, unit.span(&query.project)?)))
        .collect();
    units
        .sort_by_key(|(_, span)| if query.descending { Reverse(span.max_us) } else { Reverse(-span.min_us) });
    for (unit, span) in units {
        finder.visit(unit, span, from_us.max(span.min_us), to_us.min(span.max_us.saturating_add(1)))?;
    }
    Ok(finder.best.into_keys())
}

struct Finder<'a> {
    pool: &'a Pool,
    query: &'a RowsQuery,
    view: &'a DatasetView,
    control: &'a Control,
    filter: Arc<CompiledFilter>,
    best: Best,
}

impl Finder<'_> {
    /// Offers the unit's rows in `[from, to)` that can still be among the best.
    fn visit(
        &mut self,
        unit: &Unit,
        span: ProjectSpan,
        mut from_us: i64,
        mut to_us: i64,
    ) -> Result<(), ExecuteError> {
        let length = i128::from(span.max_us) - i128::from(span.min_us) + 1;
        let wanted = length * self.best.count as i128 * WINDOW_PAGES / i128::from(span.rows.max(1));
        let mut window = i64::try_from(wanted).unwrap_or(i64::MAX).max(1);
        while from_us < to_us {
            // Rows as old as the worst kept one may still win by their place in the log.
            match self.best.worst().filter(|_| self.best.is_full()) {
                Some(worst) if self.query.descending => from_us = from_us.max(worst.time_us),
                Some(worst) => to_us = to_us.min(worst.time_us.saturating_add(1)),
                None => {}
            }
            if from_us >= to_us {
                break;
            }
            let (start, end) = match self.query.descending {
                true => (from_us.max(to_us.saturating_sub(window)), to_us),
                false => (from_us, to_us.min(from_us.saturating_add(window))),
            };
            self.read(unit, start, end)?;
            if self.query.descending {
                to_us = start;
            } else {
                from_us = end;
            }
            window = window.saturating_mul(WINDOW_GROWTH);
        }
        Ok(())
    }

    fn read(&mut self, unit: &Unit, from_us: i64, to_us: i64) -> Result<(), ExecuteError> {
        let mut columns = vec![ColumnRef::column(ColumnId::TIME)];
        columns
            .extend(self.filter.columns().iter().filter(|column| column.column != ColumnId::TIME).cloned());
        let request = Arc::new(self.query.request(columns.clone(), from_us, to_us));
        let morsels = self.view.scan_unit(unit, &request)?;
        let columns = Arc::new(columns);
        let consumer = || {
            Ok(KeyReader {
                query: self.query.clone(),
                columns: Arc::clone(&columns),
                evaluator: Evaluator::new(Arc::clone(&self.filter)),
                best: Best::new(self.query, self.best.count),
            })
        };
        for part in read_all(self.pool, vec![morsels], self.control, consumer)? {
            part.best.kept.into_iter().for_each(|ranked| self.best.offer(ranked.key));
        }
        Ok(())
    }
}

/// The best keys so far; the worst of them is on top.
struct Best {
    descending: bool,
    count: usize,
    kept: BinaryHeap<Ranked>,
}

/// A key that is the greater the later it comes in the page.
#[derive(PartialEq, Eq)]
struct Ranked {
    key: RowKey,
    descending: bool,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        if self.descending { other.key.cmp(&self.key) } else { self.key.cmp(&other.key) }
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Best {
    fn new(query: &RowsQuery, count: usize) -> Self {
        Best { descending: query.descending, count, kept: BinaryHeap::new() }
    }

    fn is_full(&self) -> bool {
        self.kept.len() >= self.count
    }

    fn worst(&self) -> Option<RowKey> {
        self.kept.peek().map(|ranked| ranked.key)
    }

    fn offer(&mut self, key: RowKey) {
        let ranked = Ranked { key, descending: self.descending };
        if !self.is_full() {
            self.kept.push(ranked);
        } else if let Some(mut worst) = self.kept.peek_mut()
            && ranked < *worst
        {
            *worst = ranked;
        }
    }

    fn into_keys(self) -> Vec<RowKey> {
        self.kept.into_sorted_vec().into_iter().map(|ranked| ranked.key).collect()
    }
}

/// One thread's search.
struct KeyReader {
    query: RowsQuery,
    columns: Arc<Vec<ColumnRef>>,
    evaluator: Evaluator,
    best: Best,
}

impl Consumer<ScanBatch> for KeyReader {
    fn take(&mut self, _lane: usize, batch: ScanBatch) -> Result<(), ExecuteError> {
        let columns = &self.columns;
        let passed = (!self.evaluator.filter().is_all()).then(|| {
            self.evaluator.evaluate(batch.rows, &mut |reference| {
                let slot = columns.iter().position(|other| other == reference)?;
                batch.columns[slot].clone()
            })
        });
        let Some(keys) = Keys::new(&batch) else { return Ok(()) };
        for row in 0..batch.rows {
            let is_selected = batch.selection.as_ref().is_none_or(|selection| selection.value(row))
                && passed.as_ref().is_none_or(|passed| passed.value(row));
            if is_selected {
                let key = keys.get(row);
                if self.query.is_ahead(key) {
                    self.best.offer(key);
                }
            }
        }
        Ok(())
    }
}

/// The key of each row of a batch whose first column is the time.
pub(super) struct Keys<'a> {
    times: &'a [i64],
    lsns: &'a [i64],
    positions: &'a [i32],
}

impl<'a> Keys<'a> {
    pub fn new(batch: &'a ScanBatch) -> Option<Self> {
        let times: &ArrayRef = batch.columns.first()?.as_ref()?;
        let (lsns, positions) = batch.identity.as_ref()?;
        Some(Keys {
            times: times.as_primitive::<TimestampMicrosecondType>().values(),
            lsns: lsns.as_primitive::<Int64Type>().values(),
            positions: positions.as_primitive::<Int32Type>().values(),
        })
    }

    pub fn get(&self, row: usize) -> RowKey {
        RowKey { time_us: self.times[row], lsn: Lsn(self.lsns[row]), position: self.positions[row] }
    }
}
