//! The numbering of groups: from a tuple of codes to a dense index.
//!
//! Codes are packed side by side into one number. While that has few bits it indexes an array; then a hash table; tuples of
//! more than 64 bits are hashed as they are. A dimension that outgrows its bits makes the table anew with more of them.

use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Codes;
use crate::error::AggregateError;

/// Packed codes of so many bits index an array (4 MiB at most), which costs one access that the processor can foresee.
const ARRAY_BITS_MAX: u32 = 20;
/// No group yet.
const NONE: u32 = u32::MAX;
/// Most groups: their indices are 32 bit, and no budget holds more.
const GROUPS_MAX: usize = 1 << 31;

/// Memory that several hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedMemory {
    /// Tells it apart from other memory for as long as it is held.
    pub address: usize,
    /// Its size.
    pub bytes: usize,
}

impl SharedMemory {
    pub(super) fn of<T>(held: &Arc<T>, bytes: usize) -> Self {
        SharedMemory { address: Arc::as_ptr(held) as usize, bytes }
    }
}

/// All groups met so far.
#[derive(Clone)]
pub struct Groups {
    /// One per dimension.
    pub dimensions: Vec<Codes>,
    /// The codes of group `g` are `keys[g · dimensions ..]`. Shared with copies until one of them meets a new group.
    keys: Arc<Vec<u32>>,
    len: usize,
    /// Bits of each dimension's codes in the packed number.
    bits: Vec<u32>,
    finder: Finder,
    packed: Vec<u64>,
    found: Vec<u32>,
}

#[derive(Clone)]
enum Finder {
    /// The group by packed number; shared as the keys are.
    Array(Arc<Vec<u32>>),
    /// Packed numbers with their groups.
    Packed(HashTable<(u64, u32)>),
    /// Groups by their codes.
    Wide(HashTable<u32>, DefaultHashBuilder),
}

impl Groups {
    /// No groups; without dimensions the one group there is.
    pub fn new(dimensions: Vec<Codes>) -> Self {
        let mut groups = Groups {
            len: usize::from(dimensions.is_empty()),
            bits: vec![0; dimensions.len()],
            dimensions,
            keys: Arc::default(),
            finder: Finder::Array(Arc::default()),
            packed: Vec::new(),
            found: Vec::new(),
        };
        groups.fit_bits();
        groups
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks whether there are any")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// How groups are found, for `explain`.
    pub fn method(&self) -> &'static str {
        match self.finder {
            _ if self.dimensions.is_empty() => "none",
            Finder::Array(_) => "array",
            Finder::Packed(_) | Finder::Wide(..) => "hash",
        }
    }

    /// The codes of a group.
    pub fn key(&self, group: usize) -> &[u32] {
        let width = self.dimensions.len();
        &self.keys[group * width..(group + 1) * width]
    }

    /// Finds the groups of rows whose codes are given per dimension, see [`Self::assigned`]; new ones are added.
    ///
    /// Codes must be ones that [`Self::dimensions`] gave.
    pub fn assign(&mut self, codes: &[Vec<u32>]) -> Result<(), AggregateError> {
        self.fit_bits();
        let rows = codes.first().map_or(0, Vec::len);
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        found.reserve(rows);
        match &self.finder {
            Finder::Array(_) => self.assign_by_array(codes, &mut found),
            Finder::Packed(_) => self.assign_by_packed(codes, &mut found),
            Finder::Wide(..) => self.assign_wide(codes, rows, &mut found),
        }
        self.found = found;
        if self.len > GROUPS_MAX {
            let remedy = "use fewer dimensions or add filters";
            return Err(AggregateError::Limit {
                what: "groups",
                found: self.len as u64,
                max: GROUPS_MAX as u64,
                remedy,
            });
        }
        Ok(())
    }

    /// The group of each row of the last [`Self::assign`].
    pub fn assigned(&self) -> &[u32] {
        &self.found
    }

    /// The group with these codes, added if it is new.
    pub fn insert(&mut self, key: &[u32]) -> u32 {
        if key.is_empty() {
            return 0;
        }
        self.fit_bits();
        if let Some(group) = self.find_fitting(key) {
            return group;
        }
        self.add(key)
    }

    /// The group with these codes, if there is one.
    pub fn find(&mut self, key: &[u32]) -> Option<u32> {
        if key.is_empty() {
            return Some(0);
        }
        self.fit_bits();
        self.find_fitting(key)
    }

