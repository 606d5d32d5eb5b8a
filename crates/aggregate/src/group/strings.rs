//! Distinct strings numbered in order of first sight, looked up many at a time.
//!
//! Tables of many strings do not fit in a processor's cache, so one look-up is a chain of three waits for memory. Done in steps over
//! a block of strings, the waits of a block overlap. Not here: interning for dictionary columns (`columns::Interner`).

use std::hash::BuildHasher;

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

    /// Calls `put(place, code)` for each text, in order; new texts are added.
    pub fn intern_all<'a>(&mut self, texts: impl Iterator<Item = &'a str>, mut put: impl FnMut(usize, u32)) {
        let mut block = [""; BLOCK];
        let (mut filled, mut done) = (0, 0);
        for text in texts {
            block[filled] = text;
            filled += 1;
            if filled == BLOCK {
                self.intern_block(&block, |place, code| put(done + place, code));
                done += BLOCK;
                filled = 0;
            }
        }
        self.intern_block(&block[..filled], |place, code| put(done + place, code));
    }

    pub fn intern(&mut self, text: &str) -> u32 {
        self.intern_hashed(text, self.hash(text))
    }

    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.starts.capacity() * size_of::<usize>() + self.table.allocation_size()
    }

    #[inline]
    fn hash(&self, text: &str) -> u32 {
        self.hasher.hash_one(text.as_bytes()) as u32
    }

    fn intern_block(&mut self, block: &[&str], mut put: impl FnMut(usize, u32)) {
        let (mut hashes, mut found) = ([0; BLOCK], [None; BLOCK]);
        for (hash, text) in hashes.iter_mut().zip(block) {
            *hash = self.hash(text);
        }
        for (found, hash) in found.iter_mut().zip(&hashes[..block.len()]) {
            *found = self.table.find(spread(*hash), |slot| slot.hash == *hash).copied();
        }
        for (place, text) in block.iter().enumerate() {
            let code = match found[place] {
                Some(slot) if self.at(slot.start) == text.as_bytes() => slot.code,
                _ => self.intern_hashed(text, hashes[place]),
            };
            put(place, code);
        }
    }

    fn intern_hashed(&mut self, text: &str, hash: u32) -> u32 {
        let is_same = |slot: &Slot| slot.hash == hash && self.at(slot.start) == text.as_bytes();
        if let Some(slot) = self.table.find(spread(hash), is_same) {
            return slot.code;
        }
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
    fn blocks_give_what_single_look_ups_give() {
        let texts: Vec<String> = (0..1_000).map(|index| format!("text {}", index * 7 % 130)).collect();
        let (mut together, mut single) = (Strings::new(), Strings::new());
        let mut codes = vec![0; texts.len()];
        together.intern_all(texts.iter().map(String::as_str), |place, code| codes[place] = code);
        for (text, code) in texts.iter().zip(codes) {
            assert_eq!(single.intern(text), code);
            assert_eq!(together.get(code), text.as_bytes());
        }
        assert_eq!((together.len(), single.len()), (130, 130));
    }
}
