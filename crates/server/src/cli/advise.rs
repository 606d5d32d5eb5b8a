//! `tidewater advise`: the advisor's findings for people, with the roll-ups ready to declare.

use serde_json::Value;

use super::report::Report;
use super::table;

/// Tells which roll-ups would serve the questions that are asked, and which declared ones serve none
///
/// Examples:
///   tidewater advise
///   tidewater advise --dataset llm
///   tidewater advise --dataset llm --json | jq '.datasets[0].suggestions[0].definition'
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(flatten)]
    report: Report,
}

/// Asks and prints.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    arguments.report.print("/api/v1/advisor", of_all)
}

fn of_all(reply: &Value) -> String {
    let datasets = reply["datasets"].as_array().map_or(&[][..], Vec::as_slice);
    if datasets.is_empty() {
        return "no datasets yet; define one with 'tidewater datasets define NAME preset:events'\n"
            .to_owned();
    }
    datasets.iter().map(advice).collect()
}

/// One dataset's advice.
fn advice(dataset: &Value) -> String {
    let name = dataset["dataset"].as_str().unwrap_or("?");
    let Some(since) = dataset["recorded_since"].as_str() else {
        return format!("{name}: no questions are recorded yet\n{}", remarks(dataset));
    };
    let raw_ms = dataset["raw_ms"].as_f64().unwrap_or(0.0);
    let mut out = format!(
        "{name}: {} recorded questions spent {} on raw rows since {since}\n",
        dataset["questions"],
        seconds(raw_ms)
    );
    let covered_ms = dataset["covered_raw_ms"].as_f64().unwrap_or(0.0);
    if covered_ms > 0.0 {
        out += &format!("  {} of it in questions that a declared roll-up covers\n", seconds(covered_ms));
    }
    for suggestion in list(&dataset["suggestions"]) {
        out += &suggested(name, suggestion);
    }
    for suggestion in list(&dataset["not_paying"]) {
        let rollup = &suggestion["definition"]["rollups"][0];
        out += &format!(
            "\n  not worth a roll-up: {} ({}); it would be nearly as large as the raw rows\n",
            words(&rollup["dimensions"]),
            serves(suggestion)
        );
        out += &sizes(suggestion);
    }
    out + &remarks(dataset)
}

fn suggested(dataset: &str, suggestion: &Value) -> String {
    let rollup = &suggestion["definition"]["rollups"][0];
    let verb = if suggestion["widens"] == true { "widen" } else { "declare" };
    let name = rollup["name"].as_str().unwrap_or("?");
    let mut out = format!("\n  {verb} '{name}': {}\n", serves(suggestion));
    out += &sizes(suggestion);
    let definition = suggestion["definition"].to_string().replace('\'', "'\\''");
    out + &format!("\n  tidewater datasets define {dataset} '{definition}'\n")
}

/// "serves 3 questions, asked 40 times, 83 % of the time on raw rows".
fn serves(suggestion: &Value) -> String {
    let serves = &suggestion["serves"];
    let percent = serves["raw_share"].as_f64().unwrap_or(0.0) * 100.0;
    format!(
        "serves {} questions, asked {} times, {percent:.0} % of the time on raw rows",
        serves["questions"], serves["asked"]
    )
}

fn sizes(suggestion: &Value) -> String {
    let estimate = &suggestion["estimate"];
    let header = ["tier", "rows", "bytes", "of raw", "stored"].map(str::to_owned);
    let rows: Vec<Vec<Value>> = list(&estimate["tiers"])
        .map(|tier| {
            let share = tier["bytes_share"].as_f64().or(tier["rows_share"].as_f64()).unwrap_or(0.0);
            let stored = if tier["pays"] == true { "yes" } else { "no" };
            vec![
                tier["tier"].clone(),
                tier["rows"].clone(),
                tier["bytes"].clone(),
                Value::from(format!("{:.1} %", share * 100.0)),
                Value::from(stored),
            ]
        })
        .collect();
    let sampled = list(&estimate["tiers"]).filter_map(|tier| tier["sample_rows"].as_u64()).max().unwrap_or(0);
    let project = estimate["sampled_project"].as_str().unwrap_or("?");
    let table = table::render(&header, &rows);
    let indented: String = table.lines().map(|line| format!("    {line}\n")).collect();
    format!("{indented}    estimated from {sampled} rows of project '{project}'\n")
}

