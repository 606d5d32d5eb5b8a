//! One bucket of one limit: the generic cell rate algorithm (ITU-T I.371, also the form that Redis and Envoy made usual) over one
//! atomic word, on the monotonic clock.
//!
//! Crates for this refuse what is larger than a whole bucket and have no debt. Rows are counted only after they have been read, so
//! a bucket here can be charged past its end and then owes; and a bucket is a word, so that many callers cost little. Not here: whose
//! bucket it is and what it limits (`limits`).

use std::sync::atomic::{AtomicU64, Ordering};

/// Nano-seconds of a minute, in which rates are stated.
const MINUTE_NS: u64 = 60_000_000_000;
/// Most that a bucket owes, in nano-seconds of waiting: ten minutes. One batch that is far too large must not shut its sender out
/// for days.
const DEBT_NS_MAX: u64 = 10 * MINUTE_NS;

/// So many units a minute, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_minute: u64,
    burst: u64,
    /// Nano-seconds in which a whole bucket comes back, and one unit.
    tolerance_ns: u64,
    unit_ns: u64,
}

/// Where a bucket stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Units left.
    pub remaining: u64,
    /// Seconds until the bucket is full again, rounded up.
    pub full_in_s: u64,
}

/// There is too little in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Empty {
    /// Seconds after which there is enough, rounded up and at least 1.
    pub retry_after_s: u64,
}

impl Rate {
    /// A rate; none for 0, which means no limit. The bucket holds `burst`, but at least one unit.
    pub fn new(per_minute: u64, burst: u64) -> Option<Self> {
        let burst = burst.max(1);
        (per_minute > 0).then(|| Rate {
            per_minute,
            burst,
            tolerance_ns: cost_ns(burst, per_minute),
            unit_ns: cost_ns(1, per_minute),
        })
    }

    /// Units a full bucket holds.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// Units that come back each minute.
    pub fn per_minute(&self) -> u64 {
        self.per_minute
    }

    /// Seconds in which an empty bucket fills, rounded up.
    pub fn window_s(&self) -> u64 {
        seconds(self.tolerance_ns)
    }

    /// Nano-seconds in which so many units come back.
    fn cost_ns(&self, units: u64) -> u64 {
        if units == 1 { self.unit_ns } else { cost_ns(units, self.per_minute) }
    }

    /// What is left where the bucket is full again in `ahead_ns`.
    fn standing(&self, ahead_ns: u64) -> Standing {
        let left_ns = self.tolerance_ns.saturating_sub(ahead_ns);
        let left = match left_ns.checked_mul(self.per_minute) {
            // Usual numbers fit, and are divided much faster.
            Some(product) => product / MINUTE_NS,
            None => (u128::from(left_ns) * u128::from(self.per_minute) / u128::from(MINUTE_NS)) as u64,
        };
        Standing { remaining: left.min(self.burst), full_in_s: seconds(ahead_ns) }
    }
}

fn cost_ns(units: u64, per_minute: u64) -> u64 {
    let ns = u128::from(units) * u128::from(MINUTE_NS) / u128::from(per_minute);
    // Far below overflow when added to a moment; a century is for ever.
    u64::try_from(ns).unwrap_or(u64::MAX).min(u64::MAX / 4)
}

fn seconds(ns: u64) -> u64 {
    ns.div_ceil(1_000_000_000)
}

