//! Recorded data through the public API, held to answers another engine computed.
//!
//! Reads the folder `TIDEWATER_REAL_DATA` names; skips, saying so, where it is unset. `truth.json` there maps a question's
//! name to the rows it must give.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::server::Server;

/// The real-data folder, or `None` with a word on standard error.
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("TIDEWATER_REAL_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: TIDEWATER_REAL_DATA is not set");
    }
    folder
}

fn read(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain).expect("a gzip file");
        return plain;
    }
    bytes
}

fn text(path: &Path) -> String {
    String::from_utf8(read(path)).expect("a UTF-8 file")
}

fn truth(folder: &Path, name: &str) -> Vec<Vec<Value>> {
    let truth: Value = serde_json::from_slice(&read(&folder.join("truth.json"))).expect("truth.json");
    serde_json::from_value(truth[name]["rows"].clone()).unwrap_or_else(|_| panic!("truth.json holds {name}"))
}

/// Numbers equal to 1e-9 relative, everything else to the letter.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours.as_f64(), theirs.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
        _ => ours == theirs,
    }
}

fn check_rows(name: &str, ours: &[Vec<Value>], theirs: &[Vec<Value>]) {
    assert_eq!(ours.len(), theirs.len(), "{name}: {ours:?}");
    for (ours, theirs) in ours.iter().zip(theirs) {
        let equal = ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(a, b));
        assert!(equal, "{name}: {ours:?} is not {theirs:?}");
    }
}

/// Rows of an answer: dimensions, then metrics.
fn rows(answer: &Value) -> Vec<Vec<Value>> {
    let results = answer["results"].as_array().unwrap_or_else(|| panic!("an answer: {answer}"));
    results
        .iter()
        .map(|row| {
            let dimensions = row["dimensions"].as_array().expect("dimensions");
            let metrics = row["metrics"].as_array().expect("metrics");
            dimensions.iter().chain(metrics).cloned().collect()
        })
        .collect()
}

fn define(server: &Server, name: &str, definition: &Value) {
    let reply = server.put(&format!("/api/v1/datasets/{name}"), definition);
    assert!(reply.status < 300, "{name}: {}", reply.text());
}

/// Sends rows in requests of 2,000 and checks that every one is accepted.
fn ingest_rows(server: &Server, dataset: &str, rows: &[Value]) {
    for part in rows.chunks(2_000) {
        let body: String = part.iter().map(|row| format!("{row}\n")).collect();
        let reply = ingest(server, dataset, "application/x-ndjson", body.as_bytes());
        assert_eq!(reply["accepted"], part.len(), "{reply}");
    }
}

