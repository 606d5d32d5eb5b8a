//! Counts by bin: a short sorted list for few bins, an array over the used window for many.
//!
//! A question may hold a sketch per group, so a group of few rows must stay small and a busy one fast.

/// Up to this many bins a sorted list (8 bytes a bin) is both smaller and about as fast as an array.
const LIST_BINS_MAX: usize = 48;
/// The widest array, in bins: 117 octaves, 35 powers of ten. Values that spread further stay in a list.
const WINDOW_BINS_MAX: usize = 4_096;
/// Bins added at a growing end of an array beyond the one needed, so that it does not grow for each new extreme.
const WINDOW_MARGIN: usize = 32;

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
        }
        self.list_to_window();
    }

    /// Adds counts of ascending bins.
    pub fn add_sorted(&mut self, entries: &[(u32, u64)]) {
        let (Some(&(low, _)), Some(&(high, _))) = (entries.first(), entries.last()) else { return };
        let added: u64 = entries.iter().map(|(_, count)| count).sum();
        if let Counts::List(own) = &self.counts
            && self.total + added <= NARROW_TOTAL_MAX
        {
            if own.is_empty() && entries.len() <= LIST_BINS_MAX {
                self.counts =
                    Counts::List(entries.iter().map(|(bin, count)| (*bin, *count as u32)).collect());
                self.total = added;
                return;
            }
            // Past the length of a list it is an array anyway; as one it takes many bins at once.
            if own.len() + entries.len() > LIST_BINS_MAX
                && !own.is_empty()
                && window_of(own) <= WINDOW_BINS_MAX
            {
                self.list_to_window();
            }
        }
        if let Counts::Window { first, counts } = &mut self.counts
            && self.total + added <= NARROW_TOTAL_MAX
            && grow_to(first, counts, low)
            && grow_to(first, counts, high)
        {
            for (bin, count) in entries {
                counts[(bin - *first) as usize] += *count as u32;
            }
            self.total += added;
            return;
        }
        entries.iter().for_each(|(bin, count)| self.add(*bin, *count));
    }

    /// Adds another store's counts.
    pub fn merge(&mut self, other: &Self) {
        if self.total == 0 {
            self.clone_from(other);
            return;
        }
        if !self.merge_windows(other) {
            other.entries().for_each(|(bin, count)| self.add(bin, count));
        }
    }

    /// Adds one array to another, the usual case of large groups; `false` if the two are not of that kind.
    fn merge_windows(&mut self, other: &Self) -> bool {
        let total = self.total + other.total;
        let (Counts::Window { first, counts }, Counts::Window { first: other_first, counts: others }) =
            (&mut self.counts, &other.counts)
        else {
            return false;
        };
        // Only the used part counts towards the width, else margins would add up.
        let Some(begin) = others.iter().position(|count| *count > 0) else { return false };
        let others =
            &others[begin..others.len() - others.iter().rev().take_while(|count| **count == 0).count()];
        let (low, high) = (other_first + begin as u32, other_first + (begin + others.len()) as u32 - 1);
        if total > NARROW_TOTAL_MAX || !grow_to(first, counts, low) || !grow_to(first, counts, high) {
            return false;
        }
        let own = &mut counts[(low - *first) as usize..][..others.len()];
        own.iter_mut().zip(others).for_each(|(own, other)| *own += other);
        self.total = total;
        true
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

    /// The used bins in ascending order with their counts.
    pub fn entries(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let (list, window, wide) = match &self.counts {
            Counts::List(entries) => (Some(entries), None, None),
            Counts::Window { first, counts } => (None, Some((*first, counts)), None),
            Counts::Wide(entries) => (None, None, Some(entries)),
        };
        let list = list.into_iter().flatten().map(|(bin, count)| (*bin, u64::from(*count)));
        let window = window.into_iter().flat_map(|(first, counts)| window_entries(first, counts));
        let window = window.map(|(bin, count)| (bin, u64::from(count)));
        list.chain(window).chain(wide.into_iter().flatten().copied())
    }

    /// The bin of a rank (from 1 to `total`) in ascending order, the rank inside the bin from 1, and the bin's count.
    pub fn find(&self, rank: u64) -> (u32, u64, u64) {
        let mut left = rank;
        let mut is_here = |count: u64| {
            let is_here = left <= count;
            left -= if is_here { 0 } else { count };
            is_here
        };
        let found = match &self.counts {
            Counts::List(entries) => entries
                .iter()
                .map(|(bin, count)| (*bin, u64::from(*count)))
                .find(|(_, count)| is_here(*count)),
            Counts::Window { first, counts } => {
                let at = counts.iter().position(|count| is_here(u64::from(*count)));
                at.map(|at| (first + at as u32, u64::from(counts[at])))
            }
            Counts::Wide(entries) => entries.iter().copied().find(|(_, count)| is_here(*count)),
        };
        let (bin, count) = found.expect("the counts add up to the total, and the rank is at most that");
        (bin, left, count)
    }

    /// Bytes held outside the value itself.
    pub fn heap_bytes(&self) -> usize {
        match &self.counts {
            Counts::List(entries) => entries.capacity() * size_of::<(u32, u32)>(),
            Counts::Window { counts, .. } => counts.capacity() * size_of::<u32>(),
            Counts::Wide(entries) => entries.capacity() * size_of::<(u32, u64)>(),
        }
    }
}

impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        self.total == other.total && self.entries().eq(other.entries())
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

fn window_entries(first: u32, counts: &[u32]) -> impl Iterator<Item = (u32, u32)> + '_ {
    counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
        .map(move |(at, count)| (first + at as u32, *count))
}

/// Widens a window to take in a bin; `false` if it would become wider than [`WINDOW_BINS_MAX`].
fn grow_to(first: &mut u32, counts: &mut Vec<u32>, bin: u32) -> bool {
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
