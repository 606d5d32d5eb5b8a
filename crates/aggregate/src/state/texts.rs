//! Aggregates over strings: the least, greatest, first and last text, and the hashes of distinct ones.

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, StringArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use hashbrown::HashSet;
use tidewater_columns::StringsRef;
use tidewater_model::state::Distinct;

use super::values::{float_slice, int_slice, order_of_float};
use super::{Aggregate, Merge, fold};
use crate::dictionary::Entries;
use crate::feed::{Feed, Keys, Rows, Scratch};
use crate::hash;

/// Which text of a group is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextRule {
    /// The first by UTF-8 bytes.
    Least,
    /// The last by UTF-8 bytes.
    Greatest,
    /// Of the least time.
    First,
    /// Of the greatest time.
    Last,
}

impl TextRule {
    /// Whether the newcomer takes the place of the held text. The order is by time where that counts, then by UTF-8 bytes.
    fn prefers(self, (time, text): (i64, &str), held: (i64, &str)) -> bool {
        match self {
            TextRule::Least => text < held.1,
            TextRule::Greatest => text > held.1,
            TextRule::First => (time, text) < held,
            TextRule::Last => (time, text) > held,
        }
    }

    fn needs_time(self) -> bool {
        matches!(self, TextRule::First | TextRule::Last)
    }
}

/// One text per group, with its row's time where the rule asks for it.
#[derive(Clone, Debug)]
pub struct Texts {
    pub rule: TextRule,
    pub held: Vec<Option<(i64, String)>>,
}

impl Texts {
    pub fn update(&mut self, feed: &Feed<'_>, array: &ArrayRef, times: &[i64]) {
        let Some(strings) = StringsRef::new(array) else { return };
        for_each_row(feed, |group, row| {
            if let Some(text) = strings.get(row) {
                let time = if self.rule.needs_time() { times[row] } else { 0 };
                self.offer(group as usize, time, text);
            }
        });
    }

    pub fn merge(&mut self, other: &Self, map: &[u32]) {
        for (held, group) in other.held.iter().zip(map) {
            if let Some((time, text)) = held {
                self.offer(*group as usize, *time, text);
            }
        }
    }

    /// Reuses the held text's memory: with rows in time order the last text changes at every row.
    pub fn offer(&mut self, group: usize, time: i64, text: &str) {
        match &mut self.held[group] {
            Some((held_time, held)) => {
                if self.rule.prefers((time, text), (*held_time, held)) {
                    *held_time = time;
                    held.clear();
                    held.push_str(text);
                }
            }
            free => *free = Some((time, text.to_owned())),
        }
    }

    pub fn heap_bytes(&self) -> usize {
        self.held.iter().flatten().map(|(_, text)| text.capacity()).sum()
    }
}

/// Distinct values, each one counted.
#[derive(Clone, Debug, Default)]
pub struct ExactDistinct(pub HashSet<u128>);

impl Aggregate<u128> for ExactDistinct {
    #[inline]
    fn add(&mut self, value: u128) {
        self.0.insert(value);
    }
}

impl Merge for ExactDistinct {
    fn merge(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    fn heap_bytes(&self) -> usize {
        self.0.allocation_size()
    }
}

/// Makes the identities that distinct values are counted by.
pub trait Identity: Copy + PartialEq {
    /// Stands for an entry whose identity is not known yet; a text that hashes to it is only hashed more often.
    const UNKNOWN: Self;
    fn of_text(text: &str) -> Self;
    fn of_bits(bits: u64) -> Self;
}

impl Identity for u64 {
    const UNKNOWN: Self = 0;

    #[inline]
    fn of_text(text: &str) -> Self {
        hash::text(text)
    }

    #[inline]
    fn of_bits(bits: u64) -> Self {
        hash::number(bits)
    }
}

impl Identity for u128 {
    const UNKNOWN: Self = 0;

    #[inline]
    fn of_text(text: &str) -> Self {
        hash::text_wide(text)
    }

    #[inline]
    fn of_bits(bits: u64) -> Self {
        u128::from(bits)
    }
}

/// Sets of distinct values, one per group.
#[derive(Clone, Debug)]
pub struct Sets<A, I> {
    pub states: Vec<A>,
    identities: Entries<I>,
    /// The gathered identities of a batch.
    out: Vec<I>,
    /// There is one group, for ever: then which entries of the dictionary it holds.
    is_single: bool,
    is_added: Entries<bool>,
    /// The codes of a batch, where rows are left out.
    codes: Vec<i32>,
    /// Of one group the entries that a batch adds; of more the places in the batch whose identities are not known.
    fresh: Vec<u32>,
}

pub type Sketches = Sets<Distinct, u64>;
pub type ExactSets = Sets<ExactDistinct, u128>;

impl<A: Aggregate<I> + Merge, I: Identity> Sets<A, I> {
    pub fn new(is_single: bool) -> Self {
        Sets {
            states: Vec::new(),
            identities: Entries::new(I::UNKNOWN),
            out: Vec::new(),
            is_single,
            is_added: Entries::new(false),
            codes: Vec::new(),
            fresh: Vec::new(),
        }
    }

    pub fn update(&mut self, feed: &Feed<'_>, array: &ArrayRef, scratch: &mut Scratch) {
        let (kept, out) = (&mut scratch.kept, &mut self.out);
        if let Some(values) = int_slice(array) {
            let (keys, values) = feed.gather(array.nulls(), |row| I::of_bits(values[row] as u64), kept, out);
            return fold(&mut self.states, keys, values);
        }
        if let Some(values) = float_slice(array) {
            let identity = |row: usize| I::of_bits(order_of_float(values[row]) as u64);
            let (keys, values) = feed.gather(array.nulls(), identity, kept, out);
            return fold(&mut self.states, keys, values);
        }
        match array.data_type() {
            DataType::Boolean => {
                let bits = array.as_boolean().values();
                let identity = |row: usize| I::of_bits(u64::from(bits.value(row)));
                let (keys, values) = feed.gather(array.nulls(), identity, kept, out);
                fold(&mut self.states, keys, values);
            }
            DataType::List(_) => self.update_elements(feed, array),
            _ => self.update_texts(feed, array, kept),
        }
    }

