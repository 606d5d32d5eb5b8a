//! Numbers as they stand in a text, exactly: digits, a scale, and what each column type makes of them.

use tidewater_model::money::{self, MoneyError};
use tidewater_model::time::{TimeError, Timestamp};

/// A number of JSON's grammar: `mantissa · 10^scale`, if that is exact.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number<'a> {
    /// As it was written.
    pub raw: &'a str,
    is_negative: bool,
    /// All digits without the point, if they fit.
    mantissa: u64,
    /// Power of ten.
    scale: i32,
    /// False if there are more digits than `mantissa` holds; then only `raw` counts.
    is_exact: bool,
}

/// Why a number does not fit an integer column.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum IntError {
    Fraction,
    OutOfRange,
}

/// Digits that always fit a `u64`.
const EXACT_DIGITS_MAX: usize = 19;
/// Exponents are cut here: no column holds numbers of a thousand digits.
const EXPONENT_MAX: i32 = 9_999;

impl<'a> Number<'a> {
    /// Reads the number at the start of `text`; `None` if there is none. The rest of the text is not looked at.
    #[inline]
    pub fn read(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let is_negative = bytes.first() == Some(&b'-');
        let mut at = usize::from(is_negative);
        let mut mantissa = 0_u64;
        let whole_from = at;
        at = digits(bytes, at, &mut mantissa);
        let whole = at - whole_from;
        if whole == 0 || (whole > 1 && bytes[whole_from] == b'0') {
            return None;
        }
        let mut count = whole;
        let mut scale = 0;
        if bytes.get(at) == Some(&b'.') {
            let from = at + 1;
            at = digits(bytes, from, &mut mantissa);
            if at == from {
                return None;
            }
            count += at - from;
            scale = -i32::try_from(at - from).unwrap_or(EXPONENT_MAX).min(EXPONENT_MAX);
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            let (exponent, end) = exponent(bytes, at + 1)?;
            scale += exponent;
            at = end;
        }
        Some(Number { raw: &text[..at], is_negative, mantissa, scale, is_exact: count <= EXACT_DIGITS_MAX })
    }

    /// Reads a text that is one number, a leading `+` allowed.
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = text.strip_prefix('+').filter(|rest| !rest.starts_with('-')).unwrap_or(text);
        Number::read(text).filter(|number| number.raw.len() == text.len())
    }

    /// The number as an integer, if it is one.
    #[inline]
    pub fn to_int(self) -> Result<i64, IntError> {
        if self.is_exact && self.scale == 0 {
            return self.signed(u128::from(self.mantissa));
        }
        self.to_int_slow()
    }

    fn to_int_slow(self) -> Result<i64, IntError> {
        if !self.is_exact {
            // More than 19 digits: too large, or with a fraction that no double tells from a whole number.
            const WHOLE_MAX: f64 = (1_u64 << 53) as f64;
            let float: f64 = self.raw.parse().unwrap_or(f64::INFINITY);
            return match float {
                float if float.abs() >= WHOLE_MAX => Err(IntError::OutOfRange),
                float if float.fract() == 0.0 => Ok(float as i64),
                _ => Err(IntError::Fraction),
            };
        }
        if self.mantissa == 0 {
            return Ok(0);
        }
        let Some(power) = 10_u128.checked_pow(self.scale.unsigned_abs()) else {
            return Err(if self.scale > 0 { IntError::OutOfRange } else { IntError::Fraction });
        };
        let mantissa = u128::from(self.mantissa);
        match self.scale {
            0.. => self.signed(mantissa.checked_mul(power).ok_or(IntError::OutOfRange)?),
            _ if mantissa % power == 0 => self.signed(mantissa / power),
            _ => Err(IntError::Fraction),
        }
    }

    fn signed(self, size: u128) -> Result<i64, IntError> {
        let size = i128::try_from(size).map_err(|_| IntError::OutOfRange)?;
        i64::try_from(if self.is_negative { -size } else { size }).map_err(|_| IntError::OutOfRange)
    }

    /// The nearest double; `None` beyond its range.
    #[inline]
    pub fn to_float(self) -> Option<f64> {
        // Clinger's fast path: both factors are exact doubles, so one operation rounds correctly.
        const POWERS: [f64; 23] = [
            1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17,
            1e18, 1e19, 1e20, 1e21, 1e22,
        ];
        if self.is_exact
            && self.mantissa < 1 << 53
            && let Some(power) = POWERS.get(self.scale.unsigned_abs() as usize)
        {
            let size = self.mantissa as f64;
            let size = if self.scale < 0 { size / power } else { size * power };
            return Some(if self.is_negative { -size } else { size });
        }
        self.raw.parse().ok().filter(|value: &f64| value.is_finite())
    }

    /// The number as money, exactly.
    #[inline]
    pub fn to_money(self) -> Result<i64, MoneyError> {
        let places = self.scale + money::FRACTION_DIGITS as i32;
        if self.is_exact && (0..=18).contains(&places) {
            let units = u128::from(self.mantissa) * 10_u128.pow(places.unsigned_abs());
            return self.signed(units).map_err(|_| MoneyError::OutOfRange);
        }
        money::parse_decimal(self.raw)
    }

    /// The number as an instant; its size tells the unit.
    pub fn to_time(self) -> Result<Timestamp, TimeError> {
        match self.to_int() {
            Ok(int) => Timestamp::from_integer(i128::from(int)),
            Err(_) => Timestamp::from_number(self.to_float().unwrap_or(f64::MAX)),
        }
    }
}

