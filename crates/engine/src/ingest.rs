//! Rows on their way in: unpack, decode, submit, wait until durable.
//!
//! Small bodies are decoded where they arrive; large ones on a blocking thread, a few at a time. Everything a request holds in
//! memory is covered by its permit. Not here: how rows are read (`decode`) and made durable (`store`).

use std::sync::Arc;
use std::time::Instant;

use arrow_buffer::BooleanBuffer;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tidewater_decode::{
    Decoded, Encoding, Format, Mapping, Options, ROW_ERRORS_MAX, RowError, Unknown, decode, decompress,
};
use tidewater_model::limits::BATCH_ROWS_MAX;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{Dataset, DatasetId};
use tidewater_model::time::Timestamp;
use tidewater_store::{Append, Receipt, StoreResult, Token, Version};
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_128;

use crate::counters::Counters;
use crate::engine::Engine;
use crate::error::{EngineError, EngineResult};
use crate::in_flight::Permit;
use crate::rejects::Reject;

/// Who sends rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Somebody.
    #[default]
    Client,
    /// The server itself, about its own work: not counted among what comes in, and stored until the last moment.
    Server,
}

/// Rows as sent.
#[derive(Debug)]
pub struct IngestRequest {
    /// Name of the dataset.
    pub dataset: String,
    /// Whose rows.
    pub project: ProjectName,
    /// How they are written.
    pub format: Format,
    /// How the body is packed.
    pub encoding: Encoding,
    /// The body.
    pub body: Bytes,
    /// What happens to unknown columns.
    pub unknown: Unknown,
    /// `Idempotency-Key`.
    pub token: Option<String>,
    /// Who sends them.
    pub origin: Origin,
    /// Covers `body`; grows with what it unpacks to.
    pub permit: Permit,
}

/// What became of the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct IngestReply {
    /// Rows stored.
    pub accepted: u64,
    /// Rows refused.
    pub rejected: u64,
    /// Rows left out because their id was known.
    pub duplicates: u64,
    /// Values of unknown columns that were dropped.
    pub ignored: u64,
    /// Bytes of the body, decompressed.
    pub bytes: u64,
    /// The first refused rows.
    pub errors: Vec<RowFault>,
    /// A state that holds the rows, for `min_version`.
    pub version: Version,
    /// The reply to an earlier request with the same token.
    pub is_repeated: bool,
}

/// Why a row was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowFault {
    /// Its place in the body, from 0.
    pub index: u32,
    /// The column, where one is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// A stable word.
    pub code: String,
    /// For people.
    pub message: String,
}

impl From<&RowError> for RowFault {
    fn from(error: &RowError) -> Self {
        RowFault {
            index: error.index,
            field: error.field.clone(),
            code: error.code.to_owned(),
            message: error.message.clone(),
        }
    }
}

/// The part of a reply that the store does not know; it is remembered with a token.
#[derive(Default, Serialize, Deserialize)]
struct Extra {
    rejected: u64,
    ignored: u64,
    errors: Vec<RowFault>,
}

/// Decoded rows and what identifies their body.
struct Prepared {
    decoded: Decoded,
    body_hash: u128,
    bytes: u64,
}

impl IngestReply {
    /// Whether there were rows and none of them was good.
    pub fn is_refused(&self) -> bool {
        self.accepted == 0 && self.duplicates == 0 && self.rejected > 0
    }
}

impl Engine {
    /// Stores rows; returns when they are durable.
    pub async fn ingest(&self, mut request: IngestRequest) -> EngineResult<IngestReply> {
        if self.is_closing() && request.origin == Origin::Client {
            return Err(EngineError::ShuttingDown);
        }
        self.projects.check_takes_rows(&request.project)?;
        let (id, dataset) =
            self.store.dataset(&request.dataset).ok_or_else(|| self.unknown_dataset(&request.dataset))?;
        // A packed body may grow a thousandfold, so its own size does not tell the work it makes.
        let is_small = request.encoding == Encoding::Identity
            && request.format != Format::Parquet
            && request.body.len() as u64 <= self.config.inline_body_bytes_max;
        let prepared = if is_small {
            self.prepare(&mut request, &dataset)?
        } else {
            let place =
                Arc::clone(&self.decoders).acquire_owned().await.map_err(|_| EngineError::ShuttingDown)?;
            let engine = self.clone();
            let task = move || {
                let _place = place;
                let prepared = engine.prepare(&mut request, &dataset);
                (request, prepared)
            };
            let (back, prepared) =
                tokio::task::spawn_blocking(task).await.map_err(|_| EngineError::Panicked)?;
            request = back;
            prepared?
        };
        self.submit(request, id, prepared).await
    }

    fn prepare(&self, request: &mut IngestRequest, dataset: &Dataset) -> EngineResult<Prepared> {
        let began = Instant::now();
        let bytes_max = usize::try_from(self.config.body_bytes_max).unwrap_or(usize::MAX);
        let body = if request.encoding == Encoding::Identity && request.body.len() <= bytes_max {
            request.body.clone()
        } else {
            // The worst case is taken first and the rest given back: what a body unpacks to is only known afterwards.
            let packed = request.body.len() as u64;
            request.permit.cover(packed + self.config.body_bytes_max).map_err(|_| self.overloaded())?;
            let body = decompress(request.encoding, &request.body, bytes_max)?;
            request.permit.shrink(packed + body.len() as u64);
            body
        };
        let mapping = Mapping::default();
        let options = Options {
            now: self.now(),
            unknown: request.unknown,
            rows_max: BATCH_ROWS_MAX,
            bytes_max,
            mapping: &mapping,
        };
        let mut decoded = decode(request.format, &body, dataset, &options)?;
        if let Some(horizon) = horizon(dataset, options.now) {
            refuse_expired(&mut decoded, horizon);
        }
        if request.origin == Origin::Client {
            self.counters.decoding.0.add_duration(began.elapsed());
        }
        let body_hash = if request.token.is_some() { xxh3_128(&body) } else { 0 };
        Ok(Prepared { decoded, body_hash, bytes: body.len() as u64 })
    }

