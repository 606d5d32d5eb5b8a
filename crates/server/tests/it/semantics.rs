//! The meaning of questions, held against a plain recomputation of the same rows (`naive`).
//!
//! One generated dataset holds every column type, nulls, unicode, ties of time and three projects; part of it lies in
//! segments, part in memory. A table asks for each sentence of the contract, then a few hundred questions are put together at
//! random. Pages, formats, read-your-write and words of dates follow with small datasets of their own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde_json::{Value, json};

use crate::naive::{self, Cell, Row};
use crate::server::Server;
use crate::talk::{ask, call, define, ingest_ndjson, percent_encoded, reply_to, results};

const ROWS: usize = 12_000;
const PROJECTS: [&str; 3] = ["default", "wiki", "other"];
const CHANNELS: [&str; 12] =
    ["en", "EN", "de", "#ünïcode", "zürich", "ZÜRICH", "日本", "", "fr", "a,b", "quo\"te", "new\nline"];
const TAGS: [&str; 6] = ["red", "green", "blue", "Ünique", "", "red"];
const ZONES: [&str; 6] =
    ["UTC", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/Berlin", "America/New_York"];
/// Starts and lengths in hours of the spans that hold rows; clocks change in Berlin and on Lord Howe within them.
const SPANS: [(&str, u64); 3] =
    [("2024-03-29T00:00:00Z", 11 * 24), ("2024-10-04T00:00:00Z", 4 * 24), ("2024-10-26T00:00:00Z", 3 * 24)];

/// A small reproducible generator (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize].clone()
    }
}

fn definition() -> Value {
    json!({"time": "ts", "sort": ["channel"],
           "columns": {"channel": "string", "user": "string", "is_robot": "bool", "added": "int", "score": "float",
                       "cost_usd": "money", "tags": "strings", "props": "map"},
           "metrics": {"edits": {"agg": "count"}, "total_added": {"agg": "sum", "column": "added"},
                       "robot_share": {"agg": "ratio", "numerator": {"agg": "count", "filters": [["is", "is_robot", [true]]]},
                                       "denominator": {"agg": "count"}}}})
}

/// A row as the oracle keeps it, and as it is sent.
fn generated_row(random: &mut Random) -> (Row, Value) {
    let (start, hours) = random.of(&SPANS[..]);
    let start: Timestamp = start.parse().expect("a time");
    // A third of the rows share their second, so that ties of time occur.
    let within = match random.below(3) {
        0 => random.below(hours * 60) * 60_000_000,
        1 => random.below(hours * 3_600) * 1_000_000,
        _ => random.below(hours * 3_600_000_000 / 1_000_003) * 1_000_003,
    };
    let ts = start.as_microsecond() + within as i64;
    let mut sent = json!({"ts": instant(ts)});
    let mut cells = BTreeMap::new();
    let mut put = |name: &str, cell: Cell, json: Value| {
        sent[name] = json;
        cells.insert(name.to_owned(), cell);
    };
    if random.chance(93) {
        let channel = random.of(&CHANNELS);
        put("channel", Cell::Text(channel.to_owned()), json!(channel));
    }
    if random.chance(95) {
        let user = format!("u{}", random.below(40) * random.below(40));
        put("user", Cell::Text(user.clone()), json!(user));
    }
    if random.chance(90) {
        let is_robot = random.chance(30);
        put("is_robot", Cell::Bool(is_robot), json!(is_robot));
    }
    if random.chance(85) {
        let added = if random.chance(1) { 4_000_000_000_000 } else { random.below(2_001) as i64 - 700 };
        put("added", Cell::Int(added.into()), json!(added));
    }
    if random.chance(80) {
        let score =
            (random.below(4_000) as f64 - 900.0) * 0.125 + if random.chance(50) { 0.001 } else { 0.0 };
        put("score", Cell::Float(score), json!(score));
    }
    if random.chance(80) {
        let nanos = random.below(5_000_000_000) as i64 - 1_000_000_000;
        put("cost_usd", Cell::Money(nanos.into()), json!(nanos as f64 / 1e9));
    }
    if random.chance(75) {
        let tags: Vec<String> = (0..random.below(4)).map(|_| random.of(&TAGS).to_owned()).collect();
        put("tags", Cell::List(tags.clone()), json!(tags));
    }
    if random.chance(70) {
        let mut props = BTreeMap::from([("browser", random.of(&["Firefox", "Chrome", "chrome"]))]);
        if random.chance(50) {
            props.insert("ver", random.of(&["1", "2", "10"]));
        }
        if random.chance(2) {
            props.insert("rare key", "yes");
        }
        put("props", Cell::Null, json!(props));
        for (key, value) in props {
            put(&format!("props.{key}"), Cell::Text(value.to_owned()), Value::Null);
        }
    }
    if let Some(object) = sent.as_object_mut() {
        object.retain(|name, _| !name.contains('.'));
    }
    (Row { project: random.of(&PROJECTS).to_owned(), ts, cells }, sent)
}

fn instant(us: i64) -> String {
    Timestamp::from_microsecond(us).expect("a time").to_string()
}

/// Sends the rows in requests of 700, so that small memtables are flushed in between and a rest stays in memory.
fn load(server: &Server, random: &mut Random) -> Vec<Row> {
    let mut rows = Vec::new();
    for _ in 0..ROWS.div_ceil(700) {
        let mut bodies = BTreeMap::<String, String>::new();
        let mut counts = BTreeMap::<String, usize>::new();
        for (row, sent) in (0..700).map(|_| generated_row(random)) {
            writeln!(bodies.entry(row.project.clone()).or_default(), "{sent}").expect("a String grows");
            *counts.entry(row.project.clone()).or_default() += 1;
            rows.push(row);
        }
        for (project, body) in bodies {
            let reply = ingest_ndjson(server, &format!("edits?project={project}"), &body);
            assert_eq!(reply["accepted"], counts[&project], "{reply}");
        }
    }
    rows
}

fn close(ours: &Value, theirs: &Value, relative: f64) -> bool {
    match (ours.as_f64(), theirs.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= relative.max(1e-9) * a.abs().max(b.abs()) + 1e-12,
        _ => ours == theirs,
    }
}

