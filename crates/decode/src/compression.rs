//! Content encodings. Output is bounded: a small body cannot become a large one.

use std::io::Read;

use bytes::Bytes;

use crate::DecodeError;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 8878, any number of frames.
    Zstd,
}

impl Encoding {
    /// The encoding of a `Content-Encoding` header; `None` if it is another.
    pub fn parse(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Encoding::Identity),
            "gzip" | "x-gzip" => Some(Encoding::Gzip),
            "zstd" => Some(Encoding::Zstd),
            _ => None,
        }
    }

    /// The name a header uses.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        }
    }
}

/// Room for the output is made in steps from this size on, so that a declared size is never believed.
const OUTPUT_BYTES_MIN: usize = 64 * 1024;
/// The largest zstd window that is accepted, as a power of two (8 MiB, what RFC 8878 asks decoders to support).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Unpacks a body; stops as soon as the output passes `limit_bytes`.
pub fn decompress(encoding: Encoding, body: &Bytes, limit_bytes: usize) -> Result<Bytes, DecodeError> {
    let failed = |source| DecodeError::Decompress { encoding: encoding.name(), source };
    match encoding {
        Encoding::Identity if body.len() > limit_bytes => Err(DecodeError::TooLarge { limit_bytes }),
        Encoding::Identity => Ok(body.clone()),
        Encoding::Gzip => {
            read_bounded(flate2::read::MultiGzDecoder::new(&body[..]), body.len(), limit_bytes, failed)
        }
        Encoding::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(&body[..]).map_err(failed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(failed)?;
            read_bounded(decoder, body.len(), limit_bytes, failed)
        }
    }
}

fn read_bounded(
    reader: impl Read,
    packed_bytes: usize,
    limit_bytes: usize,
    failed: impl Fn(std::io::Error) -> DecodeError,
) -> Result<Bytes, DecodeError> {
    let expected = packed_bytes.saturating_mul(4).clamp(OUTPUT_BYTES_MIN, limit_bytes.max(OUTPUT_BYTES_MIN));
    let mut out = Vec::with_capacity(expected);
    // One byte past the limit tells "just fits" from "too long".
    let limit = (limit_bytes as u64).saturating_add(1);
    reader.take(limit).read_to_end(&mut out).map_err(failed)?;
    if out.len() > limit_bytes {
        return Err(DecodeError::TooLarge { limit_bytes });
    }
    Ok(Bytes::from(out))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).expect("memory takes all");
        encoder.finish().expect("memory takes all")
    }

    fn pack(encoding: Encoding, content: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Identity => content.to_vec(),
            Encoding::Gzip => gzip(content),
            Encoding::Zstd => zstd::encode_all(content, 1).expect("memory takes all"),
        }
    }

    #[test]
    fn unpacks_up_to_the_limit() {
        let content = vec![b'x'; 200_000];
        for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
            let packed = Bytes::from(pack(encoding, &content));
            let out = decompress(encoding, &packed, content.len()).expect("it just fits");
            assert_eq!(out.len(), content.len());
            let bomb = decompress(encoding, &packed, content.len() - 1);
            assert!(matches!(bomb, Err(DecodeError::TooLarge { limit_bytes: 199_999 })), "{encoding:?}");
        }
    }

    #[test]
    fn refuses_damaged_and_cut_bodies() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let packed = pack(encoding, b"some rows, some rows, some rows");
            for bad in [&packed[..packed.len() - 3], &packed[..5], b"plain text"] {
                let result = decompress(encoding, &Bytes::copy_from_slice(bad), 1_000);
                assert!(matches!(result, Err(DecodeError::Decompress { .. })), "{encoding:?} {bad:?}");
            }
        }
    }

    #[test]
    fn joins_members_and_frames() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let packed = [pack(encoding, b"one "), pack(encoding, b"two")].concat();
            let out = decompress(encoding, &Bytes::from(packed), 100).expect("both are whole");
            assert_eq!(&out[..], b"one two");
        }
    }
}
