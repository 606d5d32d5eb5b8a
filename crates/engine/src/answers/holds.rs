//! How long an answer holds while its rows stay as they are: what of a question moves with the clock. Pure.
//!
//! Bucket starts, days and the floors of rolling words all fall on whole seconds in every zone, so a question that moves in
//! steps means the same throughout a second. What moves with every instant (a rate up to now, a comparison with "the same time
//! before", rows that expire inside the range) holds for the instant it was computed at, and is shared within one tick only.

use tidewater_model::query::{MetricExpr, Query};
use tidewater_model::time::{ResolvedRange, Timestamp};

const SECOND_US: i64 = 1_000_000;

/// The first instant from which the answer may differ though no row came or went: `query.now` where it differs at once.
/// `means_the_same` resolves the question at a later instant of the same second and compares.
pub(crate) fn holds_until(query: &Query, means_the_same: impl FnOnce(Timestamp) -> bool) -> Timestamp {
    let now = query.now;
    let Some(expires) = expires(query) else { return now };
    if !is_open(query) {
        return expires;
    }
    if query.metrics.iter().any(|metric| matches!(metric.expr, MetricExpr::Rate(_))) {
        return now;
    }
    let end = Timestamp((now.0.div_euclid(SECOND_US) + 1).saturating_mul(SECOND_US));
    let last = Timestamp(end.0 - 1);
    // A question that changes within the second and back again does not exist: all of it moves one way.
    if last > now && !means_the_same(last) {
        return now;
    }
    end.min(expires)
}

/// Whether an answer to `known` is one to `asked`, which is the same question at a later instant with the same meaning in
/// words (its canonical text), and holds beyond its instant.
pub(crate) fn still_holds(known: &Query, asked: &Query) -> bool {
    let Some((_, granularity)) = asked.time_dimension().filter(|_| asked.include.fill && is_open(known))
    else {
        return true;
    };
    // Fill adds the bucket that has begun meanwhile.
    granularity.floor(known.now, &known.zone) == granularity.floor(asked.now, &asked.zone)
}

/// Whether anything of the question is later than its instant, or said in words that move on.
fn is_open(query: &Query) -> bool {
    let is_open = |range: &ResolvedRange| range.word.is_some() || range.to.is_none_or(|to| to > query.now);
    is_open(&query.range) || query.compare.is_some()
}

/// When rows of the question's ranges begin to expire; `None` where they do so now.
fn expires(query: &Query) -> Option<Timestamp> {
    let retention = &query.dataset.retention;
    let raw = Expiry::of(query, retention.raw_us)?;
    if !raw.is_past_for_some {
        return Some(raw.next);
    }
    // Past the raw rows' time every tier counts.
    let tiers = retention.tiers_us.values().map(|tier| Expiry::of(query, *tier));
    tiers.map(|tier| tier.map(|tier| tier.next)).try_fold(raw.next, |least, next| Some(least.min(next?)))
}

/// What becomes of a question's ranges where rows are kept for a limited time.
struct Expiry {
    /// When the next range begins to expire.
    next: Timestamp,
    /// Whether one of them has expired as a whole.
    is_past_for_some: bool,
}

