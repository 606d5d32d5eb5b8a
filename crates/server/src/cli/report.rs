//! What the verbs share that print a server's report, on all datasets or one.
//!
//! Not here: what a report holds and how it reads (`advise`, `rollups`).

use std::io::Write;

use serde_json::Value;

use super::client::{Client, Remote, encode};

/// Which report, in which form, from where.
#[derive(Debug, clap::Args)]
pub struct Report {
    /// Only this dataset.
    #[arg(long, short)]
    dataset: Option<String>,
    /// Print the reply as it is.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Report {
    /// Fetches the report and prints it as it came, or as `text` writes it for people.
    pub fn print(&self, path: &str, text: impl FnOnce(&Value) -> String) -> anyhow::Result<()> {
        let path = match &self.dataset {
            Some(dataset) => format!("{path}?dataset={}", encode(dataset)),
            None => path.to_owned(),
        };
        let reply = Client::new(&self.remote)?.get(&path)?;
        let out = &mut std::io::stdout().lock();
        if self.json {
            writeln!(out, "{reply}")?;
        } else {
            write!(out, "{}", text(&reply))?;
        }
        Ok(())
    }
}
