//! A small open-addressed hash table of numbers that are hashes already, or nearly so.
//!
//! A group may have one of these each, so it starts empty and holds nothing but the numbers. It is not a general set:
//! zero marks a free slot and is remembered aside.

/// Numbers with their place in the table.
pub(super) trait Slot: Copy + Ord + Default {
    /// Evenly spread bits of the number.
    fn spread(self) -> usize;
}

impl Slot for u64 {
    #[inline]
    fn spread(self) -> usize {
        self as usize
    }
}

impl Slot for u32 {
    /// By the register's number; its bits are the top bits of a hash.
    #[inline]
    fn spread(self) -> usize {
        (self >> 8) as usize
    }
}

/// A set of numbers, or of registers of which each number is held once.
#[derive(Clone, Debug)]
pub(super) struct Slots<T> {
    /// Empty or a power of two; zero where free.
    slots: Vec<T>,
    used: usize,
    has_zero: bool,
}

/// Slots of the first table: one cache line of hashes.
const SLOTS_MIN: usize = 8;

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { slots: Vec::new(), used: 0, has_zero: false }
    }
}

impl<T: Slot> Slots<T> {
    /// With room for so many numbers before it grows.
    pub fn with_room(len: usize) -> Self {
        let slots = (len * 8).div_ceil(7).next_power_of_two().max(SLOTS_MIN);
        Slots { slots: vec![T::default(); slots], ..Slots::default() }
    }

    pub fn len(&self) -> usize {
        self.used + usize::from(self.has_zero)
    }

    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        let zero = self.has_zero.then_some(T::default());
        zero.into_iter().chain(self.slots.iter().copied().filter(|slot| *slot != T::default()))
    }

    pub fn sorted(&self) -> Vec<T> {
        let mut numbers: Vec<T> = self.iter().collect();
        numbers.sort_unstable();
        numbers
    }

    pub fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<T>()
    }

    /// Adds a number; `false` if it was there.
    #[inline]
    pub fn insert(&mut self, number: T) -> bool {
        if number == T::default() {
            return !std::mem::replace(&mut self.has_zero, true);
        }
        self.put(number, |held| *held == number)
    }

    /// Puts a number where `is_same` finds its like or the first free slot; `false` if its like was there.
    #[inline]
    fn put(&mut self, number: T, mut is_same: impl FnMut(&mut T) -> bool) -> bool {
        // At most 7/8 full, so that a search always meets a free slot soon.
        if self.used * 8 >= self.slots.len() * 7 {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut at = number.spread() & mask;
        loop {
            let slot = &mut self.slots[at];
            if *slot == T::default() {
                *slot = number;
                self.used += 1;
                return true;
            }
            if is_same(slot) {
                return false;
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let slots = vec![T::default(); (self.slots.len() * 2).max(SLOTS_MIN)];
        let old = std::mem::replace(&mut self.slots, slots);
        self.used = 0;
        for number in old.into_iter().filter(|number| *number != T::default()) {
            self.put(number, |_| false);
        }
    }
}

impl Slots<u32> {
    /// Adds a register, or raises the held one of its number to its rank; `true` if it was added.
    pub fn raise(&mut self, register: u32) -> bool {
        self.put(register, |held| {
            let is_same = *held >> 8 == register >> 8;
            if is_same && *held < register {
                *held = register;
            }
            is_same
        })
    }
}
