//! A map with a budget of bytes that forgets what was not used for longest.
//!
//! It knows nothing of answers: whether a value may still be served is decided by whoever takes it out. Entries are spread over
//! shards by hash, each with its own lock and order of use, so that threads rarely meet; the budget is one for all shards.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::{DefaultHashBuilder, Equivalent, HashTable};

/// Shards: a few more than the cores of a usual machine, so that two threads seldom want the same lock.
const SHARDS: usize = 16;
/// One entry may take this part of the budget: a single huge answer must not push out everything else.
const ENTRY_SHARE: u64 = 4;
/// Bytes of an entry besides what its owner states: key, links, place in the table.
const ENTRY_BYTES: u64 = 128;
/// No node.
const NONE: u32 = u32::MAX;

/// A sharded least-recently-used map, bounded by bytes.
pub struct AnswerCache<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: DefaultHashBuilder,
    bytes: AtomicU64,
    bytes_max: u64,
    evictions: AtomicU64,
}

impl<K: Hash + Eq, V: Clone> AnswerCache<K, V> {
    /// An empty cache that holds at most `bytes_max` bytes; with 0 it keeps nothing.
    pub fn new(bytes_max: u64) -> Self {
        AnswerCache {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect(),
            hasher: DefaultHashBuilder::default(),
            bytes: AtomicU64::new(0),
            bytes_max,
            evictions: AtomicU64::new(0),
        }
    }

