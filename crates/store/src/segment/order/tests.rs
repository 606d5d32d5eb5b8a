use std::sync::Arc;

use arrow_array::{Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use proptest::prelude::*;
use tidewater_columns::RowBatch;

use super::*;

type Row = (u8, Option<String>, Option<i64>, Option<f64>, i64, i64, i32);

fn rows(rows: &[Row], coded: bool) -> Rows {
    let times =
        TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.4)).with_timezone("UTC");
    let texts: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1.as_deref())));
    let texts = if coded { tidewater_columns::concat_strings(&[(rows.len(), Some(&texts))]) } else { texts };
    let columns: Vec<Option<ArrayRef>> = vec![
        Some(Arc::new(times)),
        Some(texts),
        Some(Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.2)))),
        Some(Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.3)))),
    ];
    Rows {
        projects: Arc::new(StringArray::from_iter_values(rows.iter().map(|row| format!("p{}", row.0)))),
        batch: RowBatch::new(columns),
        lsns: Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.5))),
        positions: Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.6))),
    }
}

fn row() -> impl Strategy<Value = Row> {
    let number = prop_oneof![-3..3_i64, any::<i64>()];
    let float = prop_oneof![-2.0..2.0_f64, proptest::num::f64::NORMAL];
    let text = "[ab]{0,2}|é";
    (
        0..3_u8,
        proptest::option::of(text),
        proptest::option::of(number.clone()),
        proptest::option::of(float),
        number.clone(),
        number,
        0..100_i32,
    )
}

fn naive(row: &Row) -> impl Ord + use<> {
    let float = row.3.map(|value| (if value < 0.0 { 0 } else { 1 }, ordered_f64(value)));
    (
        format!("p{}", row.0),
        (row.1.is_none(), row.1.clone()),
        (row.2.is_none(), row.2),
        (row.3.is_none(), float),
        (row.4, row.5, row.6),
    )
}

proptest! {
    /// Wide integers make the key need several words; narrow ones fit into one.
    #[test]
    fn packed_keys_order_as_values_do(input in proptest::collection::vec(row(), 0..200), coded: bool, by_day: bool) {
        let sort = [ColumnId(1), ColumnId(2), ColumnId(3)];
        let all = rows(&input, coded);
        let mut expected: Vec<u32> = (0..input.len() as u32).collect();
        expected.sort_by_key(|row| {
            let row = &input[*row as usize];
            (if by_day { day_of(row.4) } else { 0 }, naive(row))
        });
        let found = sorted(&all, &sort, by_day);
        prop_assert_eq!(&found, &expected);
        if !by_day {
            for pair in found.windows(2) {
                let order = compare((&all, pair[0] as usize), (&all, pair[1] as usize), &sort);
                prop_assert!(order.is_le());
            }
        }
    }

    #[test]
    fn floats_keep_their_order(a in proptest::num::f64::NORMAL | proptest::num::f64::ZERO, b in proptest::num::f64::NORMAL) {
        prop_assert_eq!(ordered_f64(a).cmp(&ordered_f64(b)), a.total_cmp(&b));
    }
}
