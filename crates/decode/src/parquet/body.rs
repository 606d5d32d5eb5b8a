//! The body as the Parquet reader sees it.

use std::io::{Error, ErrorKind, Read};

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use parquet::errors::Result;
use parquet::file::reader::{ChunkReader, Length};

/// How often a reader may ask for more at the end before that is an error. An honest reader asks once or twice; the Parquet
/// reader passes over a list of 2^31 made-up values by asking once for each.
const READS_AT_END_MAX: u32 = 16;

/// A whole body.
#[derive(Clone)]
pub(super) struct Body(pub Bytes);

/// Reads a body from some place on.
pub(super) struct BodyReader {
    rest: Reader<Bytes>,
    reads_at_end: u32,
}

impl Length for Body {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

impl ChunkReader for Body {
    type T = BodyReader;

    fn get_read(&self, start: u64) -> Result<BodyReader> {
        Ok(BodyReader { rest: self.0.get_read(start)?, reads_at_end: 0 })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.0.get_bytes(start, length)
    }
}

impl Read for BodyReader {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if !self.rest.get_ref().has_remaining() && !out.is_empty() {
            self.reads_at_end += 1;
            if self.reads_at_end > READS_AT_END_MAX {
                return Err(Error::new(ErrorKind::UnexpectedEof, "the file ends inside a value"));
            }
        }
        self.rest.read(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_on_at_the_end_fails_at_last() {
        let mut reader = Body(Bytes::from_static(b"abc")).get_read(1).expect("inside the body");
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("an honest reader comes to the end");
        assert_eq!(text, "bc");
        let failed = (0..1_000).find(|_| reader.read(&mut [0]).is_err());
        assert!(failed.is_some_and(|reads| reads < 20), "{failed:?}");
    }
}
