//! The partial cache: merged groups of lists of pieces, within a budget of bytes.
//!
//! Exact by construction: a key names immutable units, the deletes that may hide rows of them, and all of a question that decides a
//! partial. Nothing has to be taken out because of a write; what no question asks for again goes when room is needed. What goes first is
//! decided as in GreedyDual-Size (Cao and Irani, "Cost-Aware WWW Proxy Caching Algorithms", 1997), the cost being the rows that would
//! have to be read again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::{HashMap, HashSet};
use tidewater_aggregate::SharedMemory;

use crate::partial::Partial;
use crate::plan::Family;

/// The key of a list of pieces under a plan's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub u128);

/// One entry takes at most this part of the budget, so that one question cannot empty the cache.
const ENTRY_PART: usize = 4;
/// Beside a partial's own bytes: its entry in the tables, allocations' headers.
const ENTRY_OVERHEAD_BYTES: usize = 512;
/// Lists that were met once and are kept when they are met again; then the memory of them starts anew. 16 bytes each.
const MET_MAX: usize = 4_096;
/// Families whose entries share texts; few have texts enough.
const LENDERS_MAX: usize = 256;

/// Merged partials by their lists of pieces.
pub(crate) struct PartialCache {
    bytes_max: usize,
    state: Mutex<State>,
}

/// How the cache did since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Pieces whose partial was there, alone or merged with others.
    pub hits: u64,
    /// Pieces whose partial was not there.
    pub misses: u64,
    /// Partials that went because room was needed.
    pub evictions: u64,
    /// Bytes held.
    pub bytes: u64,
    /// Partials held.
    pub entries: u64,
}

#[derive(Default)]
struct State {
    entries: HashMap<Key, Entry>,
    /// The least valuable first.
    order: BTreeMap<(u64, u64), Key>,
    /// The value that the last evicted entry had: what is used gets its own value on top of it.
    floor: u64,
    /// Makes places in `order` distinct.
    next: u64,
    met: HashSet<Key>,
    /// The entry with most texts of each family that has many, and how many those are.
    lenders: HashMap<Family, (Key, usize)>,
    /// Memory that entries share, by address: how many hold it, and its bytes. A merged partial that was made by adding a day to another one
    /// mostly has the same groups, and then only its states are its own.
    shared: HashMap<usize, (usize, usize)>,
    stats: CacheStats,
}

struct Entry {
    partial: Arc<Partial>,
    /// Without what is shared.
    own_bytes: usize,
    shared: Vec<SharedMemory>,
    /// Rows per kibibyte.
    value: u64,
    place: (u64, u64),
}

impl PartialCache {
    pub fn new(bytes_max: usize) -> Self {
        PartialCache { bytes_max, state: Mutex::default() }
    }

    /// The partial of one list.
    pub fn get(&self, key: Key) -> Option<Arc<Partial>> {
        self.lock().touch(key)
    }

    /// The partial of the longest list whose key is held, with its place among the keys, which go from the shortest to the longest. The
    /// shorter ones count as used too: they are what a flush or a compaction of the rest falls back on.
    pub fn longest(&self, keys: &[Key]) -> Option<(usize, Arc<Partial>)> {
        let mut state = self.lock();
        let held = keys.iter().enumerate().filter_map(|(place, key)| Some((place, state.touch(*key)?)));
        held.last()
    }

    /// Keeps the partial of a list that took reading `rows` rows.
    pub fn insert(&self, key: Key, partial: &Arc<Partial>, rows: u64) {
        let bytes = partial.memory_bytes() + ENTRY_OVERHEAD_BYTES;
        if bytes > self.bytes_max / ENTRY_PART {
            return;
        }
        let shared = partial.groups.shared();
        let own_bytes = bytes.saturating_sub(shared.iter().map(|shared| shared.bytes).sum());
        let mut state = self.lock();
        state.remove(key);
        // What is there already costs nothing more.
        let fresh = shared.iter().filter(|shared| !state.shared.contains_key(&shared.address));
        let added = own_bytes + fresh.map(|shared| shared.bytes).sum::<usize>();
        let value = rows.saturating_mul(1_024) / added.max(1) as u64;
        state.put(key, Entry { partial: Arc::clone(partial), own_bytes, shared, value, place: (0, 0) });
        state.make_room(self.bytes_max);
    }

    /// Keeps the partial of a list, as [`Self::insert`] does, with its texts shared with others of its family where they are many.
    pub fn insert_sharing(&self, family: Family, key: Key, partial: Arc<Partial>, rows: u64) -> Arc<Partial> {
        let lender = self.lock().lender(family);
        let partial = partial.compacted(lender.as_deref());
        self.insert(key, &partial, rows);
        self.lock().lend(family, key, partial.groups.texts());
        partial
    }

    /// Lets go of a list that a longer one has taken the place of.
    pub fn forget(&self, key: Key) {
        self.lock().remove(key);
    }

