//! Checks of times, zones, buckets and ranges: tables for the calendar's odd corners, properties for the rest.

use proptest::prelude::*;

use super::civil::{DAY_US, HOUR_US, MINUTE_US};
use super::*;

/// Zones with odd rules: half-hour shift, quarter-hour offset, a skipped date, midnight shifts, changes at 00:01.
const ZONES: [&str; 12] = [
    "UTC",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/New_York",
    "America/Havana",
    "Europe/Berlin",
    "America/Toronto",
    "Africa/Monrovia",
];

fn zone(name: &str) -> Zone {
    Zone::get(name).expect("a known zone")
}

fn utc(text: &str) -> Timestamp {
    parse_timestamp_utc(text.as_bytes()).expect("a valid time")
}

#[test]
fn numbers_tell_their_unit_by_size() {
    let second = 1_445_000_000_123_456_i64;
    for (number, micros) in [
        (0, 0),
        (1_445_000_000, 1_445_000_000_000_000),
        (-1_445_000_000, -1_445_000_000_000_000),
        (99_999_999_999, 99_999_999_999_000_000),
        (100_000_000_000, 100_000_000_000_000),
        (1_445_000_000_123, 1_445_000_000_123_000),
        (99_999_999_999_999, 99_999_999_999_999_000),
        (100_000_000_000_000, 100_000_000_000_000),
        (1_445_000_000_123_456, second),
        (100_000_000_000_000_000, 100_000_000_000_000),
        (1_445_000_000_123_456_789, second),
        (-1_445_000_000_123_456_789, -second - 1),
    ] {
        assert_eq!(Timestamp::from_integer(number), Ok(Timestamp(micros)), "{number}");
    }
    for (number, micros) in [
        (1_445_000_000.5, 1_445_000_000_500_000),
        (1_445_000_000.123, 1_445_000_000_123_000),
        (1_445_000_000_123.25, 1_445_000_000_123_250),
        (-0.000_001, -1),
        (1_445_000_000_123_456.0, second),
    ] {
        assert_eq!(Timestamp::from_number(number), Ok(Timestamp(micros)), "{number}");
    }
    for number in [f64::NAN, f64::INFINITY, -1e300, 1e30, 9.3e20] {
        assert!(matches!(Timestamp::from_number(number), Err(TimeError::OutOfRange { .. })), "{number}");
    }
    for number in [i128::MAX, i128::MIN, 1 << 70] {
        assert!(matches!(Timestamp::from_integer(number), Err(TimeError::OutOfRange { .. })), "{number}");
    }
    assert!(Timestamp::from_integer(-99_999_999_999).is_err(), "before year 1");
}

#[test]
fn text_in_many_forms_is_read() {
    let want = utc("2015-09-12T00:47:00Z").0;
    for (text, plus) in [
        ("2015-09-12T00:47:00.000Z", 0),
        ("2015-09-12 00:47:00", 0),
        ("2015-09-12t00:47:00z", 0),
        ("2015-09-12T00:47", 0),
        ("2015-09-12T00:47Z", 0),
        ("2015-09-12 00:47:00 UTC", 0),
        ("2015-09-12T00:47:00.1", 100_000),
        ("2015-09-12T00:47:00.123456Z", 123_456),
        ("2015-09-12T00:47:00.123456789123Z", 123_456),
        ("2015-09-12T00:47:00,5Z", 500_000),
        ("2015-09-12T06:17:00+05:30", 0),
        ("2015-09-12T06:17:00+0530", 0),
        ("2015-09-12 02:47:00+02", 0),
        ("2015-09-12 02:47:00 +02:00", 0),
        ("2015-09-11T19:47:00-05:00", 0),
        ("20150912T004700Z", 0),
        ("20150912T004700", 0),
        ("2015-09-12T02:47:00+02:00[Europe/Berlin]", 0),
        ("2015-09-12", -47 * MINUTE_US),
        ("2015-09-12T00:46:60Z", -SECOND),
    ] {
        assert_eq!(parse_timestamp_utc(text.as_bytes()), Ok(Timestamp(want + plus)), "{text}");
    }
    assert_eq!(utc("0001-01-01T00:00:00Z"), Timestamp::MIN);
    assert_eq!(utc("9999-12-30T21:59:59.999999Z"), Timestamp::MAX);
    assert_eq!(utc("2000-02-29").0 - utc("2000-02-28").0, DAY_US);
}