/// What is wrong with the server's answer, if something is.
fn difference(server: &Server, question: &Value, rows: &[Row]) -> Option<String> {
    let reply = reply_to(server, question);
    if reply.status != 200 {
        return Some(format!("{question}\n  {}", reply.text()));
    }
    let ours = reply.json();
    let theirs = naive::answer(question, rows);
    let relative: Vec<f64> = ours["meta"]["relative_error"]
        .as_array()?
        .iter()
        .map(|bound| bound.as_f64().unwrap_or(f64::NAN))
        .collect();
    let metrics_fit = |ours: &[Value], theirs: &[Cell]| {
        let mut pairs = ours.iter().zip(theirs).zip(&relative);
        ours.len() == theirs.len() && pairs.all(|((ours, theirs), bound)| close(ours, &theirs.json(), *bound))
    };
    if question["exact"] == true && relative.iter().any(|bound| *bound != 0.0) {
        return Some(format!("{question}\n  asked to be exact, claims {relative:?}"));
    }
    let listed = results(&ours);
    if listed.len() != theirs.results.len() {
        return Some(format!(
            "{question}\n  {} rows, not {}: {:?}",
            listed.len(),
            theirs.results.len(),
            listed.first()
        ));
    }
    for (index, ((dimensions, metrics), theirs)) in listed.iter().zip(&theirs.results).enumerate() {
        let dimensions_fit =
            dimensions.iter().zip(&theirs.0).all(|(ours, theirs)| close(ours, &theirs.json(), 0.0));
        if !dimensions_fit || dimensions.len() != theirs.0.len() || !metrics_fit(metrics, &theirs.1) {
            return Some(format!(
                "{question}\n  row {index}: {dimensions:?} {metrics:?}\n  is not {theirs:?}"
            ));
        }
    }
    if question["include"]["total_rows"] == true && ours["meta"]["total_rows"] != theirs.total_rows {
        return Some(format!(
            "{question}\n  total_rows {} is not {}",
            ours["meta"]["total_rows"], theirs.total_rows
        ));
    }
    if question["include"]["totals"] == true {
        let totals = ours["totals"].as_array().cloned().unwrap_or_default();
        if !metrics_fit(&totals, &theirs.totals) {
            return Some(format!("{question}\n  totals {totals:?}\n  are not {:?}", theirs.totals));
        }
    }
    None
}

fn check_all(server: &Server, questions: &[Value], rows: &[Row]) {
    let wrong: Vec<String> =
        questions.iter().filter_map(|question| difference(server, question, rows)).collect();
    assert!(wrong.is_empty(), "{} of {} questions:\n{}", wrong.len(), questions.len(), wrong.join("\n"));
}

/// A question over everything of one project, with members replaced.
fn question(members: Value) -> Value {
    let mut question = json!({"dataset": "edits", "project": "wiki", "date_range": ["2024-03-01", "2024-11-01"],
                              "metrics": [{"agg": "count", "as": "n"}],
                              "include": {"totals": true, "total_rows": true}, "exact": true});
    for (name, value) in members.as_object().expect("an object") {
        question[name] = value.clone();
    }
    question
}

fn aggregate_questions() -> Vec<Value> {
    let numeric =
        ["sum", "avg", "min", "max", "stddev", "uniq", "p50", "p95", "p1", "p99.9", "first", "last"];
    let mut out = Vec::new();
    for column in ["added", "score", "cost_usd"] {
        let named =
            |agg: &&str| json!({"agg": agg, "column": column, "as": format!("m_{}", agg.replace('.', "_"))});
        // The count comes first, and with it the default order: float sums may differ in their last bit.
        let metrics: Vec<Value> =
            [json!({"agg": "count", "as": "n"})].into_iter().chain(numeric.iter().map(named)).collect();
        for dimensions in [json!([]), json!(["channel"]), json!(["user"]), json!(["time:day", "is_robot"])] {
            out.push(question(json!({"metrics": metrics, "dimensions": dimensions})));
        }
        // Nothing passes: counts and sums are 0, the others null.
        out.push(question(json!({"metrics": metrics, "filters": [["is", "channel", ["nobody"]]]})));
        // Without `exact` the stated bound holds.
        let sketched = json!([{"agg": "p50", "column": column, "as": "a"}, {"agg": "p95", "column": column, "as": "b"},
                              {"agg": "uniq", "column": "user", "as": "c"}, {"agg": "uniq", "column": column, "as": "d"}]);
        for dimensions in [json!([]), json!(["time:day"])] {
            out.push(question(json!({"metrics": sketched, "dimensions": dimensions, "exact": false})));
        }
    }
    let texts = json!([{"agg": "min", "column": "channel", "as": "a"}, {"agg": "max", "column": "channel", "as": "b"},
                       {"agg": "first", "column": "channel", "as": "c"}, {"agg": "last", "column": "user", "as": "d"},
                       {"agg": "uniq", "column": "props.browser", "as": "e"}, {"agg": "last", "column": "props.ver", "as": "f"},
                       {"agg": "uniq", "column": "is_robot", "as": "g"}]);
    out.push(question(json!({"metrics": texts})));
    out.push(question(json!({"metrics": texts, "dimensions": ["time:day"]})));
    let own = json!([
        {"agg": "count", "as": "robots", "filters": [["is", "is_robot", [true]]]},
        {"agg": "sum", "column": "cost_usd", "as": "cost", "filters": [["gt", "added", 0], ["exists", "score"]]},
        {"agg": "ratio", "as": "share", "numerator": {"agg": "count", "filters": [["is", "is_robot", [true]]]}, "denominator": {"agg": "count"}},
        {"agg": "ratio", "as": "price", "numerator": {"agg": "sum", "column": "cost_usd"}, "denominator": {"agg": "sum", "column": "added"}},
        {"agg": "ratio", "as": "never", "numerator": {"agg": "count"}, "denominator": {"agg": "count", "filters": [["is", "channel", ["nobody"]]]}},
        {"agg": "rate", "as": "per_s"}, {"agg": "rate", "column": "added", "as": "added_per_s"}]);
    for dimensions in [json!([]), json!(["channel"]), json!(["time:hour"]), json!(["time:week", "channel"])] {
        out.push(question(json!({"metrics": own, "dimensions": dimensions, "date_range": ["2024-03-29T03:30:00Z", "2024-04-03T12:15:00Z"]})));
    }
    out
}

/// One list of filters a line.
const FILTERS: &str = r##"[["is", "channel", ["en"]]]
[["is", "channel", ["en"], {"case_sensitive": false}]]
[["is", "channel", [null]]]
[["is", "channel", ["de", null]]]
[["is_not", "channel", ["en"]]]
[["is_not", "channel", [null]]]
[["is_not", "channel", ["en", null]]]
[["is", "channel", ["ZÜRICH"], {"case_sensitive": false}]]
[["contains", "channel", ["ü"]]]
[["contains", "channel", ["Ü"], {"case_sensitive": false}]]
[["contains_not", "channel", ["ü"]]]
[["starts_with", "channel", ["z", "#"]]]
[["ends_with", "channel", ["本"]]]
[["matches", "channel", ["^(en|de)"]]]
[["matches_not", "channel", ["h$"]]]
[["contains", "channel", [""]]]
[["matches", "channel", ["^(en|de)"], {"case_sensitive": false}]]
[["is", "channel", [""]]]
[["gt", "added", 5]]
[["gte", "added", -700]]
[["lt", "added", 0]]
[["lte", "added", 1300]]
[["gt", "score", 10.5]]
[["lt", "cost_usd", 0.5]]
[["gte", "cost_usd", 3.999999999]]
[["is", "added", [5, 6, null]]]
[["not", ["gt", "added", 5]]]
[["not", ["contains", "channel", ["e"]]]]
[["exists", "added"]]
[["not", ["exists", "props.browser"]]]
[["is", "is_robot", [true]]]
[["is_not", "is_robot", [true]]]
[["is", "is_robot", [null, false]]]
[["is", "props.browser", ["Chrome"]]]
[["is", "props.nothing", [null]]]
[["is", "props.rare key", ["yes"]]]
[["contains", "props.browser", ["CHROME"], {"case_sensitive": false}]]
[["is", "tags", ["red"]]]
[["is_not", "tags", ["red"]]]
[["is", "tags", [null]]]
[["exists", "tags"]]
[["contains", "tags", ["ue"]]]
[["gt", "channel", "e"]]
[["lte", "channel", "fr"]]
[["and", [["is", "is_robot", [true]], ["gt", "added", 0]]]]
[["or", [["is", "channel", ["en"]], ["not", ["or", [["gt", "score", 0], ["exists", "user"]]]]]]]
[["not", ["and", [["is", "channel", ["de"]], ["is", "is_robot", [false]]]]], ["exists", "user"]]
[["gte", "ts", "2024-04-01T00:00:00Z"], ["lt", "ts", "2024-10-05T00:00:00Z"]]
[]"##;

