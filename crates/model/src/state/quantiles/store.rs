//! Counts by bin: a short sorted list for few bins, an array over the used window for many.
//!
//! A question may hold a sketch per group, so a group of few rows must stay small and a busy one fast. What takes no more rows is packed
//! into as few bytes as it needs and shared by its copies: an answer is made of the partials of many units, and most of its groups
//! come from one of them.

use std::sync::Arc;

use super::{BinCounts, Span};

/// Up to this many bins a sorted list (8 bytes a bin) is both smaller and about as fast as an array.
const LIST_BINS_MAX: usize = 48;
/// The widest array, in bins: 117 octaves, 35 powers of ten. Values that spread further stay in a list.
const WINDOW_BINS_MAX: usize = 4_096;
/// Bins added at a growing end of an array beyond the one needed, so that it does not grow for each new extreme.
const WINDOW_MARGIN: usize = 32;

/// The largest count of a packed window, and of one that is packed in bytes.
const PACKED_MAX: u32 = u16::MAX as u32;
const BYTE_MAX: u32 = u8::MAX as u32;
/// The two counts of an `Arc`.
const SHARED_OVERHEAD_BYTES: usize = 2 * size_of::<usize>();

/// The most rows that 32-bit counts can take without watching each.
const NARROW_TOTAL_MAX: u64 = u32::MAX as u64;

/// Counts by bin.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    counts: Counts,
    total: u64,
}

#[derive(Clone, Debug)]
enum Counts {
    /// Sorted by bin.
    List(Vec<(u32, u32)>),
    /// The count of bin `first + i` at `i`.
    Window { first: u32, counts: Vec<u32> },
    /// Sorted by bin; for more than 2^32 − 1 rows, where a 32-bit count could overflow.
    Wide(Vec<(u32, u64)>),
    /// As a window that begins and ends with a used bin; it is made a window again when it changes.
    Packed { first: u32, counts: Arc<[u16]> },
    /// Likewise, of few rows.
    Bytes { first: u32, counts: Arc<[u8]> },
}

/// Counts of a window as they are added to another store.
trait Count: Copy {
    fn wide(self) -> u32;
}

impl Count for u32 {
    #[inline]
    fn wide(self) -> u32 {
        self
    }
}

impl Count for u16 {
    #[inline]
    fn wide(self) -> u32 {
        self.into()
    }
}

impl Count for u8 {
    #[inline]
    fn wide(self) -> u32 {
        self.into()
    }
}

impl Default for Counts {
    fn default() -> Self {
        Counts::List(Vec::new())
    }
}

impl Store {
    /// Counts one row.
    #[inline]
    pub fn increment(&mut self, bin: u32) {
        if let Counts::Window { first, counts } = &mut self.counts
            && let Some(count) = counts.get_mut(bin.wrapping_sub(*first) as usize)
            && self.total < NARROW_TOTAL_MAX
        {
            *count += 1;
            self.total += 1;
            return;
        }
        self.add(bin, 1);
    }

    /// Adds to one bin.
    pub fn add(&mut self, bin: u32, count: u64) {
        self.unpack();
        self.total += count;
        // No single count is above the total, so 32 bits hold while the total fits.
        if self.total > NARROW_TOTAL_MAX && !matches!(self.counts, Counts::Wide(_)) {
            self.counts = Counts::Wide(self.entries().collect());
        }
        match &mut self.counts {
            Counts::Wide(entries) => return add_to_list(entries, bin, count, |own, more| *own += more),
            Counts::List(entries) => {
                add_to_list(entries, bin, count as u32, |own, more| *own += more);
                if entries.len() <= LIST_BINS_MAX || window_of(entries) > WINDOW_BINS_MAX {
                    return;
                }
            }
            Counts::Window { first, counts } => {
                if grow_to(first, counts, bin) {
                    counts[(bin - *first) as usize] += count as u32;
                } else {
                    let mut entries: Vec<(u32, u32)> = window_entries(*first, counts).collect();
                    add_to_list(&mut entries, bin, count as u32, |own, more| *own += more);
                    self.counts = Counts::List(entries);
                }
                return;
            }
            Counts::Packed { .. } | Counts::Bytes { .. } => unreachable!("it was unpacked above"),
        }
        self.list_to_window();
    }

