//! Idempotency tokens and the replies they stand for.

use std::hash::BuildHasherDefault;
use std::path::PathBuf;

use hashbrown::HashMap;
use tidewater_model::time::Timestamp;

use super::ids::KeyHasher;
use super::run::{Run, RunBuilder, RunKind};
use crate::disk::DiskRef;
use crate::error::StoreResult;
use crate::version::Lsn;

/// Bits a token's place in a filter costs; a million of them are little.
pub(super) const BITS_PER_TOKEN: u64 = 10;

/// The first reply to a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEntry {
    /// Hash of the body it came with.
    pub body_hash: u128,
    /// The record.
    pub lsn: Lsn,
    /// Rows accepted.
    pub accepted: u32,
    /// Rows dropped as duplicates.
    pub duplicates: u32,
    /// The opaque rest of the reply.
    pub extra: Box<[u8]>,
}

/// Tokens accepted lately.
#[derive(Clone, Debug, Default)]
pub struct TokenMap {
    entries: HashMap<u128, TokenEntry, BuildHasherDefault<KeyHasher>>,
    extra_bytes: usize,
    span: Option<(Timestamp, Timestamp)>,
}

impl TokenMap {
    /// Remembers a reply.
    pub fn insert(&mut self, token: u128, entry: TokenEntry, accepted: Timestamp) {
        let (since, until) = self.span.unwrap_or((accepted, accepted));
        self.span = Some((since.min(accepted), until.max(accepted)));
        self.extra_bytes += entry.extra.len();
        self.entries.insert(token, entry);
    }

    /// The reply to a token.
    pub fn get(&self, token: u128) -> Option<&TokenEntry> {
        self.entries.get(&token)
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.entries.len() * size_of::<(u128, TokenEntry)>() + self.extra_bytes
    }

    /// Writes a run, without syncing it.
    pub fn write(&self, disk: &DiskRef, path: PathBuf, id: u64) -> StoreResult<Run> {
        let mut tokens: Vec<(&u128, &TokenEntry)> = self.entries.iter().collect();
        tokens.sort_unstable_by_key(|(token, _)| **token);
        let mut builder =
            RunBuilder::create(disk, path, id, RunKind::Tokens, tokens.len() as u64, BITS_PER_TOKEN)?;
        for (token, entry) in tokens {
            push(&mut builder, *token, entry)?;
        }
        let (since, until) = self.span.unwrap_or_default();
        builder.finish(since.0, until.0)
    }
}

/// Appends one entry to a run.
pub(super) fn push(builder: &mut RunBuilder, token: u128, entry: &TokenEntry) -> StoreResult<()> {
    let offset = builder.push_blob(&entry.extra)?;
    let mut bytes = [0; RunKind::Tokens.width()];
    bytes[..16].copy_from_slice(&token.to_be_bytes());
    bytes[16..32].copy_from_slice(&entry.body_hash.to_le_bytes());
    bytes[32..40].copy_from_slice(&entry.lsn.0.to_le_bytes());
    bytes[40..44].copy_from_slice(&entry.accepted.to_le_bytes());
    bytes[44..48].copy_from_slice(&entry.duplicates.to_le_bytes());
    bytes[48..56].copy_from_slice(&offset.to_le_bytes());
    bytes[56..60].copy_from_slice(&(entry.extra.len() as u32).to_le_bytes());
    builder.push(&bytes)
}

/// Reads one entry of a run.
pub(super) fn read(run: &Run, bytes: &[u8]) -> StoreResult<TokenEntry> {
    let array = |from: usize| -> [u8; 8] { bytes[from..from + 8].try_into().expect("8 bytes") };
    let number = |from: usize| u32::from_le_bytes(bytes[from..from + 4].try_into().expect("4 bytes"));
    let extra = run.read_blob(u64::from_le_bytes(array(48)), u64::from(number(56)))?;
    Ok(TokenEntry {
        body_hash: u128::from_le_bytes(bytes[16..32].try_into().expect("16 bytes")),
        lsn: Lsn(i64::from_le_bytes(array(32))),
        accepted: number(40),
        duplicates: number(44),
        extra: extra.into_boxed_slice(),
    })
}

/// The entry of a token, if the run has it.
pub(super) fn find(run: &Run, token: u128) -> StoreResult<Option<TokenEntry>> {
    if !run.may_contain(token) {
        return Ok(None);
    }
    match run.find(token)? {
        Some(bytes) => read(run, &bytes).map(Some),
        None => Ok(None),
    }
}
