//! A table in which equal entries are stored once.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

/// Entries numbered in the order they first came, each once.
///
/// What is looked up may be borrowed: an entry is made only when it is new.
#[derive(Debug)]
pub(crate) struct Interned<T> {
    slots: HashTable<Slot>,
    entries: Vec<T>,
    hasher: DefaultHashBuilder,
}

/// The hash is kept, so that the table grows without looking at its entries again.
#[derive(Debug)]
struct Slot {
    hash: u64,
    position: u32,
}

// Not derived: that would ask for `T: Default`.
impl<T> Default for Interned<T> {
    fn default() -> Self {
        Interned {
            slots: HashTable::new(),
            entries: Vec::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<T> Interned<T> {
    /// The position of the entry that `same` accepts, `make` being called for it if there is none yet. Equal entries must
    /// come with equal `key`s.
    pub(crate) fn intern(
        &mut self,
        key: impl Hash,
        same: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> u32 {
        let hash = self.hasher.hash_one(key);
        let entries = &mut self.entries;
        let slot = self
            .slots
            .entry(
                hash,
                |slot| slot.hash == hash && entries.get(slot.position as usize).is_some_and(&same),
                |slot| slot.hash,
            )
            .or_insert_with(|| {
                // Four billion entries do not fit into memory: the conversion cannot fail.
                let position = u32::try_from(entries.len()).unwrap_or(u32::MAX);
                entries.push(make());
                Slot { hash, position }
            });
        slot.get().position
    }

    /// The entries in order.
    pub(crate) fn entries(&self) -> &[T] {
        &self.entries
    }

    /// The entry at `position`.
    pub(crate) fn get_mut(&mut self, position: u32) -> Option<&mut T> {
        self.entries.get_mut(position as usize)
    }

    /// The entries in order, for good.
    pub(crate) fn into_entries(self) -> Vec<T> {
        self.entries
    }
}
