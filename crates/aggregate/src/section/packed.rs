//! Arrays of 64-bit numbers in few bits, read block by block.
//!
//! Each block of 256 has a reference and a width; numbers that need more bits than most have the rest of them aside (Zukowski, Héman,
//! Nes, Boncz: "Super-Scalar RAM-CPU Cache Compression", 2006). Sorted codes are held as steps from one to the next. Reading a block
//! needs no other block.

use super::bytes::{Reader, require, unzigzag, write_count, zigzag};
use super::lanes::{self, BLOCK, pack, packed_bytes, unpack};
use crate::error::AggregateError;
use crate::feed::Rows;

/// The block's numbers stand for themselves.
const PLAIN: u8 = 0;
/// The block's numbers are steps from the one before, the reference is the first; sums are taken modulo the array's modulus.
const STEPS: u8 = 1;

/// Appends an array; `base` is what most numbers are at or above, in whichever order the caller means.
pub(super) fn write(values: &[u64], base: u64, out: &mut Vec<u8>) {
    let unit = unit_of(values, base);
    write_head(values.len(), PLAIN, unit, out);
    write_count(out, zigzag(base as i64));
    let mut block = [0; BLOCK];
    for values in values.chunks(BLOCK) {
        let block = &mut block[..values.len()];
        for (offset, value) in block.iter_mut().zip(values) {
            *offset = value.wrapping_sub(base);
            if unit > 1 {
                *offset /= unit;
            }
        }
        let low = block.iter().copied().min().unwrap_or(0);
        block.iter_mut().for_each(|offset| *offset -= low);
        write_block(block, low, out);
    }
}

/// Appends numbers of which none is negative and zero is common.
pub(super) fn write_counts(values: &[u64], out: &mut Vec<u8>) {
    write(values, values.iter().copied().min().unwrap_or(0), out);
}

/// Appends signed numbers.
pub(super) fn write_signed(values: &[i64], out: &mut Vec<u8>) {
    let base = values.iter().copied().min().unwrap_or(0);
    let values: Vec<u64> = values.iter().map(|value| *value as u64).collect();
    write(&values, base as u64, out);
}

/// Appends numbers below 256, whole blocks of them in each part, without a copy of all as wide numbers.
pub(super) fn write_bytes(parts: &[&[u8]], out: &mut Vec<u8>) {
    write_head(parts.iter().map(|part| part.len()).sum(), PLAIN, 1, out);
    write_count(out, zigzag(0));
    let mut block = [0; BLOCK];
    for bytes in parts.iter().flat_map(|part| part.as_chunks::<BLOCK>().0) {
        let low = bytes.iter().fold(u8::MAX, |low, byte| low.min(*byte));
        block.iter_mut().zip(bytes).for_each(|(number, byte)| *number = u64::from(byte - low));
        write_block(&block, u64::from(low), out);
    }
}

/// Appends codes below `modulus`, as steps or as they are, whichever is shorter.
pub(super) fn write_codes(codes: &[u32], modulus: u32, out: &mut Vec<u8>) {
    let start = out.len();
    let values: Vec<u64> = codes.iter().map(|code| u64::from(*code)).collect();
    write(&values, 0, out);
    let mut steps = Vec::new();
    write_steps(&values, u64::from(modulus), &mut steps);
    if steps.len() < out.len() - start {
        out.truncate(start);
        out.append(&mut steps);
    }
}

fn write_steps(values: &[u64], modulus: u64, out: &mut Vec<u8>) {
    write_head(values.len(), STEPS, 1, out);
    write_count(out, modulus);
    let mut block = [0; BLOCK];
    for values in values.chunks(BLOCK) {
        let block = &mut block[..values.len()];
        let mut before = values[0];
        for (step, value) in block.iter_mut().zip(values) {
            *step = if *value >= before { value - before } else { value + modulus - before };
            before = *value;
        }
        write_block(block, values[0], out);
    }
}

fn write_head(count: usize, form: u8, unit: u64, out: &mut Vec<u8>) {
    write_count(out, count as u64);
    out.push(form);
    write_count(out, unit);
}

