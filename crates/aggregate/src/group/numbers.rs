//! Codes of dimensions over integers, floats, money and times, all as ordered 64-bit integers.

use std::cmp::Ordering;

use hashbrown::HashTable;

use super::codes::{NULL, null_last};
use crate::hash;

/// Numbers in order of first sight; code 0 is null, number `i` has code `i + 1`.
#[derive(Clone, Default)]
pub(super) struct NumberCodes {
    numbers: Vec<i64>,
    table: HashTable<(i64, u32)>,
    /// Codes of the numbers from 0, which status codes and counts are; 0 where not met.
    small: Vec<u32>,
}

/// Numbers below this are looked up without hashing: HTTP status codes, ports of services, small counts. 16 KB.
const SMALL_MAX: usize = 4_096;

impl NumberCodes {
    pub fn cardinality(&self) -> usize {
        self.numbers.len() + 1
    }

    #[inline]
    pub fn code_of(&mut self, number: i64) -> u32 {
        match self.small.get(number as u64 as usize) {
            Some(code) if *code != NULL => *code,
            _ => self.look_up(number),
        }
    }

    fn look_up(&mut self, number: i64) -> u32 {
        let hash = hash::number(number as u64);
        let next = self.numbers.len() as u32 + 1;
        let entry =
            self.table.entry(hash, |(other, _)| *other == number, |(other, _)| hash::number(*other as u64));
        let code = entry.or_insert((number, next)).get().1;
        if code == next {
            self.numbers.push(number);
            if (0..SMALL_MAX as i64).contains(&number) {
                self.small.resize(SMALL_MAX, NULL);
                self.small[number as usize] = code;
            }
        }
        code
    }

    pub fn number(&self, code: u32) -> Option<i64> {
        code.checked_sub(1).map(|index| self.numbers[index as usize])
    }

    /// Null last both ways.
    pub fn compare(&self, a: u32, b: u32, descending: bool) -> Ordering {
        null_last(a, b, descending, |a, b| self.numbers[a as usize].cmp(&self.numbers[b as usize]))
    }

    pub fn memory_bytes(&self) -> usize {
        self.numbers.capacity() * size_of::<i64>()
            + self.table.allocation_size()
            + self.small.capacity() * size_of::<u32>()
    }
}
