//! NDJSON: a row is a line.

use std::io::{BufRead, Read};

use anyhow::bail;
use tidewater_decode::Format;

use super::{Piece, ROW_BYTES_MAX, is_full};

/// Reads lines.
pub struct Lines {
    reader: Box<dyn BufRead + Send>,
    /// Lines read so far.
    line: u64,
}

impl Lines {
    pub fn new(reader: Box<dyn BufRead + Send>) -> Self {
        Lines { reader, line: 0 }
    }

    pub fn next(&mut self) -> anyhow::Result<Option<Piece>> {
        let mut body = Vec::new();
        let mut places = Vec::new();
        while !is_full(places.len(), body.len()) {
            let before = body.len();
            let limit = ROW_BYTES_MAX as u64 + 1;
            let count = (&mut self.reader).take(limit).read_until(b'\n', &mut body)?;
            if count == 0 {
                break;
            }
            self.line += 1;
            if count > ROW_BYTES_MAX {
                bail!("line {} is longer than {ROW_BYTES_MAX} bytes", self.line);
            }
            if body[before..].trim_ascii().is_empty() {
                body.truncate(before);
                continue;
            }
            if body.last() != Some(&b'\n') {
                body.push(b'\n');
            }
            places.push(self.line);
        }
        Ok((!places.is_empty()).then(|| Piece { body: body.into(), format: Format::Ndjson, places }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_count_as_lines_and_not_as_rows() {
        let mut lines = Lines::new(Box::new(&b"{\"a\":1}\n\n  \r\n{\"a\":2}"[..]));
        let piece = lines.next().expect("it reads").expect("a piece");
        assert_eq!((&piece.body[..], piece.places), (&b"{\"a\":1}\n{\"a\":2}\n"[..], vec![1, 4]));
        assert!(lines.next().expect("it reads").is_none());
    }

    #[test]
    fn pieces_are_bounded_and_hold_every_line() {
        let text: String = (0..45_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        let mut lines = Lines::new(Box::new(std::io::Cursor::new(text.clone())));
        let mut pieces = Vec::new();
        while let Some(piece) = lines.next().expect("it reads") {
            pieces.push(piece);
        }
        let rows: Vec<usize> = pieces.iter().map(|piece| piece.places.len()).collect();
        assert_eq!(rows, [20_000, 20_000, 5_000]);
        let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece.body.to_vec()).collect();
        assert_eq!(joined, text.into_bytes());
    }
}