fn ingest(server: &Server, dataset: &str, content_type: &str, body: &[u8]) -> Value {
    let path = format!("/api/v1/ingest/{dataset}");
    let reply = server.request("POST", &path).body(content_type, body).send();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

fn ask(server: &Server, question: Value) -> Value {
    let reply = server.post("/api/v1/query", &question);
    assert_eq!(reply.status, 200, "{question}: {}", reply.text());
    reply.json()
}

#[test]
fn azure_llm_requests() {
    let Some(folder) = folder() else { return };
    let server = Server::start();
    define(
        &server,
        "azure",
        &json!({"time": "TIMESTAMP", "columns": {"ContextTokens": "int", "GeneratedTokens": "int", "cost_usd": "money"},
                "metrics": {"requests": {"agg": "count"}, "input": {"agg": "sum", "column": "ContextTokens"},
                            "output": {"agg": "sum", "column": "GeneratedTokens"}}}),
    );
    let reply = ingest(&server, "azure", "text/csv", &read(&folder.join("llm/azure_code_2023.csv")));
    assert_eq!((&reply["accepted"], &reply["rejected"]), (&json!(8819), &json!(0)), "{reply}");

    let totals = json!({"dataset": "azure", "date_range": "all",
                        "metrics": ["requests", "input", "output", {"agg": "max", "column": "ContextTokens"}]});
    check_rows("azure.totals", &rows(&ask(&server, totals)), &truth(&folder, "azure.totals"));

    let quantiles =
        json!([{"agg": "p95", "column": "ContextTokens"}, {"agg": "p99", "column": "GeneratedTokens"}]);
    let exact = json!({"dataset": "azure", "date_range": "all", "exact": true, "metrics": quantiles});
    let expected = truth(&folder, "azure.p95_input_nearest_rank");
    check_rows("azure.p95", &rows(&ask(&server, exact)), &expected);
    let sketched = ask(&server, json!({"dataset": "azure", "date_range": "all", "metrics": quantiles}));
    for (index, expected) in expected[0].iter().enumerate() {
        let ours = rows(&sketched)[0][index].as_f64().expect("a number");
        let theirs = expected.as_f64().expect("a number");
        assert!((ours - theirs).abs() <= 0.01 * theirs, "{ours} is not within 1 % of {theirs}");
    }

    // Ten minutes are no unit of ours: two five-minute buckets make one.
    let by_5m = ask(
        &server,
        json!({"dataset": "azure", "date_range": "all", "dimensions": ["time:5m"], "metrics": ["requests", "input", "output"]}),
    );
    let mut by_10m: Vec<Vec<Value>> = Vec::new();
    for row in rows(&by_5m) {
        let label = row[0].as_str().expect("a label");
        let minute = label[14..16].parse::<u32>().expect("minutes") / 10 * 10;
        let label = format!("{}{minute:02}:00Z", &label[..14]);
        match by_10m.last_mut().filter(|last| last[0] == label.as_str()) {
            Some(last) => {
                for (sum, value) in last.iter_mut().zip(&row).skip(1) {
                    *sum = json!(sum.as_i64().expect("int") + value.as_i64().expect("int"));
                }
            }
            None => by_10m.push([vec![json!(label)], row[1..].to_vec()].concat()),
        }
    }
    check_rows("azure.by_10min", &by_10m, &truth(&folder, "azure.by_10min"));
}

#[test]
fn azure_cost_is_exact_money() {
    let Some(folder) = folder() else { return };
    let server = Server::start();
    define(
        &server,
        "bill",
        &json!({"time": "ts", "columns": {"cost_usd": "money"}, "metrics": {"cost": {"agg": "sum", "column": "cost_usd"}}}),
    );
    let csv = text(&folder.join("llm/azure_code_2023.csv"));
    let mut body = String::new();
    for line in csv.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let tokens: Vec<u64> =
            fields[1..].iter().map(|field| field.trim().parse().expect("tokens")).collect();
        // 2.50 and 10.00 USD per million tokens are 2,500 and 10,000 units of 1e-9 USD each.
        let nanos = tokens[0] * 2_500 + tokens[1] * 10_000;
        body += &format!("{{\"ts\":\"{}\",\"cost_usd\":0.{nanos:09}}}\n", fields[0]);
    }
    let reply = ingest(&server, "bill", "application/x-ndjson", body.as_bytes());
    assert_eq!(reply["accepted"], 8819, "{reply}");
    let answer = ask(&server, json!({"dataset": "bill", "date_range": "all", "metrics": ["cost"]}));
    assert_eq!(answer["results"][0]["metrics"][0].to_string(), "47.608895");
    check_rows("azure.cost", &rows(&answer), &truth(&folder, "azure.cost_at_2.50_and_10.00_usd_per_million"));
}

#[test]
fn mooncake_conversations() {
    let Some(folder) = folder() else { return };
    let server = Server::start();
    define(
        &server,
        "moon",
        &json!({"time": "timestamp", "columns": {"input_length": "int", "output_length": "int", "hash_ids": "strings"}}),
    );
    const START_MS: i64 = 1_700_000_000_000;
    let rows_in: Vec<Value> = text(&folder.join("llm/mooncake_conversation.jsonl.gz"))
        .lines()
        .map(|line| {
            let mut row: Value = serde_json::from_str(line).expect("a row");
            row["timestamp"] = json!(START_MS + row["timestamp"].as_i64().expect("milliseconds"));
            let ids: Vec<String> =
                row["hash_ids"].as_array().expect("a list").iter().map(Value::to_string).collect();
            row["hash_ids"] = json!(ids);
            row
        })
        .collect();
    ingest_rows(&server, "moon", &rows_in);
    let answer = ask(
        &server,
        json!({"dataset": "moon", "date_range": "all", "exact": true,
               "metrics": [{"agg": "count"}, {"agg": "sum", "column": "input_length"}, {"agg": "sum", "column": "output_length"},
                           {"agg": "p95", "column": "input_length"}, {"agg": "p99", "column": "output_length"}]}),
    );
    check_rows("mooncake.totals", &rows(&answer), &truth(&folder, "mooncake.totals"));

    let mut prefixes = std::collections::HashSet::new();
    let mut with_first = 0;
    for row in &rows_in {
        let ids = row["hash_ids"].as_array().expect("a list");
        prefixes.extend(ids.iter().map(Value::to_string));
        with_first += i64::from(ids.contains(&json!("0")));
    }
    let answer = ask(
        &server,
        json!({"dataset": "moon", "date_range": "all", "exact": true,
               "metrics": [{"agg": "uniq", "column": "hash_ids"},
                           {"agg": "count", "filters": [["is", "hash_ids", ["0"]]], "as": "first"}]}),
    );
    check_rows("mooncake.hash_ids", &rows(&answer), &[vec![json!(prefixes.len()), json!(with_first)]]);
}

