//! Codes of string dimensions.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, StringArray};
use tidewater_columns::StringsRef;

use super::codes::{NULL, null_last};
use super::strings::Strings;
use super::table::SharedMemory;
use crate::dictionary::Entries;
use crate::feed::Rows;

/// An entry of a dictionary that was not met yet.
const UNSEEN: u32 = u32::MAX;
/// Dictionaries with fewer entries are not worth a look at their order.
const SORTED_MIN: usize = 1_024;
/// Fewer strings are not worth sharing with others that have them too.
const ADOPTED_MIN: usize = 4_096;
/// Nor are those of others that have more times as many: who looks for groups makes room for every code there may be.
const ADOPTED_TIMES_MAX: usize = 4;
/// An entry that is about to get its code.
const PENDING: u32 = u32::MAX - 1;

/// Strings in order of first sight; code 0 is null, string `i` has code `i + 1`.
#[derive(Clone)]
pub(super) struct TextCodes {
    /// Shared with copies until one of them meets a new string.
    strings: Arc<Strings>,
    /// The code of each entry of the current dictionary.
    entries: Entries<u32>,
    /// Entries that a batch met first, and the places where it met such.
    pending: Vec<usize>,
    unseen: Vec<u32>,
}

impl TextCodes {
    pub fn new() -> Self {
        TextCodes {
            strings: Arc::new(Strings::new()),
            entries: Entries::new(UNSEEN),
            pending: Vec::new(),
            unseen: Vec::new(),
        }
    }

    pub fn cardinality(&self) -> usize {
        self.strings.len() + 1
    }

    /// Appends the code of each row.
    pub fn encode(&mut self, array: &ArrayRef, rows: Rows<'_>, out: &mut Vec<u32>) {
        match StringsRef::new(array) {
            None => out.extend(std::iter::repeat_n(NULL, rows.len())),
            Some(StringsRef::Plain(strings)) => self.encode_plain(strings, rows, out),
            Some(StringsRef::Coded(coded, strings)) => self.encode_coded(coded, strings, rows, out),
        }
    }

    fn encode_plain(&mut self, strings: &StringArray, rows: Rows<'_>, out: &mut Vec<u32>) {
        let first = out.len();
        let present = |place: &usize| strings.is_valid(rows.at(*place));
        out.resize(first + rows.len(), NULL);
        let mut places = (0..rows.len()).filter(present);
        let texts = (0..rows.len()).filter(present).map(|place| strings.value(rows.at(place)));
        Strings::intern_all(&mut self.strings, texts, |_, code| {
            if let Some(place) = places.next() {
                out[first + place] = code + 1;
            }
        });
    }

    fn encode_coded(
        &mut self,
        coded: &DictionaryArray<Int32Type>,
        strings: &StringArray,
        rows: Rows<'_>,
        out: &mut Vec<u32>,
    ) {
        if rows.len() >= strings.len().max(SORTED_MIN) && !self.entries.is_of(coded.values()) {
            self.enter_sorted(coded.values(), strings);
        }
        let entries = self.entries.of(coded.values());
        let keys = coded.keys().values();
        let first = out.len();
        let code = |row: usize| entries[keys[row] as usize];
        match (coded.keys().nulls().filter(|nulls| nulls.null_count() > 0), rows) {
            (None, Rows::All(rows)) => out.extend((0..rows).map(code)),
            (None, Rows::List(rows)) => out.extend(rows.iter().map(|row| code(*row as usize))),
            (Some(nulls), rows) => out.extend((0..rows.len()).map(|place| {
                let row = rows.at(place);
                if nulls.is_null(row) { NULL } else { code(row) }
            })),
        }
        let codes = &mut out[first..];
        if !codes.contains(&UNSEEN) {
            return;
        }
        // Without a branch on what is new, which the processor could not foresee.
        let unseen = &mut self.unseen;
        unseen.resize(codes.len(), 0);
        let mut len = 0;
        for (place, code) in codes.iter().enumerate() {
            unseen[len] = place as u32;
            len += usize::from(*code == UNSEEN);
        }
        unseen.truncate(len);
        self.pending.clear();
        for place in unseen.iter() {
            let entry = keys[rows.at(*place as usize)] as usize;
            match entries[entry] {
                UNSEEN if strings.is_null(entry) => entries[entry] = NULL,
                UNSEEN => {
                    entries[entry] = PENDING;
                    self.pending.push(entry);
                }
                _ => {}
            }
        }
        let (pending, texts) = (&self.pending, self.pending.iter().map(|entry| strings.value(*entry)));
        Strings::intern_all(&mut self.strings, texts, |place, code| entries[pending[place]] = code + 1);
        for place in unseen.iter() {
            codes[*place as usize] = entries[keys[rows.at(*place as usize)] as usize];
        }
    }