/// Takes digits in; returns where they end. The sum wraps for more digits than a `u64` holds, the caller counts.
#[inline]
fn digits(bytes: &[u8], mut at: usize, mantissa: &mut u64) -> usize {
    while let Some(byte) = bytes.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    at
}

fn exponent(bytes: &[u8], mut at: usize) -> Option<(i32, usize)> {
    let is_negative = bytes.get(at) == Some(&b'-');
    if let Some(b'+' | b'-') = bytes.get(at) {
        at += 1;
    }
    let from = at;
    let mut exponent = 0_i32;
    while let Some(byte @ b'0'..=b'9') = bytes.get(at) {
        exponent = (exponent * 10 + i32::from(byte - b'0')).min(EXPONENT_MAX);
        at += 1;
    }
    (at > from).then_some((if is_negative { -exponent } else { exponent }, at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number<'_> {
        Number::parse(text).expect("a number")
    }

    #[test]
    fn follows_the_grammar() {
        for bad in ["", "-", "01", "-01", ".5", "5.", "1e", "1e+", "+-1", "NaN", "0x1", "1_0", "1 "] {
            assert!(Number::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(Number::read("12,3").map(|number| number.raw), Some("12"));
    }

    #[test]
    fn integers_are_exact_or_refused() {
        for (text, expected) in [
            ("9223372036854775807", Ok(i64::MAX)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("9223372036854775808", Err(IntError::OutOfRange)),
            ("18446744073709551616", Err(IntError::OutOfRange)),
            ("99999999999999999999999999", Err(IntError::OutOfRange)),
            ("1e3", Ok(1_000)),
            ("12.500e1", Ok(125)),
            ("1.0", Ok(1)),
            ("-0.0", Ok(0)),
            ("0e9999999", Ok(0)),
            ("1e9999999", Err(IntError::OutOfRange)),
            ("1e-9999999", Err(IntError::Fraction)),
            ("1.5", Err(IntError::Fraction)),
            ("1.00000000000000000000000", Ok(1)),
            ("0.10000000000000000000000", Err(IntError::Fraction)),
        ] {
            assert_eq!(number(text).to_int(), expected, "{text}");
        }
    }

    #[test]
    fn money_is_exact_or_refused() {
        assert_eq!(number("0.00125").to_money(), Ok(1_250_000));
        assert_eq!(number("1.25e-3").to_money(), Ok(1_250_000));
        assert_eq!(number("-9223372036.854775808").to_money(), Ok(i64::MIN));
        assert_eq!(number("9223372036.854775808").to_money(), Err(MoneyError::OutOfRange));
        assert_eq!(number("0.1234567891").to_money(), Err(MoneyError::Precision));
        assert_eq!(number("1e400").to_money(), Err(MoneyError::OutOfRange));
    }

    #[test]
    fn floats_stay_finite() {
        assert_eq!(number("1e999").to_float(), None);
        assert_eq!(number("-0.0").to_float().map(f64::to_bits), Some((-0.0_f64).to_bits()));
    }

    proptest! {
        #[test]
        fn floats_equal_the_standard_library(text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?") {
            let expected = text.parse::<f64>().ok().filter(|value| value.is_finite());
            prop_assert_eq!(number(&text).to_float().map(f64::to_bits), expected.map(f64::to_bits));
        }

        #[test]
        fn money_equals_the_model(text in "-?(0|[1-9][0-9]{0,11})(\\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?") {
            prop_assert_eq!(number(&text).to_money(), money::parse_decimal(&text));
        }
    }
}
