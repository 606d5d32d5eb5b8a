//! The proleptic Gregorian calendar as plain integer arithmetic, for the paths that run once per row.
//!
//! Not here: zones and their transitions, which `jiff` knows. The formulas are Howard Hinnant's `days_from_civil` and
//! `civil_from_days` (<https://howardhinnant.github.io/date_algorithms.html>).

/// Micro-seconds in a second.
pub(super) const SECOND_US: i64 = 1_000_000;
/// Micro-seconds in a minute.
pub(super) const MINUTE_US: i64 = 60 * SECOND_US;
/// Micro-seconds in an hour.
pub(super) const HOUR_US: i64 = 60 * MINUTE_US;
/// Micro-seconds in a day of 24 hours.
pub(super) const DAY_US: i64 = 24 * HOUR_US;

/// Days from 1970-01-01 to a date of years 0000 to 9999. The date must be on the calendar.
pub(super) fn days_from_civil(year: u32, month: u32, day: u32) -> i64 {
    let shifted_year = i64::from(year) - i64::from(month <= 2);
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a count of days from 1970-01-01.
pub(super) fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days in a month (1 to 12) of a year.
pub(super) fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}
