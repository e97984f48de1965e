//! Numbers for functions of code that was made at run time.
//!
//! Such a function has no file to be an offset of, and an address says nothing when the code has moved or its process is
//! gone. So its word is the number of its name, which stays what it is: equal stacks of different processes are one here, too.

use bpf::Word;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Names remembered. One that comes again after it was forgotten gets another number.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(8192).expect("not zero");

/// Words by name.
pub(super) struct Functions {
    words: LruCache<Arc<str>, Word>,
    next: u64,
}

impl Functions {
    pub(super) fn new() -> Self {
        Self {
            words: LruCache::new(REMEMBERED),
            next: 0,
        }
    }

    /// The word of the function of this name.
    pub(super) fn word(&mut self, name: &Arc<str>) -> Word {
        if let Some(word) = self.words.get(&**name) {
            return *word;
        }
        let word = Word::function(self.next);
        self.next += 1;
        self.words.put(Arc::clone(name), word);
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name has one word while it is remembered, and no two names ever have the same.
    #[test]
    fn a_name_is_a_word() {
        let mut functions = Functions::new();
        let name = |number: usize| Arc::from(number.to_string());
        let first = functions.word(&name(0));
        let mut seen = std::collections::HashSet::from([first]);
        for number in 1..=REMEMBERED.get() {
            assert!(seen.insert(functions.word(&name(number))));
            assert_eq!(functions.word(&name(1)), functions.word(&name(1)));
        }
        assert!(seen.insert(functions.word(&name(0))));
    }
}
