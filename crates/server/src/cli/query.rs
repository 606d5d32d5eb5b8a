//! `tidewater query`: a question from flags or JSON, the answer as a table, JSON or CSV.
//!
//! The server resolves names and words; nothing about the question is interpreted here.

use std::io::{IsTerminal, Write};

use anyhow::bail;
use serde_json::{Value, json};

use super::client::{Client, Remote, json_argument};
use super::table;
use crate::answer::OTHERS;

/// Asks a question and prints the answer as a table, JSON or CSV
///
/// Examples:
///   tidewater query --dataset events --metrics visitors --dimensions time:day --date-range 7d
///   tidewater query --dataset llm --metrics cost_usd,traces --dimensions model --order-by cost_usd:desc --limit 5
///   tidewater query -d machines -m max:temperature_c,uniq:machine -g time:hour -r 24h
///   tidewater query '{"dataset":"llm","metrics":["cost_usd"],"date_range":"month"}' --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// The whole question as JSON; '-' reads standard input, '@FILE' a file. Flags add to it.
    question: Option<String>,
    /// The dataset.
    #[arg(long, short)]
    dataset: Option<String>,
    /// Metric names, or AGGREGATE:COLUMN like max:duration_ms, separated by commas.
    #[arg(long, short, value_delimiter = ',')]
    metrics: Vec<String>,
    /// Dimensions, separated by commas: columns, props.KEY, time:hour …
    #[arg(long, short = 'g', value_delimiter = ',')]
    dimensions: Vec<String>,
    /// A word (24h, 7d, month, all …) or FROM,TO.
    #[arg(long, short = 'r')]
    date_range: Option<String>,
    /// IANA zone of days and labels.
    #[arg(long)]
    timezone: Option<String>,
    /// A filter as JSON, e.g. '["is","model",["gpt"]]'; may be repeated.
    #[arg(long, short)]
    filter: Vec<String>,
    /// NAME:asc or NAME:desc, separated by commas.
    #[arg(long, value_delimiter = ',')]
    order_by: Vec<String>,
    /// Rows at most.
    #[arg(long)]
    limit: Option<u32>,
    /// One more row for all groups past the limit.
    #[arg(long)]
    others: bool,
    /// Exact distinct counts and percentiles.
    #[arg(long)]
    exact: bool,
    /// Print the reply as it is.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV.
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Asks and prints.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut question = question(arguments)?;
    let client = Client::new(&arguments.remote)?;
    let out = &mut std::io::stdout().lock();
    if arguments.csv {
        let headers = [("content-type", "application/json"), ("accept", "text/csv")];
        let reply = client.send("POST", "/api/v1/query", &headers, question.to_string().as_bytes())?;
        out.write_all(&reply.body)?;
        return Ok(());
    }
    if arguments.json {
        writeln!(out, "{}", client.send_json("POST", "/api/v1/query", &question)?)?;
        return Ok(());
    }
    question["format"] = json!("objects");
    question["include"]["total_rows"] = json!(true);
    let answer = client.send_json("POST", "/api/v1/query", &question)?;
    write!(out, "{}", as_table(&answer))?;
    if std::io::stdout().is_terminal() {
        writeln!(out, "{}", footer(&answer))?;
    }
    Ok(())
}

fn question(arguments: &Arguments) -> anyhow::Result<Value> {
    let mut question = match &arguments.question {
        Some(argument) => json_argument(argument)?,
        None => json!({}),
    };
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            question[name] = value;
        }
    };
    set("dataset", arguments.dataset.as_ref().map(|name| json!(name)));
    set("metrics", (!arguments.metrics.is_empty()).then(|| json!(metrics(&arguments.metrics))));
    set("dimensions", (!arguments.dimensions.is_empty()).then(|| json!(arguments.dimensions)));
    set("timezone", arguments.timezone.as_ref().map(|zone| json!(zone)));
    set("project", arguments.remote.project.as_ref().map(|project| json!(project)));
    set("others", arguments.others.then(|| json!(true)));
    set("exact", arguments.exact.then(|| json!(true)));
    set("date_range", arguments.date_range.as_deref().map(date_range));
    set("pagination", arguments.limit.map(|limit| json!({ "limit": limit })));
    if !arguments.filter.is_empty() {
        let filters: Result<Vec<Value>, _> =
            arguments.filter.iter().map(|text| serde_json::from_str(text)).collect();
        match filters {
            Ok(filters) => set("filters", Some(json!(filters))),
            Err(error) => {
                bail!("--filter is not JSON ({error}); write for example '[\"is\",\"model\",[\"gpt\"]]'")
            }
        }
    }
    if !arguments.order_by.is_empty() {
        let keys: Vec<Value> = arguments.order_by.iter().map(|key| order_key(key)).collect();
        set("order_by", Some(json!(keys)));
    }
    if question.get("dataset").is_none() {
        bail!("which dataset? give --dataset NAME; 'tidewater datasets' lists them");
    }
    Ok(question)
}

