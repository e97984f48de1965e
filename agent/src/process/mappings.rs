//! The executable mappings of one address space.

use super::MappedFile;
use bpf::Word;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Executable mappings kept of one process, about 80 bytes each: a big program has a thousand. The kernel's own limit
/// (vm.max_map_count, 65,530 of all kinds) times a container full of processes would be gigabytes.
const LIMIT: usize = 1 << 13;

/// One piece of a file, or of memory of no file, that can be executed.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    /// First virtual address.
    pub(crate) start: u64,
    /// The virtual address behind the last.
    pub(crate) end: u64,
    /// File offset of `start`, bytes.
    pub(crate) offset: u64,
    /// Nothing for memory of no file: code made at run time.
    pub(crate) file: Option<Arc<MappedFile>>,
}

impl Mapping {
    /// The part of it within [start, end).
    fn cut(&self, start: u64, end: u64) -> Self {
        let offset = self.offset.wrapping_add(start.wrapping_sub(self.start));
        Self {
            start,
            end,
            offset,
            file: self.file.clone(),
        }
    }
}

/// Executable mappings by their first address; they do not overlap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mappings {
    by_start: BTreeMap<u64, Mapping>,
}

impl Mappings {
    /// Adds a mapping, in place of what was mapped there before. False if there are too many.
    pub(crate) fn insert(&mut self, mapping: Mapping) -> bool {
        if mapping.start >= mapping.end {
            return true;
        }
        self.clear(mapping.start, mapping.end);
        if self.extend_neighbour(&mapping) {
            return true;
        }
        if self.by_start.len() >= LIMIT {
            return false;
        }
        self.by_start.insert(mapping.start, mapping);
        true
    }

    /// The mapping that an address lies in.
    pub(crate) fn find(&self, address: u64) -> Option<&Mapping> {
        let (_, mapping) = self.by_start.range(..=address).next_back()?;
        (address < mapping.end).then_some(mapping)
    }

    /// An address as a word that means the same in every process; nothing if it lies in no mapping.
    pub(crate) fn word(&self, address: u64) -> Option<Word> {
        let mapping = self.find(address)?;
        let Some(file) = &mapping.file else {
            return Some(Word::anonymous(address));
        };
        let offset = mapping.offset.wrapping_add(address - mapping.start);
        Some(file.word(offset).unwrap_or(Word::anonymous(address)))
    }

    /// Forgets what is mapped within [start, end), and, when there are too many, what lies behind it in the same mapping:
    /// one that is cut in two would be one more.
    fn clear(&mut self, start: u64, end: u64) {
        let before = self.by_start.range(..start).next_back();
        let first = before
            .filter(|(_, mapping)| mapping.end > start)
            .map_or(start, |(first, _)| *first);
        let touched: Vec<u64> = self
            .by_start
            .range(first..end)
            .map(|(start, _)| *start)
            .collect();
        for key in touched {
            let Some(old) = self.by_start.remove(&key) else {
                continue;
            };
            if old.start < start {
                self.by_start.insert(old.start, old.cut(old.start, start));
            }
            if old.end > end && self.by_start.len() < LIMIT {
                self.by_start.insert(end, old.cut(end, old.end));
            }
        }
    }

    /// A compiler at run time maps piece after piece: those of no file that touch are kept as one.
    fn extend_neighbour(&mut self, mapping: &Mapping) -> bool {
        if mapping.file.is_some() {
            return false;
        }
        match self.by_start.range_mut(..mapping.start).next_back() {
            Some((_, before)) if before.file.is_none() && before.end == mapping.start => {
                before.end = mapping.end;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anonymous(start: u64, end: u64) -> Mapping {
        Mapping {
            start,
            end,
            offset: 0,
            file: None,
        }
    }

    fn file(start: u64, end: u64, offset: u64) -> Mapping {
        Mapping {
            start,
            end,
            offset,
            file: Some(MappedFile::for_test(7, b"/bin/x")),
        }
    }

    fn ranges(mappings: &Mappings) -> Vec<(u64, u64, u64)> {
        mappings
            .by_start
            .values()
            .map(|mapping| (mapping.start, mapping.end, mapping.offset))
            .collect()
    }

    #[test]
    fn a_new_mapping_replaces_what_it_covers() {
        let mut mappings = Mappings::default();
        mappings.insert(file(0x1000, 0x9000, 0x100));
        mappings.insert(file(0x3000, 0x4000, 0x0));
        assert_eq!(
            ranges(&mappings),
            [
                (0x1000, 0x3000, 0x100),
                (0x3000, 0x4000, 0),
                (0x4000, 0x9000, 0x3100)
            ]
        );
        mappings.insert(file(0x2000, 0x8000, 0x7000));
        assert_eq!(
            ranges(&mappings),
            [
                (0x1000, 0x2000, 0x100),
                (0x2000, 0x8000, 0x7000),
                (0x8000, 0x9000, 0x7100)
            ]
        );
        mappings.insert(file(0x0, 0x10000, 0));
        assert_eq!(ranges(&mappings), [(0, 0x10000, 0)]);
    }

    #[test]
    fn an_address_is_found_in_its_mapping_only() {
        let mut mappings = Mappings::default();
        mappings.insert(file(0x1000, 0x2000, 0x500));
        assert!(mappings.word(0xfff).is_none());
        assert!(mappings.word(0x2000).is_none());
        let word = mappings.word(0x1010).unwrap();
        assert_eq!(Some(word), MappedFile::for_test(7, b"/bin/x").word(0x510));
    }

    #[test]
    fn pieces_of_run_time_code_become_one() {
        let mut mappings = Mappings::default();
        for page in 0..1000u64 {
            assert!(mappings.insert(anonymous(page * 0x1000, (page + 1) * 0x1000)));
        }
        assert_eq!(mappings.by_start.len(), 1);
        assert_eq!(mappings.word(0x5123), Some(Word::anonymous(0x5123)));
    }

    /// Holes punched into one mapping at the limit do not add to their number.
    #[test]
    fn pieces_stay_within_the_limit() {
        const PAGE: u64 = 0x1000;
        let mut mappings = Mappings::default();
        mappings.insert(file(0, u64::MAX, 0));
        let pages = LIMIT as u64 + 100;
        let refused = (1..pages)
            .filter(|page| !mappings.insert(file(2 * page * PAGE, (2 * page + 1) * PAGE, 0)))
            .count();
        assert!(refused > 0);
        assert!(
            mappings.by_start.len() <= LIMIT,
            "{}",
            mappings.by_start.len()
        );
    }

    #[test]
    fn hostile_ranges_do_no_harm() {
        let mut mappings = Mappings::default();
        assert!(mappings.insert(file(5, 5, 0)));
        assert!(mappings.insert(file(9, 3, 0)));
        assert!(mappings.insert(file(u64::MAX - 1, u64::MAX, u64::MAX)));
        assert!(mappings.word(u64::MAX - 1).is_some());
        assert_eq!(mappings.by_start.len(), 1);
    }
}
