//! Positions in the store's history: log sequence numbers and the versions clients see.

use std::fmt;
use std::str::FromStr;

/// A log record's place in the order of all writes of a store; 1 is the first, 0 is before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub i64);

impl Lsn {
    /// The record after it.
    pub fn next(self) -> Lsn {
        Lsn(self.0 + 1)
    }
}

/// A store's random identity; a restore draws a new one, so that versions of two histories never compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId(pub u64);

/// A state of the data as clients see it: `STOREID-LSN`, 16 hexadecimal digits, a dash, a decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// The history.
    pub store: StoreId,
    /// The last record it includes.
    pub lsn: Lsn,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.store.0, self.lsn.0)
    }
}

/// A text is not a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version: expected STOREID-LSN as given in an earlier reply")]
pub struct InvalidVersion;

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let (store, lsn) = text.split_once('-').ok_or(InvalidVersion)?;
        if store.len() != 16 || lsn.is_empty() || !lsn.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidVersion);
        }
        Ok(Version {
            store: StoreId(u64::from_str_radix(store, 16).map_err(|_| InvalidVersion)?),
            lsn: Lsn(lsn.parse().map_err(|_| InvalidVersion)?),
        })
    }
}