    /// Makes room for so many in all.
    pub fn reserve(&mut self, groups: usize) {
        let more = groups.saturating_sub(self.len) * self.dimensions.len();
        Arc::make_mut(&mut self.keys).reserve_exact(more);
    }

    /// Lets go of what only the taking of rows needs.
    pub fn freeze(&mut self) {
        self.dimensions.iter_mut().for_each(Codes::forget_dictionary);
        (self.packed, self.found) = (Vec::new(), Vec::new());
    }

    /// Also lets go of how groups are found; that is made anew when one is looked for.
    pub fn close(&mut self) {
        self.freeze();
        self.bits.fill(0);
        self.finder = Finder::Array(Arc::default());
    }

    /// Lets go of what can be made anew and of room that is left over, and shares the texts of another table of the same dimensions where
    /// that has them all: tables that are kept for long mostly hold the same many texts.
    pub fn compact(&mut self, other: Option<&Groups>) {
        self.close();
        let width = self.dimensions.len();
        for (place, own) in self.dimensions.iter_mut().enumerate() {
            let Some(codes) = other.and_then(|other| own.adopt(&other.dimensions[place])) else {
                own.shrink();
                continue;
            };
            let keys = Arc::make_mut(&mut self.keys).iter_mut().skip(place).step_by(width);
            keys.for_each(|code| *code = codes[*code as usize]);
        }
        if let Some(keys) = Arc::get_mut(&mut self.keys) {
            keys.shrink_to_fit();
        }
    }

    /// The most texts of any dimension.
    pub fn texts(&self) -> usize {
        let texts = self.dimensions.iter().filter(|codes| matches!(codes, Codes::Texts(_)));
        texts.map(Codes::cardinality).max().unwrap_or(0)
    }

    /// Adds another part's groups; gives for each of them its group here. Fails where a group's time bucket lies outside of the grid
    /// here.
    pub fn absorb(&mut self, other: &Groups) -> Result<Vec<u32>, AggregateError> {
        let width = self.dimensions.len();
        if width == 0 {
            return Ok(vec![0; other.len]);
        }
        let mut columns = Vec::with_capacity(width);
        for (place, own) in self.dimensions.iter_mut().enumerate() {
            let mut codes: Vec<u32> = other.keys.iter().skip(place).step_by(width).copied().collect();
            own.translate_all(&other.dimensions[place], &mut codes)?;
            columns.push(codes);
        }
        self.assign(&columns)?;
        Ok(std::mem::take(&mut self.found))
    }

    /// What copies of these groups share with them until one meets a new group.
    pub fn shared(&self) -> Vec<SharedMemory> {
        let mut shared = vec![SharedMemory::of(&self.keys, self.keys.capacity() * size_of::<u32>())];
        if let Finder::Array(slots) = &self.finder {
            shared.push(SharedMemory::of(slots, slots.capacity() * size_of::<u32>()));
        }
        shared.extend(self.dimensions.iter().filter_map(Codes::shared_memory));
        shared
    }

    /// Bytes held, those shared with copies included.
    pub fn memory_bytes(&self) -> usize {
        let finder = match &self.finder {
            Finder::Array(slots) => slots.capacity() * size_of::<u32>(),
            Finder::Packed(table) => table.allocation_size(),
            Finder::Wide(table, _) => table.allocation_size(),
        };
        let buffers = self.packed.capacity() * size_of::<u64>() + self.found.capacity() * size_of::<u32>();
        let dimensions: usize = self.dimensions.iter().map(Codes::memory_bytes).sum();
        self.keys.capacity() * size_of::<u32>() + finder + buffers + dimensions
    }

    fn assign_by_array(&mut self, codes: &[Vec<u32>], found: &mut Vec<u32>) {
        let mut packed = std::mem::take(&mut self.packed);
        let Finder::Array(slots) = &self.finder else { return };
        // With one dimension the code is the packed number.
        if let [codes] = codes {
            found.extend(codes.iter().map(|code| slots[*code as usize]));
        } else {
            pack(codes, &self.bits, &mut packed);
            found.extend(packed.iter().map(|number| slots[*number as usize]));
        }
        if found.contains(&NONE) {
            self.add_by_array(codes, &packed, found);
        }
        self.packed = packed;
    }