    /// Gives every entry of a new dictionary its code at once, where they stand in order: then most rows' are needed, and walking is
    /// faster than looking up.
    fn enter_sorted(&mut self, values: &ArrayRef, strings: &StringArray) {
        if strings.null_count() == 0 {
            let entries = self.entries.of(values);
            let put = |entry: usize, code| entries[entry] = code + 1;
            // Where nothing is done, entries are looked up as rows meet them.
            Strings::intern_sorted(&mut self.strings, strings.len(), |entry| strings.value(entry), put);
        }
    }

    /// Lets go of the dictionary that the last rows came with.
    pub fn forget_dictionary(&mut self) {
        self.entries = Entries::new(UNSEEN);
        self.pending = Vec::new();
        self.unseen = Vec::new();
    }

    /// The code of a text; a new one where it was not met.
    pub fn code_of(&mut self, text: &str) -> u32 {
        Strings::intern(&mut self.strings, text) + 1
    }

    /// Enters the code here of each of `codes` of `other` into `known`, by the other's code.
    pub fn translate_all(&mut self, other: &TextCodes, codes: &[u32], known: &mut [u32]) {
        if let Some(sorted) =
            other.strings.sorted().filter(|sorted| codes.len() >= sorted.len().max(SORTED_MIN))
        {
            let text = |place: usize| other.text(sorted[place] + 1).expect("code 0 alone is null");
            let put = |place: usize, code| known[sorted[place] as usize + 1] = code + 1;
            if Strings::intern_sorted(&mut self.strings, sorted.len(), text, put) {
                known[NULL as usize] = NULL;
                return;
            }
        }
        let mut met = Vec::with_capacity(codes.len());
        for code in codes {
            let known = &mut known[*code as usize];
            if *code == NULL {
                *known = NULL;
            } else if *known != PENDING {
                *known = PENDING;
                met.push(*code);
            }
        }
        let texts = met.iter().filter_map(|code| other.text(*code));
        Strings::intern_all(&mut self.strings, texts, |place, code| known[met[place] as usize] = code + 1);
    }

    /// Refers to the strings of others instead of own ones, where they are all there and there are many; gives the new code of each.
    pub fn adopt(&mut self, other: &TextCodes) -> Option<Vec<u32>> {
        let (own, others) = (self.strings.len(), other.strings.len());
        let is_worth_it = own >= ADOPTED_MIN && (own..=own * ADOPTED_TIMES_MAX).contains(&others);
        if !is_worth_it || Arc::ptr_eq(&self.strings, &other.strings) {
            return None;
        }
        let codes = self.strings.codes_in(&other.strings)?;
        self.strings = Arc::clone(&other.strings);
        self.forget_dictionary();
        Some(std::iter::once(NULL).chain(codes.into_iter().map(|code| code + 1)).collect())
    }

    /// Gives back room that is left over, where nobody shares it.
    pub fn shrink(&mut self) {
        if let Some(strings) = Arc::get_mut(&mut self.strings) {
            strings.shrink();
        }
    }

    /// The text behind a code; `None` for null.
    pub fn text(&self, code: u32) -> Option<&str> {
        let bytes = self.strings.get(code.checked_sub(1)?);
        Some(std::str::from_utf8(bytes).expect("only whole strings are interned"))
    }

    pub fn shared(&self, code: u32) -> Option<Arc<str>> {
        self.text(code).map(Arc::from)
    }

    /// By UTF-8 bytes, null last both ways.
    pub fn compare(&self, a: u32, b: u32, descending: bool) -> Ordering {
        null_last(a, b, descending, |a, b| self.strings.get(a).cmp(self.strings.get(b)))
    }

    /// The strings, which copies share.
    pub fn shared_memory(&self) -> SharedMemory {
        SharedMemory::of(&self.strings, self.strings.memory_bytes())
    }

    pub fn memory_bytes(&self) -> usize {
        let pending =
            self.pending.capacity() * size_of::<usize>() + self.unseen.capacity() * size_of::<u32>();
        self.strings.memory_bytes() + self.entries.memory_bytes() + pending
    }
}
