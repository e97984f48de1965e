//! A table of symbols in the order of their addresses.

use std::fs::File;
use std::io;

use crate::elf_header::Extent;
use crate::symbol_table::{Candidate, read_symbols};

/// Longer symbols are not code.
const LONGEST: u64 = u32::MAX as u64 >> 1;

/// The symbols of a table that may be code.
pub(crate) struct SymbolIndex {
    /// What addresses are measured from: where the first code of the file is.
    base: u64,
    /// Ascending, no two with the same start.
    sized: Vec<Entry>,
    sizeless: Vec<Entry>,
}

/// Half of a [`Candidate`]. The greatest of those with the same start counts, as there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    start: u32,
    /// Twice its size, and one more if it is known outside of its file.
    size_and_global: u32,
    name: u32,
}

/// Entries that an index needs room for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    sized: usize,
    sizeless: usize,
}

impl Counts {
    /// Of a table, which is read for it.
    pub(crate) fn of(file: &File, table: Extent) -> io::Result<Self> {
        let mut counts = Self::default();
        read_symbols(file, table, |symbol| match symbol.size {
            0 => counts.sizeless += 1,
            _ => counts.sized += 1,
        })?;
        Ok(counts)
    }

    /// What the index takes, in bytes.
    pub(crate) fn bytes(self) -> u64 {
        (self.sized + self.sizeless) as u64 * size_of::<Entry>() as u64
    }
}

impl SymbolIndex {
    /// Reads a table of symbols, which has so many. Its code must be within 4 GiB, as it is in all but the largest code model.
    pub(crate) fn read(file: &File, table: Extent, counts: Counts, base: u64) -> io::Result<Self> {
        let mut index = Self {
            base,
            sized: Vec::with_capacity(counts.sized),
            sizeless: Vec::with_capacity(counts.sizeless),
        };
        let mut fits = true;
        read_symbols(file, table, |symbol| {
            let Some(entry) = index.entry(symbol) else {
                // What lies before all code covers none of it unless it ends there.
                fits &= symbol.start < base && symbol.start.saturating_add(symbol.size) <= base;
                return;
            };
            let entries = match symbol.size {
                0 => &mut index.sizeless,
                _ => &mut index.sized,
            };
            // It may be another table by now.
            if entries.len() < entries.capacity() {
                entries.push(entry);
            } else {
                fits = false;
            }
        })?;
        if !fits {
            return Err(io::ErrorKind::InvalidData.into());
        }
        for entries in [&mut index.sized, &mut index.sizeless] {
            entries.sort_unstable();
            // Of neighbours the first stays, and the last is the greatest.
            entries.reverse();
            entries.dedup_by_key(|entry| entry.start);
            entries.reverse();
            entries.shrink_to_fit();
        }
        Ok(index)
    }

    /// What is at each of some addresses.
    pub(crate) fn candidates(
        &self,
        addresses: &[u64],
        is_dynamic: bool,
    ) -> impl Iterator<Item = Option<Candidate>> {
        addresses.iter().map(move |&address| {
            let distance = u32::try_from(address.checked_sub(self.base)?).ok()?;
            let last = |entries: &[Entry]| {
                let after = entries.partition_point(|entry| entry.start <= distance);
                let entry = after.checked_sub(1).and_then(|last| entries.get(last));
                entry.map_or(Candidate::default(), |entry| self.candidate(*entry))
            };
            Candidate::of_two(last(&self.sized), last(&self.sizeless), address, is_dynamic)
        })
    }

    fn entry(&self, symbol: Candidate) -> Option<Entry> {
        let size = u32::try_from(Some(symbol.size).filter(|&size| size <= LONGEST)?).ok()?;
        Some(Entry {
            start: u32::try_from(symbol.start.checked_sub(self.base)?).ok()?,
            size_and_global: size << 1 | u32::from(symbol.is_global),
            name: symbol.name,
        })
    }

    fn candidate(&self, entry: Entry) -> Candidate {
        Candidate {
            start: self.base + u64::from(entry.start),
            size: (entry.size_and_global >> 1).into(),
            is_global: entry.size_and_global & 1 == 1,
            name: entry.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::symbol_table::Nearest;

    /// xorshift64*: the same symbols on every run.
    fn random(state: &mut u64, below: u64) -> u64 {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below
    }

    /// Of overlapping, nested, sizeless and equal symbols in any order, the index finds at every address what reading the table does.
    #[test]
    fn finds_what_the_table_has() {
        let base = 0x40_0000;
        let state = &mut 0x7468_6572;
        let mut bytes = Vec::new();
        for name in 1..400u32 {
            let size = random(state, 3) * random(state, 40);
            let info = [0x02u8, 0x12, 0x10][random(state, 3) as usize];
            bytes.extend(name.to_le_bytes());
            bytes.extend([info, 0, 1, 0]);
            bytes.extend((base + random(state, 4000)).to_le_bytes());
            bytes.extend(size.to_le_bytes());
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let table = Extent {
            offset: 0,
            size: bytes.len() as u64,
        };
        let counts = Counts::of(&file, table).unwrap();
        let index = SymbolIndex::read(&file, table, counts, base).unwrap();
        let addresses: Vec<u64> = (base - 10..base + 4100).collect();
        let mut nearest = Nearest::new(&addresses);
        read_symbols(&file, table, |symbol| nearest.take(symbol)).unwrap();
        for is_dynamic in [false, true] {
            let by_index: Vec<_> = index.candidates(&addresses, is_dynamic).collect();
            let by_table: Vec<_> = nearest.candidates(is_dynamic).collect();
            assert_eq!(by_index, by_table);
            assert!(by_index.iter().filter(|found| found.is_some()).count() > 100);
        }
    }

    /// Code that is too far apart for the index has none, and a table that has grown neither.
    #[test]
    fn refuses_what_is_far() {
        let mut bytes = 1u32.to_le_bytes().to_vec();
        bytes.extend([0x12, 0, 1, 0]);
        bytes.extend((1u64 << 33).to_le_bytes());
        bytes.extend(8u64.to_le_bytes());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let table = Extent {
            offset: 0,
            size: 24,
        };
        let counts = Counts::of(&file, table).unwrap();
        assert!(SymbolIndex::read(&file, table, counts, 1 << 33).is_ok());
        assert!(SymbolIndex::read(&file, table, counts, 0).is_err());
        assert!(SymbolIndex::read(&file, table, Counts::default(), 1 << 33).is_err());
    }
}
