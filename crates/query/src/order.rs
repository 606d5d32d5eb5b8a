//! The final order of an answer's rows. The first page is sorted at once, the rest when somebody asks for it.

use std::sync::OnceLock;

use tidewater_model::query::OrderKey;

use crate::table::Table;

/// Groups in order.
pub(crate) struct Ranking {
    order: Vec<OrderKey>,
    /// Of these the first `sorted` are in their place, the rest is behind them in any order.
    groups: Vec<u32>,
    sorted: usize,
    all: OnceLock<Vec<u32>>,
}

/// Selecting the first page before sorting it pays where it is at most this part of all rows.
const PAGE_PART: usize = 4;

impl Ranking {
    /// Orders so that at least the first `page` rows are in their place.
    pub fn new(table: &Table, order: &[OrderKey], mut groups: Vec<u32>, page: usize) -> Self {
        let compare = |a: &u32, b: &u32| table.compare(order, *a as usize, *b as usize);
        let sorted = if page.saturating_mul(PAGE_PART) < groups.len() && page > 0 {
            let candidates = candidates_first(table, order, &mut groups, page);
            if page < candidates {
                groups[..candidates].select_nth_unstable_by(page - 1, compare);
            }
            page
        } else {
            groups.len()
        };
        sort(table, order, &mut groups[..sorted]);
        Ranking { order: order.to_vec(), groups, sorted, all: OnceLock::new() }
    }

    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Rows `offset .. offset + limit`.
    pub fn page(&self, table: &Table, offset: u64, limit: u32) -> &[u32] {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.groups.len());
        let end = start.saturating_add(limit as usize).min(self.groups.len());
        if end <= self.sorted {
            return &self.groups[start..end];
        }
        let all = self.all.get_or_init(|| {
            let mut groups = self.groups.clone();
            sort(table, &self.order, &mut groups[self.sorted..]);
            groups
        });
        &all[start..end]
    }

    pub fn memory_bytes(&self) -> usize {
        let all = self.all.get().map_or(0, Vec::capacity);
        (self.groups.capacity() + all) * size_of::<u32>()
    }
}

/// Sorts groups, by plain numbers where their order can be told in such.
fn sort(table: &Table, order: &[OrderKey], groups: &mut [u32]) {
    match table.places(order, groups) {
        Some(places) => {
            let mut placed: Vec<(u64, u32)> = places.into_iter().zip(groups.iter().copied()).collect();
            placed.sort_unstable();
            groups.iter_mut().zip(placed).for_each(|(group, (_, placed))| *group = placed);
        }
        None => groups.sort_unstable_by(|a, b| table.compare(order, *a as usize, *b as usize)),
    }
}

/// Puts the groups first that may be on the page as far as the first key tells, which compares plain numbers where it can; gives how
/// many those are.
fn candidates_first(table: &Table, order: &[OrderKey], groups: &mut [u32], page: usize) -> usize {
    /// Numbers at a time: what fits in a core's own cache.
    const AT_ONCE: usize = 4_096;
    let Some(key) = order.first() else { return groups.len() };
    let mut ranks = Vec::with_capacity(AT_ONCE.min(groups.len()));
    let mut least = Least::new(page);
    for part in groups.chunks(AT_ONCE) {
        if !table.ranks(key, part, &mut ranks) {
            return groups.len();
        }
        least.add(&ranks);
    }
    let last = least.last();
    let (mut candidates, mut seen) = (0, 0);
    while seen < groups.len() {
        let end = groups.len().min(seen + AT_ONCE);
        table.ranks(key, &groups[seen..end], &mut ranks);
        for (place, rank) in (seen..end).zip(&ranks) {
            if *rank <= last {
                groups.swap(candidates, place);
                candidates += 1;
            }
        }
        seen = end;
    }
    candidates
}

/// The `n` least of many numbers. Most numbers are only compared with the bound so far.
struct Least {
    n: usize,
    room: usize,
    kept: Vec<i64>,
    /// The `n`-th least of the first numbers, or more.
    bound: i64,
}

impl Least {
    /// Of at least `n` numbers, `n` at least 1.
    fn new(n: usize) -> Self {
        /// Fewer than these are not worth a bound.
        const KEPT_MIN: usize = 1_024;
        Least { n, room: (4 * n).max(KEPT_MIN), kept: Vec::new(), bound: i64::MAX }
    }

    fn add(&mut self, numbers: &[i64]) {
        for number in numbers {
            if *number <= self.bound {
                self.kept.push(*number);
            }
            if self.kept.len() == self.room {
                self.bound = *self.kept.select_nth_unstable(self.n - 1).1;
                self.kept.truncate(self.n);
            }
        }
    }

    /// The `n`-th least.
    fn last(mut self) -> i64 {
        *self.kept.select_nth_unstable(self.n - 1).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_least_is_that_of_the_sorted_numbers() {
        let numbers: Vec<i64> =
            (0..20_000u64).map(|place| (place.wrapping_mul(7_919_777) % 5_003) as i64 - 99).collect();
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        let nth_least = |numbers: &[i64], n: usize| {
            let mut least = Least::new(n);
            numbers.chunks(777).for_each(|numbers| least.add(numbers));
            least.last()
        };
        for n in [1, 2, 10, 700, 19_999] {
            assert_eq!(nth_least(&numbers, n), sorted[n - 1]);
        }
        assert_eq!(nth_least(&[i64::MAX; 3_000], 5), i64::MAX);
    }
}
