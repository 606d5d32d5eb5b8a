//! The byte forms that columns of a section are made of: LEB128 counts, parts with their length, and a reader that cannot pass an end.

use crate::error::AggregateError;

/// Reads bytes from front to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

/// The error of a broken rule.
pub(crate) fn damaged(rule: &'static str) -> AggregateError {
    AggregateError::Damaged { rule }
}

/// `Ok` if `holds`, else the broken rule.
pub(crate) fn require(holds: bool, rule: &'static str) -> Result<(), AggregateError> {
    if holds { Ok(()) } else { Err(damaged(rule)) }
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    /// Reads the version that every column begins with.
    pub fn version(&mut self, known: u8) -> Result<(), AggregateError> {
        match self.u8()? {
            0 => Err(damaged("version 0 does not exist")),
            found if found > known => Err(AggregateError::Version { found, known }),
            _ => Ok(()),
        }
    }

    pub fn u8(&mut self) -> Result<u8, AggregateError> {
        let (first, rest) = self.0.split_first().ok_or(damaged("it is cut short"))?;
        self.0 = rest;
        Ok(*first)
    }

    pub fn take(&mut self, len: usize) -> Result<&'a [u8], AggregateError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(damaged("it is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    pub fn count(&mut self) -> Result<u64, AggregateError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            require(shift < 63 || bits <= 1, "a count is over 64 bits")?;
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged("a count is over 64 bits"))
    }

    pub fn size(&mut self) -> Result<usize, AggregateError> {
        usize::try_from(self.count()?).map_err(|_| damaged("a length is over the address space"))
    }

    /// A part written by [`write_part`].
    pub fn part(&mut self) -> Result<&'a [u8], AggregateError> {
        let len = self.size()?;
        self.take(len)
    }

    pub fn left(&self) -> usize {
        self.0.len()
    }

    pub fn end(self) -> Result<(), AggregateError> {
        require(self.0.is_empty(), "bytes follow the end")
    }
}

/// Appends a LEB128 number.
pub(super) fn write_count(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a part after its length.
pub(super) fn write_part(out: &mut Vec<u8>, part: &[u8]) {
    write_count(out, part.len() as u64);
    out.extend_from_slice(part);
}

/// Small numbers of both signs as small counts.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
