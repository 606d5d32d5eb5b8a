//! What is chosen in cases a reader can follow.

use super::*;

/// 2026-06-01T00:00:00Z.
const MONDAY: i64 = 1_780_272_000_000_000;

/// A question over everything, by buckets in a zone and by columns.
fn asking(buckets: Option<(Granularity, &str)>, dimensions: &[u16], measures: &[usize]) -> Question {
    let grid = buckets.map(|(granularity, zone)| {
        let zone = Zone::get(zone).expect("a zone");
        let (from, to) = (Timestamp(MONDAY - 100 * DAY), Timestamp(MONDAY + 10 * DAY));
        Arc::new(BucketGrid::new(granularity, &zone, from, to).expect("few buckets"))
    });
    Question {
        from_us: MONDAY - 100 * DAY,
        to_us: i64::MAX,
        grid,
        dimensions: dimensions.iter().copied().map(column).collect(),
        filter: Filter::all(),
        measures: measures.iter().copied().map(wanted).collect(),
    }
}

/// A segment of one day with rows all through it.
fn segment(day: i64, sections: &[(usize, Tier, u64)]) -> UnitFacts {
    let sections = sections.iter();
    UnitFacts {
        min_us: MONDAY + day * DAY + 1,
        max_us: MONDAY + (day + 1) * DAY - 2,
        raw: Some(RawFacts { rows: 600_000, in_memory: false }),
        sections: sections
            .map(|(index, tier, rows)| SectionFacts { schema: rollup(*index, *tier), rows: *rows })
            .collect(),
        has_pending_tombstone: false,
    }
}

/// `SOURCE FROM..TO measures`, a piece each; minutes of the unit's day.
fn shown(question: &Question, unit: &UnitFacts) -> Vec<String> {
    let ages = Ages::new(&Retention::default(), MONDAY);
    let Ok(plan) = Planner::new(question, ages).plan(unit) else { return vec!["gap".to_owned()] };
    let minute = |at: Option<i64>| match at {
        None => String::new(),
        Some(at) => format!("{}:{:02}", at.rem_euclid(DAY) / HOUR, at.rem_euclid(HOUR) / MINUTE),
    };
    let piece = |piece: &Piece| {
        let source = match piece.source {
            Source::Raw => "raw".to_owned(),
            Source::Section(index) => {
                let schema = &unit.sections[index].schema;
                format!("{}/{}", schema.rollup, schema.tier.name())
            }
        };
        let measures: Vec<usize> = piece.measures.iter().map(|held| held.measure).collect();
        format!("{source} {}..{} {measures:?}", minute(piece.from_us), minute(piece.to_us))
    };
    plan.pieces.iter().map(piece).collect()
}

#[test]
fn the_coarsest_aligned_tier_answers_and_finer_ones_the_edges() {
    let all_tiers =
        [(1, Tier::Minute, 60_000), (1, Tier::Minutes5, 20_000), (1, Tier::Hour, 5_000), (1, Tier::Day, 400)];
    let by = |granularity, zone| asking(Some((granularity, zone)), &[1], &[0]);
    let cases: &[(Question, &[&str])] = &[
        (asking(None, &[1], &[0]), &["one/1d .. [0]"]),
        (by(Granularity::Month, "UTC"), &["one/1d .. [0]"]),
        (by(Granularity::Hour, "UTC"), &["one/1h .. [0]"]),
        (by(Granularity::Minutes15, "UTC"), &["one/5m .. [0]"]),
        (by(Granularity::Hour, "Asia/Kolkata"), &["one/5m .. [0]"]),
        (by(Granularity::Hour, "Asia/Kathmandu"), &["one/5m .. [0]"]),
        (by(Granularity::Day, "Europe/Berlin"), &["one/1h .. [0]"]),
        (
            by(Granularity::Day, "Asia/Kolkata"),
            &["one/1h ..18:00 [0]", "one/5m 18:00..19:00 [0]", "one/1h 19:00.. [0]"],
        ),
    ];
    for (question, expected) in cases {
        assert_eq!(shown(question, &segment(0, &all_tiers)), *expected);
    }
}