    async fn submit(
        &self,
        request: IngestRequest,
        id: DatasetId,
        prepared: Prepared,
    ) -> EngineResult<IngestReply> {
        let Prepared { decoded, body_hash, bytes } = prepared;
        let is_counted = request.origin == Origin::Client;
        if is_counted {
            Counters::add(&self.counters.bytes, bytes);
            Counters::add(&self.counters.values_ignored, decoded.unknown_ignored);
        }
        if is_counted && decoded.rejected > 0 {
            self.keep_rejects(&request, &decoded);
        }
        let extra = Extra {
            rejected: decoded.rejected,
            ignored: decoded.unknown_ignored,
            errors: decoded.errors.iter().map(RowFault::from).collect(),
        };
        if decoded.batch.rows() == 0 {
            return Ok(reply(extra, self.nothing_stored(), bytes));
        }
        let token = request.token.as_deref().map(|token| Token { token_hash: token_hash(token), body_hash });
        let remembered = match &token {
            Some(_) => serde_json::to_vec(&extra).unwrap_or_default(),
            None => Vec::new(),
        };
        let (done, receipt) = oneshot::channel::<StoreResult<Receipt>>();
        self.store.submit(Append {
            dataset: id,
            project: request.project.clone(),
            batch: decoded.batch,
            token,
            extra: remembered,
            in_background: request.origin == Origin::Server,
            done: Box::new(move |result| {
                // The receiver is gone when the client left; its rows are stored all the same.
                let _ = done.send(result);
            }),
        });
        let receipt = receipt.await.map_err(|_| EngineError::ShuttingDown)??;
        drop(request);
        if is_counted && !receipt.repeated {
            Counters::add(&self.counters.rows_accepted, receipt.accepted.into());
            Counters::add(&self.counters.rows_duplicate, receipt.duplicates.into());
        }
        Ok(reply(extra, receipt, bytes))
    }

    /// The receipt of a body without a good row.
    fn nothing_stored(&self) -> Receipt {
        let version = self.store.snapshot().version();
        Receipt { lsn: version.lsn, version, accepted: 0, duplicates: 0, extra: Vec::new(), repeated: false }
    }

    fn keep_rejects(&self, request: &IngestRequest, decoded: &Decoded) {
        let now = self.now();
        let described = decoded.errors.len() as u64;
        for error in &decoded.errors {
            self.counters.rejected(error.code, 1);
        }
        if decoded.rejected > described {
            self.counters.rejected("other", decoded.rejected - described);
        }
        let rows = decoded.errors.iter().map(|error| Reject {
            at: now,
            project: request.project.to_string(),
            dataset: request.dataset.clone(),
            index: u64::from(error.index),
            field: error.field.clone(),
            code: error.code.to_owned(),
            message: Some(error.message.clone()),
            row: Some(error.excerpt.clone()),
        });
        self.rejects.push(&request.project, rows);
    }
}

/// The time before which rows have expired in every tier, if there is one.
fn horizon(dataset: &Dataset, now: Timestamp) -> Option<Timestamp> {
    let retention = &dataset.retention;
    let mut longest = retention.raw_us?;
    for tier in dataset.rollups.iter().flat_map(|rollup| &rollup.tiers) {
        if let Some(kept) = retention.tiers_us.get(tier) {
            longest = longest.max((*kept)?);
        }
    }
    Some(Timestamp(now.0.saturating_sub(longest)))
}

/// Takes out rows that retention would drop at once: storing them would be a success that is none.
fn refuse_expired(decoded: &mut Decoded, horizon: Timestamp) {
    let times = decoded.batch.times();
    if times.iter().all(|time| *time >= horizon.0) {
        return;
    }
    let kept: BooleanBuffer = times.iter().map(|time| *time >= horizon.0).collect();
    for (index, time) in decoded.row_index.iter().zip(times).filter(|(_, time)| **time < horizon.0) {
        decoded.rejected += 1;
        if decoded.errors.len() < ROW_ERRORS_MAX {
            decoded.errors.push(RowError {
                index: *index,
                field: None,
                code: "time_too_old",
                message: format!(
                    "the time {} lies before {horizon}, from when on rows are kept",
                    Timestamp(*time)
                ),
                excerpt: String::new(),
            });
        }
    }
    let batch = decoded.batch.filter(&kept);
    decoded.errors.sort_by_key(|error| error.index);
    decoded.row_index =
        decoded.row_index.iter().zip(&kept).filter(|(_, kept)| *kept).map(|(index, _)| *index).collect();
    decoded.batch = batch;
}

fn reply(extra: Extra, receipt: Receipt, bytes: u64) -> IngestReply {
    // A repeated token answers what the first request was told.
    let extra =
        if receipt.repeated { serde_json::from_slice(&receipt.extra).unwrap_or_default() } else { extra };
    IngestReply {
        accepted: receipt.accepted.into(),
        rejected: extra.rejected,
        duplicates: receipt.duplicates.into(),
        ignored: extra.ignored,
        bytes,
        errors: extra.errors,
        version: receipt.version,
        is_repeated: receipt.repeated,
    }
}

/// Half of a SHA-256: callers choose tokens, and none must be able to find two that collide. The store scopes it.
fn token_hash(token: &str) -> u128 {
    let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(half)
}
