//! Interning: each distinct string gets a small code, in order of first sight.
//!
//! Not here: when a column pays to be kept that way (`text`, `concat`).

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, StringArray};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// Distinct strings and their codes `0..len`.
pub struct Interner {
    /// `offsets[code] .. offsets[code + 1]` is the string's place in `bytes`.
    offsets: Vec<i32>,
    bytes: Vec<u8>,
    /// Codes, found by the hash of their string.
    table: HashTable<Entry>,
    hasher: DefaultHashBuilder,
}

/// The hash is kept so that growing the table does not read the strings again.
#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    code: u32,
}

impl Default for Interner {
    fn default() -> Self {
        Interner {
            offsets: vec![0],
            bytes: Vec::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl Interner {
    /// Number of distinct strings.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// True before the first string.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all distinct strings together.
    pub fn text_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The code of `text`, a new one where it was not seen before.
    ///
    /// # Panics
    /// When the strings pass 2 GiB together, the most an Arrow string array holds.
    #[inline]
    pub fn intern(&mut self, text: &str) -> u32 {
        let Interner { offsets, bytes, table, hasher } = self;
        let hash = hasher.hash_one(text.as_bytes());
        let found = table
            .find(hash, |entry| entry.hash == hash && slot(offsets, bytes, entry.code) == text.as_bytes());
        if let Some(entry) = found {
            return entry.code;
        }
        let code = u32::try_from(offsets.len() - 1).expect("fewer codes than bytes");
        bytes.extend_from_slice(text.as_bytes());
        offsets.push(i32::try_from(bytes.len()).expect("the text of one column stays below 2 GiB"));
        table.insert_unique(hash, Entry { hash, code }, |entry| entry.hash);
        code
    }

    /// The bytes of the string behind a code.
    pub fn get(&self, code: u32) -> &[u8] {
        slot(&self.offsets, &self.bytes, code)
    }

    /// The strings in code order: the values of a dictionary array.
    pub fn into_values(self) -> ArrayRef {
        Arc::new(strings_from(self.offsets, self.bytes, None))
    }
}

fn slot<'a>(offsets: &[i32], bytes: &'a [u8], code: u32) -> &'a [u8] {
    let code = code as usize;
    &bytes[offsets[code] as usize..offsets[code + 1] as usize]
}

/// A string array over text this crate put together from whole strings.
pub(crate) fn strings_from(
    offsets: Vec<i32>,
    bytes: Vec<u8>,
    nulls: Option<arrow_buffer::NullBuffer>,
) -> StringArray {
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let array = StringArray::try_new(offsets, Buffer::from_vec(bytes), nulls);
    debug_assert!(array.as_ref().map_or(true, |array| array.offset() == 0));
    array.expect("whole strings lie end to end")
}
