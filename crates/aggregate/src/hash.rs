//! The hashes that distinct values are counted by. States of different threads and units are merged, so these never change.
//!
//! Not here: the hashes of group tables (`keyspace`), which only have to be fast.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Hash of a text.
#[inline]
pub fn text(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

/// Hash of a number: the finaliser of SplitMix64 (Steele, Lea, Flood 2014). A bijection, so numbers never collide.
#[inline]
pub fn number(bits: u64) -> u64 {
    let mut x = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Identity of a text where every distinct value counts: 128 bits do not collide in practice.
#[inline]
pub fn text_wide(text: &str) -> u128 {
    xxh3_128(text.as_bytes())
}

/// The bits of a float, the same for both zeros.
#[inline]
pub fn float_bits(value: f64) -> u64 {
    // Adding zero turns −0 into 0.
    (value + 0.0).to_bits()
}
