//! `tidewater datasets`: list, show, define, drop.

use anyhow::Context;
use serde_json::{Value, json};

use super::client::{Client, Remote, encode, json_argument};
use super::table;

/// Lists datasets, shows one, or defines one from a file
///
/// Examples:
///   tidewater datasets
///   tidewater datasets show llm
///   tidewater datasets define edits @edits.json
///   tidewater datasets define web preset:events
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Every dataset with its size.
    List,
    /// A dataset's definition as JSON.
    Show {
        /// The dataset.
        name: String,
    },
    /// Creates or widens a dataset.
    Define {
        /// The dataset.
        name: String,
        /// Its definition: JSON, '@FILE', '-' for standard input, or 'preset:NAME'.
        definition: String,
    },
    /// Drops a dataset with all its rows in all projects.
    Drop {
        /// The dataset.
        name: String,
        /// Really.
        #[arg(long, required = true)]
        yes: bool,
    },
}

/// Does what the verb says.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let client = Client::new(&arguments.remote)?;
    match arguments.verb.as_ref().unwrap_or(&Verb::List) {
        Verb::List => list(&client),
        Verb::Show { name } => {
            let dataset = client.get(&path(name))?;
            println!("{}", serde_json::to_string_pretty(&dataset)?);
            Ok(())
        }
        Verb::Define { name, definition } => {
            client.send_json("PUT", &path(name), &self::definition(definition)?)?;
            println!("dataset '{name}' is defined");
            Ok(())
        }
        Verb::Drop { name, .. } => {
            client.send("DELETE", &path(name), &[], &[])?;
            println!("dataset '{name}' is dropped");
            Ok(())
        }
    }
}

fn path(name: &str) -> String {
    format!("/api/v1/datasets/{}", encode(name))
}

fn definition(argument: &str) -> anyhow::Result<Value> {
    match argument.strip_prefix("preset:") {
        Some(name) => {
            let presets = tidewater_domains::PRESETS.join(", ");
            let preset = tidewater_domains::preset(name);
            let preset = preset.with_context(|| format!("no preset '{name}'; there are: {presets}"))?;
            Ok(serde_json::to_value(preset)?)
        }
        None => json_argument(argument),
    }
}

fn list(client: &Client) -> anyhow::Result<()> {
    let reply = client.get("/api/v1/datasets")?;
    let datasets = reply["datasets"].as_array().cloned().unwrap_or_default();
    if datasets.is_empty() {
        println!("no datasets yet; define one with 'tidewater datasets define NAME preset:events'");
        return Ok(());
    }
    let header = ["dataset", "columns", "metrics", "rows"].map(str::to_owned);
    let count = |value: &Value| json!(value.as_object().map_or(0, serde_json::Map::len));
    let rows: Vec<Vec<Value>> = datasets
        .iter()
        .map(|dataset| {
            vec![
                dataset["name"].clone(),
                count(&dataset["columns"]),
                count(&dataset["metrics"]),
                dataset["rows"].clone(),
            ]
        })
        .collect();
    print!("{}", table::render(&header, &rows));
    Ok(())
}