/// The greatest common divisor of the distances from the base; at least 1.
fn unit_of(values: &[u64], base: u64) -> u64 {
    let mut unit = 0;
    for value in values {
        let (mut a, mut b) = (value.wrapping_sub(base), unit);
        if b != 0 && a % b == 0 {
            continue;
        }
        while b != 0 {
            (a, b) = (b, a % b);
        }
        unit = a;
        if unit == 1 {
            break;
        }
    }
    unit.max(1)
}

fn write_block(block: &[u64], low: u64, out: &mut Vec<u8>) {
    let (width, bits_max) = choose_width(block);
    out.push(width as u8);
    if width == bits_max {
        out.push(0);
        write_count(out, low);
        return pack(block, width, out);
    }
    let mut places = [0; BLOCK];
    let exceptions = exceptions(block, width, &mut places);
    out.push(exceptions.len() as u8);
    write_count(out, low);
    let mask = u64::MAX.checked_shr(u64::BITS - width).unwrap_or(0);
    let kept: Vec<u64> = block.iter().map(|value| value & mask).collect();
    pack(&kept, width, out);
    out.push((bits_max - width) as u8);
    out.extend_from_slice(exceptions);
    let rest: Vec<u64> = exceptions.iter().map(|place| block[usize::from(*place)] >> width).collect();
    pack(&rest, bits_max - width, out);
}

/// The places of the numbers that need more bits; there are fewer than in a whole block. Without a branch on each, which the processor
/// could not foresee.
fn exceptions<'a>(block: &[u64], width: u32, places: &'a mut [u8; BLOCK]) -> &'a [u8] {
    let mut len = 0;
    for (place, value) in (0..=u8::MAX).zip(block) {
        places[len] = place;
        len += usize::from(value >> width > 0);
    }
    &places[..len]
}

fn bits_of(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// The width that makes the block shortest, and that of its largest number. With exceptions the width is below 64.
fn choose_width(block: &[u64]) -> (u32, u32) {
    let bits_max = bits_of(block.iter().fold(0, |all, value| all | value));
    // Neighbours mostly have as many bits: counted in turns, no count waits for the one before.
    let mut of_bits = [[0u16; 65]; 4];
    for values in block.chunks(of_bits.len()) {
        of_bits.iter_mut().zip(values).for_each(|(of_bits, value)| of_bits[bits_of(*value) as usize] += 1);
    }
    let mut best = (packed_bytes(block.len(), bits_max), bits_max);
    let mut exceptions = 0;
    for width in (0..bits_max).rev() {
        exceptions += of_bits.iter().map(|of_bits| usize::from(of_bits[width as usize + 1])).sum::<usize>();
        if exceptions > usize::from(u8::MAX) {
            break;
        }
        let aside = 1 + exceptions + packed_bytes(exceptions, bits_max - width);
        best = best.min((packed_bytes(block.len(), width) + aside, width));
    }
    (best.1, bits_max)
}

/// An array whose blocks are found and checked, so that reading them cannot fail.
#[derive(Debug)]
pub(super) struct Packed<'a> {
    count: usize,
    is_steps: bool,
    unit: u64,
    /// The base, or of steps the modulus.
    base: u64,
    /// Each block from its head on.
    blocks: Vec<&'a [u8]>,
}

