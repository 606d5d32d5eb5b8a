//! The row of all groups that a page leaves out: rows and it make the totals, in every form of an answer.

use serde_json::{Value, json};

use crate::server::Server;
use crate::talk::{ask, call, define, ingest_ndjson};

/// Thirty users in an order by cost that is known: user 29 first. Each user's day also exists the day before, at a tenth.
fn filled() -> Server {
    let server = Server::start();
    define(
        &server,
        "calls",
        &json!({"time": "ts", "columns": {"user": "string", "cost": "int"},
                "metrics": {"n": {"agg": "count"}, "cost": {"agg": "sum", "column": "cost"}}}),
    );
    let row = |user: u32, day: u32, cost: u32| {
        let ts = format!("2026-03-{day:02}T10:00:00Z");
        json!({"ts": ts, "user": format!("u{user:02}"), "cost": cost}).to_string()
    };
    let rows: Vec<String> =
        (0..30).flat_map(|user| [row(user, 2, user * 10), row(user, 2, 1), row(user, 1, user)]).collect();
    ingest_ndjson(&server, "calls", &rows.join("\n"));
    server
}

fn question(members: Value) -> Value {
    let mut question = json!({"dataset": "calls", "date_range": ["2026-03-02", "2026-03-02"],
        "metrics": ["n", "cost", {"agg": "uniq", "column": "user", "as": "users"}, {"agg": "avg", "column": "cost", "as": "mean"}],
        "dimensions": ["user"], "order_by": [["cost", "desc"]], "pagination": {"limit": 3}, "others": true,
        "include": {"totals": true}});
    question.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
    question
}

#[test]
fn rows_and_others_are_the_totals() {
    let server = filled();
    let answer = ask(&server, &question(json!({})));
    let results = answer["results"].as_array().expect("rows");
    assert_eq!(results.len(), 4, "{answer}");
    // 27 users with two rows each: 10 · (0 + … + 26) + 27.
    let others = json!({"dimensions": [null], "metrics": [54, 3_537, 27, 65.5], "others": true});
    assert_eq!(results[3], others);
    assert_eq!(answer["totals"][0], 60);
    assert_eq!(answer["query"]["include"]["others"], json!(true));
    assert!(results[..3].iter().all(|row| row.get("others").is_none()));

    // What conditions remove and what earlier pages show is in and out; where nothing is left there is no such row.
    let cases = [
        (json!({"having": [["lt", "cost", 100]]}), Some((54, 3))),
        (json!({"pagination": {"limit": 3, "offset": 2}}), Some((50, 3))),
        (json!({"pagination": {"limit": 30}}), None),
        (json!({"pagination": {"limit": 29}}), Some((2, 29))),
        (json!({"dimensions": [], "order_by": []}), None),
    ];
    for (members, expected) in cases {
        let answer = ask(&server, &question(members.clone()));
        let last = answer["results"].as_array().and_then(|rows| rows.last()).expect("a row").clone();
        let found = (last["others"] == json!(true))
            .then(|| (last["metrics"][0].clone(), answer["results"].as_array().map_or(0, Vec::len) - 1));
        assert_eq!(found, expected.map(|(n, rows)| (json!(n), rows)), "{members}");
    }
}

#[test]
fn comparisons_and_cursors_have_their_others() {
    let server = filled();
    let asked = question(json!({"compare": "previous_period"}));
    let answer = ask(&server, &asked);
    // The day before, the same 27 users: 0 + … + 26.
    assert_eq!(
        answer["comparison"][3],
        json!({"dimensions": [null], "metrics": [27, 351, 27, 13.0], "others": true})
    );
    let mut next = asked.clone();
    next["pagination"] = json!({"limit": 3, "cursor": answer["meta"]["next_cursor"]});
    let page = ask(&server, &next);
    assert_eq!(
        page["results"].as_array().map(Vec::len),
        Some(3),
        "a page that goes on shows the others themselves"
    );
    assert_eq!(page["results"][0]["dimensions"], json!(["u26"]));
}

#[test]
fn every_form_tells_the_others_from_null() {
    let server = filled();
    let asked = question(json!({"pagination": {"limit": 1}, "format": "objects"}));
    let others = json!({"user": null, "n": 58, "cost": 4_089, "users": 29, "mean": 70.5, "others": true});
    assert_eq!(ask(&server, &asked)["results"][1], others);
    let form = |media: &str| {
        let headers = [("content-type", "application/json"), ("accept", media)];
        call(&server, "POST", "/api/v1/query", &headers, asked.to_string().as_bytes())
    };
    let lines = form("application/x-ndjson").text();
    assert_eq!(lines.lines().last().and_then(|line| serde_json::from_str(line).ok()), Some(others));
    assert_eq!(
        form("text/csv").text(),
        "user,n,cost,users,mean,others\nu29,2,291,1,145.5,false\n,58,4089,29,70.5,true\n"
    );
    let bytes = bytes::Bytes::from(form("application/vnd.apache.parquet").body);
    let reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet");
    assert_eq!(reader.schema().fields().last().expect("columns").name(), "others");
    assert_eq!(reader.metadata().file_metadata().num_rows(), 2);
    let got = call(
        &server,
        "GET",
        "/api/v1/query?dataset=calls&metrics=n&dimensions=user&date_range=all&limit=2&others=true",
        &[],
        b"",
    );
    assert_eq!(got.json()["results"][2], json!({"dimensions": [null], "metrics": [84], "others": true}));
}