    /// Adds the groups that were not found.
    #[cold]
    fn add_by_array(&mut self, codes: &[Vec<u32>], packed: &[u64], found: &mut [u32]) {
        let Finder::Array(slots) = &mut self.finder else { return };
        let (slots, keys) = (Arc::make_mut(slots), Arc::make_mut(&mut self.keys));
        for (place, found) in found.iter_mut().enumerate().filter(|(_, found)| **found == NONE) {
            let number = if let [codes] = codes { u64::from(codes[place]) } else { packed[place] };
            let slot = &mut slots[number as usize];
            if *slot == NONE {
                *slot = self.len as u32;
                self.len += 1;
                keys.extend(codes.iter().map(|codes| codes[place]));
            }
            *found = *slot;
        }
    }

    fn assign_by_packed(&mut self, codes: &[Vec<u32>], found: &mut Vec<u32>) {
        let Finder::Packed(table) = &mut self.finder else { return };
        pack(codes, &self.bits, &mut self.packed);
        let (mut last, mut added) = ((u64::MAX, NONE), Vec::new());
        for (place, number) in self.packed.iter().enumerate() {
            if last.0 != *number || last.1 == NONE {
                let entry =
                    table.entry(spread(*number), |(other, _)| other == number, |(other, _)| spread(*other));
                let group = entry.or_insert((*number, self.len as u32)).get().1;
                if group as usize == self.len {
                    self.len += 1;
                    added.extend(codes.iter().map(|codes| codes[place]));
                }
                last = (*number, group);
            }
            found.push(last.1);
        }
        if !added.is_empty() {
            Arc::make_mut(&mut self.keys).append(&mut added);
        }
    }

    fn assign_wide(&mut self, codes: &[Vec<u32>], rows: usize, found: &mut Vec<u32>) {
        let mut key = vec![0; codes.len()];
        for place in 0..rows {
            for (part, codes) in key.iter_mut().zip(codes) {
                *part = codes[place];
            }
            let group = self.find_fitting(&key).unwrap_or_else(|| self.add(&key));
            found.push(group);
        }
    }

    fn find_fitting(&self, key: &[u32]) -> Option<u32> {
        match &self.finder {
            Finder::Array(slots) => {
                slots.get(pack_one(key, &self.bits) as usize).copied().filter(|group| *group != NONE)
            }
            Finder::Packed(table) => {
                let number = pack_one(key, &self.bits);
                table.find(spread(number), |(other, _)| *other == number).map(|(_, group)| *group)
            }
            Finder::Wide(table, hasher) => {
                table.find(hasher.hash_one(key), |group| self.key(*group as usize) == key).copied()
            }
        }
    }

    /// Adds a group that is not there.
    fn add(&mut self, key: &[u32]) -> u32 {
        let group = self.len as u32;
        self.len += 1;
        Arc::make_mut(&mut self.keys).extend_from_slice(key);
        self.register(group..group + 1);
        group
    }

    /// Enters groups whose keys are stored into the finder.
    fn register(&mut self, groups: Range<u32>) {
        let width = self.dimensions.len();
        let (keys, bits) = (&self.keys, &self.bits);
        let key = |group: u32| &keys[group as usize * width..(group as usize + 1) * width];
        match &mut self.finder {
            Finder::Array(slots) => {
                let slots = Arc::make_mut(slots);
                groups.for_each(|group| slots[pack_one(key(group), bits) as usize] = group);
            }
            Finder::Packed(table) => groups.for_each(|group| {
                let number = pack_one(key(group), bits);
                table.insert_unique(spread(number), (number, group), |(other, _)| spread(*other));
            }),
            Finder::Wide(table, hasher) => groups.for_each(|group| {
                table.insert_unique(hasher.hash_one(key(group)), group, |group| hasher.hash_one(key(*group)));
            }),
        }
    }

