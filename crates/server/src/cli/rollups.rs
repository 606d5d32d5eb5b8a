//! `tidewater rollups`: how far declared roll-ups are built and what they take.

use serde_json::{Value, json};

use super::report::Report;
use super::table;

/// Shows every declared roll-up by tier: progress of building, size, whether it is stored
///
/// Examples:
///   tidewater rollups
///   tidewater rollups --dataset llm
///   watch tidewater rollups                    # while a new roll-up is built for existing rows
///   tidewater rollups --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(flatten)]
    report: Report,
}

/// Asks and prints.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    arguments.report.print("/api/v1/rollups", as_table)
}

fn as_table(reply: &Value) -> String {
    let rollups = reply["rollups"].as_array().cloned().unwrap_or_default();
    if rollups.is_empty() {
        return "no roll-ups are declared; 'tidewater advise' tells which would serve the questions that are asked\n"
            .to_owned();
    }
    let header = ["dataset", "rollup", "tier", "state", "built", "rows", "bytes", "of raw", "last used"]
        .map(str::to_owned);
    let rows: Vec<Vec<Value>> = rollups.iter().map(row).collect();
    table::render(&header, &rows)
}

fn row(rollup: &Value) -> Vec<Value> {
    let state = match rollup["state"].as_str() {
        Some("not_paying") => json!("not stored: does not pay"),
        Some("partly") => json!("stored where it pays"),
        _ => rollup["state"].clone(),
    };
    let built = format!("{}/{}", rollup["segments_built"], rollup["segments_total"]);
    let share = rollup["raw_share"].as_f64().map(|share| format!("{:.1} %", share * 100.0));
    vec![
        rollup["dataset"].clone(),
        rollup["rollup"].clone(),
        rollup["tier"].clone(),
        state,
        json!(built),
        rollup["rows"].clone(),
        rollup["bytes"].clone(),
        json!(share),
        json!(rollup["last_used"].as_str().unwrap_or("never")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_are_lines() {
        let tier = |tier: &str, state: &str, built: u64| {
            json!({"dataset": "llm", "rollup": "models", "tier": tier, "state": state, "segments_built": built, "segments_total": 4,
                "rows": 120, "bytes": 4_000, "raw_share": 0.004, "last_used": null})
        };
        let reply = json!({"rollups": [tier("1m", "not_paying", 4), tier("1h", "building", 1)]});
        let lines: Vec<String> = as_table(&reply).lines().map(str::to_owned).collect();
        assert_eq!(
            lines[2],
            "llm      models  1m    not stored: does not pay  4/4     120   4000  0.4 %   never"
        );
        assert_eq!(
            lines[3],
            "llm      models  1h    building                  1/4     120   4000  0.4 %   never"
        );
        assert!(as_table(&json!({"rollups": []})).contains("tidewater advise"));
    }
}
