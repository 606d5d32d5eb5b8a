//! The value of the first and of the last row by time.
//!
//! Ties are decided by the value alone (API.md: first takes the smaller, last the larger), so the result does not depend on
//! the order of rows.

use std::cmp::Ordering;

use super::StateError;
use super::codec::Reader;

/// A value that can be first or last: totally ordered and storable.
pub trait StateValue: Clone {
    /// A total order; for floats the IEEE one.
    fn order(&self, other: &Self) -> Ordering;
    /// Appends the value's canonical bytes.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads [`Self::write`]'s bytes, all of them; `None` if they are no such value.
    fn read(bytes: &[u8]) -> Option<Self>;
    /// Bytes held outside the value itself.
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// The value with the earliest time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First<V>(Option<(i64, V)>);

/// The value with the latest time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last<V>(Option<(i64, V)>);

/// Version of both encodings.
const VERSION: u8 = 1;

macro_rules! state {
    ($state:ident, $name:literal, $wins:expr) => {
        impl<V> Default for $state<V> {
            fn default() -> Self {
                $state(None)
            }
        }

        impl<V: StateValue> $state<V> {
            /// Takes a value with its time in micro-seconds.
            pub fn update(&mut self, time: i64, value: V) {
                if self.wants(time, &value) {
                    self.0 = Some((time, value));
                }
            }

            /// Whether [`Self::update`] would keep this value; asked first where cloning it costs.
            pub fn wants(&self, time: i64, value: &V) -> bool {
                let Some((held_time, held)) = &self.0 else { return true };
                time.cmp(held_time).then_with(|| value.order(held)) == $wins
            }

            /// Adds another state.
            pub fn merge(&mut self, other: &Self) {
                if let Some((time, value)) = &other.0
                    && self.wants(*time, value)
                {
                    self.0 = Some((*time, value.clone()));
                }
            }

            /// The value, `None` over no rows.
            pub fn value(&self) -> Option<&V> {
                self.0.as_ref().map(|(_, value)| value)
            }

            /// The value's time in micro-seconds.
            pub fn time(&self) -> Option<i64> {
                self.0.as_ref().map(|(time, _)| *time)
            }

            /// Appends the canonical bytes: version, 0 or 1 for absent or present, the time (i64 little-endian), the value.
            pub fn encode(&self, out: &mut Vec<u8>) {
                out.push(VERSION);
                out.push(u8::from(self.0.is_some()));
                if let Some((time, value)) = &self.0 {
                    out.extend(time.to_le_bytes());
                    value.write(out);
                }
            }

            /// Reads [`Self::encode`]'s bytes.
            pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
                decode_entry($name, bytes).map($state)
            }

            /// Bytes of memory held.
            pub fn memory_bytes(&self) -> usize {
                size_of::<Self>() + self.value().map_or(0, V::heap_bytes)
            }
        }
    };
}

state!(First, "first", Ordering::Less);
state!(Last, "last", Ordering::Greater);

fn decode_entry<V: StateValue>(state: &'static str, bytes: &[u8]) -> Result<Option<(i64, V)>, StateError> {
    let mut reader = Reader::new(state, VERSION, bytes)?;
    match reader.u8()? {
        0 => {
            reader.end()?;
            Ok(None)
        }
        1 => {
            let time = reader.i64()?;
            let value =
                V::read(reader.rest()).ok_or_else(|| reader.damaged("the value is of another type"))?;
            Ok(Some((time, value)))
        }
        _ => Err(reader.damaged("presence is neither 0 nor 1")),
    }
}

macro_rules! number {
    ($type:ty, $order:expr) => {
        impl StateValue for $type {
            fn order(&self, other: &Self) -> Ordering {
                $order(self, other)
            }

            fn write(&self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(<$type>::from_le_bytes)
            }
        }
    };
}

number!(i64, Ord::cmp);
number!(i128, Ord::cmp);
number!(f64, f64::total_cmp);

impl StateValue for bool {
    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

impl StateValue for String {
    fn order(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }

    fn heap_bytes(&self) -> usize {
        self.capacity()
    }
}
