//! JSON and NDJSON bodies: objects straight into columns, without a tree in between.
//!
//! The reader is ours because a row must survive a wrong type in its neighbour, money needs the digits as they were
//! written, and nesting must cost no stack: with a general deserialiser each of the three is a detour. `serde_json` is the
//! oracle of its tests.

mod members;
mod scan;
#[cfg(test)]
mod tests;

use tidewater_model::schema::{ColumnId, Dataset};

use crate::error::codes;
use crate::json::members::{KeyCache, put_value, read_row};
use crate::json::scan::{Scanner, Syntax};
use crate::rows::Rows;
use crate::utf8::Text;
use crate::{DecodeError, Decoded, Options};

/// Reads one object or an array of objects. A syntax error anywhere refuses the body: what a row would be is not certain.
pub(crate) fn decode_document(
    body: &[u8],
    dataset: &Dataset,
    options: &Options<'_>,
) -> Result<Decoded, DecodeError> {
    let text = Text::new(body);
    let mut rows = Rows::new(dataset, options)?;
    let mut scanner = Scanner::new(&text.text);
    if scanner.peek().is_none() {
        return Err(DecodeError::Empty);
    }
    let mut keys = KeyCache::default();
    let malformed = |syntax: Syntax| locate(&text.text, syntax);
    if scanner.peek() == Some(b'{') {
        one_row(&mut scanner, &text, &mut rows, &mut keys)?;
    } else {
        scanner.expect(b'[', "expected an object or an array of objects").map_err(malformed)?;
        let mut is_more = !scanner.take(b']');
        while is_more {
            one_row(&mut scanner, &text, &mut rows, &mut keys)?;
            is_more = scanner.take(b',');
            if !is_more {
                scanner.expect(b']', "expected ',' or ']' after an element").map_err(malformed)?;
            }
        }
    }
    match scanner.peek() {
        None => Ok(rows.finish()),
        Some(_) => Err(malformed(scanner.syntax("expected nothing after the value"))),
    }
}

fn one_row<'a>(
    scanner: &mut Scanner<'a>,
    text: &'a Text<'_>,
    rows: &mut Rows<'_>,
    keys: &mut KeyCache<'a>,
) -> Result<(), DecodeError> {
    scanner.skip_space();
    let from = scanner.position();
    read_row(scanner, rows, keys).map_err(|syntax| locate(&text.text, syntax))?;
    let range = from..scanner.position();
    if !text.is_valid(range.clone()) {
        fail_utf8(rows);
    }
    rows.finish_row(|| &text.bytes[range])
}

/// Reads one object per line. A line that is no object is a bad row among good ones.
pub(crate) fn decode_lines(
    body: &[u8],
    dataset: &Dataset,
    options: &Options<'_>,
) -> Result<Decoded, DecodeError> {
    let text = Text::new(body);
    let mut rows = Rows::new(dataset, options)?;
    let mut keys = KeyCache::default();
    let mut is_empty = true;
    let mut from = 0;
    while from < text.bytes.len() {
        let end = memchr::memchr(b'\n', &text.bytes[from..]).map_or(text.bytes.len(), |length| from + length);
        let range = from..end;
        from = end + 1;
        let mut scanner = Scanner::new(&text.text[range.clone()]);
        if scanner.peek().is_none() {
            continue;
        }
        is_empty = false;
        let read = read_row(&mut scanner, &mut rows, &mut keys).and_then(|()| match scanner.peek() {
            None => Ok(()),
            Some(_) => Err(scanner.syntax("expected nothing after the object")),
        });
        if !text.is_valid(range.clone()) {
            fail_utf8(&mut rows);
        }
        if let Err(Syntax { at, reason }) = read {
            rows.fail(None, codes::MALFORMED_JSON, || {
                format!("malformed JSON at column {}: {reason}", at + 1)
            });
        }
        rows.finish_row(|| &text.bytes[range])?;
    }
    if is_empty { Err(DecodeError::Empty) } else { Ok(rows.finish()) }
}

fn fail_utf8(rows: &mut Rows<'_>) {
    rows.fail(None, codes::INVALID_UTF8, || "the row holds bytes that are no UTF-8".to_owned());
}

fn locate(text: &str, syntax: Syntax) -> DecodeError {
    let before = &text.as_bytes()[..syntax.at.min(text.len())];
    let line_from = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    DecodeError::MalformedJson {
        line: memchr::memchr_iter(b'\n', before).count() + 1,
        column: before.len() - line_from + 1,
        reason: syntax.reason,
    }
}

/// Puts a list or a map that stands as JSON text in a CSV field.
pub(crate) fn put_nested_text(rows: &mut Rows<'_>, id: ColumnId, text: &str) {
    let mut scanner = Scanner::new(text);
    let read = put_value(&mut scanner, rows, id).and_then(|()| match scanner.peek() {
        None => Ok(()),
        Some(_) => Err(scanner.syntax("expected nothing after the value")),
    });
    if let Err(Syntax { at, reason }) = read {
        rows.fail_column(id, codes::MALFORMED_JSON, || {
            format!("malformed JSON at column {}: {reason}", at + 1)
        });
    }
}
