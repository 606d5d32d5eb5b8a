//! Distinct strings numbered in order of first sight, looked up many at a time.
//!
//! Tables of many strings do not fit in a processor's cache, so one look-up is a chain of three waits for memory. Done in steps over
//! a block of strings, the waits of a block overlap. Strings that come in order are found without a table, which is made when the first
//! comes that is not. Not here: interning for dictionary columns (`columns::Interner`).

use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::sync::{Arc, OnceLock};

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
    /// Every string, or not made yet. Copies share it.
    table: OnceLock<HashTable<Slot>>,
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

/// Bytes of a table of so many strings: a power of two of slots, at most seven eighths of them full, and a mark for each.
fn table_bytes(len: usize) -> usize {
    (len * 8).div_ceil(7).next_power_of_two() * (size_of::<Slot>() + 1)
}

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
            table: OnceLock::new(),
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

    /// As [`Self::intern_all`] for `len` texts that are thought to ascend, which are found by walking along the strings here instead of by
    /// hashing: a fraction of the time where most are known. Adds nothing, and says so, where they do not ascend, where the order here is
    /// not known, or where there are so few texts that walking would take longer; codes that were put until then are right.
    pub fn intern_sorted<'a>(
        strings: &mut Arc<Self>,
        len: usize,
        text: impl Fn(usize) -> &'a str,
        mut put: impl FnMut(usize, u32),
    ) -> bool {
        /// Walking past so many strings takes about as long as one look-up.
        const PASSED_MAX: usize = 4;
        let Some(own) = strings.sorted().filter(|own| own.len() <= len * PASSED_MAX) else { return false };
        let ascends = |place: usize| place == 0 || text(place - 1) < text(place);
        if own.is_empty() {
            let is_sorted = (0..len).all(ascends);
            if is_sorted {
                let strings = Arc::make_mut(strings);
                strings.reserve((0..len).map(|place| text(place).len()));
                strings.sorted.extend(0..len as u32);
                (0..len).for_each(|place| put(place, strings.push(text(place))));
            }
            return is_sorted;
        }
        // Texts that are new, each with the place in the order here that it belongs before.
        let (mut fresh, mut at) = (Vec::new(), 0);
        for place in 0..len {
            let bytes = text(place).as_bytes();
            let known = loop {
                let Some(code) = own.get(at) else { break None };
                match compare(strings.get(*code), bytes) {
                    Ordering::Less => at += 1,
                    Ordering::Equal => break Some(*code),
                    Ordering::Greater => break None,
                }
            };
            match known {
                Some(code) => {
                    put(place, code);
                    at += 1;
                }
                // Known texts ascend as the strings here do.
                None if ascends(place) => fresh.push((place as u32, at as u32)),
                None => return false,
            }
        }
        if fresh.is_empty() {
            return true;
        }
        let strings = Arc::make_mut(strings);
        strings.reserve(fresh.iter().map(|(place, _)| text(*place as usize).len()));
        let own = std::mem::take(&mut strings.sorted);
        let mut sorted = Vec::with_capacity(own.len() + fresh.len());
        let mut copied = 0;
        for (place, at) in fresh {
            let (place, at) = (place as usize, at as usize);
            sorted.extend_from_slice(&own[copied..at]);
            copied = at;
            let code = strings.push(text(place));
            sorted.push(code);
            put(place, code);
        }
        sorted.extend_from_slice(&own[copied..]);
        strings.sorted = sorted;
        true
    }

    /// The code of one text, likewise.
    pub fn intern(strings: &mut Arc<Self>, text: &str) -> u32 {
        let hash = strings.hash(text.as_bytes());
        match strings.find(text.as_bytes(), hash) {
            Some(code) => code,
            None => Arc::make_mut(strings).intern_hashed(text, hash),
        }
    }

    /// The code in `other` of each string here; `None` where `other` lacks one.
    pub fn codes_in(&self, other: &Strings) -> Option<Vec<u32>> {
        let (Some(own), Some(others)) = (self.sorted(), other.sorted()) else {
            let code = |start: &usize| {
                let bytes = self.at(*start);
                other.find(bytes, other.hash(bytes))
            };
            return self.starts.iter().map(code).collect();
        };
        let mut codes = vec![0; self.len()];
        let mut others = others.iter();
        for code in own {
            let bytes = self.get(*code);
            let found =
                others.find(|other_code| compare(other.get(**other_code), bytes) != Ordering::Less)?;
            if compare(other.get(*found), bytes) != Ordering::Equal {
                return None;
            }
            codes[*code as usize] = *found;
        }
        Some(codes)
    }

    /// Gives back room that is left over.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.starts.shrink_to_fit();
        self.sorted.shrink_to_fit();
    }

    /// Bytes held, with those of the table even where it is not made yet: who shares this may make it any time.
    pub fn memory_bytes(&self) -> usize {
        let table = self.table.get().map_or_else(|| table_bytes(self.len()), HashTable::allocation_size);
        let sorted = self.sorted.capacity() * size_of::<u32>();
        self.bytes.capacity() + self.starts.capacity() * size_of::<usize>() + sorted + table
    }

    /// Makes room for strings of these lengths.
    fn reserve(&mut self, lengths: impl ExactSizeIterator<Item = usize>) {
        self.starts.reserve(lengths.len());
        self.bytes.reserve(lengths.map(|length| LENGTH_BYTES + length).sum());
    }

    fn table(&self) -> &HashTable<Slot> {
        self.table.get_or_init(|| {
            let mut table = HashTable::with_capacity(self.len());
            for (code, start) in self.starts.iter().enumerate() {
                let hash = self.hasher.hash_one(self.at(*start)) as u32;
                let slot = Slot { hash, code: code as u32, start: *start };
                table.insert_unique(spread(hash), slot, |slot| spread(slot.hash));
            }
            table
        })
    }

    #[inline]
    fn hash(&self, text: &[u8]) -> u32 {
        self.hasher.hash_one(text) as u32
    }

    fn intern_block(strings: &mut Arc<Self>, block: &[&str], mut put: impl FnMut(usize, u32)) {
        if block.is_empty() {
            return;
        }
        let (mut hashes, mut found) = ([0; BLOCK], [None; BLOCK]);
        let table = strings.table();
        for (hash, text) in hashes.iter_mut().zip(block) {
            *hash = strings.hash(text.as_bytes());
        }
        for (found, hash) in found.iter_mut().zip(&hashes[..block.len()]) {
            *found = table.find(spread(*hash), |slot| slot.hash == *hash).copied();
        }
        let mut codes = [None; BLOCK];
        let codes = &mut codes[..block.len()];
        for (place, code) in codes.iter_mut().enumerate() {
            *code = match found[place] {
                Some(slot) if strings.at(slot.start) == block[place].as_bytes() => Some(slot.code),
                Some(_) => strings.find(block[place].as_bytes(), hashes[place]),
                None => None,
            };
        }
        if codes.contains(&None) {
            // Once for all of them: it looks whether others hold the strings too.
            let strings = Arc::make_mut(strings);
            for (place, code) in codes.iter_mut().enumerate().filter(|(_, code)| code.is_none()) {
                // A new text may stand in the block twice.
                let known = strings.find(block[place].as_bytes(), hashes[place]);
                *code = Some(known.unwrap_or_else(|| strings.intern_hashed(block[place], hashes[place])));
            }
        }
        codes.iter().flatten().enumerate().for_each(|(place, code)| put(place, *code));
    }

    #[inline]
    fn find(&self, text: &[u8], hash: u32) -> Option<u32> {
        let is_same = |slot: &Slot| slot.hash == hash && self.at(slot.start) == text;
        self.table().find(spread(hash), is_same).map(|slot| slot.code)
    }

    /// Adds a text that is not there.
    fn intern_hashed(&mut self, text: &str, hash: u32) -> u32 {
        self.table();
        let start = self.bytes.len();
        let code = self.append(text);
        if let Some(table) = self.table.get_mut() {
            table.insert_unique(spread(hash), Slot { hash, code, start }, |slot| spread(slot.hash));
        }
        code
    }

    /// Adds a text that is not there, to the table only where that is made.
    fn push(&mut self, text: &str) -> u32 {
        match self.table.get() {
            Some(_) => self.intern_hashed(text, self.hash(text.as_bytes())),
            None => self.append(text),
        }
    }

    fn append(&mut self, text: &str) -> u32 {
        let code = self.len() as u32;
        self.starts.push(self.bytes.len());
        // A string of an array is shorter than 2 GiB.
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        code
    }
}