#[test]
fn days_of_23_and_25_hours_are_made_of_hours() {
    // The clocks of Berlin changed on 2026-03-29; those of Lord Howe on 2026-04-05 by half an hour, so that its next day begins on
    // one.
    let lord_howe = ["one/1h ..13:00 [0]", "raw 13:00..14:00 [0]", "one/1h 14:00.. [0]"];
    let cases: [(i64, &str, &[&str]); 3] = [
        (-64, "Europe/Berlin", &["one/1h .. [0]"]),
        (-58, "Australia/Lord_Howe", &["one/1h .. [0]"]),
        (-57, "Australia/Lord_Howe", &lord_howe),
    ];
    for (day, zone, expected) in cases {
        let question = asking(Some((Granularity::Day, zone)), &[1], &[0]);
        let unit = segment(day, &[(1, Tier::Hour, 5_000)]);
        assert_eq!(shown(&question, &unit), expected, "{zone}");
        let history = UnitFacts { raw: None, ..unit };
        assert_eq!(shown(&question, &history) == ["gap"], expected.len() > 1, "{zone}");
    }
}

#[test]
fn measures_come_from_the_narrowest_rollups_that_hold_them() {
    type Case<'a> = (Question, &'a [(usize, Tier, u64)], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        // Sums from the one without dimensions, percentiles from another.
        (
            asking(None, &[], &[1, 2]),
            &[(3, Tier::Day, 1), (2, Tier::Day, 5_000), (0, Tier::Day, 90_000)],
            &["none/1d .. [0]", "two/1d .. [1]"],
        ),
        // A filter on a dimension is evaluated there, one on another column must be stored.
        (asking(None, &[], &[3]), &[(1, Tier::Day, 400), (3, Tier::Day, 1)], &["one/1d .. [0]"]),
        (asking(None, &[], &[4]), &[(1, Tier::Day, 400), (3, Tier::Day, 1)], &["raw .. [0]"]),
        (asking(None, &[], &[4]), &[(0, Tier::Day, 90_000), (3, Tier::Day, 1)], &["wide/1d .. [0]"]),
        // What only raw rows can answer takes the rest along where that costs little.
        (asking(None, &[], &[0, 5]), &[(0, Tier::Day, 590_000)], &["raw .. [0, 1]"]),
        (asking(None, &[], &[0, 5]), &[(3, Tier::Day, 1)], &["raw .. [1]", "none/1d .. [0]"]),
    ];
    for (question, sections, expected) in cases {
        assert_eq!(shown(question, &segment(0, sections)), *expected);
    }
}

#[test]
fn few_rows_in_memory_and_units_with_deletes_are_read_raw() {
    let question = asking(None, &[], &[0]);
    let segment = segment(0, &[(3, Tier::Day, 1)]);
    let deleted = UnitFacts { has_pending_tombstone: true, ..segment.clone() };
    let chunk = UnitFacts { raw: Some(RawFacts { rows: 900, in_memory: true }), ..segment };
    for unit in [deleted, chunk] {
        assert_eq!(shown(&question, &unit), ["raw .. [0]"]);
    }
}

#[test]
fn sources_are_named_once_in_order() {
    let mut summary = SourceSummary::default();
    assert_eq!((summary.to_string().as_str(), summary.coarsest()), ("raw", None));
    summary.add_section(&"users".into(), Tier::Day);
    summary.add_section(&"channels".into(), Tier::Hour);
    summary.add_section(&"users".into(), Tier::Day);
    assert_eq!(summary.to_string(), "rollup:channels/1h + rollup:users/1d");
    summary.add_raw();
    assert_eq!(summary.to_string(), "rollup:channels/1h + rollup:users/1d + raw");
    assert_eq!(summary.coarsest(), Some(Tier::Day));
}
