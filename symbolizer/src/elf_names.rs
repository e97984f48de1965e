//! The names in ELF files: those of their symbols, and lines and inlined functions where there is debug information.

use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;

use blazesym::symbolize::{CodeInfo, Reason, Symbolized};
use lru::LruCache;

use crate::debug_info::DebugFiles;
use crate::demangle::is_mangled;
use crate::elf_symbols::{self, Symbol};
use crate::frame::Frame;
use crate::module::Module;
use crate::names::Names;
use crate::worker::WorkerFault;

/// Files remembered for what is wrong with them, so that each is reported once.
pub(crate) const MOST_FAULTY: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// Failures kept for [`ElfNames::take_failures`].
pub(crate) const MOST_REPORTED: usize = 1024;
/// What is said of an error that not all addresses of a file meet.
const PARTLY: &str = "a part of them is damaged";

/// What is wrong with a file that was asked about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The symbols, or some of them, cannot be read: offsets are without a name.
    #[error("its symbols cannot be read: {0}")]
    Symbols(String),
    /// The debug information, or a part of it, cannot be read: lines and inlined functions are missing.
    #[error("its debug sections cannot be read, so lines are missing: {0}")]
    DebugInfo(String),
    /// The file became shorter while it was open: it is not read any more.
    #[error("it was truncated while it was in use")]
    Truncated,
    /// It was too much for the worker that read it: it is left alone for a while.
    #[error("the worker that read it {0}")]
    Worker(WorkerFault),
}

/// A file that was asked about and has something wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFailure {
    /// The file's name as its opener gave it.
    pub module: Arc<str>,
    /// What is wrong.
    pub error: FileError,
}

/// The frames of one address, innermost first; none if there is no symbol.
pub(crate) type Frames = Option<Box<[Frame]>>;

/// How much of a file is not asked about any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// A part was damaged: all is still asked about.
    Part,
    DebugInfo,
    All,
}

/// Where names of files come from.
pub(crate) struct ElfNames {
    debug: DebugFiles,
    faults: LruCache<u64, Fault>,
    failures: Vec<FileFailure>,
}

impl ElfNames {
    /// `debug_bytes` bounds the debug information that is kept ready.
    pub(crate) fn new(debug_bytes: u64) -> Self {
        Self {
            debug: DebugFiles::new(debug_bytes),
            faults: LruCache::new(MOST_FAULTY),
            failures: Vec::new(),
        }
    }

    /// The frames at ELF addresses, one answer for each.
    pub(crate) fn find(
        &mut self,
        module: &Module,
        addresses: &[u64],
        names: &mut Names,
    ) -> Vec<Frames> {
        let symbols = self.symbols(module, addresses);
        let mut frames = self.lines(module, addresses, &symbols, names);
        frames.resize(addresses.len(), None);
        for (frames, symbol) in frames.iter_mut().zip(&symbols) {
            if frames.is_none() {
                *frames = symbol.as_ref().map(|symbol| bare(symbol, names));
            }
        }
        frames
    }

    /// What tables of symbols say of ELF addresses, one answer for each: nothing if the file cannot be read.
    pub(crate) fn symbols(
        &mut self,
        module: &Module,
        addresses: &[u64],
    ) -> Vec<Option<Rc<Symbol>>> {
        if self.fault(module) == Some(Fault::All) {
            return vec![None; addresses.len()];
        }
        // What is read of it may be anything now.
        if module.was_truncated() {
            self.fail(module, Fault::All, FileError::Truncated);
            return vec![None; addresses.len()];
        }
        let found = elf_symbols::find(module, addresses);
        if found.is_damaged {
            self.fail(module, Fault::Part, FileError::Symbols(PARTLY.to_owned()));
        }
        found.symbols
    }