fn wikiticker(server: &Server, folder: &Path) {
    define(
        server,
        "wiki",
        &json!({"time": "time", "sort": ["channel"],
                "columns": {"channel": "string", "cityName": "string", "comment": "string", "countryIsoCode": "string",
                            "countryName": "string", "isAnonymous": "bool", "isMinor": "bool", "isNew": "bool", "isRobot": "bool",
                            "isUnpatrolled": "bool", "metroCode": "int", "namespace": "string", "page": "string",
                            "regionIsoCode": "string", "regionName": "string", "user": "string", "delta": "int", "added": "int",
                            "deleted": "int"},
                "metrics": {"edits": {"agg": "count"}, "added": {"agg": "sum", "column": "added"},
                            "editors": {"agg": "uniq", "column": "user"}}}),
    );
    let body = read(&folder.join("web/wikiticker.ndjson.gz"));
    let reply = ingest(server, "wiki", "application/x-ndjson", &body);
    assert_eq!((&reply["accepted"], &reply["rejected"]), (&json!(16512), &json!(0)), "{reply}");
}

#[test]
fn wikipedia_edits() {
    let Some(folder) = folder() else { return };
    let server = Server::start();
    wikiticker(&server, &folder);
    let totals = json!({"dataset": "wiki", "date_range": "all", "exact": true,
        "metrics": ["edits", "added", {"agg": "sum", "column": "deleted"}, {"agg": "sum", "column": "delta"}, "editors",
                    {"agg": "uniq", "column": "page"}, {"agg": "p95", "column": "added"}, {"agg": "p99", "column": "delta"}]});
    check_rows(
        "wikiticker.totals",
        &rows(&ask(&server, totals.clone())),
        &truth(&folder, "wikiticker.totals"),
    );

    let mut sketched = totals;
    sketched["exact"] = json!(false);
    let answer = ask(&server, sketched);
    let expected = &truth(&folder, "wikiticker.totals")[0];
    for (index, theirs) in expected.iter().enumerate() {
        let bound = answer["meta"]["relative_error"][index].as_f64().expect("a bound");
        let (ours, theirs) =
            (rows(&answer)[0][index].as_f64().expect("number"), theirs.as_f64().expect("number"));
        assert!(
            (ours - theirs).abs() <= bound * theirs.abs(),
            "metric {index}: {ours} against {theirs} within {bound}"
        );
    }

    let top = json!({"dataset": "wiki", "date_range": "all", "metrics": ["edits"], "dimensions": ["channel"],
                     "pagination": {"limit": 5}});
    check_rows(
        "wikiticker.top_channels",
        &rows(&ask(&server, top)),
        &truth(&folder, "wikiticker.top_channels"),
    );

    let hours = json!({"dataset": "wiki", "date_range": ["2015-09-12T00:00:00Z", "2015-09-12T12:00:00Z"], "exact": true,
                       "filters": [["is", "isRobot", [false]]], "dimensions": ["time:hour"], "metrics": ["edits", "added", "editors"]});
    check_rows("human_by_hour", &rows(&ask(&server, hours)), &truth(&folder, "wikiticker.human_by_hour"));

    let days = json!({"dataset": "wiki", "date_range": "all", "timezone": "Asia/Kolkata", "dimensions": ["time:day"], "metrics": ["edits"]});
    check_rows("days_in_kolkata", &rows(&ask(&server, days)), &truth(&folder, "wikiticker.days_in_kolkata"));
}

