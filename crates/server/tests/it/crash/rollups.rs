//! Roll-ups through crashes: sections are derived, merged, built for old rows and outlive their raw rows while the server dies
//! again and again, and every question that they answer still has the numbers that the acknowledged batches make.
//!
//! The batches that are there are known from a roll-up over (writer, batch), so this also holds where raw rows have expired.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Load, Torture, all_rows, batch_rows, crashes, number};
use crate::talk::define;

const DAY_S: u64 = 86_400;
const HOUR_S: u64 = 3_600;
/// Days that rows are spread over.
const DAYS: u64 = 5;

/// The first instant of all rows, a full day some days ago: the same for every batch of a process.
fn start_s() -> u64 {
    static START_S: OnceLock<u64> = OnceLock::new();
    *START_S.get_or_init(|| {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs();
        (now_s / DAY_S - DAYS) * DAY_S
    })
}

/// What a row is made of, from its place alone.
struct Row {
    ts: u64,
    channel: u64,
    added: u64,
    /// In 1e-9 units.
    cost: u64,
}

fn row(writer: usize, batch: u64, row: u64) -> Row {
    let mixed =
        (batch * 7_919 + row * 104_729 + writer as u64 * 31).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    Row {
        ts: start_s() + mixed % (DAYS * DAY_S),
        channel: mixed % 7,
        added: mixed % 1_000,
        cost: mixed % 1_000_000_000,
    }
}

fn body(writer: usize, batch: u64) -> String {
    (0..batch_rows(writer, batch))
        .map(|place| {
            let Row { ts, channel, added, cost } = row(writer, batch, place);
            format!(
                "{{\"ts\":{ts},\"id\":\"{writer}-{batch}-{place}\",\"writer\":{writer},\"batch\":{batch},\
                 \"channel\":\"c{channel}\",\"added\":{added},\"cost\":\"0.{cost:09}\"}}\n"
            )
        })
        .collect()
}

/// Rows, sum of `added`, sum of `cost` in 1e-9 units.
type Sums = (u64, u64, u64);

/// What a question about these batches must answer, by any key of a row.
fn expected<K: Ord>(
    batches: &BTreeMap<(u64, u64), (u64, u64)>,
    key: impl Fn(&Row) -> K,
) -> BTreeMap<K, Sums> {
    let mut sums: BTreeMap<K, Sums> = BTreeMap::new();
    for (writer, batch) in batches.keys() {
        for place in 0..batch_rows(*writer as usize, *batch) {
            let row = row(*writer as usize, *batch, place);
            let entry = sums.entry(key(&row)).or_default();
            *entry = (entry.0 + 1, entry.1 + row.added, entry.2 + row.cost);
        }
    }
    sums
}

/// The dataset with the roll-up that tells which batches are there.
fn definition(retention: &Value) -> Value {
    json!({"time": "ts", "id": "id", "sort": ["writer"],
           "columns": {"id": "string", "writer": "int", "batch": "int", "channel": "string", "added": "int",
                       "cost": "money"},
           "metrics": {"rows": {"agg": "count"}, "added": {"agg": "sum", "column": "added"},
                       "cost": {"agg": "sum", "column": "cost"}},
           "rollups": [{"name": "batches", "dimensions": ["writer", "batch"], "metrics": ["rows"], "tiers": ["1d"]}],
           "retention": retention})
}

/// The same with a roll-up more.
fn widened(retention: &Value) -> Value {
    let mut definition = definition(retention);
    let more = json!({"name": "channels", "dimensions": ["channel"], "tiers": ["1h", "1d"]});
    definition["rollups"].as_array_mut().expect("a list").push(more);
    definition
}

