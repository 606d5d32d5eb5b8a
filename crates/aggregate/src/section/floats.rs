//! Arrays of floats: as decimal fractions where all are, else as numbers in their order.

use super::bytes::{Reader, require};
use super::packed::{Packed, write_signed};
use crate::error::AggregateError;
use crate::state::{float_of_order, order_of_float};

/// Most decimal places that are tried; people write few.
const PLACES_MAX: u8 = 6;
/// Stands in the place of a number of decimal places.
const ORDERED: u8 = u8::MAX;
/// Past 2^53 not every whole number is a float.
const WHOLE_MAX: f64 = (1u64 << 53) as f64;

/// An array of floats.
#[derive(Debug)]
pub(super) struct Floats<'a> {
    pub numbers: Packed<'a>,
    form: u8,
}

/// Appends floats. Both zeros are one.
pub(super) fn write(values: &[f64], out: &mut Vec<u8>) {
    let scaled = (0..=PLACES_MAX).find_map(|places| Some((places, scale(values, places)?)));
    match scaled {
        Some((places, numbers)) => {
            out.push(places);
            write_signed(&numbers, out);
        }
        None => {
            out.push(ORDERED);
            write_signed(&values.iter().map(|value| order_of_float(*value)).collect::<Vec<_>>(), out);
        }
    }
}

/// The values times a power of ten, if dividing gives back each of them.
fn scale(values: &[f64], places: u8) -> Option<Vec<i64>> {
    let power = power_of_ten(places);
    let number = |value: &f64| {
        let number = (value * power).round();
        (number.abs() <= WHOLE_MAX && number / power == *value).then_some(number as i64)
    };
    values.iter().map(number).collect()
}

fn power_of_ten(places: u8) -> f64 {
    10f64.powi(i32::from(places))
}

impl<'a> Floats<'a> {
    pub fn read(reader: &mut Reader<'a>, total: usize) -> Result<Self, AggregateError> {
        let form = reader.u8()?;
        require(form <= PLACES_MAX || form == ORDERED, "the form of floats is unknown")?;
        Ok(Floats { numbers: Packed::read_exact(reader, total)?, form })
    }

    /// The float behind a number.
    pub fn float(&self) -> impl Fn(u64) -> f64 + Copy + use<> {
        let (is_ordered, power) = (self.form == ORDERED, power_of_ten(self.form.min(PLACES_MAX)));
        move |number| {
            if is_ordered { float_of_order(number as i64) } else { number as i64 as f64 / power }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn floats_come_back(
            values in prop_oneof![
                vec((-9_000i64..9_000).prop_map(|value| value as f64 / 100.0), 0..300),
                vec(any::<f64>().prop_filter("not a number", |value| !value.is_nan()), 0..300),
                vec(any::<i64>().prop_map(|value| value as f64), 0..300),
            ],
        ) {
            let mut bytes = Vec::new();
            write(&values, &mut bytes);
            let mut reader = Reader::new(&bytes);
            let floats = Floats::read(&mut reader, values.len()).expect("own bytes");
            let float = floats.float();
            let again: Vec<f64> = floats.numbers.numbers(0..values.len()).into_iter().map(float).collect();
            prop_assert_eq!(again, values);
        }
    }
}
