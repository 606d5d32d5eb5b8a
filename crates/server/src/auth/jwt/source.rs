//! Where keys come from: files and a URL, read at the start and again from time to time. Blocks.

use std::path::PathBuf;
use std::time::Duration;

use super::keys::{KeyError, VerifyingKey, parse_jwks};
use crate::config::JwtConfig;

/// Bytes of a file or a reply: a JWKS of a large issuer has some ten kilo-bytes.
const BYTES_MAX: u64 = 256 << 10;
/// Longest time for the whole reply of the issuer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Redirects followed: an issuer may have moved once.
const REDIRECTS_MAX: u32 = 2;

/// Why keys could not be read. The reader is the operator.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file.
    #[error("cannot read {path}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The URL.
    #[error("cannot fetch the JWKS")]
    Fetch(#[source] Box<ureq::Error>),
    /// What was read is no key.
    #[error("{place} does not hold keys")]
    Key {
        /// Setting.
        place: &'static str,
        /// Why.
        #[source]
        source: KeyError,
    },
}

/// The places of the configuration.
pub struct Source {
    config: JwtConfig,
    agent: ureq::Agent,
}

impl Source {
    /// Reads nothing yet.
    pub fn new(config: &JwtConfig) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(FETCH_TIMEOUT))
            .max_redirects(REDIRECTS_MAX)
            .build()
            .into();
        Source { config: config.clone(), agent }
    }

    /// Whether there is something that may change.
    pub fn may_change(&self) -> bool {
        !self.config.jwks_url.is_empty() || !self.config.jwks_file.is_empty()
    }

    /// Keys that stand in the configuration or in files it names.
    pub fn fixed(&self) -> Result<Vec<VerifyingKey>, SourceError> {
        let JwtConfig { secret, secret_file, public_key_file, .. } = &self.config;
        let mut keys = Vec::new();
        let named = |place| move |source| SourceError::Key { place, source };
        if !secret.is_empty() {
            keys.push(VerifyingKey::secret(secret.expose().as_bytes()).map_err(named("auth.jwt.secret"))?);
        }
        if !secret_file.is_empty() {
            let bytes = read(secret_file)?;
            let key = VerifyingKey::secret(bytes.trim_ascii()).map_err(named("auth.jwt.secret_file"))?;
            keys.push(key);
        }
        if !public_key_file.is_empty() {
            let key = VerifyingKey::pem(&read(public_key_file)?);
            keys.push(key.map_err(named("auth.jwt.public_key_file"))?);
        }
        Ok(keys)
    }

    /// Keys of the JWKS, as they are now.
    pub fn changing(&self) -> Result<Vec<VerifyingKey>, SourceError> {
        let JwtConfig { jwks_file, jwks_url, .. } = &self.config;
        let mut keys = Vec::new();
        if !jwks_file.is_empty() {
            let found = parse_jwks(&read(jwks_file)?);
            keys.extend(found.map_err(|source| SourceError::Key { place: "auth.jwt.jwks_file", source })?);
        }
        if !jwks_url.is_empty() {
            let found = parse_jwks(&self.fetch(jwks_url)?);
            keys.extend(found.map_err(|source| SourceError::Key { place: "auth.jwt.jwks_url", source })?);
        }
        Ok(keys)
    }

    fn fetch(&self, url: &str) -> Result<Vec<u8>, SourceError> {
        let failed = |error| SourceError::Fetch(Box::new(error));
        let mut reply = self.agent.get(url).call().map_err(failed)?;
        reply.body_mut().with_config().limit(BYTES_MAX).read_to_vec().map_err(failed)
    }
}

fn read(path: &str) -> Result<Vec<u8>, SourceError> {
    use std::io::Read as _;
    let failed = |source| SourceError::File { path: PathBuf::from(path), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
