//! `[auth]`: credentials.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::secret::Secret;

/// Credentials.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// An admin key that is made at start where it does not exist yet. Default empty: the first start makes a random one and
    /// prints it once. `TIDEWATER_ADMIN_KEY` or `TIDEWATER_AUTH__ADMIN_KEY`.
    pub admin_key: Secret,
    /// JWTs; refused where no key for them is configured.
    pub jwt: JwtConfig,
}

/// `[auth.jwt]`: tokens of an issuer. Variables are `TIDEWATER_AUTH__JWT__FIELD`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JwtConfig {
    /// Shared secret for HS256, at least 32 bytes. Default empty. Better in the environment or in `secret_file`.
    pub secret: Secret,
    /// File with such a secret; white space around it does not count. Default empty.
    pub secret_file: String,
    /// PEM file with the public key (`BEGIN PUBLIC KEY`) of RSA (RS256) or P-256 (ES256). Default empty.
    pub public_key_file: String,
    /// JWKS file. Default empty.
    pub jwks_file: String,
    /// JWKS URL, at most 256 KiB within 5 s. Default empty.
    pub jwks_url: String,
    /// How often the JWKS is read again, in seconds. Default 300: how long a withdrawn key may still be good.
    pub jwks_refresh_s: u64,
    /// How often, at most, a token with an unknown key makes the JWKS be read, in seconds. Default 30: anybody can send such tokens.
    pub jwks_retry_s: u64,
    /// The claim `iss` that tokens must have. Default empty: any.
    pub issuer: String,
    /// The claim `aud` must name one of these. Default empty: any.
    pub audience: Vec<String>,
    /// How far clocks may differ for `exp` and `nbf`, in seconds. Default 30.
    pub leeway_s: u64,
    /// Longest token, in bytes. Default 8,192.
    pub token_bytes_max: usize,
    /// Bytes of verified tokens that are kept. Default 4 MiB: about 4,000 tokens.
    pub cache_bytes_max: u64,
    /// Filters, each as JSON, that every viewer with a JWT is bound to; `"$sub"` stands for the token's subject. Default none.
    pub viewer_filters: Vec<FilterText>,
}

impl JwtConfig {
    /// The filters that viewers are bound to.
    pub fn viewer_filters(&self) -> Vec<Value> {
        self.viewer_filters.iter().map(|text| text.filter.clone()).collect()
    }
}

impl Default for JwtConfig {
    fn default() -> Self {
        JwtConfig {
            secret: Secret::default(),
            secret_file: String::new(),
            public_key_file: String::new(),
            jwks_file: String::new(),
            jwks_url: String::new(),
            jwks_refresh_s: 300,
            jwks_retry_s: 30,
            issuer: String::new(),
            audience: Vec::new(),
            leeway_s: 30,
            token_bytes_max: 8_192,
            cache_bytes_max: 4 << 20,
            viewer_filters: Vec::new(),
        }
    }
}

/// A filter written as JSON text, read when the configuration is: a mistyped bound must stop the start, not open rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilterText {
    text: String,
    filter: Value,
}

impl TryFrom<String> for FilterText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let filter: Value =
            serde_json::from_str(&text).map_err(|error| format!("'{text}' is not JSON: {error}"))?;
        tidewater_engine::check_filters(std::slice::from_ref(&filter)).map_err(|error| error.message)?;
        Ok(FilterText { text, filter })
    }
}

impl From<FilterText> for String {
    fn from(filter: FilterText) -> String {
        filter.text
    }
}
