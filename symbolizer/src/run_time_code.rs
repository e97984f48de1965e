//! The functions of one program's code that was made at run time, by their addresses.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::frame::without_mark;

/// What a function takes beside its name: a part of a node of the tree, and the counts before the name.
const FUNCTION_BYTES: usize = 96;
/// Bytes of a name that are kept: V8 writes the path of the script behind that of the function.
const NAME_BYTES: usize = 512;

/// What a compiler at run time tells of its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodeChange<'a> {
    /// A function is there now, in place of whatever was.
    Made {
        /// Its virtual addresses.
        range: Range<u64>,
        /// What it is called, in bytes that anybody may have written.
        name: &'a [u8],
    },
    /// A function is somewhere else now.
    Moved {
        /// Its first virtual address before.
        from: u64,
        /// Where it is now.
        range: Range<u64>,
    },
    /// What was told before is told anew.
    Forgotten,
}

/// Functions by virtual address. What was told later counts.
#[derive(Debug)]
pub struct RunTimeCode {
    /// By first address; they do not overlap.
    functions: BTreeMap<u64, Function>,
    bytes: usize,
    most_bytes: usize,
    dropped: u64,
}

#[derive(Clone, Debug)]
struct Function {
    end: u64,
    name: Arc<str>,
}

impl RunTimeCode {
    /// None yet, and never more than fit into so many bytes.
    pub fn new(most_bytes: usize) -> Self {
        Self {
            functions: BTreeMap::new(),
            bytes: 0,
            most_bytes,
            dropped: 0,
        }
    }

    /// From now on they may take so many bytes. What takes more already stays.
    pub fn allow(&mut self, most_bytes: usize) {
        self.most_bytes = most_bytes;
    }

    /// Memory that they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Functions that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What the function at an address is called.
    pub fn name(&self, address: u64) -> Option<&Arc<str>> {
        let (_, function) = self.functions.range(..=address).next_back()?;
        (address < function.end).then_some(&function.name)
    }

    /// Takes what was told.
    pub fn apply(&mut self, change: &CodeChange<'_>) {
        match change {
            CodeChange::Made { range, name } => {
                self.clear(range);
                self.add(range.clone(), readable(name).into());
            }
            CodeChange::Moved { from, range } => {
                let Some(name) = self.name(*from).cloned() else {
                    return;
                };
                // Where it was nothing runs any more, but samples may be from before.
                self.clear(range);
                self.add(range.clone(), name);
            }
            CodeChange::Forgotten => {
                self.functions.clear();
                self.bytes = 0;
            }
        }
    }

    /// Where nothing is any more.
    fn add(&mut self, range: Range<u64>, name: Arc<str>) {
        if range.is_empty() {
            return;
        }
        if self.bytes + cost(&name) > self.most_bytes {
            self.dropped += 1;
            return;
        }
        self.bytes += cost(&name);
        let end = range.end;
        self.functions.insert(range.start, Function { end, name });
    }

    /// Forgets what is in a range; of functions that reach beyond it the rest stays.
    fn clear(&mut self, range: &Range<u64>) {
        if range.is_empty() {
            return;
        }
        let before = self.functions.range(..range.start).next_back();
        let reaching = before.filter(|(_, function)| function.end > range.start);
        let first = reaching.map_or(range.start, |(start, _)| *start);
        let starts = self.functions.range(first..range.end);
        let starts: Vec<u64> = starts.map(|(start, _)| *start).collect();
        for start in starts {
            if let Some(old) = self.functions.remove(&start) {
                self.bytes -= cost(&old.name);
                self.add(start..range.start, Arc::clone(&old.name));
                self.add(range.end..old.end, old.name);
            }
        }
    }
}

fn cost(name: &str) -> usize {
    name.len() + FUNCTION_BYTES
}

/// Text that can be shown, whatever was written.
fn readable(name: &[u8]) -> String {
    let name = name.get(..NAME_BYTES).unwrap_or(name);
    let shown = |character: char| match character.is_control() {
        true => char::REPLACEMENT_CHARACTER,
        false => character,
    };
    let name: String = String::from_utf8_lossy(name).chars().map(shown).collect();
    without_mark(&name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(code: &mut RunTimeCode, range: Range<u64>, name: &str) {
        let name = name.as_bytes();
        code.apply(&CodeChange::Made { range, name });
    }

    fn at(code: &RunTimeCode, address: u64) -> Option<&str> {
        code.name(address).map(|name| &**name)
    }

    /// What was made later is what is there, and what is left of the functions before keeps their names.
    #[test]
    fn the_later_counts() {
        let mut code = RunTimeCode::new(1 << 20);
        made(&mut code, 0x100..0x200, "old");
        made(&mut code, 0x140..0x160, "new");
        let names = [0xff, 0x100, 0x13f, 0x140, 0x15f, 0x160, 0x1ff, 0x200].map(|a| at(&code, a));
        let (old, new) = (Some("old"), Some("new"));
        assert_eq!(names, [None, old, old, new, new, old, old, None]);
        made(&mut code, 0x80..0x1f0, "newest");
        assert_eq!(at(&code, 0x150), Some("newest"));
        assert_eq!(at(&code, 0x1f0), old);
        made(&mut code, 0x90..0x90, "nothing");
        assert_eq!(at(&code, 0x90), Some("newest"));
        code.apply(&CodeChange::Forgotten);
        assert_eq!((at(&code, 0x1f0), code.bytes()), (None, 0));
    }

    /// Code that has moved has its name where it is now, and where it was while nothing else is there.
    #[test]
    fn names_move_with_the_code() {
        let mut code = RunTimeCode::new(1 << 20);
        made(&mut code, 0x100..0x200, "f");
        let range = 0x180..0x280;
        code.apply(&CodeChange::Moved { from: 0x100, range });
        made(&mut code, 0x100..0x140, "g");
        let names = [0x100, 0x17f, 0x180, 0x27f, 0x280].map(|address| at(&code, address));
        assert_eq!(names, [Some("g"), Some("f"), Some("f"), Some("f"), None]);
        let range = 0x900..0xa00;
        code.apply(&CodeChange::Moved { from: 0x700, range });
        assert_eq!(at(&code, 0x900), None);
    }

    /// Beyond its memory nothing is added, and nothing has the name of what was there before.
    #[test]
    fn memory_is_bounded() {
        let mut code = RunTimeCode::new(10 * (FUNCTION_BYTES + 1));
        for number in 0..100 {
            made(&mut code, number * 16..number * 16 + 8, "f");
        }
        assert_eq!(
            (code.dropped(), at(&code, 0x90), at(&code, 0xa0)),
            (90, Some("f"), None)
        );
        made(&mut code, 2..6, "g");
        assert!(code.bytes() <= 10 * (FUNCTION_BYTES + 1));
        assert_ne!(at(&code, 3), Some("f"));
        made(&mut code, 0..u64::MAX, "all");
        assert_eq!(at(&code, u64::MAX - 1), Some("all"));
    }

    /// Names are text, not too long, and not like those of the kernel's functions.
    #[test]
    fn names_can_be_shown() {
        assert_eq!(readable(b"a\xffb\x1b[0m"), "a\u{fffd}b\u{fffd}[0m");
        assert_eq!(readable(b"schedule_[k]"), "schedule_(k)");
        assert_eq!(readable(&[b'x'; 5000]).len(), NAME_BYTES);
    }
}