fn filter_questions() -> Vec<Value> {
    let filters: Vec<Value> = FILTERS.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    filters
        .iter()
        .flat_map(|filters| {
            [
                question(json!({"filters": filters})),
                question(json!({"filters": filters, "dimensions": ["channel", "is_robot"]})),
            ]
        })
        .collect()
}

fn time_questions() -> Vec<Value> {
    let mut out = Vec::new();
    for zone in ZONES {
        for unit in ["minute", "5m", "15m", "30m", "hour", "day", "week", "month", "year"] {
            for range in [
                json!(["2024-04-06", "2024-04-08"]),
                json!(["2024-10-26T23:15:00Z", "2024-10-27T03:45:00Z"]),
                json!(["2024-10-05T14:00:00Z", "2024-10-05T17:00:00Z"]),
                json!(["2024-03-30T21:00:00", "2024-03-31T05:00:00"]),
            ] {
                let is_fine = unit == "minute" || unit == "5m";
                if is_fine && range[0] == "2024-04-06"
                    || range[0] == "2024-03-30T21:00:00" && zone != "Europe/Berlin"
                {
                    continue;
                }
                // Times without a zone are local; the oracle wants instants.
                let range = if range[0] == "2024-03-30T21:00:00" {
                    json!(["2024-03-30T20:00:00Z", "2024-03-31T03:00:00Z"])
                } else {
                    range
                };
                out.push(question(
                    json!({"dimensions": [format!("time:{unit}")], "timezone": zone, "date_range": range}),
                ));
                out.push(question(json!({"dimensions": [format!("time:{unit}")], "timezone": zone, "date_range": range,
                                         "filters": [["is", "channel", ["日本"]]], "include": {"fill": true, "total_rows": true}})));
            }
        }
        out.push(question(json!({"dimensions": ["time:day", "channel"], "timezone": zone, "date_range": ["2024-03-29", "2024-04-02"],
                                 "include": {"fill": true, "total_rows": true},
                                 "metrics": [{"agg": "count", "as": "n"}, {"agg": "sum", "column": "added", "as": "s"}, {"agg": "avg", "column": "added", "as": "a"}]})));
    }
    for (to, _unit) in [("01:00", "minute"), ("06:00", "5m"), ("06:01", "hour")] {
        out.push(question(json!({"dimensions": ["time"], "date_range": ["2024-04-01T00:00:00Z", format!("2024-04-01T{to}:00Z")]})));
    }
    for days in [
        ["2024-04-01", "2024-04-02"],
        ["2024-04-01", "2024-04-03"],
        ["2024-03-29", "2024-06-28"],
        ["2024-03-29", "2024-06-29"],
    ] {
        out.push(question(json!({"dimensions": ["time"], "date_range": days})));
    }
    out.push(question(json!({"dimensions": ["time:month", "channel"], "date_range": "all"})));
    out
}

fn order_questions() -> Vec<Value> {
    let metrics = json!([{"agg": "count", "as": "n"}, {"agg": "max", "column": "added", "as": "m", "filters": [["is", "is_robot", [true]], ["is", "user", ["u0", "u6"]]]}]);
    let mut out = Vec::new();
    for dimensions in [
        json!(["channel"]),
        json!(["user", "channel"]),
        json!(["is_robot", "added"]),
        json!(["score"]),
        json!(["cost_usd", "is_robot"]),
        json!(["tags"]),
        json!(["tags", "channel"]),
        json!(["props.browser", "props.ver"]),
        json!(["time:day", "channel"]),
        json!(["channel", "time:hour"]),
    ] {
        let first = &dimensions[0];
        for order in [
            json!([]),
            json!([["n", "asc"]]),
            json!([["m", "desc"]]),
            json!([["m", "asc"]]),
            json!([[first, "desc"]]),
            json!([[first, "asc"], ["m", "desc"]]),
        ] {
            out.push(question(json!({"metrics": metrics, "dimensions": dimensions, "order_by": order, "pagination": {"limit": 37}})));
        }
        for having in [
            json!([["gt", "n", 3]]),
            json!([["gt", "m", 0]]),
            json!([["not", ["gt", "m", 0]]]),
            json!([["or", [["lt", "n", 3], ["gte", "n", 200]]]]),
        ] {
            out.push(question(json!({"metrics": metrics, "dimensions": dimensions, "having": having, "pagination": {"limit": 50, "offset": 2}})));
        }
    }
    out.push(question(json!({"metrics": metrics, "dimensions": ["time:hour"], "date_range": ["2024-04-01T00:00:00Z", "2024-04-01T12:00:00Z"],
                             "filters": [["is", "channel", ["fr"]]], "having": [["lt", "n", 1]], "include": {"fill": true, "total_rows": true, "totals": true}})));
    out
}

fn random_filter(random: &mut Random, depth: u64) -> Value {
    if depth > 0 && random.chance(35) {
        let parts: Vec<Value> = (0..=random.below(3)).map(|_| random_filter(random, depth - 1)).collect();
        return match random.below(3) {
            0 => json!(["and", parts]),
            1 => json!(["or", parts]),
            _ => json!(["not", parts[0]]),
        };
    }
    let (channel, other) = (random.of(&CHANNELS), random.of(&CHANNELS));
    let number = random.below(2_000) as i64 - 700;
    let options = json!({"case_sensitive": random.chance(50)});
    match random.below(12) {
        0 => json!(["is", "channel", [channel, other], options]),
        1 => json!(["is_not", "channel", [channel, null]]),
        2 => json!([
            random.of(&["contains", "starts_with", "ends_with", "contains_not"]),
            "channel",
            [channel],
            options
        ]),
        3 => json!([random.of(&["gt", "gte", "lt", "lte"]), "added", number]),
        4 => json!([random.of(&["gt", "gte", "lt", "lte"]), "score", number as f64 / 8.0]),
        5 => json!([random.of(&["gt", "gte", "lt", "lte"]), "cost_usd", number as f64 / 500.0]),
        6 => json!([
            "exists",
            random.of(&["channel", "user", "added", "score", "tags", "props.ver", "is_robot"])
        ]),
        7 => json!(["is", "is_robot", [random.of(&[Some(true), Some(false), None])]]),
        8 => json!([random.of(&["is", "is_not"]), "tags", [random.of(&TAGS)]]),
        9 => json!([
            random.of(&["is", "is_not"]),
            "props.browser",
            [random.of(&[Some("Chrome"), None, Some("Firefox")])],
            options
        ]),
        10 => json!(["is", "user", [format!("u{}", random.below(50)), "u0", "u12"]]),
        _ => json!(["gte", "ts", instant(1_711_700_000_000_000 + random.below(800_000) as i64 * 1_000_000)]),
    }
}