/// What is not a suggestion: unused roll-ups, questions that nothing serves.
fn remarks(dataset: &Value) -> String {
    let mut out = String::new();
    for unused in list(&dataset["unused"]) {
        let (rollup, since) = (unused["rollup"].as_str(), unused["since"].as_str());
        out += &format!(
            "\n  roll-up '{}' took part in no answer since {}\n",
            rollup.unwrap_or("?"),
            since.unwrap_or("?")
        );
    }
    for tier in list(&dataset["tiers_not_paying"]) {
        out += &format!(
            "\n  tier {} of roll-up '{}' is not stored: it would be nearly as large as the raw rows\n",
            tier["tier"].as_str().unwrap_or("?"),
            tier["rollup"].as_str().unwrap_or("?")
        );
    }
    for unserved in list(&dataset["unserved"]) {
        let why = match unserved["reason"].as_str() {
            Some("exact") => "ask for exact distinct counts or percentiles",
            Some("filters_by_time") => "filter by the time column",
            Some("filters_by_map") => "filter by a whole map",
            _ => "need every row",
        };
        let spent = seconds(unserved["raw_ms"].as_f64().unwrap_or(0.0));
        out +=
            &format!("\n  no roll-up can serve {} questions ({spent}): they {why}\n", unserved["questions"]);
    }
    out
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn words(value: &Value) -> String {
    list(value).filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

fn seconds(ms: f64) -> String {
    if ms < 1_000.0 { format!("{ms:.0} ms") } else { format!("{:.1} s", ms / 1e3) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn advice_reads_and_pastes() {
        let suggestion = json!({"widens": false,
            "definition": {"rollups": [{"name": "channel", "dimensions": ["channel"], "metrics": ["it's"], "tiers": ["1h"]}]},
            "serves": {"questions": 2, "asked": 9, "raw_ms": 1500.0, "raw_share": 0.75},
            "estimate": {"sampled_project": "web", "tiers": [{"tier": "1h", "rows": 120, "bytes": 900, "rows_share": 0.01,
                "bytes_share": 0.02, "pays": true, "sample_rows": 500, "sample_groups": 12}]}});
        let dataset = json!({"dataset": "edits", "recorded_since": "2026-01-01T00:00:00Z", "questions": 3, "raw_ms": 2000.0,
            "covered_raw_ms": 0.0, "suggestions": [suggestion], "not_paying": [],
            "unused": [{"rollup": "old", "since": "2026-01-02T00:00:00Z"}],
            "tiers_not_paying": [{"rollup": "fine", "tier": "1m"}],
            "unserved": [{"reason": "exact", "questions": 1, "raw_ms": 20.0}]});
        let expected = "edits: 3 recorded questions spent 2.0 s on raw rows since 2026-01-01T00:00:00Z\n\
            \n  declare 'channel': serves 2 questions, asked 9 times, 75 % of the time on raw rows\n    \
            tier  rows  bytes  of raw  stored\n    ────  ────  ─────  ──────  ──────\n    \
            1h     120    900  2.0 %   yes\n    estimated from 500 rows of project 'web'\n\
            \n  tidewater datasets define edits '{\"rollups\":[{\"name\":\"channel\",\"dimensions\":[\"channel\"],\
            \"metrics\":[\"it'\\''s\"],\"tiers\":[\"1h\"]}]}'\n\
            \n  roll-up 'old' took part in no answer since 2026-01-02T00:00:00Z\n\
            \n  tier 1m of roll-up 'fine' is not stored: it would be nearly as large as the raw rows\n\
            \n  no roll-up can serve 1 questions (20 ms): they ask for exact distinct counts or percentiles\n";
        assert_eq!(advice(&dataset), expected);
    }
}
