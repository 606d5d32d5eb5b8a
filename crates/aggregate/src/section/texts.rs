//! Sorted distinct texts as bytes: each shares its beginning with the one before.

use std::cell::RefCell;

use arrow_array::StringArray;
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};

use super::bytes::{Reader, damaged, require, write_count, write_part};
use super::lanes::BLOCK;
use super::packed::{Packed, write_counts};
use crate::error::AggregateError;

/// A shared beginning is at most so long, so that damaged bytes cannot blow up without bound.
const SHARED_MAX: usize = 255;
/// The endings as they are.
const RAW: u8 = 0;
/// The endings as one LZ4 block.
const LZ4: u8 = 1;
/// LZ4 makes bytes at most so many times longer; what claims more is damaged.
const LZ4_RATIO_MAX: usize = 255;

/// A thread keeps at most so much to unpack endings into; larger ones are given back at once.
const UNPACKED_BYTES_MAX: usize = 2 << 20;

thread_local! {
    /// Where endings are unpacked. One question reads a dictionary for each day, and memory that was used before need
    /// not be mapped anew each time.
    static UNPACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Appends texts that ascend by UTF-8 bytes.
pub(super) fn write(texts: &[&str], out: &mut Vec<u8>) {
    let (mut shared, mut lengths, mut endings) = (Vec::new(), Vec::new(), Vec::new());
    let mut before: &[u8] = &[];
    for text in texts {
        let text = text.as_bytes();
        let same = shared_len(before, text).min(SHARED_MAX);
        shared.push(same as u64);
        lengths.push((text.len() - same) as u64);
        endings.extend_from_slice(&text[same..]);
        before = text;
    }
    write_counts(&shared, out);
    write_counts(&lengths, out);
    let packed = lz4_flex::block::compress(&endings);
    // Unpacking costs time at every cold read, so it has to save something.
    if packed.len() < endings.len() / 8 * 7 {
        out.push(LZ4);
        write_count(out, endings.len() as u64);
        write_part(out, &packed);
    } else {
        out.push(RAW);
        write_part(out, &endings);
    }
}

/// How many bytes two texts have in common at their beginning; a word at a time.
fn shared_len(a: &[u8], b: &[u8]) -> usize {
    const WORD: usize = size_of::<u64>();
    let words = a.as_chunks::<WORD>().0.iter().zip(b.as_chunks::<WORD>().0);
    let whole = words.take_while(|(a, b)| a == b).count() * WORD;
    let rest = a[whole..].iter().zip(&b[whole..]);
    whole + rest.take_while(|(a, b)| a == b).count()
}

/// Reads what [`write`] wrote.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<StringArray, AggregateError> {
    let shared = Packed::read(reader)?;
    let lengths = Packed::read_exact(reader, shared.len())?;
    let (offsets, bytes) = match reader.u8()? {
        RAW => join(&shared, &lengths, reader.part()?)?,
        LZ4 => {
            let len = reader.size()?;
            let packed = reader.part()?;
            require(len / LZ4_RATIO_MAX <= packed.len(), "a dictionary is longer than its bytes can hold")?;
            UNPACKED.with_borrow_mut(|unpacked| {
                unpacked.resize(len.max(unpacked.len()), 0);
                let endings = lz4_flex::block::decompress_into(packed, &mut unpacked[..len])
                    .map_err(|_| damaged("the texts of a dictionary cannot be unpacked"));
                let joined = endings.and_then(|len| join(&shared, &lengths, &unpacked[..len]));
                if unpacked.len() > UNPACKED_BYTES_MAX {
                    *unpacked = Vec::new();
                }
                joined
            })?
        }
        _ => return Err(damaged("the form of a dictionary is unknown")),
    };
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    StringArray::try_new(offsets, Buffer::from_vec(bytes), None)
        .map_err(|_| damaged("a text of a dictionary is no UTF-8"))
}

