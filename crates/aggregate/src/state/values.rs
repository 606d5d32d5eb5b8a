//! Reading a column's values for aggregates. Everything that is ordered but no text becomes an `i64`: times, money, booleans
//! as they are, floats by an order-preserving mapping of their bits.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use crate::feed::{Feed, Keys, Scratch};
use crate::hash;

/// Maps floats to integers that order the same way; both zeros are one.
#[inline]
pub fn order_of_float(value: f64) -> i64 {
    let bits = hash::float_bits(value) as i64;
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

/// The inverse of [`order_of_float`].
#[inline]
pub fn float_of_order(order: i64) -> f64 {
    f64::from_bits((order ^ ((order >> 63) as u64 >> 1) as i64) as u64)
}

/// The values of an `Int64` or time array.
pub(super) fn int_slice(array: &ArrayRef) -> Option<&[i64]> {
    match array.data_type() {
        DataType::Int64 => Some(array.as_primitive::<Int64Type>().values()),
        DataType::Timestamp(_, _) => Some(array.as_primitive::<TimestampMicrosecondType>().values()),
        _ => None,
    }
}

pub(super) fn float_slice(array: &ArrayRef) -> Option<&[f64]> {
    array.as_primitive_opt::<Float64Type>().map(|floats| &floats.values()[..])
}

/// The values as they sum: integers, money, times, booleans as 0 and 1.
pub(super) fn ints<'a>(
    feed: &Feed<'a>,
    array: &'a ArrayRef,
    scratch: &'a mut Scratch,
) -> (Keys<'a>, &'a [i64]) {
    let (kept, out) = (&mut scratch.kept, &mut scratch.ints);
    if let Some(values) = int_slice(array) {
        return feed.values(array.nulls(), values, kept, out);
    }
    match array.as_boolean_opt() {
        Some(bools) => {
            let bits = bools.values();
            feed.gather(array.nulls(), |row| i64::from(bits.value(row)), kept, out)
        }
        None => (Keys::Each(&[]), &[]),
    }
}

/// The values as integers in their own order.
pub(super) fn ordered<'a>(
    feed: &Feed<'a>,
    array: &'a ArrayRef,
    scratch: &'a mut Scratch,
) -> (Keys<'a>, &'a [i64]) {
    match float_slice(array) {
        Some(values) => {
            let order = |row: usize| order_of_float(values[row]);
            feed.gather(array.nulls(), order, &mut scratch.kept, &mut scratch.ints)
        }
        None => ints(feed, array, scratch),
    }
}

/// The values as floats; money in its 1e-9 units.
pub(super) fn floats<'a>(
    feed: &Feed<'a>,
    array: &'a ArrayRef,
    scratch: &'a mut Scratch,
) -> (Keys<'a>, &'a [f64]) {
    let (kept, out) = (&mut scratch.kept, &mut scratch.floats);
    match (float_slice(array), int_slice(array)) {
        (Some(values), _) => feed.values(array.nulls(), values, kept, out),
        (_, Some(values)) => feed.gather(array.nulls(), |row| values[row] as f64, kept, out),
        _ => (Keys::Each(&[]), &[]),
    }
}

/// Each value with its row's time.
pub(super) fn timed<'a>(
    feed: &Feed<'a>,
    array: &'a ArrayRef,
    times: &'a [i64],
    scratch: &'a mut Scratch,
) -> (Keys<'a>, &'a [(i64, i64)]) {
    let (kept, out) = (&mut scratch.kept, &mut scratch.timed);
    let nulls = array.nulls();
    if let Some(values) = int_slice(array) {
        feed.gather(nulls, |row| (times[row], values[row]), kept, out)
    } else if let Some(values) = float_slice(array) {
        feed.gather(nulls, |row| (times[row], order_of_float(values[row])), kept, out)
    } else if let Some(bools) = array.as_boolean_opt() {
        feed.gather(nulls, |row| (times[row], i64::from(bools.value(row))), kept, out)
    } else {
        (Keys::Each(&[]), &[])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn floats_keep_their_order(a in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO, b: f64) {
            prop_assume!(!b.is_nan());
            prop_assert_eq!(order_of_float(a).cmp(&order_of_float(b)), a.partial_cmp(&b).expect("no NaN"));
            prop_assert_eq!(float_of_order(order_of_float(a)), a);
        }
    }
}
