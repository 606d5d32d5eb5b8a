//! JSON values as literals of a column's type, exactly: a number between two values that the column can hold says so, so
//! that a comparison with it is still right.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Comparison, Scalar};
use crate::input_error::{InputError, Shown, codes};
use crate::schema::ColumnType;
use crate::time::{Timestamp, Zone, parse_timestamp};

/// The nearest value the column can hold, and how it stands to what was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fitted {
    /// A value of the column's type.
    pub value: Scalar,
    /// `value` compared with the literal. Where it is not `Equal`, no value of the type lies between the two.
    pub order: Ordering,
}

impl Fitted {
    fn exact(value: Scalar) -> Self {
        Fitted { value, order: Ordering::Equal }
    }

    /// The comparison with `value` that holds for the same column values as `how` with the literal.
    pub fn adjust(&self, how: Comparison) -> Comparison {
        match (self.order, how) {
            (Ordering::Equal, how) => how,
            (Ordering::Less, Comparison::Gt | Comparison::Gte) => Comparison::Gt,
            (Ordering::Less, Comparison::Lt | Comparison::Lte) => Comparison::Lte,
            (Ordering::Greater, Comparison::Gt | Comparison::Gte) => Comparison::Gte,
            (Ordering::Greater, Comparison::Lt | Comparison::Lte) => Comparison::Lt,
        }
    }
}

/// Reads a non-null literal for a column `name` of type `kind`. `Strings` and map keys take strings.
pub(super) fn fit(json: &Value, kind: ColumnType, name: &str, zone: &Zone) -> Result<Fitted, InputError> {
    let refused = |wanted: &str| {
        let message =
            format!("{} does not fit column '{name}' of type {}: {wanted}", Shown(json), kind.name());
        InputError { code: codes::INVALID_VALUE, field: None, message }
    };
    match kind {
        ColumnType::Bool => match json {
            Value::Bool(value) => Ok(Fitted::exact(Scalar::Bool(*value))),
            _ => Err(refused("write true or false")),
        },
        ColumnType::String | ColumnType::Strings => match json {
            Value::String(text) => Ok(Fitted::exact(Scalar::String(text.clone()))),
            Value::Number(number) => Err(refused(&format!("write it as text, \"{number}\""))),
            _ => Err(refused("write text in quotes")),
        },
        ColumnType::Int => fit_decimal(json, 0, Scalar::Int).ok_or_else(|| refused("write a number")),
        ColumnType::Money => {
            if needs_text(json) {
                return Err(refused(
                    "so many digits do not survive as a JSON number, write it as text in quotes",
                ));
            }
            fit_decimal(json, MONEY_PLACES, Scalar::Money)
                .ok_or_else(|| refused("write a number, or text like \"0.000125\""))
        }
        ColumnType::Float => fit_float(json).ok_or_else(|| refused("write a finite number")),
        ColumnType::Time => fit_time(json, zone),
        ColumnType::Map => Err(refused("a map is only compared by key, like 'props.plan'")),
    }
}

/// Fraction digits of money.
const MONEY_PLACES: i64 = 9;

/// Whether a JSON number may have lost digits that matter to money before it came here: a double of that size no longer
/// tells neighbouring multiples of 1e-9 apart, and its shortest text is longer than a double can hold exactly.
fn needs_text(json: &Value) -> bool {
    /// 2^22; above it half the distance between doubles is more than 4.6e-10.
    const AMBIGUOUS_FROM: f64 = 4_194_304.0;
    /// Every decimal of so many digits survives the way through a double.
    const SAFE_DIGITS: usize = 15;
    match json {
        Value::Number(number) if !number.is_i64() && !number.is_u64() => {
            number.as_f64().is_some_and(|value| {
                let digits = format!("{:e}", value.abs());
                let count =
                    digits.bytes().take_while(|byte| *byte != b'e').filter(u8::is_ascii_digit).count();
                value.abs() >= AMBIGUOUS_FROM && count > SAFE_DIGITS
            })
        }
        _ => false,
    }
}

fn fit_decimal(json: &Value, places: i64, scalar: fn(i64) -> Scalar) -> Option<Fitted> {
    let (value, order) = match json {
        Value::Number(number) => floor_decimal(&number.to_string(), places)?,
        Value::String(text) => floor_decimal(text, places)?,
        _ => return None,
    };
    Some(Fitted { value: scalar(value), order })
}

fn fit_float(json: &Value) -> Option<Fitted> {
    let exact = |value: f64| value.is_finite().then(|| Fitted::exact(Scalar::Float(value)));
    match json {
        Value::Number(number) => {
            match (number.as_i64().map(i128::from)).or(number.as_u64().map(i128::from)) {
                Some(integer) => {
                    let value = integer as f64;
                    Some(Fitted { value: Scalar::Float(value), order: (value as i128).cmp(&integer) })
                }
                None => number.as_f64().and_then(exact),
            }
        }
        // The check of the form keeps out "inf" and "nan", which `parse` takes.
        Value::String(text) => floor_decimal(text, 0).and_then(|_| text.parse().ok()).and_then(exact),
        _ => None,
    }
}

