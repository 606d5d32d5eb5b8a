//! Content codings of kept answers: which one a client takes, and packing.
//!
//! A kept answer is packed once and sent to everybody who takes that coding. Not here: other responses (`packing`).

use std::io::{Result, Write as _};

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_ENCODING;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Shorter bodies are sent as they are: they fit into one packet anyway.
pub const PACKED_BYTES_MIN: usize = 1_024;
/// Levels at which both take about a milli-second for a page of a thousand rows; higher ones save few bytes of such text.
const GZIP_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 3;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// The coding of `Accept-Encoding` with the highest quality, of equal ones zstd.
    pub fn negotiate(headers: &HeaderMap) -> Self {
        let mut best = (0.0, Coding::Identity);
        let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        for part in values.flat_map(|value| value.split(',')) {
            let mut fields = part.split(';').map(str::trim);
            let coding = match fields.next() {
                Some(name) if name.eq_ignore_ascii_case("zstd") => Coding::Zstd,
                Some(name) if name.eq_ignore_ascii_case("gzip") => Coding::Gzip,
                _ => continue,
            };
            let quality = fields.find_map(|field| field.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0_f32);
            if quality > best.0 || (quality > 0.0 && quality == best.0 && coding == Coding::Zstd) {
                best = (quality, coding);
            }
        }
        best.1
    }

    /// For `Content-Encoding`; none for a body as it is.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Coding::Identity => None,
            Coding::Gzip => Some("gzip"),
            Coding::Zstd => Some("zstd"),
        }
    }

    /// The packed bytes. An error is one of the library; the bytes as they are do as well then.
    pub fn pack(self, bytes: &[u8]) -> Result<Vec<u8>> {
        match self {
            Coding::Identity => Ok(bytes.to_vec()),
            Coding::Gzip => {
                let mut packer =
                    GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(GZIP_LEVEL));
                packer.write_all(bytes)?;
                packer.finish()
            }
            Coding::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_best_coding_is_taken() {
        for (accepted, expected) in [
            ("gzip, deflate, br, zstd", Coding::Zstd),
            ("zstd, gzip", Coding::Zstd),
            ("gzip", Coding::Gzip),
            ("GZIP;q=0.5, zstd;q=0.4", Coding::Gzip),
            ("gzip;q=0, zstd;q=0", Coding::Identity),
            ("br", Coding::Identity),
            ("", Coding::Identity),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(accepted))]);
            assert_eq!(Coding::negotiate(&headers), expected, "{accepted}");
        }
        assert_eq!(Coding::negotiate(&HeaderMap::new()), Coding::Identity);
    }
}
