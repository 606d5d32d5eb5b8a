//! API keys: who may do what to which project. Only a SHA-256 of a key is stored: keys are 256 random bits, so a slow password
//! hash would add time and no safety.
//!
//! Not here: where a request carries its key (`server::auth`).

use std::fmt;
use std::sync::{Arc, RwLock};

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tidewater_model::names::ProjectName;
use tidewater_model::time::Timestamp;
use tidewater_store::Store;

use crate::access::{Access, Permissions, Role};
use crate::error::{EngineError, EngineResult};

/// The store's space for key records.
const SPACE: &str = "keys";
/// What every generated key begins with, so that secret scanners can find leaked ones.
const PREFIX: &str = "tw_";
/// Most keys of one store: verification holds them all in memory.
pub const KEYS_MAX: usize = 100_000;
/// Longest name of a key, in bytes.
pub const KEY_NAME_BYTES_MAX: usize = 200;

/// What a key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Sending rows.
    Ingest,
    /// Asking questions.
    Query,
    /// Everything, also datasets, keys and deletes.
    Admin,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::Ingest => "ingest",
            Scope::Query => "query",
            Scope::Admin => "admin",
        })
    }
}

/// A key without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Names the key in lists and for revocation.
    pub id: String,
    /// For people.
    pub name: String,
    /// The one project it is bound to; none for all.
    pub project: Option<String>,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

impl ApiKey {
    /// The role of whoever carries it.
    pub fn role(&self) -> Role {
        if self.scopes.contains(&Scope::Admin) { Role::Admin } else { Role::Developer }
    }

    fn access(&self, project: Option<ProjectName>) -> Access {
        let role = self.role();
        let permissions = Permissions::of_role(role).and(Permissions::of_scopes(&self.scopes));
        Access { subject: self.id.as_str().into(), role, permissions, project }
    }
}

/// What a new key shall be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// For people.
    pub name: String,
    /// The one project it is bound to; none for all.
    pub project: Option<ProjectName>,
    /// What it allows; at least one.
    pub scopes: Vec<Scope>,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

/// A key as it is held in memory.
struct Held {
    key: Arc<ApiKey>,
    access: Arc<Access>,
}

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such key, or a revoked one.
    Unknown,
    /// Past its `expires_at`.
    Expired,
}

#[derive(Serialize, Deserialize)]
struct Record {
    /// Hexadecimal SHA-256 of the key.
    sha256: String,
    #[serde(flatten)]
    key: ApiKey,
}

type Hash = [u8; 32];

/// All keys, in memory by hash and durable in the store.
pub struct Keys {
    store: Store,
    // Read on every request, written when a key changes; a read lock is two atomic operations.
    by_hash: RwLock<HashMap<Hash, Held>>,
}

impl Keys {
    /// Reads all keys.
    pub fn open(store: Store) -> EngineResult<Self> {
        let mut by_hash = HashMap::new();
        for (id, value) in store.kv_list(SPACE)? {
            let record: Record = serde_json::from_slice(&value).map_err(|source| EngineError::Record {
                space: SPACE,
                key: id.clone(),
                source,
            })?;
            let hash = from_hex(&record.sha256).ok_or(EngineError::KeyRecord { id })?;
            by_hash.insert(hash, held(record.key)?);
        }
        Ok(Keys { store, by_hash: RwLock::new(by_hash) })
    }

    /// Whether there is none, as at the first start.
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// Finds the key a request carries.
    ///
    /// Keys are found by the SHA-256 of what was sent. How long that takes may tell something about stored hashes, but nobody
    /// can choose a text by its hash, so it tells nothing about keys: comparing hashes of 256 random bits needs no constant time.
    pub fn verify(&self, secret: &str, now: Timestamp) -> Result<Arc<Access>, Refusal> {
        // Hashed before the lock is taken.
        let hash = hash(secret);
        let keys = self.read();
        let held = keys.get(&hash).ok_or(Refusal::Unknown)?;
        match held.key.expires_at {
            Some(expires_at) if expires_at <= now => Err(Refusal::Expired),
            _ => Ok(Arc::clone(&held.access)),
        }
    }

    /// All keys, oldest first.
    pub fn list(&self) -> Vec<Arc<ApiKey>> {
        let mut keys: Vec<Arc<ApiKey>> = self.read().values().map(|held| Arc::clone(&held.key)).collect();
        keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        keys
    }

    /// Makes a key; the second value is its secret, which is nowhere else.
    pub fn create(&self, new: NewKey, now: Timestamp) -> EngineResult<(Arc<ApiKey>, String)> {
        let secret = format!("{PREFIX}{}", random_hex::<32>()?);
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

    /// Removes a key; requests that carry it are refused from now on. With a project, other projects' keys are not found.
    pub fn revoke(&self, id: &str, project: Option<&str>) -> EngineResult<()> {
        let is_meant =
            |key: &ApiKey| key.id == id && (project.is_none() || key.project.as_deref() == project);
        let found = self.read().iter().find(|(_, held)| is_meant(&held.key)).map(|(hash, _)| *hash);
        let hash = found.ok_or(EngineError::UnknownKey)?;
        self.store.kv_delete(SPACE, id)?;
        self.write().remove(&hash);
        Ok(())
    }

    fn insert(&self, new: NewKey, secret: &str, now: Timestamp) -> EngineResult<Arc<ApiKey>> {
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
        };
        let hash = hash(secret);
        let record = Record { sha256: to_hex(&hash), key };
        let value = serde_json::to_vec(&record).map_err(|source| EngineError::Record {
            space: SPACE,
            key: record.key.id.clone(),
            source,
        })?;
        self.store.kv_put(SPACE, &record.key.id, &value)?;
        let key = Arc::new(record.key);
        let access = Arc::new(key.access(new.project));
        self.write().insert(hash, Held { key: Arc::clone(&key), access });
        Ok(key)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<Hash, Held>> {
        self.by_hash.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<Hash, Held>> {
        self.by_hash.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn held(key: ApiKey) -> EngineResult<Held> {
    let project = key.project.as_deref().map(ProjectName::new).transpose();
    let project = project.map_err(|_| EngineError::KeyRecord { id: key.id.clone() })?;
    let access = Arc::new(key.access(project));
    Ok(Held { key: Arc::new(key), access })
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