/// The order of two strings by bytes. Names of one kind mostly have one length; those are compared a word at a time, the last word
/// overlapping the one before.
#[inline]
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    const WORD: usize = size_of::<u64>();
    let (Some(a_last), Some(b_last)) = (a.last_chunk::<WORD>(), b.last_chunk::<WORD>()) else {
        return a.cmp(b);
    };
    if a.len() != b.len() {
        return a.cmp(b);
    }
    let word = |bytes: &[u8; WORD]| u64::from_be_bytes(*bytes);
    let words = a.as_chunks::<WORD>().0.iter().zip(b.as_chunks::<WORD>().0);
    for (a, b) in words {
        if a != b {
            return word(a).cmp(&word(b));
        }
    }
    word(a_last).cmp(&word(b_last))
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
        let mut mixed = texts(2, 300);
        mixed.swap(40, 50);
        assert_eq!(check(&mixed, false), 350, "out of order");
        assert_eq!(check(&texts(1, 700), true), 700, "in order after all");
        Strings::intern(&mut strings, "out of order");
        let texts = texts(2, 300);
        assert!(!Strings::intern_sorted(&mut strings, 300, |place| &texts[place], |_, _| {}));
    }

    #[test]
    fn codes_of_a_part_are_found_in_the_whole() {
        let strings = |texts: &mut dyn Iterator<Item = usize>| {
            let mut strings = Arc::new(Strings::new());
            texts.for_each(|text| _ = Strings::intern(&mut strings, &format!("{text}")));
            strings
        };
        let sorted = |texts: &mut dyn Iterator<Item = usize>| {
            let mut texts: Vec<String> = texts.map(|text| format!("{text}")).collect();
            texts.sort_unstable();
            let mut strings = Arc::new(Strings::new());
            assert!(Strings::intern_sorted(&mut strings, texts.len(), |place| &texts[place], |_, _| {}));
            strings
        };
        let wholes = [strings(&mut (0..3_000).rev()), sorted(&mut (0..3_000))];
        let parts = [strings(&mut (100..2_000)), sorted(&mut (100..2_000)), sorted(&mut (0..3_000))];
        for whole in &wholes {
            for part in &parts {
                let codes = part.codes_in(whole).expect("all are there");
                assert!((0..part.len()).all(|code| part.get(code as u32) == whole.get(codes[code])));
            }
            for other in [strings(&mut (2_999..3_001)), sorted(&mut (2_000..3_001))] {
                assert!(other.codes_in(whole).is_none());
            }
        }
    }

    #[test]
    fn order_is_that_of_bytes() {
        let mut texts: Vec<String> =
            (0..400).map(|at| format!("user-{:01$}", at * 7919 % 1_000, at % 5)).collect();
        texts.extend(["", "é", "user-é", "user-0é", "a", "user-0000000000000000001"].map(str::to_owned));
        for a in &texts {
            for b in &texts {
                assert_eq!(compare(a.as_bytes(), b.as_bytes()), a.cmp(b), "{a} {b}");
            }
        }
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