    /// Gives each dimension the bits its codes need; if that changes any, every group is entered anew.
    fn fit_bits(&mut self) {
        let is_fitting = |(bits, codes): (&u32, &Codes)| codes.cardinality() as u64 <= 1 << *bits;
        if self.bits.iter().zip(&self.dimensions).all(is_fitting) {
            if let Finder::Array(slots) = &mut self.finder
                && slots.is_empty()
            {
                *slots = Arc::new(vec![NONE; 1 << self.bits.iter().sum::<u32>()]);
                // None, or after `close` the one that dimensions of a single code have.
                self.register(0..self.len as u32);
            }
            return;
        }
        for (bits, codes) in self.bits.iter_mut().zip(&self.dimensions) {
            let needed = (codes.cardinality() as u64).next_power_of_two().trailing_zeros();
            if needed > *bits {
                // Buckets are numbered beforehand; all others may grow, and twice the room halves the times of making anew.
                *bits = if matches!(codes, Codes::Buckets(_)) { needed } else { needed + 1 };
            }
        }
        let total: u32 = self.bits.iter().sum();
        self.finder = if total <= ARRAY_BITS_MAX {
            Finder::Array(Arc::new(vec![NONE; 1 << total]))
        } else if total <= u64::BITS {
            Finder::Packed(HashTable::with_capacity(self.len))
        } else {
            Finder::Wide(HashTable::with_capacity(self.len), DefaultHashBuilder::default())
        };
        self.register(0..self.len as u32);
    }
}

/// Packs the codes of all rows.
fn pack(codes: &[Vec<u32>], bits: &[u32], out: &mut Vec<u64>) {
    out.clear();
    let Some((first, rest)) = codes.split_first() else { return };
    out.extend(first.iter().map(|code| u64::from(*code)));
    let mut shift = bits[0];
    for (codes, bits) in rest.iter().zip(&bits[1..]) {
        // A dimension without bits has only code 0; it may lie past the last bit.
        if *bits > 0 {
            for (number, code) in out.iter_mut().zip(codes) {
                *number |= u64::from(*code) << shift;
            }
        }
        shift += bits;
    }
}

fn pack_one(key: &[u32], bits: &[u32]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    for (code, bits) in key.iter().zip(bits).filter(|(_, bits)| **bits > 0) {
        number |= u64::from(*code) << shift;
        shift += bits;
    }
    number
}