    /// The value of a key, which counts as a use.
    pub fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
        self.with(key, V::clone)
    }

    /// What `look` makes of a key's value, which counts as a use. It looks while others wait: it must be quick, and must not use the
    /// cache.
    pub fn with<Q, T>(&self, key: &Q, look: impl FnOnce(&V) -> T) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        self.shard(hash).get(hash, key).map(look)
    }

    /// Keeps a value in the place of an earlier one of that key, which is given back. `bytes` is what key and value hold. A value
    /// that is too large for the budget is not kept.
    pub fn insert(&self, key: K, value: V, bytes: u64) -> Option<V> {
        let bytes = bytes + ENTRY_BYTES;
        if bytes > self.bytes_max / ENTRY_SHARE {
            return self.remove(&key);
        }
        let hash = self.hasher.hash_one(&key);
        // What is pushed out is dropped after the locks are given back.
        let replaced = {
            let mut shard = self.shard(hash);
            let replaced = shard.remove(hash, &key);
            shard.push(hash, key, value, bytes, |node| node.hash);
            replaced
        };
        let freed = replaced.as_ref().map_or(0, |entry| entry.bytes);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_sub(freed, Ordering::Relaxed);
        self.make_room(hash);
        replaced.map(|entry| entry.value)
    }

    /// Forgets a key.
    pub fn remove<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
        let hash = self.hasher.hash_one(key);
        let removed = self.shard(hash).remove(hash, key)?;
        self.bytes.fetch_sub(removed.bytes, Ordering::Relaxed);
        Some(removed.value)
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What an entry counts whose owner states so many bytes.
    pub const fn entry_bytes(bytes: u64) -> u64 {
        bytes + ENTRY_BYTES
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).table.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries pushed out by others since the start.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// Pushes out the entries used least lately, beginning with the shard of `hash` and sparing its newest: hashes are spread
    /// evenly, so over time every shard gives its part.
    fn make_room(&self, hash: u64) {
        for step in 0..SHARDS {
            while self.bytes() > self.bytes_max {
                let index = (place(hash) + step) % SHARDS;
                let Some(entry) = lock(&self.shards[index]).pop_oldest(step == 0) else { break };
                self.bytes.fetch_sub(entry.bytes, Ordering::Relaxed);
                self.evictions.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<K, V>> {
        lock(&self.shards[place(hash)])
    }
}

/// The shard of a hash. The table uses the low and the topmost bits.
fn place(hash: u64) -> usize {
    (hash >> 48) as usize % SHARDS
}

/// No code that can panic runs while a shard is half changed, so a poisoned lock is as good as another.
fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One entry in the order of use.
struct Node<K, V> {
    hash: u64,
    newer: u32,
    older: u32,
    /// `None` on the list of free places.
    entry: Option<Entry<K, V>>,
}

struct Entry<K, V> {
    key: K,
    value: V,
    bytes: u64,
}

/// A table of places in a list that is linked from the newest to the oldest.
struct Shard<K, V> {
    table: HashTable<u32>,
    nodes: Vec<Node<K, V>>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
}

impl<K: Eq, V: Clone> Shard<K, V> {
    fn new() -> Self {
        Shard { table: HashTable::new(), nodes: Vec::new(), free: Vec::new(), newest: NONE, oldest: NONE }
    }

    fn get<Q: Equivalent<K> + ?Sized>(&mut self, hash: u64, key: &Q) -> Option<&V> {
        let nodes = &self.nodes;
        let place = *self.table.find(hash, |place| is_key(&nodes[*place as usize], key))?;
        if place != self.newest {
            self.unlink(place);
            self.link(place);
        }
        self.nodes[place as usize].entry.as_ref().map(|entry| &entry.value)
    }

    fn push(&mut self, hash: u64, key: K, value: V, bytes: u64, hash_of: impl Fn(&Node<K, V>) -> u64) {
        let node = Node { hash, newer: NONE, older: NONE, entry: Some(Entry { key, value, bytes }) };
        let place = match self.free.pop() {
            Some(place) => {
                self.nodes[place as usize] = node;
                place
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        let nodes = &self.nodes;
        self.table.insert_unique(hash, place, |place| hash_of(&nodes[*place as usize]));
        self.link(place);
    }

    fn remove<Q: Equivalent<K> + ?Sized>(&mut self, hash: u64, key: &Q) -> Option<Entry<K, V>> {
        let nodes = &self.nodes;
        let found = self.table.find_entry(hash, |place| is_key(&nodes[*place as usize], key)).ok()?;
        let (place, _) = found.remove();
        self.take(place)
    }

    /// The entry used least lately; with `spare_newest` not the last one that is left.
    fn pop_oldest(&mut self, spare_newest: bool) -> Option<Entry<K, V>> {
        let place = self.oldest;
        if place == NONE || (spare_newest && place == self.newest) {
            return None;
        }
        let hash = self.nodes[place as usize].hash;
        if let Ok(found) = self.table.find_entry(hash, |other| *other == place) {
            found.remove();
        }
        self.take(place)
    }

    fn take(&mut self, place: u32) -> Option<Entry<K, V>> {
        self.unlink(place);
        self.free.push(place);
        self.nodes[place as usize].entry.take()
    }

    fn unlink(&mut self, place: u32) {
        let Node { newer, older, .. } = self.nodes[place as usize];
        match newer {
            NONE => self.newest = older,
            newer => self.nodes[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.nodes[older as usize].newer = newer,
        }
    }

    fn link(&mut self, place: u32) {
        let before = std::mem::replace(&mut self.newest, place);
        let node = &mut self.nodes[place as usize];
        (node.newer, node.older) = (NONE, before);
        match before {
            NONE => self.oldest = place,
            before => self.nodes[before as usize].newer = place,
        }
    }
}

fn is_key<K, V, Q: Equivalent<K> + ?Sized>(node: &Node<K, V>, key: &Q) -> bool {
    node.entry.as_ref().is_some_and(|entry| key.equivalent(&entry.key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each shard has an order of use of its own, so there are enough entries for every shard to have many.
    #[test]
    fn what_was_not_used_for_longest_goes() {
        const KEPT: u32 = 1_600;
        let room = u64::from(KEPT) * (ENTRY_BYTES + 10);
        let cache: AnswerCache<u32, u32> = AnswerCache::new(room);
        for key in 0..KEPT {
            cache.insert(key, key, 10);
        }
        assert_eq!((cache.bytes(), cache.evictions()), (room, 0));
        // One that is used stays while twice as many come and go.
        for key in KEPT..3 * KEPT {
            assert_eq!(cache.get(&7), Some(7));
            cache.insert(key, key, 10);
        }
        assert_eq!((cache.get(&7), cache.evictions()), (Some(7), 2 * u64::from(KEPT)));
        assert!(cache.bytes() <= room);
    }

    #[test]
    fn too_large_values_are_not_kept_and_forget_the_earlier_one() {
        let cache: AnswerCache<&str, u32> = AnswerCache::new(4_000);
        cache.insert("a", 1, 10);
        cache.insert("a", 2, 4_000);
        assert_eq!((cache.get(&"a"), cache.bytes()), (None, 0));
        let nothing: AnswerCache<&str, u32> = AnswerCache::new(0);
        nothing.insert("a", 1, 0);
        assert_eq!(nothing.get(&"a"), None);
    }

    proptest! {
        #[test]
        fn it_is_a_map_within_its_budget(steps in proptest::collection::vec((0u8..3, 0u16..40, 0u64..400), 0..400)) {
            let cache: AnswerCache<u16, u64> = AnswerCache::new(8_000);
            let mut model = std::collections::HashMap::new();
            for (step, key, bytes) in steps {
                match step {
                    0 => {
                        cache.insert(key, bytes, bytes);
                        model.insert(key, bytes);
                    }
                    1 => {
                        cache.remove(&key);
                        model.remove(&key);
                    }
                    _ => if let Some(found) = cache.get(&key) {
                        prop_assert_eq!(Some(&found), model.get(&key));
                    }
                }
                prop_assert!(cache.bytes() <= 8_000);
            }
            let kept: u64 = (0..40).filter_map(|key: u16| cache.get(&key)).map(|bytes| bytes + ENTRY_BYTES).sum();
            prop_assert_eq!(kept, cache.bytes());
        }
    }
}
