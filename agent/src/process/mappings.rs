//! The executable mappings of one address space.

use super::MappedFile;
use bpf::{FileId, Slot, UnwindMapping, Word};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Executable mappings kept of one process, about 80 bytes each, and no more than the walk can hold: a big program has a
/// thousand. The kernel's own limit (vm.max_map_count, 65,530 of all kinds) times a container full of processes would
/// be gigabytes.
const LIMIT: usize = bpf::LONGEST_LIST;

/// Behind the memory of programs: `[vsyscall]`, which every process of x86-64 has.
const KERNEL: u64 = 1 << 63;

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

/// What became of a mapping that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// It is there now.
    Yes,
    /// The same was there before.
    Already,
    /// There are too many.
    No,
}

impl PartialEq for Mapping {
    /// Files are one if they have one number.
    fn eq(&self, other: &Self) -> bool {
        (self.start, self.end) == (other.start, other.end) && self.continues(other)
    }
}

impl Mapping {
    /// Whether both are parts of one mapping of one file, or of memory of no file, wherever they lie.
    fn continues(&self, other: &Self) -> bool {
        match (&self.file, &other.file) {
            (None, None) => true,
            (Some(file), Some(others)) => {
                file.id() == others.id()
                    && self.offset.wrapping_sub(self.start)
                        == other.offset.wrapping_sub(other.start)
            }
            _ => false,
        }
    }

    /// For the walk, by the number of its file's table. What lies behind the 4 GiB that a file's number stands for has no
    /// number, as if it were in no file.
    fn for_walk(
        &self,
        slot: &mut impl FnMut(FileId) -> Option<Slot>,
    ) -> [Option<UnwindMapping>; 2] {
        let anonymous = UnwindMapping {
            start: self.start,
            end: self.end,
            offset: 0,
            file: None,
            table: None,
        };
        let numbered = self.file.as_ref().and_then(|file| {
            let offset = file.word_offset(self.offset)?;
            let end = self.start.saturating_add((1 << 32) - u64::from(offset));
            Some(UnwindMapping {
                end: self.end.min(end),
                offset,
                file: Some(file.id()),
                table: slot(file.id()),
                ..anonymous
            })
        });
        let start = numbered.map_or(self.start, |numbered| numbered.end);
        let rest = (start < self.end).then_some(UnwindMapping { start, ..anonymous });
        [numbered, rest]
    }

