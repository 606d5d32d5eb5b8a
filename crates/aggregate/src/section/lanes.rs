//! Numbers of a few bits each, side by side: in eight lanes for whole blocks, as one stream for shorter ones.
//!
//! In lanes, number `i` of a block of 256 lies in lane `i % 8` at place `i / 8`; the words of the lanes alternate. Eight neighbours
//! then need the same shifts, which compilers turn into vector instructions. After Lemire and Boytsov: "Decoding billions of integers per
//! second through vectorization" (2015). Not here: which width a block has (`packed`).

/// Numbers in a block.
pub(super) const BLOCK: usize = 256;
const LANES: usize = 8;

/// Bytes of `len` numbers of `width` bits; `len` is at most [`BLOCK`].
pub(super) fn packed_bytes(len: usize, width: u32) -> usize {
    (len * width as usize).div_ceil(8)
}

/// Appends numbers below 2^width; widths over 32 in two parts, low bits first.
pub(super) fn pack(values: &[u64], width: u32, out: &mut Vec<u8>) {
    let low = width.min(u32::BITS);
    match <&[u64; BLOCK]>::try_from(values) {
        Ok(block) => {
            pack_lanes(&block.map(|value| value as u32), low, out);
            if width > low {
                pack_lanes(&block.map(|value| (value >> u32::BITS) as u32), width - low, out);
            }
        }
        Err(_) => pack_stream(values, width, out),
    }
}

/// Reads `out.len()` numbers of `width` bits. `bytes` has as many as [`packed_bytes`] tells.
pub(super) fn unpack(bytes: &[u8], width: u32, out: &mut [u64]) {
    let low = width.min(u32::BITS);
    match <&mut [u64; BLOCK]>::try_from(&mut *out) {
        Ok(block) => {
            let (low_bytes, high_bytes) = bytes.split_at(packed_bytes(BLOCK, low));
            let mut words = [0; BLOCK];
            unpack_lanes(low_bytes, low, &mut words);
            block.iter_mut().zip(&words).for_each(|(value, word)| *value = u64::from(*word));
            if width > low {
                unpack_lanes(high_bytes, width - low, &mut words);
                block
                    .iter_mut()
                    .zip(&words)
                    .for_each(|(value, word)| *value |= u64::from(*word) << u32::BITS);
            }
        }
        Err(_) => unpack_stream(bytes, width, out),
    }
}

fn mask(width: u32) -> u32 {
    u32::MAX.checked_shr(u32::BITS - width).unwrap_or(0)
}

fn pack_lanes(values: &[u32; BLOCK], width: u32, out: &mut Vec<u8>) {
    let mut words = [0u32; BLOCK];
    for (place, values) in values.as_chunks::<LANES>().0.iter().enumerate() {
        let bit = place as u32 * width;
        let (word, shift) = ((bit / u32::BITS) as usize * LANES, bit % u32::BITS);
        for (lane, value) in values.iter().enumerate() {
            words[word + lane] |= value << shift;
            if shift + width > u32::BITS {
                words[word + LANES + lane] |= value >> (u32::BITS - shift);
            }
        }
    }
    let start = out.len();
    out.resize(start + packed_bytes(BLOCK, width), 0);
    let bytes = out[start..].as_chunks_mut().0;
    bytes.iter_mut().zip(&words).for_each(|(bytes, word)| *bytes = word.to_le_bytes());
}

/// Does the same for each place of a lane, spelt out so that every shift is known when it is compiled.
macro_rules! for_each_place {
    ($place:ident => $body:expr) => {
        for_each_place!(@ $place $body; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31)
    };
    (@ $place:ident $body:expr; $($at:literal)*) => {
        $({ const $place: usize = $at; $body })*
    };
}

fn unpack_lanes(bytes: &[u8], width: u32, out: &mut [u32; BLOCK]) {
    /// The function of each width.
    macro_rules! of_width {
        ($($known:literal)*) => {
            match width {
                $($known => unpack_width::<$known>(bytes, out),)*
                _ => out.fill(0),
            }
        };
    }
    of_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);
}

fn unpack_width<const WIDTH: usize>(bytes: &[u8], out: &mut [u32; BLOCK]) {
    const BITS: usize = u32::BITS as usize;
    let words = |word: usize| -> [u32; LANES] {
        let bytes = &bytes[word * LANES * size_of::<u32>()..][..LANES * size_of::<u32>()];
        let (words, _) = bytes.as_chunks::<4>();
        std::array::from_fn(|lane| u32::from_le_bytes(words[lane]))
    };
    let mask = mask(WIDTH as u32);
    let (out, _) = out.as_chunks_mut::<LANES>();
    for_each_place!(PLACE => {
        let (word, shift) = (PLACE * WIDTH / BITS, PLACE * WIDTH % BITS);
        let lanes = words(word);
        out[PLACE] = if shift + WIDTH > BITS {
            let next = words(word + 1);
            std::array::from_fn(|lane| (lanes[lane] >> shift | next[lane] << (BITS - shift)) & mask)
        } else {
            std::array::from_fn(|lane| lanes[lane] >> shift & mask)
        };
    });
}

/// Unpacks a whole block of numbers that are `low` and at most 7 bits more, `low` itself having at most 7.
pub(super) fn unpack_bytes(bytes: &[u8], width: u32, low: u8, out: &mut [u8; BLOCK]) {
    let mut words = [0; BLOCK];
    unpack_lanes(bytes, width, &mut words);
    out.iter_mut().zip(&words).for_each(|(byte, word)| *byte = *word as u8 + low);
}

fn pack_stream(values: &[u64], width: u32, out: &mut Vec<u8>) {
    let (mut held, mut bits) = (0u128, 0);
    for value in values {
        held |= u128::from(*value) << bits;
        bits += width;
        while bits >= 8 {
            out.push(held as u8);
            held >>= 8;
            bits -= 8;
        }
    }
    if bits > 0 {
        out.push(held as u8);
    }
}

fn unpack_stream(bytes: &[u8], width: u32, out: &mut [u64]) {
    let mask = u64::MAX.checked_shr(u64::BITS - width).unwrap_or(0);
    let (mut held, mut bits) = (0u128, 0);
    let mut bytes = bytes.iter();
    for value in out {
        while bits < width {
            held |= u128::from(bytes.next().copied().unwrap_or(0)) << bits;
            bits += 8;
        }
        *value = held as u64 & mask;
        held >>= width;
        bits -= width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        for len in [0, 1, 7, 255, BLOCK] {
            for width in 0..=64u32 {
                let mask = u64::MAX.checked_shr(64 - width).unwrap_or(0);
                let values: Vec<u64> = (0..len as u64).map(|at| crate::hash::number(at) & mask).collect();
                let mut bytes = Vec::new();
                pack(&values, width, &mut bytes);
                assert_eq!(bytes.len(), packed_bytes(len, width), "{len} of {width} bits");
                let mut out = vec![1; len];
                unpack(&bytes, width, &mut out);
                assert_eq!(out, values, "{len} of {width} bits");
            }
        }
    }
}
