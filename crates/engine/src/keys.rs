//! API keys: who may do what to which project. Only a SHA-256 of a secret is stored: secrets are 256 random bits, so a slow
//! password hash would add time and no safety.
//!
//! Not here: where a request carries its key (`server::auth`), which keys there may be (`rules`).

mod record;
mod rules;
mod uses;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use hashbrown::HashMap;
use sha2::{Digest, Sha256};
use tidewater_model::names::ProjectName;
use tidewater_model::time::Timestamp;
use tidewater_store::Store;

use crate::access::{Access, Permissions};
use crate::error::{EngineError, EngineResult};

pub use record::{ApiKey, NewKey, Scope};
use record::{Record, Replaced};
pub use rules::{KEY_NAME_BYTES_MAX, check_filters};
use uses::LastUse;

/// The store's space for key records.
const SPACE: &str = "keys";
/// The store's space and key for when keys were last used.
const USES: (&str, &str) = ("key_uses", "all");
/// What every generated secret begins with, so that secret scanners can find leaked ones.
const PREFIX: &str = "tw_";
/// Most keys of one store: verification holds them all in memory.
pub const KEYS_MAX: usize = 100_000;
/// Longest time a replaced secret stays good: long enough for a release train, short enough to be no second key.
pub const GRACE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such key, or a revoked one.
    Unknown,
    /// Past its `expires_at`, or a replaced secret past its time.
    Expired,
}

/// A key as listed.
#[derive(Clone, Debug)]
pub struct ListedKey {
    /// The key.
    pub key: Arc<ApiKey>,
    /// When it was last used, to the second.
    pub last_used_at: Option<Timestamp>,
    /// Until when the secret before this one is good, where there was one.
    pub replaced_until: Option<Timestamp>,
}

type Hash = [u8; 32];

/// One secret of a key.
struct Held {
    key: Arc<ApiKey>,
    access: Arc<Access>,
    /// From when on this secret is refused.
    ends_at: Option<Timestamp>,
    /// Whether another secret has taken its place.
    is_replaced: bool,
    last_use: LastUse,
}

/// All keys, in memory by hash and durable in the store.
pub struct Keys {
    store: Store,
    // Read on every request, written when a key changes; a read lock is two atomic operations.
    by_hash: RwLock<HashMap<Hash, Held>>,
    // Held while a record is read, changed and written: a rotation must not bring back a key that is being revoked.
    changes: Mutex<()>,
}

impl Keys {
    /// Reads all keys.
    pub fn open(store: Store) -> EngineResult<Self> {
        let uses = stored_uses(&store);
        let mut by_hash = HashMap::new();
        for (id, value) in store.kv_list(SPACE)? {
            let record = parse(&id, &value)?;
            let last_use = LastUse::of(uses.get(&id).copied());
            by_hash.extend(held(record, &last_use)?);
        }
        Ok(Keys { store, by_hash: RwLock::new(by_hash), changes: Mutex::new(()) })
    }

    /// Whether there is none, as at the first start.
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// Finds the key a request carries.
    ///
    /// Keys are found by the SHA-256 of what was sent. How long that takes may tell something about stored hashes, but nobody
    /// can choose a text by its hash, so it tells nothing about secrets: hashes of 256 random bits need no constant time.
    pub fn verify(&self, secret: &str, now: Timestamp) -> Result<Arc<Access>, Refusal> {
        // Hashed before the lock is taken.
        let hash = hash(secret);
        let keys = self.read();
        let held = keys.get(&hash).ok_or(Refusal::Unknown)?;
        match held.ends_at {
            Some(ends_at) if ends_at <= now => Err(Refusal::Expired),
            _ => {
                held.last_use.note(now);
                Ok(Arc::clone(&held.access))
            }
        }
    }

    /// Whether some publishable key is good for a web origin.
    pub fn serves_origin(&self, origin: &str) -> bool {
        self.read().values().any(|held| held.key.origins.iter().any(|known| known == origin))
    }

    /// All keys, oldest first.
    pub fn list(&self) -> Vec<ListedKey> {
        let keys = self.read();
        let replaced_until: HashMap<&str, Option<Timestamp>> = keys
            .values()
            .filter(|held| held.is_replaced)
            .map(|held| (held.key.id.as_str(), held.ends_at))
            .collect();
        let current = keys.values().filter(|held| !held.is_replaced);
        let mut listed: Vec<ListedKey> = current
            .map(|held| ListedKey {
                key: Arc::clone(&held.key),
                last_used_at: held.last_use.get(),
                replaced_until: replaced_until.get(held.key.id.as_str()).copied().flatten(),
            })
            .collect();
        listed.sort_by(|a, b| (a.key.created_at, &a.key.id).cmp(&(b.key.created_at, &b.key.id)));
        listed
    }

