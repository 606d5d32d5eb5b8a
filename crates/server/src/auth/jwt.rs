//! JWTs (RFC 7519): who their issuer says a caller is. Form, claims `aud` and `iss` and JWKS are `jsonwebtoken`'s, signatures ring's.
//!
//! A token is verified once; what it allows is kept by the SHA-256 of its text until it expires or the keys change, so a request
//! costs a look-up. Not here: what roles may do (`engine::access`).

mod claims;
mod keys;
mod signatures;
mod source;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::Value;
use tidewater_engine::{Access, AnswerCache};
use tidewater_model::time::Timestamp;
use tokio::sync::Mutex;

use crate::config::JwtConfig;
use claims::Verified;
use keys::VerifyingKey;
use source::Source;
pub use source::SourceError;

/// Bytes of a kept token besides what its caller's filters and projects take: an estimate.
const KEPT_BYTES: u64 = 512;

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not the form of a JWT, or an algorithm that is not accepted.
    #[error("this JWT does not read; it must be signed with HS256, RS256 or ES256")]
    Malformed,
    /// Longer than configured.
    #[error("this JWT is longer than the server accepts")]
    TooLong,
    /// No key is configured for its algorithm.
    #[error("this server has no key for the algorithm of this JWT")]
    NoKey,
    /// No key has the id it names.
    #[error("the key that this JWT names is not known here")]
    UnknownKey,
    /// The signature is not by any key.
    #[error("the signature of this JWT is not right")]
    Signature,
    /// `aud`.
    #[error("this JWT is for another audience")]
    Audience,
    /// `iss`.
    #[error("this JWT is from another issuer")]
    Issuer,
    /// `exp`.
    #[error("this JWT has expired")]
    Expired,
    /// `nbf`.
    #[error("this JWT is not good yet")]
    NotYet,
    /// A claim is missing or has no sense.
    #[error("a claim of this JWT is not right: {0}")]
    Claim(&'static str),
}

impl Refused {
    /// The problem's code.
    pub fn code(self) -> &'static str {
        match self {
            Refused::Expired => "expired_credentials",
            Refused::NotYet => "credentials_not_yet_valid",
            Refused::Audience => "wrong_audience",
            Refused::Issuer => "wrong_issuer",
            Refused::UnknownKey | Refused::NoKey => "unknown_signing_key",
            Refused::Signature => "invalid_signature",
            Refused::Malformed | Refused::TooLong | Refused::Claim(_) => "invalid_credentials",
        }
    }
}

/// Keys at one time.
struct KeySet {
    /// Changes with the keys: what was verified with others is verified again.
    generation: u64,
    keys: Vec<VerifyingKey>,
}

/// Verifies JWTs.
pub struct Jwts {
    source: Source,
    fixed: Vec<VerifyingKey>,
    keys: RwLock<Arc<KeySet>>,
    /// When keys were last fetched; held while they are.
    fetched: Mutex<Instant>,
    verified: AnswerCache<[u8; 32], (u64, Verified)>,
    validation: Validation,
    viewer_filters: Vec<Value>,
    leeway_s: i64,
    token_bytes_max: usize,
    refresh: Duration,
    retry: Duration,
}

