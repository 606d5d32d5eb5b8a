//! Money as text: decimals with nine fraction digits, held as counts of 1e-9 units.
//!
//! Not here: arithmetic. Sums are made in `i128` by the aggregate states.

use std::fmt::Write as _;

/// Fraction digits of the `money` type.
pub const FRACTION_DIGITS: usize = 9;
/// 1e-9 units in one.
pub const UNITS_PER_ONE: i64 = 1_000_000_000;
/// The longest decimal text that is read; a number of more digits is a mistake, and reading it must stay cheap.
const TEXT_BYTES_MAX: usize = 64;

/// Why a text is no amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a decimal number.
    #[error("not a decimal number")]
    Malformed,
    /// More than nine significant fraction digits: it could only be stored rounded.
    #[error("more than 9 fraction digits")]
    Precision,
    /// Beyond ±9,223,372,036.854775807, what 64 bits of 1e-9 units hold.
    #[error("beyond ±9223372036.854775807")]
    OutOfRange,
}

/// Reads `-12.5`, `3`, `.5`, `1.5e-3` exactly. Zeros after the ninth fraction digit are fine, other digits are not.
pub fn parse_decimal(text: &str) -> Result<i64, MoneyError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(MoneyError::Malformed);
    }
    let (is_negative, text) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (number, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (whole, fraction) = match number.iter().position(|&byte| byte == b'.') {
        Some(at) => (&number[..at], &number[at + 1..]),
        None => (number, &[][..]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(MoneyError::Malformed);
    }
    // The digits as one whole number times ten to the `scale`, in 1e-9 units.
    let scale = exponent - fraction.len() as i32 + FRACTION_DIGITS as i32;
    let mut digits = whole.iter().chain(fraction);
    let size = if scale >= 0 {
        let significant = read_digits(&mut digits)?;
        scale_up(significant, scale)?
    } else {
        let kept = (whole.len() + fraction.len()).saturating_sub(scale.unsigned_abs() as usize);
        let significant = read_digits(&mut digits.by_ref().take(kept))?;
        // Only zeros may be cut off; where even the leading places are cut, the rest must be zero too.
        if read_digits(&mut digits)? != 0 {
            return Err(MoneyError::Precision);
        }
        significant
    };
    let signed = if is_negative { -size } else { size };
    i64::try_from(signed).map_err(|_| MoneyError::OutOfRange)
}

fn parse_exponent(text: &[u8]) -> Result<i32, MoneyError> {
    /// Far past what any amount needs, so that the sums of exponents stay small.
    const EXPONENT_MAX: i32 = 1_000;
    let text = std::str::from_utf8(text).map_err(|_| MoneyError::Malformed)?;
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(MoneyError::Malformed);
    }
    let size: i32 = digits.parse().unwrap_or(EXPONENT_MAX).min(EXPONENT_MAX);
    Ok(if text.starts_with('-') { -size } else { size })
}

/// Saturates far above any amount, so that an overlong number is out of range rather than wrong.
fn read_digits<'a>(digits: &mut impl Iterator<Item = &'a u8>) -> Result<i128, MoneyError> {
    const SATURATED: i128 = i128::MAX / 100;
    digits.try_fold(0_i128, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(MoneyError::Malformed);
        }
        Ok((value * 10 + i128::from(digit)).min(SATURATED))
    })
}

fn scale_up(value: i128, places: i32) -> Result<i128, MoneyError> {
    if value == 0 {
        return Ok(0);
    }
    let factor = 10_i128.checked_pow(places.unsigned_abs()).ok_or(MoneyError::OutOfRange)?;
    value.checked_mul(factor).ok_or(MoneyError::OutOfRange)
}

/// The amount with as few fraction digits as it has: `12.5`, `-0.000000001`, `3`.
pub fn format(units: i128) -> String {
    let per_one = UNITS_PER_ONE.unsigned_abs();
    let size = units.unsigned_abs();
    let mut out = String::with_capacity(24);
    if units < 0 {
        out.push('-');
    }
    // Nearly all amounts fit in a word, whose division is many times faster.
    let (written, mut fraction) = match u64::try_from(size) {
        Ok(size) => (write!(out, "{}", size / per_one), size % per_one),
        Err(_) => {
            let per_one = u128::from(per_one);
            (write!(out, "{}", size / per_one), (size % per_one) as u64)
        }
    };
    debug_assert!(written.is_ok(), "writing to a String does not fail");
    if fraction != 0 {
        // From the last digit: dividing by a known number is a multiplication.
        let mut digits = [b'0'; FRACTION_DIGITS];
        for digit in digits.iter_mut().rev() {
            *digit += (fraction % 10) as u8;
            fraction /= 10;
        }
        let len = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        out.push('.');
        out.extend(digits[..len].iter().copied().map(char::from));
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_decimals_exactly() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("1", Ok(1_000_000_000)),
            ("0.1", Ok(100_000_000)),
            ("-12.5", Ok(-12_500_000_000)),
            (".5", Ok(500_000_000)),
            ("5.", Ok(5_000_000_000)),
            ("1.5e-3", Ok(1_500_000)),
            ("1e-9", Ok(1)),
            ("10e-10", Ok(1)),
            ("1E2", Ok(100_000_000_000)),
            ("0.1234567890000", Ok(123_456_789)),
            ("0e999999999999", Ok(0)),
            ("9223372036.854775807", Ok(i64::MAX)),
            ("-9223372036.854775808", Ok(i64::MIN)),
            ("9223372036.854775808", Err(MoneyError::OutOfRange)),
            ("1e30", Err(MoneyError::OutOfRange)),
            ("1e999999999999", Err(MoneyError::OutOfRange)),
            ("0.1234567891", Err(MoneyError::Precision)),
            ("1e-10", Err(MoneyError::Precision)),
            ("1e-999", Err(MoneyError::Precision)),
            ("", Err(MoneyError::Malformed)),
            ("-", Err(MoneyError::Malformed)),
            (".", Err(MoneyError::Malformed)),
            ("1,5", Err(MoneyError::Malformed)),
            ("NaN", Err(MoneyError::Malformed)),
            ("1e", Err(MoneyError::Malformed)),
            ("1.2.3", Err(MoneyError::Malformed)),
            ("0x10", Err(MoneyError::Malformed)),
        ] {
            assert_eq!(parse_decimal(text), expected, "{text}");
        }
        assert_eq!(parse_decimal(&"1".repeat(40)), Err(MoneyError::OutOfRange));
    }

    proptest! {
        #[test]
        fn parse_after_format_is_the_same(units: i64) {
            prop_assert_eq!(parse_decimal(&format(i128::from(units))), Ok(units));
        }
    }

    #[test]
    fn prints_the_fewest_digits() {
        for (units, text) in [(0, "0"), (1, "0.000000001"), (-12_500_000_000, "-12.5"), (3_000_000_000, "3")]
        {
            assert_eq!(format(units), text);
        }
        assert_eq!(format(i128::MIN).parse::<f64>().ok().map(|value| value < 0.0), Some(true));
    }
}