/// The moment at which the bucket is full again, in nano-seconds since the limits began; one in the past is a full bucket.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// Takes units, or nothing where there are too few.
    pub fn take(&self, rate: &Rate, units: u64, now_ns: u64) -> Result<Standing, Empty> {
        let (cost_ns, tolerance_ns) = (rate.cost_ns(units), rate.tolerance_ns);
        let ahead_ns = |full_ns: u64| full_ns.saturating_sub(now_ns) + cost_ns;
        let take = |full_ns| (ahead_ns(full_ns) <= tolerance_ns).then(|| now_ns + ahead_ns(full_ns));
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(before) => Ok(rate.standing(ahead_ns(before))),
            Err(full_ns) => Err(empty(ahead_ns(full_ns) - tolerance_ns)),
        }
    }

    /// Whether something is left, without taking any of it.
    pub fn check(&self, rate: &Rate, now_ns: u64) -> Result<(), Empty> {
        let ahead_ns = self.0.load(Ordering::Relaxed).saturating_sub(now_ns);
        let tolerance_ns = rate.tolerance_ns;
        if ahead_ns < tolerance_ns { Ok(()) } else { Err(empty(ahead_ns - tolerance_ns + 1)) }
    }

    /// Takes units whether they are there or not; what is missing is owed.
    pub fn charge(&self, rate: &Rate, units: u64, now_ns: u64) {
        let (cost_ns, ahead_ns_max) = (rate.cost_ns(units), rate.tolerance_ns.saturating_add(DEBT_NS_MAX));
        let charge = |full_ns: u64| {
            let ahead_ns = full_ns.saturating_sub(now_ns).saturating_add(cost_ns);
            Some(now_ns + ahead_ns.min(ahead_ns_max))
        };
        // The closure never declines, so neither does the update.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge);
    }
}

fn empty(wait_ns: u64) -> Empty {
    Empty { retry_after_s: seconds(wait_ns).max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(per_minute: u64, burst: u64) -> Rate {
        Rate::new(per_minute, burst).expect("a limit")
    }

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let (rate, bucket) = (rate(60, 3), Bucket::default());
        let now = 5 * SECOND;
        let left: Vec<_> = (0..3).map(|_| bucket.take(&rate, 1, now).expect("there").remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        assert_eq!(bucket.take(&rate, 1, now), Err(Empty { retry_after_s: 1 }));
        assert_eq!(bucket.take(&rate, 3, now), Err(Empty { retry_after_s: 3 }));
        let later = bucket.take(&rate, 1, now + SECOND).expect("one has come back");
        assert_eq!(later, Standing { remaining: 0, full_in_s: 3 });
        assert_eq!(bucket.take(&rate, 3, now + 100 * SECOND).map(|standing| standing.remaining), Ok(0));
    }

    #[test]
    fn over_ten_minutes_as_much_passes_as_the_rate_says() {
        for per_minute in [1, 7, 1_000, 100_000] {
            let (rate, bucket) = (rate(per_minute, per_minute + per_minute / 5), Bucket::default());
            let mut passed = 0;
            // Asked twice as often as may be.
            let step = 60 * SECOND / per_minute / 2;
            let mut now = 0;
            while now < 600 * SECOND {
                passed += u64::from(bucket.take(&rate, 1, now).is_ok());
                now += step;
            }
            let due = now as f64 / 60e9 * per_minute as f64 + rate.burst() as f64;
            assert!((passed as f64 - due).abs() <= 2.0, "{per_minute}: {passed} instead of {due}");
        }
    }

    #[test]
    fn a_charge_past_the_end_is_owed_but_not_for_ever() {
        let (rate, bucket) = (rate(60, 60), Bucket::default());
        assert_eq!(bucket.check(&rate, 0), Ok(()));
        bucket.charge(&rate, 90, 0);
        assert_eq!(bucket.check(&rate, 0), Err(Empty { retry_after_s: 31 }));
        assert_eq!(bucket.check(&rate, 31 * SECOND), Ok(()));
        bucket.charge(&rate, u64::MAX, 31 * SECOND);
        assert_eq!(bucket.check(&rate, 31 * SECOND), Err(Empty { retry_after_s: 601 }));
    }

    #[test]
    fn threads_together_get_no_more_than_is_there() {
        let (rate, bucket) = (rate(60, 1_000), Bucket::default());
        let passed: usize = std::thread::scope(|scope| {
            let take = || (0..1_000).filter(|_| bucket.take(&rate, 1, 7).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().expect("it ends")).sum()
        });
        assert_eq!(passed, 1_000);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_away_and_breaks_nothing() {
        let (rate, bucket) = (rate(60, 2), Bucket::default());
        assert!(bucket.take(&rate, 2, 100 * SECOND).is_ok());
        let back = bucket.take(&rate, 1, 90 * SECOND);
        assert_eq!(back, Err(Empty { retry_after_s: 11 }));
        assert_eq!(Rate::new(0, 5), None);
        assert_eq!(self::rate(u64::MAX, 1).window_s(), 0);
    }
}
