//! Distinct strings numbered in order of first sight, looked up many at a time.
//!
//! Tables of many strings do not fit in a processor's cache, so one look-up is a chain of three waits for memory. Done in steps over
//! a block of strings, the waits of a block overlap. Not here: interning for dictionary columns (`columns::Interner`).

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Strings looked up together.
const BLOCK: usize = 32;

/// Distinct strings and their codes `0 .. len`.
#[derive(Clone)]
pub(super) struct Strings {
    /// Each string after its length (u32, little-endian), so that comparing touches one place.
    bytes: Vec<u8>,
    /// Where string `code` begins, its length included.
    starts: Vec<usize>,
    /// Codes in the order of their strings' bytes; given up, and then shorter than `starts`, once strings came in another order.
    sorted: Vec<u32>,
    table: HashTable<Slot>,
    hasher: DefaultHashBuilder,
}

#[derive(Clone, Copy)]
struct Slot {
    /// The low half; the strings are compared anyway.
    hash: u32,
    code: u32,
    start: usize,
}

const LENGTH_BYTES: usize = size_of::<u32>();

/// Spreads half a hash over 64 bits again (2^64 ÷ golden ratio).
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Strings {
    pub fn new() -> Self {
        Strings {
            bytes: Vec::new(),
            starts: Vec::new(),
            sorted: Vec::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.starts.len()
    }

    pub fn get(&self, code: u32) -> &[u8] {
        self.at(self.starts[code as usize])
    }

    #[inline]
    fn at(&self, start: usize) -> &[u8] {
        let (length, rest) = self.bytes[start..].split_at(LENGTH_BYTES);
        let length = length.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
        &rest[..length]
    }

    /// Calls `put(place, code)` for each text, in order; new texts are added, for which a table that others hold too is copied.
    pub fn intern_all<'a>(
        strings: &mut Arc<Self>,
        texts: impl Iterator<Item = &'a str>,
        mut put: impl FnMut(usize, u32),
    ) {
        let mut block = [""; BLOCK];
        let (mut filled, mut done) = (0, 0);
        for text in texts {
            block[filled] = text;
            filled += 1;
            if filled == BLOCK {
                Strings::intern_block(strings, &block, |place, code| put(done + place, code));
                done += BLOCK;
                filled = 0;
            }
        }
        Strings::intern_block(strings, &block[..filled], |place, code| put(done + place, code));
    }

    /// The codes in the order of their strings' bytes, where that is known.
    pub fn sorted(&self) -> Option<&[u32]> {
        (self.sorted.len() == self.starts.len()).then_some(&self.sorted)
    }

    /// As [`Self::intern_all`] for `len` texts in strictly ascending order, which are found by walking along the strings here instead of by
    /// hashing: a third of the time where most are known. Does nothing, and says so, where the order here is not known or there are
    /// so few texts that walking would take longer.
    pub fn intern_sorted<'a>(
        strings: &mut Arc<Self>,
        len: usize,
        text: impl Fn(usize) -> &'a str,
        mut put: impl FnMut(usize, u32),
    ) -> bool {
        /// Walking past so many strings takes about as long as one look-up.
        const PASSED_MAX: usize = 4;
        let Some(own) = strings.sorted().filter(|own| own.len() <= len * PASSED_MAX) else { return false };
        // Texts that are new, each with the place in the order here that it belongs before.
        let (mut fresh, mut at) = (Vec::new(), 0);
        for place in 0..len {
            let bytes = text(place).as_bytes();
            while own.get(at).is_some_and(|code| strings.get(*code) < bytes) {
                at += 1;
            }
            match own.get(at).filter(|code| strings.get(**code) == bytes) {
                Some(code) => {
                    put(place, *code);
                    at += 1;
                }
                None => fresh.push((place, at)),
            }
        }
        if fresh.is_empty() {
            return true;
        }
        let strings = Arc::make_mut(strings);
        let own = std::mem::take(&mut strings.sorted);
        let mut sorted = Vec::with_capacity(own.len() + fresh.len());
        let mut copied = 0;
        for (place, at) in fresh {
            sorted.extend_from_slice(&own[copied..at]);
            copied = at;
            let text = text(place);
            let code = strings.intern_hashed(text, strings.hash(text));
            sorted.push(code);
            put(place, code);
        }
        sorted.extend_from_slice(&own[copied..]);
        strings.sorted = sorted;
        true
    }

    /// The code of one text, likewise.
    pub fn intern(strings: &mut Arc<Self>, text: &str) -> u32 {
        let hash = strings.hash(text);
        match strings.find(text, hash) {
            Some(code) => code,
            None => Arc::make_mut(strings).intern_hashed(text, hash),
        }
    }

    pub fn memory_bytes(&self) -> usize {
        let sorted = self.sorted.capacity() * size_of::<u32>();
        self.bytes.capacity()
            + self.starts.capacity() * size_of::<usize>()
            + sorted
            + self.table.allocation_size()
    }

    #[inline]
    fn hash(&self, text: &str) -> u32 {
        self.hasher.hash_one(text.as_bytes()) as u32
    }

    fn intern_block(strings: &mut Arc<Self>, block: &[&str], mut put: impl FnMut(usize, u32)) {
        let (mut hashes, mut found) = ([0; BLOCK], [None; BLOCK]);
        for (hash, text) in hashes.iter_mut().zip(block) {
            *hash = strings.hash(text);
        }
        for (found, hash) in found.iter_mut().zip(&hashes[..block.len()]) {
            *found = strings.table.find(spread(*hash), |slot| slot.hash == *hash).copied();
        }
        for (place, text) in block.iter().enumerate() {
            let code = match found[place] {
                Some(slot) if strings.at(slot.start) == text.as_bytes() => slot.code,
                _ => match strings.find(text, hashes[place]) {
                    Some(code) => code,
                    None => Arc::make_mut(strings).intern_hashed(text, hashes[place]),
                },
            };
            put(place, code);
        }
    }

    #[inline]
    fn find(&self, text: &str, hash: u32) -> Option<u32> {
        let is_same = |slot: &Slot| slot.hash == hash && self.at(slot.start) == text.as_bytes();
        self.table.find(spread(hash), is_same).map(|slot| slot.code)
    }

    /// Adds a text that is not there.
    fn intern_hashed(&mut self, text: &str, hash: u32) -> u32 {
        let (code, start) = (self.len() as u32, self.bytes.len());
        self.starts.push(start);
        // A string of an array is shorter than 2 GiB.
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self.table.insert_unique(spread(hash), Slot { hash, code, start }, |slot| spread(slot.hash));
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_in_order_get_the_codes_that_hashing_gives() {
        let texts = |step: usize, len: usize| -> Vec<String> {
            let mut texts: Vec<String> = (0..len).map(|index| format!("{}", index * step)).collect();
            texts.sort_unstable();
            texts
        };
        let mut strings = Arc::new(Strings::new());
        let mut check = |texts: &[String], is_walked: bool| {
            let mut codes = vec![u32::MAX; texts.len()];
            let put = |place: usize, code| codes[place] = code;
            assert_eq!(
                Strings::intern_sorted(&mut strings, texts.len(), |place| &texts[place], put),
                is_walked
            );
            for (text, code) in texts.iter().zip(codes).filter(|_| is_walked) {
                assert_eq!(strings.get(code), text.as_bytes());
                assert_eq!(Strings::intern(&mut strings, text), code);
            }
            if let Some(sorted) = strings.sorted() {
                assert!(sorted.is_sorted_by_key(|code| strings.get(*code)));
            }
            strings.len()
        };
        assert_eq!(check(&texts(3, 100), true), 100);
        assert_eq!(check(&texts(3, 90), true), 100, "all are known");
        assert_eq!(check(&texts(2, 300), true), 350, "some are");
        assert_eq!(check(&texts(5, 4), false), 350, "too few to walk");
        Strings::intern(&mut strings, "out of order");
        let texts = texts(2, 300);
        assert!(!Strings::intern_sorted(&mut strings, 300, |place| &texts[place], |_, _| {}));
    }

    #[test]
    fn blocks_give_what_single_look_ups_give() {
        let texts: Vec<String> = (0..1_000).map(|index| format!("text {}", index * 7 % 130)).collect();
        let (mut together, mut single) = (Arc::new(Strings::new()), Arc::new(Strings::new()));
        let mut codes = vec![0; texts.len()];
        let put = |place: usize, code| codes[place] = code;
        Strings::intern_all(&mut together, texts.iter().map(String::as_str), put);
        let before = Arc::clone(&single);
        for (text, code) in texts.iter().zip(codes) {
            assert_eq!(Strings::intern(&mut single, text), code);
            assert_eq!(together.get(code), text.as_bytes());
        }
        assert_eq!((together.len(), single.len(), before.len()), (130, 130, 0));
        let known = Arc::clone(&single);
        Strings::intern(&mut single, "text 7");
        assert!(Arc::ptr_eq(&known, &single), "nothing new, nothing copied");
    }
}
