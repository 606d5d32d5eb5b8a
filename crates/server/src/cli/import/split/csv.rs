//! CSV and TSV (RFC 4180): a row is a record; every piece begins with the header.
//!
//! Finds where records end and nothing else, by the rules of `decode`: a quote counts at the beginning of a field only, text after
//! a closing quote spoils the rest of the line, and after a quote that nothing closes every line stands for itself. Fields
//! of tab-separated files have no quotes.

use std::io::{BufRead, Cursor, Read};
use std::mem::replace;

use anyhow::bail;
use tidewater_decode::Format;

use super::{Piece, ROW_BYTES_MAX, is_full};

/// A quoted field longer than this was never closed: no value may be longer.
const QUOTED_BYTES_MAX: usize = tidewater_model::limits::STRING_BYTES_MAX + 1024;

/// Reads records.
pub struct Records {
    reader: Box<dyn BufRead + Send>,
    delimiter: u8,
    header: Option<Vec<u8>>,
    /// Line ends seen so far.
    line: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    FieldStart,
    Plain,
    Quoted,
    /// After a quote in a quoted field: the field ends, or another quote makes one of two.
    QuoteInQuoted,
    /// After text behind a closing quote: nothing counts up to the end of the line.
    Spoiled,
}

/// What was appended.
#[derive(PartialEq)]
enum Found {
    Nothing,
    Record,
    /// Lines behind a quote that nothing closes.
    OpenQuote,
}

impl Records {
    pub fn new(reader: Box<dyn BufRead + Send>, delimiter: u8) -> Self {
        Records { reader, delimiter, header: None, line: 0 }
    }

    pub fn next(&mut self) -> anyhow::Result<Option<Piece>> {
        let header = match self.header.take() {
            Some(header) => header,
            None => self.read_header()?,
        };
        let mut body = header.clone();
        let mut places = Vec::new();
        while !is_full(places.len(), body.len()) {
            let (before, line) = (body.len(), self.line + 1);
            match self.record(&mut body)? {
                Found::Nothing => break,
                Found::Record if is_blank(&body[before..]) => body.truncate(before),
                Found::Record => places.push(line),
                Found::OpenQuote => {
                    let lines = body[before..].split_inclusive(|byte| *byte == b'\n');
                    places.extend(
                        (line..).zip(lines).filter(|(_, text)| !is_blank(text)).map(|(line, _)| line),
                    );
                    // What follows must not close the quote for the one who reads this piece.
                    break;
                }
            }
        }
        self.header = Some(header);
        let format = if self.delimiter == b'\t' { Format::Tsv } else { Format::Csv };
        Ok((!places.is_empty()).then(|| Piece { body: body.into(), format, places }))
    }

    fn read_header(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut header = Vec::new();
        loop {
            match self.record(&mut header)? {
                Found::Record if is_blank(&header) => header.clear(),
                Found::OpenQuote => bail!("a quote in the header row is opened and never closed"),
                _ => return Ok(header),
            }
        }
    }

    /// Appends one record with its line end.
    fn record(&mut self, out: &mut Vec<u8>) -> anyhow::Result<Found> {
        let before = out.len();
        let mut state = State::FieldStart;
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(self.end_of_file(state, before, out));
            }
            let mut end = None;
            for (index, byte) in buffer.iter().enumerate() {
                state = step(state, *byte, self.delimiter);
                if *byte == b'\n' {
                    self.line += 1;
                    if state == State::FieldStart {
                        end = Some(index + 1);
                        break;
                    }
                }
            }
            let taken = end.unwrap_or(buffer.len());
            out.extend_from_slice(&buffer[..taken]);
            self.reader.consume(taken);
            if end.is_some() {
                return Ok(Found::Record);
            }
            let bytes = out.len() - before;
            if state == State::Quoted && bytes > QUOTED_BYTES_MAX {
                self.give_back_last_line(before, out);
                return Ok(Found::OpenQuote);
            }
            if bytes > ROW_BYTES_MAX {
                bail!("the record that ends after line {} is longer than {ROW_BYTES_MAX} bytes", self.line);
            }
        }
    }

    fn end_of_file(&mut self, state: State, before: usize, out: &mut Vec<u8>) -> Found {
        if out.len() == before {
            return Found::Nothing;
        }
        if out.last() != Some(&b'\n') {
            out.push(b'\n');
            self.line += 1;
        }
        if state == State::Quoted { Found::OpenQuote } else { Found::Record }
    }

    /// The unfinished last line is read again as the beginning of the next piece.
    fn give_back_last_line(&mut self, before: usize, out: &mut Vec<u8>) {
        let Some(end) = out[before..].iter().rposition(|byte| *byte == b'\n') else { return out.push(b'\n') };
        let rest = out.split_off(before + end + 1);
        let reader = replace(&mut self.reader, Box::new(std::io::empty()));
        self.reader = Box::new(Cursor::new(rest).chain(reader));
    }
}

