//! Pieces sent to a running server: again when it is full or away for a while, in halves when they are too large for it.

use anyhow::Context;
use serde_json::{Value, json};
use tidewater_columns::RowBatch;
use tidewater_model::schema::{Dataset, DatasetDefinition};

use super::encode::parquet_body;
use super::target::Sent;
use crate::cli::client::{Client, Remote, encode};

/// A server and a dataset of it.
pub struct Server {
    client: Client,
    dataset: String,
}

impl Server {
    /// Opens no connection yet.
    pub fn new(remote: &Remote, dataset: &str) -> anyhow::Result<Self> {
        Ok(Server { client: Client::new(remote)?, dataset: dataset.to_owned() })
    }

    fn dataset_path(&self) -> String {
        format!("/api/v1/datasets/{}", encode(&self.dataset))
    }

    /// The dataset, if the server has it.
    pub fn dataset(&self) -> anyhow::Result<Option<Dataset>> {
        let reply = self.client.exchange("GET", &self.dataset_path(), &[], &[])?;
        match reply.status {
            404 => Ok(None),
            status if status < 400 => compile(&self.dataset, &reply.json()?).map(Some),
            403 => Err(self.client.refused(&reply))
                .context("an import reads the dataset's columns and needs the scope 'query' too"),
            _ => Err(self.client.refused(&reply).into()),
        }
    }

    /// Creates the dataset.
    pub fn create(&self, definition: &Value) -> anyhow::Result<Dataset> {
        compile(&self.dataset, &self.client.send_json("PUT", &self.dataset_path(), definition)?)
    }

    /// The identity of the server's store, from the version of an answer.
    pub fn store_id(&self) -> anyhow::Result<Option<String>> {
        let question = json!({"dataset": self.dataset, "metrics": [{"agg": "count"}], "date_range": "1m"});
        let answer = self.client.send_json("POST", "/api/v1/query", &question)?;
        let version = answer["meta"]["version"].as_str();
        Ok(version.and_then(|version| version.split_once('-')).map(|(store, _)| store.to_owned()))
    }

    /// Stores rows, once however often it is called with the same token.
    pub fn send(&self, dataset: &Dataset, token: &str, batch: &RowBatch) -> anyhow::Result<Sent> {
        let body = parquet_body(dataset, batch)?;
        let path = format!("/api/v1/ingest/{}", encode(&self.dataset));
        let headers = [("content-type", "application/vnd.apache.parquet"), ("idempotency-key", token)];
        let reply = self.client.exchange_patiently("POST", &path, &headers, &body)?;
        if reply.status == 413 && batch.rows() > 1 {
            let half = batch.rows() / 2;
            let mut sent = self.send(dataset, &format!("{token}a"), &batch.slice(0, half))?;
            let rest = self.send(dataset, &format!("{token}b"), &batch.slice(half, batch.rows() - half))?;
            sent.append(rest, half);
            return Ok(sent);
        }
        let value = reply.json().unwrap_or_default();
        // A body without one good row is a problem that counts its rows like any other reply.
        if reply.status >= 400 && value["rejected"].as_u64().is_none() {
            return Err(self.client.refused(&reply).into());
        }
        Ok(sent(&value))
    }
}

/// Reads the columns out of the server's description; the rest of it does not matter here.
fn compile(name: &str, description: &Value) -> anyhow::Result<Dataset> {
    let mut columns = json!({});
    for member in ["time", "id", "columns"] {
        if !description[member].is_null() {
            columns[member] = description[member].clone();
        }
    }
    let definition: DatasetDefinition =
        serde_json::from_value(columns).context("the dataset's description does not read")?;
    Dataset::compile(name, definition).context("the dataset's description does not compile")
}

fn sent(reply: &Value) -> Sent {
    let count = |name: &str| reply[name].as_u64().unwrap_or(0);
    let errors = reply["errors"].as_array().into_iter().flatten();
    let refusal = |error: &Value| {
        let message = error["message"].as_str().unwrap_or("refused").to_owned();
        (error["index"].as_u64().unwrap_or(0) as usize, message)
    };
    Sent {
        accepted: count("accepted"),
        duplicates: count("duplicates"),
        rejected: count("rejected"),
        refusals: errors.map(refusal).collect(),
    }
}