    /// The same file, at the same distance, at [start, end): a part of it, or what continues it.
    fn moved_to(&self, start: u64, end: u64) -> Self {
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
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Mappings {
    by_start: BTreeMap<u64, Mapping>,
}

impl Mappings {
    /// Adds a mapping, in place of what was mapped there before.
    pub(crate) fn insert(&mut self, mapping: Mapping) -> Inserted {
        let there = self.find(mapping.start);
        // A compiler at run time makes the same memory executable again and again.
        if mapping.start >= mapping.end
            || there.is_some_and(|there| there.end >= mapping.end && there.continues(&mapping))
        {
            return Inserted::Already;
        }
        self.clear(mapping.start, mapping.end);
        if self.extend_neighbour(&mapping) {
            return Inserted::Yes;
        }
        if self.by_start.len() >= LIMIT {
            return Inserted::No;
        }
        self.by_start.insert(mapping.start, mapping);
        Inserted::Yes
    }

    /// For the walk: sorted, with the table that `slot` gives to each file.
    pub(crate) fn for_walk(
        &self,
        mut slot: impl FnMut(FileId) -> Option<Slot>,
    ) -> Vec<UnwindMapping> {
        let mappings = self.by_start.values();
        mappings
            .flat_map(|mapping| mapping.for_walk(&mut slot))
            .flatten()
            .collect()
    }

    /// The files they are of, each as often as it is mapped.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Arc<MappedFile>> {
        self.by_start
            .values()
            .filter_map(|mapping| mapping.file.as_ref())
    }

    /// Whether there is memory of no file, other than the kernel's own.
    pub(super) fn has_run_time_code(&self) -> bool {
        let of_programs = self.by_start.range(..KERNEL);
        of_programs
            .into_iter()
            .any(|(_, mapping)| mapping.file.is_none())
    }

    /// Whether nothing is mapped.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    /// The parts of files that are mapped within [start, end).
    pub(super) fn of_files_within(&self, start: u64, end: u64) -> impl Iterator<Item = Mapping> {
        let first = self.find(start).map_or(start, |mapping| mapping.start);
        let within = self.by_start.range(first..end.max(first));
        within
            .map(|(_, mapping)| mapping)
            .filter(|mapping| mapping.file.is_some())
            .map(move |mapping| mapping.moved_to(mapping.start.max(start), mapping.end.min(end)))
    }

    /// Memory of no file next to code of one, as it would be mapped if it were a part of that.
    pub(super) fn suspects(&self) -> Vec<Mapping> {
        let mut suspects = Vec::new();
        let mappings = self.by_start.values();
        for (one, next) in mappings.clone().zip(mappings.skip(1)) {
            if one.end != next.start {
                continue;
            }
            match (&one.file, &next.file) {
                (Some(_), None) => suspects.push(one.moved_to(next.start, next.end)),
                (None, Some(_)) => suspects.push(next.moved_to(one.start, one.end)),
                _ => {}
            }
        }
        suspects
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
                self.by_start
                    .insert(old.start, old.moved_to(old.start, start));
            }
            if old.end > end && self.by_start.len() < LIMIT {
                self.by_start.insert(end, old.moved_to(end, old.end));
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
            mappings.insert(anonymous(page * 0x1000, (page + 1) * 0x1000));
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
        let insert = |page| mappings.insert(file(2 * page * PAGE, (2 * page + 1) * PAGE, 0));
        let refused = (1..pages)
            .map(insert)
            .filter(|inserted| *inserted == Inserted::No)
            .count();
        assert!(refused > 0);
        assert!(
            mappings.by_start.len() <= LIMIT,
            "{}",
            mappings.by_start.len()
        );
    }

    /// What is mapped again as it was changes nothing, so that the walk needs not be told.
    #[test]
    fn the_same_again_is_no_change() {
        let mut mappings = Mappings::default();
        mappings.insert(file(0x1000, 0x9000, 0x100));
        mappings.insert(anonymous(0x10000, 0x20000));
        let before = mappings.clone();
        for same in [file(0x2000, 0x3000, 0x1100), anonymous(0x11000, 0x20000)] {
            assert_eq!(mappings.insert(same), Inserted::Already);
        }
        assert_eq!(mappings, before);
        for other in [file(0x2000, 0x3000, 0x1000), anonymous(0x4000, 0x5000)] {
            assert_eq!(mappings.insert(other), Inserted::Yes);
        }
        assert_ne!(mappings, before);
    }

    /// The walk gets sorted ranges with a number that fits their offsets, and none where an offset is beyond it.
    #[test]
    fn the_walk_gets_what_fits_into_its_words() {
        let mut mappings = Mappings::default();
        mappings.insert(file(0x9000, 0xb000, 0xffff_f000));
        mappings.insert(file(0x1000, 0x2000, 0x100));
        mappings.insert(file(0x5000, 0x6000, 1 << 32));
        mappings.insert(anonymous(0x7000, 0x8000));
        let list = mappings.for_walk(|_| None);
        let ranges: Vec<_> = list
            .iter()
            .map(|mapping| {
                (
                    mapping.start,
                    mapping.end,
                    mapping.offset,
                    mapping.file.is_some(),
                )
            })
            .collect();
        let expected = [
            (0x1000, 0x2000, 0x100, true),
            (0x5000, 0x6000, 0, false),
            (0x7000, 0x8000, 0, false),
            (0x9000, 0xa000, 0xffff_f000, true),
            (0xa000, 0xb000, 0, false),
        ];
        assert_eq!(ranges, expected);
    }

    #[test]
    fn hostile_ranges_do_no_harm() {
        let mut mappings = Mappings::default();
        assert_eq!(mappings.insert(file(5, 5, 0)), Inserted::Already);
        assert_eq!(mappings.insert(file(9, 3, 0)), Inserted::Already);
        let last = file(u64::MAX - 1, u64::MAX, u64::MAX);
        assert_eq!(mappings.insert(last), Inserted::Yes);
        assert!(mappings.word(u64::MAX - 1).is_some());
        assert_eq!(mappings.by_start.len(), 1);
    }
}