impl<'a> Packed<'a> {
    /// Reads an array that stands at the front.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, AggregateError> {
        let count = reader.size()?;
        let form = reader.u8()?;
        require(form <= STEPS, "the form of an array is unknown")?;
        let unit = reader.count()?;
        let base = reader.count()?;
        let is_steps = form == STEPS;
        require(!is_steps || base <= 1 << u32::BITS, "there are more codes than codes can be")?;
        let blocks_max = count.div_ceil(BLOCK);
        // Every block has at least three bytes, so damaged counts cannot ask for more memory than there are bytes.
        require(blocks_max <= reader.left() / 3, "it is cut short")?;
        let mut blocks = Vec::with_capacity(blocks_max);
        for block in 0..blocks_max {
            let whole = reader.take(reader.left())?;
            let mut rest = Reader::new(whole);
            let low = skip_block(&mut rest, (count - block * BLOCK).min(BLOCK))?;
            require(!is_steps || low < base, "a code is over the number of codes")?;
            let (own, after) = whole.split_at(whole.len() - rest.left());
            blocks.push(own);
            *reader = Reader::new(after);
        }
        let base = if is_steps { base } else { unzigzag(base) as u64 };
        Ok(Packed { count, is_steps, unit, base, blocks })
    }

    /// An array of an expected length.
    pub fn read_exact(reader: &mut Reader<'a>, count: usize) -> Result<Self, AggregateError> {
        let packed = Packed::read(reader)?;
        require(packed.count == count, "an array has another length than its column")?;
        Ok(packed)
    }

    pub fn len(&self) -> usize {
        self.count
    }

    /// The numbers of a block; `out` is a buffer.
    pub fn block<'b>(&self, index: usize, out: &'b mut [u64; BLOCK]) -> &'b [u64] {
        let out = &mut out[..(self.count - index * BLOCK).min(BLOCK)];
        let head = &self.blocks[index];
        let low = unpack_block(head, out);
        if self.is_steps {
            self.sum_steps(low, out);
        } else {
            let low = self.base.wrapping_add(low.wrapping_mul(self.unit));
            if self.unit == 1 {
                out.iter_mut().for_each(|value| *value = value.wrapping_add(low));
            } else {
                out.iter_mut().for_each(|value| *value = value.wrapping_mul(self.unit).wrapping_add(low));
            }
        }
        out
    }

    fn sum_steps(&self, low: u64, steps: &mut [u64]) {
        let modulus = self.base;
        let mut code = low;
        for step in steps {
            // Of damaged bytes a step may be anything; a code must still be below the modulus.
            let step_in_range = if *step < modulus { *step } else { 0 };
            code += step_in_range;
            code -= if code >= modulus { modulus } else { 0 };
            *step = code;
        }
    }

    /// Calls `f` with each block's first place and its numbers, of those blocks that touch `range`, cut to it.
    pub fn for_each_part(&self, range: std::ops::Range<usize>, mut f: impl FnMut(&[u64])) {
        let mut buffer = [0; BLOCK];
        let (mut at, end) = (range.start, range.end.min(self.count));
        while at < end {
            let index = at / BLOCK;
            let values = self.block(index, &mut buffer);
            let until = end.min((index + 1) * BLOCK);
            f(&values[at - index * BLOCK..until - index * BLOCK]);
            at = until;
        }
    }

    /// The numbers from a place on, each as a byte; what is more than a byte becomes 255.
    pub fn bytes(&self, start: usize, out: &mut [u8]) {
        let (mut at, end) = (start, start + out.len());
        let (whole, _) = out.as_chunks_mut::<BLOCK>();
        if start.is_multiple_of(BLOCK) && !self.is_steps && self.unit == 1 && self.base == 0 {
            for out in whole {
                let is_narrow = self.blocks.get(at / BLOCK).is_some_and(|block| unpack_bytes(block, out));
                if !is_narrow {
                    break;
                }
                at += BLOCK;
            }
        }
        let mut rest = out[at - start..].iter_mut();
        self.for_each_part(at..end, |part| {
            part.iter().zip(&mut rest).for_each(|(number, byte)| *byte = (*number).min(0xff) as u8);
        });
    }

    /// The numbers of a range.
    pub fn numbers(&self, range: std::ops::Range<usize>) -> Vec<u64> {
        let mut out = Vec::with_capacity(range.len().min(self.count));
        self.for_each_part(range, |values| out.extend_from_slice(values));
        out
    }
}

/// Single numbers of an array at places that mostly ascend.
pub(super) struct Cursor<'a> {
    packed: &'a Packed<'a>,
    /// The block that is unpacked.
    loaded: usize,
    block: [u64; BLOCK],
}

impl<'a> Cursor<'a> {
    pub fn new(packed: &'a Packed<'a>) -> Self {
        Cursor { packed, loaded: usize::MAX, block: [0; BLOCK] }
    }

    /// The number at a place; 0 past the end.
    pub fn get(&mut self, place: usize) -> u64 {
        if place >= self.packed.len() {
            return 0;
        }
        if place / BLOCK != self.loaded {
            self.loaded = place / BLOCK;
            self.packed.block(self.loaded, &mut self.block);
        }
        self.block[place % BLOCK]
    }
}

