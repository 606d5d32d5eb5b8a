//! What became of every request for rows, and whether the server holds exactly that.

use std::collections::HashMap;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::Target;
use crate::http::Connection;

/// Requests of one page of counts.
const PAGE_ROWS: u64 = 10_000;

/// The answer to a request for rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    Refused,
    /// The connection broke: they may be there or not.
    Unknown,
}

/// One client's requests.
pub struct Sent {
    sender: String,
    rows_per_request: u64,
    fates: Vec<(u64, Fate)>,
}

impl Sent {
    pub fn new(sender: String, rows_per_request: u64) -> Sent {
        Sent { sender, rows_per_request, fates: Vec::new() }
    }

    /// The end of a JSON line that says whose request the row came with.
    pub fn marks(&self, request: u64) -> String {
        format!(",\"sender\":\"{}\",\"request\":{request}}}\n", self.sender)
    }

    pub fn note(&mut self, request: u64, status: Option<u16>) {
        let fate = match status {
            Some(200) => Fate::Acknowledged,
            Some(_) => Fate::Refused,
            None => Fate::Unknown,
        };
        self.fates.push((request, fate));
    }
}

/// All clients' requests.
#[derive(Default)]
pub struct Ledger(Vec<Sent>);

impl Ledger {
    pub fn add(&mut self, sent: Sent) {
        if !sent.fates.is_empty() {
            self.0.push(sent);
        }
    }

    /// Looks every request up.
    pub fn check(self, target: &Target) -> anyhow::Result<Value> {
        let mut connection = Connection::open(target)?;
        let (mut acknowledged, mut refused, mut unknown) = (0u64, 0u64, 0u64);
        let mut wrong = Vec::new();
        let mut found_in_all = 0;
        for sent in self.0 {
            let mut found = counts(&mut connection, target, &sent.sender)?;
            found_in_all += found.values().sum::<u64>();
            for (request, fate) in &sent.fates {
                let rows = found.remove(request).unwrap_or(0);
                let is_right = match fate {
                    Fate::Acknowledged => rows == sent.rows_per_request,
                    Fate::Refused => rows == 0,
                    Fate::Unknown => rows == 0 || rows == sent.rows_per_request,
                };
                match fate {
                    Fate::Acknowledged => acknowledged += 1,
                    Fate::Refused => refused += 1,
                    Fate::Unknown => unknown += 1,
                }
                if !is_right {
                    wrong.push(format!("{} request {request}: {fate:?}, {rows} rows", sent.sender));
                }
            }
            wrong.extend(
                found.keys().map(|request| format!("{} request {request} was never sent", sent.sender)),
            );
        }
        Ok(json!({
            "requests_acknowledged": acknowledged, "requests_refused": refused, "requests_unknown": unknown,
            "rows_found": found_in_all, "requests_wrong": wrong.len(), "first_wrong": wrong.first(),
        }))
    }
}

/// Rows of each request of a sender.
fn counts(connection: &mut Connection, target: &Target, sender: &str) -> anyhow::Result<HashMap<u64, u64>> {
    let mut counts = HashMap::new();
    let mut cursor = Value::Null;
    loop {
        let question = json!({
            "dataset": target.dataset, "date_range": "all", "dimensions": ["request"], "max_staleness_ms": 0,
            "filters": [["is", "sender", [sender]]], "metrics": [{"agg": "count"}],
            "pagination": {"limit": PAGE_ROWS, "cursor": cursor},
        });
        let body = question.to_string();
        let reply = connection
            .post_until_taken("/api/v1/query", "application/json", body.as_bytes(), &mut 0)?
            .json()?;
        let rows = reply["results"].as_array().context("the answer has no results")?;
        for row in rows {
            let number = |value: &Value| value.as_u64().with_context(|| format!("not a count: {row}"));
            let before = counts.insert(number(&row["dimensions"][0])?, number(&row["metrics"][0])?);
            ensure!(before.is_none(), "a request is counted twice: {row}");
        }
        cursor = reply["meta"]["next_cursor"].clone();
        if cursor.is_null() {
            return Ok(counts);
        }
    }
}