    /// Adds counts of ascending bins, which lie in this span.
    pub fn add_bins(&mut self, bins: &BinCounts<'_>, Span { low, high, total }: Span) {
        if bins.counts.is_empty() {
            return;
        }
        self.unpack();
        if let Counts::List(own) = &self.counts
            && self.total + total <= NARROW_TOTAL_MAX
        {
            if own.is_empty() && bins.counts.len() <= LIST_BINS_MAX {
                self.counts = Counts::List(bins.entries().map(|(bin, count)| (bin, count as u32)).collect());
                self.total = total;
                return;
            }
            // Past the length of a list it is an array anyway; as one it takes many bins at once.
            if own.len() + bins.counts.len() > LIST_BINS_MAX
                && !own.is_empty()
                && window_of(own) <= WINDOW_BINS_MAX
            {
                self.list_to_window();
            }
        }
        if let Counts::Window { first, counts } = &mut self.counts
            && self.total + total <= NARROW_TOTAL_MAX
            && grow_to(first, counts, low)
            && grow_to(first, counts, high)
        {
            for (bin, count) in bins.entries() {
                counts[(bin - *first) as usize] += count as u32;
            }
            self.total += total;
            return;
        }
        bins.entries().for_each(|(bin, count)| self.add(bin, count));
    }

    /// Adds another store's counts.
    pub fn merge(&mut self, other: &Self) {
        if other.total == 0 {
            return;
        }
        if self.total == 0 {
            self.counts = other.packed().unwrap_or_else(|| other.counts.clone());
            self.total = other.total;
            return;
        }
        self.unpack();
        let is_added = match &other.counts {
            Counts::Window { first, counts } => self.add_window(*first, counts, other.total),
            Counts::Packed { first, counts } => self.add_window(*first, counts, other.total),
            Counts::Bytes { first, counts } => self.add_window(*first, counts, other.total),
            Counts::List(_) | Counts::Wide(_) => false,
        };
        if !is_added {
            other.entries().for_each(|(bin, count)| self.add(bin, count));
        }
    }

    /// Adds a window to an array, the usual case of large groups; `false` if that cannot be done.
    fn add_window<C: Count>(&mut self, first: u32, others: &[C], added: u64) -> bool {
        let total = self.total + added;
        // Only the used part counts towards the width, else margins would add up.
        let Some(used) = used_part(others) else { return false };
        let (low, others) = (first + used.start as u32, &others[used]);
        let high = low + others.len() as u32 - 1;
        if total <= NARROW_TOTAL_MAX
            && others.len() > LIST_BINS_MAX
            && matches!(&self.counts, Counts::List(own) if window_of(own) <= WINDOW_BINS_MAX)
        {
            self.list_to_window();
        }
        let Counts::Window { first, counts } = &mut self.counts else { return false };
        if total > NARROW_TOTAL_MAX || !grow_to(first, counts, low) || !grow_to(first, counts, high) {
            return false;
        }
        let own = &mut counts[(low - *first) as usize..][..others.len()];
        own.iter_mut().zip(others).for_each(|(own, other)| *own += other.wide());
        self.total = total;
        true
    }

    /// Forgets all counts and keeps the memory.
    pub fn clear(&mut self) {
        match &mut self.counts {
            Counts::Window { counts, .. } => counts.clear(),
            _ => self.counts = Counts::Window { first: 0, counts: Vec::new() },
        }
        self.total = 0;
    }

    /// Packs the counts, so that copies share them.
    pub fn pack(&mut self) {
        if !matches!(self.counts, Counts::Packed { .. } | Counts::Bytes { .. })
            && let Some(packed) = self.packed()
        {
            self.counts = packed;
        }
    }

