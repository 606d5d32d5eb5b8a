//! `tidewater keys`: create, list, revoke.

use serde_json::{Value, json};

use super::client::{Client, Remote, encode};
use super::table;

/// Creates, lists and revokes API keys
///
/// Examples:
///   tidewater keys create collector --bind web --scope ingest
///   tidewater keys list
///   tidewater keys revoke 1f2e3d4c
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Creates a key and prints it once.
    Create {
        /// What it is for.
        name: String,
        /// The project it is bound to; without it the key reaches all projects.
        #[arg(long)]
        bind: Option<String>,
        /// What it may do.
        #[arg(long = "scope", value_parser = ["ingest", "query", "admin"], default_values = ["query"])]
        scopes: Vec<String>,
        /// When it ends, RFC 3339.
        #[arg(long)]
        expires_at: Option<String>,
    },
    /// Every key, without its secret.
    List,
    /// Ends a key at once.
    Revoke {
        /// The key's id, as listed.
        id: String,
    },
}

/// Does what the verb says.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let client = Client::new(&arguments.remote);
    match &arguments.verb {
        Verb::Create { name, bind, scopes, expires_at } => {
            let mut body = json!({"name": name, "project": bind, "scopes": scopes});
            if let Some(at) = expires_at {
                body["expires_at"] = json!(at);
            }
            let reply = client.send_json("POST", "/api/v1/keys", &body)?;
            eprintln!("key '{name}' ({}); it is shown only now:", reply["id"].as_str().unwrap_or("?"));
            println!("{}", reply["key"].as_str().unwrap_or_default());
        }
        Verb::List => {
            let reply = client.get("/api/v1/keys")?;
            let fields = ["id", "name", "project", "scopes", "created_at", "expires_at"];
            let keys = reply["keys"].as_array().cloned().unwrap_or_default();
            let rows: Vec<Vec<Value>> =
                keys.iter().map(|key| fields.iter().map(|field| shown(&key[field])).collect()).collect();
            print!("{}", table::render(&fields.map(str::to_owned), &rows));
        }
        Verb::Revoke { id } => {
            client.send("DELETE", &format!("/api/v1/keys/{}", encode(id)), &[], &[])?;
            println!("key {id} is revoked");
        }
    }
    Ok(())
}

fn shown(value: &Value) -> Value {
    match value {
        Value::Array(words) => json!(words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")),
        other => other.clone(),
    }
}