    /// What a key may do, by its id. With a project, other projects' keys are not found.
    pub fn permissions(&self, id: &str, project: Option<&str>) -> EngineResult<Permissions> {
        let is_meant =
            |key: &ApiKey| key.id == id && (project.is_none() || key.project.as_deref() == project);
        let keys = self.read();
        let held = keys.values().find(|held| is_meant(&held.key)).ok_or(EngineError::UnknownKey)?;
        Ok(held.access.permissions)
    }

    /// Makes a key; the second value is its secret, which is nowhere else.
    pub fn create(&self, new: NewKey, now: Timestamp) -> EngineResult<(Arc<ApiKey>, String)> {
        let secret = new_secret()?;
        let key = self.insert(new, &secret, now)?;
        Ok((key, secret))
    }

    /// Makes a key with a given secret; an existing key with that secret is left as it is.
    pub fn ensure(&self, new: NewKey, secret: &str, now: Timestamp) -> EngineResult<()> {
        if self.read().contains_key(&hash(secret)) {
            return Ok(());
        }
        self.insert(new, secret, now).map(|_| ())
    }

    /// Gives a key another secret, which is the second value. The one before it stays good for `grace`; one before that ends now.
    /// With a project, other projects' keys are not found.
    pub fn rotate(
        &self,
        id: &str,
        project: Option<&str>,
        grace: Duration,
        now: Timestamp,
    ) -> EngineResult<(Arc<ApiKey>, String)> {
        let _changes = self.change();
        self.permissions(id, project)?;
        let value = self.store.kv_get(SPACE, id)?.ok_or(EngineError::UnknownKey)?;
        let mut record = parse(id, &value)?;
        let secret = new_secret()?;
        let until = Timestamp(now.0.saturating_add(i64::try_from(grace.as_micros()).unwrap_or(i64::MAX)));
        let sha256 = std::mem::replace(&mut record.sha256, to_hex(&hash(&secret)));
        record.replaced = (!grace.is_zero()).then_some(Replaced { sha256, until });
        record.key.rotated_at = Some(now);
        self.put(&record)?;
        let mut keys = self.write();
        let last_use = keys.values().find(|held| held.key.id == id).map(|held| held.last_use.clone());
        let secrets = held(record, &last_use.unwrap_or_default())?;
        keys.retain(|_, held| held.key.id != id);
        let key = Arc::clone(&secrets[0].1.key);
        keys.extend(secrets);
        Ok((key, secret))
    }

    /// Removes a key; requests that carry it are refused from now on. With a project, other projects' keys are not found.
    pub fn revoke(&self, id: &str, project: Option<&str>) -> EngineResult<()> {
        let _changes = self.change();
        self.permissions(id, project)?;
        self.store.kv_delete(SPACE, id)?;
        self.write().retain(|_, held| held.key.id != id);
        Ok(())
    }

    /// Removes all keys that are bound to a project.
    pub(crate) fn revoke_project(&self, project: &str) -> EngineResult<()> {
        let _changes = self.change();
        let is_meant = |key: &ApiKey| key.project.as_deref() == Some(project);
        let ids: Vec<String> = self
            .read()
            .values()
            .filter(|held| is_meant(&held.key) && !held.is_replaced)
            .map(|held| held.key.id.clone())
            .collect();
        for id in &ids {
            self.store.kv_delete(SPACE, id)?;
            self.write().retain(|_, held| held.key.id != *id);
        }
        Ok(())
    }

    /// Stores when keys were last used, where that has changed.
    pub(crate) fn save_uses(&self) -> EngineResult<()> {
        let used = |listed: ListedKey| Some((listed.key.id.clone(), listed.last_used_at?.0));
        let uses: uses::Stored = self.list().into_iter().filter_map(used).collect();
        let (space, key) = USES;
        let value = serde_json::to_vec(&uses).map_err(|source| EngineError::Record {
            space,
            key: key.to_owned(),
            source,
        })?;
        if self.store.kv_get(space, key)?.as_deref() != Some(&value[..]) {
            self.store.kv_put(space, key, &value)?;
        }
        Ok(())
    }