#[test]
fn answers_survive_flush_and_restart() {
    let Some(folder) = folder() else { return };
    let server = Server::start_with(&[("TIDEWATER_STORE__FLUSH_INTERVAL_MS", "100")]);
    wikiticker(&server, &folder);
    let question = json!({"dataset": "wiki", "date_range": "all", "exact": true, "dimensions": ["channel"],
                          "metrics": ["edits", "editors", {"agg": "p95", "column": "delta"}, {"agg": "stddev", "column": "added"}],
                          "include": {"totals": true}});
    let before = ask(&server, question.clone());
    server.wait_until("the memtable is flushed", || server.metric("tidewater_memtable_rows") == Some(0.0));
    let flushed = ask(&server, question.clone());
    let server = server.restart();
    let restarted = ask(&server, question);
    check_rows("flushed", &rows(&flushed), &rows(&before));
    check_rows("restarted", &rows(&restarted), &rows(&before));
    assert_eq!((&flushed["totals"], &restarted["totals"]), (&before["totals"], &before["totals"]));
}

#[test]
fn nasa_requests() {
    let Some(folder) = folder() else { return };
    let server = Server::start();
    define(
        &server,
        "nasa",
        &json!({"time": "time", "columns": {"host": "string", "logname": "string", "method": "string", "url": "string",
                "response": "int", "bytes": "int", "referer": "string", "useragent": "string"}}),
    );
    let csv = text(&folder.join("web/nasa.tsv.gz")).lines().map(tab_to_comma).collect::<Vec<_>>().join("\n");
    let reply = ingest(&server, "nasa", "text/csv", csv.as_bytes());
    assert_eq!((&reply["accepted"], &reply["rejected"]), (&json!(13200), &json!(0)), "{reply}");
    let totals = json!({"dataset": "nasa", "date_range": "all", "exact": true,
                        "metrics": [{"agg": "count"}, {"agg": "uniq", "column": "host"}, {"agg": "sum", "column": "bytes"},
                                    {"agg": "p95", "column": "bytes"}]});
    check_rows("nasa.totals", &rows(&ask(&server, totals)), &truth(&folder, "nasa.totals"));
    let by_status = json!({"dataset": "nasa", "date_range": "all", "metrics": [{"agg": "count"}], "dimensions": ["response"],
                           "order_by": [["response", "asc"]]});
    check_rows("nasa.by_status", &rows(&ask(&server, by_status)), &truth(&folder, "nasa.by_status"));
}

/// One line of tab-separated values as RFC 4180 CSV.
fn tab_to_comma(line: &str) -> String {
    line.split('\t').map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect::<Vec<_>>().join(",")
}

#[test]
fn machine_temperatures() {
    let Some(folder) = folder() else { return };
    let server = Server::start();
    for name in ["machine_temperature_system_failure", "ambient_temperature_system_failure"] {
        define(&server, name, &json!({"time": "timestamp", "columns": {"value": "float"}}));
        let body = read(&folder.join(format!("machines/nab/{name}.csv")));
        ingest(&server, name, "text/csv", &body);
        let metrics = json!([{"agg": "count"}, {"agg": "avg", "column": "value"}, {"agg": "min", "column": "value"},
                             {"agg": "max", "column": "value"}, {"agg": "p95", "column": "value"}]);
        let totals = json!({"dataset": name, "date_range": "all", "exact": true, "metrics": metrics});
        check_rows(name, &rows(&ask(&server, totals)), &truth(&folder, &format!("nab.{name}.totals")));

        let mut metrics = vec![json!({"agg": "count"}), json!({"agg": "avg", "column": "value"})];
        metrics.push(json!({"agg": "max", "column": "value"}));
        let months =
            json!({"dataset": name, "date_range": "all", "dimensions": ["time:month"], "metrics": metrics});
        let mut ours = rows(&ask(&server, months));
        for row in &mut ours {
            row[0] = json!(row[0].as_str().expect("a date")[..7]);
        }
        check_rows(name, &ours, &truth(&folder, &format!("nab.{name}.by_month")));
    }
    let days = json!({"dataset": "ambient_temperature_system_failure", "date_range": "all", "timezone": "Europe/Berlin",
                      "dimensions": ["time:day"], "metrics": [{"agg": "count"}, {"agg": "avg", "column": "value"}],
                      "pagination": {"limit": 10000}});
    let ours: Vec<Vec<Value>> = rows(&ask(&server, days))
        .into_iter()
        .filter(|row| row[0] == "2013-10-27" || row[0] == "2014-03-30")
        .collect();
    check_rows("berlin", &ours, &truth(&folder, "nab.ambient_temperature.berlin_dst_days_read_as_utc"));
}