fn random_metric(random: &mut Random, index: usize) -> Value {
    let number = random.of(&["added", "score", "cost_usd"]);
    let mut metric = match random.below(9) {
        0 | 1 => json!({"agg": "count"}),
        2 => {
            json!({"agg": "ratio", "numerator": {"agg": "sum", "column": number}, "denominator": {"agg": "count", "filters": [random_filter(random, 0)]}})
        }
        3 => json!({"agg": "uniq", "column": random.of(&["user", "channel", "added", "props.ver"])}),
        4 => {
            json!({"agg": random.of(&["first", "last", "min", "max"]), "column": random.of(&["channel", "user", "added", "score", "cost_usd"])})
        }
        5 => json!({"agg": random.of(&["p10", "p50", "p99", "p99.9"]), "column": number}),
        _ => json!({"agg": random.of(&["sum", "avg", "stddev", "min", "max"]), "column": number}),
    };
    if metric["agg"] != "ratio" && random.chance(35) {
        metric["filters"] = json!([random_filter(random, 1)]);
    }
    metric["as"] = json!(format!("m{index}"));
    metric
}

fn random_question(random: &mut Random) -> Value {
    let zone = random.of(&ZONES);
    let from = 1_711_670_400 + random.below(11 * 288) as i64 * 300;
    let hours = random.of(&[1, 5, 24, 60, 300]);
    let mut asked = question(json!({
        "project": random.of(&PROJECTS), "timezone": zone,
        "date_range": [instant(from * 1_000_000), instant((from + hours * 3_600) * 1_000_000)],
        "metrics": (0..=random.below(4) as usize).map(|index| random_metric(random, index)).collect::<Vec<_>>(),
        "filters": (0..random.below(3)).map(|_| random_filter(random, 2)).collect::<Vec<_>>(),
        "pagination": {"limit": random.of(&[3, 40, 1_000]), "offset": random.of(&[0, 0, 1, 7])},
    }));
    let mut dimensions = Vec::new();
    if random.chance(55) {
        dimensions.push(random.of(&["time", "time:hour", "time:day", "time:30m", "time:week", "time:month"]));
    }
    let mut others = vec!["channel", "is_robot", "user", "tags", "props.browser", "added", "props.ver"];
    for _ in 0..random.below(3) {
        let at = random.below(others.len() as u64) as usize;
        dimensions.insert(random.below(dimensions.len() as u64 + 1) as usize, others.remove(at));
    }
    // Filling many groups is refused for its memory, which is another check.
    let has_many = dimensions.iter().any(|name| matches!(*name, "added" | "user"));
    if dimensions.iter().any(|name| name.starts_with("time")) && !has_many && random.chance(30) {
        asked["include"]["fill"] = json!(true);
    }
    if random.chance(30) {
        asked["having"] = json!([[random.of(&["gt", "lte"]), "m0", random.below(20)]]);
        asked["metrics"][0] = json!({"agg": "count", "as": "m0"});
    }
    if random.chance(50) {
        let mut order = vec![json!(["m0", random.of(&["asc", "desc"])])];
        if let Some(name) = dimensions.first() {
            order.push(json!([name, random.of(&["asc", "desc"])]));
        }
        asked["order_by"] = json!(order);
        // A float average may differ in its last bit, and then so may the order of ties: order by what is exact.
        asked["metrics"][0] =
            json!({"agg": random.of(&["sum", "max", "min", "uniq"]), "column": "added", "as": "m0"});
    }
    asked["dimensions"] = json!(dimensions);
    asked
}

#[test]
fn every_question_equals_a_plain_recomputation() {
    let mut random = Random(0x0dd0_5eed);
    let mut server = Server::start_with(&[
        ("TIDEWATER_STORE__MEMTABLE_BYTES_MAX", "400000"),
        ("TIDEWATER_STORE__FLUSH_INTERVAL_MS", "3600000"),
    ]);
    define(&server, "edits", &definition());
    let rows = load(&server, &mut random);
    let mut questions =
        [aggregate_questions(), filter_questions(), time_questions(), order_questions()].concat();
    let count = std::env::var("TIDEWATER_QUESTIONS").map_or(300, |text| text.parse().expect("a number"));
    questions.extend((0..count).map(|_| random_question(&mut random)));
    check_all(&server, &questions, &rows);

    let sample: Vec<Value> = questions.iter().step_by(17).cloned().collect();
    server = server.kill_and_restart();
    check_all(&server, &sample, &rows);
    named_metrics(&server, &rows);
    comparisons(&server, &rows);
    pages(&server, &rows);
    other_forms(&server, &rows);
    raw_rows(&server, &rows);
    validators(&server);
}

/// Metrics by their names in the dataset, and a question's own beside them.
fn named_metrics(server: &Server, rows: &[Row]) {
    let asked =
        question(json!({"metrics": ["edits", "total_added", "robot_share"], "dimensions": ["channel"]}));
    let mut spelled = asked.clone();
    spelled["metrics"] = json!(
        definition()["metrics"]
            .as_object()
            .expect("metrics")
            .iter()
            .map(|(name, metric)| {
                let mut metric = metric.clone();
                metric["as"] = json!(name);
                metric
            })
            .collect::<Vec<_>>()
    );
    let theirs = naive::answer(&spelled, rows);
    let ours = results(&ask(server, &asked));
    assert_eq!(ours.len(), theirs.results.len());
    for ((_, ours), (_, theirs)) in ours.iter().zip(&theirs.results) {
        assert!(ours.iter().zip(theirs).all(|(a, b)| close(a, &b.json(), 0.0)), "{ours:?} {theirs:?}");
    }
}

