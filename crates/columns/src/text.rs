//! Building and reading string columns, which are plain or dictionary-encoded.
//!
//! Not here: joining columns of several batches (`concat`).

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, StringArray};
use arrow_buffer::{NullBufferBuilder, ScalarBuffer};
use arrow_schema::DataType;

use crate::intern::{Interner, strings_from};

/// Fewer rows stay plain: a dictionary's fixed cost is more than it saves, and many requests hold one row.
pub(crate) const DICTIONARY_ROWS_MIN: usize = 64;
/// A dictionary pays while at least this many rows share an entry on average.
pub(crate) const ROWS_PER_ENTRY_MIN: usize = 2;

/// Builds one string column row by row. It starts plain, turns to a dictionary once the first rows show that values
/// repeat, and back to plain when they stop repeating.
pub struct TextBuilder {
    form: Form,
    nulls: NullBufferBuilder,
}

enum Form {
    /// Offsets and bytes as in a string array.
    Plain { offsets: Vec<i32>, bytes: Vec<u8>, decided: bool },
    /// A code per row; null rows hold code 0.
    Coded { interner: Interner, codes: Vec<i32> },
}

impl TextBuilder {
    /// Empty, with room for `rows`.
    pub fn new(rows: usize) -> Self {
        let rows = rows.min(DICTIONARY_ROWS_MIN);
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        TextBuilder {
            form: Form::Plain { offsets, bytes: Vec::new(), decided: false },
            nulls: NullBufferBuilder::new(rows),
        }
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Plain { offsets, .. } => offsets.len() - 1,
            Form::Coded { codes, .. } => codes.len(),
        }
    }

    /// True before the first row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a row.
    ///
    /// # Panics
    /// When the text passes 2 GiB in all.
    #[inline]
    pub fn push(&mut self, text: &str) {
        self.nulls.append_non_null();
        match &mut self.form {
            Form::Coded { interner, codes } => {
                let before = interner.len();
                codes.push(interner.intern(text) as i32);
                let is_new = interner.len() > before;
                if is_new && interner.len() * ROWS_PER_ENTRY_MIN > codes.len() + DICTIONARY_ROWS_MIN {
                    self.form = Form::plain(interner, codes);
                }
            }
            Form::Plain { offsets, bytes, decided } => {
                bytes.extend_from_slice(text.as_bytes());
                offsets.push(end(bytes));
                if !*decided && offsets.len() > DICTIONARY_ROWS_MIN {
                    *decided = true;
                    self.consider_coding();
                }
            }
        }
    }

    /// Adds null rows.
    pub fn push_nulls(&mut self, rows: usize) {
        self.nulls.append_n_nulls(rows);
        match &mut self.form {
            Form::Coded { codes, .. } => codes.resize(codes.len() + rows, 0),
            Form::Plain { offsets, bytes, .. } => offsets.resize(offsets.len() + rows, end(bytes)),
        }
    }

    /// Forgets the rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        if rows >= self.len() {
            return;
        }
        self.nulls.truncate(rows);
        match &mut self.form {
            Form::Coded { codes, .. } => codes.truncate(rows),
            Form::Plain { offsets, bytes, .. } => {
                offsets.truncate(rows + 1);
                bytes.truncate(offsets[rows] as usize);
            }
        }
    }

    /// The column: `Dictionary(Int32, Utf8)` where that pays, else `Utf8`.
    pub fn finish(mut self) -> ArrayRef {
        let nulls = self.nulls.finish();
        match self.form {
            Form::Plain { offsets, bytes, .. } => Arc::new(strings_from(offsets, bytes, nulls)),
            Form::Coded { interner, codes } => {
                let keys = Int32Array::new(ScalarBuffer::from(codes), nulls);
                Arc::new(DictionaryArray::new(keys, interner.into_values()))
            }
        }
    }

    /// Turns the plain rows into codes if enough of them repeat.
    fn consider_coding(&mut self) {
        let Form::Plain { offsets, bytes, .. } = &self.form else { return };
        let mut interner = Interner::default();
        let mut codes = Vec::with_capacity(offsets.len() * 2);
        for (row, ends) in offsets.windows(2).enumerate() {
            if !self.nulls.is_valid(row) {
                codes.push(0);
                continue;
            }
            let text = std::str::from_utf8(&bytes[ends[0] as usize..ends[1] as usize]);
            codes.push(interner.intern(text.expect("only whole strings are pushed")) as i32);
        }
        if !interner.is_empty() && interner.len() * ROWS_PER_ENTRY_MIN <= codes.len() {
            self.form = Form::Coded { interner, codes };
        }
    }
}