const SECOND: i64 = 1_000_000;

#[test]
fn text_that_is_no_time_is_refused_with_the_value() {
    for text in [
        "2023-02-29T00:00:00Z",
        "1900-02-29",
        "2023-02-30",
        "2023-04-31",
        "2023-13-01",
        "2023-00-01",
        "2023-01-00",
        "2023-01-01T24:00:00Z",
        "2023-01-01T00:60:00Z",
        "2023-01-01T00:00:61Z",
        "2023-01-01T00:00:00+24:00",
    ] {
        let error = parse_timestamp_utc(text.as_bytes()).expect_err(text);
        assert!(matches!(&error, TimeError::NotOnCalendar { .. }), "{text}: {error}");
        assert!(error.to_string().contains(text));
    }
    for text in [
        "",
        "x",
        "yesterday",
        "2023",
        "2023-01",
        "2023-1-1",
        "2023-01-01T",
        "2023-01-01T1:00",
        "2023-01-01T00:00:00.Z",
        "2023-01-01T00:00:00Zjunk",
        "2023-01-01T00:00:00+5",
        "2023-01-01 00:00:00 PST",
        "２０２３-01-01",
        "2023-01-01T00:00:0",
        "2023-01-01T00:00:00+05:30[No/Where]",
        "\0\0\0\0\0\0\0\0\0\0",
    ] {
        let error = parse_timestamp_utc(text.as_bytes()).expect_err(text);
        assert!(matches!(error, TimeError::Malformed { .. }), "{text}: {error}");
    }
    for text in [
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59Z",
        "-000001-01-01T00:00:00Z",
    ] {
        let error = parse_timestamp_utc(text.as_bytes()).expect_err(text);
        assert!(matches!(error, TimeError::OutOfRange { .. }), "{text}: {error}");
    }
    assert!(parse_timestamp_utc(&[0xff; 30]).is_err());
    let long = "9".repeat(5_000_000);
    assert!(parse_timestamp_utc(long.as_bytes()).expect_err("long").to_string().len() < 500);
}

#[test]
fn local_text_follows_the_zone() {
    let berlin = zone("Europe/Berlin");
    for (text, instant) in [
        ("2026-01-31T12:00:00", "2026-01-31T11:00:00Z"),
        ("2026-07-31 12:00", "2026-07-31T10:00:00Z"),
        ("2026-07-31", "2026-07-30T22:00:00Z"),
        // Skipped and repeated hours.
        ("2026-03-29T02:30:00", "2026-03-29T01:30:00Z"),
        ("2026-10-25T02:30:00", "2026-10-25T00:30:00Z"),
        ("2026-07-31T12:00:00Z", "2026-07-31T12:00:00Z"),
        ("20260731T120000", "2026-07-31T10:00:00Z"),
    ] {
        assert_eq!(parse_timestamp(text, &berlin), Ok(utc(instant)), "{text}");
    }
    // Midnight is skipped: the day starts at the first instant, 01:00.
    let sao_paulo = zone("America/Sao_Paulo");
    assert_eq!(parse_timestamp("2018-11-04", &sao_paulo), Ok(utc("2018-11-04T03:00:00Z")));
    // The gap of 1919 began at 23:30 of the day before.
    let toronto = zone("America/Toronto");
    assert_eq!(
        format_rfc3339(parse_timestamp("1919-03-31", &toronto).expect("a day"), &toronto),
        "1919-03-31T00:30:00-04:00"
    );
}