/// `compare` gives, for each row, what the same row has in the other range.
fn comparisons(server: &Server, rows: &[Row]) {
    let cases = [
        (
            json!(["2024-04-02T00:00:00Z", "2024-04-03T00:00:00Z"]),
            json!("previous_period"),
            json!(["2024-04-01T00:00:00Z", "2024-04-02T00:00:00Z"]),
        ),
        (json!(["2024-04-02", "2024-04-03"]), json!("previous_period"), json!(["2024-03-31", "2024-04-01"])),
        (
            json!(["2024-04-02", "2024-04-03"]),
            json!(["2024-10-26", "2024-10-27"]),
            json!(["2024-10-26", "2024-10-27"]),
        ),
        (json!(["2024-04-02", "2024-04-03"]), json!("year_over_year"), json!(["2023-04-02", "2023-04-03"])),
    ];
    for (range, compare, other) in cases {
        for dimensions in [json!([]), json!(["channel"]), json!(["time:hour"]), json!(["user"])] {
            let asked = question(
                json!({"date_range": range, "compare": compare, "dimensions": dimensions, "pagination": {"limit": 10000},
                                        "metrics": [{"agg": "count", "as": "n"}, {"agg": "sum", "column": "added", "as": "s"}]}),
            );
            let before = question(
                json!({"date_range": other, "dimensions": dimensions, "metrics": asked["metrics"], "pagination": {"limit": 10000}}),
            );
            let before = naive::answer(&before, rows).results;
            let answer = ask(server, &asked);
            let listed = results(&answer);
            let comparison = answer["comparison"].as_array().unwrap_or_else(|| panic!("{asked}: {answer}"));
            assert_eq!(comparison.len(), listed.len(), "{asked}: one entry per result row");
            let start = |range: &Value| {
                let text = range[0].as_str().expect("a time");
                let text = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
                text.parse::<Timestamp>().expect("a time").as_microsecond()
            };
            for ((dimensions, _), entry) in listed.iter().zip(comparison) {
                let found = before.iter().find(|(cells, _)| {
                    cells.iter().zip(dimensions).all(|(cell, ours)| match cell {
                        Cell::Time(us, _) => {
                            let label = instant(us - start(&other) + start(&range));
                            ours.as_str() == Some(label.as_str())
                        }
                        cell => cell.json() == *ours,
                    })
                });
                let expected: Vec<Value> = match found {
                    Some((_, metrics)) => metrics.iter().map(Cell::json).collect(),
                    // Without dimensions there is one row, and over no rows counts and sums are 0.
                    None => vec![Value::Null, Value::Null],
                };
                assert_eq!(entry["metrics"], json!(expected), "{asked}: {dimensions:?}");
            }
        }
    }
}

/// Pages of a pinned answer give every row once, while rows arrive and others are deleted.
fn pages(server: &Server, rows: &[Row]) {
    let mut asked =
        question(json!({"project": "other", "dimensions": ["user", "channel"], "pagination": {"limit": 61},
                                    "metrics": [{"agg": "count", "as": "n"}]}));
    let mut whole = asked.clone();
    whole["pagination"] = json!({"limit": 10_000});
    let expected = naive::answer(&whole, rows).results;
    let mut got: Vec<(Vec<Value>, Vec<Value>)> = Vec::new();
    loop {
        let answer = ask(server, &asked);
        assert!(results(&answer).len() <= 61);
        assert_eq!(answer["meta"]["total_rows"], expected.len());
        got.extend(results(&answer));
        if answer["meta"]["next_cursor"].is_null() {
            break;
        }
        asked["pagination"]["cursor"] = answer["meta"]["next_cursor"].clone();
        let body = format!(
            "{}\n",
            json!({"ts": "2024-04-01T00:00:00Z", "user": format!("a{}", got.len()), "channel": "late"})
        );
        ingest_ndjson(server, "edits?project=other", &body);
    }
    assert_eq!(got.len(), expected.len(), "every row once");
    for (ours, theirs) in got.iter().zip(&expected) {
        let theirs: Vec<Value> = theirs.0.iter().map(Cell::json).collect();
        assert_eq!(ours.0, theirs);
    }
    whole["pagination"]["limit"] = json!(10_000);
    assert!(results(&ask(server, &whole)).len() > expected.len(), "a new question sees the new rows");
}

/// Objects, CSV, NDJSON, Parquet, text numbers, GET and batch say the same.
fn other_forms(server: &Server, rows: &[Row]) {
    let asked = question(
        json!({"dimensions": ["channel", "is_robot"], "metrics": [{"agg": "count", "as": "n"},
                                {"agg": "sum", "column": "cost_usd", "as": "cost"}, {"agg": "avg", "column": "score", "as": "score"}]}),
    );
    let expected = naive::answer(&asked, rows).results;
    let named: Vec<Value> = expected.iter().map(|(dimensions, metrics)| {
        json!({"channel": dimensions[0].json(), "is_robot": dimensions[1].json(), "n": metrics[0].json(), "cost": metrics[1].json(), "score": metrics[2].json()})
    }).collect();
    let same = |ours: &[Value], what: &str| {
        assert_eq!(ours.len(), named.len(), "{what}");
        for (ours, theirs) in ours.iter().zip(&named) {
            let members = theirs.as_object().expect("an object");
            assert!(
                members.iter().all(|(name, value)| close(&ours[name], value, 0.0)),
                "{what}: {ours} is not {theirs}"
            );
        }
    };
    let mut objects = asked.clone();
    objects["format"] = json!("objects");
    same(ask(server, &objects)["results"].as_array().expect("rows"), "objects");

    let accept = |media: &str| {
        let reply = call(
            server,
            "POST",
            "/api/v1/query",
            &[("content-type", "application/json"), ("accept", media)],
            asked.to_string().as_bytes(),
        );
        assert_eq!(reply.status, 200, "{media}: {}", reply.text());
        assert!(reply.header("content-type").is_some_and(|found| found.starts_with(media)), "{media}");
        reply
    };
    let lines: Vec<Value> = accept("application/x-ndjson")
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    same(&lines, "ndjson");

    let csv = accept("text/csv").text();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(reader.headers().expect("a header"), vec!["channel", "is_robot", "n", "cost", "score"]);
    let records: Vec<csv::StringRecord> = reader.records().map(|record| record.expect("a record")).collect();
    assert_eq!(records.len(), named.len());
    for (record, theirs) in records.iter().zip(&named) {
        assert_eq!(&record[0], theirs["channel"].as_str().unwrap_or(""), "csv");
        assert_eq!(record[2].parse::<i64>().ok(), theirs["n"].as_i64(), "csv");
        assert!(close(&json!(record[3].parse::<f64>().expect("money")), &theirs["cost"], 0.0), "csv");
    }

    parquet_form(&accept("application/vnd.apache.parquet").body, &named);

    let mut text = asked.clone();
    text["numbers"] = json!("string");
    for ((_, metrics), (_, theirs)) in results(&ask(server, &text)).iter().zip(&expected) {
        let Cell::Money(nanos) = theirs[1] else { panic!("money") };
        assert_eq!(
            naive::nanos(metrics[1].as_str().expect("money as text")),
            nanos,
            "money keeps all its digits"
        );
    }

    let q = percent_encoded(&asked.to_string());
    let got = call(server, "GET", &format!("/api/v1/query?q={q}"), &[], b"");
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(got.json()["results"], ask(server, &asked)["results"], "GET ?q=");
    let plain = "/api/v1/query?dataset=edits&project=wiki&metrics=edits,total_added&dimensions=time:month,is_robot&date_range=2024-03-01,2024-11-01";
    let got = call(server, "GET", plain, &[], b"");
    assert_eq!(got.status, 200, "{}", got.text());
    let posted =
        question(json!({"metrics": ["edits", "total_added"], "dimensions": ["time:month", "is_robot"]}));
    assert_eq!(got.json()["results"], ask(server, &posted)["results"], "plain GET");

    let batch = json!({"queries": [asked, {"dataset": "nothing", "metrics": ["edits"]}, posted]});
    let reply = server.post("/api/v1/query/batch", &batch);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let answers = reply.json()["answers"].clone();
    assert_eq!(answers[0]["results"], ask(server, &asked)["results"]);
    assert_eq!(
        (&answers[1]["status"], &answers[1]["code"]),
        (&json!(400), &json!("unknown_dataset")),
        "{}",
        answers[1]
    );
    assert_eq!(answers[2]["results"], ask(server, &posted)["results"]);
    assert_eq!(answers[0]["meta"]["version"], answers[2]["meta"]["version"], "one snapshot");
}