impl Form {
    fn plain(interner: &Interner, codes: &[i32]) -> Form {
        let mut offsets = Vec::with_capacity(codes.len() * 2);
        let mut bytes = Vec::new();
        offsets.push(0);
        for &code in codes {
            bytes.extend_from_slice(interner.get(code as u32));
            offsets.push(end(&bytes));
        }
        Form::Plain { offsets, bytes, decided: true }
    }
}

fn end(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).expect("the text of one column stays below 2 GiB")
}

/// A string column's two forms, borrowed.
#[derive(Clone, Copy)]
pub enum StringsRef<'a> {
    /// One string per row.
    Plain(&'a StringArray),
    /// One code per row into distinct strings.
    Coded(&'a DictionaryArray<Int32Type>, &'a StringArray),
}

impl<'a> StringsRef<'a> {
    /// `None` for arrays that hold no strings.
    pub fn new(array: &'a dyn Array) -> Option<Self> {
        match array.data_type() {
            DataType::Utf8 => Some(StringsRef::Plain(array.as_string::<i32>())),
            DataType::Dictionary(_, _) => {
                let coded = array.as_dictionary_opt::<Int32Type>()?;
                Some(StringsRef::Coded(coded, coded.values().as_string_opt::<i32>()?))
            }
            _ => None,
        }
    }

    /// The string of a row; `None` for null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            StringsRef::Plain(strings) => strings.is_valid(row).then(|| strings.value(row)),
            StringsRef::Coded(coded, values) => {
                let code = coded.keys().is_valid(row).then(|| coded.keys().value(row) as usize)?;
                values.is_valid(code).then(|| values.value(code))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the mix of repeats, nulls and roll-backs, the column reads as what was pushed and kept.
        #[test]
        fn holds_what_was_pushed(steps in prop::collection::vec((0..40_u32, 0..400_u32, 0..30_u32), 0..600)) {
            let mut builder = TextBuilder::new(0);
            let mut expected: Vec<Option<String>> = Vec::new();
            for (few, many, step) in steps {
                match step {
                    0 => {
                        builder.push_nulls(2);
                        expected.extend([None, None]);
                    }
                    1 => {
                        let kept = expected.len().saturating_sub(few as usize);
                        builder.truncate(kept);
                        expected.truncate(kept);
                    }
                    2..=20 => {
                        builder.push(&few.to_string());
                        expected.push(Some(few.to_string()));
                    }
                    _ => {
                        builder.push(&many.to_string());
                        expected.push(Some(many.to_string()));
                    }
                }
                prop_assert_eq!(builder.len(), expected.len());
            }
            let array = builder.finish();
            let strings = StringsRef::new(array.as_ref()).expect("strings");
            let read: Vec<Option<String>> = (0..array.len()).map(|row| strings.get(row).map(str::to_owned)).collect();
            prop_assert_eq!(read, expected);
        }
    }

    #[test]
    fn repeats_become_a_dictionary_and_unique_values_do_not() {
        let is_coded = |rows: u32, distinct: u32| {
            let mut builder = TextBuilder::new(0);
            (0..rows).for_each(|row| builder.push(&(row % distinct).to_string()));
            matches!(builder.finish().data_type(), DataType::Dictionary(_, _))
        };
        assert!(is_coded(5_000, 24));
        assert!(!is_coded(5_000, 5_000));
        assert!(!is_coded(63, 1));
    }
}
