//! Codes of string dimensions.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use tidewater_columns::{Interner, StringsRef};

use super::codes::{NULL, null_last};
use crate::dictionary::Entries;
use crate::feed::Rows;

/// An entry of a dictionary that was not met yet.
const UNSEEN: u32 = u32::MAX;

/// Strings in order of first sight; code 0 is null, string `i` of the interner has code `i + 1`.
pub(super) struct TextCodes {
    interner: Interner,
    /// The code of each entry of the current dictionary.
    entries: Entries<u32>,
}

/// Bytes of the interner's table and offsets per string, next to the text: 16-byte slots at most 7/8 full, which doubled last.
const STRING_OVERHEAD_BYTES: usize = 40;

impl TextCodes {
    pub fn new() -> Self {
        TextCodes { interner: Interner::default(), entries: Entries::new(UNSEEN) }
    }

    pub fn cardinality(&self) -> usize {
        self.interner.len() + 1
    }

    pub fn encode(&mut self, array: &ArrayRef, rows: Rows<'_>, out: &mut Vec<u32>) {
        match StringsRef::new(array) {
            None => out.extend(std::iter::repeat_n(NULL, rows.len())),
            Some(StringsRef::Plain(strings)) => {
                let mut code = |row: usize| match strings.is_null(row) {
                    true => NULL,
                    false => self.interner.intern(strings.value(row)) + 1,
                };
                match rows {
                    Rows::All(rows) => out.extend((0..rows).map(&mut code)),
                    Rows::List(rows) => out.extend(rows.iter().map(|row| code(*row as usize))),
                }
            }
            Some(StringsRef::Coded(coded, strings)) => {
                let TextCodes { interner, entries } = self;
                let entries = entries.of(coded.values());
                let keys = coded.keys().values();
                let mut code = |row: usize| {
                    let entry = keys[row] as usize;
                    match entries[entry] {
                        UNSEEN => {
                            let is_null = strings.is_null(entry);
                            let code = if is_null { NULL } else { interner.intern(strings.value(entry)) + 1 };
                            entries[entry] = code;
                            code
                        }
                        code => code,
                    }
                };
                match (coded.keys().nulls().filter(|nulls| nulls.null_count() > 0), rows) {
                    (None, Rows::All(rows)) => out.extend((0..rows).map(code)),
                    (None, Rows::List(rows)) => out.extend(rows.iter().map(|row| code(*row as usize))),
                    (Some(nulls), Rows::All(rows)) => {
                        out.extend((0..rows).map(|row| if nulls.is_null(row) { NULL } else { code(row) }));
                    }
                    (Some(nulls), Rows::List(rows)) => {
                        let code =
                            |row: &u32| if nulls.is_null(*row as usize) { NULL } else { code(*row as usize) };
                        out.extend(rows.iter().map(code));
                    }
                }
            }
        }
    }

    /// The code of a text; a new one where it was not met.
    pub fn code_of(&mut self, text: &str) -> u32 {
        self.interner.intern(text) + 1
    }

    /// The text behind a code; `None` for null.
    pub fn text(&self, code: u32) -> Option<&str> {
        let bytes = self.interner.get(code.checked_sub(1)?);
        Some(std::str::from_utf8(bytes).expect("only whole strings are interned"))
    }

    pub fn shared(&self, code: u32) -> Option<Arc<str>> {
        self.text(code).map(Arc::from)
    }

    /// By UTF-8 bytes, null last both ways.
    pub fn compare(&self, a: u32, b: u32, descending: bool) -> Ordering {
        null_last(a, b, descending, |a, b| self.interner.get(a).cmp(self.interner.get(b)))
    }

    pub fn memory_bytes(&self) -> usize {
        let strings = self.interner.text_bytes() + self.interner.len() * STRING_OVERHEAD_BYTES;
        strings + self.entries.memory_bytes()
    }
}