/// Passes over a block, checking that it is whole; gives its reference.
fn skip_block(reader: &mut Reader<'_>, len: usize) -> Result<u64, AggregateError> {
    let (width, exceptions) = (u32::from(reader.u8()?), usize::from(reader.u8()?));
    require(width <= u64::BITS, "a width is over 64 bits")?;
    let low = reader.count()?;
    reader.take(packed_bytes(len, width))?;
    if exceptions > 0 {
        let more = u32::from(reader.u8()?);
        require(width + more <= u64::BITS, "a width is over 64 bits")?;
        let places = reader.take(exceptions)?;
        require(places.iter().all(|place| usize::from(*place) < len), "an exception lies outside its block")?;
        reader.take(packed_bytes(exceptions, more))?;
    }
    Ok(low)
}

/// Unpacks a block that [`skip_block`] has checked; gives its reference.
fn unpack_block(block: &[u8], out: &mut [u64]) -> u64 {
    let (width, exceptions) = (u32::from(block[0]), usize::from(block[1]));
    let (low, low_bytes) = count_at(&block[2..]);
    let (packed, rest) = block[2 + low_bytes..].split_at(packed_bytes(out.len(), width));
    unpack(packed, width, out);
    if exceptions > 0 {
        let more = u32::from(rest[0]);
        let (places, rest) = rest[1..].split_at(exceptions);
        let mut high = [0; BLOCK];
        unpack(rest, more, &mut high[..exceptions]);
        for (place, high) in places.iter().zip(&high) {
            // Where the width is 64 there is nothing above it.
            out[usize::from(*place)] |= high.checked_shl(width).unwrap_or(0);
        }
    }
    low
}

/// Unpacks a whole block whose numbers are bytes; says so where they may not be.
fn unpack_bytes(block: &[u8], out: &mut [u8; BLOCK]) -> bool {
    let (width, exceptions) = (u32::from(block[0]), block[1]);
    let (low, low_bytes) = count_at(&block[2..]);
    if width > 7 || exceptions > 0 || low > 0x7f {
        return false;
    }
    lanes::unpack_bytes(&block[2 + low_bytes..], width, low as u8, out);
    true
}

