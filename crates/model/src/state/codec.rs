//! The byte forms that the states' formats are made of: little-endian numbers and LEB128 counts after a version byte.

use super::StateError;

/// The most rows that stored bytes may speak of, so that sums of many counts from damaged bytes cannot overflow.
pub(super) const ROWS_MAX: u64 = 1 << 56;

/// Reads the bytes of one state from front to end.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    state: &'static str,
}

impl<'a> Reader<'a> {
    /// Begins to read a state of a kind whose newest version is `known`; versions begin at 1.
    pub fn new(state: &'static str, known: u8, bytes: &'a [u8]) -> Result<Self, StateError> {
        let mut reader = Reader { bytes, state };
        match reader.u8()? {
            0 => Err(reader.damaged("version 0 does not exist")),
            found if found > known => Err(StateError::Version { state, found, known }),
            _ => Ok(reader),
        }
    }

    pub fn damaged(&self, rule: &'static str) -> StateError {
        StateError::Damaged { state: self.state, rule }
    }

    /// `Ok` if `holds`, else the broken rule.
    pub fn require(&self, holds: bool, rule: &'static str) -> Result<(), StateError> {
        if holds { Ok(()) } else { Err(self.damaged(rule)) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let (taken, rest) =
            self.bytes.split_first_chunk().ok_or(StateError::Truncated { state: self.state })?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub fn u8(&mut self) -> Result<u8, StateError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u64(&mut self) -> Result<u64, StateError> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn i64(&mut self) -> Result<i64, StateError> {
        self.array().map(i64::from_le_bytes)
    }

    pub fn u128(&mut self) -> Result<u128, StateError> {
        self.array().map(u128::from_le_bytes)
    }

    pub fn i128(&mut self) -> Result<i128, StateError> {
        self.array().map(i128::from_le_bytes)
    }

    pub fn finite(&mut self) -> Result<f64, StateError> {
        let value = f64::from_bits(self.u64()?);
        self.require(value.is_finite(), "a number is not finite")?;
        Ok(value)
    }

    /// A LEB128 number in its shortest form.
    pub fn count(&mut self) -> Result<u64, StateError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            self.require(shift < 63 || bits <= 1, "a count is over 64 bits")?;
            value |= bits << shift;
            if byte & 0x80 == 0 {
                self.require(shift == 0 || bits != 0, "a count is not in its shortest form")?;
                return Ok(value);
            }
        }
        Err(self.damaged("a count is over 64 bits"))
    }

    /// A count of rows: at most [`ROWS_MAX`].
    pub fn rows(&mut self) -> Result<u64, StateError> {
        let rows = self.count()?;
        self.require(rows <= ROWS_MAX, "a count of rows is impossible")?;
        Ok(rows)
    }

    /// All bytes that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    pub fn end(self) -> Result<(), StateError> {
        self.require(self.bytes.is_empty(), "bytes follow the end")
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