fn parquet_form(bytes: &[u8], named: &[Value]) {
    let bytes = bytes::Bytes::copy_from_slice(bytes);
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes)
        .expect("a Parquet file");
    let names: Vec<String> = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["channel", "is_robot", "n", "cost", "score"]);
    let count: usize =
        reader.build().expect("a reader").map(|batch| batch.expect("a batch").num_rows()).sum();
    assert_eq!(count, named.len());
}

/// `/rows` gives every row once in either order, page by page, while others arrive; `since` gives only newer ones.
fn raw_rows(server: &Server, rows: &[Row]) {
    let range = json!(["2024-04-02T00:00:00Z", "2024-04-04T00:00:00Z"]);
    let filters = json!([["is", "is_robot", [true]]]);
    let mut expected: Vec<i64> = rows
        .iter()
        .filter(|row| row.project == "wiki" && naive::holds(&filters[0], row))
        .map(|row| row.ts)
        .filter(|ts| (1_712_016_000_000_000..1_712_188_800_000_000).contains(ts))
        .collect();
    expected.sort_unstable();
    for order in ["asc", "desc"] {
        let mut body = json!({"dataset": "edits", "project": "wiki", "date_range": range, "filters": filters, "order": order, "limit": 13});
        let mut times = Vec::new();
        loop {
            let reply = server.post("/api/v1/rows", &body);
            assert_eq!(reply.status, 200, "{}", reply.text());
            let page = reply.json();
            let listed = page["rows"].as_array().expect("rows");
            assert!(listed.len() <= 13);
            for row in listed {
                assert_eq!(row["is_robot"], true, "{row}");
                if row["channel"] != "late" {
                    times.push(
                        row["ts"]
                            .as_str()
                            .expect("a time")
                            .parse::<Timestamp>()
                            .expect("RFC 3339")
                            .as_microsecond(),
                    );
                }
            }
            if page["meta"]["next_cursor"].is_null() {
                break;
            }
            body["cursor"] = page["meta"]["next_cursor"].clone();
            let late = json!({"ts": "2024-04-03T00:00:00Z", "is_robot": true, "channel": "late"});
            ingest_ndjson(server, "edits?project=wiki", &format!("{late}\n"));
        }
        if order == "desc" {
            times.reverse();
        }
        assert_eq!(times, expected, "{order}");
        let mut gone = json!({"dataset": "edits", "project": "wiki", "date_range": range, "filters": [["is", "channel", ["late"]]]});
        let reply = server.post("/api/v1/rows/delete", &gone);
        assert!(reply.status < 300, "{}", reply.text());
        gone["metrics"] = json!([{"agg": "count"}]);
        assert_eq!(
            results(&ask(server, &gone))[0].1,
            vec![json!(0)],
            "deleted rows are gone from every answer"
        );
    }
    let whole = json!({"dataset": "edits", "project": "wiki", "date_range": range, "limit": 1000});
    let version = server.post("/api/v1/rows", &whole).json()["meta"]["version"].clone();
    let mut since = whole.clone();
    since["since"] = version;
    assert_eq!(server.post("/api/v1/rows", &since).json()["rows"], json!([]));
    let sent = json!({"ts": "2024-04-03T00:00:00Z", "channel": "newest", "cost_usd": 0.000000001, "tags": ["x"], "props": {"k": "v"}});
    ingest_ndjson(server, "edits?project=wiki", &format!("{sent}\n"));
    let listed = server.post("/api/v1/rows", &since).json()["rows"].clone();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    let row = &listed[0];
    assert_eq!(
        (&row["channel"], &row["tags"], &row["props"], row["cost_usd"].as_f64()),
        (&json!("newest"), &json!(["x"]), &json!({"k": "v"}), Some(1e-9)),
        "{row}"
    );
    let mut narrow = since.clone();
    narrow["columns"] = json!(["channel"]);
    assert_eq!(server.post("/api/v1/rows", &narrow).json()["rows"], json!([{"channel": "newest"}]));
}

/// An answer's `ETag` spares sending it again until rows arrive; `min_version` waits for a write.
fn validators(server: &Server) {
    let asked = question(json!({"dimensions": ["channel"]}));
    let send = |tag: Option<&str>| {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(tag.map(|tag| ("if-none-match", tag)));
        call(server, "POST", "/api/v1/query", &headers, asked.to_string().as_bytes())
    };
    let first = send(None);
    let tag = first.header("etag").expect("an ETag").to_owned();
    assert_eq!(first.header("cache-control"), Some("private, no-cache"));
    assert!(matches!(first.header("x-cache"), Some("hit" | "partial" | "miss")));
    assert!(first.header("server-timing").is_some());
    let second = send(Some(&tag));
    assert_eq!((second.status, second.text().len()), (304, 0), "nothing changed");
    assert_eq!(second.header("etag"), Some(tag.as_str()));
    assert_eq!(send(Some("\"other\"")).status, 200);
    assert_eq!(send(Some(&format!("\"other\", {tag}"))).status, 304, "a list of tags");
    let reply = ingest_ndjson(
        server,
        "edits?project=wiki",
        "{\"ts\":\"2024-04-03T00:00:00Z\",\"channel\":\"etag\"}\n",
    );
    assert_eq!(send(Some(&tag)).status, 200, "a row arrived");
    let mut written = asked.clone();
    written["min_version"] = reply["version"].clone();
    ask(server, &written);
    let version = reply["version"].as_str().expect("a version");
    let (head, number) = version.rsplit_once(['-', ':', '.']).unwrap_or(("", version));
    if let Ok(number) = number.parse::<u64>() {
        let separator = &version[head.len()..version.len() - number.to_string().len()];
        written["min_version"] = json!(format!("{head}{separator}{}", number + 1_000_000));
        let reply = reply_to(server, &written);
        assert_eq!(
            (reply.status, &reply.json()["code"]),
            (503, &json!("version_not_reached")),
            "{}",
            reply.text()
        );
        assert!(reply.header("retry-after").is_some());
    }
}