/// A step over which the beginnings and endings of texts are copied; most fit, and a copy of a fixed length is one instruction.
const STEP: usize = 16;

/// Where each text begins, and the texts end to end. Block by block, so that nothing but these is held.
fn join(
    shared: &Packed<'_>,
    lengths: &Packed<'_>,
    endings: &[u8],
) -> Result<(Vec<i32>, Vec<u8>), AggregateError> {
    /// Bytes of most beginnings, to make room for beforehand; room that is not used is not touched.
    const SHARED_USUAL: usize = 12;
    let count = shared.len();
    // Endings are distinct, so each but one has a byte, and beginnings are bounded: this is bounded by the bytes there are.
    require(count <= endings.len() + 1, "a text of a dictionary is there twice")?;
    let mut bytes: Vec<u8> = Vec::with_capacity(endings.len() + count * SHARED_USUAL + STEP);
    let mut offsets = Vec::with_capacity(count + 1);
    offsets.push(0);
    let (mut start, mut end, mut from) = (0usize, 0usize, 0usize);
    let [mut of_shared, mut of_lengths] = [[0; BLOCK]; 2];
    for block in 0..count.div_ceil(BLOCK) {
        let (shared, lengths) = (shared.block(block, &mut of_shared), lengths.block(block, &mut of_lengths));
        require(shared.iter().all(|shared| *shared <= SHARED_MAX as u64), "a shared beginning is too long")?;
        let left = (endings.len() - from) as u64;
        let added = lengths.iter().try_fold(0u64, |sum, length| sum.checked_add(*length));
        let added = added.filter(|added| *added <= left);
        let added = added.ok_or(damaged("a dictionary's lengths do not add up"))? as usize;
        let room = end + added + shared.iter().sum::<u64>() as usize;
        require(room <= i32::MAX as usize, "a dictionary is over 2 GiB")?;
        bytes.resize(room + STEP, 0);
        for (shared, length) in shared.iter().zip(lengths) {
            let (shared, length) = (*shared as usize, *length as usize);
            require(shared <= end - start, "a shared beginning is longer than the text before")?;
            if shared <= STEP {
                let chunk: [u8; STEP] =
                    bytes[start..start + STEP].try_into().expect("a slice of that length");
                bytes[end..end + STEP].copy_from_slice(&chunk);
            } else {
                bytes.copy_within(start..start + shared, end);
            }
            (start, end) = (end, end + shared);
            match endings.get(from..from + STEP) {
                // What is copied too much is written over by the next text, or cut off at the end.
                Some(chunk) if length <= STEP => bytes[end..end + STEP].copy_from_slice(chunk),
                _ => bytes[end..end + length].copy_from_slice(&endings[from..from + length]),
            }
            from += length;
            end += length;
            offsets.push(end as i32);
        }
    }
    require(from == endings.len(), "a dictionary's lengths do not add up")?;
    bytes.truncate(end);
    Ok((offsets, bytes))
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn texts_come_back(
            texts in prop_oneof![
                btree_set("(user-|team/é)?[0-9]{0,6}", 0..400),
                btree_set("x{0,300}[a-zé]{0,40}", 0..60),
                btree_set(any::<String>(), 0..40),
            ],
        ) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let mut bytes = Vec::new();
            write(&texts, &mut bytes);
            let mut reader = Reader::new(&bytes);
            let array = read(&mut reader).expect("own bytes");
            prop_assert_eq!(reader.left(), 0);
            prop_assert_eq!((0..array.len()).map(|row| array.value(row)).collect::<Vec<_>>(), texts);
        }

        #[test]
        fn foreign_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..120), count in 0u64..5, shared in 0u64..5) {
            let _ = read(&mut Reader::new(&bytes));
            let mut own = Vec::new();
            write_counts(&vec![shared; count as usize], &mut own);
            write_counts(&vec![shared; count as usize], &mut own);
            own.extend(bytes);
            let _ = read(&mut Reader::new(&own));
        }
    }
}
