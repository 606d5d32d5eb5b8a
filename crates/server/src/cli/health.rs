//! `tidewater health`: whether a server is ready, as an exit status. What containers and scripts probe with, so that an image
//! needs no other HTTP client.

use std::path::PathBuf;

use anyhow::bail;
use serde_json::Value;

use super::client::{Client, Remote};

/// Says whether a server is ready to answer and to store; ends with 1 where it is not
///
/// Needs no key. The server asks itself a real question, so that "ready" means more than an open port.
///
/// Examples:
///   tidewater health
///   tidewater health --url http://127.0.0.1:8321 --live     # only whether the process answers
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// The server's address.
    #[arg(long, env = "TIDEWATER_URL", default_value = "http://127.0.0.1:8321")]
    url: String,
    /// File with the certificate of the authority to trust, in PEM, for https.
    #[arg(long, env = "TIDEWATER_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Ask only whether the process answers, not whether it is ready.
    #[arg(long)]
    live: bool,
}

/// Asks and prints.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = if arguments.live { "/health/live" } else { "/health/ready" };
    let (url, ca) = (arguments.url.clone(), arguments.ca.clone());
    let client = Client::new(&Remote { url, key: None, ca, project: None })?;
    let reply = client.exchange("GET", path, &[], &[])?;
    let body = reply.json()?;
    if reply.status != 200 {
        bail!("{}: {}", arguments.url, faults(&body));
    }
    println!("{}", body["status"].as_str().unwrap_or("ready"));
    Ok(())
}

/// The parts that are not ready, with their reasons.
fn faults(body: &Value) -> String {
    let parts = body["parts"].as_object().into_iter().flatten();
    let faults: Vec<String> = parts
        .filter(|(_, state)| state["ok"] != true)
        .map(|(name, state)| format!("{name}: {}", state["cause"].as_str().unwrap_or("no reason given")))
        .collect();
    if faults.is_empty() { "not ready".to_owned() } else { format!("not ready: {}", faults.join("; ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_ready_is_named() {
        let body = json!({"status": "not_ready", "parts": {"query": {"ok": true}, "store": {"ok": false, "cause": "a sync failed"}}});
        assert_eq!(faults(&body), "not ready: store: a sync failed");
        assert_eq!(faults(&json!({})), "not ready");
    }
}
