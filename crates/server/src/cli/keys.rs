//! `tidewater keys`: create, list, rotate, revoke.

use anyhow::Context;
use serde_json::{Value, json};

use super::client::{Client, Remote, encode};
use super::table;

/// Creates, lists, rotates and revokes API keys
///
/// Examples:
///   tidewater keys create collector --bind web --scope ingest
///   tidewater keys create website --bind web --scope ingest --origin https://example.org
///   tidewater keys create anna --role viewer --filter '["is", "user", ["anna"]]'
///   tidewater keys list
///   tidewater keys rotate 1f2e3d4c --grace-s 86400
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
    Create(Create),
    /// Every key, without its secret.
    List,
    /// Gives a key another secret and prints it once.
    Rotate {
        /// The key's id, as listed.
        id: String,
        /// How long the secret before stays good, in seconds.
        #[arg(long, default_value_t = 0)]
        grace_s: u64,
    },
    /// Ends a key at once.
    Revoke {
        /// The key's id, as listed.
        id: String,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// What it is for.
    name: String,
    /// The project it is bound to; without it the key reaches all projects.
    #[arg(long)]
    bind: Option<String>,
    /// What it opens.
    #[arg(long = "scope", value_parser = ["ingest", "query", "admin"], default_values = ["query"])]
    scopes: Vec<String>,
    /// When it ends, RFC 3339.
    #[arg(long)]
    expires_at: Option<String>,
    /// A narrower role than the scopes give.
    #[arg(long, value_parser = ["developer", "viewer", "billing"])]
    role: Option<String>,
    /// A filter as JSON that everything the key reads is bound to; may be repeated.
    #[arg(long = "filter", value_name = "JSON")]
    filters: Vec<String>,
    /// A web origin whose pages may use the key, which makes it publishable; may be repeated.
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
}

impl Create {
    fn body(&self) -> anyhow::Result<Value> {
        let mut body = json!({"name": self.name, "project": self.bind, "scopes": self.scopes});
        if let Some(at) = &self.expires_at {
            body["expires_at"] = json!(at);
        }
        if let Some(role) = &self.role {
            body["role"] = json!(role);
        }
        if !self.filters.is_empty() {
            let read = |text: &String| {
                serde_json::from_str::<Value>(text)
                    .with_context(|| format!("the filter '{text}' is not JSON"))
            };
            body["filters"] = Value::Array(self.filters.iter().map(read).collect::<Result<_, _>>()?);
        }
        if !self.origins.is_empty() {
            body["publishable"] = json!(true);
            body["origins"] = json!(self.origins);
        }
        Ok(body)
    }
}

/// Does what the verb says.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let client = Client::new(&arguments.remote)?;
    match &arguments.verb {
        Verb::Create(create) => show_secret(&client.send_json("POST", "/api/v1/keys", &create.body()?)?),
        Verb::List => {
            let reply = client.get("/api/v1/keys")?;
            let fields =
                ["id", "name", "project", "scopes", "role", "created_at", "expires_at", "last_used_at"];
            let keys = reply["keys"].as_array().cloned().unwrap_or_default();
            let rows: Vec<Vec<Value>> =
                keys.iter().map(|key| fields.iter().map(|field| shown(&key[field])).collect()).collect();
            print!("{}", table::render(&fields.map(str::to_owned), &rows));
        }
        Verb::Rotate { id, grace_s } => {
            let path = format!("/api/v1/keys/{}/rotate", encode(id));
            show_secret(&client.send_json("POST", &path, &json!({"grace_s": grace_s}))?);
        }
        Verb::Revoke { id } => {
            client.send("DELETE", &format!("/api/v1/keys/{}", encode(id)), &[], &[])?;
            println!("key {id} is revoked");
        }
    }
    Ok(())
}

/// The secret alone on standard output, so that scripts can take it.
fn show_secret(reply: &Value) {
    let word = |field: &str| reply[field].as_str().unwrap_or("?").to_owned();
    eprintln!("key '{}' ({}); it is shown only now:", word("name"), word("id"));
    println!("{}", reply["key"].as_str().unwrap_or_default());
}

fn shown(value: &Value) -> Value {
    match value {
        Value::Array(words) => json!(words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")),
        other => other.clone(),
    }
}
