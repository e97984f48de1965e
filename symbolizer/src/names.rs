//! Every name once in memory, however many frames carry it, and demangled once.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::demangle::{bounded, demangle};
use crate::frame::without_mark;

/// What a string costs beside its bytes: the counts before it, its slot in the table at the table's mean load, the allocator's
/// own header and rounding.
const STRING_OVERHEAD: usize = 64;

/// The strings that frames share.
#[derive(Default)]
pub(crate) struct Names {
    /// From a raw name to the one to show, which is the same `Arc` if there is nothing to demangle.
    functions: HashMap<Arc<str>, Arc<str>>,
    /// Source files and other strings that are shown as they are.
    plain: HashSet<Arc<str>>,
    bytes: usize,
}

impl Names {
    /// The name to show and the raw one. Neither ends as names of the kernel do.
    pub(crate) fn function(&mut self, raw: &str) -> (Arc<str>, Arc<str>) {
        let raw = without_mark(raw);
        if let Some((raw, name)) = self.functions.get_key_value(&*raw) {
            return (name.clone(), raw.clone());
        }
        let raw: Arc<str> = bounded(&raw).into();
        let name = demangle(&raw).map_or_else(|| raw.clone(), |name| (*without_mark(&name)).into());
        self.bytes += cost(&raw)
            + if Arc::ptr_eq(&raw, &name) {
                0
            } else {
                cost(&name)
            };
        self.functions.insert(raw.clone(), name.clone());
        (name, raw)
    }

    /// A string shown as it is.
    pub(crate) fn plain(&mut self, text: &str) -> Arc<str> {
        if let Some(text) = self.plain.get(text) {
            return text.clone();
        }
        let text: Arc<str> = bounded(text).into();
        self.bytes += cost(&text);
        self.plain.insert(text.clone());
        text
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets what no frame carries any more.
    pub(crate) fn sweep(&mut self) {
        let mut freed = 0;
        self.functions.retain(|raw, name| {
            let shared = Arc::ptr_eq(raw, name);
            // A frame that carries the name to show carries the raw one too.
            let carried = Arc::strong_count(raw) > if shared { 2 } else { 1 };
            if !carried {
                freed += cost(raw) + if shared { 0 } else { cost(name) };
            }
            carried
        });
        self.plain.retain(|text| {
            let carried = Arc::strong_count(text) > 1;
            if !carried {
                freed += cost(text);
            }
            carried
        });
        self.bytes -= freed;
    }
}

fn cost(text: &str) -> usize {
    text.len() + STRING_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No name looks like one of the kernel's, and the same is found again.
    #[test]
    fn names_of_the_kernel_are_not_forged() {
        let mut names = Names::default();
        for (raw, shown) in [
            ("schedule_[k]", "schedule_(k)"),
            ("_[k]", "_(k)"),
            ("_[k]_[k]", "_[k]_(k)"),
            ("_Z12schedule_[k]", "_Z12schedule_(k)"),
        ] {
            let (name, raw_name) = names.function(raw);
            assert_eq!(&*name, shown, "{raw}");
            assert!(!raw_name.ends_with("_[k]"));
            let held = names.bytes();
            assert!(Arc::ptr_eq(&names.function(raw).0, &name));
            assert_eq!(names.bytes(), held);
        }
    }

    /// The same name is the same memory, and a sweep frees exactly what nobody holds.
    #[test]
    fn names_are_shared_and_swept() {
        let mut names = Names::default();
        let (name, raw) = names.function("_ZN1a1bEv");
        let (same_name, same_raw) = names.function("_ZN1a1bEv");
        assert!(Arc::ptr_eq(&name, &same_name) && Arc::ptr_eq(&raw, &same_raw));
        assert_eq!((&*name, &*raw), ("a::b()", "_ZN1a1bEv"));
        let held = names.bytes();

        names.function("main");
        names.plain("/src/main.c");
        names.sweep();
        assert_eq!(names.bytes(), held);
        assert_eq!((names.functions.len(), names.plain.len()), (1, 0));

        drop((name, raw, same_name, same_raw));
        names.sweep();
        assert_eq!((names.bytes(), names.functions.len()), (0, 0));
    }
}