/// Whether a credential is a JWT rather than an API key: it begins with the base64 of `{"` and has three parts.
pub fn is_jwt(credential: &str) -> bool {
    credential.starts_with("eyJ") && credential.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl Jwts {
    /// Reads what is configured; `None` where JWTs are not. Blocks. An issuer that does not answer now is asked again later.
    pub fn open(config: &JwtConfig) -> Result<Option<Self>, SourceError> {
        let source = Source::new(config);
        let fixed = source.fixed()?;
        if fixed.is_empty() && !source.may_change() {
            return Ok(None);
        }
        signatures::install();
        let jwts = Jwts {
            keys: RwLock::new(Arc::new(KeySet { generation: 0, keys: fixed.clone() })),
            fixed,
            source,
            fetched: Mutex::new(Instant::now()),
            verified: AnswerCache::new(config.cache_bytes_max),
            validation: validation(config),
            viewer_filters: config.viewer_filters(),
            leeway_s: i64::try_from(config.leeway_s).unwrap_or(i64::MAX),
            token_bytes_max: config.token_bytes_max,
            refresh: Duration::from_secs(config.jwks_refresh_s.max(1)),
            retry: Duration::from_secs(config.jwks_retry_s.max(1)),
        };
        jwts.fetch();
        Ok(Some(jwts))
    }

    /// What the bearer of a token may do. A token that names a key which is not known makes the keys be fetched, at most once per
    /// `jwks_retry_s`.
    pub async fn verify(self: &Arc<Self>, token: &str, now: Timestamp) -> Result<Arc<Access>, Refused> {
        match self.verify_now(token, now) {
            Err(Refused::UnknownKey) if self.fetch_for_unknown_key().await => self.verify_now(token, now),
            verified => verified,
        }
    }

    /// Fetches keys again and again, for as long as the returned future is polled.
    pub async fn keep_fresh(self: Arc<Self>) {
        if !self.source.may_change() {
            return;
        }
        loop {
            tokio::time::sleep(self.refresh).await;
            let mut fetched = self.fetched.lock().await;
            self.fetch_elsewhere().await;
            *fetched = Instant::now();
        }
    }

    fn verify_now(&self, token: &str, now: Timestamp) -> Result<Arc<Access>, Refused> {
        if token.len() > self.token_bytes_max {
            return Err(Refused::TooLong);
        }
        let now_s = now.0.div_euclid(1_000_000);
        let set = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        let hash: [u8; 32] = digest.as_ref().try_into().map_err(|_| Refused::Malformed)?;
        if let Some((generation, verified)) = self.verified.get(&hash)
            && generation == set.generation
        {
            verified.check_time(now_s)?;
            return Ok(verified.access);
        }
        let claims = self.check_signature(token, &set)?;
        let verified = claims::read(&claims, self.leeway_s, &self.viewer_filters)?;
        verified.check_time(now_s)?;
        let access = Arc::clone(&verified.access);
        let bytes = KEPT_BYTES + token.len() as u64;
        self.verified.insert(hash, (set.generation, verified), bytes);
        Ok(access)
    }

    fn check_signature(&self, token: &str, set: &KeySet) -> Result<Value, Refused> {
        let header = decode_header(token).map_err(|_| Refused::Malformed)?;
        let is_accepted = matches!(header.alg, Algorithm::HS256 | Algorithm::RS256 | Algorithm::ES256);
        // RFC 7515 4.1.11: what is critical must be understood, and no extension is.
        if !is_accepted || header.crit.is_some() {
            return Err(Refused::Malformed);
        }
        let mut candidates = set.keys.iter().filter(|key| key.algorithm == header.alg).peekable();
        if candidates.peek().is_none() {
            return Err(if self.source.may_change() { Refused::UnknownKey } else { Refused::NoKey });
        }
        let is_named = |key: &&VerifyingKey| match (&header.kid, &key.id) {
            (Some(wanted), Some(id)) => wanted == id,
            _ => true,
        };
        let mut refused = Refused::UnknownKey;
        for key in candidates.filter(is_named) {
            let validation = Validation { algorithms: vec![header.alg], ..self.validation.clone() };
            match decode::<Value>(token, &key.key, &validation) {
                Ok(token) => return Ok(token.claims),
                Err(error) => match error.kind() {
                    ErrorKind::InvalidSignature => refused = Refused::Signature,
                    other => return Err(refusal(other)),
                },
            }
        }
        Err(refused)
    }

    /// Whether keys were fetched since the caller came; it waits for a fetch that is on its way.
    async fn fetch_for_unknown_key(self: &Arc<Self>) -> bool {
        if !self.source.may_change() {
            return false;
        }
        let came = Instant::now();
        let mut fetched = self.fetched.lock().await;
        if *fetched > came {
            return true;
        }
        if came.duration_since(*fetched) < self.retry {
            return false;
        }
        self.fetch_elsewhere().await;
        *fetched = Instant::now();
        true
    }

    async fn fetch_elsewhere(self: &Arc<Self>) {
        let jwts = Arc::clone(self);
        if tokio::task::spawn_blocking(move || jwts.fetch()).await.is_err() {
            tracing::error!("fetching the keys of JWTs panicked");
        }
    }

    /// Reads the keys that may have changed. Where that fails the known ones stay: an issuer that is down locks nobody out.
    fn fetch(&self) {
        if !self.source.may_change() {
            return;
        }
        match self.source.changing() {
            Ok(changing) => {
                let keys: Vec<VerifyingKey> = self.fixed.iter().cloned().chain(changing).collect();
                let mut current = self.keys.write().unwrap_or_else(PoisonError::into_inner);
                *current = Arc::new(KeySet { generation: current.generation + 1, keys });
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the keys of JWTs are not fetched; those known before stay");
            }
        }
    }
}

/// What the library checks besides the signature. Times are checked by `claims`, by the server's clock.
fn validation(config: &JwtConfig) -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.validate_aud = !config.audience.is_empty();
    let mut required = vec!["exp"];
    if !config.audience.is_empty() {
        validation.set_audience(&config.audience);
        required.push("aud");
    }
    if !config.issuer.is_empty() {
        validation.set_issuer(&[&config.issuer]);
        required.push("iss");
    }
    validation.set_required_spec_claims(&required);
    validation
}

fn refusal(error: &ErrorKind) -> Refused {
    match error {
        ErrorKind::InvalidAudience => Refused::Audience,
        ErrorKind::InvalidIssuer => Refused::Issuer,
        ErrorKind::MissingRequiredClaim(name) => match name.as_str() {
            "aud" => Refused::Audience,
            "iss" => Refused::Issuer,
            _ => Refused::Claim("'exp' is missing or is no time"),
        },
        _ => Refused::Malformed,
    }
}