/// The batches that are there, from the roll-up `batches`.
fn check_batches(torture: &Torture, crash: usize) -> BTreeMap<(u64, u64), (u64, u64)> {
    let question = json!({"dataset": "rolled", "date_range": [start_s(), null], "dimensions": ["writer", "batch"],
                          "metrics": ["rows"], "pagination": {"limit": 10_000}, "max_staleness_ms": 0});
    let found: BTreeMap<_, _> = all_rows(&torture.server, question)
        .iter()
        .map(|(dimensions, metrics)| {
            ((number(&dimensions[0]), number(&dimensions[1])), (number(&metrics[0]), number(&metrics[0])))
        })
        .collect();
    torture.check_batches(&found, crash);
    found
}

/// The metrics as text numbers; money has its digits after the point cut short where they are zeros.
fn sums(metrics: &[Value]) -> Sums {
    let cost = metrics[2].as_str().expect("text");
    let (whole, fraction) = cost.split_once('.').unwrap_or((cost, ""));
    (number(&metrics[0]), number(&metrics[1]), format!("{whole}{fraction:0<9}").parse().expect("digits"))
}

/// Asks by channel, by day and by hour and channel; every number is the one that the batches make.
fn check_sums(torture: &Torture, batches: &BTreeMap<(u64, u64), (u64, u64)>, crash: usize) {
    let ask = |dimensions: Value| {
        let question = json!({"dataset": "rolled", "date_range": [start_s(), null], "dimensions": dimensions,
                              "metrics": ["rows", "added", "cost"], "pagination": {"limit": 10_000},
                              "numbers": "string", "max_staleness_ms": 0});
        all_rows(&torture.server, question)
    };
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let by_channel: BTreeMap<_, _> =
        ask(json!(["channel"])).iter().map(|(key, metrics)| (text(&key[0]), sums(metrics))).collect();
    assert_eq!(by_channel, expected(batches, |row| format!("c{}", row.channel)), "crash {crash}: by channel");
    let hours = ask(json!(["time:hour", "channel"]));
    let by_hour: BTreeMap<_, _> =
        hours.iter().map(|(key, metrics)| ((text(&key[0]), text(&key[1])), sums(metrics))).collect();
    let label = |hour_s: u64| {
        let hour = (hour_s % DAY_S) / HOUR_S;
        (hour_s / DAY_S, hour)
    };
    let mut named = BTreeMap::new();
    for ((day, hour, channel), sums) in
        expected(batches, |row| (label(row.ts).0, label(row.ts).1, row.channel))
    {
        named.insert((hour_label(day, hour), format!("c{channel}")), sums);
    }
    assert_eq!(by_hour, named, "crash {crash}: by hour and channel");
}

/// `YYYY-MM-DDTHH:00:00Z` of a day since 1970.
fn hour_label(day: u64, hour: u64) -> String {
    let instant = tidewater_model::time::Timestamp((day * DAY_S + hour * HOUR_S) as i64 * 1_000_000);
    instant.to_string()
}

/// `before` holds for the first half of the crashes, `after` for the second.
fn torture(before: &Value, after: &Value) {
    let crashes = crashes();
    let mut torture =
        Torture::new(Load { dataset: "rolled", body }, &[("TIDEWATER_STORE__MAINTENANCE_INTERVAL_MS", "5")]);
    define(&torture.server, "rolled", before);
    for crash in 0..crashes {
        if crash == crashes / 2 {
            define(&torture.server, "rolled", after);
        }
        torture.crash();
        if crash % 10 == 9 || crash + 1 == crashes {
            let batches = check_batches(&torture, crash);
            check_sums(&torture, &batches, crash);
        }
    }
    let acknowledged = torture.acknowledged();
    assert!(acknowledged > crashes, "the writers got {acknowledged} batches through {crashes} crashes");
    eprintln!("{crashes} crashes, {acknowledged} acknowledged batches");
}

#[test]
fn rollups_survive_kills_while_they_are_derived_merged_and_built() {
    torture(&definition(&json!({})), &widened(&json!({})));
}

#[test]
fn rollups_outlive_their_raw_rows_through_kills() {
    let retention = json!({"raw": "2d", "1h": "30d", "1d": "60d"});
    torture(&widened(&retention), &widened(&retention));
}