#[test]
fn every_machine_series_loads_whole() {
    let Some(folder) = folder() else { return };
    let server = Server::start();
    define(
        &server,
        "series",
        &json!({"time": "timestamp", "sort": ["name"], "columns": {"name": "string", "value": "float"}}),
    );
    let mut expected = Vec::new();
    for entry in fs::read_dir(folder.join("machines/nab")).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "csv") {
            continue;
        }
        let name = path.file_stem().expect("a stem").to_string_lossy().into_owned();
        let csv = text(&path);
        let lines: Vec<&str> = csv.lines().skip(1).filter(|line| !line.is_empty()).collect();
        let body: String = lines.iter().map(|line| format!("{name},{line}\n")).collect();
        ingest(&server, "series", "text/csv", format!("name,timestamp,value\n{body}").as_bytes());
        let values = lines
            .iter()
            .map(|line| line.rsplit(',').next().expect("a value").parse::<f64>().expect("a float"));
        expected.push(vec![json!(name), json!(lines.len()), json!(values.fold(f64::MIN, f64::max))]);
    }
    expected.sort_by(|a, b| a[0].as_str().cmp(&b[0].as_str()));
    let question = json!({"dataset": "series", "date_range": "all", "dimensions": ["name"], "order_by": [["name", "asc"]],
                          "metrics": [{"agg": "count"}, {"agg": "max", "column": "value"}]});
    check_rows("series", &rows(&ask(&server, question)), &expected);
}

#[test]
fn coffee_machines_keep_exact_duplicates() {
    let Some(folder) = folder() else { return };
    let server = Server::start();
    define(
        &server,
        "coffee",
        &json!({"time": "at", "columns": {"beverage": "string", "beverageClass": "string", "beverageSide": "string", "sceneID": "string",
                "sceneData": "string", "entityID": "string", "quadId": "int", "quadMod": "string", "beverageIndex": "int", "quantity": "int"}}),
    );
    let body = text(&folder.join("machines/elasticoffee.ndjson.gz")).replace("\"@timestamp\"", "\"at\"");
    let reply = ingest(&server, "coffee", "application/x-ndjson", body.as_bytes());
    assert_eq!(reply["rejected"], 0, "{reply}");
    let question = json!({"dataset": "coffee", "date_range": "all", "dimensions": ["beverage"],
                          "metrics": [{"agg": "count"}, {"agg": "sum", "column": "quantity"}]});
    check_rows("elasticoffee", &rows(&ask(&server, question)), &truth(&folder, "elasticoffee.by_beverage"));
}

#[test]
fn apache_log_lines() {
    let Some(folder) = folder() else { return };
    let server = Server::start();
    define(
        &server,
        "apache",
        &json!({"time": "time", "sort": ["status"], "columns": {"client": "string", "request": "string", "status": "int", "bytes": "int",
                "referrer": "string", "agent": "string"}}),
    );
    let log = read(&folder.join("web/apache.log.gz"));
    let log = String::from_utf8_lossy(&log);
    let rows_in: Vec<Value> = log.lines().map(combined_line).collect();
    ingest_rows(&server, "apache", &rows_in);
    let count = |status: i64| rows_in.iter().filter(|row| row["status"] == status).count();
    let mut expected: Vec<Vec<Value>> = Vec::new();
    for status in
        rows_in.iter().filter_map(|row| row["status"].as_i64()).collect::<std::collections::BTreeSet<_>>()
    {
        expected.push(vec![json!(status), json!(count(status))]);
    }
    let question = json!({"dataset": "apache", "date_range": "all", "dimensions": ["status"], "metrics": [{"agg": "count"}],
                          "order_by": [["status", "asc"]]});
    check_rows("apache", &rows(&ask(&server, question)), &expected);
}

/// A line of the combined log format; the time keeps its zone, a broken quote ends with the line.
fn combined_line(line: &str) -> Value {
    let (client, rest) = line.split_once(' ').expect("a client");
    let (_, rest) = rest.split_once('[').expect("a time");
    let (time, rest) = rest.split_once(']').expect("a time's end");
    let mut quoted = rest.split('"');
    let _ = quoted.next();
    let request = quoted.next().expect("a request");
    let numbers: Vec<&str> = quoted.next().expect("a status").split_whitespace().collect();
    let referrer = quoted.next().unwrap_or("-");
    let _ = quoted.next();
    let agent = quoted.next().unwrap_or("");
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = MONTHS.find(&time[3..6]).expect("a month") / 3 + 1;
    let stamp = format!(
        "{}-{month:02}-{}T{}{}:{}",
        &time[7..11],
        &time[..2],
        &time[12..20],
        &time[21..24],
        &time[24..26]
    );
    json!({"time": stamp, "client": client, "request": request, "status": numbers[0].parse::<i64>().expect("a status"),
           "bytes": numbers[1].parse::<i64>().ok(), "referrer": referrer, "agent": agent})
}

