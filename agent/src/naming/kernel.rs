//! Names of the kernel's code, some of which comes and goes while the agent runs.

use super::names::bare;
use std::sync::Arc;
use std::time::{Duration, Instant};
use symbolizer::{Symbolized, Symbolizer};

/// Least time between two readings of the kernel's symbols, which take some 50 ms each: where some are missing, and where code of
/// the kernel is known to have come or gone.
const RELOAD: Duration = Duration::from_secs(300);
const RELOAD_OF_CHANGED: Duration = Duration::from_secs(60);
/// What the kernel's own code is called, which never changes; beside it are its modules and BPF programs.
const CORE: &str = "[kernel.kallsyms]";

/// The kernel's symbols, and when they are to be read again.
pub(super) struct KernelNames {
    /// When they were read last.
    read: Option<Instant>,
    /// Code of the kernel came or went since then.
    changed: bool,
}

impl KernelNames {
    pub(super) fn new() -> Self {
        Self {
            read: None,
            changed: false,
        }
    }

    /// BPF programs came or went: the symbols that were read may be of others.
    pub(super) fn have_changed(&mut self) {
        self.changed = self.read.is_some();
    }

    /// What is at kernel addresses, one answer for each: by the symbols as they are now, or by its place where the name may be of what was
    /// there before.
    pub(super) fn name(
        &mut self,
        symbolizer: &mut Symbolizer,
        addresses: &[u64],
    ) -> Vec<Arc<Symbolized>> {
        let mut named = symbolizer.kernel(addresses);
        if named.iter().any(is_loaded) && symbolizer.kernel_modules_changed() {
            self.changed = true;
        }
        if self.are_outdated(&named) {
            symbolizer.reload_kernel();
            *self = Self::new();
            named = symbolizer.kernel(addresses);
        }
        self.read.get_or_insert_with(Instant::now);
        if self.changed {
            let loaded = named.iter_mut().filter(|found| is_loaded(found));
            loaded.for_each(forget_name);
        }
        named
    }

    /// Whether symbols are to be read again: kernel modules and BPF programs come while the agent runs, and one
    /// takes the place of another.
    fn are_outdated(&self, named: &[Arc<Symbolized>]) -> bool {
        let pause = match self.changed {
            true => RELOAD_OF_CHANGED,
            false => RELOAD,
        };
        let is_doubtful =
            |found: &Arc<Symbolized>| !found.named || self.changed && is_loaded(found);
        let is_due = self.read.is_some_and(|read| read.elapsed() >= pause);
        is_due && named.iter().any(is_doubtful)
    }
}

/// Whether code of the kernel has come while it ran, and may go.
fn is_loaded(found: &Arc<Symbolized>) -> bool {
    let mapping = found.mapping.as_ref();
    mapping.is_some_and(|mapping| &*mapping.name != CORE)
}

/// Calls a place in the kernel by where it is.
fn forget_name(found: &mut Arc<Symbolized>) {
    if let Some(mapping) = &found.mapping {
        let name = format!("{}+{:#x}_[k]", mapping.name, found.address);
        *found = bare(mapping, found.address, &name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use symbolizer::Mapping;

    /// What may be another program by now is called by its place, the kernel's own code by its name.
    #[test]
    fn doubtful_names_of_the_kernel_are_not_given() {
        let [mut core, mut loaded] = [CORE, "[bpf]"].map(|name| {
            let mut found = bare(&mapping(name), 16, "name_[k]");
            Arc::make_mut(&mut found).named = true;
            found
        });
        for found in [&mut core, &mut loaded] {
            if is_loaded(found) {
                forget_name(found);
            }
        }
        assert_eq!((core.named, &*core.frames[0].name), (true, "name_[k]"));
        let name = &*loaded.frames[0].name;
        assert_eq!((loaded.named, name), (false, "[bpf]+0x10_[k]"));
    }

    fn mapping(name: &str) -> Arc<Mapping> {
        Arc::new(Mapping {
            name: name.into(),
            build_id: None,
            start: 0,
            limit: 0,
            file_offset: 0,
        })
    }
}
