//! Bodies of stacks, as they come through the ring: each once a window for a thread, at its own length.

use crate::skeleton::types;
use crate::{Outcome, Place, Word};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::mem::offset_of;

/// Bytes of a record before its words.
const HEADER: usize = offset_of!(types::stack_record, words);

/// Stacks that arrived, by the window they belong to.
#[derive(Default)]
pub(crate) struct Stacks {
    by_window: HashMap<u32, HashMap<u64, Box<[Word]>>>,
    strays: BTreeSet<u32>,
    malformed: u64,
    collisions: u64,
}

impl Stacks {
    /// Takes one record of the ring: `struct stack_record`, cut behind its last word.
    pub(crate) fn take_record(&mut self, bytes: &[u8]) {
        match parse(bytes) {
            Some(Record {
                hash,
                window,
                tgid,
                words,
            }) => {
                let root = words.last().map(|word| word.place());
                if root == Some(Place::Outcome(Outcome::NoMapping)) {
                    self.strays.insert(tgid);
                }
                let known = self.by_window.entry(window).or_default();
                // Every thread that has a stack sends it.
                match known.entry(hash) {
                    Entry::Vacant(place) => {
                        place.insert(words);
                    }
                    Entry::Occupied(first) => {
                        self.collisions += u64::from(*first.get() != words);
                    }
                }
            }
            None => self.malformed += 1,
        }
    }

    /// Processes in which a walk met an address in no mapping, since the last call.
    pub(crate) fn take_strays(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.strays)
    }

    /// The stacks of a window that is over. Older ones, if any are left, go too.
    pub(crate) fn finish(&mut self, window: u32) -> HashMap<u64, Box<[Word]>> {
        let stacks = self.by_window.remove(&window).unwrap_or_default();
        let next = window.wrapping_add(1);
        self.by_window.retain(|number, _| *number == next);
        stacks
    }

    /// Records that were not what they should be.
    pub(crate) fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Stacks of different threads that met another one under their hash.
    pub(crate) fn collisions(&self) -> u64 {
        self.collisions
    }
}

struct Record {
    hash: u64,
    window: u32,
    tgid: u32,
    words: Box<[Word]>,
}

fn parse(bytes: &[u8]) -> Option<Record> {
    let (header, words) = bytes.split_at_checked(HEADER)?;
    let number = |at: usize| {
        let bytes = header.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let length = number(offset_of!(types::stack_record, length))? as usize;
    let words = words.get(..length.checked_mul(size_of::<Word>())?)?;
    let (words, _) = words.as_chunks();
    let word = |bytes: &[u8; size_of::<Word>()]| Word::from_raw(u64::from_ne_bytes(*bytes));
    Some(Record {
        hash: u64::from_ne_bytes(*header.first_chunk()?),
        window: number(offset_of!(types::stack_record, window))?,
        tgid: number(offset_of!(types::stack_record, tgid))?,
        words: words.iter().map(word).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(hash: u64, window: u32, length: u32, words: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(hash.to_ne_bytes());
        bytes.extend(window.to_ne_bytes());
        bytes.extend(length.to_ne_bytes());
        bytes.extend([77u32.to_ne_bytes(), [0; 4]].concat());
        bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        bytes
    }

    #[test]
    fn a_stack_belongs_to_its_window() {
        let mut stacks = Stacks::default();
        stacks.take_record(&record(7, 1, 2, &[10, 20]));
        stacks.take_record(&record(7, 2, 1, &[30]));
        let first = stacks.finish(1);
        assert_eq!(&*first[&7], [Word::from_raw(10), Word::from_raw(20)]);
        assert_eq!(&*stacks.finish(2)[&7], [Word::from_raw(30)]);
        assert!(stacks.finish(3).is_empty());
    }

    /// A stack that several threads send is one; another one under its hash is counted, and the first stays.
    #[test]
    fn two_stacks_under_one_hash_are_counted() {
        let mut stacks = Stacks::default();
        stacks.take_record(&record(7, 1, 2, &[10, 20]));
        stacks.take_record(&record(7, 1, 2, &[10, 20]));
        assert_eq!(stacks.collisions(), 0);
        stacks.take_record(&record(7, 1, 2, &[10, 30]));
        assert_eq!(stacks.collisions(), 1);
        assert_eq!(stacks.finish(1)[&7].last(), Some(&Word::from_raw(20)));
    }

    /// A stack that ends where nothing is mapped tells whose it is, once.
    #[test]
    fn strays_are_told() {
        let mut stacks = Stacks::default();
        let no_mapping = 0x03 << 56 | 9;
        stacks.take_record(&record(7, 1, 2, &[10, 0x03 << 56]));
        assert!(stacks.take_strays().is_empty());
        stacks.take_record(&record(8, 1, 2, &[10, no_mapping]));
        stacks.take_record(&record(9, 1, 2, &[20, no_mapping]));
        assert_eq!(stacks.take_strays(), BTreeSet::from([77]));
        assert!(stacks.take_strays().is_empty());
    }

    #[test]
    fn a_record_shorter_than_it_says_is_refused() {
        let mut stacks = Stacks::default();
        stacks.take_record(&record(7, 1, 3, &[10, 20]));
        stacks.take_record(&record(7, 1, u32::MAX, &[]));
        stacks.take_record(&[1, 2, 3]);
        assert_eq!(stacks.malformed(), 3);
        assert!(stacks.finish(1).is_empty());
    }
}