impl Expiry {
    /// `None` while rows inside one of the ranges are expiring.
    fn of(query: &Query, kept_us: Option<i64>) -> Option<Self> {
        let mut expiry = Expiry { next: Timestamp::MAX, is_past_for_some: false };
        let Some(kept_us) = kept_us else { return Some(expiry) };
        let oldest_us = query.now.0.saturating_sub(kept_us);
        for range in std::iter::once(&query.range).chain(&query.compare) {
            if range.from.0 >= oldest_us {
                expiry.next = expiry.next.min(Timestamp(range.from.0.saturating_add(kept_us)));
            } else if range.to.is_some_and(|to| to.0 <= oldest_us) {
                expiry.is_past_for_some = true;
            } else {
                return None;
            }
        }
        Some(expiry)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use tidewater_model::query::{QueryRequest, ResolveContext, normalised, resolve};
    use tidewater_model::schema::{Dataset, DatasetDefinition};

    use super::*;

    /// 2026-01-01T12:34:56.789Z.
    const NOW: i64 = 1_767_270_896_789_000;
    const HOUR: i64 = 3_600 * SECOND_US;
    const DAY: i64 = 24 * HOUR;

    fn question(members: &Value, now: i64) -> Query {
        let definition = json!({"time": "ts", "columns": {"a": "int"}, "metrics": {"n": {"agg": "count"}},
            "retention": members.get("retention").cloned().unwrap_or(json!({}))});
        let definition =
            DatasetDefinition::from_json(definition.to_string().as_bytes()).expect("a definition");
        let dataset = Arc::new(Dataset::compile("d", definition).expect("it compiles"));
        let mut question = json!({"dataset": "d", "metrics": ["n"]});
        let object = question.as_object_mut().expect("an object");
        object.extend(members.as_object().expect("an object").clone());
        object.remove("retention");
        let request = QueryRequest::from_json(&question).expect("a question");
        let first_row = || Some(Timestamp(NOW - 9 * DAY));
        let context = ResolveContext {
            dataset,
            project: crate::default_project(),
            now: Timestamp(now),
            first_row: &first_row,
        };
        resolve(&request, &context).expect("it resolves")
    }

    /// How long the answer of a question holds, in micro-seconds from `NOW`.
    fn holds(members: &Value) -> i64 {
        let query = question(members, NOW);
        let same = |later: Timestamp| normalised(&question(members, later.0)) == normalised(&query);
        holds_until(&query, same).0.saturating_sub(NOW)
    }

    #[test]
    fn each_kind_of_question_holds_as_long_as_it_means_the_same() {
        let past = json!(["2026-01-01T00:00:00Z", "2026-01-01T06:00:00Z"]);
        let second = 211_000;
        let for_ever = i64::MAX - NOW;
        let rate = json!([{"agg": "rate"}]);
        let cases = [
            (json!({"date_range": past}), for_ever),
            (json!({"date_range": past, "metrics": rate}), for_ever),
            (json!({"date_range": "24h"}), second),
            (json!({"date_range": "7d", "dimensions": ["time"], "include": {"fill": true}}), second),
            (json!({"date_range": "7d", "compare": "previous_period"}), second),
            (json!({"date_range": "7d", "metrics": rate}), 0),
            (json!({"date_range": "24h", "compare": "previous_period"}), 0),
            (json!({"date_range": "all"}), second),
            (json!({"date_range": ["2026-01-01", "2026-01-01"]}), second),
            (json!({"date_range": ["2026-01-01T00:00:00Z", null]}), second),
            (json!({"date_range": past, "compare": "year_over_year"}), second),
        ];
        for (members, expected) in cases {
            let found = holds(&members);
            assert!(found == expected || (expected == for_ever && found > 1_000 * DAY), "{members}: {found}");
        }
    }

    #[test]
    fn expiry_bounds_an_answer() {
        let from_midnight = json!(["2026-01-01T00:00:00Z", "2026-01-01T06:00:00Z"]);
        let check =
            |range: Value, retention: Value| holds(&json!({"date_range": range, "retention": retention}));
        let since_midnight = NOW.rem_euclid(DAY);
        assert_eq!(check(from_midnight.clone(), json!({"raw": "1d"})), DAY - since_midnight);
        // Inside the range now.
        assert_eq!(check(from_midnight.clone(), json!({"raw": "10h"})), 0);
        // All of it expired long ago; a tier keeps it until its own time comes.
        assert_eq!(check(from_midnight.clone(), json!({"raw": "2h", "1h": "2d"})), 2 * DAY - since_midnight);
        // A tier that expires does not matter while the raw rows are there.
        assert!(check(from_midnight, json!({"raw": "30d", "1m": "10h"})) > 20 * DAY);
    }

    #[test]
    fn fill_goes_on_with_the_clock() {
        let members = json!({"date_range": "7d", "dimensions": ["time:hour"], "include": {"fill": true}});
        let known = question(&members, NOW);
        let same_hour = question(&members, NOW + 20 * 60 * SECOND_US);
        let next_hour = question(&members, NOW + HOUR);
        assert_eq!(normalised(&known), normalised(&next_hour));
        assert!(still_holds(&known, &same_hour));
        assert!(!still_holds(&known, &next_hour));
        let unfilled = json!({"date_range": "7d", "dimensions": ["time:hour"]});
        assert!(still_holds(&question(&unfilled, NOW), &question(&unfilled, NOW + HOUR)));
    }
}