#[test]
fn github_events_with_nested_payloads() {
    let Some(folder) = folder() else { return };
    let server = Server::start();
    define(
        &server,
        "github",
        &json!({"time": "created_at", "id": "id", "columns": {"id": "string", "type": "string", "public": "bool", "actor": "map",
                "repo": "map", "payload": "map", "org": "map"}}),
    );
    let body = read(&folder.join("web/gh_events.ndjson.gz"));
    let lines = String::from_utf8(body.clone()).expect("UTF-8").lines().count();
    let reply = ingest(&server, "github", "application/x-ndjson", &body);
    assert_eq!((&reply["accepted"], &reply["rejected"]), (&json!(lines), &json!(0)), "{reply}");
    let again = ingest(&server, "github", "application/x-ndjson", &body);
    assert_eq!((&again["accepted"], &again["duplicates"]), (&json!(0), &json!(lines)), "{again}");
    let mut logins = std::collections::BTreeMap::<String, i64>::new();
    for line in String::from_utf8_lossy(&body).lines() {
        let row: Value = serde_json::from_str(line).expect("a row");
        *logins.entry(row["actor"]["login"].as_str().expect("a login").to_owned()).or_default() += 1;
    }
    let mut expected: Vec<(String, i64)> = logins.into_iter().collect();
    expected.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let expected: Vec<Vec<Value>> =
        expected.into_iter().take(10).map(|(login, n)| vec![json!(login), json!(n)]).collect();
    let question = json!({"dataset": "github", "date_range": "all", "dimensions": ["actor.login"], "metrics": [{"agg": "count"}],
                          "pagination": {"limit": 10}});
    check_rows("github", &rows(&ask(&server, question)), &expected);
}

#[test]
fn line_protocol_points_as_rows() {
    let Some(folder) = folder() else { return };
    let server = Server::start();
    define(
        &server,
        "points",
        &json!({"time": "time", "sort": ["measurement"], "columns": {"measurement": "string", "tags": "map", "fields": "map"}}),
    );
    let mut expected = std::collections::BTreeMap::<String, i64>::new();
    for file in ["metrics.lp.gz", "read_filter.lp.gz"] {
        let mut rows_in = Vec::new();
        for line in text(&folder.join("machines").join(file)).lines().filter(|line| !line.is_empty()) {
            let row = line_protocol(line);
            *expected.entry(row["measurement"].as_str().expect("a name").to_owned()).or_default() += 1;
            rows_in.push(row);
        }
        ingest_rows(&server, "points", &rows_in);
    }
    let expected: Vec<Vec<Value>> =
        expected.into_iter().map(|(name, n)| vec![json!(name), json!(n)]).collect();
    let question = json!({"dataset": "points", "date_range": "all", "dimensions": ["measurement"], "metrics": [{"agg": "count"}],
                          "order_by": [["measurement", "asc"]]});
    check_rows("line protocol", &rows(&ask(&server, question)), &expected);
}

/// A line of InfluxDB line protocol without escapes or quoted strings with separators, which these files do not hold.
fn line_protocol(line: &str) -> Value {
    let (head, rest) = line.split_once(' ').expect("fields");
    let (fields, time) = rest.rsplit_once(' ').expect("a time");
    let (measurement, tags) = head.split_once(',').unwrap_or((head, ""));
    let pairs = |text: &str| -> serde_json::Map<String, Value> {
        text.split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.to_owned(), json!(v)))
            .collect()
    };
    json!({"time": time.parse::<i64>().expect("nanoseconds"), "measurement": measurement, "tags": pairs(tags), "fields": pairs(fields)})
}