/// Spreads a packed number over all bits of a hash: the two halves of a wide product by an odd constant (2^64 ÷ golden ratio).
#[inline]
fn spread(number: u64) -> u64 {
    let product = u128::from(number) * 0x9e37_79b9_7f4a_7c15;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
    use tidewater_model::schema::ColumnType;
    use tidewater_model::time::{BucketGrid, Granularity, Timestamp, Zone};

    use super::*;
    use crate::feed::Rows;

    /// Row `row`'s value of a dimension: `width` dimensions of about `values` values that cycle at different speeds.
    fn value(row: usize, dimension: usize, values: usize) -> i64 {
        ((row * (2 * dimension + 1) + dimension) % (values - dimension)) as i64
    }

    fn assign(groups: &mut Groups, rows: std::ops::Range<usize>, values: usize) -> Vec<u32> {
        let codes: Vec<Vec<u32>> = (0..groups.dimensions.len())
            .map(|dimension| {
                let column = rows.clone().map(|row| value(row, dimension, values));
                let array: ArrayRef = Arc::new(column.collect::<Int64Array>());
                let mut codes = Vec::new();
                let encoded =
                    groups.dimensions[dimension].encode(Some(&array), Rows::All(rows.len()), &mut codes);
                encoded.expect("numbers have codes");
                codes
            })
            .collect();
        groups.assign(&codes).expect("few groups");
        groups.assigned().to_vec()
    }

    fn empty(width: usize) -> Groups {
        Groups::new((0..width).map(|_| Codes::column(ColumnType::Int)).collect())
    }

    #[test]
    fn parts_with_other_grids_meet_in_the_same_buckets() {
        const HOUR: i64 = 3_600_000_000;
        let grid = |from: i64, to: i64| {
            let (from, to) = (Timestamp(from * HOUR), Timestamp(to * HOUR));
            Arc::new(BucketGrid::new(Granularity::Hour, &Zone::utc(), from, to).expect("a grid"))
        };
        let hours = |from, to, times: &[i64]| {
            let mut groups = Groups::new(vec![Codes::buckets(&grid(from, to))]);
            let times = TimestampMicrosecondArray::from_iter_values(times.iter().map(|hour| hour * HOUR));
            let (array, rows): (ArrayRef, _) = (Arc::new(times), Rows::All(3));
            let mut codes = Vec::new();
            groups.dimensions[0].encode(Some(&array), rows, &mut codes).expect("inside the grid");
            groups.assign(&[codes]).expect("few groups");
            groups
        };
        let mut all = hours(0, 10, &[2, 3, 3]);
        let mut part = hours(3, 6, &[5, 3, 3]);
        part.close();
        assert_eq!(all.absorb(&part).expect("inside"), [2, 1]);
        assert_eq!((part.insert(&[0]), part.insert(&[2]), part.insert(&[1])), (1, 0, 2));
        assert_eq!((all.key(2), all.len()), (&[5][..], 3));
        assert!(all.absorb(&hours(8, 12, &[8, 11, 8])).is_err(), "an hour outside of the grid");
    }

    #[test]
    fn what_a_copy_meets_the_others_do_not_see() {
        for (width, values) in [(1, 50), (3, 900)] {
            let mut groups = empty(width);
            let known = assign(&mut groups, 0..20, values);
            let (len, mut copy) = (groups.len(), groups.clone());
            assign(&mut copy, 0..2_000, values);
            assert!(copy.len() > len);
            assert_eq!((groups.len(), assign(&mut groups, 0..20, values)), (len, known));
            assert!((0..len).all(|group| groups.key(group) == copy.key(group)));
        }
    }

    #[test]
    fn compacted_tables_share_texts_and_go_on() {
        let table = |numbers: &mut dyn Iterator<Item = usize>| {
            let texts: Vec<String> = numbers.map(|number| format!("user {number}")).collect();
            let (rows, array): (_, ArrayRef) =
                (Rows::All(texts.len()), Arc::new(StringArray::from_iter_values(&texts)));
            let mut groups =
                Groups::new(vec![Codes::column(ColumnType::String), Codes::column(ColumnType::Int)]);
            let mut codes = vec![Vec::new(), (0..texts.len()).map(|_| 0).collect()];
            groups.dimensions[0].encode(Some(&array), rows, &mut codes[0]).expect("texts");
            groups.assign(&codes).expect("few groups");
            groups
        };
        let names = |groups: &Groups| -> Vec<String> {
            let name = |group| groups.dimensions[0].text(groups.key(group)[0]).expect("a name").to_owned();
            (0..groups.len()).map(name).collect()
        };
        let whole = table(&mut (0..17_000));
        for (mut part, is_shared) in [
            (table(&mut (2_000..8_000).rev()), true),
            (table(&mut (0..17_000).rev()), true),
            (table(&mut (0..17_001)), false),
            (table(&mut (0..4_200)), false),
            (table(&mut (0..100)), false),
        ] {
            let before = names(&part);
            part.compact(Some(&whole));
            assert_eq!(names(&part), before);
            let address = |groups: &Groups| groups.dimensions[0].shared_memory().map(|shared| shared.address);
            assert_eq!(address(&part) == address(&whole), is_shared);
            let more = table(&mut (16_990..17_010));
            let map = part.absorb(&more).expect("texts have no grid");
            let (found, expected) = (names(&part), names(&more));
            assert!(map.iter().zip(expected).all(|(group, name)| found[*group as usize] == name));
            assert_eq!(found.iter().collect::<HashSet<_>>().len(), part.len());
        }
        assert_eq!(whole.texts(), 17_001);
    }

    #[test]
    fn equal_tuples_share_a_group_in_every_kind_of_table() {
        for (width, values, method) in
            [(1, 50, "array"), (2, 900, "array"), (3, 900, "hash"), (8, 900, "hash")]
        {
            let key = |row: usize| -> Vec<i64> {
                (0..width).map(|dimension| value(row, dimension, values)).collect()
            };
            let (mut one, mut two) = (empty(width), empty(width));
            let mut known: HashMap<Vec<i64>, u32> = HashMap::new();
            let mut check = |rows: std::ops::Range<usize>, groups: &[u32]| {
                for (row, group) in rows.zip(groups) {
                    let next = known.len() as u32;
                    assert_eq!(
                        *known.entry(key(row)).or_insert(next),
                        *group,
                        "{width} dimensions, row {row}"
                    );
                }
            };
            for start in (0..3_000).step_by(500) {
                let groups = assign(&mut one, start..start + 500, values);
                check(start..start + 500, &groups);
            }
            let others = assign(&mut two, 2_000..5_000, values);
            let map = one.absorb(&two).expect("numbers have no grid");
            let groups: Vec<u32> = others.iter().map(|group| map[*group as usize]).collect();
            check(2_000..5_000, &groups);
            assert_eq!((one.len(), one.method()), (known.len(), method));
            for group in 0..one.len() {
                let key = one.key(group).to_vec();
                assert_eq!(one.find(&key), Some(group as u32));
            }
        }
    }
}