    /// The same counts packed, or shared where they are already; `None` where that would take more room, or counts do not fit.
    fn packed(&self) -> Option<Counts> {
        match &self.counts {
            Counts::Packed { .. } | Counts::Bytes { .. } => Some(self.counts.clone()),
            Counts::Wide(_) => None,
            Counts::List(entries) => {
                let (window, first) = (window_of(entries), entries.first()?.0);
                let most = entries.iter().fold(0, |most, (_, count)| most | count);
                let width = if most <= BYTE_MAX { size_of::<u8>() } else { size_of::<u16>() };
                if window * width + SHARED_OVERHEAD_BYTES > size_of_val(&entries[..]) {
                    return None;
                }
                let mut counts = vec![0; window];
                entries.iter().for_each(|(bin, count)| counts[(bin - first) as usize] = *count);
                pack(first, &counts, most)
            }
            Counts::Window { first, counts } => {
                let used = used_part(counts)?;
                let (first, counts) = (first + used.start as u32, &counts[used]);
                pack(first, counts, counts.iter().fold(0, |most, count| most | count))
            }
        }
    }

    fn unpack(&mut self) {
        fn wide<C: Count>(counts: &[C]) -> Vec<u32> {
            counts.iter().map(|count| count.wide()).collect()
        }
        let (first, counts) = match &self.counts {
            Counts::Packed { first, counts } => (*first, wide(counts)),
            Counts::Bytes { first, counts } => (*first, wide(counts)),
            Counts::List(_) | Counts::Window { .. } | Counts::Wide(_) => return,
        };
        self.counts = Counts::Window { first, counts };
    }

    fn list_to_window(&mut self) {
        let Counts::List(entries) = &self.counts else { return };
        let Some(&(first, _)) = entries.first() else { return };
        let mut counts = vec![0; window_of(entries)];
        for (bin, count) in entries {
            counts[(bin - first) as usize] = *count;
        }
        self.counts = Counts::Window { first, counts };
    }

    /// Rows counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Calls `take` with each used bin in ascending order and its count: [`Self::entries`] without a choice at each.
    pub fn for_each(&self, mut take: impl FnMut(u32, u64)) {
        fn walk<C: Count>(first: u32, counts: &[C], take: &mut impl FnMut(u32, u64)) {
            for (bin, count) in (first..).zip(counts) {
                if count.wide() > 0 {
                    take(bin, count.wide().into());
                }
            }
        }
        match &self.counts {
            Counts::List(entries) => entries.iter().for_each(|(bin, count)| take(*bin, (*count).into())),
            Counts::Window { first, counts } => walk(*first, counts, &mut take),
            Counts::Wide(entries) => entries.iter().for_each(|(bin, count)| take(*bin, *count)),
            Counts::Packed { first, counts } => walk(*first, counts, &mut take),
            Counts::Bytes { first, counts } => walk(*first, counts, &mut take),
        }
    }

    /// The used bins in ascending order with their counts.
    pub fn entries(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let (mut list, mut window, mut wide) = (&[][..], &[][..], &[][..]);
        let (mut packed, mut bytes, mut begin) = (&[][..], &[][..], 0);
        match &self.counts {
            Counts::List(entries) => list = entries,
            Counts::Window { first, counts } => (begin, window) = (*first, counts),
            Counts::Wide(entries) => wide = entries,
            Counts::Packed { first, counts } => (begin, packed) = (*first, counts),
            Counts::Bytes { first, counts } => (begin, bytes) = (*first, counts),
        }
        let list = list.iter().map(|(bin, count)| (*bin, u64::from(*count)));
        let packed = window_entries(begin, packed).chain(window_entries(begin, bytes));
        let arrays = window_entries(begin, window).chain(packed);
        list.chain(arrays.map(|(bin, count)| (bin, u64::from(count)))).chain(wide.iter().copied())
    }

    /// The bin of a rank (from 1 to `total`) in ascending order, the rank inside the bin from 1, and the bin's count.
    pub fn find(&self, rank: u64) -> (u32, u64, u64) {
        let found = match &self.counts {
            Counts::List(entries) => {
                find_entry(rank, entries.iter().map(|(bin, count)| (*bin, u64::from(*count))))
            }
            Counts::Window { first, counts } => find_in_window(rank, *first, counts),
            Counts::Wide(entries) => find_entry(rank, entries.iter().copied()),
            Counts::Packed { first, counts } => find_in_window(rank, *first, counts),
            Counts::Bytes { first, counts } => find_in_window(rank, *first, counts),
        };
        found.expect("the counts add up to the total, and the rank is at most that")
    }