    /// Whether a list was met before; if not, it is remembered. For lists that most likely never come again.
    pub fn is_met(&self, key: Key) -> bool {
        let mut state = self.lock();
        if state.met.len() >= MET_MAX {
            state.met.clear();
        }
        !state.met.insert(key)
    }

    /// Counts pieces found and pieces missed.
    pub fn count(&self, hits: usize, misses: usize) {
        let mut state = self.lock();
        state.stats.hits += hits as u64;
        state.stats.misses += misses as u64;
    }

    pub fn stats(&self) -> CacheStats {
        let state = self.lock();
        CacheStats { entries: state.entries.len() as u64, ..state.stats }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PartialCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartialCache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl State {
    fn touch(&mut self, key: Key) -> Option<Arc<Partial>> {
        let entry = self.entries.get_mut(&key)?;
        self.order.remove(&entry.place);
        entry.place = (self.floor + entry.value, self.next);
        self.next += 1;
        self.order.insert(entry.place, key);
        Some(Arc::clone(&entry.partial))
    }

    fn lender(&self, family: Family) -> Option<Arc<Partial>> {
        let (key, _) = self.lenders.get(&family)?;
        self.entries.get(key).map(|entry| Arc::clone(&entry.partial))
    }

    /// Notes an entry that others of its family may share texts with, if there is none with as many.
    fn lend(&mut self, family: Family, key: Key, texts: usize) {
        if self.lenders.len() >= LENDERS_MAX {
            let entries = &self.entries;
            self.lenders.retain(|_, (key, _)| entries.contains_key(key));
        }
        let known = self.lenders.get(&family).filter(|(key, _)| self.entries.contains_key(key));
        let is_largest = known.is_none_or(|(_, most)| texts > *most);
        if is_largest && self.entries.contains_key(&key) && self.lenders.len() < LENDERS_MAX {
            self.lenders.insert(family, (key, texts));
        }
    }

    fn put(&mut self, key: Key, mut entry: Entry) {
        entry.place = (self.floor + entry.value, self.next);
        self.next += 1;
        self.order.insert(entry.place, key);
        self.stats.bytes += entry.own_bytes as u64;
        for SharedMemory { address, bytes } in &entry.shared {
            let (holders, _) = self.shared.entry(*address).or_insert_with(|| {
                self.stats.bytes += *bytes as u64;
                (0, *bytes)
            });
            *holders += 1;
        }
        self.entries.insert(key, entry);
    }

    fn remove(&mut self, key: Key) {
        let Some(entry) = self.entries.remove(&key) else { return };
        self.order.remove(&entry.place);
        self.stats.bytes -= entry.own_bytes as u64;
        for SharedMemory { address, .. } in &entry.shared {
            let Some((holders, bytes)) = self.shared.get_mut(address) else { continue };
            *holders -= 1;
            if *holders == 0 {
                self.stats.bytes -= *bytes as u64;
                self.shared.remove(address);
            }
        }
    }

    fn make_room(&mut self, bytes_max: usize) {
        while self.stats.bytes > bytes_max as u64 {
            let Some((&(value, _), &key)) = self.order.first_key_value() else { return };
            self.floor = value;
            self.remove(key);
            self.stats.evictions += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, StringArray};
    use tidewater_aggregate::{Codes, Groups, Rows, StateKind, States};
    use tidewater_model::schema::ColumnType;

    use super::*;
    use crate::planner::SourceSummary;

    /// A partial of about so many bytes.
    fn partial(bytes: usize) -> Arc<Partial> {
        let mut counts = States::new(StateKind::Count, false);
        counts.resize(bytes / size_of::<u64>());
        let (groups, sources) = (Groups::new(Vec::new()), SourceSummary::default());
        Arc::new(Partial { groups, states: vec![(0, counts)], totals: Vec::new(), sources })
    }

    /// A group for each of some users.
    fn users(numbers: std::ops::Range<usize>) -> Groups {
        let rows = Rows::All(numbers.len());
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(numbers.map(|n| format!("user {n}"))));
        let mut groups = Groups::new(vec![Codes::column(ColumnType::String)]);
        let mut codes = Vec::new();
        groups.dimensions[0].encode(Some(&texts), rows, &mut codes).expect("texts");
        groups.assign(&[codes]).expect("texts");
        groups.freeze();
        groups
    }

    fn held(cache: &PartialCache, keys: &[u128]) -> Vec<u128> {
        let state = cache.lock();
        keys.iter().copied().filter(|key| state.entries.contains_key(&Key(*key))).collect()
    }

    #[test]
    fn what_is_cheap_and_long_unused_goes_first() {
        let cache = PartialCache::new(1 << 20);
        for key in 0..8 {
            cache.insert(Key(key), &partial(100_000), 1_000);
        }
        // Expensive ones stay although they are the oldest; of equal ones the used one stays.
        cache.insert(Key(100), &partial(100_000), 1_000_000);
        assert!(cache.get(Key(0)).is_some());
        for key in 8..11 {
            cache.insert(Key(key), &partial(100_000), 1_000);
        }
        let stats = cache.stats();
        assert!(stats.bytes <= 1 << 20 && stats.evictions == 2 && stats.entries == 10, "{stats:?}");
        assert_eq!(held(&cache, &[0, 1, 2, 3, 100]), [0, 3, 100]);
        // In the end everything that is not used goes.
        for key in 1_000..12_000 {
            cache.insert(Key(key), &partial(100_000), 1_000);
        }
        assert_eq!(held(&cache, &[0, 3, 100]), [0u128; 0]);
    }

    #[test]
    fn the_budget_holds() {
        let cache = PartialCache::new(1 << 20);
        cache.insert(Key(1), &partial(300_000), 1_000_000);
        assert_eq!(cache.stats().entries, 0, "one entry may not take more than its part");
        cache.insert(Key(1), &partial(200_000), 1);
        cache.insert(Key(1), &partial(100_000), 1);
        let stats = cache.stats();
        assert!(stats.entries == 1 && (100_000..110_000).contains(&stats.bytes), "{stats:?}");
        cache.forget(Key(1));
        assert_eq!(cache.stats(), CacheStats::default());
        let none = PartialCache::new(0);
        none.insert(Key(1), &partial(0), 1);
        assert!(none.get(Key(1)).is_none());
    }

    #[test]
    fn what_entries_share_counts_once_and_until_the_last_of_them_goes() {
        let cache = PartialCache::new(8 << 20);
        let groups = users(0..20_000);
        let with = |counts: usize| {
            let mut states = States::new(StateKind::Count, false);
            states.resize(counts);
            let (groups, sources) = (groups.clone(), SourceSummary::default());
            Arc::new(Partial { groups, states: vec![(0, states)], totals: Vec::new(), sources })
        };
        let bytes = || cache.stats().bytes;
        cache.insert(Key(1), &with(20_000), 1_000);
        let alone = bytes();
        cache.insert(Key(2), &with(20_000), 1_000);
        let both = bytes();
        assert!(both - alone < alone / 2, "{both} after {alone}");
        cache.forget(Key(1));
        assert_eq!(bytes(), alone);
        cache.forget(Key(2));
        assert_eq!((bytes(), cache.lock().shared.len()), (0, 0));
    }

    #[test]
    fn lists_that_were_made_apart_share_their_texts() {
        let cache = PartialCache::new(8 << 20);
        let family = Family(1);
        let insert = |key: u128, names: std::ops::Range<usize>| {
            let mut counts = States::new(StateKind::Count, false);
            counts.resize(names.len());
            let (groups, sources) = (users(names), SourceSummary::default());
            let partial = Partial { groups, states: vec![(0, counts)], totals: Vec::new(), sources };
            let before = cache.stats().bytes;
            let partial = cache.insert_sharing(family, Key(key), Arc::new(partial), 1_000);
            (cache.stats().bytes - before, partial)
        };
        let (whole, _) = insert(1, 0..20_000);
        let (part, partial) = insert(2, 1_000..19_000);
        assert!(part < whole / 2, "{part} after {whole}");
        let name = partial.groups.dimensions[0].text(partial.groups.key(17)[0]);
        assert_eq!(name, Some("user 1017"));
        let (larger, _) = insert(3, 0..21_000);
        assert!(larger > whole, "not all of its texts are there");
        assert!(insert(4, 0..20_500).0 < whole / 2, "the larger one lends now");
        [1, 2, 3, 4].into_iter().for_each(|key| cache.forget(Key(key)));
        assert_eq!((cache.stats().bytes, cache.lock().shared.len()), (0, 0));
        assert!(insert(5, 0..20_000).0 >= whole, "nobody is left to lend");
    }

    #[test]
    fn the_longest_known_prefix_is_found() {
        let cache = PartialCache::new(1 << 20);
        [1, 3].into_iter().for_each(|key| cache.insert(Key(key), &partial(80), 1));
        let longest = |keys: &[u128]| {
            let keys: Vec<Key> = keys.iter().copied().map(Key).collect();
            cache.longest(&keys).map(|(place, _)| place)
        };
        assert_eq!(longest(&[1, 2, 3, 4]), Some(2));
        assert_eq!(longest(&[1, 2, 4]), Some(0));
        assert_eq!(longest(&[2, 4]), None);
        assert!(!cache.is_met(Key(7)) && cache.is_met(Key(7)));
    }

    #[test]
    fn a_shorter_prefix_stays_while_longer_ones_come_and_go() {
        let cache = PartialCache::new(1 << 20);
        cache.insert(Key(0), &partial(100_000), 1_000);
        for longer in 1..100 {
            cache.insert(Key(longer), &partial(100_000), 1_000);
            assert_eq!(cache.longest(&[Key(0), Key(longer)]).map(|(place, _)| place), Some(1));
        }
        assert!(cache.stats().evictions > 0 && cache.get(Key(0)).is_some());
    }
}