#[test]
fn words_of_dates_resolve_in_the_zone_of_the_question() {
    let server = Server::start();
    define(&server, "edits", &definition());
    ingest_ndjson(&server, "edits", "{\"ts\":\"2020-05-06T07:08:09.123456Z\"}\n");
    for zone in ZONES {
        let tz = TimeZone::get(zone).expect("a zone");
        for word in ["day", "1d", "7d", "month", "year", "6mo", "12mo", "24h", "90m"] {
            for _attempt in 0..2 {
                let before = from_of(word, "", &tz);
                let mut asked =
                    json!({"dataset": "edits", "date_range": word, "timezone": zone, "metrics": ["edits"]});
                let resolved = ask(&server, &asked)["query"]["date_range"].clone();
                if before != from_of(word, "", &tz) {
                    continue;
                }
                assert_eq!(resolved[0].as_str().map(str::to_owned), Some(before), "{word} in {zone}");
                assert_eq!(resolved[1], Value::Null, "words have no upper bound");
                asked["dimensions"] = json!(["time:hour"]);
                if word.ends_with('h') || word.ends_with('m') {
                    let bucketed = ask(&server, &asked)["query"]["date_range"][0].clone();
                    assert_eq!(
                        bucketed.as_str().map(str::to_owned),
                        Some(from_of(word, "hour", &tz)),
                        "{word} by hour in {zone}"
                    );
                }
                break;
            }
        }
    }
    let all = ask(&server, &json!({"dataset": "edits", "date_range": "all", "metrics": ["edits"]}));
    assert_eq!(results(&all)[0].1, vec![json!(1)]);
    assert_eq!(all["query"]["date_range"][0], "2020-05-06T07:08:09.123456Z", "from the project's first row");
    let unasked = ask(&server, &json!({"dataset": "edits", "metrics": ["edits"]}));
    let day = ask(&server, &json!({"dataset": "edits", "metrics": ["edits"], "date_range": "24h"}));
    assert_eq!(unasked["query"]["date_range"], day["query"]["date_range"], "the default is 24h");
}

/// Where a word's range begins now.
fn from_of(word: &str, unit: &str, tz: &TimeZone) -> String {
    let now = Timestamp::now();
    let today = Zoned::new(now, tz.clone()).date();
    let local =
        |date: jiff::civil::Date| tz.to_zoned(date.at(0, 0, 0, 0)).expect("a day's start").timestamp();
    let count = |suffix: &str| word.strip_suffix(suffix).and_then(|text| text.parse::<i64>().ok());
    let from = match word {
        "day" => local(today),
        "month" => local(today.first_of_month()),
        "year" => local(today.first_of_year()),
        _ => {
            if let Some(months) = count("mo") {
                local(today.first_of_month().checked_sub((months - 1).months()).expect("a date"))
            } else if let Some(days) = count("d") {
                local(today.checked_sub((days - 1).days()).expect("a date"))
            } else {
                let minutes = count("h").map_or_else(|| count("m").expect("a word"), |hours| hours * 60);
                let from = now.as_microsecond() - minutes * 60_000_000;
                let unit = if unit.is_empty() { "minute" } else { unit };
                let Cell::Time(start, _) = naive::bucket(from, unit, tz) else { panic!("a bucket") };
                Timestamp::from_microsecond(start).expect("a time")
            }
        }
    };
    from.to_string()
}

#[test]
fn a_row_counts_once_however_often_it_is_sent() {
    let mut server = Server::start();
    let mut with_id = definition();
    with_id["id"] = json!("user");
    define(&server, "edits", &with_id);
    let body = "{\"ts\":\"2024-01-01T00:00:00Z\",\"user\":\"a\"}\n{\"ts\":\"2024-01-01T00:00:00Z\",\"user\":\"b\"}\n{\"ts\":\"2024-01-02T00:00:00Z\",\"user\":\"a\"}\n{\"ts\":\"2024-01-02T00:00:00Z\"}\n{\"ts\":\"2024-01-02T00:00:00Z\"}\n";
    let counts = |reply: &Value| (reply["accepted"].as_u64(), reply["duplicates"].as_u64());
    let first = ingest_ndjson(&server, "edits", body);
    assert_eq!(
        counts(&first),
        (Some(4), Some(1)),
        "within one request, and rows without an id are no duplicates: {first}"
    );
    assert_eq!(counts(&ingest_ndjson(&server, "edits", "{\"user\":\"b\"}\n")), (Some(0), Some(1)));
    assert_eq!(
        counts(&ingest_ndjson(&server, "edits?project=wiki", "{\"user\":\"b\"}\n")),
        (Some(1), Some(0)),
        "ids are per project"
    );

    let send = |server: &Server, dataset: &str, body: &str| {
        let headers = [("content-type", "application/x-ndjson"), ("idempotency-key", "t1")];
        call(server, "POST", &format!("/api/v1/ingest/{dataset}"), &headers, body.as_bytes())
    };
    let token_body = "{\"ts\":\"2024-01-03T00:00:00Z\",\"user\":\"c\",\"added\":\"no\"}\n{\"ts\":\"2024-01-03T00:00:00Z\",\"user\":\"d\"}\n";
    let reply = send(&server, "edits", token_body);
    assert_eq!((reply.status, counts(&reply.json())), (200, (Some(1), Some(0))), "{}", reply.text());
    for _ in 0..2 {
        let again = send(&server, "edits", token_body);
        assert_eq!(again.json(), reply.json(), "the first reply, also after a restart");
        let conflict = send(&server, "edits", "{\"user\":\"e\"}\n");
        assert_eq!(conflict.status, 409, "{}", conflict.text());
        let other = ingest_ndjson(&server, "edits", "{\"user\":\"d\"}\n");
        assert_eq!(counts(&other), (Some(0), Some(1)), "ids hold across restarts");
        server = server.kill_and_restart();
    }
    let zipped = {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(token_body.as_bytes()).expect("memory");
        encoder.finish().expect("memory")
    };
    let headers =
        [("content-type", "application/x-ndjson"), ("idempotency-key", "t1"), ("content-encoding", "gzip")];
    let again = call(&server, "POST", "/api/v1/ingest/edits", &headers, &zipped);
    assert_eq!(again.json(), reply.json(), "the decompressed body counts");
    let elsewhere = send(&server, "edits?project=wiki", token_body);
    assert_eq!(counts(&elsewhere.json()), (Some(1), Some(0)), "tokens are per project");
    let answer = ask(&server, &json!({"dataset": "edits", "date_range": "all", "metrics": ["edits"]}));
    assert_eq!(results(&answer)[0].1, vec![json!(5)]);
}