    fn insert(&self, new: NewKey, secret: &str, now: Timestamp) -> EngineResult<Arc<ApiKey>> {
        let _changes = self.change();
        new.check()?;
        if self.read().len() >= KEYS_MAX {
            return Err(EngineError::TooMany { what: "API keys", max: KEYS_MAX });
        }
        let key = ApiKey {
            id: random_hex::<8>()?,
            name: new.name,
            project: new.project.as_ref().map(ToString::to_string),
            scopes: new.scopes,
            created_at: now,
            expires_at: new.expires_at,
            role: new.role,
            filters: new.filters,
            origins: new.origins,
            rotated_at: None,
        };
        let record = Record { sha256: to_hex(&hash(secret)), replaced: None, key };
        self.put(&record)?;
        let secrets = held(record, &LastUse::default())?;
        let key = Arc::clone(&secrets[0].1.key);
        self.write().extend(secrets);
        Ok(key)
    }

    fn put(&self, record: &Record) -> EngineResult<()> {
        let id = &record.key.id;
        let value = serde_json::to_vec(record).map_err(|source| EngineError::Record {
            space: SPACE,
            key: id.clone(),
            source,
        })?;
        Ok(self.store.kv_put(SPACE, id, &value)?)
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<Hash, Held>> {
        self.by_hash.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<Hash, Held>> {
        self.by_hash.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(id: &str, value: &[u8]) -> EngineResult<Record> {
    serde_json::from_slice(value).map_err(|source| EngineError::Record {
        space: SPACE,
        key: id.to_owned(),
        source,
    })
}

/// What was stored of uses. A record that does not read is no reason not to open.
fn stored_uses(store: &Store) -> uses::Stored {
    let value = store.kv_get(USES.0, USES.1).ok().flatten();
    value.and_then(|value| serde_json::from_slice(&value).ok()).unwrap_or_default()
}

/// The secrets of a record by their hashes, the current one first.
fn held(record: Record, last_use: &LastUse) -> EngineResult<Vec<(Hash, Held)>> {
    let damaged = || EngineError::KeyRecord { id: record.key.id.clone() };
    let project = record.key.project.as_deref().map(ProjectName::new).transpose().map_err(|_| damaged())?;
    let current = from_hex(&record.sha256).ok_or_else(damaged)?;
    let mut secrets = vec![(current, record.key.expires_at, false)];
    if let Some(replaced) = &record.replaced {
        let hash = from_hex(&replaced.sha256).ok_or_else(damaged)?;
        let ends_at = record.key.expires_at.map_or(replaced.until, |at| at.min(replaced.until));
        secrets.push((hash, Some(ends_at), true));
    }
    let access = Arc::new(record.key.access(project));
    let key = Arc::new(record.key);
    let held = |(hash, ends_at, is_replaced)| {
        let (key, access, last_use) = (Arc::clone(&key), Arc::clone(&access), last_use.clone());
        (hash, Held { key, access, ends_at, is_replaced, last_use })
    };
    Ok(secrets.into_iter().map(held).collect())
}

fn new_secret() -> EngineResult<String> {
    Ok(format!("{PREFIX}{}", random_hex::<32>()?))
}

fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

/// `N` random bytes as hexadecimal digits.
pub(crate) fn random_hex<const N: usize>() -> EngineResult<String> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).map_err(EngineError::Random)?;
    Ok(to_hex(&bytes))
}

fn to_hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        write!(out, "{byte:02x}").expect("writing to a String cannot fail");
        out
    })
}

fn from_hex(text: &str) -> Option<Hash> {
    let mut hash = [0u8; 32];
    if text.len() != hash.len() * 2 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_earlier_versions_open() {
        // As written before keys had roles, filters, origins and replaced secrets.
        let value = format!(
            "{{\"sha256\":\"{}\",\"id\":\"0123456789abcdef\",\"name\":\"old\",\"project\":\"web\",\
             \"scopes\":[\"ingest\",\"query\"],\"created_at\":1700000000000000,\"expires_at\":null}}",
            to_hex(&hash("tw_old"))
        );
        let record = parse("0123456789abcdef", value.as_bytes()).expect("it reads");
        let secrets = held(record, &LastUse::default()).expect("it is whole");
        let [(found, held)] = &secrets[..] else { panic!("one secret") };
        assert_eq!(*found, hash("tw_old"));
        assert_eq!((held.ends_at, held.access.project()), (None, ProjectName::new("web").ok().as_ref()));
        assert_eq!(held.access.permissions, Permissions::of_scopes(&[Scope::Ingest, Scope::Query]));
    }

    #[test]
    fn hexadecimal_reads_back() {
        let known = hash("a");
        assert_eq!(from_hex(&to_hex(&known)), Some(known));
        for bad in ["", "zz", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }
}
