//! Which part of a range raw rows still cover, given how long they are kept.

use tidewater_model::schema::Retention;
use tidewater_model::time::Timestamp;

use crate::error::ExecuteError;
use crate::frame::Range;

/// The start named in an error is rounded up to a whole hour, so that it is still right when the client asks again.
const REMEDY_GRID_US: i64 = 3_600_000_000;

/// The part of a range that is answered, with its start where that is not the whole. Retention drops only rows that are older than
/// it, so everything younger is there.
pub(crate) fn cover(
    range: Range,
    retention: &Retention,
    allow_partial: bool,
) -> Result<(Range, Option<Timestamp>), ExecuteError> {
    let Some(raw_us) = retention.raw_us else { return Ok((range, None)) };
    let oldest_us = range.now_us.saturating_sub(raw_us);
    if range.from_us >= oldest_us {
        return Ok((range, None));
    }
    if !allow_partial {
        let hours =
            oldest_us.div_euclid(REMEDY_GRID_US) + i64::from(oldest_us.rem_euclid(REMEDY_GRID_US) > 0);
        return Err(ExecuteError::RangeNotCovered { from: Timestamp(hours * REMEDY_GRID_US) });
    }
    // A range that has expired as a whole becomes empty.
    let from_us = oldest_us.min(range.to_us);
    Ok((Range { from_us, ..range }, Some(Timestamp(from_us))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = REMEDY_GRID_US;

    #[test]
    fn what_expired_is_refused_or_cut() {
        let kept = |raw_us| Retention { raw_us, ..Retention::default() };
        let range = |from_us, to_us| Range { from_us, to_us, now_us: 100 * HOUR + 1 };
        let check = |range, raw, partial| {
            cover(range, &kept(raw), partial).map(|(range, from)| (range.from_us, from))
        };
        assert!(matches!(check(range(0, HOUR), None, false), Ok((0, None))));
        assert!(matches!(check(range(91 * HOUR, i64::MAX), Some(10 * HOUR), false), Ok((_, None))));
        let refused = check(range(90 * HOUR, i64::MAX), Some(10 * HOUR), false);
        assert!(
            matches!(refused, Err(ExecuteError::RangeNotCovered { from: Timestamp(from) }) if from == 91 * HOUR)
        );
        let cut = check(range(0, i64::MAX), Some(10 * HOUR), true);
        assert!(
            matches!(cut, Ok((from, Some(Timestamp(covered)))) if from == 90 * HOUR + 1 && covered == from)
        );
        assert!(matches!(check(range(0, HOUR), Some(10 * HOUR), true), Ok((from, Some(_))) if from == HOUR));
    }
}
