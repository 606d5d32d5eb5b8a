//! RFC 4180 records. The splitter is ours because the `csv` crate reads on over a broken quote: the rows behind it would
//! vanish into one field without a word. That crate is the oracle of the tests for what is well-formed.

use std::ops::Range;

/// One field as it stands, without its quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub raw: &'a str,
    pub is_quoted: bool,
}

impl<'a> Field<'a> {
    /// The text it stands for; `scratch` holds it where quotes are doubled.
    pub fn text<'s>(&self, scratch: &'s mut String) -> &'s str
    where
        'a: 's,
    {
        if !self.is_quoted || !self.raw.contains('"') {
            return self.raw;
        }
        *scratch = self.raw.replace("\"\"", "\"");
        scratch
    }
}

/// Where a record stood and what is wrong with it.
#[derive(Debug)]
pub(super) struct Record {
    /// Bytes in the text, without the line's end.
    pub range: Range<usize>,
    /// Its first line, counted from 1.
    pub line: usize,
    pub problem: Option<&'static str>,
}

pub(super) struct Records<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    delimiter: u8,
    has_quotes: bool,
    /// A quoted field may hold line breaks. After a quote that nothing closes it may not any more: then each later line
    /// is judged by itself, and reading stays linear.
    spans_lines: bool,
}

/// Why a record ends before its line does.
struct Broken(&'static str);

impl<'a> Records<'a> {
    pub fn new(text: &'a str, delimiter: u8, has_quotes: bool) -> Self {
        Records { text, at: 0, line: 1, delimiter, has_quotes, spans_lines: true }
    }

    /// Reads the next record that is no blank line into `fields`.
    pub fn next(&mut self, fields: &mut Vec<Field<'a>>) -> Option<Record> {
        fields.clear();
        self.skip_blank_lines();
        if self.at == self.text.len() {
            return None;
        }
        let (from, line) = (self.at, self.line);
        let problem = loop {
            match self.field() {
                Err(Broken(problem)) => {
                    self.at = self.line_end(self.at);
                    break Some(problem);
                }
                Ok(field) => fields.push(field),
            }
            if self.text.as_bytes().get(self.at) != Some(&self.delimiter) {
                break None;
            }
            self.at += 1;
        };
        let mut range = from..self.at;
        if self.text[range.clone()].ends_with('\r') {
            range.end -= 1;
        }
        let breaks = memchr::memchr_iter(b'\n', &self.text.as_bytes()[from..self.at]).count();
        self.line += breaks;
        if self.at < self.text.len() {
            self.at += 1;
            self.line += 1;
        }
        Some(Record { range, line, problem })
    }

    fn skip_blank_lines(&mut self) {
        loop {
            match &self.text.as_bytes()[self.at..] {
                [b'\n', ..] => self.at += 1,
                [b'\r', b'\n', ..] => self.at += 2,
                _ => return,
            }
            self.line += 1;
        }
    }

    /// Ends at the delimiter, the line break or the end of the text.
    fn field(&mut self) -> Result<Field<'a>, Broken> {
        let bytes = self.text.as_bytes();
        if self.has_quotes && bytes.get(self.at) == Some(&b'"') {
            return self.quoted();
        }
        let from = self.at;
        let length = memchr::memchr2(self.delimiter, b'\n', &bytes[from..]).unwrap_or(bytes.len() - from);
        self.at = from + length;
        let raw = &self.text[from..self.at];
        let is_last = bytes.get(self.at) != Some(&self.delimiter);
        let raw = if is_last { raw.strip_suffix('\r').unwrap_or(raw) } else { raw };
        Ok(Field { raw, is_quoted: false })
    }

    fn quoted(&mut self) -> Result<Field<'a>, Broken> {
        let bytes = self.text.as_bytes();
        let opened = self.at;
        let from = opened + 1;
        let mut at = from;
        let limit = if self.spans_lines { bytes.len() } else { self.line_end(opened) };
        loop {
            let Some(length) = memchr::memchr(b'"', &bytes[at..limit]) else {
                self.spans_lines = false;
                self.at = opened;
                return Err(Broken("a quote is opened and never closed"));
            };
            at += length + 1;
            if bytes[at..limit].first() == Some(&b'"') {
                at += 1;
                continue;
            }
            let raw = &self.text[from..at - 1];
            // A carriage return before the line break is part of the break.
            at += usize::from(bytes[at..].starts_with(b"\r\n"));
            self.at = at;
            let is_end = bytes.get(at).is_none_or(|byte| *byte == self.delimiter || *byte == b'\n');
            return if is_end {
                Ok(Field { raw, is_quoted: true })
            } else {
                Err(Broken("text follows a closing quote"))
            };
        }
    }

    fn line_end(&self, from: usize) -> usize {
        memchr::memchr(b'\n', &self.text.as_bytes()[from..]).map_or(self.text.len(), |length| from + length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &str) -> Vec<(usize, Result<Vec<String>, &'static str>)> {
        let mut records = Records::new(text, b',', true);
        let (mut fields, mut scratch, mut out) = (Vec::new(), String::new(), Vec::new());
        while let Some(record) = records.next(&mut fields) {
            let read = fields.iter().map(|field: &Field<'_>| field.text(&mut scratch).to_owned()).collect();
            out.push((record.line, record.problem.map_or(Ok(read), Err)));
        }
        out
    }

    proptest! {
        #[test]
        fn equals_the_csv_crate(
            rows in prop::collection::vec(prop::collection::vec("[a\",\n\r ]{0,5}", 2..5), 0..8),
            crlf: bool,
        ) {
            let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
            let mut writer = csv::WriterBuilder::new().flexible(true).terminator(terminator).from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).expect("memory takes all");
            }
            let bytes = writer.into_inner().expect("memory takes all");
            let text = String::from_utf8(bytes).expect("text stays text");
            let read: Vec<Vec<String>> = split(&text).into_iter().map(|(_, row)| row.expect("well-formed")).collect();
            prop_assert_eq!(read, rows);
        }

        #[test]
        fn arbitrary_text_does_not_panic(text in "[a\",\n\r é]{0,60}") {
            split(&text);
        }
    }

    #[test]
    fn a_broken_quote_costs_one_row() {
        let row = |fields: &[&str]| Ok(fields.iter().map(|field| field.to_string()).collect());
        assert_eq!(
            split("a,b\n\"x\"y,1\nc,d\n\n\"open,2\ne,\"f\"\r\n\"g\nh\",i\n\"k\""),
            [
                (1, row(&["a", "b"])),
                (2, Err("text follows a closing quote")),
                (3, row(&["c", "d"])),
                (5, row(&["open,2\ne,", "f"]).and(Err("text follows a closing quote"))),
                (7, row(&["g\nh", "i"])),
                (9, row(&["k"])),
            ]
        );
        assert_eq!(
            split("a,\"b\nc,d\ne,f"),
            [(1, Err("a quote is opened and never closed")), (2, row(&["c", "d"])), (3, row(&["e", "f"]))]
        );
    }

    #[test]
    fn quotes_inside_a_plain_field_are_text() {
        assert_eq!(split("5\" pipe,x"), [(1, Ok(vec!["5\" pipe".to_owned(), "x".to_owned()]))]);
    }
}
