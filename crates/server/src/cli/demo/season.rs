//! How busy people are at a minute of the week.
//!
//! Not here: machines, which follow shifts.

/// Minutes of a day.
pub const DAY_MINUTES: i64 = 1_440;
/// Micro-seconds of a minute.
pub const MINUTE_US: i64 = 60_000_000;

/// A minute since the Unix epoch, taken apart on the UTC clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    /// Days since the epoch.
    pub day: i64,
    /// 0 is Monday.
    pub weekday: i64,
    /// 0 to 1,439.
    pub minute_of_day: i64,
}

impl Clock {
    /// Takes a minute apart.
    pub fn at(minute: i64) -> Self {
        let day = minute.div_euclid(DAY_MINUTES);
        // 1970-01-01 was a Thursday.
        Clock { day, weekday: (day + 3).rem_euclid(7), minute_of_day: minute.rem_euclid(DAY_MINUTES) }
    }

    /// Hours since midnight, with a fraction.
    pub fn hour(self) -> f64 {
        self.minute_of_day as f64 / 60.0
    }

    /// Whole weeks since the first Monday of the epoch's time.
    pub fn week(self) -> i64 {
        (self.day + 3).div_euclid(7)
    }

    /// Saturday or Sunday.
    pub fn is_weekend(self) -> bool {
        self.weekday >= 5
    }
}

/// How much is going on, 1 on the average of a week: afternoons are busy, lunch is a dip, nights and weekends are quiet.
pub fn activity(minute: i64) -> f64 {
    let clock = Clock::at(minute);
    // Quietest at 03:00, busiest at 15:00.
    let hours = 1.0 - 0.75 * (std::f64::consts::TAU * (clock.hour() - 3.0) / 24.0).cos();
    let lunch = if (12.0..13.0).contains(&clock.hour()) { 0.88 } else { 1.0 };
    // Five days of 1.2 and two of 0.5 make 7.
    let week = if clock.is_weekend() { 0.5 } else { 1.2 };
    hours * lunch * week
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_is_busy_by_day_and_averages_one() {
        let week = 7 * DAY_MINUTES;
        let mean = (0..week).map(activity).sum::<f64>() / week as f64;
        assert!((0.97..=1.0).contains(&mean), "{mean}");
        // 2026-11-18 is a Wednesday, 2026-11-22 a Sunday.
        let wednesday = 20_775 * DAY_MINUTES;
        assert_eq!(Clock::at(wednesday).weekday, 2);
        assert!(activity(wednesday + 15 * 60) > 4.0 * activity(wednesday + 3 * 60));
        assert!(activity(wednesday + 15 * 60) > 2.0 * activity(wednesday + (4 * 24 + 15) * 60));
    }
}
