//! What was named once is not named again: a cache of answers, bounded in bytes.

use std::sync::Arc;

use lru::LruCache;

use crate::frame::{Frame, Symbolized};
use crate::names::Names;

/// What is asked for: the number of the module (or of the reading of the kernel's symbols), and the offset or address there.
/// Numbers are never used twice, so an answer can never be given for another file.
pub(crate) type Key = (u64, u64);

/// What an answer costs beside its frames: the list node, its slot in the table at the table's mean load, the counted allocation
/// that holds it.
const ENTRY_OVERHEAD: usize = 112 + size_of::<Symbolized>();

/// Answers, least recently used first out.
pub(crate) struct Cache {
    entries: LruCache<Key, Arc<Symbolized>>,
    names: Names,
    entry_bytes: usize,
    budget: usize,
    /// The size at which room is made next.
    limit: usize,
}

impl Cache {
    /// An empty cache that holds at most `budget` bytes of answers and names, beside the names that only its users still hold.
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            entries: LruCache::unbounded(),
            names: Names::default(),
            entry_bytes: 0,
            budget,
            limit: budget,
        }
    }

    pub(crate) fn get(&mut self, key: Key) -> Option<&Arc<Symbolized>> {
        self.entries.get(&key)
    }

    /// Where the names of answers come from.
    pub(crate) fn names(&mut self) -> &mut Names {
        &mut self.names
    }

    pub(crate) fn insert(&mut self, key: Key, answer: Symbolized) -> Arc<Symbolized> {
        let answer = Arc::new(answer);
        self.entry_bytes += cost(&answer);
        if let Some((_, replaced)) = self.entries.push(key, answer.clone()) {
            self.entry_bytes -= cost(&replaced);
        }
        if self.bytes() > self.limit {
            self.evict();
        }
        answer
    }

    /// Forgets where nothing was found in a module.
    pub(crate) fn forget_unnamed(&mut self, number: u64) {
        let unnamed = self.entries.iter();
        let unnamed = unnamed.filter(|((of, _), answer)| *of == number && !answer.named);
        let unnamed: Vec<Key> = unnamed.map(|(key, _)| *key).collect();
        for key in unnamed {
            if let Some(answer) = self.entries.pop(&key) {
                self.entry_bytes -= cost(&answer);
            }
        }
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.entry_bytes + self.names.bytes()
    }

    /// Makes room. A sweep looks at all names, so a quarter of the answers goes at a time. Names that survive it over the budget are
    /// held by our users (a profile under construction): throwing away more answers would not free them.
    fn evict(&mut self) {
        for _ in 0..self.entries.len().div_ceil(4) {
            let Some((_, answer)) = self.entries.pop_lru() else {
                break;
            };
            self.entry_bytes -= cost(&answer);
        }
        self.names.sweep();
        self.limit = self.budget.max(self.bytes() + self.budget / 8);
    }
}

fn cost(answer: &Symbolized) -> usize {
    ENTRY_OVERHEAD + size_of::<Frame>() * answer.frames.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(cache: &mut Cache, address: u64) -> Symbolized {
        let (name, system_name) = cache
            .names()
            .function(&format!("_ZN8function{address:08}Ev"));
        let frame = Frame {
            name,
            system_name,
            file: None,
            line: 0,
            inlined: false,
        };
        Symbolized {
            mapping: None,
            address,
            frames: [frame].into(),
            named: true,
        }
    }

    /// A hundred thousand different words stay within the budget, the ones still asked for stay cached, and the others' names are freed.
    #[test]
    fn stays_within_its_budget() {
        let budget = 200_000;
        let mut cache = Cache::new(budget);
        for address in 0..100_000 {
            let answer = answer(&mut cache, address);
            cache.insert((1, address), answer);
            assert!(cache.bytes() <= budget);
            assert!(
                cache.get((1, 0)).is_some(),
                "the word asked for every time is gone after {address}"
            );
        }
        assert!(cache.get((1, 1)).is_none());
        assert!(cache.get((1, 99_999)).is_some());
        assert!(cache.get((2, 0)).is_none());
    }

    /// A user who keeps every answer makes the cache keep their names, but does not empty it.
    #[test]
    fn answers_held_outside_do_not_empty_it() {
        let budget = 200_000;
        let mut cache = Cache::new(budget);
        let mut held = Vec::new();
        for address in 0..20_000 {
            let answer = answer(&mut cache, address);
            held.push(cache.insert((1, address), answer));
        }
        assert!(cache.get((1, 19_990)).is_some());
        assert!(cache.entry_bytes <= budget);
        drop(held);
        for address in 20_000..40_000 {
            let answer = answer(&mut cache, address);
            cache.insert((1, address), answer);
        }
        assert!(cache.bytes() <= budget);
    }
}