#[test]
fn times_are_printed_in_the_zone() {
    let ts = utc("2026-11-20T10:00:00.120Z");
    assert_eq!(format_rfc3339(ts, &Zone::utc()), "2026-11-20T10:00:00.120Z");
    assert_eq!(format_rfc3339(ts, &zone("etc/utc")), "2026-11-20T10:00:00.120Z");
    assert_eq!(format_rfc3339(ts, &zone("Asia/Kathmandu")), "2026-11-20T15:45:00.120+05:45");
    assert_eq!(format_rfc3339(ts, &zone("America/St_Johns")), "2026-11-20T06:30:00.120-03:30");
    assert_eq!(format_rfc3339(Timestamp(1), &Zone::utc()), "1970-01-01T00:00:00.000001Z");
    assert_eq!(format_date(ts, &zone("Pacific/Kiritimati")), "2026-11-21");
    // Monrovia was at −00:44:30 until 1972; the text still means the same instant.
    let old = format_rfc3339(utc("1971-01-01T00:00:00Z"), &zone("Africa/Monrovia"));
    assert_eq!((old.as_str(), utc(&old)), ("1970-12-31T23:16:00-00:44", utc("1971-01-01T00:00:00Z")));
}

#[test]
fn unknown_zones_are_answered_with_a_near_name() {
    for (name, near) in [
        ("Asia/Kolkatta", Some("Asia/Kolkata")),
        ("kathmandu", Some("Asia/Kathmandu")),
        ("America/New York", Some("America/New_York")),
        ("Mars/Olympus_Mons", None),
        ("", None),
    ] {
        match Zone::get(name) {
            Err(TimeError::UnknownZone { suggestion, .. }) => {
                assert_eq!(suggestion.as_deref(), near, "{name}")
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(zone("asia/kolkata").name(), "Asia/Kolkata");
    assert_eq!(zone("utc"), Zone::utc());
    assert!(Zone::get("../../etc/passwd").is_err());
    assert!(Zone::get("Etc/Unknown").is_err());
}

#[test]
fn bare_time_chooses_by_the_length_of_the_range() {
    for (length, name) in [
        (1, "minute"),
        (HOUR_US, "minute"),
        (HOUR_US + 1, "5m"),
        (6 * HOUR_US, "5m"),
        (6 * HOUR_US + 1, "hour"),
        (48 * HOUR_US, "hour"),
        (48 * HOUR_US + 1, "day"),
        (92 * DAY_US, "day"),
        (92 * DAY_US + 1, "month"),
    ] {
        assert_eq!(Granularity::choose(length).name(), name, "{length}");
    }
    assert!(Granularity::ALL.iter().all(|granularity| granularity.name().parse() == Ok(*granularity)));
    assert!("2h".parse::<Granularity>().is_err());
}

fn labels(granularity: Granularity, zone_name: &str, from: &str, to: &str) -> Vec<String> {
    let grid = BucketGrid::new(granularity, &zone(zone_name), utc(from), utc(to)).expect("a grid");
    (0..grid.len() as u32).map(|index| grid.label(index)).collect()
}

#[test]
fn buckets_follow_the_clocks() {
    use Granularity::*;
    type Case = (Granularity, &'static str, &'static str, &'static str, &'static [&'static str]);
    let cases: &[Case] = &[
        (
            Hour,
            "Asia/Kolkata",
            "2015-09-12T00:10:00Z",
            "2015-09-12T01:30:00Z",
            &["2015-09-12T05:00:00+05:30", "2015-09-12T06:00:00+05:30"],
        ),
        (
            Hour,
            "Asia/Kathmandu",
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:15:01Z",
            &["2026-01-01T05:00:00+05:45", "2026-01-01T06:00:00+05:45"],
        ),
        // The repeated hour is two buckets, the skipped one none.
        (
            Hour,
            "Europe/Berlin",
            "2026-10-24T23:30:00Z",
            "2026-10-25T02:00:00Z",
            &["2026-10-25T01:00:00+02:00", "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"],
        ),
        (
            Hour,
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            "2026-03-29T02:00:00Z",
            &["2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00"],
        ),
        // Clocks go from 02:00 to 02:30 and from 02:00 to 01:30.
        (
            Hour,
            "Australia/Lord_Howe",
            "2026-10-03T14:30:00Z",
            "2026-10-03T16:30:00Z",
            &["2026-10-04T01:00:00+10:30", "2026-10-04T02:00:00+11:00", "2026-10-04T03:00:00+11:00"],
        ),
        (
            Hour,
            "Australia/Lord_Howe",
            "2026-04-04T14:00:00Z",
            "2026-04-04T16:00:00Z",
            &["2026-04-05T01:00:00+11:00", "2026-04-05T01:00:00+10:30", "2026-04-05T02:00:00+10:30"],
        ),
        (Day, "Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T22:00:01Z", &["2026-03-29", "2026-03-30"]),
        (
            Day,
            "Pacific/Apia",
            "2011-12-29T12:00:00Z",
            "2011-12-31T12:00:00Z",
            &["2011-12-29", "2011-12-31", "2012-01-01"],
        ),
        (Week, "UTC", "2026-01-01T00:00:00Z", "2026-01-05T00:00:01Z", &["2025-12-29", "2026-01-05"]),
        (Month, "UTC", "2024-01-31T00:00:00Z", "2024-03-01T00:00:00Z", &["2024-01-01", "2024-02-01"]),
        (
            Year,
            "America/New_York",
            "2024-01-01T04:59:59Z",
            "2024-01-01T05:00:01Z",
            &["2023-01-01", "2024-01-01"],
        ),
        (
            Minutes15,
            "UTC",
            "2024-01-01T00:14:59Z",
            "2024-01-01T00:15:01Z",
            &["2024-01-01T00:00:00Z", "2024-01-01T00:15:00Z"],
        ),
    ];
    for (granularity, zone_name, from, to, want) in cases {
        assert_eq!(&labels(*granularity, zone_name, from, to), want, "{granularity} {zone_name} {from}");
    }
}

#[test]
fn clocks_that_go_back_over_midnight_do_not_bring_the_old_day_back() {
    // At 00:01 clocks went back to 23:01 of the day before: at 02:31 UTC.
    let (zone, minute) = (zone("America/St_Johns"), |text: &str| utc(text));
    let (from, to) = (minute("2010-11-07T02:00:00Z"), minute("2010-11-07T04:00:00Z"));
    let days = BucketGrid::new(Granularity::Day, &zone, from, to).expect("a grid");
    assert_eq!((days.len(), days.label(1)), (2, "2010-11-07".to_owned()));
    assert_eq!(days.extent(1).0, minute("2010-11-07T02:30:00Z"));
    let hours = BucketGrid::new(Granularity::Hour, &zone, from, to).expect("a grid");
    // Both clocks put the start of this hour at 02:30 UTC: one bucket.
    assert_eq!(hours.extent(1), (minute("2010-11-07T02:30:00Z"), minute("2010-11-07T03:30:00Z")));
    assert_eq!(hours.index_of(minute("2010-11-07T02:45:00Z")), Some(1));
}

#[test]
fn a_day_has_the_hours_it_has() {
    for (date, hours) in [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)] {
        let berlin = zone("Europe/Berlin");
        let start = parse_timestamp(date, &berlin).expect("a day");
        let grid = BucketGrid::new(Granularity::Day, &berlin, start, Timestamp(start.0 + 1)).expect("a grid");
        let (lo, hi) = grid.extent(0);
        assert_eq!((lo, hi.0 - lo.0, grid.len()), (start, hours * HOUR_US, 1), "{date}");
    }
}

#[test]
fn grids_are_bounded_and_errors_name_the_remedy() {
    let (from, to) = (utc("2000-01-01"), utc("2026-01-01"));
    let error = BucketGrid::new(Granularity::Minute, &Zone::utc(), from, to).expect_err("too many");
    let text = error.to_string();
    assert!(text.contains("13675681") && text.contains("1000000") && text.contains("coarser"), "{text}");
    let error = BucketGrid::new(Granularity::Day, &Zone::utc(), to, from).expect_err("reversed");
    assert!(matches!(error, TimeError::EmptyRange { .. }));
    assert!(
        BucketGrid::new(Granularity::Day, &zone("Europe/Berlin"), Timestamp::MIN, Timestamp::MAX).is_err()
    );
    for name in ZONES {
        for granularity in [Granularity::Month, Granularity::Year] {
            let grid = BucketGrid::new(granularity, &zone(name), Timestamp::MIN, Timestamp::MAX)
                .expect("all of time");
            assert_eq!(grid.index_of(Timestamp::MIN), Some(0));
            assert_eq!(grid.index_of(Timestamp(Timestamp::MAX.0 - 1)), Some(grid.len() as u32 - 1), "{name}");
        }
        for at in [Timestamp::MIN, Timestamp(Timestamp::MAX.0 - HOUR_US)] {
            for granularity in Granularity::ALL {
                let grid = BucketGrid::new(granularity, &zone(name), at, Timestamp(at.0 + HOUR_US))
                    .expect("an edge");
                assert_eq!(grid.index_of(at), Some(0), "{granularity} {name}");
            }
        }
    }
}

/// Instants around every kind of change of clocks, and anywhere.
fn instants() -> impl Strategy<Value = Timestamp> {
    let changes = [
        "2026-10-03T15:30:00Z",
        "2026-04-04T15:00:00Z",
        "2011-12-30T10:00:00Z",
        "2010-11-07T02:31:00Z",
        "2018-11-04T03:00:00Z",
        "2018-02-18T02:00:00Z",
        "1919-03-31T04:30:00Z",
        "1972-01-07T00:44:30Z",
        "1985-12-31T18:30:00Z",
        "2026-03-29T01:00:00Z",
    ];
    let near = (0..changes.len(), -2 * DAY_US..2 * DAY_US)
        .prop_map(move |(at, off)| Timestamp(utc(changes[at]).0 + off));
    prop_oneof![3 => near, 1 => (-2_208_988_800_000_000..4_102_444_800_000_000_i64).prop_map(Timestamp)]
}

/// What DESIGN.md says of one instant's bucket, computed the plain way.
fn check_bucket(grid: &BucketGrid, ts: Timestamp, index: u32) {
    let (lo, hi) = grid.extent(index);
    assert!(lo <= ts && ts < hi, "{ts} is in its bucket's extent");
    match grid.granularity().width_us() {
        Some(width) => {
            let offset = i64::from(grid.zone().offset_seconds(ts)) * SECOND;
            assert_eq!(grid.start(index).0, (ts.0 + offset).div_euclid(width) * width - offset);
        }
        None => {
            assert_eq!(grid.start(index), lo);
            let day = |ts| grid.granularity().period_start(grid.zone().local_day(ts));
            assert_eq!(day(ts), day(lo), "{ts} has its bucket's date");
        }
    }
    assert_eq!(grid.granularity().floor(ts, grid.zone()), lo);
}

proptest! {
    #[test]
    fn every_instant_has_its_bucket(
        name in prop::sample::select(&ZONES[..]), granularity in prop::sample::select(&Granularity::ALL[..]),
        from in instants(), length in 1..4 * DAY_US, inside in prop::collection::vec(0.0..1.0_f64, 1..40),
    ) {
        let to = Timestamp(from.0 + length);
        let grid = BucketGrid::new(granularity, &zone(name), from, to).expect("a grid");
        let ts: Vec<i64> = inside.iter().map(|part| from.0 + (part * length as f64) as i64).chain([from.0, to.0 - 1]).collect();
        let mut indices = Vec::new();
        grid.indices(&ts, &mut indices);
        for (ts, index) in ts.iter().zip(indices) {
            prop_assert_eq!(grid.index_of(Timestamp(*ts)), Some(index));
            check_bucket(&grid, Timestamp(*ts), index);
        }
        prop_assert_eq!(grid.index_of(from), Some(0));
        prop_assert_eq!(grid.index_of(Timestamp(to.0 - 1)), Some(grid.len() as u32 - 1));
        for index in 1..grid.len() as u32 {
            prop_assert_eq!(grid.extent(index - 1).1, grid.extent(index).0, "extents have no gaps");
            prop_assert_ne!(grid.label(index - 1), grid.label(index));
        }
        let outside = [grid.extent(0).0.0 - 1, grid.extent(grid.len() as u32 - 1).1.0, i64::MIN, i64::MAX];
        let mut indices = Vec::new();
        grid.indices(&outside, &mut indices);
        prop_assert_eq!(indices, vec![BucketGrid::OUTSIDE; 4]);
    }

    #[test]
    fn a_bucket_is_found_in_another_grid_by_its_start(
        name in prop::sample::select(&ZONES[..]), granularity in prop::sample::select(&Granularity::ALL[..]),
        from in instants(), length in 1..3 * DAY_US, before in 0..2 * DAY_US, after in 0..2 * DAY_US,
        inside in prop::collection::vec(0.0..1.0_f64, 1..20),
    ) {
        let grid = |from, to| BucketGrid::new(granularity, &zone(name), Timestamp(from), Timestamp(to)).expect("a grid");
        let narrow = grid(from.0, from.0 + length);
        let wide = grid(from.0 - before, from.0 + length + after);
        for ts in inside.iter().map(|part| Timestamp(from.0 + (part * length as f64) as i64)) {
            let index = narrow.index_of(ts).expect("inside");
            prop_assert_eq!(wide.index_of_start(narrow.start(index)), wide.index_of(ts));
        }
        for index in 0..wide.len() as u32 {
            prop_assert_eq!(wide.index_of_start(wide.start(index)), Some(index));
            if let Some(found) = narrow.index_of_start(wide.start(index)) {
                prop_assert_eq!(narrow.start(found), wide.start(index));
            }
        }
        prop_assert_eq!(wide.index_of_start(Timestamp(wide.start(0).0 + 1)), None);
        prop_assert_eq!(wide.index_of_start(Timestamp(wide.start(0).0 - 1)), None);
    }

    #[test]
    fn printed_times_read_back(name in prop::sample::select(&ZONES[..]), micros in Timestamp::MIN.0 + DAY_US..Timestamp::MAX.0 - DAY_US) {
        let ts = Timestamp(micros);
        prop_assert_eq!(parse_timestamp_utc(format_rfc3339(ts, &zone(name)).as_bytes()), Ok(ts));
        let other = ts.to_string().parse::<jiff::Timestamp>().expect("RFC 3339");
        prop_assert_eq!(other.as_microsecond(), micros);
    }

    #[test]
    fn local_times_read_as_the_tz_library_reads_them(name in prop::sample::select(&ZONES[..]), ts in instants()) {
        let (zone, local) = (zone(name), format_rfc3339(ts, &Zone::utc()));
        let local = local.trim_end_matches('Z');
        let civil: jiff::civil::DateTime = local.parse().expect("a local time");
        let want = zone.as_jiff().to_timestamp(civil).expect("in range").as_microsecond();
        prop_assert_eq!(parse_timestamp(local, &zone), Ok(Timestamp(want)));
    }

    #[test]
    fn no_text_panics(text in "[0-9TZ:. +\\[\\]/a-z-]{0,40}") {
        let _ = parse_timestamp(&text, &Zone::utc());
        let _ = RangeSpec::parse_word(&text);
        let _ = RangeBound::parse(&text);
    }
}

const NOW: &str = "2026-11-20T10:17:42.5Z";

fn word(text: &str) -> RangeSpec {
    RangeSpec::parse_word(text).expect("a word")
}

fn check_word(text: &str, zone_name: &str, bucket: Option<Granularity>, from: &str, nominal_to: &str) {
    let zone = zone(zone_name);
    let range =
        word(text).resolve(utc(NOW), &zone, bucket, Some(utc("2015-09-12T00:46:59Z"))).expect("a range");
    let found = (format_rfc3339(range.from, &zone), format_rfc3339(range.nominal_to, &zone), range.to);
    assert_eq!(found, (from.to_owned(), nominal_to.to_owned(), None), "{text} in {zone_name}");
    let RangeSpec::Word(word) = word(text) else { panic!("{text} is a word") };
    assert_eq!((range.word, word.to_string()), (Some(word), text.to_owned()));
}

#[test]
fn words_resolve_in_the_zone() {
    use Granularity::*;
    for (text, from, nominal_to) in [
        ("day", "2026-11-20T00:00:00+05:30", "2026-11-21T00:00:00+05:30"),
        ("1d", "2026-11-20T00:00:00+05:30", "2026-11-21T00:00:00+05:30"),
        ("7d", "2026-11-14T00:00:00+05:30", "2026-11-21T00:00:00+05:30"),
        ("month", "2026-11-01T00:00:00+05:30", "2026-12-01T00:00:00+05:30"),
        ("year", "2026-01-01T00:00:00+05:30", "2027-01-01T00:00:00+05:30"),
        ("6mo", "2026-06-01T00:00:00+05:30", "2026-12-01T00:00:00+05:30"),
        ("12mo", "2025-12-01T00:00:00+05:30", "2026-12-01T00:00:00+05:30"),
        ("1mo", "2026-11-01T00:00:00+05:30", "2026-12-01T00:00:00+05:30"),
        ("30m", "2026-11-20T15:17:00+05:30", "2026-11-20T15:47:42.500+05:30"),
        ("all", "2015-09-12T06:16:59+05:30", "2026-11-20T15:47:42.500+05:30"),
    ] {
        check_word(text, "Asia/Kolkata", None, from, nominal_to);
    }
    check_word("24h", "UTC", Some(Hour), "2026-11-19T10:00:00Z", "2026-11-20T10:17:42.500Z");
    check_word("24h", "UTC", Some(Minutes15), "2026-11-19T10:15:00Z", "2026-11-20T10:17:42.500Z");
    check_word("24h", "UTC", None, "2026-11-19T10:17:00Z", "2026-11-20T10:17:42.500Z");
    check_word("36h", "UTC", Some(Day), "2026-11-18T00:00:00Z", "2026-11-20T10:17:42.500Z");
    check_word("3652500d", "UTC", None, "0001-01-01T00:00:00Z", "2026-11-21T00:00:00Z");
    for bad in ["", "d", "0d", "-1d", "7", "7x", "7 d", "99999999999d", "3652501h", "week", "１d", "mo"] {
        assert!(matches!(RangeSpec::parse_word(bad), Err(TimeError::UnknownRange { .. })), "{bad}");
    }
    assert_eq!(RangeSpec::DEFAULT, word("24h"));
}

fn pair(from: &str, to: &str, zone_name: &str) -> Result<ResolvedRange, TimeError> {
    let spec = RangeSpec::bounds(RangeBound::parse(from)?, RangeBound::parse(to)?);
    spec.resolve(utc(NOW), &zone(zone_name), None, None)
}

#[test]
fn pairs_resolve_in_the_zone() {
    for (from, to, want) in [
        ("2026-01-01", "2026-01-31", ("2025-12-31T18:30:00Z", "2026-01-31T18:30:00Z")),
        ("2026-01-01", "2026-01-01", ("2025-12-31T18:30:00Z", "2026-01-01T18:30:00Z")),
        ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")),
        ("2026-01-01T00:00:00", "2026-01-02 00:00", ("2025-12-31T18:30:00Z", "2026-01-01T18:30:00Z")),
    ] {
        let range = pair(from, to, "Asia/Kolkata").expect("a range");
        assert_eq!((range.from, range.to), (utc(want.0), Some(utc(want.1))), "{from} {to}");
    }
    let error =
        pair("2026-02-02T00:00:00Z", "2026-02-01T00:00:00Z", "UTC").expect_err("reversed").to_string();
    assert!(error.contains("2026-02-02T00:00:00Z") && error.contains("2026-02-01T00:00:00Z"), "{error}");
    assert!(pair("2026-02-01T00:00:00Z", "2026-02-01T00:00:00Z", "UTC").is_err());
    assert!(pair("2026-02-02", "2026-02-01", "UTC").is_err());
}

fn check_shift(range: &ResolvedRange, compare: &Compare, zone_name: &str, from: &str, to: &str) {
    let shifted = shift(range, compare, utc(NOW), &zone(zone_name), None).expect("a range");
    let zone = zone(zone_name);
    let found = (format_rfc3339(shifted.from, &zone), shifted.to.map(|to| format_rfc3339(to, &zone)));
    assert_eq!(found, (from.to_owned(), Some(to.to_owned())), "{range:?} {compare:?}");
}

#[test]
fn comparisons_shift_by_the_calendar_or_by_length() {
    let (previous, year) = (Compare::PreviousPeriod, Compare::YearOverYear);
    let berlin = "Europe/Berlin";
    for (text, compare, from, to) in [
        ("day", &previous, "2026-11-19T00:00:00+01:00", "2026-11-20T00:00:00+01:00"),
        // A month ago clocks still showed summer time.
        ("28d", &previous, "2026-09-26T00:00:00+02:00", "2026-10-24T00:00:00+02:00"),
        ("month", &previous, "2026-10-01T00:00:00+02:00", "2026-11-01T00:00:00+01:00"),
        ("6mo", &previous, "2025-12-01T00:00:00+01:00", "2026-06-01T00:00:00+02:00"),
        ("year", &previous, "2025-01-01T00:00:00+01:00", "2026-01-01T00:00:00+01:00"),
        ("24h", &previous, "2026-11-18T11:17:00+01:00", "2026-11-19T11:17:42.500+01:00"),
        ("month", &year, "2025-11-01T00:00:00+01:00", "2025-12-01T00:00:00+01:00"),
        ("24h", &year, "2025-11-19T11:17:00+01:00", "2025-11-20T11:17:42.500+01:00"),
    ] {
        let range = word(text).resolve(utc(NOW), &zone(berlin), None, None).expect("a range");
        check_shift(&range, compare, berlin, from, to);
    }
    for (from, to, compare, shifted) in [
        ("2026-03-29", "2026-03-30", &previous, ("2026-03-27T00:00:00+01:00", "2026-03-29T00:00:00+01:00")),
        ("2026-03-30", "2026-03-31", &previous, ("2026-03-28T00:00:00+01:00", "2026-03-30T00:00:00+02:00")),
        ("2024-02-29", "2024-02-29", &year, ("2023-02-28T00:00:00+01:00", "2023-03-01T00:00:00+01:00")),
        ("2024-02-28", "2024-02-28", &year, ("2023-02-28T00:00:00+01:00", "2023-03-01T00:00:00+01:00")),
        (
            "2026-01-01T00:00:00Z",
            "2026-01-01T06:00:00Z",
            &previous,
            ("2025-12-31T19:00:00+01:00", "2026-01-01T01:00:00+01:00"),
        ),
    ] {
        let range = pair(from, to, berlin).expect("a range");
        check_shift(&range, compare, berlin, shifted.0, shifted.1);
    }
    let range = pair("2026-01-01", "2026-01-02", "UTC").expect("a range");
    let other = Compare::Range(RangeSpec::bounds(RangeBound::Date(0), RangeBound::Date(0)));
    check_shift(&range, &other, "UTC", "1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z");
}

#[test]
fn runs_have_the_borders_of_the_buckets() {
    let base = 1_774_742_400_000_000; // 2026-03-29, when the clocks of Berlin change
    let day = 86_400_000_000;
    for zone in ["UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"] {
        let zone = Zone::get(zone).expect("a zone");
        for granularity in [Granularity::Minutes30, Granularity::Hour, Granularity::Day, Granularity::Month] {
            let (from, to) = (Timestamp(base - 10 * day - 7), Timestamp(base + 20 * day + 11));
            let grid = BucketGrid::new(granularity, &zone, from, to).expect("few buckets");
            let mut starts = Vec::new();
            let mut end = from.0;
            for run in grid.runs(from.0, to.0) {
                assert_eq!(run.from_us, end, "runs leave nothing out");
                end = run.to_us;
                // Where the clocks change a bucket begins, whatever its label.
                starts.extend((run.from_us > from.0).then_some(run.from_us));
                let first = run.from_us + (run.origin_us - run.from_us).rem_euclid(run.width_us);
                starts.extend((0..).map(|k| first + k * run.width_us).take_while(|start| *start < run.to_us));
            }
            assert_eq!(end, to.0);
            starts.dedup();
            let expected = (0..grid.len() as u32).map(|index| grid.extent(index).0.0);
            assert_eq!(
                starts,
                expected.filter(|start| *start >= from.0).collect::<Vec<_>>(),
                "{granularity}"
            );
            let alone = bucket_runs(granularity, &zone, from, to);
            assert_eq!(alone, grid.runs(from.0, to.0).collect::<Vec<_>>());
        }
    }
}
