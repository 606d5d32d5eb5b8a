//! JSON documents of any size: the elements of an array, or values after each other, become lines.
//!
//! Only the brackets and strings are read; what an element is worth, `decode` says.

use std::io::BufRead;

use anyhow::bail;
use tidewater_decode::Format;

use super::{Piece, ROW_BYTES_MAX, is_full};

/// Reads elements.
pub struct Elements {
    reader: Box<dyn BufRead + Send>,
    /// Whether the scan is inside the array that holds the elements.
    in_array: bool,
    /// Elements found so far.
    count: u64,
}

/// Where in an element the scan is.
#[derive(Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Takes one byte of an element; true when the element ends with it.
    fn take(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return !self.in_string && self.depth == 0;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

impl Elements {
    pub fn new(reader: Box<dyn BufRead + Send>) -> Self {
        Elements { reader, in_array: false, count: 0 }
    }

    pub fn next(&mut self) -> anyhow::Result<Option<Piece>> {
        let mut body = Vec::new();
        let mut places = Vec::new();
        while !is_full(places.len(), body.len()) && self.element(&mut body)? {
            body.push(b'\n');
            self.count += 1;
            places.push(self.count);
        }
        Ok((!places.is_empty()).then(|| Piece { body: body.into(), format: Format::Ndjson, places }))
    }

    /// Appends one element on one line; false at the end of the file.
    fn element(&mut self, out: &mut Vec<u8>) -> anyhow::Result<bool> {
        let before = out.len();
        let mut scan: Option<Scan> = None;
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(out.len() > before);
            }
            let mut taken = 0;
            let mut ended = false;
            for byte in buffer {
                match &mut scan {
                    None => match byte {
                        b' ' | b'\t' | b'\r' | b'\n' | b',' => {}
                        b'[' if !self.in_array => self.in_array = true,
                        b']' if self.in_array => self.in_array = false,
                        _ => scan = Some(Scan::default()),
                    },
                    // A number or a word ends before what follows it.
                    Some(scan) if scan.depth == 0 && !scan.in_string && b",] \t\r\n".contains(byte) => {
                        ended = true;
                        break;
                    }
                    Some(_) => {}
                }
                taken += 1;
                if let Some(scan) = &mut scan {
                    // Line ends are spaces outside of strings, and not allowed inside.
                    out.push(if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte });
                    if scan.take(*byte) {
                        ended = true;
                        break;
                    }
                }
            }
            self.reader.consume(taken);
            if ended {
                return Ok(true);
            }
            if out.len() - before > ROW_BYTES_MAX {
                bail!(
                    "element {} is longer than {ROW_BYTES_MAX} bytes; is a bracket missing?",
                    self.count + 1
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_become_lines() {
        let cases = [
            ("[]", ""),
            ("{\"a\":1}", "{\"a\":1}\n"),
            ("[{\"a\":\n [1, {\"b\":\"}]\\\"\"}]}\n,{}]", "{\"a\":  [1, {\"b\":\"}]\\\"\"}]}\n{}\n"),
            ("{\"a\":1} {\"a\":2}\n{\"a\":3}", "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n"),
            ("[1, \"two\", null]", "1\n\"two\"\nnull\n"),
            ("[{\"a\":1},{\"b\":", "{\"a\":1}\n{\"b\":\n"),
        ];
        for (text, lines) in cases {
            let reader = std::io::BufReader::with_capacity(2, text.as_bytes());
            let mut elements = Elements::new(Box::new(reader));
            let piece = elements.next().expect("it reads");
            let body = piece.map_or_else(Vec::new, |piece| piece.body.to_vec());
            assert_eq!(String::from_utf8_lossy(&body), lines, "{text}");
        }
    }
}