    /// Bytes held outside the value itself. What copies share counts for each of them.
    pub fn heap_bytes(&self) -> usize {
        match &self.counts {
            Counts::List(entries) => entries.capacity() * size_of::<(u32, u32)>(),
            Counts::Window { counts, .. } => counts.capacity() * size_of::<u32>(),
            Counts::Wide(entries) => entries.capacity() * size_of::<(u32, u64)>(),
            Counts::Packed { counts, .. } => size_of_val(&counts[..]) + SHARED_OVERHEAD_BYTES,
            Counts::Bytes { counts, .. } => counts.len() + SHARED_OVERHEAD_BYTES,
        }
    }
}

impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        self.total == other.total && self.entries().eq(other.entries())
    }
}

/// A window of counts in as few bytes as they need; `None` where one may be too large. `most` has a bit wherever one of them has.
fn pack(first: u32, counts: &[u32], most: u32) -> Option<Counts> {
    if most <= BYTE_MAX {
        Some(Counts::Bytes { first, counts: counts.iter().map(|count| *count as u8).collect() })
    } else if most <= PACKED_MAX {
        Some(Counts::Packed { first, counts: counts.iter().map(|count| *count as u16).collect() })
    } else {
        None
    }
}

fn add_to_list<C>(entries: &mut Vec<(u32, C)>, bin: u32, count: C, add: impl Fn(&mut C, C)) {
    match entries.binary_search_by_key(&bin, |entry| entry.0) {
        Ok(at) => add(&mut entries[at].1, count),
        Err(at) => entries.insert(at, (bin, count)),
    }
}

/// Bins from the first to the last entry.
fn window_of(entries: &[(u32, u32)]) -> usize {
    match entries {
        [] => 0,
        [first, .., last] => (last.0 - first.0) as usize + 1,
        [_] => 1,
    }
}

fn window_entries<C: Count>(first: u32, counts: &[C]) -> impl Iterator<Item = (u32, u32)> + '_ {
    let entries = counts.iter().enumerate().map(move |(at, count)| (first + at as u32, count.wide()));
    entries.filter(|(_, count)| *count > 0)
}

fn find_entry(rank: u64, entries: impl Iterator<Item = (u32, u64)>) -> Option<(u32, u64, u64)> {
    let mut left = rank;
    for (bin, count) in entries {
        if left <= count {
            return Some((bin, left, count));
        }
        left -= count;
    }
    None
}

/// Passes over many bins at a time.
fn find_in_window<C: Count>(rank: u64, first: u32, counts: &[C]) -> Option<(u32, u64, u64)> {
    const STRIDE: usize = 32;
    let (mut left, mut at) = (rank, 0);
    // No sum of a narrow store passes 32 bits.
    while let Some(stride) = counts.get(at..at + STRIDE) {
        let sum = u64::from(stride.iter().map(|count| count.wide()).sum::<u32>());
        if left <= sum {
            break;
        }
        (left, at) = (left - sum, at + STRIDE);
    }
    let bins = counts[at..].iter().zip(first + at as u32..);
    find_entry(left, bins.map(|(count, bin)| (bin, count.wide().into())))
}

/// From the first to the last bin of a window that is not empty; `None` where all are.
fn used_part<C: Count>(counts: &[C]) -> Option<std::ops::Range<usize>> {
    let is_used = |count: &C| count.wide() > 0;
    Some(counts.iter().position(is_used)?..counts.iter().rposition(is_used)? + 1)
}

/// Widens a window to take in a bin; `false` if it would become wider than [`WINDOW_BINS_MAX`].
fn grow_to(first: &mut u32, counts: &mut Vec<u32>, bin: u32) -> bool {
    if counts.is_empty() {
        *first = bin;
    }
    let begin = (*first).min(bin);
    let end = (*first as usize + counts.len()).max(bin as usize + 1);
    let needed = end - begin as usize;
    if needed > WINDOW_BINS_MAX {
        return false;
    }
    let margin = WINDOW_MARGIN.min(WINDOW_BINS_MAX - needed);
    if begin < *first {
        let margin = margin.min(begin as usize);
        let added = (*first - begin) as usize + margin;
        counts.splice(0..0, std::iter::repeat_n(0, added));
        *first = begin - margin as u32;
    } else if end > *first as usize + counts.len() {
        counts.resize(end - *first as usize + margin, 0);
    }
    true
}
