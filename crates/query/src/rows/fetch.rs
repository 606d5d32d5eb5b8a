//! The asked columns of rows whose keys are known.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use hashbrown::HashMap;
use tidewater_columns::StringsRef;
use tidewater_model::schema::{ColumnId, ColumnRef, ColumnType};
use tidewater_model::time::Timestamp;
use tidewater_store::{DatasetView, Lsn, ScanBatch};

use super::keys::Keys;
use super::{RowKey, RowsQuery};
use crate::budget::{QueryBudget, Reservation};
use crate::control::Control;
use crate::error::ExecuteError;
use crate::pool::Pool;
use crate::scan::{Consumer, read_all};
use tidewater_aggregate::Cell;

/// The cells of each key's row, in the order of the keys.
pub(super) fn fetch(
    pool: &Pool,
    budget: &Arc<QueryBudget>,
    query: &RowsQuery,
    view: &DatasetView,
    control: &Control,
    keys: &[RowKey],
) -> Result<Vec<Vec<Cell>>, ExecuteError> {
    let bounds = |of: fn(&RowKey) -> i64| keys.iter().map(of).min().zip(keys.iter().map(of).max());
    let (Some((from_us, last_us)), Some((first_lsn, last_lsn))) =
        (bounds(|key| key.time_us), bounds(|key| key.lsn.0))
    else {
        return Ok(Vec::new());
    };
    let mut columns = vec![ColumnRef::column(ColumnId::TIME)];
    columns.extend(query.columns.iter().cloned());
    let mut request = query.request(columns, from_us, last_us.saturating_add(1));
    request.after = Some(Lsn(first_lsn - 1));
    request.until = Some(Lsn(last_lsn));
    let request = Arc::new(request);
    let mut morsels = Vec::new();
    for unit in view.units_for(&query.project, request.from_us, request.to_us) {
        morsels.push(view.scan_unit(unit, &request)?);
    }
    let places: Arc<HashMap<RowKey, usize>> =
        Arc::new(keys.iter().enumerate().map(|(place, key)| (*key, place)).collect());
    let kinds: Arc<Vec<ColumnType>> =
        Arc::new(query.columns.iter().map(|column| query.dataset.kind(column)).collect());
    let reader = || {
        Ok(RowReader {
            places: Arc::clone(&places),
            kinds: Arc::clone(&kinds),
            found: Vec::new(),
            bytes: 0,
            reservation: budget.reserve(),
        })
    };
    let mut rows = vec![Vec::new(); keys.len()];
    for part in read_all(pool, morsels, control, reader)? {
        for (place, cells) in part.found {
            rows[place] = cells;
        }
    }
    Ok(rows)
}

/// One thread's rows.
struct RowReader {
    places: Arc<HashMap<RowKey, usize>>,
    kinds: Arc<Vec<ColumnType>>,
    found: Vec<(usize, Vec<Cell>)>,
    bytes: usize,
    reservation: Reservation,
}

impl Consumer<ScanBatch> for RowReader {
    fn take(&mut self, _lane: usize, batch: ScanBatch) -> Result<(), ExecuteError> {
        let Some(keys) = Keys::new(&batch) else { return Ok(()) };
        for row in 0..batch.rows {
            if batch.selection.as_ref().is_some_and(|selection| !selection.value(row)) {
                continue;
            }
            let Some(place) = self.places.get(&keys.get(row)) else { continue };
            let columns = batch.columns[1..].iter().zip(self.kinds.iter());
            let cells: Vec<Cell> = columns.map(|(array, kind)| cell(array.as_ref(), *kind, row)).collect();
            self.bytes += cells.iter().map(bytes).sum::<usize>();
            self.found.push((*place, cells));
            self.reservation.resize(self.bytes)?;
        }
        Ok(())
    }
}

fn bytes(cell: &Cell) -> usize {
    let heap = match cell {
        Cell::Text(text) => text.len(),
        Cell::List(elements) => elements.iter().map(|text| text.len() + size_of::<Arc<str>>()).sum(),
        Cell::Map(entries) => {
            entries.iter().map(|(key, value)| key.len() + value.len() + 2 * size_of::<Arc<str>>()).sum()
        }
        _ => 0,
    };
    size_of::<Cell>() + heap
}

/// The value of a column in a row.
fn cell(array: Option<&ArrayRef>, kind: ColumnType, row: usize) -> Cell {
    let Some(array) = array.filter(|array| array.is_valid(row)) else { return Cell::Null };
    match kind {
        ColumnType::Time => {
            Cell::Time(Timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row)))
        }
        ColumnType::Int => Cell::Int(i128::from(array.as_primitive::<Int64Type>().value(row))),
        ColumnType::Money => Cell::Money(i128::from(array.as_primitive::<Int64Type>().value(row))),
        ColumnType::Float => Cell::Float(array.as_primitive::<Float64Type>().value(row)),
        ColumnType::Bool => Cell::Bool(array.as_boolean().value(row)),
        ColumnType::String => {
            let text = StringsRef::new(array).and_then(|strings| strings.get(row));
            text.map_or(Cell::Null, |text| Cell::Text(text.into()))
        }
        ColumnType::Strings => {
            let elements = array.as_list::<i32>().value(row);
            Cell::List(texts(&elements).into_iter().flatten().collect())
        }
        ColumnType::Map => {
            let entries = array.as_map().value(row);
            let (keys, values) = (texts(entries.column(0)), texts(entries.column(1)));
            Cell::Map(keys.into_iter().zip(values).filter_map(|(key, value)| Some((key?, value?))).collect())
        }
    }
}

fn texts(array: &ArrayRef) -> Vec<Option<Arc<str>>> {
    let Some(strings) = StringsRef::new(array) else { return Vec::new() };
    (0..array.len()).map(|row| strings.get(row).map(Arc::from)).collect()
}
