//! A table that forgets what is not asked for, and never holds more than it may.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use parking_lot::RwLock;

/// Two generations of entries. What is asked for moves to the younger one; when that is half of what may be held, the older
/// one is dropped and the younger takes its place. So nothing has to be sorted, and a stranger who fills it with what is
/// asked for once costs others one look-up.
pub struct Cache<K, V> {
    half_bytes: usize,
    generations: RwLock<Generations<K, V>>,
}

struct Generations<K, V> {
    young: HashMap<K, Entry<V>>,
    young_bytes: usize,
    old: HashMap<K, Entry<V>>,
}

struct Entry<V> {
    value: V,
    bytes: usize,
}

/// What an entry costs besides what its owner counts, about.
const ENTRY_BYTES: usize = 128;

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    /// A table of `bytes` at most, as its entries are counted.
    pub fn new(bytes: usize) -> Self {
        let generations = Generations {
            young: HashMap::new(),
            young_bytes: 0,
            old: HashMap::new(),
        };
        Self {
            half_bytes: bytes / 2,
            generations: RwLock::new(generations),
        }
    }

    /// The value of a key.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        {
            let generations = self.generations.read();
            if let Some(entry) = generations.young.get(key) {
                return Some(entry.value.clone());
            }
            if !generations.old.contains_key(key) {
                return None;
            }
        }
        let mut generations = self.generations.write();
        let (key, entry) = generations.old.remove_entry(key)?;
        let value = entry.value.clone();
        self.add(&mut generations, key, entry);
        Some(value)
    }

    /// Keeps a value of `bytes`, key included; one that is larger than half of the table is not kept.
    pub fn insert(&self, key: K, value: V, bytes: usize) {
        let bytes = bytes.saturating_add(ENTRY_BYTES);
        if bytes > self.half_bytes {
            return;
        }
        let mut generations = self.generations.write();
        generations.old.remove(&key);
        self.add(&mut generations, key, Entry { value, bytes });
    }

    /// Forgets a key.
    pub fn remove<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut generations = self.generations.write();
        if let Some(entry) = generations.young.remove(key) {
            generations.young_bytes -= entry.bytes;
        }
        generations.old.remove(key);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.generations.write() = Generations {
            young: HashMap::new(),
            young_bytes: 0,
            old: HashMap::new(),
        };
    }

    fn add(&self, generations: &mut Generations<K, V>, key: K, entry: Entry<V>) {
        if generations.young_bytes + entry.bytes > self.half_bytes {
            generations.old = std::mem::take(&mut generations.young);
            generations.young_bytes = 0;
        }
        generations.young_bytes += entry.bytes;
        if let Some(replaced) = generations.young.insert(key, entry) {
            generations.young_bytes -= replaced.bytes;
        }
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("half_bytes", &self.half_bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let cache = Cache::new(20 * (ENTRY_BYTES + 1));
        cache.insert(0, "kept", 1);
        for key in 1..200 {
            cache.insert(key, "once", 1);
            assert_eq!(cache.get(&0), Some("kept"));
        }
        assert_eq!(cache.get(&1), None);
        assert_eq!(cache.get(&199), Some("once"));
        cache.remove(&0);
        assert_eq!(cache.get(&0), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_never_holds_more_than_it_may_and_never_tells_an_old_value(
            deeds in proptest::collection::vec((0_u8..3, 0_u8..40, 0_usize..300), 0..200),
        ) {
            let bytes = 2_000;
            let cache = Cache::new(bytes);
            let mut truth = HashMap::new();
            for (number, (deed, key, size)) in deeds.into_iter().enumerate() {
                match deed {
                    0 => {
                        cache.insert(key, number, size);
                        truth.insert(key, number);
                    }
                    1 => {
                        cache.remove(&key);
                        truth.remove(&key);
                    }
                    _ => {
                        if let Some(found) = cache.get(&key) {
                            prop_assert_eq!(Some(&found), truth.get(&key));
                        }
                    }
                }
                let generations = cache.generations.read();
                let sum = |half: &HashMap<u8, Entry<usize>>| half.values().map(|entry| entry.bytes).sum::<usize>();
                prop_assert_eq!(sum(&generations.young), generations.young_bytes);
                prop_assert!(sum(&generations.young) + sum(&generations.old) <= bytes);
            }
        }
    }
}