#[test]
fn user_agents_keep_every_byte() {
    let Some(folder) = folder() else { return };
    let server = Server::start();
    define(&server, "agents", &json!({"time": "ts", "columns": {"kind": "string", "agent": "string"}}));
    let bots: Vec<String> =
        serde_json::from_slice(&read(&folder.join("web/bot_user_agents.json"))).expect("a list");
    let mut rows_in: Vec<Value> = bots.iter().map(|agent| json!({"kind": "bot", "agent": agent})).collect();
    for file in ["uap_test_ua.yaml.gz", "uap_test_os.yaml.gz"] {
        for line in text(&folder.join("web").join(file)).lines() {
            if let Some((_, agent)) = line.split_once("user_agent_string: ") {
                rows_in.push(json!({"kind": file, "agent": agent.trim()}));
            }
        }
    }
    ingest_rows(&server, "agents", &rows_in);
    let distinct =
        rows_in.iter().map(|row| row["agent"].to_string()).collect::<std::collections::HashSet<_>>().len();
    let question = json!({"dataset": "agents", "date_range": "all", "exact": true,
                          "metrics": [{"agg": "count"}, {"agg": "uniq", "column": "agent"}]});
    check_rows("agents", &rows(&ask(&server, question)), &[vec![json!(rows_in.len()), json!(distinct)]]);
    let probe = &rows_in[17]["agent"];
    let found = ask(
        &server,
        json!({"dataset": "agents", "date_range": "all", "metrics": [{"agg": "count"}],
                                    "filters": [["is", "agent", [probe]]]}),
    );
    let expected = rows_in.iter().filter(|row| row["agent"] == *probe).count();
    check_rows("one agent", &rows(&found), &[vec![json!(expected)]]);
}

#[test]
fn otlp_examples_fit_a_map_column() {
    let Some(folder) = folder() else { return };
    let server = Server::start();
    define(&server, "otlp", &json!({"time": "ts", "columns": {"file": "string", "document": "map"}}));
    for file in ["events.json", "logs.json", "metrics.json", "trace.json"] {
        let document: Value =
            serde_json::from_slice(&read(&folder.join("vectors/otlp").join(file))).expect("JSON");
        ingest_rows(&server, "otlp", &[json!({"file": file, "document": document})]);
    }
    let answer = server.post(
        "/api/v1/rows",
        &json!({"dataset": "otlp", "date_range": "all", "columns": ["file", "document"]}),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    for row in answer.json()["rows"].as_array().expect("rows") {
        let file = row["file"].as_str().expect("a file");
        let sent: Value =
            serde_json::from_slice(&read(&folder.join("vectors/otlp").join(file))).expect("JSON");
        for (key, value) in sent.as_object().expect("an object") {
            let stored: Value =
                serde_json::from_str(row["document"][key].as_str().expect("text")).expect("JSON text");
            assert_eq!(stored, *value, "{file} {key}");
        }
    }
}

#[test]
fn down_sampling_keeps_the_reference_points() {
    let Some(folder) = folder() else { return };
    let server = Server::start();
    define(&server, "curve", &json!({"time": "ts", "columns": {"name": "string", "y": "float"}}));
    let vectors: Value = serde_json::from_slice(&read(&folder.join("vectors/lttb.json.gz"))).expect("JSON");
    for (name, series) in vectors.as_object().expect("series") {
        let points: Vec<(f64, f64)> = serde_json::from_value(series["points"].clone()).expect("points");
        // The choice of points does not change when x is scaled: the reference's common step becomes a minute.
        const START_S: i64 = 1_700_000_040;
        let step = points.iter().map(|(x, _)| *x as i64).fold(0, greatest_common_divisor);
        let rows_in: Vec<Value> = points
            .iter()
            .map(|(x, y)| json!({"ts": START_S + 60 * (*x as i64 / step), "name": name, "y": y}))
            .collect();
        ingest_rows(&server, "curve", &rows_in);
        for (size, kept) in series["kept"].as_object().expect("kept") {
            let question = json!({"dataset": "curve", "date_range": "all", "dimensions": ["time:minute"],
                                  "filters": [["is", "name", [name]]], "metrics": [{"agg": "avg", "column": "y"}],
                                  "max_points": size.parse::<u32>().expect("a size"), "pagination": {"limit": 10000}});
            let kept: Vec<usize> = serde_json::from_value(kept.clone()).expect("indices");
            let ours: Vec<f64> =
                rows(&ask(&server, question)).iter().map(|row| row[1].as_f64().expect("y")).collect();
            let theirs: Vec<f64> = kept.iter().map(|index| points[*index].1).collect();
            assert_eq!(ours, theirs, "{name} to {size}");
        }
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