#[test]
fn rows_come_in_every_form() {
    let server = Server::start();
    define(&server, "edits", &definition());
    let sum = || {
        results(&ask(
            &server,
            &json!({"dataset": "edits", "date_range": "all", "metrics": ["edits", "total_added"]}),
        ))[0]
            .1
            .clone()
    };
    let send = |path: &str, media: &str, body: &[u8]| {
        let reply =
            call(&server, "POST", &format!("/api/v1/ingest/{path}"), &[("content-type", media)], body);
        assert_eq!(reply.status, 200, "{path} {media}: {}", reply.text());
        reply.json()
    };
    send("edits", "application/json", br#"{"ts": 1700000000, "added": 1}"#);
    send(
        "edits",
        "application/json; charset=utf-8",
        br#"[{"ts": 1700000000000, "added": 2}, {"ts": "2023-11-14T22:13:20", "added": 4}]"#,
    );
    send(
        "edits",
        "application/x-ndjson",
        b"{\"ts\": 1700000000000000, \"added\": 8}\r\n\r\n{\"ts\": 1700000000000000000, \"added\": 16}",
    );
    send(
        "edits",
        "text/csv",
        "\u{feff}added,ts,channel\r\n32,2023-11-14T23:13:20+01:00,\"a,\"\"b\"\"\nc\"\r\n64,1700000000,\r\n"
            .as_bytes(),
    );
    assert_eq!(sum(), vec![json!(7), json!(127)]);
    let at = ask(
        &server,
        &json!({"dataset": "edits", "date_range": ["2023-11-14T22:13:20Z", "2023-11-14T22:13:21Z"], "metrics": ["edits"]}),
    );
    assert_eq!(results(&at)[0].1, vec![json!(7)], "all of these are the same instant");
    let quoted = ask(
        &server,
        &json!({"dataset": "edits", "date_range": "all", "metrics": ["edits"], "filters": [["is", "channel", ["a,\"b\"\nc"]]]}),
    );
    assert_eq!(results(&quoted)[0].1, vec![json!(1)]);

    let ignored = send(
        "edits?unknown=ignore",
        "application/json",
        br#"{"ts": 1700000000, "added": 128, "colour": "red", "props": {"a": "b"}}"#,
    );
    assert_eq!(ignored["accepted"], 1, "{ignored}");
    let counted = ignored
        .as_object()
        .expect("an object")
        .iter()
        .any(|(name, value)| name.contains("ignored") && *value != 0);
    assert!(counted, "dropped columns are counted: {ignored}");
    send(
        "edits?unknown=props",
        "application/json",
        br#"{"ts": 1700000000, "added": 256, "colour": "red", "size": 7, "props": {"a": "b"}}"#,
    );
    let moved = ask(
        &server,
        &json!({"dataset": "edits", "date_range": "all", "metrics": ["edits"], "dimensions": ["props.colour", "props.size", "props.a"], "filters": [["exists", "props.colour"]]}),
    );
    assert_eq!(results(&moved), vec![(vec![json!("red"), json!("7"), json!("b")], vec![json!(1)])]);

    let now = Timestamp::now().as_microsecond();
    send("edits", "application/json", br#"{"channel": "now"}"#);
    let stored = server
        .post("/api/v1/rows", &json!({"dataset": "edits", "filters": [["is", "channel", ["now"]]]}))
        .json();
    let ts = stored["rows"][0]["ts"]
        .as_str()
        .expect("a row")
        .parse::<Timestamp>()
        .expect("a time")
        .as_microsecond();
    assert!((ts - now).abs() < 60_000_000, "a missing time means now");
    let soon = send("edits", "application/json", format!("{{\"ts\": {}}}", now + 3_000_000_000).as_bytes());
    assert_eq!(soon["accepted"], 1, "fifty minutes ahead are taken: {soon}");
}

#[test]
fn sums_past_64_bits_and_money_stay_exact() {
    let server = Server::start();
    define(&server, "edits", &definition());
    let body: String = (0..3)
        .map(|_| {
            format!("{{\"ts\":1700000000,\"added\":{},\"cost_usd\":\"123456789.123456789\"}}\n", i64::MAX)
        })
        .collect();
    assert_eq!(ingest_ndjson(&server, "edits", &body)["accepted"], 3);
    let reply = reply_to(
        &server,
        &json!({"dataset": "edits", "date_range": "all", "metrics": ["total_added",
        {"agg": "sum", "column": "cost_usd", "as": "a"}, {"agg": "avg", "column": "cost_usd", "as": "b"}]}),
    );
    assert!(
        reply.text().contains("[27670116110564327421,370370367.370370367,123456789.123456789]"),
        "{}",
        reply.text()
    );
    // Half-even at the ninth digit: (1 + 2) / 2 and (3 + 4) / 2 units are 2 and 4.
    for (channel, values) in [("a", [1, 2]), ("b", [3, 4]), ("c", [-1, -2])] {
        for nanos in values {
            ingest_ndjson(
                &server,
                "edits",
                &format!("{{\"ts\":1700000000,\"channel\":\"{channel}\",\"cost_usd\":{nanos}e-9}}\n"),
            );
        }
    }
    let answer = ask(
        &server,
        &json!({"dataset": "edits", "date_range": "all", "dimensions": ["channel"], "filters": [["exists", "channel"]],
        "metrics": [{"agg": "avg", "column": "cost_usd", "as": "a"}], "order_by": [["channel", "asc"]]}),
    );
    let averages: Vec<f64> =
        results(&answer).iter().map(|(_, metrics)| metrics[0].as_f64().expect("money")).collect();
    assert_eq!(averages, [2e-9, 4e-9, -2e-9]);
}

#[test]
fn datasets_widen_and_never_change_a_type() {
    let server = Server::start();
    define(&server, "edits", &definition());
    ingest_ndjson(&server, "edits", "{\"ts\":1700000000,\"channel\":\"old\"}\n");
    define(
        &server,
        "edits",
        &json!({"time": "ts", "columns": {"country": "string"}, "metrics": {"countries": {"agg": "uniq", "column": "country"}}}),
    );
    let schema = server.get("/api/v1/datasets/edits").json();
    assert_eq!(
        (&schema["columns"]["country"], &schema["columns"]["added"]),
        (&json!("string"), &json!("int")),
        "{schema}"
    );
    assert!(schema["metrics"]["edits"].is_object(), "nothing that is not named goes: {schema}");
    ingest_ndjson(&server, "edits", "{\"ts\":1700000000,\"country\":\"DE\"}\n");
    let answer = ask(
        &server,
        &json!({"dataset": "edits", "date_range": "all", "dimensions": ["country"], "metrics": ["edits", "countries"]}),
    );
    assert_eq!(
        results(&answer),
        vec![(vec![json!("DE")], vec![json!(1), json!(1)]), (vec![Value::Null], vec![json!(1), json!(0)])]
    );
    let changed = server.put("/api/v1/datasets/edits", &json!({"time": "ts", "columns": {"added": "float"}}));
    assert_eq!(changed.status, 409, "{}", changed.text());
    let gone = call(&server, "DELETE", "/api/v1/datasets/edits", &[], b"");
    assert!(gone.status < 300, "{}", gone.text());
    assert_eq!(server.get("/api/v1/datasets/edits").status, 404);
}
