//! Keys that JWTs are verified with: from a secret, a PEM file, or a JWKS (RFC 7517). Pure.
//!
//! Not here: where files and URLs are read (`source`).

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

/// Keys of one JWKS: issuers have a handful, and each may be tried.
const JWKS_KEYS_MAX: usize = 64;
/// Least bytes of a secret (RFC 7518 3.2: as long as the hash).
const SECRET_BYTES_MIN: usize = 32;

/// What is wrong with a key. The reader is the operator.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A short secret can be guessed from one token.
    #[error("a secret for HS256 needs at least {SECRET_BYTES_MIN} bytes")]
    ShortSecret,
    /// Not a public key, or not one of a known kind.
    #[error("not a public key in PEM form ('BEGIN PUBLIC KEY') of RSA or P-256")]
    Pem,
    /// Not a JWKS.
    #[error("not a JWKS")]
    Jwks(#[source] serde_json::Error),
    /// A JWKS without a key of use.
    #[error("the JWKS has no RSA or P-256 key for signatures, or more than {JWKS_KEYS_MAX} keys")]
    NoKeys,
}

/// A key with what it is good for.
#[derive(Clone, Debug)]
pub struct VerifyingKey {
    /// As a token names it; a key without one is tried for every token of its algorithm.
    pub id: Option<String>,
    /// The one algorithm it is good for: a token cannot choose another one for it.
    pub algorithm: Algorithm,
    /// Shows nothing of itself in Debug.
    pub key: DecodingKey,
}

impl VerifyingKey {
    /// A shared secret, HS256.
    pub fn secret(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::ShortSecret);
        }
        Ok(VerifyingKey { id: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret) })
    }

    /// A public key as PEM, RS256 or ES256 by its kind.
    pub fn pem(text: &[u8]) -> Result<Self, KeyError> {
        let info = SubjectPublicKeyInfoDer::from_pem_slice(text).map_err(|_| KeyError::Pem)?;
        let (kind, bits) = public_key(&info).ok_or(KeyError::Pem)?;
        let key = match kind {
            Algorithm::ES256 => DecodingKey::from_ec_der(bits),
            _ => DecodingKey::from_rsa_der(bits),
        };
        Ok(VerifyingKey { id: None, algorithm: kind, key })
    }

    fn jwk(jwk: &Jwk) -> Option<Self> {
        let is_for_signatures =
            jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
            // Also symmetric keys: whoever can read a JWKS could sign with them.
            _ => return None,
        };
        let declared = match jwk.common.key_algorithm {
            None => algorithm,
            Some(KeyAlgorithm::RS256) => Algorithm::RS256,
            Some(KeyAlgorithm::ES256) => Algorithm::ES256,
            Some(_) => return None,
        };
        let key = DecodingKey::from_jwk(jwk).ok()?;
        (is_for_signatures && declared == algorithm).then_some(VerifyingKey {
            id: jwk.common.key_id.clone(),
            algorithm,
            key,
        })
    }
}

/// The keys of a JWKS; those of no use here are left out.
pub fn parse_jwks(text: &[u8]) -> Result<Vec<VerifyingKey>, KeyError> {
    let set: JwkSet = serde_json::from_slice(text).map_err(KeyError::Jwks)?;
    if set.keys.len() > JWKS_KEYS_MAX {
        return Err(KeyError::NoKeys);
    }
    let keys: Vec<VerifyingKey> = set.keys.iter().filter_map(VerifyingKey::jwk).collect();
    if keys.is_empty() { Err(KeyError::NoKeys) } else { Ok(keys) }
}

/// The algorithm and the key's own bytes in a SubjectPublicKeyInfo (RFC 5280 4.1): `SEQUENCE { SEQUENCE { OID, … }, BIT STRING }`.
fn public_key(info: &[u8]) -> Option<(Algorithm, &[u8])> {
    const SEQUENCE: u8 = 0x30;
    const BIT_STRING: u8 = 0x03;
    /// rsaEncryption, 1.2.840.113549.1.1.1 (RFC 8017 A.1), with its tag and length.
    const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    /// id-ecPublicKey and prime256v1 (RFC 5480 2.1.1), with their tags and lengths.
    const P256: &[u8] = &[
        0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
        0x01, 0x07,
    ];
    let (outer, _) = element(info, SEQUENCE)?;
    let (kind, rest) = element(outer, SEQUENCE)?;
    let (bits, _) = element(rest, BIT_STRING)?;
    // The first byte counts unused bits, of which a key has none.
    let (0, bits) = bits.split_first().map(|(unused, bits)| (*unused, bits))? else { return None };
    if kind == P256 {
        return Some((Algorithm::ES256, bits));
    }
    kind.starts_with(RSA).then_some((Algorithm::RS256, bits))
}

/// The content of a DER element (X.690 8.1) of a tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => {
            let (length, rest) = rest.split_at_checked(2)?;
            (usize::from(u16::from_be_bytes([length[0], length[1]])), rest)
        }
        _ => return None,
    };
    if first == tag { rest.split_at_checked(length) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_keys_are_refused_and_do_no_harm() {
        let good = include_bytes!("../../../tests/it/keys/es256.pub.pem");
        assert_eq!(VerifyingKey::pem(good).expect("a key").algorithm, Algorithm::ES256);
        let rsa = include_bytes!("../../../tests/it/keys/rs256.pub.pem");
        assert_eq!(VerifyingKey::pem(rsa).expect("a key").algorithm, Algorithm::RS256);
        let info = SubjectPublicKeyInfoDer::from_pem_slice(rsa).expect("PEM");
        for end in 0..info.len() {
            assert_eq!(public_key(&info[..end]).map(|(_, bits)| bits.len()), None, "cut at {end}");
        }
        for bad in ["", "nonsense", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            assert!(VerifyingKey::pem(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(VerifyingKey::secret(&[7; 31]).is_err() && VerifyingKey::secret(&[7; 32]).is_ok());
    }

    #[test]
    fn a_jwks_gives_keys_for_signatures_only() {
        let known = r#"{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
        let keys = parse_jwks(format!("{{\"keys\":[{known}]}}").as_bytes()).expect("a key");
        assert_eq!((keys[0].id.as_deref(), keys[0].algorithm), (Some("a"), Algorithm::ES256));
        let for_encryption = known.replace("\"kid\"", "\"use\":\"enc\",\"kid\"");
        let other = known.replace("\"kid\"", "\"alg\":\"ES384\",\"kid\"");
        let secret = r#"{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","alg":"HS256"}"#;
        for useless in [for_encryption.as_str(), &other, secret] {
            let refused = parse_jwks(format!("{{\"keys\":[{useless}]}}").as_bytes());
            assert!(matches!(refused, Err(KeyError::NoKeys)), "{useless}");
        }
        let many = vec![known; JWKS_KEYS_MAX + 1].join(",");
        assert!(parse_jwks(format!("{{\"keys\":[{many}]}}").as_bytes()).is_err());
        assert!(parse_jwks(b"[]").is_err());
    }
}