fn fit_time(json: &Value, zone: &Zone) -> Result<Fitted, InputError> {
    let refused = |message: String| InputError { code: codes::INVALID_TIME, field: None, message };
    let (instant, cut) = match json {
        Value::String(text) => (parse_timestamp(text, zone), has_nanoseconds(text)),
        Value::Number(number) => {
            match (number.as_i64().map(i128::from)).or(number.as_u64().map(i128::from)) {
                Some(integer) => (
                    Timestamp::from_integer(integer),
                    integer.abs() >= NANOSECONDS_FROM && integer % 1_000 != 0,
                ),
                None => (Timestamp::from_number(number.as_f64().unwrap_or(f64::NAN)), false),
            }
        }
        _ => return Err(refused(format!("{} is not a time: use RFC 3339 text or a number", Shown(json)))),
    };
    let value = instant.map_err(|error| refused(error.to_string()))?;
    let order = if cut { Ordering::Less } else { Ordering::Equal };
    Ok(Fitted { value: Scalar::Time(value.0), order })
}

/// Whole numbers from here on are nano-seconds (API.md).
const NANOSECONDS_FROM: i128 = 100_000_000_000_000_000;

/// Whether the text has fraction digits below a micro-second, which reading a time cuts off.
fn has_nanoseconds(text: &str) -> bool {
    let Some((_, fraction)) = text.split_once(['.', ',']) else { return false };
    fraction.bytes().take_while(u8::is_ascii_digit).skip(6).any(|byte| byte != b'0')
}

/// The greatest count of 10^-places units at or below a decimal (`-12.5e3`), cut to `i64`, and how it stands to it.
fn floor_decimal(text: &str, places: i64) -> Option<(i64, Ordering)> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
        None => (text, 0),
    };
    let (negative, unsigned) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || unsigned.ends_with('.') {
        return None;
    }
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).skip_while(|byte| *byte == b'0').collect();
    if digits.is_empty() {
        return Some((0, Ordering::Equal));
    }
    let fraction_len = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let scale = exponent.saturating_add(places).saturating_sub(fraction_len);
    Some(saturate(scaled(&digits, scale), negative))
}

/// Digits of an exponent past which it changes nothing: no text here is long enough to make up for it.
const EXPONENT_MAX: i64 = 1_000_000_000;

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse().unwrap_or(EXPONENT_MAX).min(EXPONENT_MAX);
    Some(if text.starts_with('-') { -size } else { size })
}

/// `digits` × 10^scale as a whole number, and whether a rest was cut off; `None` for the number past 19 digits.
fn scaled(digits: &[u8], scale: i64) -> (Option<i128>, bool) {
    /// Digits of the greatest `i64`.
    const DIGITS_MAX: i64 = 19;
    let len = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let kept_len = len.saturating_add(scale);
    if kept_len > DIGITS_MAX {
        return (None, false);
    }
    let kept = usize::try_from(len.min(kept_len).max(0)).unwrap_or(0);
    let (kept, cut) = digits.split_at(kept);
    let zeros = u32::try_from(scale.max(0)).unwrap_or(0);
    let value = kept.iter().fold(0_i128, |value, digit| value * 10 + i128::from(digit - b'0'));
    (Some(value * 10_i128.pow(zeros)), cut.iter().any(|digit| *digit != b'0'))
}

fn saturate((size, rest): (Option<i128>, bool), negative: bool) -> (i64, Ordering) {
    let floor = match (size, negative) {
        (None, false) => return (i64::MAX, Ordering::Less),
        (None, true) => return (i64::MIN, Ordering::Greater),
        (Some(size), false) => size,
        (Some(size), true) => -size - i128::from(rest),
    };
    match i64::try_from(floor) {
        Ok(value) => (value, if rest { Ordering::Less } else { Ordering::Equal }),
        Err(_) if negative => (i64::MIN, Ordering::Greater),
        Err(_) => (i64::MAX, Ordering::Less),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_floored_exactly() {
        use Ordering::{Equal, Greater, Less};
        let cases = [
            ("5", 0, 5, Equal),
            ("-5", 0, -5, Equal),
            ("5.5", 0, 5, Less),
            ("-5.5", 0, -6, Less),
            ("5.000", 0, 5, Equal),
            ("1e3", 0, 1000, Equal),
            ("1234e-2", 0, 12, Less),
            ("1200e-2", 0, 12, Equal),
            ("0.1", 9, 100_000_000, Equal),
            ("0.0000000001", 9, 0, Less),
            ("-0.0000000001", 9, -1, Less),
            ("1e-999999999999", 9, 0, Less),
            ("9223372036.854775807", 9, i64::MAX, Equal),
            ("9223372036.8547758071", 9, i64::MAX, Less),
            ("9223372036.854775808", 9, i64::MAX, Less),
            ("-9223372036.854775808", 9, i64::MIN, Equal),
            ("-9223372036.8547758081", 9, i64::MIN, Greater),
            ("1e999999999999", 0, i64::MAX, Less),
            ("-1e30", 0, i64::MIN, Greater),
            ("0e999999999999", 0, 0, Equal),
            ("00012.50", 1, 125, Equal),
        ];
        for (text, places, value, order) in cases {
            assert_eq!(floor_decimal(text, places), Some((value, order)), "{text}");
        }
        for bad in
            ["", "-", ".5", "5.", "1e", "1e+", "0x1", "inf", "NaN", "1_000", " 1", "+1", "1.2.3", "--1"]
        {
            assert_eq!(floor_decimal(bad, 0), None, "{bad}");
        }
    }

    #[test]
    fn money_numbers_that_a_double_cannot_hold_are_refused() {
        let json = |text: &str| serde_json::from_str::<Value>(text).expect("a JSON number");
        assert!(needs_text(&json("5000000.123456789")));
        assert!(!needs_text(&json("0.30000000000000004")));
        assert!(!needs_text(&json("5000000.125")));
        assert!(!needs_text(&json("9000000000")));
    }
}
