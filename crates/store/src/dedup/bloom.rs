//! A blocked Bloom filter over 128-bit hashes: one cache line is read per question.
//!
//! Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007.

/// Words of one block: 512 bits, a cache line.
const BLOCK_WORDS: usize = 8;
/// Bits set per key. With 8 to 12 bits a key, five keep false positives between 1 % and 3 %.
const PROBES: u32 = 5;
/// Bits a key costs at most: more would save little disk access.
const BITS_PER_KEY_MAX: u64 = 10;
/// Bits a key costs at least, 6 % false positives.
const BITS_PER_KEY_MIN: u64 = 6;
/// All filters together may hold so many bits (36 MiB): what the memory target leaves for them.
const BITS_BUDGET: u64 = 36 * 8 * (1 << 20);

/// How many bits a key may cost so that filters over `keys_max` keys fit the budget.
pub fn bits_per_key(keys_max: u64) -> u64 {
    (BITS_BUDGET / keys_max.max(1)).clamp(BITS_PER_KEY_MIN, BITS_PER_KEY_MAX)
}

/// Says "surely not" or "perhaps" of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bloom {
    words: Vec<u64>,
}

impl Bloom {
    /// An empty filter for up to `keys` keys.
    pub fn new(keys: u64, bits_per_key: u64) -> Self {
        let blocks = (keys * bits_per_key).div_ceil(64 * BLOCK_WORDS as u64).max(1);
        Bloom { words: vec![0; blocks as usize * BLOCK_WORDS] }
    }

    /// A filter read back; `None` when it is not whole blocks.
    pub fn from_words(words: Vec<u64>) -> Option<Self> {
        (!words.is_empty() && words.len().is_multiple_of(BLOCK_WORDS)).then_some(Bloom { words })
    }

    /// Its form on disk.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Adds a key.
    pub fn insert(&mut self, key: u128) {
        let start = self.block(key);
        for bit in bits(key) {
            self.words[start + bit / 64] |= 1 << (bit % 64);
        }
    }

    /// False when the key was surely not added.
    pub fn may_contain(&self, key: u128) -> bool {
        let block = &self.words[self.block(key)..][..BLOCK_WORDS];
        bits(key).all(|bit| block[bit / 64] >> (bit % 64) & 1 == 1)
    }

    /// The block comes from the key's low half, which no other structure sorts or indexes by.
    fn block(&self, key: u128) -> usize {
        let blocks = self.words.len() / BLOCK_WORDS;
        let scaled = u128::from(key as u64) * blocks as u128;
        (scaled >> 64) as usize * BLOCK_WORDS
    }
}

/// Places in the block: nine bits each, from the low bits of the key's high half.
fn bits(key: u128) -> impl Iterator<Item = usize> {
    let source = (key >> 64) as u64;
    (0..PROBES).map(move |probe| (source >> (9 * probe) & 511) as usize)
}