    fn update_texts(&mut self, feed: &Feed<'_>, array: &ArrayRef, kept: &mut Vec<u32>) {
        match StringsRef::new(array) {
            Some(StringsRef::Plain(strings)) => {
                let identity = |row: usize| I::of_text(strings.value(row));
                let (keys, values) = feed.gather(array.nulls(), identity, kept, &mut self.out);
                fold(&mut self.states, keys, values);
            }
            Some(StringsRef::Coded(coded, strings)) => {
                if self.is_single {
                    return self.update_single(feed, coded, strings);
                }
                self.update_coded(feed, coded, strings, kept);
            }
            None => {}
        }
    }

    /// In steps over the whole batch, so that the waits for memory of many rows overlap.
    fn update_coded(
        &mut self,
        feed: &Feed<'_>,
        coded: &DictionaryArray<Int32Type>,
        strings: &StringArray,
        kept: &mut Vec<u32>,
    ) {
        let identities = self.identities.of(coded.values());
        let keys = coded.keys();
        let (keys, codes) = feed.values(keys.nulls(), keys.values(), kept, &mut self.codes);
        self.out.clear();
        self.out.extend(codes.iter().map(|code| identities[*code as usize]));
        // Without a branch on what is new, which the processor could not foresee.
        self.fresh.resize(codes.len(), 0);
        let mut len = 0;
        for (place, identity) in self.out.iter().enumerate() {
            self.fresh[len] = place as u32;
            len += usize::from(*identity == I::UNKNOWN);
        }
        for place in self.fresh[..len].iter().map(|place| *place as usize) {
            let entry = codes[place] as usize;
            if identities[entry] == I::UNKNOWN && strings.is_valid(entry) {
                identities[entry] = I::of_text(strings.value(entry));
            }
            self.out[place] = identities[entry];
        }
        if strings.null_count() == 0 {
            return fold(&mut self.states, keys, &self.out);
        }
        for (place, _) in codes.iter().enumerate().filter(|(_, code)| strings.is_valid(**code as usize)) {
            self.states[keys.at(place) as usize].add(self.out[place]);
        }
    }

    /// With one group a dictionary's entry is added once, however many rows hold it.
    fn update_single(&mut self, feed: &Feed<'_>, coded: &DictionaryArray<Int32Type>, strings: &StringArray) {
        let is_added = self.is_added.of(coded.values());
        let (codes, fresh) = (coded.keys().values(), &mut self.fresh);
        // Without a branch on what is new, which the processor could not foresee.
        fresh.resize(feed.rows.len(), 0);
        let mut len = 0;
        for_each_valid(feed, coded.keys().nulls(), |_, row| {
            let code = codes[row] as usize;
            fresh[len] = codes[row] as u32;
            len += usize::from(!is_added[code]);
            is_added[code] = true;
        });
        let texts = fresh[..len].iter().map(|code| *code as usize).filter(|code| strings.is_valid(*code));
        if let Some(state) = self.states.first_mut() {
            texts.for_each(|code| state.add(I::of_text(strings.value(code))));
        }
    }

    fn update_elements(&mut self, feed: &Feed<'_>, array: &ArrayRef) {
        let lists = array.as_list::<i32>();
        let Some(strings) = StringsRef::new(lists.values().as_ref()) else { return };
        let offsets = lists.value_offsets();
        for_each_valid(feed, lists.nulls(), |group, row| {
            for element in offsets[row]..offsets[row + 1] {
                if let Some(text) = strings.get(element as usize) {
                    self.states[group as usize].add(I::of_text(text));
                }
            }
        });
    }

    /// Lets go of the dictionary that the last rows came with, and of buffers.
    pub fn freeze(&mut self) {
        let states = std::mem::take(&mut self.states);
        *self = Sets { states, ..Sets::new(self.is_single) };
    }

    /// Bytes beside the states.
    pub fn memory_bytes(&self) -> usize {
        let buffers = self.out.capacity() * size_of::<I>()
            + self.codes.capacity() * size_of::<i32>()
            + self.fresh.capacity() * size_of::<u32>();
        self.identities.memory_bytes() + self.is_added.memory_bytes() + buffers
    }
}

#[inline]
fn for_each_row(feed: &Feed<'_>, mut f: impl FnMut(u32, usize)) {
    match feed.rows {
        Rows::All(rows) => (0..rows).for_each(|row| f(feed.keys.at(row), row)),
        Rows::List(rows) => {
            rows.iter().enumerate().for_each(|(place, row)| f(feed.keys.at(place), *row as usize))
        }
    }
}

#[inline]
fn for_each_valid(feed: &Feed<'_>, nulls: Option<&NullBuffer>, mut f: impl FnMut(u32, usize)) {
    match (nulls, feed.keys) {
        (None, Keys::One(group)) => match feed.rows {
            Rows::All(rows) => (0..rows).for_each(|row| f(group, row)),
            Rows::List(rows) => rows.iter().for_each(|row| f(group, *row as usize)),
        },
        (None, _) => for_each_row(feed, f),
        (Some(nulls), _) => for_each_row(feed, |group, row| {
            if nulls.is_valid(row) {
                f(group, row);
            }
        }),
    }
}
