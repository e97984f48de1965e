//! Bodies of stacks, as they come through the ring: each once a window, at its own length.

use crate::Word;
use crate::skeleton::types;
use std::collections::HashMap;

/// Bytes of a record before its words: hash, window, length.
const HEADER: usize = std::mem::offset_of!(types::stack_record, words);

/// Stacks that arrived, by the window they belong to.
#[derive(Default)]
pub(crate) struct Stacks {
    by_window: HashMap<u32, HashMap<u64, Box<[Word]>>>,
    malformed: u64,
}

impl Stacks {
    /// Takes one record of the ring: `struct stack_record`, cut behind its last word.
    pub(crate) fn take_record(&mut self, bytes: &[u8]) {
        match parse(bytes) {
            Some((hash, window, words)) => {
                self.by_window
                    .entry(window)
                    .or_default()
                    .insert(hash, words);
            }
            None => self.malformed += 1,
        }
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
}

fn parse(bytes: &[u8]) -> Option<(u64, u32, Box<[Word]>)> {
    let (header, words) = bytes.split_at_checked(HEADER)?;
    let hash = u64::from_ne_bytes(header[..8].try_into().ok()?);
    let window = u32::from_ne_bytes(header[8..12].try_into().ok()?);
    let length = u32::from_ne_bytes(header[12..].try_into().ok()?) as usize;
    let words = words.get(..length.checked_mul(8)?)?;
    let words = words
        .chunks_exact(8)
        .filter_map(|word| Some(Word::from_raw(u64::from_ne_bytes(word.try_into().ok()?))));
    Some((hash, window, words.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(hash: u64, window: u32, length: u32, words: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(hash.to_ne_bytes());
        bytes.extend(window.to_ne_bytes());
        bytes.extend(length.to_ne_bytes());
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
