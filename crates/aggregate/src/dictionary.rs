//! What is remembered for each entry of a string dictionary while batches share it.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};

/// One `T` per entry of the dictionary seen last. Only that one: the batches of a row group share theirs and come in a row.
#[derive(Clone, Debug)]
pub struct Entries<T> {
    unknown: T,
    /// Held, so that its address stays taken.
    values: Option<ArrayRef>,
    entries: Vec<T>,
}

impl<T: Copy> Entries<T> {
    /// `unknown` stands for entries not looked at yet.
    pub fn new(unknown: T) -> Self {
        Entries { unknown, values: None, entries: Vec::new() }
    }

    /// Whether this is the dictionary seen last.
    pub fn is_of(&self, values: &ArrayRef) -> bool {
        self.values.as_ref().is_some_and(|held| is_same(held, values))
    }

    /// The memory of this dictionary, empty if it is another one than before.
    pub fn of(&mut self, values: &ArrayRef) -> &mut [T] {
        if !self.is_of(values) {
            self.entries.clear();
            self.entries.resize(values.len(), self.unknown);
            self.values = Some(ArrayRef::clone(values));
        }
        &mut self.entries
    }

    pub fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<T>()
    }
}

/// Whether two arrays are views of the same memory. Readers may wrap one dictionary anew for each batch.
fn is_same(a: &ArrayRef, b: &ArrayRef) -> bool {
    let (Some(a), Some(b)) = (a.as_string_opt::<i32>(), b.as_string_opt::<i32>()) else { return false };
    let is_same_nulls = match (a.nulls(), b.nulls()) {
        (None, None) => true,
        (Some(a), Some(b)) => a.inner().ptr_eq(b.inner()),
        _ => false,
    };
    a.len() == b.len()
        && is_same_nulls
        && a.offsets().as_ptr() == b.offsets().as_ptr()
        && a.values().as_ptr() == b.values().as_ptr()
}