/// `p95:duration_ms` is an aggregate of a column, anything else a metric's name: no name holds a colon.
fn metrics(texts: &[String]) -> Vec<Value> {
    let metric = |text: &String| match text.split_once(':') {
        Some((aggregate, column)) => json!({"agg": aggregate, "column": column}),
        None => json!(text),
    };
    texts.iter().map(metric).collect()
}

fn date_range(text: &str) -> Value {
    match text.split_once(',') {
        Some((from, to)) => json!([from.trim(), to.trim()]),
        None => json!(text),
    }
}

/// `time:hour:desc` is a key named `time:hour`: only a trailing `asc` or `desc` is a direction.
fn order_key(text: &str) -> Value {
    match text.rsplit_once(':') {
        Some((name, direction @ ("asc" | "desc"))) => json!([name, direction]),
        _ => json!([text, "asc"]),
    }
}

fn as_table(answer: &Value) -> String {
    let rows: Vec<&serde_json::Map<String, Value>> =
        answer["results"].as_array().into_iter().flatten().filter_map(Value::as_object).collect();
    let Some(first) = rows.first() else { return "no rows\n".to_owned() };
    let header: Vec<String> = first.keys().filter(|name| *name != OTHERS).cloned().collect();
    let line = |row: &&serde_json::Map<String, Value>| {
        let mut cells: Vec<Value> = header.iter().map(|name| row[name].clone()).collect();
        if row.get(OTHERS) == Some(&json!(true)) && cells.len() == row.len() - 1 {
            cells[0] = json!("(others)");
        }
        cells
    };
    let cells: Vec<Vec<Value>> = rows.iter().map(line).collect();
    table::render(&header, &cells)
}

fn footer(answer: &Value) -> String {
    let meta = &answer["meta"];
    let results = answer["results"].as_array().into_iter().flatten();
    let shown = results.filter(|row| row[OTHERS] != json!(true)).count();
    format!(
        "{shown} of {} rows · {} rows scanned · {} ms · as of {}",
        meta["total_rows"],
        meta["rows_scanned"],
        meta["elapsed_ms"],
        meta["as_of"].as_str().unwrap_or("?")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_keys_keep_colons_of_names() {
        assert_eq!(order_key("time:hour:desc"), json!(["time:hour", "desc"]));
        assert_eq!(order_key("time:hour"), json!(["time:hour", "asc"]));
        assert_eq!(order_key("cost"), json!(["cost", "asc"]));
    }

    #[test]
    fn the_others_have_a_name_in_a_table() {
        let answer = json!({"results": [{"user": "a", "n": 5}, {"user": null, "n": 7, "others": true}],
                            "meta": {"total_rows": 9, "rows_scanned": 12, "elapsed_ms": 1, "as_of": "now"}});
        let table = as_table(&answer);
        assert_eq!(table.lines().last(), Some("(others)  7"), "{table}");
        assert!(footer(&answer).starts_with("1 of 9 rows"));
    }

    #[test]
    fn metrics_are_names_or_aggregates_of_columns() {
        let texts = ["cost", "p99.9:props.ms"].map(str::to_owned);
        assert_eq!(metrics(&texts), [json!("cost"), json!({"agg": "p99.9", "column": "props.ms"})]);
    }
}
