//! Names of the kernel's code, some of which comes and goes while the agent runs.

use super::names::bare;
use std::sync::Arc;
use std::time::{Duration, Instant};
use symbolizer::{Symbolized, Symbolizer};

/// Least time between two readings of the kernel's symbols, which take some 50 ms each: where some are missing, and where code of
/// the kernel is known to have come or gone.
const RELOAD: Duration = Duration::from_secs(300);
const RELOAD_OF_CHANGED: Duration = Duration::from_secs(60);
/// What the kernel's own code is called; beside it are its modules and BPF programs.
const CORE: &str = "[kernel.kallsyms]";

/// The kernel's symbols, and when they are to be read again.
pub(super) struct KernelNames {
    /// When they were read last.
    read: Option<Instant>,
    /// BPF programs came or went since then.
    programs_changed: bool,
    /// Modules did.
    modules_changed: bool,
}

impl KernelNames {
    pub(super) fn new() -> Self {
        Self {
            read: None,
            programs_changed: false,
            modules_changed: false,
        }
    }

    /// BPF programs came or went: the symbols that were read may be of others.
    pub(super) fn have_changed(&mut self) {
        self.programs_changed = self.read.is_some();
    }

    /// What is at kernel addresses, one answer for each: by the symbols as they are now, or by its place where the name may be of what was
    /// there before.
    pub(super) fn name(
        &mut self,
        symbolizer: &mut Symbolizer,
        addresses: &[u64],
    ) -> Vec<Arc<Symbolized>> {
        let mut named = symbolizer.kernel(addresses);
        let is_of_module = |found: &Arc<Symbolized>| kind(found) == Kind::Module;
        if named.iter().any(is_of_module) && symbolizer.kernel_modules_changed() {
            self.modules_changed = true;
        }
        if self.are_outdated(&named) {
            symbolizer.reload_kernel();
            *self = Self::new();
            named = symbolizer.kernel(addresses);
        }
        self.read.get_or_insert_with(Instant::now);
        let doubtful = named.iter_mut().filter(|found| self.doubts(found));
        doubtful.for_each(forget_name);
        named
    }

    /// Whether symbols are to be read again: kernel modules and BPF programs come while the agent runs, and one
    /// takes the place of another.
    fn are_outdated(&self, named: &[Arc<Symbolized>]) -> bool {
        let pause = match self.programs_changed || self.modules_changed {
            true => RELOAD_OF_CHANGED,
            false => RELOAD,
        };
        let is_doubtful = |found: &Arc<Symbolized>| !found.named || self.doubts(found);
        let is_due = self.read.is_some_and(|read| read.elapsed() >= pause);
        is_due && named.iter().any(is_doubtful)
    }

    /// Whether a name may be of what was there before.
    fn doubts(&self, found: &Arc<Symbolized>) -> bool {
        match kind(found) {
            Kind::Core => false,
            Kind::Module => self.modules_changed,
            Kind::Program => self.programs_changed,
        }
    }
}

/// Code of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It never changes.
    Core,
    Module,
    /// What the kernel makes while it runs: of BPF programs, and what calls them.
    Program,
}

fn kind(found: &Symbolized) -> Kind {
    match found.mapping.as_ref().map(|mapping| &*mapping.name) {
        None | Some(CORE) => Kind::Core,
        Some("[bpf]") => Kind::Program,
        Some(name) if name.starts_with("[__builtin__") => Kind::Program,
        Some(_) => Kind::Module,
    }
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
    use super::super::names::pseudo_mapping;
    use super::*;

    /// What may be another program by now is called by its place, the kernel's own code and its modules by their names: those are
    /// doubted when there are others.
    #[test]
    fn doubtful_names_are_not_given() {
        let names = |programs_changed, modules_changed| {
            let kernel = KernelNames {
                programs_changed,
                modules_changed,
                ..KernelNames::new()
            };
            [CORE, "[xfs]", "[bpf]", "[__builtin__ftrace]"].map(|of| {
                let mut found = bare(&pseudo_mapping(of), 16, "name_[k]");
                Arc::make_mut(&mut found).named = true;
                if kernel.doubts(&found) {
                    forget_name(&mut found);
                }
                let name = found.frames[0].name.to_string();
                (found.named, name)
            })
        };
        let named = || (true, "name_[k]".to_owned());
        let place = |of: &str| (false, format!("{of}+0x10_[k]"));
        let (bpf, ftrace) = (place("[bpf]"), place("[__builtin__ftrace]"));
        assert_eq!(names(false, false), [named(), named(), named(), named()]);
        assert_eq!(names(true, false), [named(), named(), bpf, ftrace]);
        let xfs = place("[xfs]");
        assert_eq!(names(false, true), [named(), xfs, named(), named()]);
    }
}
