//! Symbols that were given, so that the next place in the same function costs no reading of its name: where functions lie far apart in
//! tens of megabytes of names, reading is most of what naming costs.

use std::rc::Rc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::elf_symbols::Symbol;
use crate::room::Room;
use crate::symbol_table::Candidate;

/// What a symbol costs beside its name: itself with the counts before it, its slot in the table at the table's mean load, and what the
/// allocator adds to both allocations.
const SYMBOL_OVERHEAD: u64 = 128;

/// The symbols of one table.
#[derive(Default)]
pub(crate) struct KnownSymbols(HashMap<Key, Rc<Symbol>>);

/// Where a symbol begins, and where its name does: in some tables the same name is that of many.
type Key = (u64, u32);

fn key(candidate: &Candidate) -> Key {
    (candidate.start, candidate.name)
}

impl KnownSymbols {
    pub(crate) fn get(&self, candidate: &Candidate) -> Option<&Rc<Symbol>> {
        self.0.get(&key(candidate))
    }

    /// Keeps a symbol that is not known yet, if there is room for it.
    pub(crate) fn keep<T>(
        &mut self,
        candidate: &Candidate,
        symbol: &Rc<Symbol>,
        room: &mut Room<'_, T>,
    ) {
        if let Entry::Vacant(place) = self.0.entry(key(candidate))
            && room
                .take(symbol.name.len() as u64 + SYMBOL_OVERHEAD)
                .is_ok()
        {
            place.insert(Rc::clone(symbol));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Kept;

    /// A symbol takes room once, the same name elsewhere is another symbol, and what does not fit is not kept.
    #[test]
    fn symbols_take_room_once() {
        let mut kept = Kept::<()>::new(2 * (SYMBOL_OVERHEAD + 1));
        let (_, mut room) = kept.take(1);
        let mut known = KnownSymbols::default();
        let candidates = [16, 32, 48].map(|start| Candidate {
            start,
            name: 1,
            ..Candidate::default()
        });
        for candidate in candidates.iter().flat_map(|candidate| [candidate; 2]) {
            let symbol = Symbol {
                address: candidate.start,
                name: "f".to_owned(),
            };
            known.keep(candidate, &Rc::new(symbol), &mut room);
        }
        let starts = candidates.map(|candidate| Some(known.get(&candidate)?.address));
        assert_eq!(starts, [Some(16), Some(32), None]);
    }
}