fn is_blank(line: &[u8]) -> bool {
    matches!(line, [b'\n'] | [b'\r', b'\n'])
}

fn step(state: State, byte: u8, delimiter: u8) -> State {
    let has_quotes = delimiter == b',';
    match (state, byte) {
        (State::Quoted, b'"') => State::QuoteInQuoted,
        (State::Quoted, _) => State::Quoted,
        (State::QuoteInQuoted, b'"') => State::Quoted,
        (_, b'\n') => State::FieldStart,
        (State::Spoiled, _) => State::Spoiled,
        (_, byte) if byte == delimiter => State::FieldStart,
        (State::FieldStart, b'"') if has_quotes => State::Quoted,
        (State::QuoteInQuoted, b'\r') => State::QuoteInQuoted,
        (State::QuoteInQuoted, _) => State::Spoiled,
        _ => State::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, delimiter: u8) -> Vec<(String, Vec<u64>)> {
        // A tiny buffer puts its border at every byte.
        let reader = std::io::BufReader::with_capacity(3, Cursor::new(text.to_owned()));
        let mut records = Records::new(Box::new(reader), delimiter);
        let mut pieces = Vec::new();
        while let Some(piece) = records.next().expect("it reads") {
            pieces.push((String::from_utf8(piece.body.to_vec()).expect("UTF-8"), piece.places));
        }
        pieces
    }

    #[test]
    fn line_ends_inside_quotes_end_no_record() {
        let cases = [
            ("a,b\n1,2\n3,4", "a,b\n1,2\n3,4\n", vec![2, 3]),
            ("a,b\r\n1,\"x\ny\"\r\n\r\n3,4\r\n", "a,b\r\n1,\"x\ny\"\r\n3,4\r\n", vec![2, 5]),
            (
                "a\n\"he said \"\"\nno\"\"\"\n5\" disk\nz\n",
                "a\n\"he said \"\"\nno\"\"\"\n5\" disk\nz\n",
                vec![2, 4, 5],
            ),
            ("a,b\n\"x\" y,\"1\n2,3\n", "a,b\n\"x\" y,\"1\n2,3\n", vec![2, 3]),
            ("a,b\n\"x,1\n\n2,3", "a,b\n\"x,1\n\n2,3\n", vec![2, 4]),
        ];
        for (text, body, places) in cases {
            assert_eq!(split(text, b','), [(body.to_owned(), places)], "{text:?}");
        }
        assert!(split("a,b\n", b',').is_empty() && split("", b',').is_empty());
        let tabs = "a\tb\n\"x\t1\n\"y\t2\n";
        assert_eq!(split(tabs, b'\t'), [(tabs.to_owned(), vec![2, 3])]);
    }

    #[test]
    fn every_piece_has_the_header() {
        let text: String =
            std::iter::once("n\n".to_owned()).chain((0..50_000).map(|n| format!("{n}\n"))).collect();
        let pieces = split(&text, b',');
        assert!(pieces.iter().all(|(body, _)| body.starts_with("n\n")));
        let joined: String = pieces.iter().map(|(body, _)| &body[2..]).collect();
        assert_eq!(joined, text[2..]);
        assert_eq!(pieces[1].1[0], 20_002);
    }

    #[test]
    fn a_quote_that_is_never_closed_costs_one_line() {
        let lines: Vec<String> =
            (0..200_000).map(|n| if n == 7 { "\"7\n".to_owned() } else { format!("{n:08}\n") }).collect();
        let text = format!("n\n{}", lines.concat());
        let pieces = split(&text, b',');
        let joined: String = pieces.iter().map(|(body, _)| &body[2..]).collect();
        assert_eq!(joined, text[2..]);
        let places: Vec<u64> = pieces.into_iter().flat_map(|(_, places)| places).collect();
        assert_eq!(places, (2..=200_001).collect::<Vec<u64>>());
    }
}