    /// The frames by debug information; none at all without it. `symbols` is what the tables of symbols say of the same addresses.
    pub(crate) fn lines(
        &mut self,
        module: &Module,
        addresses: &[u64],
        symbols: &[Option<Rc<Symbol>>],
        names: &mut Names,
    ) -> Vec<Frames> {
        if self.fault(module) >= Some(Fault::DebugInfo) {
            return Vec::new();
        }
        let Some(file) = self.debug.get(module) else {
            return Vec::new();
        };
        let (frames, message) = match file.find(addresses) {
            Ok(found) => {
                let both = found.iter().zip(symbols);
                let frames = both.map(|(found, symbol)| frames(found, symbol.as_deref(), names));
                (
                    frames.collect(),
                    any_damaged(&found).then(|| (Fault::Part, PARTLY.to_owned())),
                )
            }
            Err(message) => (Vec::new(), Some((Fault::DebugInfo, message))),
        };
        if let Some((fault, message)) = message {
            self.fail(module, fault, FileError::DebugInfo(message));
        }
        frames
    }

    fn fault(&mut self, module: &Module) -> Option<Fault> {
        self.faults.get(&module.number()).copied()
    }

    /// Lets go of what has not been of use for a while.
    pub(crate) fn tend(&mut self) {
        self.debug.forget_unasked();
    }

    /// The files found wanting since the last call, at most 1024 of them. A file is reported again only after it was forgotten among others.
    pub(crate) fn take_failures(&mut self) -> Vec<FileFailure> {
        std::mem::take(&mut self.failures)
    }

    /// Remembers what is wrong with a file, and reports what is found first.
    fn fail(&mut self, module: &Module, fault: Fault, error: FileError) {
        if fault > Fault::Part {
            self.debug.forget(module);
        }
        let before = self.fault(module);
        self.faults.put(
            module.number(),
            before.map_or(fault, |before| before.max(fault)),
        );
        if before.is_none() && self.failures.len() < MOST_REPORTED {
            self.failures.push(FileFailure {
                module: module.name().clone(),
                error,
            });
        }
    }
}

/// Whether blazesym met an error at one of the addresses, which is all it says then.
fn any_damaged(found: &[Symbolized<'_>]) -> bool {
    found
        .iter()
        .any(|found| matches!(found, Symbolized::Unknown(Reason::IgnoredError)))
}

/// The one frame of a symbol.
pub(crate) fn bare(symbol: &Symbol, names: &mut Names) -> Box<[Frame]> {
    [frame(&symbol.name, None, false, names)].into()
}

/// The frames of what was found by debug information. `symbol` is what a table says is there: a C++ function that is internal to its
/// file has no mangled name in DWARF, only the last part of its own, and a function may have no name at all.
fn frames(found: &Symbolized<'_>, symbol: Option<&Symbol>, names: &mut Names) -> Frames {
    let Symbolized::Sym(found) = found else {
        return None;
    };
    // Where debug information says nothing, blazesym asks tables of symbols, by which one without a size goes on for ever.
    if found.code_info.is_none() && found.inlined.is_empty() && symbol.is_none() {
        return None;
    }
    let better = symbol.filter(|symbol| {
        found.name.is_empty()
            || (symbol.address == found.addr
                && is_mangled(&symbol.name)
                && !is_mangled(&found.name))
    });
    let name = better.map_or(&*found.name, |symbol| &symbol.name);
    if name.is_empty() {
        return None;
    }
    let inner = found
        .inlined
        .iter()
        .rev()
        .map(|function| (&*function.name, function.code_info.as_ref(), true));
    let outer = std::iter::once((name, found.code_info.as_deref(), false));
    Some(
        inner
            .chain(outer)
            .map(|(name, place, inlined)| frame(name, place, inlined, names))
            .collect(),
    )
}

fn frame(raw: &str, place: Option<&CodeInfo<'_>>, inlined: bool, names: &mut Names) -> Frame {
    let (name, system_name) = names.function(if raw.is_empty() { "[inlined]" } else { raw });
    Frame {
        name,
        system_name,
        file: place.map(|place| names.plain(&place.to_path().to_string_lossy())),
        line: place.and_then(|place| place.line).unwrap_or(0),
        inlined,
    }
}
