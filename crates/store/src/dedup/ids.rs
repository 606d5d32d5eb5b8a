//! Row ids as hashes, and the set of the latest.

use std::hash::{BuildHasherDefault, Hasher};
use std::path::PathBuf;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef};
use hashbrown::HashSet;
use tidewater_columns::StringsRef;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::DatasetId;
use tidewater_model::time::Timestamp;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::run::{Run, RunBuilder, RunKind};
use crate::disk::DiskRef;
use crate::error::StoreResult;

/// Separates ids from tokens in hash space.
const TAG_ID: u8 = 1;
const TAG_TOKEN: u8 = 2;

/// The ids of rows as hashes, `None` for null. `seed` is the store's secret, so that nobody can craft colliding ids; dataset
/// and project are part of the hash, so that no project can see or block another's ids.
pub fn hash_ids(seed: u64, dataset: DatasetId, project: &ProjectName, ids: &ArrayRef) -> Vec<Option<u128>> {
    let scope = scope(seed, TAG_ID, dataset, project);
    if let Some(numbers) = ids.as_primitive_opt::<Int64Type>() {
        return numbers.iter().map(|id| id.map(|id| xxh3_128_with_seed(&id.to_le_bytes(), scope))).collect();
    }
    let Some(strings) = StringsRef::new(ids.as_ref()) else { return vec![None; ids.len()] };
    (0..ids.len()).map(|row| strings.get(row).map(|id| xxh3_128_with_seed(id.as_bytes(), scope))).collect()
}

/// A token scoped to its dataset and project.
pub fn hash_token(seed: u64, dataset: DatasetId, project: &ProjectName, token: u128) -> u128 {
    xxh3_128_with_seed(&token.to_le_bytes(), scope(seed, TAG_TOKEN, dataset, project))
}

fn scope(seed: u64, tag: u8, dataset: DatasetId, project: &ProjectName) -> u64 {
    let mut bytes = vec![tag];
    bytes.extend_from_slice(&dataset.0.to_le_bytes());
    bytes.extend_from_slice(project.as_str().as_bytes());
    xxh3_64_with_seed(&bytes, seed)
}

/// Keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only `write_u128` is called for `u128` keys; this keeps the type correct for any other.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

/// Ids accepted lately.
#[derive(Clone, Debug, Default)]
pub struct IdSet {
    keys: HashSet<u128, BuildHasherDefault<KeyHasher>>,
    span: Option<(Timestamp, Timestamp)>,
}

impl IdSet {
    /// False when it was there.
    pub fn insert(&mut self, id: u128, accepted: Timestamp) -> bool {
        let (since, until) = self.span.unwrap_or((accepted, accepted));
        self.span = Some((since.min(accepted), until.max(accepted)));
        self.keys.insert(id)
    }

    /// Makes room once for a whole batch.
    pub fn reserve(&mut self, ids: usize) {
        self.keys.reserve(ids);
    }

    /// Whether it is there.
    pub fn contains(&self, id: u128) -> bool {
        self.keys.contains(&id)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// When its first id came.
    pub fn since(&self) -> Option<Timestamp> {
        self.span.map(|(since, _)| since)
    }

    /// Bytes of the table: a key and a control byte per slot, at most 7/8 of the slots in use.
    pub fn memory_bytes(&self) -> usize {
        self.keys.capacity() / 7 * 8 * (size_of::<u128>() + 1)
    }

    /// Writes a run, without syncing it.
    pub fn write(&self, disk: &DiskRef, path: PathBuf, id: u64, bits_per_key: u64) -> StoreResult<Run> {
        let mut keys: Vec<u128> = self.keys.iter().copied().collect();
        keys.sort_unstable();
        let mut builder = RunBuilder::create(disk, path, id, RunKind::Ids, keys.len() as u64, bits_per_key)?;
        for key in keys {
            builder.push(&key.to_be_bytes())?;
        }
        let (since, until) = self.span.unwrap_or_default();
        builder.finish(since.0, until.0)
    }
}