/// A count known to be whole, and its bytes.
fn count_at(bytes: &[u8]) -> (u64, usize) {
    let (mut value, mut len) = (0, 0);
    for byte in bytes {
        value |= u64::from(byte & 0x7f) << (7 * len);
        len += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (value, len)
}

/// Calls `f(place, numbers)` for each of `rows`, counted from `first`, with the numbers of all arrays. The arrays have one length, and
/// the rows lie inside it.
#[inline]
pub(super) fn visit<const N: usize>(
    arrays: [&Packed<'_>; N],
    first: usize,
    rows: Rows<'_>,
    mut f: impl FnMut(usize, [u64; N]),
) {
    let mut buffers = [[0; BLOCK]; N];
    let load = |index: usize, buffers: &mut [[u64; BLOCK]; N]| {
        for (array, buffer) in arrays.iter().zip(buffers) {
            array.block(index, buffer);
        }
    };
    match rows {
        Rows::All(len) => {
            let mut place = 0;
            while place < len {
                let (index, begin) = ((first + place) / BLOCK, (first + place) % BLOCK);
                load(index, &mut buffers);
                let end = BLOCK.min(begin + len - place);
                (begin..end)
                    .zip(place..)
                    .for_each(|(at, place)| f(place, std::array::from_fn(|array| buffers[array][at])));
                place += end - begin;
            }
        }
        Rows::List(rows) => {
            let mut loaded = usize::MAX;
            for (place, row) in rows.iter().enumerate() {
                let row = first + *row as usize;
                if row / BLOCK != loaded {
                    loaded = row / BLOCK;
                    load(loaded, &mut buffers);
                }
                f(place, std::array::from_fn(|array| buffers[array][row % BLOCK]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn read_all(bytes: &[u8]) -> Vec<u64> {
        let mut reader = Reader::new(bytes);
        let packed = Packed::read(&mut reader).expect("own bytes");
        reader.end().expect("nothing follows");
        packed.numbers(0..packed.len())
    }

    fn values() -> impl Strategy<Value = Vec<u64>> {
        let skewed = (0u32..64, any::<u64>()).prop_map(|(shift, value)| value >> shift);
        prop_oneof![
            vec(any::<u64>(), 0..600),
            vec(skewed, 0..1_200),
            vec((0u64..9_000).prop_map(|value| value * 500), 0..600),
            vec(prop_oneof![60 => 0u64..4, 1 => any::<u64>()], 0..900),
            (any::<u64>(), 0usize..700).prop_map(|(value, count)| vec![value; count]),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn numbers_come_back(values in values(), skip in 0usize..700) {
            let mut bytes = Vec::new();
            write_counts(&values, &mut bytes);
            prop_assert_eq!(read_all(&bytes), values.clone());
            let signed: Vec<i64> = values.iter().map(|value| *value as i64).collect();
            let mut bytes = Vec::new();
            write_signed(&signed, &mut bytes);
            prop_assert_eq!(read_all(&bytes), values.clone());
            let packed = Packed::read(&mut Reader::new(&bytes)).expect("own bytes");
            let first = skip.min(values.len());
            prop_assert_eq!(packed.numbers(first..values.len()), &values[first..]);
            let mut seen = Vec::new();
            visit([&packed, &packed], first, Rows::All(values.len() - first), |place, [a, b]| seen.push((place, a, b)));
            let expected: Vec<_> = values[first..].iter().enumerate().map(|(place, value)| (place, *value, *value)).collect();
            prop_assert_eq!(&seen, &expected);
            let odd: Vec<u32> = (0..(values.len() - first) as u32).filter(|row| row % 3 == 1).collect();
            seen.clear();
            visit([&packed, &packed], first, Rows::List(&odd), |place, [a, b]| seen.push((place, a, b)));
            let expected: Vec<_> = odd.iter().enumerate().map(|(place, row)| (place, expected[*row as usize].1, expected[*row as usize].2)).collect();
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn bytes_are_the_numbers(values in values(), narrow in vec(0u64..52, 0..1_400), skip in 0usize..700) {
            let ranks: Vec<u8> = narrow.iter().map(|rank| *rank as u8).collect();
            let mut whole = Vec::new();
            write_bytes(&[&ranks[..ranks.len() / BLOCK * BLOCK]], &mut whole);
            let mut arrays = vec![whole];
            for values in [&values, &narrow] {
                let mut bytes = Vec::new();
                write(values, 0, &mut bytes);
                arrays.push(bytes);
            }
            for bytes in arrays {
                let packed = Packed::read(&mut Reader::new(&bytes)).expect("own bytes");
                for first in [0, BLOCK, skip] {
                    let first = first.min(packed.len());
                    let mut found = vec![7; packed.len() - first];
                    packed.bytes(first, &mut found);
                    let expected = packed.numbers(first..packed.len());
                    prop_assert!(expected.iter().map(|number| (*number).min(255) as u8).eq(found));
                }
            }
        }

        #[test]
        fn codes_come_back(modulus in 1u32..100_000, picks in vec(any::<u32>(), 0..900), is_sorted: bool) {
            let mut codes: Vec<u32> = picks.iter().map(|pick| pick % modulus).collect();
            if is_sorted { codes.sort_unstable(); }
            let mut bytes = Vec::new();
            write_codes(&codes, modulus, &mut bytes);
            let expected: Vec<u64> = codes.iter().map(|code| u64::from(*code)).collect();
            prop_assert_eq!(read_all(&bytes), expected.clone());
            let mut bytes = Vec::new();
            write_steps(&expected, u64::from(modulus), &mut bytes);
            prop_assert_eq!(read_all(&bytes), expected);
        }

        #[test]
        fn foreign_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..200)) {
            if let Ok(packed) = Packed::read(&mut Reader::new(&bytes)) {
                let numbers = packed.numbers(0..packed.len());
                prop_assert!(!packed.is_steps || numbers.iter().all(|code| *code < packed.base));
            }
        }
    }

    #[test]
    fn small_and_regular_numbers_take_little() {
        let bytes = |values: &[u64]| {
            let mut bytes = Vec::new();
            write_counts(values, &mut bytes);
            bytes.len()
        };
        assert!(bytes(&vec![7_000_000; 10_000]) < 140);
        let money: Vec<u64> = (0..10_240).map(|at| (crate::hash::number(at) % 1_024) * 500).collect();
        assert!(bytes(&money) < 10_240 * 11 / 8);
        let mut rare: Vec<u64> = (0..10_240).map(|at| at % 4).collect();
        rare[5] = 1 << 60;
        assert!(bytes(&rare) < 10_240 * 5 / 16);
    }
}
